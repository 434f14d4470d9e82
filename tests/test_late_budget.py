"""A budget puts work aside: what is said meanwhile is marked, and nothing is lost; pictures wait for what is exact."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import msgspec
import pytest
from check_late import LateRun, engine_of, in_slices, untrue
from late_scenarios import LateScenario, scenario

from apss_fusion.model import Look, Picture

SMALL_BUDGETS = (1, 3, 10)


@pytest.mark.parametrize("budget", SMALL_BUDGETS)
def test_exact_whenever_nothing_is_pending_and_at_the_end(budget: int) -> None:
    put_aside = states = 0
    for seed in range(4000, 4014):
        checked = in_slices(scenario(seed), budget)
        assert checked.problems == ()
        put_aside += checked.put_aside
        states += checked.states
    assert states > 30
    if budget == 1:
        assert put_aside > 20


@pytest.mark.parametrize("budget", [*SMALL_BUDGETS, None])
def test_updates_with_unfinished_work_are_marked(budget: int | None) -> None:
    """The mark is on updates only while something is pending, and then on some; without a small budget on none."""
    marked = 0
    for seed in range(4100, 4110):
        run = LateRun(scenario(seed), **({} if budget is None else {"budget_clusters": budget}))
        for look in run.scenario.looks:
            before = run.engine.pending
            pending = [u for u in run.give(look) if "pending" in u.flags]
            marked += len(pending)
            assert not pending or before or run.engine.pending
        run.reader.read(run.engine.flush())
        assert not any("pending" in u.flags for u in run.reader.latest.values() if u.status != "TERMINATED")
    assert marked == 0 if budget is None else marked > 0 or budget > 3


@pytest.mark.parametrize("budget", SMALL_BUDGETS)
def test_what_is_pending_is_carried_on_by_looks_that_come_in_order(budget: int) -> None:
    """Looks that say nothing are enough: each of them brings its budget, and in the end nothing is pending."""
    carried = 0
    for seed in range(4200, 4206):
        s = scenario(seed, "wide")
        run = LateRun(s, budget_clusters=budget)
        for k, look in enumerate(s.looks):
            run.give(look)
            if not run.engine.pending or k < len(s.looks) // 2:
                continue
            before, start = run.engine.pending, run.newest.time
            for step in range(before + 100):
                assert run.engine.counters()["pending"] == run.engine.pending
                if run.engine.pending:
                    time = start + timedelta(milliseconds=step + 1)
                    run.give(
                        Look(look_id=f"nothing-{step}", source_id="rf", time=time, time_received=look.time_received)
                    )
            assert run.engine.pending == 0
            assert run.unlike() == []
            carried += 1
            break
    assert carried > 0 or budget > 1


@pytest.mark.parametrize("budget", SMALL_BUDGETS)
def test_a_reader_knows_all_at_the_end(budget: int) -> None:
    """After the end of the feed: the tracks of the picture with their status, and what was said last is true."""
    for seed in range(4300, 4308):
        run = LateRun(scenario(seed), budget_clusters=budget)
        for look in run.scenario.looks:
            run.give(look)
        run.reader.read(run.engine.flush())
        assert run.misread() == [], seed
        assert untrue(run.reader.latest, run.taken, run.scenario) == [], seed


def test_the_newest_look_is_answered_at_once() -> None:
    """Whatever is pending: a report in order is told with its own time and detection."""
    told = pending = 0
    for seed in range(4400, 4410):
        run = LateRun(scenario(seed), budget_clusters=1)
        newest = None
        for look in run.scenario.looks:
            taken = len(run.taken)
            updates = run.give(look)
            in_order = len(run.taken) > taken and run.newest is look
            if in_order and look.source_id.startswith("ais") and newest is not None and newest.time < look.time:
                own = [u for u in updates if any(e.look_id == look.look_id for e in u.evidence)]
                assert all(u.time == look.time for u in own)
                told += len(own) > 0
                pending += len(own) > 0 and run.engine.pending > 0
            newest = run.newest if run.taken else None
    assert told > 50
    assert pending > 0


# ---------------------------------------------------------------------------------------- pictures


def with_pictures(seed: int, kind: str | None = None) -> LateScenario:
    s = scenario(seed, kind)
    return s._replace(overrides={**s.overrides, "picture_interval_s": s.duration_s / 15.0})


def pictures_of(s: LateScenario, size: int = 1, **overrides: object) -> list[list[bytes]]:
    """Pictures as they come after each batch of so many looks, and at the end."""
    e = engine_of(s, **overrides)
    out: list[list[Picture]] = []
    for at in range(0, len(s.looks), size):
        e.process_many(s.looks[at : at + size])
        out.append(e.pictures())
    e.flush()
    out.append(e.pictures())
    return [[msgspec.json.encode(p) for p in batch] for batch in out]


def flat(pictures: list[list[bytes]]) -> list[bytes]:
    return [p for batch in pictures for p in batch]


@pytest.mark.parametrize("budget", [*SMALL_BUDGETS, 5000])
def test_pictures_are_those_of_holding_back(budget: int) -> None:
    """Byte for byte, and each as early: also where the lag passes while something is pending, and where looks are late."""
    count = 0
    for seed in range(4500, 4508):
        s = with_pictures(seed, None if seed % 2 else "moving")
        want = pictures_of(s, hold_back=True)
        assert pictures_of(s, budget_clusters=budget) == want, seed
        assert flat(pictures_of(s, 7, budget_clusters=budget)) == flat(want), seed
        count += len(flat(want))
        assert want[-1] != flat(want) or s.kind != "moving"
    assert count > 80


@pytest.mark.parametrize("budget", [1, 5000])
def test_pictures_do_not_depend_on_the_order_of_arrival(budget: int) -> None:
    """The looks of a scenario in three other orders within the lag."""
    for seed in range(4600, 4604):
        s = with_pictures(seed, "wide")
        # Of looks with one id the first counts.
        looks = list({look.look_id: look for look in reversed(s.looks)}.values())
        want = flat(pictures_of(s._replace(looks=looks), hold_back=True))
        for order in range(3):
            r = Random(order)
            delayed = [
                msgspec.structs.replace(look, time_received=look.time + timedelta(seconds=r.uniform(0, s.lag_s)))
                for look in looks
            ]
            delayed.sort(key=lambda look: look.time_received or look.time)
            assert flat(pictures_of(s._replace(looks=delayed), budget_clusters=budget)) == want, (seed, order)
        assert len(want) >= 10


def test_a_track_goes_on_with_its_numbers_within_one_batch() -> None:
    """Withdrawn by one look of a batch and founded again by another, in another slot: scenario 269 in slices of looks."""
    assert in_slices(scenario(269)).problems == ()
