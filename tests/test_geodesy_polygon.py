"""Distances to a polygon's edge, and the chance that a Gaussian lies inside, against GeographicLib and sampling."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from apss_fusion.geodesy.ellipse import covariance_of_ellipse
from apss_fusion.geodesy.footprint import Footprint, chance_inside, inside, signed_distance_m
from apss_fusion.geodesy.polygon import FAR_M
from apss_fusion.geodesy.wgs84 import geodetic, moved, nvectors

GEOD = pyproj.Geod(ellps="WGS84")


def footprint(*rings: list[tuple[float, float]]) -> Footprint:
    coordinates = [[[(lon + 180.0) % 360.0 - 180.0, lat] for lon, lat in [*ring, ring[0]]] for ring in rings]
    return Footprint.of({"type": "Polygon", "coordinates": coordinates})


def frame(lon: float, lat: float, half_m: float, turn_deg: float = 0.0) -> Footprint:
    """A square scene about a place, with geodesic edges: its sides are 2 half_m."""
    corners = [GEOD.fwd(lon, lat, turn_deg + 45.0 - 90.0 * k, half_m * 2.0**0.5)[:2] for k in range(4)]
    return footprint(corners)


def at(lon: float, lat: float) -> tuple[float, float, float]:
    x, y, z = nvectors(lat, lon)[0]
    return float(x), float(y), float(z)


def distance_m(shape: Footprint, n: Any) -> float:
    x, y, z = n
    return signed_distance_m(x, y, z, shape.vertices, shape.ring_start)


def chance(shape: Footprint, n: Any, covariance: Any) -> float:
    (x, y, z), (ee, en, nn) = n, covariance
    return chance_inside(x, y, z, ee, en, nn, shape.vertices, shape.ring_start)


def nearest_m(shape: Footprint, lon: float, lat: float) -> float:
    """Distance to the edges by GeographicLib, from points strewn along the great circles of the normals."""
    found = math.inf
    for first, end in pairwise(shape.ring_start[:-1]):
        ring = shape.vertices[first:end]
        for a, b in zip(ring, np.roll(ring, -1, 0), strict=True):
            lats, lons = geodetic(a + (b - a) * np.linspace(0.0, 1.0, 1_500)[:, None])
            count = len(lats)
            found = min(found, GEOD.inv(np.full(count, lon), np.full(count, lat), lons, lats)[2].min())
    return found


@pytest.mark.parametrize(
    ("lon", "lat"), [(10.0, 0.0), (179.9, 45.0), (-60.0, -72.0), (20.0, 89.9)], ids=["equator", "180", "south", "pole"]
)
@pytest.mark.parametrize("away_m", [0.0, 900.0, 1_500.0, 2e4, 5e5])
def test_the_distance_is_geodesic(lon: float, lat: float, away_m: float) -> None:
    shape = frame(lon, lat, 1_000.0, turn_deg=17.0)
    for azimuth in (0.0, 77.0, -135.0):
        lon_p, lat_p, _ = GEOD.fwd(lon, lat, azimuth, away_m)
        got = distance_m(shape, at(lon_p, lat_p))
        assert abs(got) == pytest.approx(nearest_m(shape, lon_p, lat_p), rel=1e-3, abs=2.0)
        assert (got > 0.0) == inside(*at(lon_p, lat_p), shape.vertices, shape.ring_start)
        if lat < 89.0:
            assert (got > 0.0) == (away_m < 1_000.0)


def test_the_distance_counts_holes_and_all_parts() -> None:
    shape = footprint([(0, 0), (1, 0), (1, 1), (0, 1)], [(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)])
    assert distance_m(shape, at(0.5, 0.5)) == pytest.approx(-0.1 * 110_574, rel=1e-3)
    assert distance_m(shape, at(0.5, 0.35)) == pytest.approx(0.05 * 110_574, rel=1e-3)
    assert distance_m(shape, at(0.1, 0.5)) == pytest.approx(0.1 * 111_320, rel=1e-3)


def test_a_polygon_may_be_a_slice_of_several() -> None:
    shapes = [frame(10.0, 50.0, 1e4), footprint([(0, 0), (1, 0), (1, 1)], [(0.5, 0.2), (0.6, 0.2), (0.6, 0.3)])]
    shapes.append(frame(180.0, -70.0, 1e5))
    vertices = np.concatenate([s.vertices for s in shapes])
    for k, shape in enumerate(shapes):
        start = sum(len(s.vertices) for s in shapes[:k])
        rows = vertices[start : start + len(shape.vertices)]
        for x, y, z in shape.vertices[:-1].tolist():
            n = moved(x, y, z, 3_000.0, -2_000.0)
            covariance = (4e6, 1e6, 9e6)
            assert chance_inside(*n, *covariance, rows, shape.ring_start) == chance(shape, n, covariance)


def test_far_away_is_a_large_negative_number() -> None:
    shape = frame(10.0, 50.0, 1e5)
    assert distance_m(shape, at(-170.0, -50.0)) == -FAR_M
    assert distance_m(shape, -shape.center) == -FAR_M
    assert distance_m(shape, at(10.0, 0.0)) == pytest.approx(-5.4e6, rel=0.05)
    # So many tracks are not even near: nothing of a Gaussian there is inside.
    assert chance(shape, at(-170.0, -50.0), (1e10, 0.0, 1e10)) == 0.0


@pytest.mark.parametrize(("lon", "lat"), [(0.0, 0.0), (180.0, 30.0), (33.0, 80.0), (-120.0, -70.0)])
@pytest.mark.parametrize("sigma_m", [10.0, 5_000.0])
def test_across_a_long_straight_edge_it_is_the_normal_distribution(lon: float, lat: float, sigma_m: float) -> None:
    half_m = 4e4
    shape = frame(lon, lat, half_m)
    for offset_in_sigmas in (-5.0, -2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0, 5.0):
        # East of the centre, so many sigmas from the eastern edge inwards.
        n = moved(*at(lon, lat), half_m - offset_in_sigmas * sigma_m, 0.0)
        got = chance(shape, n, (sigma_m**2, 0.0, sigma_m**2))
        assert got == pytest.approx(norm.cdf(offset_in_sigmas), abs=0.064)
        assert (got * 64.0).is_integer()


def test_beyond_four_sigmas_it_is_exactly_none_or_all() -> None:
    shape = frame(5.0, 60.0, 50_000.0)
    n = at(5.0, 60.0)
    inside_m = distance_m(shape, n)
    assert chance(shape, n, (1.0, 0.0, 1.0)) == 1.0
    assert chance(shape, n, ((inside_m / 4.01) ** 2, 0.0, 1.0)) == 1.0
    outside = moved(*n, 200_000.0, 0.0)
    outside_m = distance_m(shape, outside)
    assert chance(shape, outside, ((outside_m / 4.01) ** 2, 0.0, 0.0)) == 0.0
    # Nearer, the grid says how much: its outermost points are at 1.53 sigmas.
    assert chance(shape, outside, ((outside_m / 1.5) ** 2, 0.0, 1.0)) == pytest.approx(0.125)


@settings(max_examples=40)
@given(
    st.floats(-180.0, 180.0),
    st.floats(-85.0, 85.0),
    st.floats(0.0, 360.0),
    st.floats(100.0, 3e4),
    st.floats(0.05, 1.0),
    st.floats(0.0, 180.0),
    st.floats(0.0, 1.6),
    st.integers(0, 1_000),
)
def test_the_chance_is_the_share_of_samples_inside(
    lon: float, lat: float, turn: float, major_m: float, flatness: float, orientation: float, away: float, seed: int
) -> None:
    shape = frame(lon, lat, 20_000.0, turn)
    covariance = covariance_of_ellipse(major_m, flatness * major_m, orientation, 0.393469)[0]
    (ee, en, nn), rng = covariance, np.random.default_rng(seed)
    n = moved(*at(lon, lat), *(rng.standard_normal(2) * 20_000.0 * away))
    samples = rng.multivariate_normal([0.0, 0.0], [[ee, en], [en, nn]], 400)
    hits = [inside(*moved(*n, e, north), shape.vertices, shape.ring_start) for e, north in samples.tolist()]
    # 25 points for a Gaussian, 400 samples for the truth.
    assert chance(shape, n, covariance) == pytest.approx(np.mean(hits), abs=0.17)


def test_the_grid_lies_along_the_principal_axes() -> None:
    # A strip that runs north-east: a long thin Gaussian along it is inside, one across it is mostly outside.
    strip = footprint([(0.0, 0.0), (0.02, 0.0), (1.02, 1.0), (1.0, 1.0)])
    n = at(0.51, 0.5)
    along = covariance_of_ellipse(20_000.0, 100.0, 45.0, 0.393469)[0]
    across = covariance_of_ellipse(20_000.0, 100.0, 135.0, 0.393469)[0]
    assert chance(strip, n, along) == 1.0
    assert chance(strip, n, across) == 0.0


def test_a_gaussian_wider_than_the_footprint_is_mostly_outside() -> None:
    shape = frame(0.0, 40.0, 10_000.0)
    for sigma_m, most in ((1e4, 0.6), (1e5, 0.05), (2e6, 0.05)):
        assert chance(shape, at(0.0, 40.0), (sigma_m**2, 0.0, sigma_m**2)) <= most


def test_a_hole_and_a_point_without_extent() -> None:
    shape = footprint([(0, 0), (1, 0), (1, 1), (0, 1)], [(0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)])
    assert chance(shape, at(0.5, 0.5), (0.0, 0.0, 0.0)) == 0.0
    assert chance(shape, at(0.2, 0.5), (0.0, 0.0, 0.0)) == 1.0
    # Wide enough to see past the hole, all round.
    assert 0.4 < chance(shape, at(0.5, 0.5), (2.5e8, 0.0, 2.5e8)) < 0.8


def test_the_chance_has_the_same_bytes_again() -> None:
    shape = frame(179.99, -40.0, 30_000.0, 33.0)
    middle = at(180.0, -40.0)
    ways = [float(e) for e in range(-40_000, 40_000, 5_000)]
    values, again = ([chance(shape, moved(*middle, e, 29_000.0), (1e8, 3e7, 5e7)) for e in ways] for _ in range(2))
    assert values == again
    assert len(set(values)) > 5
