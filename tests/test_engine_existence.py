"""A look counts where it looked: existence, and how tracks end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from engine_tools import at, disc, engine, fused, report, scan, seen, shift, tick, tracks_of
from hypothesis import given, settings
from hypothesis import strategies as st

from apss_fusion.model import Ellipse, Look, PictureTrack, TrackUpdate
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine

LAT, LON = 50.0, -4.0
DEPARTURE_S = 72_000.0
HERE = disc(LAT, LON, 40e3)
#: Existence at which a track ends.
RECYCLE = float(Config.of().params().filter["recycle"][0])
NO_LAG: dict[str, Any] = {"lag_s": 0.0}


def founded(*, reports: int = 6, gap: float = 120.0, **fields: Any) -> list[Look]:
    """Reports of a ship that lies still."""
    known = {"speed_mps": 0.0} | fields
    return [report(gap * k, LAT, LON, "235000001", **known) for k in range(reports)]


def run(looks: Sequence[Look], e: Engine | None = None) -> tuple[Engine, list[TrackUpdate]]:
    e = e or engine(**NO_LAG)
    return e, [*e.process_many(looks), *e.flush()]


def the_track(e: Engine, t: float) -> PictureTrack:
    (track,) = e.tracks_at(round(at(t).timestamp() * 1e6), 0.0)
    return track


def existence(looks: Sequence[Look], t: float) -> float:
    return the_track(run(looks)[0], t).existence_prob


# ---------------------------------------------------------------------------------------- where a look counts


def test_outside_a_footprint_nothing_changes() -> None:
    """Twenty empty scans next door: not a byte differs. Broken by a detection probability that ignores the place."""
    elsewhere = [scan(700.0 + 60.0 * k, disc(LAT + 1.0, LON, 60e3)) for k in range(20)]
    end = [report(2000.0, LAT, LON, "235000001")]
    assert fused([*founded(), *elsewhere, *end]) == fused([*founded(), *end])
    a, b = run([*founded(), *elsewhere, tick(2000.0)])[0], run([*founded(), tick(2000.0)])[0]
    assert the_track(a, 2000.0) == the_track(b, 2000.0)


def test_inside_and_unseen_existence_falls_as_bayes_says() -> None:
    """R <- r (1 - pD) / (1 - r pD), look by look, until the track is lost."""
    e, _ = run(founded())
    t = 600.0
    statuses = []
    for _ in range(10):
        t += 300.0
        tracks = e.tracks_at(round(at(t).timestamp() * 1e6), 0.0)
        if not tracks:
            break
        r = tracks[0].existence_prob
        want = r * 0.1 / (1.0 - r * 0.9)
        _, updates = run([scan(t, HERE)], e)
        statuses += [u.status for u in updates]
        if want < RECYCLE:
            assert updates[-1].status == "TERMINATED" and updates[-1].end_reason == "LOST"
            assert updates[-1].existence_prob == pytest.approx(want, abs=1e-4)
        else:
            assert the_track(e, t).existence_prob == pytest.approx(want, abs=1e-4)
    assert statuses[0] == "COASTING" and statuses[-1] == "TERMINATED"
    assert statuses == sorted(statuses)
    assert e.counts() == {"TENTATIVE": 0, "CONFIRMED": 0, "COASTING": 0}


def test_a_footprint_that_covers_half_of_where_it_may_be() -> None:
    """The rim goes through the predicted position: half the detection probability counts."""
    rim = disc(*shift(LAT, LON, 500e3, 0.0), 500e3, 180)
    r = existence(founded(), 6000.0)
    got = existence([*founded(), scan(6000.0, rim)], 6000.0)
    want = r * 0.55 / (1.0 - r * 0.45)
    assert got == pytest.approx(want, abs=0.005)


def test_nobody_looking_costs_only_departures() -> None:
    """An hour and a half: r exp(-dt / departure), nothing else. Broken by existence that falls with time unseen."""
    e, _ = run(founded())
    before = the_track(e, 600.0).existence_prob
    after = the_track(e, 6000.0).existence_prob
    assert after == pytest.approx(before * math.exp(-5400.0 / DEPARTURE_S), abs=2e-6)
    assert after > 0.92


@pytest.mark.parametrize("footprint", [None, HERE])
def test_other_ships_reports_say_nothing_of_this_one(footprint: dict[str, Any] | None) -> None:
    """A cooperative report carries no negative information, not even with the receiver's footprint."""
    ship = seen(*shift(LAT, LON, 9e3, 0.0), ids={"mmsi": "235000002"}, speed_mps=0.0)
    others = [
        Look(look_id=f"o{k}", source_id="ais", time=at(700.0 + 60.0 * k), footprint=footprint, detections=(ship,))
        for k in range(10)
    ]
    e, _ = run([*founded(), *others])
    tracks = e.tracks_at(round(at(1300.0).timestamp() * 1e6), 0.0)
    (own,) = [t for t in tracks if t.ids == {"mmsi": "235000001"}]
    assert own.existence_prob == existence(founded(), 1300.0)


def test_a_source_says_nothing_of_domains_that_it_cannot_touch() -> None:
    """A radar for aircraft sweeps over a ship."""
    assert existence([*founded(), scan(700.0, HERE, source="radar")], 700.0) == existence(founded(), 700.0)
    assert existence([*founded(), scan(700.0, HERE, source="sar")], 700.0) < existence(founded(), 700.0)


def test_what_is_too_slow_to_be_seen_is_not_missed() -> None:
    """GMTI sees no radial speed below its least: a ship that lies still keeps its existence, a moving one does not."""
    sweep = scan(700.0, HERE, source="gmti", min_detectable_speed_mps=3.0)
    assert existence([*founded(), sweep], 700.0) == pytest.approx(existence(founded(), 700.0), abs=1e-4)
    moving = founded(speed_mps=9.0, course_deg=10.0, reports=1)
    assert existence([*moving, sweep], 700.0) < existence(moving, 700.0) - 0.02


def test_a_sensor_that_sees_half_needs_more_looks() -> None:
    def looks_until_lost(p_detect: float) -> int:
        scans = [scan(700.0 + 300.0 * k, HERE, p_detect=p_detect) for k in range(60)]
        _, updates = run([*founded(), *scans])
        ends = [u for u in updates if u.status == "TERMINATED"]
        return round(((ends[0].time - at(700.0)).total_seconds()) / 300.0) + 1

    assert looks_until_lost(0.9) < looks_until_lost(0.6) < looks_until_lost(0.3)


@pytest.mark.parametrize("found", [0, 1, 2])
@pytest.mark.parametrize("ships", [1, 2])
def test_a_perfect_sensor_at_the_moment_of_a_report(found: int, ships: int) -> None:
    """Existence 1 and detection probability 1: what is missed then was thought impossible, and 0 / 0 is no existence.

    A ship that is detected lives on; one that is not may end, with an existence from 0 to 1.
    """
    spots = [seen(*shift(LAT, LON, 40.0 * k, 0.0), f"s{k}") for k in range(found)]
    looks = [report(120.0 * k, *shift(LAT, LON, 40.0 * n, 0.0), str(n)) for k in range(6) for n in range(ships)]
    last = scan(600.0, HERE, *spots, p_detect=1.0)
    e, updates = run([*looks, last, *(tick(600.0 + k) for k in (1, 2))])
    assert all(0.0 <= u.existence_prob <= 1.0 for u in updates)
    tracks = e.tracks_at(round(at(602.0).timestamp() * 1e6), 0.0)
    assert all(0.0 <= t.existence_prob <= 1.0 for t in tracks)
    if found >= ships:
        assert {t.ids["mmsi"] for t in tracks if t.ids} == {str(n) for n in range(ships)}


# ---------------------------------------------------------------------------------------- ends and deadlines


def extra_looks(seed: int, until: float) -> list[Look]:
    """Looks at other places, at any time: none of them concerns the ship."""
    rng = np.random.default_rng(seed)
    out: list[Look] = []
    for k in range(int(rng.integers(1, 40))):
        t = float(rng.uniform(600.0, until))
        place = shift(LAT, LON, *(rng.uniform(200e3, 900e3) * rng.choice([-1.0, 1.0], 2)))
        if rng.random() < 0.5:
            out.append(scan(t, disc(*place, 50e3), look_id=f"x{k}"))
        else:
            out.append(report(t, *place, str(300_000_000 + k)))
    return sorted(out, key=lambda look: look.time)


def test_a_track_ends_when_it_is_too_uncertain_to_be_one_object() -> None:
    """At the moment when its ellipse passes the domain's limit, not when somebody happens to look."""
    _, updates = run([*founded(), tick(40_000.0)])
    last = updates[-1]
    assert (last.status, last.end_reason) == ("TERMINATED", "UNCERTAIN")
    assert last.ellipse95.semi_major_m == pytest.approx(50_000.0, rel=1e-4)
    assert 3_600.0 < (last.time - at(600.0)).total_seconds() < 5 * 3_600.0
    assert last.existence_prob > 0.8


def test_a_track_coasts_after_three_of_its_own_intervals() -> None:
    _, updates = run([*founded(gap=120.0), tick(5_000.0)])
    assert [u.status for u in updates] == ["CONFIRMED"] * 5 + ["COASTING"]
    assert updates[-1].time == at(600.0 + 3 * 120.0)
    assert updates[-1].time_last_detection == at(600.0)
    assert updates[-1].evidence == ()


@settings(max_examples=40)
@given(st.integers(0, 2**20), st.booleans())
def test_deadlines_do_not_depend_on_who_else_looked(seed: int, tentative: bool) -> None:
    """Coasting and the end come at the same microsecond with the same bytes, whatever happens elsewhere in between.

    Broken where time is noticed only when a look comes, or where filing in the index moves a deadline.
    """
    overrides: dict[str, Any] = {"tentative": tentative, **NO_LAG}

    def ship_lines(looks: Sequence[Look]) -> list[bytes]:
        e = engine(**overrides)
        out = [*bytes(encode(e.process_many(looks))).splitlines(), *bytes(encode(e.flush())).splitlines()]
        return [line for line in out if b"235000001" in line]

    end = tick(30_000.0)
    plain = ship_lines([*founded(), end])
    assert b'"end_reason":"UNCERTAIN"' in plain[-1]
    looks = sorted([*founded(), *extra_looks(seed, 30_000.0)], key=lambda look: look.time)
    assert ship_lines([*looks, end]) == plain


def test_one_detection_alone_stays_tentative_and_unpublished() -> None:
    e, updates = run(founded(reports=1))
    assert updates == []
    assert e.counts() == {"TENTATIVE": 1, "CONFIRMED": 0, "COASTING": 0}
    _, updates = run([tick(40_000.0)], e)
    assert updates == []
    assert e.counts()["TENTATIVE"] == 0


def test_tentative_tracks_are_published_on_demand_with_their_end() -> None:
    updates = fused([*founded(reports=1), tick(40_000.0)], tentative=True)
    assert [(u.status, u.seq) for u in updates] == [("TENTATIVE", 1), ("TERMINATED", 2)]


def test_a_track_that_is_seen_again_stops_coasting() -> None:
    _, updates = run([*founded(), tick(1_500.0), report(1_600.0, LAT, LON, "235000001")])
    assert [u.status for u in updates][-2:] == ["COASTING", "CONFIRMED"]
    assert len(tracks_of(updates)) == 1


# ---------------------------------------------------------------------------------------- what nobody saw yet


def first_existence(*before: Look) -> float:
    ship = scan(10_000.0, HERE, seen(LAT, LON), clutter_per_km2=1e-4)
    (update,) = [u for u in fused([*before, ship], tentative=True) if u.evidence]
    return update.existence_prob


def test_where_one_looked_in_vain_new_objects_are_less_likely() -> None:
    """The undetected intensity is thinned where a look saw nothing, there only, and fills up again with time."""
    fresh = first_existence()
    assert fresh == pytest.approx(5e-4 * 0.9 / (5e-4 * 0.9 + 1e-4), abs=0.01)
    swept = first_existence(*(scan(9_000.0 + 100.0 * k, HERE) for k in range(3)))
    assert swept < 0.7 * fresh
    assert first_existence(*(scan(9_000.0 + 100.0 * k, disc(LAT + 2.0, LON, 40e3)) for k in range(3))) == fresh
    long_ago = [scan(10_000.0 - 200_000.0 + 100.0 * k, HERE) for k in range(3)]
    later = [
        Look(look_id=s.look_id, source_id="sar", time=at(300.0 + k), footprint=HERE) for k, s in enumerate(long_ago)
    ]
    ship = scan(200_000.0, HERE, seen(LAT, LON), clutter_per_km2=1e-4)
    (update,) = [u for u in fused([*later, ship], tentative=True) if u.evidence]
    assert update.existence_prob == pytest.approx(fresh, abs=0.01)


def test_an_ellipse_wider_than_the_limit_is_no_track() -> None:
    """A fix of 60 km is not one object: what it founds ends at once and is never published."""
    vague = seen(LAT, LON, ellipse=Ellipse(60e3, 60e3, 0.0), ids={"mmsi": "1"})
    looks = [Look(look_id=f"v{k}", source_id="ais", time=at(600.0 * k), detections=(vague,)) for k in range(6)]
    e, updates = run([*looks, tick(4_000.0)])
    assert updates == []
    assert sum(e.counts().values()) <= 1
