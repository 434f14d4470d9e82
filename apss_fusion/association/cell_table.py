"""H3 cells that were ever looked at, numbered, with their parents, neighbours and buckets of tracks.

A cell costs a hash look-up to become its number (cid), which indexes arrays; parents, rings, buckets are array reads.
Tracks are filed at the finest level whose cells are wide enough for their gate, and a question goes to a cell and its
ring: by `COVER`, whatever lies near enough is there.

Above the coarsest cells stands the globe: one bucket, cid `GLOBE`, for tracks whose gate is wider than any ring. It is
the parent of every coarsest cell, has no ring, and must be asked whatever the place.

The kernels never make room: `intern` says when the table is full, and `grown` gives a larger copy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.h3cells import cell_of_lattice, lattice, lattice_parent, lattice_point, nvec_to_cell, parent_of
from apss_fusion.geodesy.wgs84 import MEAN_RADIUS_M, east_of
from apss_fusion.kernels import inline_kernel, kernel, lean_kernel

#: H3 resolution of each level, finest first. Level len(LEVELS) is the globe.
LEVELS = (7, 6, 5, 4, 3, 2)
#: The globe's level and its cid.
GLOBE_LEVEL = len(LEVELS)
GLOBE = 0
#: Mean edge of a cell in m, by resolution (h3.average_hexagon_edge_length).
EDGE_M = {2: 182_512.957, 3: 68_979.222, 4: 26_071.760, 5: 9_854.091, 6: 3_724.533, 7: 1_406.476}
#: Two points nearer than COVER * EDGE_M[res], along the ellipsoid, lie in the same cell or in neighbours: cells that
#: are no neighbours are at least an edge apart, and the shortest edge, about the pentagons, is 0.6987 of the mean.
COVER = 0.6
#: The same by level, in m; the globe covers everything.
COVER_M = np.array([COVER * EDGE_M[res] for res in LEVELS] + [math.inf])
#: scalars[N_CELLS]: cells in use, the globe among them. scalars[N_FILED + level]: tracks filed at a level.
N_CELLS, N_FILED = 0, 1

_RESOLUTION = np.array(LEVELS)
# Any neighbour is met by going so far from the centre in one of 12 directions: 1.18 mean edges are beyond the cell
# itself, whose edges are at most 1.11 of the mean, and less than the two edges to the next ring.
_STEP_RAD = np.array([1.18 * EDGE_M[res] / MEAN_RADIUS_M for res in LEVELS])
_COS12 = np.cos(np.arange(12) * (math.pi / 6.0))
_SIN12 = np.sin(np.arange(12) * (math.pi / 6.0))
_RING_I = np.array([1, 1, 0, -1, -1, 0])
_RING_J = np.array([0, 1, 1, 0, -1, -1])


#: An interned cell; -1 stands for none.
CELL = np.dtype(
    [
        ("key", "u8"),  # H3 cell; 0 for the globe
        ("parent", "i4"),  # cid of the cell above; -1 for the globe
        ("child", "i4"),  # first of the cells below, and the next with the same parent
        ("sibling", "i4"),
        ("ring", "i4", (6,)),  # cids of the neighbours interned so far
        ("ring_n", "i4"),  # how many they are
        ("level", "i4"),  # index in LEVELS, or GLOBE_LEVEL
    ]
)


class Cells(NamedTuple):
    """Interned cells: rows over cid, and the hash table that leads to them.

    A cell's parent at every level above is interned with it.
    """

    #: Open addressing: cid or -1, int32, a power of two of at least twice the capacity.
    table: NDArray[np.int32]
    #: CELL rows.
    row: NDArray[np.void]
    #: First track of each bucket, int32: for the owner of the table to keep, as are the scalars from `N_FILED` on.
    head: NDArray[np.int32]
    scalars: NDArray[np.int64]


def new_cells(capacity: int) -> Cells:
    """An empty table with room for `capacity` cells, one of which is the globe."""
    capacity = max(capacity, 1)
    # Rows are set when their cell is interned: memory that no cell uses is never touched.
    cells = Cells(
        np.full(1 << max(4, (2 * capacity - 1).bit_length()), -1, np.int32),
        np.zeros(capacity, CELL),
        np.zeros(capacity, np.int32),
        np.zeros(16, np.int64),
    )
    _clear(cells, GLOBE)
    cells.row["level"][GLOBE] = GLOBE_LEVEL
    cells.scalars[N_CELLS] = 1
    return cells


@lean_kernel
def _clear(cells: Cells, cid: int) -> None:
    """Make the row of a cell that of one without relations."""
    row = cells.row[cid]
    row.key = 0
    row.parent = row.child = row.sibling = -1
    row.ring_n = 0
    for k in range(6):
        row.ring[k] = -1
    cells.head[cid] = -1


def grown(cells: Cells, capacity: int) -> Cells:
    """A copy with room for `capacity` cells, at least as many as there are; the cids stay."""
    used = int(cells.scalars[N_CELLS])
    out = new_cells(max(capacity, used))
    out.row[:used] = cells.row[:used]
    out.head[:used] = cells.head[:used]
    out.scalars[:] = cells.scalars
    _fill(out.table, out.row, used)
    return out


def interned(cells: Cells, n: NDArray[np.float64]) -> tuple[Cells, NDArray[np.int32]]:
    """The table, grown by doubling where needed, and the finest cells' cids (m,) of n-vectors (m, 3)."""
    out = np.empty(len(n), np.int32)
    done = intern_many(cells, n, 0, out)
    while done < len(n):
        cells = grown(cells, 2 * len(cells.row) + len(LEVELS))
        done = intern_many(cells, n, done, out)
    return cells, out


@inline_kernel
def _hash(key: np.uint64) -> np.uint64:
    key = (key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    return key ^ (key >> np.uint64(32))


@lean_kernel
def find_cell(table: NDArray[np.int32], row: NDArray[np.void], key: np.uint64) -> int:
    """The cid of an H3 cell, or -1 (linear probing in a table at most half full)."""
    mask = np.uint64(table.size - 1)
    slot = _hash(key) & mask
    while True:
        cid = table[slot]
        if cid < 0 or row[cid].key == key:
            return int(cid)
        slot = (slot + np.uint64(1)) & mask


@lean_kernel
def _put(table: NDArray[np.int32], key: np.uint64, cid: int) -> None:
    mask = np.uint64(table.size - 1)
    slot = _hash(key) & mask
    while table[slot] >= 0:
        slot = (slot + np.uint64(1)) & mask
    table[slot] = cid


@lean_kernel
def _fill(table: NDArray[np.int32], row: NDArray[np.void], used: int) -> None:
    for cid in range(1, used):
        _put(table, row[cid].key, cid)


@lean_kernel
def intern(cells: Cells, key: np.uint64, x: float, y: float, z: float, digits: NDArray[np.int64]) -> int:
    """The cid of the finest cell `key`, which holds the n-vector; a new one is linked to parents and neighbours.

    Returns -1, with nothing changed, where the table has no room for it and its parents (len(LEVELS) places).
    `digits`: scratch, int64 (16,). Rings (as sets) and parents do not depend on the order of interning nor on the point
    given; cids do.
    """
    first = find_cell(cells.table, cells.row, key)
    if first >= 0:
        return first
    if cells.scalars[N_CELLS] + len(LEVELS) > len(cells.row):
        return -1
    first = cells.scalars[N_CELLS]
    face, i, j = lattice(x, y, z, _RESOLUTION[0])
    below = -1
    for level in range(len(LEVELS)):
        res = _RESOLUTION[level]
        if level:
            key = parent_of(key, res)
            above = find_cell(cells.table, cells.row, key)
            if above >= 0:
                _hang(cells, below, above)
                return first
            for r in range(_RESOLUTION[level - 1], res, -1):
                i, j = lattice_parent(i, j, r)
        cid = cells.scalars[N_CELLS]
        cells.scalars[N_CELLS] += 1
        _clear(cells, cid)
        _put(cells.table, key, cid)
        cells.row[cid].key = key
        cells.row[cid].level = level
        _meet(cells, cid, key, level, face, i, j, digits)
        if level:
            _hang(cells, below, cid)
        below = cid
    _hang(cells, below, GLOBE)
    return first


@kernel
def intern_many(cells: Cells, n: NDArray[np.float64], start: int, out: NDArray[np.int32]) -> int:
    """Write the finest cells' cids of n-vectors (m, 3) from row `start` on; return the first without room, or m."""
    digits = np.zeros(16, np.int64)
    for k in range(start, len(n)):
        key = nvec_to_cell(n[k, 0], n[k, 1], n[k, 2], _RESOLUTION[0], digits)
        cid = intern(cells, key, n[k, 0], n[k, 1], n[k, 2], digits)
        if cid < 0:
            return k
        out[k] = cid
    return len(n)


@lean_kernel
def _hang(cells: Cells, cid: int, parent: int) -> None:
    cells.row[cid].parent = parent
    cells.row[cid].sibling = cells.row[parent].child
    cells.row[parent].child = cid


@lean_kernel
def _link(cells: Cells, a: int, b: int) -> None:
    n = cells.row[a].ring_n
    for k in range(n):
        if cells.row[a].ring[k] == b:
            return
    cells.row[a].ring[n] = b
    cells.row[a].ring_n = n + 1


@lean_kernel
def _meet(
    cells: Cells, cid: int, key: np.uint64, level: int, face: int, i: int, j: int, digits: NDArray[np.int64]
) -> None:
    """Link a new cell, which is the lattice point (face, i, j), with its interned neighbours."""
    res = _RESOLUTION[level]
    # Within a face, neighbours are the next lattice points.
    inside = True
    for k in range(6):
        px, py, pz = lattice_point(face, i + _RING_I[k], j + _RING_J[k], res)
        f, _, _ = lattice(px, py, pz, res)
        inside &= f == face
    if inside:
        for k in range(6):
            _meet_one(cells, cid, key, cell_of_lattice(face, i + _RING_I[k], j + _RING_J[k], res, digits))
        return
    # Across the borders of faces, where lattices do not fit together, and about the pentagons: the cells all around.
    x, y, z = lattice_point(face, i, j, res)
    e_x, e_y, h = east_of(x, y)
    for k in range(12):
        a, b = _COS12[k] * _STEP_RAD[level], _SIN12[k] * _STEP_RAD[level]
        px, py, pz = x + a * e_x - b * z * e_y, y + a * e_y + b * z * e_x, z + b * h
        q = 1.0 / math.sqrt(px * px + py * py + pz * pz)
        _meet_one(cells, cid, key, nvec_to_cell(px * q, py * q, pz * q, res, digits))


@lean_kernel
def _meet_one(cells: Cells, cid: int, key: np.uint64, other: np.uint64) -> None:
    if other != key:
        there = find_cell(cells.table, cells.row, other)
        if there >= 0:
            _link(cells, cid, there)
            _link(cells, there, cid)
