"""What a reader is told of late looks: one update for each track that changed, from when, and what turned out not to be."""

from __future__ import annotations

from collections import Counter

import pytest
from check_late import FOREVER_S, LateRun, engine_of, microseconds, unlike, untrue
from engine_tools import at, disc, engine, report, scan, seen, shift, tick, tracks_of, with_latency
from late_scenarios import LateScenario, Reader, look_key, scenario

from apss_fusion.model import Look, TrackUpdate
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.window.rows import ROW_WORDS

#: Bytes of a track's rows; what follows is who has contributed.
ROW_BYTES = 8 * ROW_WORDS

LAG = 3600.0
SOURCES = with_latency(LAG)
HERE = (50.0, 180.0)
THERE = (50.5, -179.5)


def reports(mmsi: str, place: tuple[float, float], *times: float) -> list[Look]:
    return [report(t, *place, mmsi) for t in times]


def given(e: Engine, reader: Reader, *looks: Look) -> list[TrackUpdate]:
    """What is published for looks that come one by one; the reader has read it."""
    out = [u for look in looks for u in e.process(look)]
    reader.read(out)
    assert reader.shown().keys() <= e.state().tracks.keys()
    return out


def same_place(u: TrackUpdate, e: Engine) -> bool:
    """Whether an update says what the picture at its time says."""
    tracks = {track.track_id: track for track in e.picture(microseconds(u.time)).tracks}
    track = tracks[u.track_id]
    return abs(track.lat - u.lat) < 2e-7 and abs(track.lon - u.lon) < 2e-7 and track.status == u.status


# ---------------------------------------------------------------------------------------- reports


def test_a_late_report_of_a_known_ship() -> None:
    """One update of that ship with the next number, from the time of the report; the other ship is silent."""
    e, reader = engine(SOURCES), Reader()
    times = range(0, 601, 60)
    given(e, reader, *reports("1", HERE, *times), *reports("2", THERE, *[t + 1.0 for t in times]))
    before = dict(reader.latest)
    (u,) = given(e, reader, report(330.0, HERE[0] + 1e-4, HERE[1], "1"))
    old = before[u.track_id]
    assert old.ids == u.ids == {"mmsi": "1"}
    assert (u.seq, u.status, u.revised_from) == (old.seq + 1, "CONFIRMED", at(330.0))
    assert u.n_detections == old.n_detections + 1
    assert u.contributors[0].n == u.n_detections
    assert (u.time, u.time_last_detection) >= (at(600.0), at(600.0))
    assert u.lat != old.lat
    assert same_place(u, e)


def test_late_reports_that_come_one_after_the_other() -> None:
    """Each from its own time, earlier or later than the one before."""
    e, reader = engine(SOURCES), Reader()
    given(e, reader, *reports("1", HERE, 0.0, 300.0, 600.0))
    for t in (450.0, 150.0, 500.0, 100.0):
        (u,) = given(e, reader, report(t, *HERE, "1"))
        assert u.revised_from == at(t)
    assert u.n_detections == 7
    (u,) = given(e, reader, report(650.0, *HERE, "1"))
    assert (u.revised_from, u.n_detections) == (None, 8)


def test_a_late_report_that_is_the_newest_of_its_ship() -> None:
    """Others have reported since: it is late, and tells where the ship is now."""
    e, reader = engine(SOURCES), Reader()
    given(e, reader, *reports("1", HERE, 0.0, 60.0), *reports("2", THERE, 500.0, 560.0))
    (u,) = given(e, reader, report(300.0, HERE[0] + 1e-3, HERE[1], "1"))
    assert u.n_detections == 3
    assert u.revised_from in (None, at(300.0))
    assert u.time >= at(300.0)
    assert same_place(u, e)


@pytest.mark.parametrize("tentative", [False, True])
def test_a_late_report_of_an_unknown_ship(tentative: bool) -> None:
    """It founds a track in the past and concerns no other."""
    e, reader = engine(SOURCES, tentative=tentative), Reader()
    given(e, reader, *reports("1", HERE, 0.0, 300.0, 600.0))
    updates = given(e, reader, report(500.0, *THERE, "2"))
    assert [(u.seq, u.status, u.ids) for u in updates] == [(1, "TENTATIVE", {"mmsi": "2"})] * tentative
    updates = given(e, reader, report(400.0, *THERE, "2"))
    # Founded by the earlier report now, which is another track.
    confirmed = [u for u in updates if u.status == "CONFIRMED"]
    assert [(u.seq, u.n_detections) for u in confirmed] == [(1, 2)]
    assert [u.end_reason for u in updates if u.status == "TERMINATED"] == ["WITHDRAWN"] * tentative
    assert len(updates) == 1 + tentative


def test_a_report_before_the_first_one_founds_another_track() -> None:
    """A track is named by the detection that founded it: the known one is withdrawn, and the new one has all its detections."""
    e, reader = engine(SOURCES), Reader()
    given(e, reader, *reports("1", HERE, 100.0, 200.0, 300.0))
    (old,) = reader.latest.values()
    updates = given(e, reader, report(50.0, *HERE, "1"))
    assert {(u.status, u.end_reason) for u in updates} == {("TERMINATED", "WITHDRAWN"), ("CONFIRMED", None)}
    ended, new = sorted(updates, key=lambda u: u.status, reverse=True)
    assert (ended.track_id, ended.seq) == (old.track_id, old.seq + 1)
    assert (new.seq, new.n_detections, new.ids) == (1, 4, {"mmsi": "1"})
    assert ended.revised_from == at(100.0) or ended.revised_from == at(50.0)
    assert same_place(new, e)
    assert reader.shown() == {new.track_id: "CONFIRMED"}


def test_a_late_look_that_says_nothing_is_silent() -> None:
    """It is counted, and it is known: a second one is a duplicate."""
    e, reader = engine(SOURCES), Reader()
    given(e, reader, *reports("1", HERE, 0.0, 300.0, 600.0))
    before = e.state()
    assert given(e, reader, tick(400.0), tick(400.0)) == []
    assert [r.kind for r in e.rejected()] == ["duplicate"]
    assert unlike(e.state(), before) == []
    assert e.counters()["late_fused"] == 1
    assert e.counters()["revised"] == 0


# ---------------------------------------------------------------------------------------- scenes


def sweep(t: float, *found: tuple[float, float], radius_m: float = 20e3) -> Look:
    """A scene about HERE that sees these places."""
    return scan(t, disc(*HERE, radius_m), *[seen(*place, f"{k}") for k, place in enumerate(found)])


def test_a_ship_of_scenes_is_explained_by_a_late_report() -> None:
    """What three scenes have seen was a known ship all the time: the track of the scenes is withdrawn."""
    e, reader = engine(SOURCES), Reader()
    given(e, reader, sweep(600.0, HERE), sweep(900.0, HERE), sweep(1200.0, HERE))
    ((ghost, status),) = reader.shown().items()
    assert status == "CONFIRMED"
    updates = given(e, reader, report(300.0, *HERE, "1"))
    assert reader.latest[ghost].status == "TERMINATED"
    assert reader.latest[ghost].end_reason == "WITHDRAWN"
    assert len(updates) == 2
    ((ship, _),) = reader.shown().items()
    assert (reader.latest[ship].ids, reader.latest[ship].n_detections) == ({"mmsi": "1"}, 4)
    assert e.counters()["withdrawn"] == 1


def test_a_ghost_is_lost_by_late_scenes() -> None:
    """Seen twice, and then, by scenes that come late, not seen at all: it did exist as far as was known, and ended."""
    e, reader = engine(SOURCES), Reader()
    given(e, reader, sweep(600.0, HERE), sweep(660.0, HERE), *reports("2", THERE, 2000.0, 2060.0))
    ((ghost, _),) = [item for item in reader.shown().items() if not reader.latest[item[0]].ids]
    updates = given(e, reader, sweep(900.0), sweep(800.0), sweep(700.0), *[sweep(1000.0 + 10.0 * k) for k in range(6)])
    assert {u.track_id for u in updates} == {ghost}
    last = reader.latest[ghost]
    assert (last.status, last.end_reason) == ("TERMINATED", "LOST")
    assert last.revised_from is not None
    assert ghost not in e.state().tracks
    assert [u.end_reason for u in updates] == [None] * (len(updates) - 1) + ["LOST"]


def test_a_late_empty_scene_lowers_what_is_believed() -> None:
    e, reader = engine(SOURCES), Reader()
    given(e, reader, sweep(600.0, HERE), sweep(900.0, HERE), *reports("2", THERE, 1300.0, 1400.0))
    ((ghost, _),) = [item for item in reader.shown().items() if not reader.latest[item[0]].ids]
    before = reader.latest[ghost]
    (u,) = given(e, reader, sweep(1200.0))
    assert (u.track_id, u.status, u.revised_from) == (ghost, "COASTING", at(1200.0))
    assert u.existence_prob < before.existence_prob
    assert u.n_detections == before.n_detections


def test_a_late_scene_tells_two_ships_apart() -> None:
    """Two ships beside each other change, and a third far away does not."""
    e, reader = engine(SOURCES), Reader()
    beside = shift(*HERE, 150.0, 0.0)
    given(
        e, reader, *reports("1", HERE, 0.0, 600.0), *reports("2", beside, 1.0, 601.0), *reports("3", THERE, 2.0, 602.0)
    )
    updates = given(e, reader, sweep(300.0, shift(*HERE, 60.0, 0.0), shift(*HERE, 100.0, 10.0)))
    assert sorted(u.ids["mmsi"] for u in updates) == ["1", "2"]
    assert {u.revised_from for u in updates} == {at(300.0)}


# ---------------------------------------------------------------------------------------- tracks that end


def test_a_track_that_has_ended_lives_again() -> None:
    """It had become too uncertain; a report from just before carries it on, with the next number, until it ends again."""
    few = {"SEA": {"limit95_m": 2000.0}}
    e, reader = engine(SOURCES, domain=few), Reader()
    given(e, reader, *reports("1", HERE, 0.0, 60.0, 120.0), *reports("2", THERE, 1000.0, 1100.0))
    ended = next(u for u in reader.latest.values() if u.ids == {"mmsi": "1"})
    assert (ended.status, ended.end_reason) == ("TERMINATED", "UNCERTAIN")
    late = (ended.time - at(0.0)).total_seconds() - 30.0
    assert 120.0 < late < 1000.0
    updates = given(e, reader, report(late, *HERE, "1"), report(900.0, *HERE, "1"))
    assert {u.track_id for u in updates} == {ended.track_id}
    u = updates[-1]
    assert u.seq == ended.seq + len(updates)
    assert u.status in ("CONFIRMED", "COASTING")
    assert reader.shown()[ended.track_id] == u.status
    assert u.n_detections == 5
    given(e, reader, tick(3400.0))
    again = reader.latest[ended.track_id]
    assert (again.status, again.end_reason, again.revised_from) == ("TERMINATED", "UNCERTAIN", None)
    assert again.seq > u.seq
    assert again.time > ended.time


def test_a_late_report_moves_the_end_of_a_track() -> None:
    """The track has ended either way: whatever is told of it, it ends with the end."""
    few = {"SEA": {"limit95_m": 2000.0}}
    e, reader = engine(SOURCES, domain=few), Reader()
    given(e, reader, *reports("1", HERE, 0.0, 60.0, 120.0), *reports("2", THERE, 3000.0, 3010.0))
    ended = next(u for u in reader.latest.values() if u.ids == {"mmsi": "1"})
    given(e, reader, report(300.0, *HERE, "1"))
    last = reader.latest[ended.track_id]
    assert (last.status, last.end_reason) == ("TERMINATED", "UNCERTAIN")
    assert ended.track_id not in e.state().tracks


def test_later_than_the_lag_is_late() -> None:
    e, reader = engine(SOURCES), Reader()
    given(e, reader, *reports("1", HERE, 0.0, 300.0, LAG + 100.0))
    before = e.state()
    assert given(e, reader, report(99.0, *HERE, "1")) == []
    assert [r.kind for r in e.rejected()] == ["late"]
    assert unlike(e.state(), before) == []
    assert len(given(e, reader, report(100.0, *HERE, "1"))) == 1


# ---------------------------------------------------------------------------------------- random scenes


class Watched:
    """A run of a scenario whose every update is looked at by one who knows the states before and after."""

    def __init__(self, s: LateScenario) -> None:
        self.run = LateRun(s)
        self.reader = self.run.reader
        self.seen: Counter[str] = Counter()

    def give(self, look: Look) -> None:
        run, before, newest = self.run, self.run.engine.state().tracks, self.run.newest if self.run.taken else None
        taken = len(run.taken)
        latest = dict(self.reader.latest)
        known = {track_id for track_id, u in latest.items() if u.status != "TERMINATED"}
        updates = list(run.give(look))
        assert run.engine.pending == 0
        for u in updates:
            # A reader may go by the time of updates, and learns of a track by its confirmation.
            assert u.track_id not in latest or latest[u.track_id].time <= u.time
            assert u.seq > 1 or u.status == "CONFIRMED" or run.engine.config.tentative
            latest[u.track_id] = u
        if len(run.taken) == taken:
            assert updates == []
        elif newest is None or look_key(look) > look_key(newest):
            assert all(u.revised_from is None for u in updates)
        else:
            self.late(look, updates, before, known)
        assert run.misread() == []

    def late(self, look: Look, updates: list[TrackUpdate], before: dict[str, bytes], known: set[str]) -> None:
        after = self.run.engine.state().tracks
        told = {u.track_id: u for u in updates}
        # A track that is new to readers may be confirmed and coasting at once.
        first = {u.track_id for u in updates if u.seq == 1}
        assert len(told) == len([u for u in updates if u.seq != 2 or u.track_id not in first]), "a track is told twice"
        for u in updates:
            if u.seq > 1 or u.revised_from is not None:
                assert u.revised_from is not None
                # It may lie after the update's own time: what had touched the track from then on does so no more.
                assert look.time <= u.revised_from <= self.run.newest.time
            assert u.time <= self.run.newest.time
            if u.evidence and u.evidence[0].look_id == look.look_id and u.seq > 1:
                assert u.revised_from == look.time
        for track_id in before.keys() & after.keys():
            shown = self.reader.shown()
            if before[track_id] == after[track_id]:
                assert track_id not in told, "nothing of it changed"
            elif track_id in shown and before[track_id][:ROW_BYTES] != after[track_id][:ROW_BYTES]:
                assert track_id in told, "it changed and nobody was told"
                self.seen["changed"] += 1
        for track_id in known - after.keys():
            self.gone(told[track_id])
        self.seen["late"] += 1
        self.seen["again"] += sum(u.seq > 1 and u.track_id not in known for u in updates)

    def gone(self, u: TrackUpdate) -> None:
        """A track that readers knew is no more: in order they would never have been told of it, or of this end."""
        assert u.status == "TERMINATED"
        fold = engine_of(self.run.scenario, hold_back=True, lag_s=FOREVER_S, picture_interval_s=None)
        history = tracks_of([*fold.process_many(self.run.taken), *fold.flush()]).get(u.track_id)
        assert u.end_reason == (history[-1].end_reason if history else "WITHDRAWN")
        self.seen[str(u.end_reason)] += 1


def test_every_update_of_random_scenes() -> None:
    """One update for each track that changed and none for others; a reader shows what the picture shows, after each look."""
    found: Counter[str] = Counter()
    for seed in range(5000, 5030):
        watched = Watched(scenario(seed))
        for look in watched.run.scenario.looks:
            watched.give(look)
        watched.reader.read(watched.run.engine.flush())
        assert untrue(watched.reader.latest, watched.run.taken, watched.run.scenario) == [], seed
        found += watched.seen
    assert found["late"] > 300
    assert found["changed"] > 300
    assert found["WITHDRAWN"] > 20
    assert min(found["LOST"] + found["UNCERTAIN"], found["again"]) > 0


@pytest.mark.parametrize("seed", range(5100, 5106))
def test_at_the_end_a_reader_has_what_holding_back_gives(seed: int) -> None:
    """The same tracks with the same status; what was said last of each is true of its time."""
    s = scenario(seed)
    late, held = Reader(), Reader()
    for reader, hold_back in ((late, False), (held, True)):
        e = engine_of(s, hold_back=hold_back)
        for look in s.looks:
            reader.read(e.process_many([look]))
        reader.read(e.flush())
    assert late.shown() == held.shown()
    for track_id in late.shown():
        a, b = late.latest[track_id], held.latest[track_id]
        # Not n_detections and contributors: that they alone have changed is not told.
        assert (a.domain, a.ids, a.length_m, a.class_probs) == (b.domain, b.ids, b.length_m, b.class_probs)


# ---------------------------------------------------------------------------------------- what it cost


def test_the_work_of_late_looks_is_kept_when_asked_for() -> None:
    """One entry a late look, in their order, with its age behind the newest; counters count the same."""
    s = scenario(5200, "wide")
    s = s._replace(looks=[look for look in s.looks if all(d.detection_id != "another" for d in look.detections)])
    run = LateRun(s)
    assert run.engine.keep_work is False
    run.engine.keep_work = True
    for look in s.looks:
        late, newest = run.late, run.newest.time if run.taken else look.time
        updates = run.give(look)
        work = run.engine.work()
        if run.late == late:
            # In order, or not taken.
            assert all(w.age_s == 0.0 for w in work)
            continue
        (w,) = work
        assert w.time_us == microseconds(look.time)
        assert w.age_s == pytest.approx((newest - look.time).total_seconds())
        assert w.detections == len(look.detections)
        assert w.updates == len(updates)
        assert w.places >= 1
        assert min(w.clusters_first, w.clusters_again, w.tracks) >= 0
    assert run.engine.work() == []
    counters = run.engine.counters()
    assert run.late > 20
    ties = sum(look.time == run.newest.time for look in run.taken)
    assert run.late - ties <= counters["late_fused"] <= run.late
    assert counters["pending"] == 0
    assert counters["window_looks"] == len(run.taken)
    assert counters["window_bytes"] > 0


def test_work_is_not_kept_otherwise() -> None:
    s = scenario(5201, "wide")
    e = engine_of(s)
    e.process_many(s.looks)
    assert e.work() == []
