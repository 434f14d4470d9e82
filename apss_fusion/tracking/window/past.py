"""The index of the past: which looks a changed track may touch, where detections lie in space and time.

A detection is entered in the cells of a few levels, by time in steps that are longer for coarser cells; one whose own ellipse is
wide only in cells that are wide enough for it. A track with a gate of some reach is then looked for in one cell and its ring.
The index only proposes: `touches` decides, with the numbers of the step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import GLOBE, GLOBE_LEVEL, LEVELS, intern
from apss_fusion.association.edges import EARTH_SQ_M2
from apss_fusion.association.weights import reference
from apss_fusion.estimation.motion import predict, reach_m
from apss_fusion.geodesy.h3cells import nvec_to_cell
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.filing import (
    DETECTION_REACH_M,
    FILED_REACH_M,
    existence_at,
    remember_filing,
    settle_row,
)
from apss_fusion.tracking.propose import reach_of
from apss_fusion.tracking.weighing import chance_seen, weigh_one
from apss_fusion.tracking.window.lists import append, head_of, precedes
from apss_fusion.tracking.window.rows import (
    AT_LEVEL,
    FOOTPRINT,
    IDENTITY,
    NATIVE,
    NATIVES,
)

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: Whether detections are entered at a level, and seconds of a step of time there; the steps nest.
ENTERED = np.array([True, False, True, False, True, False, True])
STEP_S = np.array([64.0, 512.0, 512.0, 4096.0, 4096.0, 16384.0, 16384.0])
_FINEST = LEVELS[0]
#: Seconds of a step of time in the lists of footprints and identities.
_FOOTPRINT_S, _IDENTITY_S = 512.0, 4096.0


@lean_kernel
def enter_look(w: Work, q: int) -> None:
    """Enter look q and its detections into the index. The caller has seen to room."""
    win = w.window
    look = win.look[q]
    if look.footprint >= 0 and not look.cooperative:
        append(win, FOOTPRINT, 0, math.floor(look.t / _FOOTPRINT_S), np.uint64(0), q, -1)
    for j in range(look.count):
        z = win.detection[look.first + j]
        if z.identity != 0:
            append(win, IDENTITY, 0, math.floor(look.t / _IDENTITY_S), z.identity, q, j)
        reach = reach_of(look, z, w.params)
        native = 0
        while native < GLOBE_LEVEL and (reach > DETECTION_REACH_M[native] or not ENTERED[native]):
            native += 1
        key = nvec_to_cell(z.x, z.y, z.z, _FINEST, w.scratch.digits)
        cid = whole(intern(w.cells, key, z.x, z.y, z.z, w.scratch.digits))
        for level in range(GLOBE_LEVEL + 1):
            if level >= native and ENTERED[level]:
                moment = math.floor(look.t / STEP_S[level])
                cell = w.cells.row[cid].key
                if level < GLOBE_LEVEL:
                    append(win, AT_LEVEL, level, moment, cell, q, j)
                if level == native and native > 0:
                    win.n[NATIVES + level] += 1
                    append(win, NATIVE, level, moment, cell, q, j)
            cid = whole(w.cells.row[cid].parent)


@lean_kernel
def touches(w: Work, s: Row, a: Row, b: Row, h: NDArray[np.float64], q: int, j: int) -> bool:
    """Whether the rows s, a, b of a track touch look q through its detection j (-1: its footprint), as it was weighed."""
    win = w.window
    look = win.look[q]
    d, f = w.params.domain[b.domain], w.params.filter[0]
    if not (w.domain_mask[look.source] >> b.domain) & 1:
        return False
    x = w.scratch.spare[1]
    status = b.status
    alive = settle_row(s, b, d, f, look.t)
    b.status = status
    if not alive:
        return False
    predict(s, look.t, d.q * b.factor, d.g, d.great_circle != 0, x.state)
    seen = 0.0
    if look.footprint >= 0 and not look.cooperative:
        seen = chance_seen(w, look, x.state, d.stop_probability)
    if j < 0:
        return seen > 0.0
    z = win.detection[look.first + j]
    r = existence_at(b, d, look.t)
    log_ref = reference(look, z, w.params.domain[z.domain])
    w.scratch.missing[0, 0] = 0
    weight = weigh_one(w, look, s, a, b, h, x.state, r, z, log_ref)
    if w.scratch.missing[0, 0]:
        # What the pair makes of it is learned when the look is visited.
        w.scratch.missing[0, 0] = 0
        return True
    return weight > 0.0 and weight >= f.edge_floor * (1.0 - r * seen) and weight >= win.heard[look.first + j].bar


@lean_kernel
def _try(w: Work, s: Row, a: Row, b: Row, h: NDArray[np.float64], q: int, j: int, after: int, best: int) -> int:
    """Look q if it comes after look `after`, before look `best`, and is touched; else `best`."""
    win = w.window
    if not win.seen[q].alive or not win.seen[q].fused or not precedes(win, after, q):
        return best
    if best >= 0 and not precedes(win, q, best):
        return best
    return q if touches(w, s, a, b, h, q, j) else best


@inline_kernel
def first_touched(w: Work, s: Row, a: Row, b: Row, h: NDArray[np.float64], after: int, stop: int, until: float) -> int:
    """The first look after look `after` and before look `stop` that a track with these rows touches; `stop` for none.

    stop: -1 for all there are. until: when the track ends.
    """
    win = w.window
    best = whole(stop)
    start = win.look[after].t
    end = min(win.look[best].t if best >= 0 else win.now[0], until)
    if end < start:
        return best
    for moment in range(math.floor(start / _FOOTPRINT_S), math.floor(end / _FOOTPRINT_S) + 1):
        node = head_of(win, FOOTPRINT, 0, moment, np.uint64(0))
        while node >= 0:
            best = _try(w, s, a, b, h, whole(win.node[node].a), whole(-1), after, best)
            node = whole(win.node[node].next)
    for which in range(2):
        identity = b.id1 if which == 0 else b.id2
        if identity != 0:
            for moment in range(math.floor(start / _IDENTITY_S), math.floor(end / _IDENTITY_S) + 1):
                node = head_of(win, IDENTITY, 0, moment, identity)
                while node >= 0:
                    best = _try(w, s, a, b, h, whole(win.node[node].a), whole(win.node[node].b), after, best)
                    node = whole(win.node[node].next)
    return _first_near(w, s, a, b, h, after, best, start, until)


@lean_kernel
def _first_near(
    w: Work, s: Row, a: Row, b: Row, h: NDArray[np.float64], after: int, best: int, start: float, last: float
) -> int:
    """As `first_touched`, of detections near the track: step of time by step of time, in wider cells as its gate widens."""
    win, cells, d = w.window, w.cells, w.params.domain[b.domain]
    sigmas = math.sqrt(w.params.filter[0].gate)
    p = w.scratch.spare[1].state
    speed = math.sqrt(s.a * s.a + s.b * s.b)
    t, level = start, 0
    while True:
        end = min(win.look[best].t if best >= 0 else win.now[0], last)
        until = min(end, (math.floor(t / STEP_S[level]) + 1.0) * STEP_S[level])
        # The gate at `until` about where the track is half way.
        need = 1.02 * (reach_m(s, d.q * b.factor, max(until - s.t, 0.0), sigmas) - speed * max(until - s.t, 0.0)) + 1.0
        need += 0.51 * speed * (until - t)
        if level < GLOBE_LEVEL and need > FILED_REACH_M[level]:
            level += 1
            while level < GLOBE_LEVEL and not ENTERED[level]:
                level += 1
            continue
        predict(s, 0.5 * (t + until), d.q * b.factor, d.g, d.great_circle != 0, p)
        x, y, z = p.x, p.y, p.z
        key = nvec_to_cell(x, y, z, _FINEST, w.scratch.digits)
        cid = whole(intern(cells, key, x, y, z, w.scratch.digits))
        if cid < 0:
            # No room for another cell: what lies in it is not known either, so everything is asked.
            return _first_anywhere(w, s, a, b, h, after, best, t, end)
        for _ in range(level):
            cid = whole(cells.row[cid].parent)
        moment = math.floor(t / STEP_S[level])
        if level == GLOBE_LEVEL:
            best = _first_anywhere(w, s, a, b, h, after, best, t, until)
        else:
            best = _first_in(w, s, a, b, h, AT_LEVEL, level, moment, cid, need, x, y, z, after, best)
        for above in range(level + 1, GLOBE_LEVEL + 1):
            cid = whole(cells.row[cid].parent)
            if win.n[NATIVES + above] > 0 and ENTERED[above]:
                moment = math.floor(t / STEP_S[above])
                best = _first_in(w, s, a, b, h, NATIVE, above, moment, cid, need, x, y, z, after, best)
        # Where the end is that of the step too, looks of that very moment lie in the next one.
        if until >= end and (t == until or until < (math.floor(t / STEP_S[level]) + 1.0) * STEP_S[level]):
            return best
        t = until


@lean_kernel
def _first_in(
    w: Work,
    s: Row,
    a: Row,
    b: Row,
    h: NDArray[np.float64],
    kind: int,
    level: int,
    moment: int,
    cid: int,
    need: float,
    x: float,
    y: float,
    z: float,
    after: int,
    best: int,
) -> int:
    """As `first_touched`, of the detections of one step in a cell and its ring, within `need` m of an n-vector."""
    win, row = w.window, w.cells.row
    gate = w.params.filter[0].gate
    for k in range(-1, row[cid].ring_n):
        near = whole(cid if k < 0 else row[cid].ring[k])
        node = head_of(win, kind, level, moment, row[near].key)
        while node >= 0:
            q, j = whole(win.node[node].a), whole(win.node[node].b)
            seen = win.detection[win.look[q].first + j]
            dx, dy, dz = seen.x - x, seen.y - y, seen.z - z
            far = need + math.sqrt(gate * (seen.ree + seen.rnn))
            if seen.dt != 0.0 or (dx * dx + dy * dy + dz * dz) * EARTH_SQ_M2 < 1.05 * far * far:
                best = _try(w, s, a, b, h, q, j, after, best)
            node = whole(win.node[node].next)
    return best


@lean_kernel
def _first_anywhere(
    w: Work, s: Row, a: Row, b: Row, h: NDArray[np.float64], after: int, best: int, t: float, until: float
) -> int:
    """As `first_touched`, of all looks from time t to time `until`: for a gate that no ring of cells holds."""
    win = w.window
    for q in range(len(win.seen)):
        if win.seen[q].alive and t <= win.look[q].t <= until:
            for j in range(win.look[q].count):
                best = _try(w, s, a, b, h, q, j, after, best)
    return best


@lean_kernel
def file_past(w: Work, k: int, start: float, stop: float) -> None:
    """File the track of version k where its gate lies from time `start` to time `stop`. The caller has seen to room."""
    v = w.window.touch[k]
    s, d = v.state, w.params.domain[v.belief.domain]
    q = d.q * v.belief.factor
    p = w.scratch.spare[1].state
    predict(s, 0.5 * (start + stop), q, d.g, d.great_circle != 0, p)
    speed = math.sqrt(s.a * s.a + s.b * s.b)
    way = max(stop - s.t, 0.0)
    need = 1.02 * (reach_m(s, q, way, math.sqrt(w.params.filter[0].gate)) - speed * way) + 1.0
    need += 0.51 * speed * (stop - start)
    level = 0
    while level < GLOBE_LEVEL and need > FILED_REACH_M[level]:
        level += 1
    cid = whole(GLOBE)
    if level < GLOBE_LEVEL:
        key = nvec_to_cell(p.x, p.y, p.z, _FINEST, w.scratch.digits)
        cid = whole(intern(w.cells, key, p.x, p.y, p.z, w.scratch.digits))
        for _ in range(level):
            cid = whole(w.cells.row[cid].parent)
    remember_filing(w.window, w.cells, cid, whole(v.track), start, stop)
