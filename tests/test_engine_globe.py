"""The globe is round: no longitude, no pole and no cell of the index is special."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import h3.api.basic_str as h3
import numpy as np
import pytest
from engine_tools import (
    WGS84,
    Scenario,
    at,
    disc,
    distance_m,
    fused,
    go,
    report,
    scan,
    seen,
    shift,
    tick,
    tracks_of,
)

from apss_fusion.model import Look, TrackUpdate

PENTAGON = h3.cell_to_latlng(sorted(h3.get_pentagons(5))[3])


def fleet(lat: float, lon: float, seed: int = 4) -> tuple[list[Look], dict[str, tuple[float, float]]]:
    """Twelve ships within 60 km of a place, reported and scanned for 50 minutes; and where each is at the end.

    Each goes along a geodesic, so that the same seed is the same scene anywhere.
    """
    rng = np.random.default_rng(seed)
    looks, ends = [], {}
    ships = [(rng.uniform(0, 360), rng.uniform(0, 60e3), rng.uniform(0, 360), rng.uniform(0, 9)) for _ in range(12)]
    for k in range(10):
        t = 300.0 * k
        found = []
        for n, (azimuth, away, heading, speed) in enumerate(ships):
            start = go(lat, lon, azimuth, away)
            here = go(*start, heading, speed * t)
            if n % 3 or k == 0:
                looks.append(report(t + n, *go(*start, heading, speed * (t + n)), str(n)))
            found.append(seen(*go(*here, rng.uniform(0, 360), abs(rng.normal(0, 50))), f"s{n}"))
            ends[str(n)] = go(*start, heading, speed * 2850.0)
        if k % 2:
            looks.append(scan(t - 10.0, disc(lat, lon, 80e3), *found))
    return [*sorted(looks, key=lambda k: k.time), tick(2850.0)], ends


def final_places(looks: Sequence[Look], t: float) -> dict[str, tuple[float, float]]:
    """Where each identified ship's last update, moved on, has it; one track each."""
    out = {}
    for own in tracks_of(fused(looks)).values():
        last = own[-1]
        if name := last.ids.get("mmsi"):
            assert name not in out, "two tracks of one ship"
            out[name] = predicted(last, t)
    return out


def predicted(u: TrackUpdate, t: float) -> tuple[float, float]:
    return go(u.lat, u.lon, u.course_deg, u.speed_mps * (at(t) - u.time).total_seconds())


SITES = {
    "greenwich": (50.0, 0.0),
    "90 east": (50.0, 90.0),
    "just west of the antimeridian": (50.0, 179.999),
    "on the antimeridian": (50.0, -180.0),
    "equator at the antimeridian": (0.0, 180.0),
    "north pole": (90.0, 0.0),
    "near the north pole": (89.8, -170.0),
    "south pole": (-90.0, 0.0),
    "where the poles' rule begins": (85.0, 100.0),
    "pentagon": PENTAGON,
}


@pytest.mark.parametrize("site", SITES)
def test_no_ship_is_lost_or_split_anywhere(site: str) -> None:
    looks, ends = fleet(*SITES[site])
    got = final_places(looks, 2850.0)
    assert got.keys() == ends.keys()
    for name, (lat, lon) in ends.items():
        # Those that reported once only are known from the scans.
        assert distance_m(*got[name], lat, lon) < 250.0, name


@pytest.mark.parametrize("turned", [90.0, 179.999, 180.0, -90.0])
def test_the_scene_turned_in_longitude_is_the_same_scene(turned: float) -> None:
    """Same ships, same updates, to the rounding of the numbers (the cells of the intensity are others)."""
    here, there = (fused(fleet(50.0, lon)[0]) for lon in (0.0, turned))
    assert [(u.status, u.seq, u.ids, u.n_detections, u.time) for u in here] == [
        (u.status, u.seq, u.ids, u.n_detections, u.time) for u in there
    ]
    for a, b in zip(here, there, strict=True):
        assert b.lat == pytest.approx(a.lat, abs=2e-5)
        assert (b.lon - a.lon - turned + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=2e-5)
        assert b.existence_prob == pytest.approx(a.existence_prob, abs=2e-3)
        assert b.v_enu_mps[:2] == pytest.approx(a.v_enu_mps[:2], abs=0.05)


@pytest.mark.parametrize("seed", range(12))
def test_random_scenes_at_the_antimeridian(seed: int) -> None:
    """Clutter, misses and RF as well: the ships that report have the same tracks, each with the same reports.

    What nobody named may differ: the cells of the undetected intensity do not turn with the scene.
    """
    scenario = Scenario(seed, 8, 12)

    def reporting(lon: float) -> dict[str, tuple[int, float]]:
        last = [own[-1] for own in tracks_of(fused(scenario.looks(20.0, lon))).values()]
        count = {u.track_id: sum(c.n for c in u.contributors if c.source_id == "ais") for u in last}
        return {u.track_id: (count[u.track_id], u.existence_prob) for u in last if count[u.track_id] > 2}

    here, there = reporting(10.0), reporting(180.0)
    assert here.keys() == there.keys()
    assert {name: n for name, (n, _) in here.items()} == {name: n for name, (n, _) in there.items()}


def journey(
    start: tuple[float, float], azimuth: float, speed: float, source: str, domain: str, step: float
) -> list[Look]:
    known: dict[str, Any] = {"ids": {"icao24": "4b1800"}} if domain == "AIR" else {}
    return [
        report(step * k, *go(*start, azimuth, speed * step * k), "1", source=source, domain=domain, **known)
        for k in range(30)
    ]


@pytest.mark.parametrize(
    ("start", "azimuth", "speed", "source", "domain", "step"),
    [
        ((10.0, 179.9), 90.0, 10.0, "ais", "SEA", 120.0),
        ((-60.0, -179.9), 260.0, 10.0, "ais", "SEA", 120.0),
        ((0.0, 179.5), 45.0, 250.0, "adsb", "AIR", 30.0),
        ((89.3, 20.0), 0.0, 250.0, "adsb", "AIR", 30.0),
        ((-89.5, 20.0), 175.0, 250.0, "adsb", "AIR", 30.0),
        ((89.9, 20.0), 5.0, 8.0, "ais", "SEA", 120.0),
    ],
)
def test_a_track_crosses_the_antimeridian_and_the_poles(
    start: tuple[float, float], azimuth: float, speed: float, source: str, domain: str, step: float
) -> None:
    """One track_id all the way, close to the truth; longitudes in (-180, 180]."""
    (own,) = tracks_of(fused(journey(start, azimuth, speed, source, domain, step))).values()
    assert len(own) >= 28
    assert {math.copysign(1.0, u.lon) for u in own} == {1.0, -1.0} or abs(start[0]) > 80.0
    for u in own[3:]:
        t = (u.time - at(0)).total_seconds()
        assert -180.0 < u.lon <= 180.0
        assert distance_m(u.lat, u.lon, *go(*start, azimuth, speed * t)) < (80.0 if domain == "SEA" else 300.0)
        # The course is that of the geodesic there, also behind the pole.
        _, _, back = WGS84.fwd(start[1], start[0], azimuth, speed * t)
        if abs(u.lat) < 89.95 and t > 10 * step:
            assert (u.course_deg - back - 180.0 + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=10.0)


def test_a_footprint_across_the_antimeridian_and_round_the_pole_sees() -> None:
    """A ship inside such a footprint that is not seen loses existence; one outside does not."""
    for lat, lon in ((0.0, 180.0), (60.0, -179.99), (89.9, 0.0), (-90.0, 0.0)):
        inside, outside = go(lat, lon, 91.0, 40e3), go(lat, lon, 269.0, 200e3)
        looks = [report(100.0 * k + n, *p, str(n)) for k in range(4) for n, p in enumerate((inside, outside))]
        looks += [scan(600.0 + 300.0 * k, disc(lat, lon, 100e3, 24)) for k in range(6)]
        ends = {u.ids["mmsi"]: u for u in fused(looks) if u.end_reason == "LOST"}
        assert ends.keys() == {"0"}


def test_a_ship_goes_round_a_pentagon_of_the_index() -> None:
    """Thirty reports on a circle of 3 km about a pentagon's centre: one track."""
    looks = [
        report(60.0 * k, *shift(*PENTAGON, *(3e3 * np.array([math.sin(0.2 * k), math.cos(0.2 * k)]))), "1")
        for k in range(30)
    ]
    (own,) = tracks_of(fused(looks)).values()
    assert own[-1].n_detections == 30
