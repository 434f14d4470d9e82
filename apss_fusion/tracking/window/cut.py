"""The window moves on: what lies before the cut becomes the base, one version a track and one value a cell.

The cut belongs to a group of domains (those that share sources): no look that concerns them can come from before it any more.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import N_CELLS
from apss_fusion.association.pairs import find_pair
from apss_fusion.estimation.history import SOURCES
from apss_fusion.kernels import inline_kernel, kernel, whole
from apss_fusion.tracking.bank import POOL_FREE, free_contributors, release_slot, take_entry
from apss_fusion.tracking.filing import settle_row
from apss_fusion.tracking.window.lists import list_key, take_place
from apss_fusion.tracking.window.log import free_write
from apss_fusion.tracking.window.past import enter_look
from apss_fusion.tracking.window.rows import (
    ALIVE,
    BASE,
    BUCKETS,
    ENDED,
    FILING,
    FILINGS,
    LOOKS,
    NATIVES,
    NEWEST,
    NODES,
    READ,
    SHARES,
    Window,
)
from apss_fusion.tracking.window.touches import drop_touch, note_carrier, window_holds
from apss_fusion.tracking.work import CELLS_A_TRACK, DONE, NEED_BANK

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work


@kernel
def move_cut(w: Work, group_of_domain: NDArray[np.int64], group_of_source: NDArray[np.int64], g: int, t: float) -> int:
    """Forget what lies before time t of the tracks, looks and cells of group g. DONE, or what is needed to go on.

    Nothing may be pending.
    """
    for i in range(len(w.window.track)):
        last = whole(w.window.track[i].last)
        if last >= 0 and group_of_domain[w.window.touch[last].belief.domain] == g:
            need = _cut_track(w, i, t)
            if need != DONE:
                return need
    _cut_cells(w, group_of_domain, g, t)
    _cut_looks(w, group_of_source, g, t)
    return DONE


@inline_kernel
def _cut_track(w: Work, i: int, t: float) -> int:
    """Make the last version of track i before time t its base."""
    win, bank = w.window, w.bank
    track = win.track[i]
    base, k, entries = whole(-1), whole(track.first), 0
    while k >= 0 and (win.touch[k].look < 0 or win.look[win.touch[k].look].t < t):
        base = k
        entries += 1
        k = whole(win.touch[k].after)
    if base < 0:
        return DONE
    if bank.counters[POOL_FREE] < entries:
        return NEED_BANK
    k = whole(track.first)
    while True:
        v = win.touch[k]
        if v.look >= 0:
            _add_to_base(w, i, k)
            track.look = -1
            bank.link[i].changed = 1
            v.look = -1
        if k == base:
            break
        after = whole(v.after)
        drop_touch(win, k, False)
        k = after
    if bank.link[i].alive or win.touch[base].after >= 0:
        return DONE
    # It has ended: before the cut, or after it by itself?
    v = win.touch[base]
    if not v.flags & ENDED:
        win.old[0] = win.touch[base]
        old = win.old[0]
        d = w.params.domain[v.belief.domain]
        if settle_row(old.state, old.belief, d, w.params.filter[0], np.nextafter(t, -math.inf)):
            return DONE
    drop_touch(win, base, False)
    free_contributors(bank, whole(track.base_contributor))
    track.base_contributor = track.end_write = -1
    release_slot(bank, i)
    return DONE


@inline_kernel
def _add_to_base(w: Work, i: int, k: int) -> None:
    """Count version k in what is kept of track i from before the window."""
    win, bank = w.window, w.bank
    track, v = win.track[i], win.touch[k]
    look = win.look[v.look]
    kept = win.touch_history[k]
    if len(kept) and kept[SOURCES] > 0.0:
        track.base_sources = whole(kept[SOURCES])
    elif v.flags & SHARES:
        track.base_sources = w.pairs.sets[find_pair(w.pairs.sets, whole(track.base_sources), look.source)].value
    if v.detection < 0:
        return
    track.base_detections += 1
    entry, last = whole(track.base_contributor), whole(-1)
    while entry >= 0:
        c = bank.pool[entry]
        if c.source == look.source:
            c.n += 1
            c.last = max(c.last, look.t)
            return
        last, entry = entry, whole(c.next)
    entry = take_entry(bank.pool, bank.counters, whole(look.source), whole(1), look.t)
    if last < 0:
        track.base_contributor = entry
    else:
        bank.pool[last].next = entry
    track.base_contributors += 1


@inline_kernel
def _cut_cells(w: Work, group_of_domain: NDArray[np.int64], g: int, t: float) -> None:
    """Make the last write before time t of each cell its base."""
    for s in range(len(w.intensity.cells)):
        row = w.intensity.cells[s]
        if row.key == 0 or row.last < 0 or group_of_domain[whole(row.key >> np.uint64(56)) & 3] != g:
            continue
        x = whole(row.last)
        while x >= 0 and w.window.write[x].kind != BASE and w.window.write[x].t >= t:
            x = whole(w.window.write[x].before)
        if x < 0 or (w.window.write[x].kind == BASE and w.window.write[x].before < 0):
            continue
        e = w.window.write[x]
        before = whole(e.before)
        while before >= 0:
            further = whole(w.window.write[before].before)
            free_write(w.window, before)
            before = further
        e.before = -1
        since = e.add if e.kind == READ else e.t
        if since == -math.inf:
            # Read, and never written.
            after = whole(e.after)
            free_write(w.window, x)
            if after >= 0:
                w.window.write[after].before = -1
            else:
                row.last = -1
            continue
        row.changed = 1
        e.kind, e.t, e.look, e.order = BASE, since, -1, np.uint64(0)


@inline_kernel
def _cut_looks(w: Work, group_of_source: NDArray[np.int64], g: int, t: float) -> None:
    win = w.window
    for q in range(win.n[LOOKS]):
        if win.seen[q].alive and group_of_source[win.look[q].source] == g and win.look[q].t < t:
            win.seen[q].touches = -1
            win.seen[q].alive = 0
            win.n[ALIVE] -= 1
            if q == win.n[NEWEST]:
                win.n[NEWEST] = -1


@kernel
def enter_all(w: Work, start: int) -> int:
    """Enter the looks that have arrived from number `start` on into the empty lists; the first without room, or how
    many looks there are.
    """
    win = w.window
    for q in range(start, win.n[LOOKS]):
        if not win.seen[q].alive:
            continue
        m = whole(win.look[q].count)
        if not window_holds(win, 1, 1, m):
            return q
        if w.cells.scalars[N_CELLS] + CELLS_A_TRACK * (m + 1) > len(w.cells.row):
            return q
        take_place(win, q)
        enter_look(w, q)
    return win.n[LOOKS]


@kernel
def clear_lists(win: Window) -> None:
    """Empty all lists of the index."""
    for k in range(len(win.bucket)):
        win.bucket[k].key, win.bucket[k].head = 0, -1
    win.n[BUCKETS] = win.n[NODES] = 0
    for level in range(8):
        win.n[NATIVES + level] = 0


@kernel
def enter_tracks(win: Window) -> None:
    """Enter the identities of all versions, and all filings, into the lists. The caller has seen to room."""
    for i in range(len(win.track)):
        k = whole(win.track[i].first)
        id1, id2 = np.uint64(0), np.uint64(0)
        while k >= 0:
            b = win.touch[k].belief
            if b.id1 != id1:
                note_carrier(win, i, b.id1)
            if b.id2 != id2:
                note_carrier(win, i, b.id2)
            id1, id2 = b.id1, b.id2
            k = whole(win.touch[k].after)
    for x in range(win.n[FILINGS]):
        at = list_key(win, FILING, 0, 0, win.filed[x].key)
        win.filed[x].next = win.bucket[at].head
        win.bucket[at].head = x
