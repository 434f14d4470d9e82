"""A visit to a look at its place in time: its clusters in which something differs are weighed again, by the step of any look.

The tracks are put on a desk (a bank of its own) as they were just before the look, the detections beside them. The desk is
enlarged until it is closed: with a track come the cluster it was in, with a detection the tracks that its fallen bar lets in.
Then the step's own kernels weigh it, and what differs from the window is written there and carried on.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import N_CELLS
from apss_fusion.association.edges import EARTH_SQ_M2
from apss_fusion.association.weights import reference
from apss_fusion.estimation.history import clear_history, copy_history
from apss_fusion.estimation.motion import predict, reach_m
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.bank import N_FREE, STAMP
from apss_fusion.tracking.candidates import candidates, sort_by_key
from apss_fusion.tracking.filing import existence_at
from apss_fusion.tracking.intensity import cell_of
from apss_fusion.tracking.propose import propose_near, reach_of
from apss_fusion.tracking.weighing import (
    associate,
    chance_seen,
    expected_density,
    note_missing_pairs,
    weigh_look,
    weigh_one,
    written_cells,
)
from apss_fusion.tracking.window.apply import apply_visit, carry_on
from apss_fusion.tracking.window.rows import (
    BORN,
    BUDGET,
    CELLS,
    WHOLE,
    WORK_AGAIN,
    WORK_FIRST,
    WORK_PLACES,
)
from apss_fusion.tracking.window.touches import load_version, version_at, version_before, window_holds
from apss_fusion.tracking.work import (
    CELLS_A_TRACK,
    DONE,
    NEED_BANK,
    NEED_CELLS,
    NEED_INTENSITY,
    NEED_OUTPUT,
    NEED_PAIRS,
    NEED_SCRATCH,
    NEED_WINDOW,
    Work,
)

#: Looks with at most so many detections are weighed as a whole.
_FEW = 4


@lean_kernel
def visit(w: Work, desk: Work, q: int, why: int, tracks: NDArray[np.int64], count: int) -> int:
    """Weigh look q again where the first `count` of `tracks` differ, or as `why` says; returns DONE or what is needed.

    desk: the same work, with the desk for a bank. Nothing is changed where something is needed.
    """
    win = w.window
    look = win.look[q]
    m = whole(look.count)
    w.scratch.missing[0, 0] = 0
    if m > len(w.scratch.d) or count + 1 > len(w.scratch.c):
        return NEED_SCRATCH
    if not window_holds(win, count + 1, 1, max(m, whole(win.seen[q].clusters))):
        return NEED_WINDOW
    if w.cells.scalars[N_CELLS] + CELLS_A_TRACK * (m + 2) > len(w.cells.row):
        return NEED_CELLS
    w.bank.counters[STAMP] = (w.bank.counters[STAMP] + 1) % 2000000000
    n = whole(0)
    if why & WHOLE:
        n = _propose_all(w, desk, q, look)
        if n < 0:
            return -n
    for k in range(count):
        n = _put(w, desk, tracks[k], q, n)
        if n < 0:
            return -n
    everything = (why & WHOLE) != 0 or m <= _FEW
    if not everything:
        _mark_none(w, q)
        _mark_tracks(w, q, n)
        _mark_new_edges(w, desk, look, q, n)
        if why & CELLS:
            _mark_cells(w, look, q)
    while True:
        if not why & WHOLE:
            n = _put_marked(w, desk, q, everything, n)
            if n < 0:
                return -n
        picked = _pick_detections(w, q, look, everything)
        z = win.desk[:picked]
        kept = _weigh(w, desk, look, z, n, q)
        if kept < 0:
            return -kept
        if why & WHOLE:
            break
        before = n
        n = _let_in(w, desk, look, z, picked, kept, q, n, everything)
        if n < 0:
            return -n
        if n == before:
            break
    clusters = associate(desk, look, z, kept)
    note_missing_pairs(desk, look, z, kept)
    if w.scratch.missing[0, 0]:
        return NEED_PAIRS
    need = _room(w, look, n, picked)
    if need != DONE:
        return need
    for j in range(picked):
        clusters += w.scratch.d[j].cid < 0
    win.n[WORK_FIRST if why & WHOLE else WORK_AGAIN] += clusters
    win.n[WORK_PLACES] += 1
    win.n[BUDGET] -= clusters
    apply_visit(w, desk, look, z, q, why, n, kept, picked)
    for k in range(count):
        # What differs and is not touched here differs further on.
        if version_at(win, tracks[k], q) < 0:
            carry_on(w, tracks[k], q)
    return DONE


@lean_kernel
def _put(w: Work, desk: Work, i: int, q: int, n: int) -> int:
    """Put track i on the desk as it was before look q, as row n, unless it is there; returns how many, or what is needed.

    A track that did not live then has a row too, which no look touches: its existence is 0.
    """
    k = w.bank.link[i]
    if k.stamp == w.bank.counters[STAMP]:
        return n
    if n >= len(w.window.slot) or n >= len(w.scratch.c) - 1 or n >= len(desk.bank.state):
        return -whole(NEED_SCRATCH)
    k.stamp = w.bank.counters[STAMP]
    win = w.window
    win.slot[n], win.slot_touch[n] = i, version_at(win, i, q)
    v = version_before(win, i, q)
    b = desk.bank.belief[n]
    if v < 0 or not load_version(w, v, win.look[q].t, desk.bank.state[n], desk.bank.altitude[n], b):
        b.r = 0.0
        b.key = np.uint64(0)
        clear_history(desk.bank.history[n])
    else:
        copy_history(win.touch_history[v], desk.bank.history[n])
    return n + 1


@inline_kernel
def _propose_all(w: Work, desk: Work, q: int, look: Row) -> int:
    """Put all tracks on the desk that look q may concern; returns how many, or minus what is needed."""
    win = w.window
    z = win.detection[look.first : look.first + look.count]
    n = candidates(w, look, z, True)
    if n < 0:
        return n
    if n > len(win.slot):
        return -whole(NEED_SCRATCH)
    for c in range(n):
        win.slot[c] = w.scratch.c[c].slot
    kept = whole(0)
    # The stamps tell who was proposed; a new one tells who is on the desk.
    w.bank.counters[STAMP] = (w.bank.counters[STAMP] + 1) % 2000000000
    # A report asks only tracks near it; what is far is told by the version alone.
    few = look.footprint < 0 and look.count <= _FEW
    for c in range(n):
        i = win.slot[c]
        if few and not _may_reach(w, i, q, look, z):
            continue
        after = _put(w, desk, i, q, kept)
        if after < 0:
            return after
        if desk.bank.belief[kept].r > 0.0 or win.slot_touch[kept] >= 0:
            kept = after
    return kept


@lean_kernel
def _may_reach(w: Work, i: int, q: int, look: Row, z: NDArray[np.void]) -> bool:
    """Whether track i, as it was before look q, is not plainly too far from all detections z, and lived at all."""
    win = w.window
    k = version_before(win, i, q)
    if k < 0:
        return False
    s, b = win.touch[k].state, win.touch[k].belief
    f = w.params.filter[0]
    far = reach_m(s, w.params.domain[b.domain].q * b.factor, abs(look.t - s.t), math.sqrt(f.gate)) + 1.0
    for j in range(len(z)):
        h = z[j]
        if h.identity != 0 and (h.identity == b.id1 or h.identity == b.id2):
            return True
        dx, dy, dz = s.x - h.x, s.y - h.y, s.z - h.z
        reach = far + reach_of(look, h, w.params)
        if (dx * dx + dy * dy + dz * dz) * EARTH_SQ_M2 < 1.05 * reach * reach:
            return True
    return False


@inline_kernel
def _mark_none(w: Work, q: int) -> None:
    for k in range(w.window.seen[q].clusters):
        w.window.marked[k] = 0


@inline_kernel
def _mark_tracks(w: Work, q: int, n: int) -> None:
    """Mark the clusters of look q in which the tracks on the desk were."""
    win = w.window
    for c in range(n):
        if win.slot_touch[c] >= 0:
            win.marked[win.touch[win.slot_touch[c]].cluster] = 1


@inline_kernel
def _mark_new_edges(w: Work, desk: Work, look: Row, q: int, n: int) -> None:
    """Mark the clusters of the detections to which the tracks on the desk have edges now."""
    win = w.window
    for c in range(n):
        for j in range(look.count):
            heard = win.heard[look.first + j]
            if not win.marked[heard.cluster] and _edge(w, desk, look, win.detection[look.first + j], c, heard.bar):
                win.marked[heard.cluster] = 1


@lean_kernel
def _edge(w: Work, desk: Work, look: Row, z: Row, c: int, bar: float) -> bool:
    """Whether row c of the desk has an edge to detection z of a weight of at least `bar`."""
    s, b = desk.bank.state[c], desk.bank.belief[c]
    if b.r <= 0.0 or not (w.domain_mask[look.source] >> b.domain) & 1:
        return False
    d, f = w.params.domain[b.domain], w.params.filter[0]
    x = w.scratch.spare[1]
    predict(s, look.t, d.q * b.factor, d.g, d.great_circle != 0, x.state)
    p = x.state
    dx, dy, dz = p.x - z.x, p.y - z.y, p.z - z.z
    far_sq = f.gate * 2.0 * (p.ee + p.nn + z.ree + z.rnn) * 1.1
    if z.dt == 0.0 and z.identity == 0 and (dx * dx + dy * dy + dz * dz) * EARTH_SQ_M2 > far_sq + 100.0:
        return False
    r = existence_at(b, d, look.t)
    seen = 0.0
    if look.footprint >= 0 and not look.cooperative:
        seen = chance_seen(w, look, p, d.stop_probability)
    log_ref = reference(look, z, w.params.domain[z.domain])
    weight = weigh_one(w, look, s, desk.bank.altitude[c], b, desk.bank.history[c], p, r, z, log_ref)
    if w.scratch.missing[0, 0]:
        return True
    return weight > 0.0 and weight >= f.edge_floor * (1.0 - r * seen) and weight >= bar


@inline_kernel
def _mark_cells(w: Work, look: Row, q: int) -> None:
    """Mark the clusters of the detections for which the intensity has changed."""
    win = w.window
    if look.cooperative:
        return
    for j in range(look.count):
        z, heard = win.detection[look.first + j], win.heard[look.first + j]
        if not win.marked[heard.cluster]:
            cell = cell_of(z.x, z.y, z.z, w.params, w.scratch.digits)
            if expected_density(w, look, z, cell, q) != heard.expected:
                win.marked[heard.cluster] = 1


@inline_kernel
def _put_marked(w: Work, desk: Work, q: int, everything: bool, n: int) -> int:
    """Put the tracks of the marked clusters of look q on the desk, or of all; returns how many, or minus what is needed."""
    win = w.window
    k = whole(win.seen[q].touches)
    while k >= 0:
        v = win.touch[k]
        if not v.flags & BORN and (everything or win.marked[v.cluster]):
            n = _put(w, desk, whole(v.track), q, n)
            if n < 0:
                return n
        k = whole(v.next)
    return n


@inline_kernel
def _pick_detections(w: Work, q: int, look: Row, everything: bool) -> int:
    """Put the detections of the marked clusters of look q on the desk, or all; returns how many."""
    win = w.window
    picked = 0
    for j in range(look.count):
        if everything or win.marked[win.heard[look.first + j].cluster]:
            win.desk[picked] = win.detection[look.first + j]
            win.picked[picked] = j
            picked += 1
    return picked


@inline_kernel
def _weigh(w: Work, desk: Work, look: Row, z: NDArray[np.void], n: int, q: int) -> int:
    """Weigh what is on the desk; how many tracks the look touches, or minus what is needed."""
    s = w.scratch
    live = 0
    for c in range(n):
        if desk.bank.belief[c].r > 0.0:
            s.c[live].slot = c
            live += 1
    sort_by_key(desk.bank.belief, live, s.c)
    return weigh_look(desk, look, z, live, q)


@inline_kernel
def _let_in(
    w: Work, desk: Work, look: Row, z: NDArray[np.void], picked: int, kept: int, q: int, n: int, everything: bool
) -> int:
    """Where the bar of a detection has fallen, put the tracks on the desk that now have an edge to it.

    With them come their clusters. Returns how many are on the desk, or minus what is needed.
    """
    win, s = w.window, w.scratch
    for j in range(picked):
        bar = s.d[j].best
        if bar >= win.heard[look.first + win.picked[j]].bar:
            continue
        first = n
        # Proposals are written behind the rows that are weighed.
        at = propose_near(w, look, z[j], True, kept + 1)
        if at < 0:
            return -whole(NEED_SCRATCH)
        for c in range(kept + 1, at):
            # The stamp says who is on the desk.
            i = whole(s.c[c].slot)
            w.bank.link[i].stamp = -1
            after = _put(w, desk, i, q, n)
            if after < 0:
                return after
            if _edge(w, desk, look, z[j], n, bar):
                n = after
            else:
                w.bank.link[i].stamp = -1
        for c in range(first, n):
            if not everything and win.slot_touch[c] >= 0:
                win.marked[win.touch[win.slot_touch[c]].cluster] = 1
        if n > first:
            return n
    return n


@inline_kernel
def _room(w: Work, look: Row, n: int, m: int) -> int:
    """Whether all fits that applying the visit may write."""
    writes = written_cells(w, look) + 2 * (n + m)
    if not window_holds(w.window, 2 * (n + m), 2 * writes, m):
        return NEED_WINDOW
    if 2 * (w.intensity.used[0] + writes) > len(w.intensity.cells):
        return NEED_INTENSITY
    if w.cells.scalars[N_CELLS] + CELLS_A_TRACK * (2 * (n + m) + 1) > len(w.cells.row):
        return NEED_CELLS
    if w.bank.counters[N_FREE] < m:
        return NEED_BANK
    if w.born[0, 0] + m + 1 > len(w.born):
        return NEED_OUTPUT
    return DONE
