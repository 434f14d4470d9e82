"""The index only proposes: a look gives the same as if every track were weighed against every detection.

That is had from the engine itself. A footprint that is spread over the globe (by a speck on its far side) has all tracks
proposed; a detection that may be anywhere (and weighs nothing) has all pairs looked at. Neither may change what the other
detections do to any track, to the last bit of its record.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import h3.api.basic_str as h3
import msgspec
import numpy as np
import pytest
from engine_tools import SOURCES, at, disc, distance_m, engine, go, seen

from apss_fusion.model import Detection, Ellipse, Look
from apss_fusion.tracking.engine import Engine

PENTAGONS = sorted(h3.get_pentagons(4))
#: Pentagons, poles, the antimeridian, the border of two faces of the icosahedron, and plain places.
SITES: list[tuple[float, float]] = [
    *(h3.cell_to_latlng(cell) for cell in (PENTAGONS[0], PENTAGONS[5], PENTAGONS[11])),
    (89.9, 0.0),
    (-90.0, 0.0),
    (0.0, 179.99),
    (55.0, -179.9),
    (31.83, 20.5),
    (-20.0, 60.0),
]
SPECK_M = 50.0
#: A density beside which a detection that may be anywhere weighs nothing.
DENSE: dict[str, Any] = {"clutter_per_km2": 1e-3, "p_detect": 0.9}
FASTEST = {"SEA": 15.0, "AIR": 250.0, "GROUND": 30.0, "UNKNOWN": 60.0}
BY_DOMAIN = {"SEA": "ais", "AIR": "adsb", "GROUND": "gmti", "UNKNOWN": "eo"}
Tracks = dict[str, bytes]


def founding(rng: np.random.Generator, n: int, place: tuple[float, float]) -> Look:
    domain = str(rng.choice(["SEA", "AIR", "GROUND", "UNKNOWN"], p=[0.5, 0.2, 0.15, 0.15]))
    fields: dict[str, Any] = {}
    if rng.random() < 0.7:
        fields |= {"speed_mps": rng.uniform(0, FASTEST[domain]), "course_deg": rng.uniform(0, 360)}
    if rng.random() < 0.3:
        major = 10.0 ** rng.uniform(2, 4)
        fields["ellipse"] = Ellipse(major, major * rng.uniform(0.2, 1.0), rng.uniform(0, 180))
    if rng.random() < 0.5:
        fields["ids"] = {"mmsi": str(n)}
    return Look(
        look_id=f"f{n}",
        source_id=BY_DOMAIN[domain],
        time=at(rng.uniform(0, 60)),
        detections=(seen(*place, domain=domain, **fields),),
        clutter_per_km2=1e-7,
    )


class World:
    """An engine with some 300 tracks about all sites, and its state as records."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.engine = engine(lag_s=0.0)
        looks: list[Look] = []
        for site in SITES:
            for _ in range(35):
                place = go(*site, self.rng.uniform(0, 360), 60e3 * math.sqrt(self.rng.random()))
                looks.append(founding(self.rng, len(looks), place))
        self.engine.process_many(sorted(looks, key=lambda look: look.time))
        self.engine.flush()
        self.records = self.engine.changes()

    def after(self, look: Look) -> Tracks:
        """The records of all tracks after this look, but those of what may be anywhere."""
        e = Engine(self.engine.config, SOURCES)
        e.load(self.records)
        state = dict(self.records)
        e.process_many([look])
        e.flush()
        state |= dict(e.changes())
        return {k: v for k, v in state.items() if k.startswith("track:") and v is not None}

    def detections(self, t: float, sigma_m: float, count: int, own_time_s: float) -> list[Detection]:
        """Near where tracks are predicted to be, of any domain, some with the identity of that track."""
        rng = self.rng
        picture = self.engine.tracks_at(round(at(t).timestamp() * 1e6), 0.0)
        out = []
        for k in range(count):
            track = picture[int(rng.integers(len(picture)))]
            away = abs(rng.normal()) * (1.5 * sigma_m + 300.0 * (t / 60.0) ** 0.8)
            fields: dict[str, Any] = {}
            if rng.random() < 0.3:
                fields["ids"] = track.ids or None
            if own_time_s:
                fields["time"] = at(t + rng.uniform(-own_time_s, own_time_s))
            out.append(
                seen(
                    *go(track.lat, track.lon, rng.uniform(0, 360), away),
                    f"d{k}",
                    str(rng.choice(["SEA", "AIR", "GROUND", "UNKNOWN"])),
                    ellipse=Ellipse(2.45 * sigma_m, 2.45 * sigma_m * rng.uniform(0.2, 1.0), rng.uniform(0, 180)),
                    **fields,
                )
            )
        return out


def everywhere(look: Look) -> Look:
    """The same look, but so that nothing can be left out by the index."""
    footprint = look.footprint
    if footprint is not None:
        lon, lat = footprint["coordinates"][0][0]
        # On the far side, but not at a place where there is a track.
        speck = disc(-lat * 0.9 + 3.0, lon + 170.0 if lon < 0 else lon - 170.0, SPECK_M, 4)
        footprint = {"type": "MultiPolygon", "coordinates": [footprint["coordinates"], speck["coordinates"]]}
    anywhere = seen(12.0, -140.0, "anywhere", domain="UNKNOWN", ellipse=Ellipse(2e7, 2e7, 0.0, 0.9))
    return msgspec.structs.replace(look, footprint=footprint, detections=(*look.detections, anywhere))


def founded_by(world: World, tracks: Tracks) -> Tracks:
    known = dict(world.records)
    return {k: v for k, v in tracks.items() if k not in known}


def check(world: World, look: Look) -> int:
    """How many tracks the look changed, where all is the same as with all pairs."""
    got, want = world.after(look), world.after(everywhere(look))
    known = dict(world.records)
    assert {k: v for k, v in got.items() if k in known} == {k: v for k, v in want.items() if k in known}
    born = founded_by(world, want)
    for k, v in founded_by(world, got).items():
        assert born.pop(k) == v
    # The detection that may be anywhere is no object, and founds at most one that ends at once.
    assert len(born) <= 1
    return sum(got.get(k) != v for k, v in known.items() if k.startswith("track:"))


@pytest.fixture(scope="module")
def world() -> World:
    return World(1)


GAPS_S = (30.0, 300.0, 1200.0, 5400.0)
SIGMAS_M = (50.0, 300.0, 1500.0, 10e3, 30e3)


@pytest.mark.parametrize("gap_s", GAPS_S)
@pytest.mark.parametrize("sigma_m", SIGMAS_M)
def test_detections_without_a_footprint(world: World, gap_s: float, sigma_m: float) -> None:
    """Gates from 200 m to 120 km, one or a few detections (asked for one by one) and many (hung on the cells)."""
    changed = 0
    for k, count in enumerate((1, 3, 5, 6, 25, 30)):
        found = world.detections(60.0 + gap_s, sigma_m, count, 40.0 if k % 3 == 1 else 0.0)
        source = "eo" if k % 2 else "rf"
        look = Look(look_id="q", source_id=source, time=at(60.0 + gap_s), detections=tuple(found), **DENSE)
        changed += check(world, look)
    assert changed > 0


@pytest.mark.parametrize("gap_s", GAPS_S)
@pytest.mark.parametrize("sigma_m", [50.0, 1500.0])
def test_scans_of_footprints(world: World, gap_s: float, sigma_m: float) -> None:
    """Footprints of 10 to 500 km about every kind of place: seen and missed tracks alike."""
    changed = 0
    # The tracks lie within 60 km: wide footprints hold them all, the rims of narrow ones go through their midst.
    for site, wide in itertools.product(SITES, (False, True)):
        radius = 10.0 ** world.rng.uniform(4.8, 5.7) if wide else world.rng.uniform(8e3, 55e3)
        found = world.detections(60.0 + gap_s, sigma_m, 120, 30.0)
        near = [d for d in found if distance_m(d.lat, d.lon, *site) < 0.95 * radius]
        look = Look(
            look_id="q",
            source_id="eo",
            time=at(60.0 + gap_s),
            footprint=disc(*site, radius),
            detections=tuple(near),
            **DENSE,
        )
        changed += check(world, look)
    assert changed > 0


def single(domain: str = "SEA", place: tuple[float, float] = (40.0, -30.0), **fields: Any) -> World:
    """A world with one track, of two detections a second apart."""
    world = World.__new__(World)
    world.rng = np.random.default_rng(0)
    world.engine = engine(lag_s=0.0)
    looks = [
        Look(
            look_id=f"f{k}",
            source_id="eo",
            time=at(k),
            detections=(seen(*place, "d", domain, **fields),),
            clutter_per_km2=1e-7,
        )
        for k in range(2)
    ]
    world.engine.process_many(looks)
    world.engine.flush()
    world.records = world.engine.changes()
    return world


def test_a_vague_detection_at_the_rim_of_a_footprint() -> None:
    """A fix of 10 km inside a small footprint may be of a ship 30 km outside of it, also of one that lies still."""
    world = single(speed_mps=0.0, course_deg=0.0, speed_sigma_mps=0.1, ellipse=Ellipse(20.0, 20.0, 0.0))
    middle = go(40.0, -30.0, 80.0, 30e3)
    spot = seen(*middle, "d", ellipse=Ellipse(24.5e3, 24.5e3, 0.0))
    look = Look(look_id="q", source_id="eo", time=at(30.0), footprint=disc(*middle, 4e3), detections=(spot,), **DENSE)
    assert check(world, look) == 1


def test_a_ship_that_turned_among_many_detections() -> None:
    """The wide motion model of a report of the same identity holds however many other detections its look has."""
    for others in (0, 12):
        world = single(ids={"mmsi": "7"}, speed_mps=10.0, course_deg=0.0)
        turned = go(40.0, -30.0, 180.0, 1200.0)
        crowd = [seen(*go(-40.0, 30.0, 30.0 * k, 5e3), f"x{k}", ids={"mmsi": f"x{k}"}) for k in range(others)]
        look = Look(
            look_id="q", source_id="ais", time=at(121.0), detections=(seen(*turned, "d", ids={"mmsi": "7"}), *crowd)
        )
        assert check(world, look) == 1


@pytest.mark.parametrize(
    ("track", "detection", "own_time_s", "away_m"),
    [("UNKNOWN", "SEA", 600.0, 70e3), ("UNKNOWN", "GROUND", 300.0, 50e3), ("AIR", "UNKNOWN", 300.0, 100e3)],
)
def test_a_detection_long_after_its_look(track: str, detection: str, own_time_s: float, away_m: float) -> None:
    """The track of another domain may have gone further in that time than the detection's own could."""
    for count in (1, 10):
        world = single(track)
        spots = [
            seen(*go(40.0 + 1e-4 * k, -30.0, 90.0, away_m), f"d{k}", detection, time=at(20.0 + own_time_s))
            for k in range(count)
        ]
        look = Look(look_id="q", source_id="eo", time=at(20.0), detections=tuple(spots), **DENSE)
        assert check(world, look) == 1
