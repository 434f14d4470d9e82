"""Which tracks a look may concern: those that the index proposes, in the order of their keys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import EDGE_M, LEVELS, N_CELLS
from apss_fusion.geodesy.wgs84 import MEAN_RADIUS_M
from apss_fusion.kernels import Row, lean_kernel
from apss_fusion.tracking.propose import propose_near, propose_under, reach_of
from apss_fusion.tracking.work import CELLS_A_TRACK, NEED_CELLS, NEED_SCRATCH

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: Edge of the finest pages.
_PAGE_EDGE_M = EDGE_M[LEVELS[0]]


@lean_kernel
def candidates(w: Work, look: Row, z: NDArray[np.void], past: bool) -> int:
    """Proposed tracks in c_slot: those of now, in the order of their keys, or (past) those of the look's time, in none.

    How many, or minus what is needed.
    """
    if w.cells.scalars[N_CELLS] + CELLS_A_TRACK * (len(z) + 1) > len(w.cells.row):
        return -NEED_CELLS
    n = 0
    if look.footprint >= 0:
        n = propose_under(w, look.footprint, past, look.t)
    for j in range(len(z)):
        if n < 0:
            break
        if look.footprint < 0 or _reaches_out(w, look, z[j]):
            n = propose_near(w, look, z[j], past, n)
    if n < 0:
        return -NEED_SCRATCH
    if not past:
        sort_by_key(w.bank.belief, n, w.scratch.c)
    return n


@lean_kernel
def _reaches_out(w: Work, look: Row, z: Row) -> bool:
    """Whether a detection of a look with a footprint may be of a track that is not filed about the footprint.

    The pages of a footprint reach out by more than an edge of their cells, which is an eighth of its radius or longer.
    """
    cap = w.feet.cap[look.footprint]
    dx, dy, dz = z.x - cap.x, z.y - cap.y, z.z - cap.z
    away_m = MEAN_RADIUS_M * math.sqrt(dx * dx + dy * dy + dz * dz)
    return (
        z.identity != 0 or away_m > cap.outer_m or reach_of(look, z, w.params) > max(0.125 * cap.outer_m, _PAGE_EDGE_M)
    )


@lean_kernel
def sort_by_key(belief: NDArray[np.void], n: int, c: NDArray[np.void]) -> None:
    """Sort the slots of n candidates by the keys of their tracks: by insertion where they are few, else as a heap."""
    for k in range(n):
        c[k].key = belief[c[k].slot].key
    if n <= 32:
        for k in range(1, n):
            slot, key, m = c[k].slot, c[k].key, k
            while m > 0 and c[m - 1].key > key:
                c[m].slot, c[m].key = c[m - 1].slot, c[m - 1].key
                m -= 1
            c[m].slot, c[m].key = slot, key
        return
    for k in range(n // 2 - 1, -1, -1):
        _sift(c, k, n)
    for k in range(n - 1, 0, -1):
        c[0].slot, c[k].slot = c[k].slot, c[0].slot
        c[0].key, c[k].key = c[k].key, c[0].key
        _sift(c, 0, k)


@lean_kernel
def _sift(c: NDArray[np.void], k: int, n: int) -> None:
    """Let row k sink to its place in the heap of the first n rows, the largest key on top."""
    slot, key = c[k].slot, c[k].key
    while 2 * k + 1 < n:
        child = 2 * k + 1
        if child + 1 < n and c[child + 1].key > c[child].key:
            child += 1
        if c[child].key <= key:
            break
        c[k].slot, c[k].key = c[child].slot, c[child].key
        k = child
    c[k].slot, c[k].key = slot, key
