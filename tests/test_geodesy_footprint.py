"""Footprints: reading GeoJSON, and H3 cells, against shapely, h3 and pyproj."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import h3.api.numpy_int as h3
import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apss_fusion.geodesy import footprint
from apss_fusion.geodesy.footprint import Footprint, inside, signed_distance_m
from apss_fusion.geodesy.geojson import area_of, contains, rings_of
from apss_fusion.geodesy.h3cover import cover
from apss_fusion.geodesy.wgs84 import nvectors, offset

GEOD = pyproj.Geod(ellps="WGS84")
# An edge of a degree is a chord of GeoJSON's line, which is nowhere further from it.
CHORD_M = 490.0
SPHERE_KM2 = 4.0 * math.pi * 6371.007180918475**2


def polygon(*rings: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(p) for p in [*ring, ring[0]]] for ring in rings]}


def multi(*polygons: dict[str, Any]) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": [p["coordinates"] for p in polygons]}


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    return polygon([(west, south), (east, south), (east, north), (west, north)])


def star(lon: float, lat: float, size_deg: float, seed: int, corners: int = 9) -> list[tuple[float, float]]:
    """A ring about a place, longitudes as they come (beyond 180 too)."""
    rng = np.random.default_rng(seed)
    turn = (np.arange(corners) + rng.uniform(0.0, 0.8, corners)) * (2.0 * math.pi / corners)
    radius = size_deg * rng.uniform(0.3, 1.0, corners)
    east = radius * np.cos(turn) / math.cos(math.radians(lat))
    return list(zip((lon + east).tolist(), (lat + radius * np.sin(turn)).tolist(), strict=True))


def wrapped(ring: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [((lon + 180.0) % 360.0 - 180.0, lat) for lon, lat in ring]


def is_inside(shape: Footprint, lon: float, lat: float) -> bool:
    x, y, z = nvectors(lat, lon)[0]
    return bool(inside(x, y, z, shape.vertices, shape.ring_start))


def distance_m(shape: Footprint, n: Any) -> float:
    x, y, z = n
    return signed_distance_m(x, y, z, shape.vertices, shape.ring_start)


RING = [(0, 80), (90, 80), (180, 80), (-90, 80)]
CUT_CAP = [(-180, 80), (-90, 80), (0, 80), (90, 80), (180, 80), (180, 90), (-180, 90)]
SWATH = [(-40.0, -88.0), (-20.0, -88.0), (30.0, 0.0), (100.0, 88.0), (80.0, 88.0), (10.0, 0.0)]
# Each: geometry, points inside, points outside (lon, lat).
SHAPES: dict[str, tuple[dict[str, Any], list[tuple[float, float]], list[tuple[float, float]]]] = {
    "box": (box(-5, 40, 5, 50), [(0, 45), (-4.99, 49.9)], [(5.01, 45), (0, 39.9), (180, -45), (175, -50), (0, 90)]),
    "clockwise": (polygon([(-5, 40), (-5, 50), (5, 50), (5, 40)]), [(0, 45)], [(6, 45), (180, -45)]),
    "hole": (
        polygon([(-5, 40), (5, 40), (5, 50), (-5, 50)], [(-1, 44), (1, 44), (1, 46), (-1, 46)]),
        [(-2, 45), (0, 43.9)],
        [(0, 45), (180, -45)],
    ),
    "parts": (multi(box(0, 0, 1, 1), box(10, 0, 11, 1)), [(0.5, 0.5), (10.5, 0.5)], [(5, 0.5), (-170, -0.5)]),
    "across 180": (box(179, -1, -179, 1), [(180, 0), (-180, 0), (179.5, 0.5), (-179.5, 0)], [(0, 0), (178.9, 0)]),
    "beyond 180": (box(179, -1, 181, 1), [(180, 0), (-179.5, 0)], [(0, 0), (-178.9, 0)]),
    "cut at 180": (multi(box(179, -1, 180, 1), box(-180, -1, -179, 1)), [(180, 0), (179.5, 0)], [(0, 0), (178.9, 0)]),
    "round the north pole": (polygon(RING), [(0, 90), (17, 80.1), (-170, 85)], [(17, 79.9), (0, -90), (45, 0)]),
    "westward round it": (polygon(RING[::-1]), [(0, 90), (-170, 80.1)], [(17, 79.9), (0, -90)]),
    "round the south pole": (
        polygon([(lon, -lat) for lon, lat in RING]),
        [(0, -90), (17, -80.1), (180, -85)],
        [(17, -79.9), (0, 90)],
    ),
    "cut from 180 to the pole": (polygon(CUT_CAP), [(0, 90), (180, 85), (-179.9, 80.1)], [(17, 79.9), (180, 79)]),
    "box to the pole": (box(-180, 80, 180, 90), [(0, 90), (180, 85), (90, 80.1)], [(0, 79.9), (0, -90)]),
    "a ring about the pole": (
        polygon(RING, [(lon, 85) for lon, _ in RING]),
        [(3, 82), (180, 84.9)],
        [(3, 86), (0, 90)],
    ),
    "sector to the pole": (polygon([(10, 80), (40, 80), (40, 90), (10, 90)]), [(20, 89.9)], [(50, 89.9), (200, 89.9)]),
    "band": (box(-180, -60, 180, 60), [(0, 0), (180, 59.9), (-90, -59.9)], [(0, 60.1), (180, -90), (7, 90)]),
    "lune": (box(-10, -90, 10, 90), [(0, 0), (9.9, 89), (-9.9, -89)], [(10.1, 0), (180, 0), (-10.1, 89)]),
    "half orbit": (polygon(SWATH), [(20, 0), (85, 80), (-28, -85)], [(35, 0), (5, 0), (200, 0), (0, 90)]),
    "most of the globe": (box(-179, -89, 179, 89), [(180.5, 0)], [(0, 0), (170, 89.5)]),
    "the globe": (box(-180, -90, 180, 90), [(0, 0), (180, 0), (0, 90), (33, -89), (-180, 45)], []),
}

HUGE = ("band", "lune", "the globe", "half orbit")


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_inside(name: str) -> None:
    geometry, within, without = SHAPES[name]
    shape = Footprint.of(geometry)
    assert [is_inside(shape, *p) for p in within] == [True] * len(within)
    assert [is_inside(shape, *p) for p in without] == [False] * len(without)


@pytest.mark.parametrize("name", SHAPES)
def test_inside_is_even_odd_in_longitude_and_latitude(name: str) -> None:
    geometry = SHAPES[name][0]
    shape = Footprint.of(geometry)
    rng = np.random.default_rng(4)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, 2_000))), rng.uniform(-180, 180, 2_000)
    expected = contains([ring for rings in rings_of(geometry) for ring in rings], lon, lat)
    for n, want in zip(nvectors(lat, lon), expected, strict=True):
        distance = distance_m(shape, n)
        assert (distance > 0.0) == want or abs(distance) < CHORD_M


@pytest.mark.parametrize("name", SHAPES)
def test_the_cap_holds_the_footprint(name: str) -> None:
    shape = Footprint.of(SHAPES[name][0])
    assert np.linalg.norm(shape.center) == pytest.approx(1.0)
    for lon, lat in SHAPES[name][1]:
        x, y, z = shape.center
        assert math.hypot(*offset(x, y, z, *nvectors(lat, lon)[0])) <= shape.radius_m
    corners = shape.vertices[:-1]
    if shape.radius_m < 8e6:
        largest = np.arccos(np.clip(corners @ shape.center, -1, 1)).max() * 6_399_593.6
        assert largest - 1.0 < shape.radius_m < 1.01 * largest + 1.0
    sizes = np.diff(shape.ring_start)
    assert (sizes[:-1] >= 3).all()
    assert sizes[-1] == 1
    assert sizes.sum() == len(shape.vertices)


@settings(max_examples=60)
@given(
    st.floats(-180.0, 180.0),
    st.floats(-75.0, 75.0),
    st.sampled_from([0.001, 0.05, 1.0, 6.0]),
    st.integers(0, 10_000),
)
def test_stars_equal_shapely(lon: float, lat: float, size_deg: float, seed: int) -> None:
    shapely: Any = pytest.importorskip("shapely")
    outer, hole = star(lon, lat, size_deg, seed), star(lon, lat, 0.25 * size_deg, seed + 1, 5)
    shape = Footprint.of(polygon(wrapped(outer), wrapped(hole)))
    truth = shapely.Polygon(outer).symmetric_difference(shapely.Polygon(hole))
    rng = np.random.default_rng(seed)
    for _ in range(40):
        east, north = rng.uniform(-1.5, 1.5, 2) * size_deg
        at = lon + east / math.cos(math.radians(lat)), lat + north
        distance = distance_m(shape, nvectors(at[1], at[0])[0])
        if abs(distance) > CHORD_M * min(size_deg, 1.0) ** 2 + 1e-6 * size_deg * 111e3:
            assert (distance > 0.0) == truth.contains(shapely.Point(at))


def test_forms_of_the_same_area_have_the_same_edges() -> None:
    rng = np.random.default_rng(6)
    for names in (
        ("across 180", "beyond 180", "cut at 180"),
        ("round the north pole", "westward round it", "cut from 180 to the pole", "box to the pole"),
    ):
        first, *others = (Footprint.of(SHAPES[name][0]) for name in names)
        middle = first.center
        for other in others:
            assert other.area_km2 == pytest.approx(first.area_km2, rel=1e-9)
            assert other.center == pytest.approx(middle, abs=2e-2)
            for _ in range(200):
                n = middle + 0.3 * rng.standard_normal(3)
                n /= np.linalg.norm(n)
                # A cut is no edge: the distance is that to the edges of the whole.
                assert distance_m(other, n) == pytest.approx(distance_m(first, n), abs=1e-3)
            for res in (2, 3):
                for a, b in zip(first.share_of_cells(res), other.share_of_cells(res), strict=True):
                    np.testing.assert_allclose(a, b, rtol=0, atol=0.021)


@pytest.mark.parametrize(("lon", "lat"), [(0.0, 0.0), (179.99, 20.0), (-60.0, -55.0), (20.0, 80.0)])
@pytest.mark.parametrize("size_deg", [0.001, 0.1, 2.0])
def test_area_equals_the_geodesic_area(lon: float, lat: float, size_deg: float) -> None:
    ring = star(lon, lat, size_deg, 3)
    # Divided so finely that geodesics and GeoJSON's lines are the same.
    path = np.array([*ring, ring[0]])
    fine = np.concatenate([a + (b - a) * np.linspace(0, 1, 400)[:-1, None] for a, b in pairwise(path)])
    expected, _ = GEOD.polygon_area_perimeter(fine[:, 0], fine[:, 1])
    assert Footprint.of(polygon(wrapped(ring))).area_km2 == pytest.approx(abs(expected) * 1e-6, rel=1e-5)


def test_areas_of_boxes_and_the_globe() -> None:
    assert Footprint.of(SHAPES["the globe"][0]).area_km2 == pytest.approx(510_065_621.7, abs=1.0)
    cap = Footprint.of(SHAPES["round the north pole"][0]).area_km2
    below = Footprint.of(box(-180, 0, 180, 80)).area_km2
    assert cap + below == pytest.approx(510_065_621.7 / 2, abs=1.0)
    hole = area_of(rings_of(polygon([(-1, 44), (1, 44), (1, 46), (-1, 46)])))
    whole = area_of(rings_of(box(-5, 40, 5, 50)))
    assert Footprint.of(SHAPES["hole"][0]).area_km2 == pytest.approx((whole - hole) * 1e-6)
    assert Footprint.of(SHAPES["parts"][0]).area_km2 == pytest.approx(2 * area_of(rings_of(box(0, 0, 1, 1))) * 1e-6)


def covered(shape: Footprint, res: int, leaf: int) -> dict[int, int]:
    keys, counts = np.empty(200_000, np.uint64), np.empty(200_000, np.int64)
    rows = cover(shape.vertices, shape.ring_start, res, leaf, keys, counts)
    out: dict[int, int] = {}
    for key, count in zip(keys[:rows].tolist(), counts[:rows].tolist(), strict=True):
        out[key] = out.get(key, 0) + count
    return out


@pytest.mark.parametrize(
    ("lon", "lat", "size_deg", "res"),
    [(0, 0, 2, 5), (10.5, 58.2, 3, 5), (-25, -44, 6, 4), (-75, 64.7, 2.0, 5), (3.0, 40.0, 0.02, 9), (121.9, 2.3, 3, 5)],
)
def test_cells_with_their_centre_inside_are_the_library_s(lon: float, lat: float, size_deg: float, res: int) -> None:
    for seed in range(3):
        ring = star(lon, lat, size_deg, seed)
        expected = {int(c) for c in h3.polygon_to_cells(h3.LatLngPoly([(b, a) for a, b in ring]), res)}
        shape = Footprint.of(polygon(ring))
        got = covered(shape, res, res)
        assert set(got.values()) <= {1}
        for cell in expected ^ set(got):
            at = h3.cell_to_latlng(cell)
            distance = distance_m(shape, nvectors(at[0], at[1])[0])
            assert abs(distance) < CHORD_M * min(size_deg, 1.0) ** 2


@pytest.mark.parametrize(("res", "leaf"), [(0, 0), (0, 3), (1, 3), (2, 4), (3, 4)])
def test_the_globe_covers_every_descendant_once(res: int, leaf: int) -> None:
    got = covered(Footprint.of(SHAPES["the globe"][0]), res, leaf)
    # But for the pinhole there is nothing that it leaves out.
    assert len(got) == h3.get_num_cells(res)
    assert sum(got.values()) == h3.get_num_cells(leaf)
    assert all(n == h3.cell_to_children_size(cell, leaf) for cell, n in got.items())
    shares = Footprint.of(SHAPES["the globe"][0]).share_of_cells(res)[1]
    assert (shares == 1.0).all()


@pytest.mark.parametrize(
    ("name", "res"), [(name, res) for name in SHAPES for res in (1, 2, 3) if res < 3 or name not in HUGE]
)
def test_shares_add_up_to_the_area(name: str, res: int) -> None:
    geometry = SHAPES[name][0]
    cells, share = Footprint.of(geometry).share_of_cells(res)
    assert cells.dtype == np.uint64
    assert (np.diff(cells.astype(np.int64)) > 0).all()
    assert ((share > 0.0) & (share <= 1.0)).all()
    total = sum(s * h3.cell_area(int(c), "km^2") for c, s in zip(cells, share, strict=True))
    expected = area_of(rings_of(geometry), ellipsoid=False) / (4.0 * math.pi) * SPHERE_KM2
    assert total == pytest.approx(expected, rel=0.015)


@pytest.mark.parametrize(
    ("lon", "lat"), [(12.0, 50.0), (179.9995, -17.0), (100.0, 89.9985), (-60.0, -89.999), (0.0, 0.0)]
)
@pytest.mark.parametrize("res", [3, 5, 7, 9])
def test_a_scene_of_100_m_has_its_area_s_share(lon: float, lat: float, res: int) -> None:
    half_lat = 50.0 / 111e3
    half_lon = half_lat / math.cos(math.radians(lat))
    corners = [(lon + a * half_lon, lat + b * half_lat) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    shape = Footprint.of(polygon(wrapped(corners)))
    cells, share = shape.share_of_cells(res)
    assert 1 <= len(cells) <= 4
    total = sum(s * h3.cell_area(int(c), "km^2") for c, s in zip(cells, share, strict=True))
    assert total == pytest.approx(shape.area_km2, rel=0.01)
    assert shape.radius_m < 80.0 + 30.0 * (abs(lat) > 89.0)


@pytest.mark.parametrize(
    ("lon", "lat", "size_deg", "res"), [(10.5, 58.2, 1.0, 5), (-25, -44, 2.0, 4), (3.0, 40, 0.05, 8)]
)
def test_shares_equal_shapely_s(lon: float, lat: float, size_deg: float, res: int) -> None:
    shapely: Any = pytest.importorskip("shapely")
    equal_area = pyproj.Transformer.from_crs(
        "OGC:CRS84", f"+proj=laea +lat_0={lat} +lon_0={lon} +ellps=WGS84", always_xy=True
    ).transform
    ring = star(lon, lat, size_deg, 8)
    plane = shapely.transform(shapely.segmentize(shapely.Polygon(ring), 0.02), equal_area, interleaved=False)
    cells, share = Footprint.of(polygon(ring)).share_of_cells(res)
    assert len(cells) > 15
    got = dict(zip(cells.tolist(), share.tolist(), strict=True))
    near = {int(c) for cell in cells for c in h3.grid_disk(int(cell), 1)}
    for cell in sorted(near):
        border = shapely.Polygon([(b, a) for a, b in h3.cell_to_boundary(cell)])
        border = shapely.transform(shapely.segmentize(border, 0.02), equal_area, interleaved=False)
        expected = plane.intersection(border).area / border.area
        assert got.get(cell, 0.0) == pytest.approx(expected, abs=0.06)


def test_slivers_have_cells_too() -> None:
    thread = polygon([(0.0, 10.0), (20.0, 40.0), (20.00002, 40.0), (0.00002, 10.0)])
    cells, share = Footprint.of(thread).share_of_cells(3)
    assert len(cells) >= 20
    for point in np.linspace(0.1, 0.9, 7):
        assert h3.latlng_to_cell(10.0 + 30.0 * point, 20.0 * point + 0.00001, 3) in cells
    speck = Footprint.of(box(5.0, 5.0, 5.000001, 5.000001))
    cells, share = speck.share_of_cells(7)
    assert cells.tolist() == [h3.latlng_to_cell(5.0, 5.0, 7)]
    assert share[0] * h3.cell_area(int(cells[0]), "km^2") == pytest.approx(speck.area_km2, rel=0.01)


def test_the_same_content_is_the_same_footprint_and_the_store_is_bounded() -> None:
    footprint._footprint.cache_clear()
    first = Footprint.of(box(1, 2, 3, 4))
    assert Footprint.of(json.loads(json.dumps(box(1, 2, 3, 4)))) is first
    assert first.share_of_cells(4)[0] is first.share_of_cells(4)[0]
    with pytest.raises(ValueError, match="read-only"):
        first.share_of_cells(4)[1][0] = 0.5
    for k in range(300):
        Footprint.of(box(1, 2, 3, 4 + k / 10))
    assert footprint._footprint.cache_info().currsize == 256
    again = Footprint.of(box(1, 2, 3, 4))
    assert again is not first
    assert again.vertices.tobytes() == first.vertices.tobytes()


def test_heights_are_allowed_and_ignored() -> None:
    high = {"type": "Polygon", "coordinates": [[[0, 0, 5], [1, 0, 6], [1, 1, 7], [0, 0, 5]]]}
    assert is_inside(Footprint.of(high), 0.7, 0.3)


SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]
BAD: list[tuple[Any, str]] = [
    (None, "object"),
    ([], "object"),
    ("Polygon", "object"),
    ({}, "not None"),
    ({"type": "Point", "coordinates": [0, 0]}, "not 'Point'"),
    ({"type": ["Polygon"], "coordinates": [SQUARE]}, "must be a Polygon"),
    ({"type": "Polygon"}, "ring"),
    ({"type": "Polygon", "coordinates": []}, "ring"),
    ({"type": "Polygon", "coordinates": {}}, "ring"),
    ({"type": "MultiPolygon", "coordinates": []}, "coordinates"),
    ({"type": "MultiPolygon", "coordinates": None}, "coordinates"),
    ({"type": "MultiPolygon", "coordinates": [[]]}, "ring"),
    ({"type": "MultiPolygon", "coordinates": [SQUARE]}, "four positions"),
    ({"type": "Polygon", "coordinates": [SQUARE[:3]]}, "four positions"),
    ({"type": "Polygon", "coordinates": [SQUARE[:4]]}, "end where it begins"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1], [0, 0]]]}, "longitude and a latitude"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, "0"], [1, 1], [0, 0]]]}, "two numbers"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, None], [1, 1], [0, 0]]]}, "two numbers"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, True], [1, 1], [0, 0]]]}, "two numbers"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, math.nan], [1, 1], [0, 0]]]}, "two numbers"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, 91], [1, 1], [0, 0]]]}, "latitude 91"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1000, 0], [1, 1], [0, 0]]]}, "longitude 1000"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [10**30, 0], [1, 1], [0, 0]]]}, "GeoJSON|longitude"),
    ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]}, "no area"),
    ({"type": "Polygon", "coordinates": [[[5, 5], [5, 5], [5, 5], [5, 5]]]}, "no area"),
    ({"type": "Polygon", "coordinates": [SQUARE, [[0.2, 0.2], [0.3, 0.3], [0.2, 0.2]]]}, "four positions"),
    (
        {"type": "Polygon", "coordinates": [[[100 * k % 360, 50 + k % 2] for k in range(18)] + [[0, 50]]]},
        "once",
    ),
    ({"type": "Polygon", "coordinates": [SQUARE], "more": object()}, "GeoJSON"),
]


@pytest.mark.parametrize(("geometry", "reason"), BAD)
def test_bad_geometries_are_refused_with_a_reason(geometry: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Footprint.of(geometry)


numbers = st.one_of(st.floats(-200, 200), st.integers(-180, 180), st.sampled_from([0, 90, -90, 180, -180, 1e-9, None]))
rings = st.lists(st.lists(numbers, min_size=1, max_size=3), min_size=0, max_size=8).map(lambda r: [*r, *r[:1]])


@settings(max_examples=300)
@given(st.sampled_from(["Polygon", "MultiPolygon"]), st.lists(rings, max_size=3))
def test_anything_else_is_a_footprint(kind: str, some: list[Any]) -> None:
    coordinates = some if kind == "Polygon" else [some]
    try:
        shape = Footprint.of({"type": kind, "coordinates": coordinates})
    except ValueError:
        return
    assert np.linalg.norm(shape.vertices, axis=1) == pytest.approx(np.ones(len(shape.vertices)))
    assert shape.area_km2 == shape.area_km2
    assert distance_m(shape, shape.vertices[-1]) < 0.0
