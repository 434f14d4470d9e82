"""Edges: which detections a candidate track may have caused.

Whether an edge exists is decided by the track's row and the look alone; the index only proposes. An edge below a floor, or
far below the best edge of its detection, does not exist.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import COVER_M, GLOBE, GLOBE_LEVEL, LEVELS, Cells, intern
from apss_fusion.association.scratch import Scratch
from apss_fusion.association.weights import Pairs, copy_posterior, weigh
from apss_fusion.estimation.history import copy_history
from apss_fusion.estimation.rounding import power_below
from apss_fusion.geodesy.h3cells import nvec_to_cell
from apss_fusion.kernels import Row, inline_kernel, lean_kernel

#: Looks with fewer detections than this are compared pair by pair, without lists.
FEW = 6
#: Square of a radius of the Earth, m^2, a little above the mean: what a squared chord is multiplied by in a first test.
EARTH_SQ_M2 = 4.07e13
_RESOLUTION = np.array(LEVELS)
NO_EDGE_ROOM, NO_CELL_ROOM = -1, -2


@lean_kernel
def hang_detections(cells: Cells, z: NDArray[np.void], heads: NDArray[np.int32], scratch: Scratch) -> bool:
    """Hang the detections of a look on their cells at every level; heads: by cid, 0 on entry;
    lists hold numbers from 1.

    Returns false, with nothing hung, where the cells need more room.
    """
    for j in range(len(z)):
        key = nvec_to_cell(z[j].x, z[j].y, z[j].z, _RESOLUTION[0], scratch.digits)
        cid = intern(cells, key, z[j].x, z[j].y, z[j].z, scratch.digits)
        if cid < 0:
            return False
        scratch.d[j].cid = cid
        scratch.d_n[j, 0], scratch.d_n[j, 1], scratch.d_n[j, 2] = z[j].x, z[j].y, z[j].z
    for j in range(len(z) - 1, -1, -1):
        cid = np.int64(scratch.d[j].cid)
        for level in range(GLOBE_LEVEL + 1):
            scratch.d_next[level, j] = heads[cid]
            heads[cid] = j + 1
            cid = np.int64(cells.row[cid].parent)
    return True


@lean_kernel
def unhang_detections(cells: Cells, n: int, heads: NDArray[np.int32], scratch: Scratch) -> None:
    """Make the lists of `hang_detections` empty again."""
    for j in range(n):
        cid = np.int64(scratch.d[j].cid)
        while cid >= 0:
            heads[cid] = 0
            cid = np.int64(cells.row[cid].parent)


@lean_kernel
def edges_of(
    params: Row,
    pairs: Pairs,
    cells: Cells,
    look: Row,
    s: Row,
    altitude: Row,
    b: Row,
    i: int,
    z: NDArray[np.void],
    heads: NDArray[np.int32],
    widest_m: float,
    listed: bool,
    e: int,
    scratch: Scratch,
) -> int:
    """Append the edges of candidate i, in the order of detections, from place e on; returns the next place.

    Returns NO_EDGE_ROOM or NO_CELL_ROOM where more room is needed. widest_m: reach of the widest detection of the look.
    listed: whether the detections hang on the lists of `hang_detections`; else each is compared.
    """
    p, first = scratch.c[i].pred, e
    floor = params.filter[0].edge_floor * scratch.c[i].miss
    if not listed:
        for j in range(len(z)):
            if e == len(scratch.e):
                return NO_EDGE_ROOM
            w = _weigh_edge(params, pairs, look, s, altitude, b, i, z[j], j, e, scratch)
            if w >= floor and w > 0.0:
                scratch.e[e].detection, scratch.e[e].weight = j, w
                e += 1
        return e
    axis = 0.5 * (p.ee + p.nn + math.sqrt((p.ee - p.nn) ** 2 + 4.0 * p.en * p.en))
    need = math.sqrt(params.filter[0].gate * axis) + widest_m
    far_sq = 1.02 * need * need / EARTH_SQ_M2
    level = 0
    while level < GLOBE_LEVEL and need > COVER_M[level]:
        level += 1
    cid = np.int64(GLOBE)
    ring_n = 0
    if level < GLOBE_LEVEL:
        key = nvec_to_cell(p.x, p.y, p.z, _RESOLUTION[0], scratch.digits)
        cid = np.int64(intern(cells, key, p.x, p.y, p.z, scratch.digits))
        if cid < 0:
            return NO_CELL_ROOM
        for _ in range(level):
            cid = np.int64(cells.row[cid].parent)
        ring_n = cells.row[cid].ring_n
    for k in range(-1, ring_n):
        j = np.int64(heads[cid if k < 0 else cells.row[cid].ring[k]]) - 1
        while j >= 0:
            if e == len(scratch.e):
                return NO_EDGE_ROOM
            dx, dy, dz = p.x - scratch.d_n[j, 0], p.y - scratch.d_n[j, 1], p.z - scratch.d_n[j, 2]
            w = 0.0
            h = scratch.e[e].posterior
            if dx * dx + dy * dy + dz * dz < far_sq:
                w = _weigh_edge(params, pairs, look, s, altitude, b, i, z[j], j, e, scratch)
            if w >= floor and w > 0.0:
                at = e
                while at > first and scratch.e[at - 1].detection > j:
                    at -= 1
                if at < e:
                    # The last row of histories is nobody's.
                    moved_aside, last = scratch.spare[1].posterior, len(scratch.e_h) - 1
                    copy_posterior(h, moved_aside)
                    copy_history(scratch.e_h[e], scratch.e_h[last])
                    for m in range(e, at, -1):
                        _copy_edge(scratch, m - 1, m)
                    copy_posterior(moved_aside, scratch.e[at].posterior)
                    copy_history(scratch.e_h[last], scratch.e_h[at])
                scratch.e[at].detection, scratch.e[at].weight = j, w
                e += 1
            j = scratch.d_next[level, j] - 1
    return e


@inline_kernel
def _weigh_edge(
    params: Row,
    pairs: Pairs,
    look: Row,
    s: Row,
    altitude: Row,
    b: Row,
    i: int,
    z: Row,
    j: int,
    e: int,
    scratch: Scratch,
) -> float:
    """Weight of candidate i and detection z, number j of the look; its posterior goes into edge e."""
    return weigh(
        params.filter[0],
        params.domain[b.domain],
        pairs,
        look,
        s,
        altitude,
        b,
        scratch.c[i].pred,
        scratch.c[i].r,
        z,
        scratch.d[j].log_ref,
        scratch.missing,
        scratch.spare[0],
        scratch.e[e].posterior,
        scratch.c_h[i],
        scratch.e_h[e],
        scratch.mix,
        scratch.group,
    )


@lean_kernel
def _copy_edge(scratch: Scratch, e: int, at: int) -> None:
    """Copy an edge to another place."""
    scratch.e[at].detection, scratch.e[at].weight = scratch.e[e].detection, scratch.e[e].weight
    copy_posterior(scratch.e[e].posterior, scratch.e[at].posterior)
    copy_history(scratch.e_h[e], scratch.e_h[at])


@lean_kernel
def drop_dominated(n: int, detections: int, dominated: float, scratch: Scratch) -> int:
    """Take away edges far below the best of their detection; returns how many edges are left."""
    for j in range(detections):
        scratch.d[j].best = 0.0
    for e in range(scratch.c[n].edge):
        j = scratch.e[e].detection
        scratch.d[j].best = max(scratch.d[j].best, scratch.e[e].weight)
    for j in range(detections):
        if scratch.d[j].best > 0.0:
            scratch.d[j].best = dominated * power_below(scratch.d[j].best)
    at = 0
    for i in range(n):
        low, high = scratch.c[i].edge, scratch.c[i + 1].edge
        scratch.c[i].edge = at
        for e in range(low, high):
            j = scratch.e[e].detection
            if scratch.e[e].weight >= scratch.d[j].best:
                if at != e:
                    _copy_edge(scratch, e, at)
                at += 1
    scratch.c[n].edge = at
    return at


@lean_kernel
def drop_untouched(n: int, scratch: Scratch) -> int:
    """Take away candidates that the look does not touch: no edge is left, and it would not have seen them. How many stay."""
    at = 0
    for i in range(n):
        if scratch.c[i + 1].edge > scratch.c[i].edge or scratch.c[i].seen > 0.0:
            if at != i:
                scratch.c[at] = scratch.c[i]
                copy_history(scratch.c_h[i], scratch.c_h[at])
            at += 1
    scratch.c[at].edge = scratch.c[n].edge
    return at
