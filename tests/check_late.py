"""Are late looks exact? After every arrival the state must be that of all looks so far in the order of their time.

``python tests/check_late.py N SEED`` goes through N random scenarios from a seed on and prints counts; status 1 where any state
differs. The reference is an engine that holds back: it is given the looks that were taken so far, and fuses them in order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from random import Random
from typing import Any, NamedTuple

from late_scenarios import LateScenario, NumberError, Reader, look_key, scenario
from msgspec.structs import replace

from apss_fusion.model import Look, TrackUpdate
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.snapshot import EngineState
from apss_fusion.tracking.updates import UpdateBatch

Records = list[tuple[str, bytes | None]]

#: A lag in which any look may come.
FOREVER_S = 1e9
#: A budget of so few clusters leaves something pending, now and then.
BUDGETS = (1, 2, 3, 10)


def engine_of(s: LateScenario, **overrides: Any) -> Engine:
    """A new engine for a scenario."""
    return Engine(Config.of({**s.overrides, **overrides}), s.sources)


def folded(looks: Iterable[Look], s: LateScenario) -> Engine:
    """A new engine that has fused these looks in the order of their time."""
    e = engine_of(s, hold_back=True, lag_s=FOREVER_S, picture_interval_s=None)
    e.process_many(list(looks))
    e.flush()
    refused = [r for r in e.rejected() if r.detection < 0]
    assert refused == [], f"the reference has not taken {refused[0]}"
    return e


def unlike(got: EngineState, want: EngineState) -> list[str]:
    """The tracks and cells in which two states differ, in words."""
    out = []
    for kind, a, b in (("track", got.tracks, want.tracks), ("cell", got.cells, want.cells)):
        out += [f"{kind} {key} is missing" for key in sorted(b.keys() - a.keys())]
        out += [f"{kind} {key} should not be" for key in sorted(a.keys() - b.keys())]
        out += [f"{kind} {key} is another" for key in sorted(a.keys() & b.keys()) if a[key] != b[key]]
    return out


def statuses(engine: Engine, time_us: int) -> dict[str, str]:
    """The tracks of the picture at a time, and their status."""
    return {track.track_id: track.status for track in engine.picture(time_us).tracks}


def microseconds(time: datetime) -> int:
    """Whole microseconds since 1970."""
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def untrue(latest: Mapping[str, TrackUpdate], looks: Iterable[Look], s: LateScenario) -> list[str]:
    """The last updates of living tracks that do not say what is known now of their own time, in words.

    These looks are fused in order up to the time of each update: the track must be there, at that place, as probable.
    """
    e = engine_of(s, hold_back=True, lag_s=0.0, picture_interval_s=None)
    rest = [replace(look, time_received=None) for look in sorted(looks, key=look_key, reverse=True)]
    out = []
    for u in sorted(latest.values(), key=lambda u: (u.time, u.track_id)):
        if u.status == "TERMINATED":
            continue
        while rest and rest[-1].time <= u.time:
            time, group = rest[-1].time, []
            while rest and rest[-1].time == time:
                group.append(rest.pop())
            e.process_many(group)
            e.flush()
        there = {track.track_id: track for track in e.tracks_at(microseconds(u.time), 0.0)}
        if u.track_id not in there:
            out.append(f"track {u.track_id} did not live at {u.time}")
            continue
        track = there[u.track_id]
        beside = abs(u.lat - track.lat), abs((u.lon - track.lon + 180.0) % 360.0 - 180.0)
        if max(beside) > 2e-7 or abs(u.existence_prob - track.existence_prob) > 2e-6 or u.ids != track.ids:
            out.append(f"track {u.track_id} was another at {u.time}: {track}")
    return out


class LateRun:
    """An engine that is given looks as they arrive, and what it took of them."""

    def __init__(self, s: LateScenario, **overrides: Any) -> None:
        self.scenario = s
        self.engine = engine_of(s, **overrides)
        #: Has read everything that was published by `give`.
        self.reader = Reader()
        self.taken: list[Look] = []
        #: How many of those were earlier than another that was taken before.
        self.late = 0
        self._given: list[Look] = []
        self._reference: tuple[int, EngineState] | None = None

    @property
    def newest(self) -> Look:
        """The last look in the order of time."""
        return max(self.taken, key=look_key)

    def give(self, *looks: Look) -> UpdateBatch:
        """Process looks as one batch; returns what is published."""
        start = len(self._given)
        self._given += looks
        updates = self.engine.process_many(looks)
        self.reader.read(updates)
        refused = {r.number for r in self.engine.rejected() if r.detection < 0}
        for k, look in enumerate(looks, start):
            if k not in refused:
                self.late += bool(self.taken) and look_key(look) < look_key(self.newest)
                self.taken.append(look)
        return updates

    def problems(self, *looks: Look) -> list[str]:
        """Give looks; what is wrong with the numbers of their updates."""
        try:
            self.give(*looks)
        except NumberError as error:
            return [str(error)]
        return []

    def misread(self) -> list[str]:
        """In what a reader's tracks and their status are not those of the picture at the newest look."""
        if not self.taken:
            return []
        want, got = statuses(self.engine, microseconds(self.newest.time)), self.reader.shown()
        different = [k for k in sorted(got.keys() | want.keys()) if got.get(k) != want.get(k)]
        return [f"track {k} is {want.get(k)} and a reader has {got.get(k)}" for k in different]

    def reference(self) -> EngineState:
        """The state that the engine should have."""
        if self._reference is None or self._reference[0] != len(self.taken):
            self._reference = len(self.taken), folded(self.taken, self.scenario).state()
        return self._reference[1]

    def unlike(self) -> list[str]:
        """In what the engine is not the fold of what it took."""
        return unlike(self.engine.state(), self.reference())


class Checked(NamedTuple):
    """What was compared; `problems` name the arrival and what differs, the first one of a scenario only."""

    looks: int = 0
    late: int = 0
    states: int = 0
    #: How often something was left pending.
    put_aside: int = 0
    problems: tuple[str, ...] = ()

    def plus(self, other: Checked) -> Checked:
        """Both together."""
        return Checked(
            self.looks + other.looks,
            self.late + other.late,
            self.states + other.states,
            self.put_aside + other.put_aside,
            self.problems + other.problems,
        )


def exact(s: LateScenario, share: float = 1.0, **overrides: Any) -> Checked:
    """Looks one by one; compares after this share of arrivals, and after the last."""
    run, r, states = LateRun(s, **overrides), Random(f"exact {s.seed}"), 0
    for k, look in enumerate(s.looks):
        wrong = run.problems(look)
        if run.engine.pending:
            wrong.append("something is pending")
        if r.random() < share or k == len(s.looks) - 1:
            states += 1
            wrong += run.unlike() + run.misread()
        if wrong:
            return Checked(k + 1, run.late, states, 0, (f"seed {s.seed} arrival {k}: {wrong[:4]}",))
    return Checked(len(s.looks), run.late, states)


def in_slices(s: LateScenario, budget: int | None = None, share: float = 0.3) -> Checked:
    """Batches of several looks and a small budget: exact whenever nothing is pending, and at the end."""
    r = Random(f"slices {s.seed}")
    run = LateRun(s, budget_clusters=budget or r.choice(BUDGETS))
    at = states = put_aside = 0
    while at < len(s.looks):
        size = r.choice([1, 1, 1, 1, 5, 20])
        wrong = run.problems(*s.looks[at : at + size])
        at += size
        put_aside += run.engine.pending > 0
        if run.engine.pending == 0 and r.random() < share:
            states += 1
            wrong += run.unlike() + run.misread()
        if wrong:
            return Checked(at, run.late, states, put_aside, (f"seed {s.seed} before {at}: {wrong[:4]}",))
    run.reader.read(run.engine.flush())
    wrong = run.unlike() + run.misread() + untrue(run.reader.latest, run.taken, s)
    if run.engine.pending:
        wrong.append("something is pending")
    problems = (f"seed {s.seed} at the end: {wrong[:4]}",) if wrong else ()
    return Checked(len(s.looks), run.late, states + 1, put_aside, problems)


def restarted(s: LateScenario, cuts: Sequence[int], **overrides: Any) -> Checked:
    """After the looks with these numbers another engine goes on from all records so far: nobody sees it.

    The other engine of the comparison is never asked for its changes.
    """
    a, b = engine_of(s, **overrides), engine_of(s, **overrides)
    records, states, put_aside = Records(), 0, 0

    def wrong(k: int, what: str) -> Checked:
        return Checked(k + 1, 0, states, put_aside, (f"seed {s.seed} arrival {k} cuts {sorted(cuts)}: {what}",))

    for k, look in enumerate(s.looks):
        if bytes(encode(b.process_many([look]))) != bytes(encode(a.process_many([look]))):
            return wrong(k, "other updates")
        if [(r.kind, r.field, r.detection) for r in a.rejected()] != [
            (r.kind, r.field, r.detection) for r in b.rejected()
        ]:
            return wrong(k, "others are rejected")
        if a.pictures() != b.pictures():
            return wrong(k, "other pictures")
        records += b.changes()
        if k in cuts:
            put_aside += a.pending > 0
            b = engine_of(s, **overrides)
            b.load(records)
            states += 1
            if a.pending != b.pending:
                return wrong(k, f"{b.pending} pending after the restart, {a.pending} before")
            if not a.pending and (different := unlike(b.state(), a.state())):
                return wrong(k, f"after the restart {different[:4]}")
    last = len(s.looks) - 1
    if bytes(encode(b.flush())) != bytes(encode(a.flush())):
        return wrong(last, "other updates at the end")
    if a.pictures() != b.pictures():
        return wrong(last, "other pictures at the end")
    if different := unlike(b.state(), a.state()):
        return wrong(last, f"at the end {different[:4]}")
    return Checked(len(s.looks), 0, states + 1, put_aside)


def in_chunks(s: LateScenario, hold_back: bool = False, **overrides: Any) -> Checked:
    """Chunks of looks of any size; changes are asked for after any of them, and another engine goes on after any of these.

    So blocks of looks are of any size, and have partly left at any restart. The other engine of the comparison goes through
    without a break and is never asked for its changes. After a restart, only the last record of each key is kept.
    """
    overrides["hold_back"] = hold_back
    a, b, r = engine_of(s, **overrides), engine_of(s, **overrides), Random(f"chunks {s.seed}")
    records, at, states, put_aside = dict[str, bytes | None](), 0, 0, 0
    while at < len(s.looks):
        looks = s.looks[at : at + r.choice([1, 2, 5, 10, 30])]
        at += len(looks)
        problems = []
        if bytes(encode(b.process_many(looks))) != bytes(encode(a.process_many(looks))):
            problems.append("other updates")
        if [(x.kind, x.field) for x in a.rejected()] != [(x.kind, x.field) for x in b.rejected()]:
            problems.append("others are rejected")
        if a.pictures() != b.pictures():
            problems.append("other pictures")
        if r.random() < 0.6:
            records |= dict(b.changes())
            if r.random() < 0.5:
                records = {key: value for key, value in records.items() if value is not None}
                put_aside += a.pending > 0
                b = engine_of(s, **overrides)
                b.load(r.sample(list(records.items()), len(records)))
                states += 1
                if a.pending != b.pending:
                    problems.append(f"{b.pending} pending after the restart, {a.pending} before")
        if not a.pending:
            problems += unlike(b.state(), a.state())
            problems += [f"{b.counters()}, not {a.counters()}"] if looks_held(b) != looks_held(a) else []
        if problems:
            return Checked(at, 0, states, put_aside, (f"seed {s.seed} before {at}: {problems[:4]}",))
    same = bytes(encode(b.flush())) == bytes(encode(a.flush())) and not unlike(b.state(), a.state())
    problems = [] if same else [f"seed {s.seed}: another end"]
    return Checked(len(s.looks), 0, states + 1, put_aside, tuple(problems))


def looks_held(engine: Engine) -> int:
    """How many looks the window holds."""
    return engine.counters()["window_looks"]


def some_cuts(s: LateScenario, count: int) -> list[int]:
    """Numbers of looks after which to restart."""
    return Random(f"cuts {s.seed}").sample(range(len(s.looks)), min(count, len(s.looks)))


def main(arguments: Sequence[str]) -> int:
    """Check scenarios SEED to SEED + N in all ways; the exit status."""
    count, first = (int(a) for a in [*arguments, "100", "0"][:2]) if len(arguments) != 1 else (int(arguments[0]), 0)
    total = Checked()
    for seed in range(first, first + count):
        s = scenario(seed)
        r = Random(f"budget {seed}")
        budget = {"budget_clusters": r.choice(BUDGETS)} if r.random() < 0.5 else {}
        parts = {
            "exact": exact(s),
            "in slices": in_slices(s),
            "restarted": restarted(s, some_cuts(s, 4), **budget),
            "in chunks": in_chunks(s, **budget),
        }
        for name, part in parts.items():
            for problem in part.problems:
                print(f"differs, {name}: {problem}", flush=True)
        total = reduce(Checked.plus, parts.values(), total)
        done = seed + 1 - first
        if done % 100 == 0 or done == count:
            print(
                f"{done} scenarios, {total.looks} looks, {total.late} late, {total.states} states compared,"
                f" {total.put_aside} times something pending, {len(total.problems)} differing",
                flush=True,
            )
    return 1 if total.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
