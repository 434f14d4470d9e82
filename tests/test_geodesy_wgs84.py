"""n-vectors, short vectors and ECEF against GeographicLib (pyproj), PROJ and pymap3d."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pymap3d  # type: ignore[import-untyped]
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.geodesy import wgs84
from apss_fusion.geodesy.wgs84 import convergence_rad, ecef, geodetic, geodetic_of_ecef, moved, nvectors, offset

GEOD = pyproj.Geod(ellps="WGS84")
LATITUDES = (0.0, 15.0, -30.0, 45.0, 60.0, -75.0, 85.0, 89.0, 89.9, -89.9999)

latitudes = st.floats(-90.0, 90.0)
longitudes = st.floats(-180.0, 180.0)


def fan(lat: float, distance_m: float, count: int = 72) -> tuple[Any, ...]:
    """Points about the antimeridian, geodesics from them in all directions, and their ends."""
    azimuth = np.linspace(-180.0, 180.0, count, endpoint=False)
    lats = np.full(count, lat)
    lons = np.where(np.arange(count) % 2 == 0, 179.999, -179.999)
    end_lon, end_lat, back = GEOD.fwd(lons, lats, azimuth, np.full(count, distance_m))
    vector = distance_m * np.stack([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))], 1)
    return nvectors(lats, lons), nvectors(end_lat, end_lon), vector, np.radians(azimuth), np.radians(back + 180.0)


def vectors(lat: Any, lon: Any) -> list[tuple[float, float, float]]:
    return [(float(x), float(y), float(z)) for x, y, z in nvectors(lat, lon)]


def apart_m(n: Any, p: Any) -> float:
    lat, lon = geodetic([n, p])
    distance_m: float = GEOD.inv(lon[0], lat[0], lon[1], lat[1])[2]
    return distance_m


@pytest.mark.parametrize(
    ("distance_m", "bound_m"),
    [(10.0, 1e-7), (1e3, 2e-7), (1e4, 1e-4), (5e4, 0.011), (1e5, 0.084), (5e5, 10.5), (1e6, 83.5), (5e6, 1e4)],
)
@pytest.mark.parametrize("lat", LATITUDES)
def test_offset_and_moved_are_geodesics_within_the_documented_error(
    lat: float, distance_m: float, bound_m: float
) -> None:
    start, end, vector, _, _ = fan(lat, distance_m)
    for n, p, v in zip(start, end, vector, strict=True):
        assert math.dist(offset(*n, *p), v) < bound_m
        assert apart_m(moved(*n, *v), p) < bound_m


@given(latitudes, longitudes, st.floats(-180.0, 180.0), st.floats(0.0, 5e5))
def test_offset_undoes_moved(lat: float, lon: float, azimuth: float, distance_m: float) -> None:
    (n,) = vectors(lat, lon)
    v = distance_m * math.sin(math.radians(azimuth)), distance_m * math.cos(math.radians(azimuth))
    p = moved(*n, *v)
    assert math.hypot(*p) == pytest.approx(1.0, abs=1e-15)
    assert math.dist(offset(*n, *p), v) < 4e-7 * distance_m + 1e-8


@given(latitudes, longitudes, latitudes, longitudes)
def test_offset_and_moved_stay_finite_all_over_the_globe(lat: float, lon: float, lat2: float, lon2: float) -> None:
    n, p = vectors([lat, lat2], [lon, lon2])
    v = offset(*n, *p)
    _, _, distance_m = GEOD.inv(lon, lat, lon2, lat2)
    assert math.hypot(*v) == pytest.approx(distance_m, rel=0.05, abs=1e-6)
    assert math.dist(moved(*n, *v), p) < 0.08


def test_the_antipode_is_half_the_globe_away() -> None:
    assert math.hypot(*offset(1.0, 0.0, 0.0, -1.0, 0.0, 0.0)) == pytest.approx(math.pi * wgs84.SEMI_MAJOR_M)


@given(latitudes, longitudes, st.floats(-5e4, 5e4), st.floats(-5e4, 5e4))
def test_longitude_does_not_matter(lat: float, turn: float, east_m: float, north_m: float) -> None:
    here, there = vectors(lat, [10.0, 10.0 + turn])
    a, b = moved(*here, east_m, north_m), moved(*there, east_m, north_m)
    assert a[2] == pytest.approx(b[2], abs=1e-14)
    if abs(lat) < 89.9999:
        assert offset(*here, *a) == pytest.approx(offset(*there, *b), abs=1e-5)


def test_ways_over_and_from_the_pole() -> None:
    # From longitude 30 north over the pole: it comes down on longitude -150.
    (n,) = vectors(89.9, 30.0)
    lat, lon = geodetic(moved(*n, 0.0, 30_000.0))
    _, _, distance_m = GEOD.inv(30.0, 89.9, lon[0], lat[0])
    assert lon[0] == pytest.approx(-150.0, abs=1e-9)
    assert distance_m == pytest.approx(30_000.0, abs=0.01)
    # At the pole itself east is longitude 90 and north is longitude 180 (the south pole: 0).
    for z, north_lon in ((1.0, 180.0), (-1.0, 0.0)):
        for vector, lon_deg in (((1e4, 0.0), 90.0), ((0.0, 1e4), north_lon), ((-1e4, 0.0), -90.0)):
            lat, lon = geodetic(moved(0.0, 0.0, z, *vector))
            assert lon[0] == pytest.approx(lon_deg, abs=1e-9)
            assert GEOD.inv(0.0, 90.0 * z, lon[0], lat[0])[2] == pytest.approx(1e4, abs=1e-3)


def test_a_thousand_steps_keep_the_length_of_the_normal() -> None:
    (n,) = vectors(50.0, 179.9)
    for _ in range(1_000):
        n = moved(*n, 4e3, 1e3)
    assert math.hypot(*n) == pytest.approx(1.0, abs=1e-15)


def test_radii_of_curvature() -> None:
    a, b = 6_378_137.0, 6_356_752.314245
    assert wgs84.radii(0.0) == pytest.approx((a, b * b / a), abs=1e-5)
    assert wgs84.radii(1.0) == pytest.approx((a * a / b, a * a / b), abs=1e-5)
    for lat in (10.0, -45.0, 77.0):
        expected = pymap3d.rcurve.transverse(lat), pymap3d.rcurve.meridian(lat)
        assert wgs84.radii(math.sin(math.radians(lat))) == pytest.approx(expected, abs=1e-3)


@given(latitudes, st.floats(-1000.0, 1000.0))
def test_geodetic_undoes_nvectors(lat: float, lon: float) -> None:
    got_lat, got_lon = geodetic(nvectors(lat, lon))
    assert got_lat[0] == pytest.approx(lat, abs=1e-13)
    assert -180.0 < got_lon[0] <= 180.0
    if abs(lat) < 90.0:
        assert abs(math.remainder(got_lon[0] - lon, 360.0)) < 1e-12 / math.cos(math.radians(lat))


def test_no_negative_zero_and_no_second_name_for_the_antimeridian() -> None:
    lat, lon = geodetic([[-1.0, -0.0, 0.0], [1.0, -0.0, 0.0], [0.0, 0.0, 1.0]])
    assert lon.tolist() == [180.0, 0.0, 0.0]
    assert not np.signbit(lon).any()
    assert lat.tolist() == [0.0, 0.0, 90.0]


def test_a_point_has_the_same_bytes_in_any_batch() -> None:
    rng = np.random.default_rng(1)
    lat, lon, h = rng.uniform(-90, 90, 257), rng.uniform(-180, 180, 257), rng.uniform(-1e3, 1e6, 257)
    n, xyz = nvectors(lat, lon), ecef(lat, lon, h)
    back, places = geodetic(n), geodetic_of_ecef(xyz)
    for start in (0, 1, 100, 256):
        part = slice(start, start + 13)
        assert nvectors(lat[part], lon[part]).tobytes() == n[part].tobytes()
        assert ecef(lat[part], lon[part], h[part]).tobytes() == xyz[part].tobytes()
        assert [v.tobytes() for v in geodetic(n[part])] == [v[part].tobytes() for v in back]
        assert [v.tobytes() for v in geodetic_of_ecef(xyz[part])] == [v[part].tobytes() for v in places]


@pytest.mark.parametrize(
    "heights_m", [(-1.1e4, 1e4), (1e4, 2e6), (2e6, 5e7), (-5e6, -1e5)], ids=["air", "low orbit", "high orbit", "depth"]
)
def test_ecef_equals_proj_and_pymap3d(heights_m: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    lat = np.concatenate([[-90.0, 90.0, 0.0, 0.0, 89.9999], np.degrees(np.arcsin(rng.uniform(-1, 1, 2_000)))])
    lon = np.concatenate([[0.0, 0.0, 180.0, 90.0, -179.9999], rng.uniform(-180, 180, 2_000)])
    h = rng.uniform(*heights_m, len(lat))
    xyz = ecef(lat, lon, h)
    to_ecef = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    np.testing.assert_allclose(xyz, np.stack(to_ecef.transform(lon, lat, h), 1), atol=1e-7, rtol=0)
    np.testing.assert_allclose(xyz, np.stack(pymap3d.geodetic2ecef(lat, lon, h), 1), atol=1e-7, rtol=0)
    got_lat, got_lon, got_h = geodetic_of_ecef(xyz)
    np.testing.assert_allclose(got_lat, lat, atol=1e-12)
    np.testing.assert_allclose(got_h, h, atol=1e-7)
    away = np.abs(lat) < 89.99
    np.testing.assert_allclose(got_lon[away], lon[away], atol=1e-12)


def test_ecef_of_the_middle_and_of_the_poles() -> None:
    lat, lon, h = geodetic_of_ecef([[0.0, 0.0, 0.0], [0.0, 0.0, -6_356_752.314245], [-6_378_137.0, 0.0, 0.0]])
    assert np.isfinite([lat, lon, h]).all()
    assert lat.tolist()[1:] == [-90.0, 0.0]
    assert lon[2] == 180.0
    assert h[1:] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert ecef(0.0, [0.0, 90.0], 0.0) == pytest.approx(np.array([[6_378_137.0, 0, 0], [0, 6_378_137.0, 0]]), abs=1e-9)


@pytest.mark.parametrize("lat", LATITUDES)
@pytest.mark.parametrize(("distance_m", "bound_rad"), [(1e4, 1e-11), (1e5, 1e-8), (1e6, 1e-5)])
def test_convergence_is_the_turn_of_a_geodesic(lat: float, distance_m: float, bound_rad: float) -> None:
    start, end, _, begins, ends = fan(lat, distance_m)
    for n, p, before, after in zip(start, end, begins, ends, strict=True):
        # Azimuths grow clockwise, the angle counter-clockwise.
        assert abs(math.remainder(convergence_rad(*n, *p) + after - before, 2.0 * math.pi)) < bound_rad


def test_convergence_of_a_short_way_is_that_of_the_meridians() -> None:
    n, p = nvectors([60.0, 60.0], [20.0, 20.01])
    assert convergence_rad(*n, *p) == pytest.approx(-math.radians(0.01) * math.sin(math.radians(60.0)), rel=1e-6)


@given(st.lists(st.tuples(latitudes, longitudes), min_size=3, max_size=3))
def test_round_a_triangle_a_vector_turns_by_the_triangle_s_area(places: list[tuple[float, float]]) -> None:
    a, b, c = nvectors([p[0] for p in places], [p[1] for p in places])
    if min(1.0 + a @ b, 1.0 + b @ c, 1.0 + c @ a) < 1e-3:
        return
    # Spherical excess by Van Oosterom and Strackee (1983), counter-clockwise positive.
    excess = 2.0 * math.atan2(float(a @ np.cross(b, c)), float(1.0 + a @ b + b @ c + c @ a))
    turn = convergence_rad(*a, *b) + convergence_rad(*b, *c) + convergence_rad(*c, *a)
    assert abs(math.remainder(turn - excess, 2.0 * math.pi)) < 1e-9


@given(latitudes, longitudes, latitudes, longitudes)
def test_the_rotation_is_its_angle_s_and_the_way_back_undoes_it(
    lat: float, lon: float, lat2: float, lon2: float
) -> None:
    n, p = nvectors([lat, lat2], [lon, lon2])
    if 1.0 + n @ p < 1e-3:
        return
    angle = convergence_rad(*n, *p)
    c, s = wgs84.frame_rotation(*n, *p)
    assert (c, s) == pytest.approx((math.cos(angle), math.sin(angle)), abs=1e-12)
    assert abs(math.remainder(angle + convergence_rad(*p, *n), 2.0 * math.pi)) < 1e-9
