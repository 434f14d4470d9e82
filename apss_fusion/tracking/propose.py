"""Which tracks a look could concern: proposals of the index, never a decision.

A look with a footprint asks all that is filed in the cells under and around it. A look without one asks, for each detection,
the tracks that carry its identity and those filed near it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import GLOBE, GLOBE_LEVEL, LEVELS, N_FILED, find_cell, intern
from apss_fusion.association.edges import EARTH_SQ_M2
from apss_fusion.estimation.motion import process_noise
from apss_fusion.geodesy.h3cells import nvec_to_cell
from apss_fusion.kernels import Row, lean_kernel, whole
from apss_fusion.tracking.bank import STAMP, identity_entry, identity_entry_next
from apss_fusion.tracking.config import Params
from apss_fusion.tracking.filing import DETECTION_REACH_M
from apss_fusion.tracking.window.lists import head_of
from apss_fusion.tracking.window.rows import CARRIER, FILING

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

NO_ROOM, NO_CELL_ROOM = -1, -2
_FINEST = LEVELS[0]


#: Columns of `Feet.first`.
RINGS, VERTICES, COVERS, PAGES = range(4)
COVERED = np.dtype([("cell", "u8"), ("share", "f8")])
PAGE = np.dtype([("cell", "u8"), ("deep", "i8")])
#: A point of each footprint, and how far, in m, all is inside about it, and beyond what all is outside.
CAP = np.dtype([("x", "f8"), ("y", "f8"), ("z", "f8"), ("inner_m", "f8"), ("outer_m", "f8")])


class Feet(NamedTuple):
    """Footprints of a batch, one after the other: ring vertices, covered intensity cells, pages of the index.

    first[f] to first[f + 1] are those of footprint f: of ring starts (counted from its own first
    vertex), vertices, covered cells and pages. Of the pages, those with `deep` stand
    for all cells below them.
    """

    vertices: NDArray[np.float64]
    ring_start: NDArray[np.int64]
    edges: NDArray[np.float64]  # to work in
    cover: NDArray[np.void]
    page: NDArray[np.void]
    cap: NDArray[np.void]
    first: NDArray[np.int64]


@lean_kernel
def _propose(w: Work, i: int, n: int) -> int:
    """Append track i to the n proposed ones, unless it is among them; returns how many, or NO_ROOM."""
    k = w.bank.link[i]
    if k.stamp != w.bank.counters[STAMP]:
        if n == len(w.scratch.c) - 1:
            return NO_ROOM
        k.stamp = w.bank.counters[STAMP]
        w.scratch.c[n].slot = i
        n += 1
    return n


@lean_kernel
def _propose_bucket(w: Work, cid: int, past: bool, t: float, n: int) -> int:
    """The tracks filed in a cell: now, or (past) at time t."""
    i = whole(w.cells.head[cid])
    while i >= 0:
        if not past or w.window.track[i].filed_from <= t:
            n = _propose(w, i, n)
            if n < 0:
                return n
        i = whole(w.bank.link[i].next)
    if past:
        entry = head_of(w.window, FILING, 0, 0, w.cells.row[cid].key)
        while entry >= 0:
            filed = w.window.filed[entry]
            if filed.start <= t <= filed.stop:
                n = _propose(w, whole(filed.track), n)
                if n < 0:
                    return n
            entry = whole(filed.next)
    return n


@lean_kernel
def propose_under(w: Work, f: int, past: bool, t: float) -> int:
    """Write the tracks filed about footprint f, now or (past) at time t, to c_slot; returns how many, or NO_ROOM."""
    bank, feet = w.bank, w.feet
    n = 0
    first, last = feet.first[f, PAGES], feet.first[f + 1, PAGES]
    if first == last:
        for i in range(len(bank.link)):
            if bank.link[i].alive or (past and w.window.track[i].last >= 0):
                n = _propose(w, i, n)
                if n < 0:
                    return n
        return n
    n = _propose_bucket(w, GLOBE, past, t, n)
    for k in range(first, last):
        top = whole(find_cell(w.cells.table, w.cells.row, feet.page[k].cell))
        if n < 0:
            return n
        if top < 0:
            continue
        if not feet.page[k].deep:
            n = _propose_bucket(w, top, past, t, n)
        else:
            n = _propose_below(w, top, past, t, n)
    return n


@lean_kernel
def _propose_below(w: Work, top: int, past: bool, t: float, n: int) -> int:
    """All buckets at or below cell `top`."""
    cells = w.cells
    cid = whole(top)
    while True:
        if past or cells.head[cid] >= 0:
            n = _propose_bucket(w, cid, past, t, n)
            if n < 0:
                return n
        if cells.row[cid].child >= 0:
            cid = whole(cells.row[cid].child)
            continue
        while cid != top and cells.row[cid].sibling < 0:
            cid = whole(cells.row[cid].parent)
        if cid == top:
            return n
        cid = whole(cells.row[cid].sibling)


@lean_kernel
def reach_of(look: Row, z: Row, params: Params) -> float:
    """How far detection z's own part of any gate may reach, m: its ellipse, and motion to its own time."""
    reach = math.sqrt(
        params.filter[0].gate * 0.5 * (z.ree + z.rnn + math.sqrt((z.ree - z.rnn) ** 2 + 4.0 * z.ren * z.ren))
    )
    if z.dt != 0.0:
        # A track of any domain may be concerned.
        speed, variance, noise = 0.0, 0.0, 0.0
        for k in range(len(params.domain)):
            d = params.domain[k]
            qxx, _, _ = process_noise(d.q, d.g, z.dt)
            speed, variance, noise = max(speed, d.max_speed), max(variance, d.birth_speed_var), max(noise, qxx)
        gate = params.filter[0].gate
        reach += (speed + math.sqrt(gate * 2.0 * variance)) * abs(z.dt) + math.sqrt(gate * noise)
    return reach


@lean_kernel
def propose_near(w: Work, look: Row, z: Row, past: bool, n: int) -> int:
    """Append the tracks of detection z's identity, and those near it, to the n in c_slot; returns how many, or no room.

    past: those of the look's own time, in the window; else those of now.
    """
    bank, cells, scratch = w.bank, w.cells, w.scratch
    if z.identity != 0:
        if past:
            node = head_of(w.window, CARRIER, 0, 0, z.identity)
            while node >= 0:
                n = _propose(w, whole(w.window.node[node].a), n)
                if n < 0:
                    return n
                node = whole(w.window.node[node].next)
        else:
            entry = identity_entry(bank.identity, z.identity)
            while entry >= 0:
                n = _propose(w, entry >> 1, n)
                if n < 0:
                    return n
                entry = identity_entry_next(bank.link, entry)
    reach = reach_of(look, z, w.params)
    key = nvec_to_cell(z.x, z.y, z.z, _FINEST, scratch.digits)
    cid = whole(intern(cells, key, z.x, z.y, z.z, scratch.digits))
    if cid < 0:
        return NO_CELL_ROOM
    level = 0
    while level < GLOBE_LEVEL and reach > DETECTION_REACH_M[level]:
        level += 1
        cid = whole(cells.row[cid].parent)
    deep = level > 0
    while True:
        here = deep or past or cells.scalars[N_FILED + cells.row[cid].level] > 0
        for k in range(-1 if here else 0, cells.row[cid].ring_n if here else 0):
            near = whole(cid if k < 0 else cells.row[cid].ring[k])
            if deep:
                n = _propose_below(w, near, past, look.t, n)
            elif past:
                n = _propose_bucket(w, near, past, look.t, n)
            elif cells.head[near] >= 0:
                n = _propose_close(w, look, z, reach, near, n)
            if n < 0:
                return n
        deep = False
        if cid == GLOBE:
            return n
        cid = whole(cells.row[cid].parent)


@lean_kernel
def _propose_close(w: Work, look: Row, z: Row, reach: float, cid: int, n: int) -> int:
    """Tracks of one bucket, without those that are plainly too far: half of a port, that need no prediction then."""
    bank, params = w.bank, w.params
    i = whole(w.cells.head[cid])
    while i >= 0:
        k = bank.link[i]
        if k.stamp != bank.counters[STAMP]:
            h = bank.state[i]
            q = params.domain[bank.belief[i].domain].q * bank.belief[i].factor
            dt = abs(look.t - h.t)
            var = h.ee + h.nn + 2.0 * dt * (abs(h.ea) + abs(h.nb)) + dt * dt * (h.aa + h.bb) + q * dt * dt * dt
            far = math.sqrt(h.a * h.a + h.b * h.b) * dt + math.sqrt(params.filter[0].gate * var) + reach + 1.0
            dx, dy, dz = h.x - z.x, h.y - z.y, h.z - z.z
            if (dx * dx + dy * dy + dz * dz) * EARTH_SQ_M2 < 1.02 * far * far:
                n = _propose(w, i, n)
                if n < 0:
                    return n
        i = whole(k.next)
    return n
