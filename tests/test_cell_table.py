"""Interned cells: rings and parents are the h3 library's, whatever the order, and near points are never missed."""

from __future__ import annotations

from typing import Any

import h3.api.numpy_int as h3
import numpy as np
import pyproj
import pytest
from numpy.typing import NDArray

from apss_fusion.association import cell_table as ct
from apss_fusion.geodesy.h3cells import VERTICES, cells_of
from apss_fusion.geodesy.wgs84 import geodetic, nvectors

GEOD = pyproj.Geod(ellps="WGS84")


def unit(n: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(n / np.linalg.norm(n, axis=1)[:, None])


def about_pentagons(count: int, spread: float, seed: int = 1) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).standard_normal((count, 3))
    return unit(VERTICES[np.arange(count) % 12] + spread * noise)


def about_borders(count: int, seed: int = 2) -> NDArray[np.float64]:
    """Points about the edges of the icosahedron's faces, where lattices do not fit together."""
    rng = np.random.default_rng(seed)
    a, b = np.array([(a, b) for a in range(12) for b in range(a) if VERTICES[a] @ VERTICES[b] > 0.4]).T
    pick, share = rng.integers(0, len(a), count), rng.random((count, 1))
    on_edge = unit(VERTICES[a[pick]] * share + VERTICES[b[pick]] * (1.0 - share))
    return unit(on_edge + rng.standard_normal((count, 3)) * 10.0 ** rng.uniform(-4.0, -2.0, (count, 1)))


def anywhere(count: int, seed: int = 3) -> NDArray[np.float64]:
    return unit(np.random.default_rng(seed).standard_normal((count, 3)))


def relations(cells: ct.Cells) -> dict[int, tuple[int, int, frozenset[int], frozenset[int]]]:
    """Level, parent, ring and children of each cell, by H3 cells."""
    key = cells.row["key"].tolist()
    out = {}
    for cid in range(int(cells.scalars[ct.N_CELLS])):
        children, child = set(), cells.row["child"][cid]
        while child >= 0:
            children.add(key[child])
            child = cells.row["sibling"][child]
        ring = cells.row["ring"][cid, : cells.row["ring_n"][cid]].tolist()
        assert len(set(ring)) == len(ring)
        parent = key[cells.row["parent"][cid]] if cid != ct.GLOBE else -1
        out[key[cid]] = (int(cells.row["level"][cid]), parent, frozenset(key[c] for c in ring), frozenset(children))
    return out


@pytest.mark.parametrize(
    "n",
    [
        about_pentagons(3_000, 2e-4),
        about_pentagons(3_000, 3e-3),
        about_pentagons(3_000, 5e-2),
        about_borders(4_000),
        anywhere(3_000),
        nvectors(np.linspace(89.0, 90.0, 500), np.arange(500) * 137.5),
        nvectors(np.linspace(-60.0, 60.0, 500), np.tile([180.0, -180.0, 179.99, -179.99], 125)),
    ],
    ids=["pentagon", "near pentagons", "wide of pentagons", "borders of faces", "globe", "pole", "antimeridian"],
)
def test_rings_and_parents_are_the_library_s(n: NDArray[np.float64]) -> None:
    cells, cid = ct.interned(ct.new_cells(1), n)
    np.testing.assert_array_equal(cells.row["key"][cid], cells_of(n, ct.LEVELS[0]))
    known = relations(cells)
    below: dict[int, set[int]] = {}
    for key, (_, parent, _, _) in known.items():
        below.setdefault(parent, set()).add(key)
    for key, (level, parent, ring, children) in known.items():
        if key == 0:
            assert (level, parent, ring) == (ct.GLOBE_LEVEL, -1, frozenset())
            assert {known[c][0] for c in children} == {ct.GLOBE_LEVEL - 1}
            continue
        assert h3.get_resolution(key) == ct.LEVELS[level]
        assert parent == (h3.cell_to_parent(key, ct.LEVELS[level + 1]) if level + 1 < ct.GLOBE_LEVEL else 0)
        assert ring == {int(c) for c in h3.grid_disk(key, 1) if int(c) in known and int(c) != key}
        assert children == below.get(key, set())


def test_every_ring_of_the_two_coarsest_levels_is_complete() -> None:
    base = h3.get_res0_cells()
    centers = [h3.cell_to_latlng(int(c)) for b in base for c in h3.cell_to_children(int(b), 3)]
    cells, _ = ct.interned(ct.new_cells(1), nvectors(*np.array(centers).T))
    coarse = np.isin(cells.row["level"][: cells.scalars[ct.N_CELLS]], [ct.LEVELS.index(2), ct.LEVELS.index(3)])
    assert coarse.sum() == h3.get_num_cells(2) + h3.get_num_cells(3)
    for cid in np.flatnonzero(coarse):
        key = int(cells.row["key"][cid])
        assert cells.row["ring_n"][cid] == (5 if h3.is_pentagon(key) else 6)


def test_the_order_of_interning_does_not_matter() -> None:
    n = np.concatenate([about_pentagons(400, 1e-3), about_borders(400), anywhere(100)])
    first, _ = ct.interned(ct.new_cells(1), n)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(n))
        again, _ = ct.interned(ct.new_cells(10_000), n[order])
        assert relations(again) == relations(first)


def test_the_point_by_which_a_cell_is_interned_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    n = np.concatenate([about_pentagons(300, 3e-3), about_borders(600)])
    moved = unit(n + 1e-4 * rng.standard_normal(n.shape))
    same = cells_of(n, 7) == cells_of(moved, 7)
    assert same.sum() > 200
    assert relations(ct.interned(ct.new_cells(1), n[same])[0]) == relations(
        ct.interned(ct.new_cells(1), moved[same])[0]
    )


def near_pairs(res: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pairs of points almost COVER * EDGE_M apart: in all directions, and along the shortest edges of cells."""
    rng = np.random.default_rng(res)
    reach_m = ct.COVER * ct.EDGE_M[res]
    spread = 6.0 * ct.EDGE_M[res] / 6.4e6
    start = np.concatenate([about_pentagons(count // 2, spread, res), about_borders(count // 4, res)])
    start = np.concatenate([start, anywhere(count // 4, res)])
    lat, lon = geodetic(start)
    # Every third pair lies along the shortest edge of its cell, about the middle: were it longer than the edge, its
    # ends would be in the two cells beyond the corners, which are no neighbours.
    azimuth = rng.uniform(-180.0, 180.0, len(lat))
    for k in range(0, len(lat), 3):
        cell = h3.latlng_to_cell(lat[k], lon[k], res)
        corners = [h3.vertex_to_latlng(int(v)) for v in h3.cell_to_vertexes(cell)]
        lengths = [GEOD.inv(a[1], a[0], b[1], b[0]) for a, b in zip(corners, corners[1:] + corners[:1], strict=True)]
        shortest = min(range(len(corners)), key=lambda i: lengths[i][2])
        azimuth[k], _, length_m = lengths[shortest]
        ahead_m = 0.5 * (length_m - reach_m)
        lon[k], lat[k], back = GEOD.fwd(corners[shortest][1], corners[shortest][0], azimuth[k], ahead_m)
        azimuth[k] = back + 180.0
    end_lon, end_lat, _ = GEOD.fwd(lon, lat, azimuth, np.full(len(lat), 0.999 * reach_m))
    return nvectors(lat, lon), nvectors(end_lat, end_lon)


@pytest.mark.parametrize("res", ct.LEVELS)
def test_near_points_lie_in_the_same_cell_or_in_neighbours(res: int) -> None:
    a, b = near_pairs(res, 3_000)
    cells, cid = ct.interned(ct.new_cells(1), np.concatenate([a, b]))
    for _ in range(ct.LEVELS.index(res)):
        cid = cells.row["parent"][cid]
    one, other = cid[: len(a)], cid[len(a) :]
    met = (one == other) | (cells.row["ring"][one] == other[:, None]).any(1)
    assert np.count_nonzero(one != other) > 500
    assert met.all()


@pytest.mark.parametrize("res", ct.LEVELS)
def test_no_edge_is_as_short_as_the_cover(res: int) -> None:
    """Cells that are no neighbours are an edge apart at least, so this is what COVER rests on."""
    assert pytest.approx(h3.average_hexagon_edge_length(res, "m"), abs=1e-3) == ct.EDGE_M[res]
    some = {int(c) for pentagon in h3.get_pentagons(res) for c in h3.grid_disk(pentagon, 4)}
    some |= {int(c) for c in cells_of(about_borders(300), res)} | {int(c) for c in cells_of(anywhere(300), res)}
    shortest = np.inf
    for cell in sorted(some):
        corners = np.array([h3.vertex_to_latlng(int(v)) for v in h3.cell_to_vertexes(cell)])
        after = np.roll(corners, -1, 0)
        shortest = min(shortest, GEOD.inv(corners[:, 1], corners[:, 0], after[:, 1], after[:, 0])[2].min())
    assert shortest > 1.1 * ct.COVER * ct.EDGE_M[res]


def test_the_globe_is_above_all() -> None:
    cells, cid = ct.interned(ct.new_cells(1), anywhere(50))
    for _ in ct.LEVELS:
        assert (cid != ct.GLOBE).all()
        cid = cells.row["parent"][cid]
    assert (cid == ct.GLOBE).all()
    assert cells.row["parent"][ct.GLOBE] == -1
    assert cells.row["ring_n"][ct.GLOBE] == 0
    assert ct.COVER_M[ct.GLOBE_LEVEL] == np.inf
    assert ct.COVER_M.tolist()[:-1] == [ct.COVER * ct.EDGE_M[res] for res in ct.LEVELS]
    assert ct.find_cell(cells.table, cells.row, np.uint64(0)) == -1


def test_a_full_table_says_so_and_stays_as_it_was() -> None:
    n = anywhere(40)
    cells = ct.new_cells(20)
    out: Any = np.full(len(n), -7, np.int32)
    done = ct.intern_many(cells, n, 0, out)
    assert 0 < done < len(n)
    assert (out[done:] == -7).all()
    before = [field.copy() for field in cells]
    digits = np.zeros(16, np.int64)
    x, y, z = (float(v) for v in n[done])
    assert ct.intern(cells, cells_of(n[done], 7)[0], x, y, z, digits) == -1
    for field, was in zip(cells, before, strict=True):
        np.testing.assert_array_equal(field, was)
    # What is known is still found, and growing keeps cids and buckets.
    cells.head[out[0]] = 99
    grown = ct.grown(cells, 1_000)
    assert len(grown.row["key"]) == 1_000
    assert grown.head[out[0]] == 99
    assert relations(grown) == relations(cells)
    for k in range(done):
        assert ct.find_cell(grown.table, grown.row, cells_of(n[k], 7)[0]) == out[k]
    assert ct.intern_many(grown, n, done, out) == len(n)
    assert relations(grown) == relations(ct.interned(ct.new_cells(1), n)[0])
    assert len(ct.grown(grown, 1).row) == grown.scalars[ct.N_CELLS]
