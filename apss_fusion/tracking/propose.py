"""Which tracks a look could concern: proposals of the index, never a decision.

A look with a footprint asks all that is filed in the cells under and around it. A look without one asks, for each detection,
the tracks that carry its identity and those filed near it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import GLOBE, GLOBE_LEVEL, LEVELS, N_FILED, Cells, find_cell, intern
from apss_fusion.association.edges import EARTH_SQ_M2
from apss_fusion.association.scratch import Scratch
from apss_fusion.estimation.motion import process_noise
from apss_fusion.geodesy.h3cells import nvec_to_cell
from apss_fusion.kernels import Row, lean_kernel
from apss_fusion.tracking.bank import STAMP, Bank, identity_entry, identity_entry_next
from apss_fusion.tracking.config import Params
from apss_fusion.tracking.filing import DETECTION_REACH_M

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
def _propose_bucket(bank: Bank, cells: Cells, cid: int, n: int, scratch: Scratch) -> int:
    stamp = bank.counters[STAMP]
    i = np.int64(cells.head[cid])
    while i >= 0:
        k = bank.link[i]
        if k.stamp != stamp:
            if n == len(scratch.c) - 1:
                return NO_ROOM
            k.stamp = stamp
            scratch.c[n].slot = i
            n += 1
        i = np.int64(k.next)
    return n


@lean_kernel
def propose_under(bank: Bank, cells: Cells, feet: Feet, f: int, scratch: Scratch) -> int:
    """Write the tracks filed about footprint f to c_slot; returns how many, or NO_ROOM."""
    n = 0
    first, last = feet.first[f, PAGES], feet.first[f + 1, PAGES]
    if first == last:
        for i in range(len(bank.link)):
            if bank.link[i].alive:
                bank.link[i].stamp = bank.counters[STAMP]
                if n == len(scratch.c) - 1:
                    return NO_ROOM
                scratch.c[n].slot = i
                n += 1
        return n
    n = _propose_bucket(bank, cells, GLOBE, n, scratch)
    for k in range(first, last):
        top = np.int64(find_cell(cells.table, cells.row, feet.page[k].cell))
        if n < 0:
            return n
        if top < 0:
            continue
        if not feet.page[k].deep:
            n = _propose_bucket(bank, cells, top, n, scratch)
        else:
            n = _propose_below(bank, cells, top, n, scratch)
    return n


@lean_kernel
def _propose_below(bank: Bank, cells: Cells, top: int, n: int, scratch: Scratch) -> int:
    """All buckets at or below cell `top`."""
    cid = np.int64(top)
    while True:
        if cells.head[cid] >= 0:
            n = _propose_bucket(bank, cells, cid, n, scratch)
            if n < 0:
                return n
        if cells.row[cid].child >= 0:
            cid = np.int64(cells.row[cid].child)
            continue
        while cid != top and cells.row[cid].sibling < 0:
            cid = np.int64(cells.row[cid].parent)
        if cid == top:
            return n
        cid = np.int64(cells.row[cid].sibling)


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
def propose_near(bank: Bank, cells: Cells, params: Params, look: Row, z: Row, n: int, scratch: Scratch) -> int:
    """Append the tracks of detection z's identity, and those near it, to the n in c_slot; returns how many, or no room."""
    stamp = bank.counters[STAMP]
    if z.identity != 0:
        entry = identity_entry(bank.identity, z.identity)
        while entry >= 0:
            k = bank.link[entry >> 1]
            if k.stamp != stamp:
                if n == len(scratch.c) - 1:
                    return NO_ROOM
                k.stamp = stamp
                scratch.c[n].slot = entry >> 1
                n += 1
            entry = identity_entry_next(bank.link, entry)
    reach = reach_of(look, z, params)
    key = nvec_to_cell(z.x, z.y, z.z, _FINEST, scratch.digits)
    cid = np.int64(intern(cells, key, z.x, z.y, z.z, scratch.digits))
    if cid < 0:
        return NO_CELL_ROOM
    level = 0
    while level < GLOBE_LEVEL and reach > DETECTION_REACH_M[level]:
        level += 1
        cid = np.int64(cells.row[cid].parent)
    deep = level > 0
    while True:
        here = deep or cells.scalars[N_FILED + cells.row[cid].level] > 0
        for k in range(-1 if here else 0, cells.row[cid].ring_n if here else 0):
            near = np.int64(cid if k < 0 else cells.row[cid].ring[k])
            if deep:
                n = _propose_below(bank, cells, near, n, scratch)
            elif cells.head[near] >= 0:
                n = _propose_close(bank, cells, params, look, z, reach, near, n, scratch)
            if n < 0:
                return n
        deep = False
        if cid == GLOBE:
            return n
        cid = np.int64(cells.row[cid].parent)


@lean_kernel
def _propose_close(
    bank: Bank, cells: Cells, params: Params, look: Row, z: Row, reach: float, cid: int, n: int, scratch: Scratch
) -> int:
    """Tracks of one bucket, without those that are plainly too far: half of a port, that need no prediction then."""
    stamp = bank.counters[STAMP]
    i = np.int64(cells.head[cid])
    while i >= 0:
        k = bank.link[i]
        if k.stamp != stamp:
            h = bank.state[i]
            q = params.domain[bank.belief[i].domain].q
            dt = abs(look.t - h.t)
            var = h.ee + h.nn + 2.0 * dt * (abs(h.ea) + abs(h.nb)) + dt * dt * (h.aa + h.bb) + q * dt * dt * dt
            far = math.sqrt(h.a * h.a + h.b * h.b) * dt + math.sqrt(params.filter[0].gate * var) + reach + 1.0
            dx, dy, dz = h.x - z.x, h.y - z.y, h.z - z.z
            if (dx * dx + dy * dy + dz * dz) * EARTH_SQ_M2 < 1.02 * far * far:
                if n == len(scratch.c) - 1:
                    return NO_ROOM
                k.stamp = stamp
                scratch.c[n].slot = i
                n += 1
        i = np.int64(k.next)
    return n
