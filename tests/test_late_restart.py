"""The window as records: another engine goes on from them at any moment, and what is older than the lag leaves them."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from check_late import BUDGETS, LateRun, Records, engine_of, in_chunks, looks_held, restarted, some_cuts, unlike
from engine_tools import report, tick
from late_scenarios import KINDS, LateScenario, scenario, with_strangers

from apss_fusion.model import Look, Source
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking.engine import Engine


def step_s(lag_s: float) -> float:
    """Looks are let go in steps of event time: kept for the lag and at most this much longer (but for the newest one)."""
    return max(lag_s / 8.0, 60.0)


def last_of(records: Records) -> dict[str, bytes]:
    """The last record of each key that is still there."""
    return {key: value for key, value in dict(records).items() if value is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_a_restart_does_not_show(kind: str) -> None:
    """At three random moments: the same updates, rejections, pictures and state. The other engine never tells its changes."""
    for seed in range(3000, 3006):
        s = scenario(seed, kind)
        assert restarted(s, some_cuts(s, 3)).problems == ()


def test_a_restart_does_not_show_once_a_stranger_has_come() -> None:
    """A source that is not registered joins the domains, before a restart or after it."""
    for s in with_strangers(3050, 4):
        first = next(k for k, look in enumerate(s.looks) if look.source_id == "stranger")
        cuts = {max(first - 1, 0), first, min(first + 1, len(s.looks) - 1), *some_cuts(s, 2)}
        for budget in (1, 5000):
            assert restarted(s, sorted(cuts), budget_clusters=budget).problems == ()


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_restart_does_not_show_while_something_is_pending(budget: int) -> None:
    put_aside = 0
    for seed in range(3100, 3106):
        s = scenario(seed, "moving" if seed % 3 == 0 else None)
        checked = restarted(s, some_cuts(s, 6), budget_clusters=budget)
        assert checked.problems == ()
        put_aside += checked.put_aside
    if budget == min(BUDGETS):
        assert put_aside > 0


def before_a_return(s: LateScenario, **overrides: Any) -> list[int]:
    """Numbers of the looks just before a track that readers know to be no more is told again."""
    run, out = LateRun(s, **overrides), list[int]()
    for k, look in enumerate(s.looks):
        ended = {track_id for track_id, u in run.reader.latest.items() if u.status == "TERMINATED"}
        if any(u.track_id in ended for u in run.give(look)) and k:
            out.append(k - 1)
    return out


@pytest.mark.parametrize("budget", [1, 5000])
def test_a_track_that_lives_again_after_a_restart_goes_on_with_its_numbers(budget: int) -> None:
    """In these scenarios tracks return that had ended, and tracks that had been withdrawn."""
    returns = 0
    for seed in (3900, 3937, 3942, 3980, 3983, 3996, 3998, 4020):
        s = scenario(seed)
        if cuts := before_a_return(s, budget_clusters=budget):
            assert restarted(s, cuts, budget_clusters=budget).problems == ()
            returns += len(cuts)
    assert returns > 5


def test_a_restart_after_every_look() -> None:
    for budget in (1, 5000):
        s = scenario(3200, "moving")
        assert restarted(s, range(len(s.looks)), budget_clusters=budget).problems == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hold_back", [False, True])
def test_a_restart_does_not_show_where_looks_come_in_chunks(kind: str, hold_back: bool) -> None:
    """Of a block of looks some have left by then, others not: they are not fused twice, and none is missing."""
    for seed in range(4100, 4108):
        assert in_chunks(scenario(seed, kind), hold_back).problems == ()


def test_a_restart_does_not_show_where_a_stranger_comes_in_chunks() -> None:
    """Its coming sets back where the window begins for sources of a short lag: what they had let go stays gone."""
    for s in with_strangers(3050, 8):
        for budget in (1, 5000):
            assert in_chunks(s, budget_clusters=budget).problems == ()


def test_what_had_left_stays_gone_under_another_lag() -> None:
    """With a longer lag looks come from before what has left already: they are in the window, the others are not."""
    for seed in range(4200, 4206):
        s = scenario(seed, "moving")
        middle = len(s.looks) // 2
        a, records = engine_of(s), dict[str, bytes | None]()
        for k in range(0, middle, 3):
            a.process_many(s.looks[k : min(k + 3, middle)])
            records |= dict(a.changes())
        older = [
            msgspec.structs.replace(look, look_id=f"older-{k}", time_received=s.looks[middle - 1].time_received)
            for k, look in enumerate(s.looks[: middle // 2])
        ]
        longer = 10.0 * s.lag_s
        b, c = engine_of(s, lag_s=longer), engine_of(s, lag_s=longer)
        for e in (b, c):
            e.load(records.items())
        for e in (b, c):
            e.process_many(older)
        assert looks_held(b) > looks_held(a)
        records |= dict(c.changes())
        c = engine_of(s, lag_s=longer)
        c.load(records.items())
        assert looks_held(c) == looks_held(b)
        assert unlike(c.state(), b.state()) == []
        for look in s.looks[middle:]:
            assert bytes(encode(c.process_many([look]))) == bytes(encode(b.process_many([look])))
        assert unlike(c.state(), b.state()) == []


@pytest.mark.parametrize("seed", [3301, 3302, 3303])
def test_changes_that_are_asked_for_now_and_then(seed: int) -> None:
    """Several looks between two calls, and records of several calls: the last of a key is enough."""
    s, r = scenario(seed, "moving"), Random(seed)
    a, b, records = engine_of(s), engine_of(s), Records()
    for k, look in enumerate(s.looks):
        want = bytes(encode(a.process_many([look])))
        assert bytes(encode(b.process_many([look]))) == want, k
        if r.random() < 0.2:
            records += b.changes()
            b = engine_of(s)
            kept = last_of(records)
            b.load(sorted(kept.items(), key=lambda item: r.random()))
            records = Records(kept.items())
    assert unlike(b.state(), a.state()) == []
    assert bytes(encode(b.flush())) == bytes(encode(a.flush()))


def test_a_restart_after_the_end_of_a_feed() -> None:
    """What was flushed is settled: what is older stays late, and the rest goes on from there."""
    for seed in (3401, 3402, 3403):
        s = scenario(seed)
        middle = len(s.looks) // 2
        a, b = engine_of(s, budget_clusters=1), engine_of(s, budget_clusters=1)
        for e in (a, b):
            e.process_many(s.looks[:middle])
            e.flush()
            assert e.pending == 0
        records = b.changes()
        b = engine_of(s, budget_clusters=1)
        b.load(records)
        assert unlike(b.state(), a.state()) == []
        a.rejected()
        for look in s.looks[middle:]:
            assert bytes(encode(b.process_many([look]))) == bytes(encode(a.process_many([look])))
            assert [r.kind for r in b.rejected()] == [r.kind for r in a.rejected()]
        assert bytes(encode(b.flush())) == bytes(encode(a.flush()))
        assert unlike(b.state(), a.state()) == []


def test_the_records_of_a_restarted_engine_are_those_of_the_other() -> None:
    """Once both are at the end, another engine made from either is the same."""
    for seed in (3501, 3502):
        s = scenario(seed, "moving")
        a, b, first, second = engine_of(s), engine_of(s), Records(), Records()
        for k, look in enumerate(s.looks):
            a.process_many([look])
            b.process_many([look])
            first += a.changes()
            second += b.changes()
            if k == len(s.looks) // 2:
                b = engine_of(s)
                b.load(second)
        engines = []
        for records in (first, second):
            e = engine_of(s)
            e.load(records)
            assert unlike(e.state(), a.state()) == []
            engines.append(e)
        assert last_of(first).keys() == last_of(second).keys()
        later = msgspec.structs.replace(s.looks[-1], look_id="later", time_received=None)
        assert bytes(encode(engines[0].process_many([later]))) == bytes(encode(engines[1].process_many([later])))


# ---------------------------------------------------------------------------------------- what leaves the records


def looks_kept(records: dict[str, bytes]) -> int:
    """Blocks of looks: as many as looks where changes are asked for after each."""
    return sum(key.startswith("looks:") for key in records)


def within(looks: list[Look], clock: Look, seconds: float) -> int:
    """How many looks are so young when the clock stands at the arrival of one."""
    since = (clock.time_received or clock.time) - timedelta(seconds=seconds)
    return sum(look.time >= since for look in looks)


@pytest.mark.parametrize("seed", [3601, 3602, 3603, 3604])
def test_looks_older_than_the_lag_leave_the_records(seed: int) -> None:
    """Never fewer than may still be overtaken, never more than those of the lag and a step."""
    s = scenario(seed, "moving")
    run, records = LateRun(s), dict[str, bytes]()
    clock = s.looks[0]
    for look in s.looks:
        run.give(look)
        clock = max(clock, look, key=lambda one: one.time_received or one.time)
        for key, value in run.engine.changes():
            if value is None:
                records.pop(key, None)
            else:
                records[key] = value
        most = within(run.taken, clock, s.lag_s + step_s(s.lag_s)) + 1
        assert within(run.taken, clock, s.lag_s) <= looks_kept(records) <= most


LONG_LAG_S = 100.0


def long_feed(count: int) -> LateScenario:
    """Ships report every ten seconds, one report in three up to the lag late; most of the ships are there for a while only."""
    r, looks = Random(1), []
    for k in range(count):
        late = r.choice([0.0, 0.0, r.uniform(0, LONG_LAG_S)])
        ship = r.choice([1, k // 200 + 2])
        look = report(10.0 * k, 40.0 + 0.1 * (ship % 100), 0.0, str(ship))
        looks.append(msgspec.structs.replace(look, time_received=look.time + timedelta(seconds=late)))
    looks.sort(key=lambda look: look.time_received or look.time)
    sources = {"ais": Source(modality="AIS", domains=("SEA",), max_latency_s=LONG_LAG_S)}
    overrides = {"domain": {"SEA": {"limit95_m": 3000.0}}}
    return LateScenario(-1, "moving", 10.0 * count, LONG_LAG_S, looks, sources, overrides)


def test_the_window_does_not_grow_with_the_feed() -> None:
    """Records, looks and bytes of the window in the second half of a feed are those of the first half.

    Cells are another matter: they remember that objects left.
    """
    s = long_feed(16_000)
    e, records = engine_of(s), dict[str, bytes]()
    sizes, windows = list[int](), list[tuple[int, int]]()
    for at in range(0, len(s.looks), 100):
        e.process_many(s.looks[at : at + 100])
        records = last_of([*records.items(), *e.changes()])
        sizes.append(sum(not key.startswith("cell:") for key in records))
        windows.append((e.counters()["window_looks"], e.counters()["window_bytes"]))
    half = len(sizes) // 2
    assert max(sizes[half:]) <= 1.2 * max(sizes[:half])
    assert max(looks for looks, _ in windows) <= (LONG_LAG_S + step_s(LONG_LAG_S)) / 10.0 + 2
    assert max(size for _, size in windows[half:]) <= 1.2 * max(size for _, size in windows[:half])
    assert sum(key.startswith("track:") for key in records) < 30


def test_when_all_is_older_than_the_lag_only_what_lives_is_kept() -> None:
    s = scenario(3700, "moving")
    e = engine_of(s)
    e.process_many(s.looks)
    newest = max(look.time for look in s.looks) - tick(0.0).time
    for k in (1, 2, 3):
        e.process_many([tick(newest.total_seconds() + k * (s.lag_s + step_s(s.lag_s)))])
    records = last_of(e.changes())
    kinds = {key.split(":")[0] for key in records}
    assert looks_kept(records) <= 2
    assert {"format", "clock"} <= kinds
    ids = {key.removeprefix("track:") for key in records if key.startswith("track:")}
    assert ids == {track_id.replace("-", "") for track_id in e.state().tracks}
    other = engine_of(s)
    other.load(records.items())
    assert unlike(other.state(), e.state()) == []


def test_a_saved_window_serves_another_lag() -> None:
    """The lag of the configuration may be another one after a restart: longer or shorter, the state is the same."""
    s = scenario(3800, "wide")
    a = engine_of(s)
    a.process_many(s.looks)
    records = a.changes()
    for lag_s in (0.0, 0.1 * s.lag_s, 10.0 * s.lag_s):
        b: Engine = engine_of(s, lag_s=lag_s)
        b.load(records)
        assert unlike(b.state(), a.state()) == []
        b.flush()
        assert unlike(b.state(), a.state()) == []
