"""Footprints, orbits, lanes and scenario files of the simulation, each alone."""

from __future__ import annotations

import json
import math
import tomllib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sgp4.propagation import gstime
from simulated import START, WGS84, in_ring

from apss_fusion.geodesy.wgs84 import geodetic, geodetic_of_ecef, nvectors
from apss_fusion.model import Source
from apss_fusion.simulation import Scenario, load, run
from apss_fusion.simulation.footprints import Footprint, disc, rectangle
from apss_fusion.simulation.motion import distances
from apss_fusion.simulation.orbits import positions, satellites
from apss_fusion.simulation.run import register
from apss_fusion.simulation.scenario import (
    Imager,
    Orbit,
    Satellite,
    Traffic,
)
from apss_fusion.simulation.traffic import fleets

# Footprints


@given(
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.floats(0, 6.28),
    st.sampled_from(["disc", "strip"]),
    st.floats(10, 500),
)
def test_footprints_as_geojson(lat: float, lon: float, azimuth: float, kind: str, size_km: float) -> None:
    """The GeoJSON has the footprint's area, is counter-clockwise and holds the points that are drawn from it."""
    centre = nvectors(lat, lon)[0]
    size = size_km * 1000
    footprint = disc(centre, size) if kind == "disc" else rectangle(centre, size, size / 2, azimuth)
    geometry = footprint.geojson()
    polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
    points = footprint.draw(np.random.default_rng(1), 200)
    assert footprint.contains(points).all()
    lats, lons = geodetic(points)
    inside = np.zeros(200, int)
    for (exterior,) in polygons:
        ring = np.array(exterior)
        assert (ring[0] == ring[-1]).all()
        assert np.abs(ring[:, 0]).max() <= 180
        assert np.abs(ring[:, 1]).max() <= 90
        x, y = ring.T
        assert np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) > 0
        inside += in_ring(ring, lons, lats)
    assert (inside <= 1).all()
    assert inside.mean() > (0.97 if abs(lat) < 80 else 0.9)
    assert footprint.touches(centre, 1.0)


@given(st.floats(-80, 80), st.floats(-180, 180), st.floats(0, 360), st.floats(20, 400))
def test_where_a_footprint_ends(lat: float, lon: float, azimuth: float, half_km: float) -> None:
    centre = nvectors(lat, lon)[0]
    strip = rectangle(centre, 2000 * half_km, 1000 * half_km, math.radians(azimuth))
    for turn, reach in ((0, half_km), (180, half_km), (90, half_km / 2), (-90, half_km / 2)):
        for factor, inside in ((0.99, True), (1.01, False)):
            x, y, _ = WGS84.fwd(lon, lat, azimuth + turn, reach * factor * 1000)
            place = nvectors(y, x)
            assert strip.contains(place)[0] == inside
            assert strip.touches(place[0], reach * 0.011 * 1000)
    far = WGS84.fwd(lon, lat, azimuth, 2 * half_km * 1000)
    assert not strip.touches(nvectors(far[1], far[0])[0], half_km * 990)
    assert strip.touches(nvectors(far[1], far[0])[0], half_km * 1010)
    assert strip.area_km2 == pytest.approx(2 * half_km**2)


def test_a_footprint_over_the_pole() -> None:
    for lat in (90.0, 88.0, -88.0):
        geometry = disc(nvectors(lat, 30.0)[0], 500e3).geojson()
        polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        area = sum(abs(WGS84.polygon_area_perimeter(*np.array(ring).T)[0]) for (ring,) in polygons)
        covered = np.sum([np.ptp(np.array(ring)[:, 0]) for (ring,) in polygons])
        assert covered == pytest.approx(360.0)
        assert max(abs(np.array(ring)[:, 1]).max() for (ring,) in polygons) == 90.0
        assert area > 0


# Orbits


def test_sgp4_verification_case() -> None:
    """Satellite 00005 at its epoch: AIAA 2006-6753, tcppver.out; turned by the sidereal time of sgp4's own code."""
    orbit = Orbit(
        tle=(
            "1 00005U 58002B   00179.78495062  .00000023  00000-0  28098-4 0  4753",
            "2 00005  34.2682 348.7242 1859667 331.7664  19.3264 10.82419157413667",
        )
    )
    epoch = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=178.78495062)
    (satellite,) = satellites(orbit, epoch, (0, 0))
    x, y, z = positions(satellite, epoch, np.array([0.0]))[0] / 1000
    # The epoch in microseconds moves the satellite by some metres.
    assert z == pytest.approx(0.03995155, abs=0.01)
    assert math.hypot(x, y) == pytest.approx(math.hypot(7022.46529266, -1400.08296755), abs=0.01)
    sidereal = gstime(2451544.5 + 178.78495062)
    turned = math.atan2(-1400.08296755, 7022.46529266) - sidereal
    assert math.remainder(math.atan2(y, x) - turned, 2 * math.pi) == pytest.approx(0.0, abs=2e-6)


def test_element_sets_in_messages(tmp_path: Path) -> None:
    message = {
        "OBJECT_NAME": "INVENTED",
        "OBJECT_ID": "2026-001A",
        "EPOCH": "2026-03-01T12:00:00.000000",
        "MEAN_MOTION": 15.2,
        "ECCENTRICITY": 0.0001,
        "INCLINATION": 97.5,
        "RA_OF_ASC_NODE": 10.0,
        "ARG_OF_PERICENTER": 0.0,
        "MEAN_ANOMALY": 45.0,
        "EPHEMERIS_TYPE": 0,
        "CLASSIFICATION_TYPE": "U",
        "NORAD_CAT_ID": 99999,
        "ELEMENT_SET_NO": 1,
        "REV_AT_EPOCH": 1,
        "BSTAR": 0.0,
        "MEAN_MOTION_DOT": 0.0,
        "MEAN_MOTION_DDOT": 0.0,
    }
    (tmp_path / "omm.json").write_text(json.dumps([message, message]))
    text = '[[satellites]]\nname = "a"\nsensor = { modality = "SAR" }\norbit = { omm_file = "omm.json" }\n'
    (tmp_path / "scenario.toml").write_text(text)
    orbit = load(tmp_path / "scenario.toml").satellites[0].orbit
    found = satellites(orbit, START, (0, 0))
    assert len(found) == 2
    lat, _, height = geodetic_of_ecef(positions(found[0], START, np.array([0.0])))
    assert lat[0] == pytest.approx(44.5, abs=0.5)
    assert 450e3 < height[0] < 600e3
    (tmp_path / "omm.json").write_text("[{}]")
    with pytest.raises(ValueError, match=r"omm\.json"):
        satellites(orbit, START, (0, 0))


@given(
    st.floats(-45, 45),
    st.floats(-180, 180),
    st.floats(50, 130),
    st.floats(300, 1500),
    st.floats(0, 20_000),
    st.booleans(),
)
def test_a_train_passes_where_and_when_it_is_told(
    lat: float, lon: float, inclination: float, altitude: float, seconds: float, ascending: bool
) -> None:
    orbit = Orbit(
        altitude_km=altitude,
        inclination_deg=inclination,
        over_at_s=seconds,
        over=(lat, lon),
        ascending=ascending,
        count=3,
        interval_s=777.0,
    )
    track = []
    for k, satellite in enumerate(satellites(orbit, START, (0, 0))):
        place = positions(satellite, START, seconds + 777.0 * k + np.array([0.0, 10.0]))
        lats, lons, heights = geodetic_of_ecef(place)
        _, _, away = WGS84.inv(lon, lat, lons[0], lats[0])
        # What SGP4 adds to a circle: its short-period terms.
        assert away < 25e3
        assert (lats[1] > lats[0]) == ascending
        assert heights[0] == pytest.approx(altitude * 1000, abs=35e3)
        track.append((lats[0], lons[0]))
    _, _, apart = WGS84.inv(track[0][1], track[0][0], track[2][1], track[2][0])
    assert apart < 2e3


# Scenario files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = 1\nspeed = 2\n", "speed"),
        ('[[satellites]]\nname = "a"\nsensor = { modality = "SAR", swath = 3 }\n', r"swath.*satellites\[0\]\.sensor"),
        ('[[satellites]]\nname = "a"\nsensor = { modality = "SONAR" }\n', "SONAR"),
        ('[[satellites]]\nname = "a"\n', "sensor"),
        ('[[satellites]]\nname = "a"\nsensor = { modality = "SAR", near_km = 500 }\n', "near_km"),
        ('[[satellites]]\nname = "a"\nsensor = { modality = "AIS" }\n' * 2, "twice"),
        ('[traffic]\nlanes = [["A", "B"]]\n', "A is neither"),
        ('[traffic]\nlanes = [["A"]]\nports = { A = [1, 2] }\n', "two places"),
        ("[traffic]\nports = { A = [1, 2] }\n", "no lane"),
        ("[region]\nlat = 95\n", "lat"),
        ("start = 2026-01-01T00:00:00\n", "start"),
        ("seed = \n", ""),
    ],
)
def test_a_wrong_scenario_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"scenario\.toml: .*{says}"):
        load(path)


def test_orbits_that_cannot_be_flown(tmp_path: Path) -> None:
    def with_orbit(orbit: Orbit) -> Scenario:
        return Scenario(satellites=(Satellite(name="a", sensor=Imager(), orbit=orbit),))

    for orbit, says in (
        (Orbit(inclination_deg=20, over_at_s=0), "latitude"),
        (Orbit(tle=("1 00005U",)), "pairs"),
    ):
        with pytest.raises(ValueError, match=says):
            run(with_orbit(orbit), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_named_lanes_are_followed() -> None:
    traffic = Traffic(
        ships=40,
        fishing_share=0.0,
        ports={"A": (40.0, 4.0), "B": (41.0, 6.0)},
        waypoints={"W": (40.2, 5.5)},
        lanes=(("A", "W", "B"),),
    )
    (fleet, _, _) = fleets(Scenario(traffic=traffic, duration_s=7200.0))
    legs = [nvectors(40.0, 4.0)[0], nvectors(40.2, 5.5)[0], nvectors(41.0, 6.0)[0]]
    grid = []
    for a, b in pairwise(legs):
        points = a + np.linspace(0, 1, 400)[:, None] * (b - a)
        grid.append(points / np.linalg.norm(points, axis=1)[:, None])
    lane = np.concatenate(grid)
    for path in fleet.path[:, ::30].reshape(-1, 3):
        assert distances(path, lane).min() < 10e3


@given(st.dictionaries(st.text(min_size=1), st.text(), min_size=1))
def test_the_register_can_be_read_whatever_the_names(names: dict[str, str]) -> None:
    sources = {name: Source(modality="SAR", provider=text, caveats=(text,)) for name, text in names.items()}
    back = tomllib.loads(register(sources))["sources"]
    assert {name: msgspec.convert(entry, Source) for name, entry in back.items()} == sources


def test_the_footprint_is_a_value() -> None:
    square = Footprint(nvectors(0, 0)[0], np.array([[1e3, 1e3], [-1e3, 1e3], [-1e3, -1e3], [1e3, -1e3]]))
    assert square.area_km2 == pytest.approx(4.0)
