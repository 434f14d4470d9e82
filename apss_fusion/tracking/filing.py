"""Where tracks are filed in the cells, and the calendar of what happens to them by itself.

A track is filed at the finest level whose cells cover its gate for the next minute or longer; the filing lapses after a
while and is then made again. It also has deadlines that follow from its own row alone: it coasts after some of its report
intervals, and ends when nothing is left of its existence or it has become too uncertain to be one object. Both stand in one
calendar: slots of `TICK_S`, and for the slot in which time stands a heap, in the order of (time, key).

Filing again changes the index only, never what a track is: that may not depend on when others were looked at.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import COVER_M, GLOBE, GLOBE_LEVEL, LEVELS, N_FILED, Cells, intern
from apss_fusion.estimation.motion import position_variance, reach_m
from apss_fusion.geodesy.h3cells import nvec_to_cell
from apss_fusion.kernels import Row, lean_kernel, whole
from apss_fusion.tracking.bank import (
    HEAP,
    TICK,
    TICK_S,
    WHEEL,
    Bank,
    release_slot,
    unhang_identity,
)
from apss_fusion.tracking.rows import COASTING, CONFIRMED, LOST, NO_REASON, UNCERTAIN
from apss_fusion.tracking.window.lists import list_key
from apss_fusion.tracking.window.rows import FILING, FILINGS, KEPT, Window

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: Half-width of a gate in sigmas, and the part of a cell's cover that is kept for a detection's own ellipse.
DETECTION_SHARE = 0.15
#: How far a filed track's gate may reach, by level, m.
FILED_REACH_M = (1.0 - DETECTION_SHARE) * COVER_M
#: How far a detection's own ellipse may reach where its ring alone is asked, by level, m.
DETECTION_REACH_M = DETECTION_SHARE * COVER_M
#: A filing is to hold for so long, s: by the track's own rhythm, within these bounds.
SHORTEST_S, RHYTHM, LONGEST_S = 60.0, 1.5, 900.0
#: A filing holds at most for so long, s.
LAPSE_S = 16000.0
_EARTH_M = 6_400_000.0
_FINEST = LEVELS[0]
#: Slot of the calendar of a track that waits in the heap.
IN_HEAP = -2
#: Kinds of event.
REFILE, COAST, END = 0, 1, 2


@lean_kernel
def unfile(link: NDArray[np.void], cells: Cells, i: int) -> None:
    """Take track i out of its cell."""
    k = link[i]
    if k.cid >= 0:
        if k.prev >= 0:
            link[k.prev].next = k.next
        else:
            cells.head[k.cid] = k.next
        if k.next >= 0:
            link[k.next].prev = k.prev
        cells.scalars[N_FILED + cells.row[k.cid].level] -= 1
        k.cid = -1


@lean_kernel
def off_calendar(link: NDArray[np.void], wheel: NDArray[np.int32], i: int) -> None:
    """Take track i off the calendar (what waits in the heap is found to be stale there)."""
    k = link[i]
    if k.tick >= 0:
        if k.tick_prev >= 0:
            link[k.tick_prev].tick_next = k.tick_next
        else:
            wheel[k.tick % WHEEL] = k.tick_next
        if k.tick_next >= 0:
            link[k.tick_next].tick_prev = k.tick_prev
    k.tick = -1


@lean_kernel
def _on_calendar(
    link: NDArray[np.void],
    wheel: NDArray[np.int32],
    heap: NDArray[np.void],
    counters: NDArray[np.int64],
    i: int,
    key: np.uint64,
) -> None:
    """Enter track i at its due time; a track that is entered earlier already is left there, to be moved on then."""
    k = link[i]
    tick = whole(math.floor(k.due / TICK_S))
    if tick <= counters[TICK]:
        off_calendar(link, wheel, i)
        k.tick = IN_HEAP
        _push(heap, counters, k.due, key, i)
        return
    if k.tick >= 0:
        if k.tick <= tick:
            return
        off_calendar(link, wheel, i)
    slot = tick % WHEEL
    k.tick = tick
    k.tick_next, k.tick_prev = wheel[slot], -1
    if wheel[slot] >= 0:
        link[wheel[slot]].tick_prev = i
    wheel[slot] = i


@lean_kernel
def _before(heap: NDArray[np.void], i: int, j: int) -> bool:
    return heap[i].t < heap[j].t or (heap[i].t == heap[j].t and heap[i].key < heap[j].key)


@lean_kernel
def _swap(heap: NDArray[np.void], i: int, j: int) -> None:
    heap[i].t, heap[j].t = heap[j].t, heap[i].t
    heap[i].key, heap[j].key = heap[j].key, heap[i].key
    heap[i].slot, heap[j].slot = heap[j].slot, heap[i].slot


@lean_kernel
def _push(heap: NDArray[np.void], counters: NDArray[np.int64], t: float, key: np.uint64, i: int) -> None:
    n = counters[HEAP]
    heap[n].t, heap[n].key, heap[n].slot = t, key, i
    counters[HEAP] = n + 1
    while n > 0 and _before(heap, n, (n - 1) // 2):
        _swap(heap, n, (n - 1) // 2)
        n = (n - 1) // 2


@lean_kernel
def _pop(bank: Bank) -> None:
    n = bank.counters[HEAP] - 1
    bank.counters[HEAP] = n
    bank.heap[0] = bank.heap[n]
    i = 0
    while True:
        first = i
        for j in (2 * i + 1, 2 * i + 2):
            if j < n and _before(bank.heap, j, first):
                first = j
        if first == i:
            return
        _swap(bank.heap, i, first)
        i = first


@lean_kernel
def existence_at(b: Row, d: Row, t: float) -> float:
    """Existence of belief b at time t: it decays, from when it was set, at the rate at which objects of domain d leave."""
    return b.r * math.exp(-d.departure * (t - b.tr))


@lean_kernel
def start_calendar(bank: Bank, t: float) -> None:
    """Set the calendar to time t (of a state that is loaded)."""
    bank.counters[TICK] = whole(math.floor(t / TICK_S))


@lean_kernel
def next_event(s: Row, b: Row, d: Row, f: Row, until: float) -> tuple[float, int, int]:
    """(time, kind, reason) of what happens to a track by itself first, up to `until`: a pure function of its rows s and b.

    Returns (until, REFILE, NO_REASON) where nothing does.
    """
    t, kind, reason = until, REFILE, NO_REASON
    if b.status == CONFIRMED:
        coast = b.seen + f.coast_intervals * (b.interval_s if b.interval_s > 0.0 else d.interval)
        if coast < t:
            t, kind = coast, COAST
    end = b.tr + math.log(b.r / f.recycle) / d.departure if b.r > f.recycle else b.tr
    if end < t:
        t, kind, reason = end, END, LOST
    if position_variance(s, d.q * b.factor, d.g, t - s.t) > d.limit_var:
        uncertain = s.t + _uncertain_after(s, d, d.q * b.factor)
        if uncertain < t:
            t, kind, reason = uncertain, END, UNCERTAIN
    return t, kind, reason


@lean_kernel
def _uncertain_after(s: Row, d: Row, q: float) -> float:
    """Seconds after which the 95 % ellipse of state s, with process noise q, exceeds its domain's limit."""
    low, high = 0.0, 1.0
    if position_variance(s, q, d.g, 0.0) > d.limit_var:
        return 0.0
    while position_variance(s, q, d.g, high) <= d.limit_var:
        low, high = high, 2.0 * high
    for _ in range(40):
        middle = 0.5 * (low + high)
        if position_variance(s, q, d.g, middle) > d.limit_var:
            high = middle
        else:
            low = middle
    return high


@lean_kernel
def settle_row(s: Row, b: Row, d: Row, f: Row, t: float) -> bool:
    """Let happen to a track's rows what it has by itself up to time t: it may coast. Whether it still lives then."""
    if b.status == CONFIRMED:
        coast = b.seen + f.coast_intervals * (b.interval_s if b.interval_s > 0.0 else d.interval)
        if max(coast, b.tr) <= t:
            b.status = COASTING
    _, kind, _ = next_event(s, b, d, f, np.nextafter(t, math.inf))
    return kind != END


@lean_kernel
def remember_filing(win: Window, cells: Cells, cid: int, i: int, start: float, stop: float) -> None:
    """Note that track i was filed in a cell from one time to another. The caller has seen to room."""
    win.n[FILINGS] += 1
    entry = win.filed[win.n[FILINGS] - 1]
    entry.start, entry.stop, entry.track, entry.key = start, stop, i, cells.row[cid].key
    at = list_key(win, FILING, 0, 0, entry.key)
    entry.next = win.bucket[at].head
    win.bucket[at].head = win.n[FILINGS] - 1


@lean_kernel
def file_track(w: Work, i: int, h: Row, after: float) -> None:
    """File track i in the finest cell that covers its gate for its own rhythm and longer, and enter its next event.

    h: its row, or a prediction of it. after: the event of this time (exclusive) has happened. The caller has seen to room
    for cells and events.
    """
    bank, cells, params, digits = w.bank, w.cells, w.params, w.scratch.digits
    k, b = bank.link[i], bank.belief[i]
    q = params.domain[b.domain].q * b.factor
    sigmas = math.sqrt(params.filter[0].gate)
    horizon = min(max(SHORTEST_S, RHYTHM * b.interval_s), LONGEST_S)
    level, need = 0, reach_m(h, q, horizon, sigmas)
    while level < GLOBE_LEVEL and need > FILED_REACH_M[level]:
        level += 1
    drift = 0.0
    keep = k.cid >= 0 and cells.row[k.cid].level == level
    if keep and level < GLOBE_LEVEL:
        dx, dy, dz = k.fx - h.x, k.fy - h.y, k.fz - h.z
        drift = math.sqrt(dx * dx + dy * dy + dz * dz) * _EARTH_M + 1.0
        keep = drift + need <= FILED_REACH_M[level]
    if not keep:
        drift = 1.0
        cid = whole(GLOBE)
        if level < GLOBE_LEVEL:
            cid = whole(intern(cells, nvec_to_cell(h.x, h.y, h.z, _FINEST, digits), h.x, h.y, h.z, digits))
            for _ in range(level):
                cid = whole(cells.row[cid].parent)
        k.fx, k.fy, k.fz = h.x, h.y, h.z
        if cid != k.cid:
            if w.window.n[KEPT]:
                if k.cid >= 0:
                    remember_filing(w.window, cells, k.cid, i, w.window.track[i].filed_from, h.t)
                w.window.track[i].filed_from = h.t
            unfile(bank.link, cells, i)
            first = cells.head[cid]
            k.cid, k.next, k.prev = cid, first, -1
            if first >= 0:
                bank.link[first].prev = i
            cells.head[cid] = i
            cells.scalars[N_FILED + level] += 1
    dt = horizon
    while dt < LAPSE_S and drift + reach_m(h, q, 2.0 * dt, sigmas) <= FILED_REACH_M[level]:
        dt *= 2.0
    t, _, _ = next_event(bank.state[i], b, params.domain[b.domain], params.filter[0], h.t + dt)
    k.due = max(t, after)
    _on_calendar(bank.link, bank.wheel, bank.heap, bank.counters, i, b.key)


@lean_kernel
def retire_track(w: Work, i: int, t: float) -> None:
    """Take track i, which ended at time t, off all lists; its slot is free once the batch ends, or leaves the window."""
    bank, k = w.bank, w.bank.link[i]
    kept = w.window.n[KEPT] != 0
    if kept and k.cid >= 0:
        remember_filing(w.window, w.cells, k.cid, i, w.window.track[i].filed_from, t)
    unfile(bank.link, w.cells, i)
    off_calendar(bank.link, bank.wheel, i)
    unhang_identity(bank.belief[i].id1, 0, i, bank.link, bank.identity)
    unhang_identity(bank.belief[i].id2, 1, i, bank.link, bank.identity)
    k.alive = 0
    if not kept:
        release_slot(bank, i)


@lean_kernel
def next_due(bank: Bank, t: float) -> int:
    """The track whose due time comes first and is not after t, taken off the calendar; -1 where there is none."""
    now = whole(math.floor(t / TICK_S))
    if bank.counters[TICK] < 0:
        bank.counters[TICK] = now
    while True:
        while bank.counters[HEAP] > 0 and bank.heap[0].t <= t:
            i, due = bank.heap[0].slot, bank.heap[0].t
            k = bank.link[i]
            if k.alive and k.tick == IN_HEAP and k.due == due:
                k.tick = -1
                _pop(bank)
                return i
            _pop(bank)
        if bank.counters[TICK] >= now:
            return -1
        _enter_tick(bank)


@lean_kernel
def _enter_tick(bank: Bank) -> None:
    """Let time go on by one slot: what is due in it goes to the heap, what is due later is moved on."""
    bank.counters[TICK] += 1
    tick = bank.counters[TICK]
    i = whole(bank.wheel[tick % WHEEL])
    while i >= 0:
        k = bank.link[i]
        after = whole(k.tick_next)
        if k.tick <= tick:
            off_calendar(bank.link, bank.wheel, i)
            _on_calendar(bank.link, bank.wheel, bank.heap, bank.counters, i, bank.belief[i].key)
        i = after
