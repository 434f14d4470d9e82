"""After a wave: the bank takes the last versions of the tracks that changed, and readers are told what differs for them."""

from __future__ import annotations

import numpy as np

from apss_fusion.association.cell_table import N_CELLS
from apss_fusion.association.pairs import find_pair
from apss_fusion.association.weights import SOURCES, note_missing
from apss_fusion.estimation.altitude import altitude_at
from apss_fusion.estimation.history import SOURCES as HISTORY_SOURCES
from apss_fusion.estimation.history import copy_history, same_history
from apss_fusion.estimation.motion import predict
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.bank import (
    HEAP,
    IDENTITIES,
    POOL_FREE,
    add_contributor,
    free_contributors,
    hang_identity,
    release_slot,
)
from apss_fusion.tracking.filing import END, existence_at, file_track, next_event, retire_track, settle_row
from apss_fusion.tracking.ledger import add_ledger, hang_afresh
from apss_fusion.tracking.publish import CONTRIBUTORS, EVIDENCES, ROWS, microseconds, publish
from apss_fusion.tracking.rows import (
    COASTING,
    CONFIRMED,
    LOST,
    NO_REASON,
    TENTATIVE,
    TERMINATED,
    WITHDRAWN,
)
from apss_fusion.tracking.window.rows import (
    BATCH_DETECTION,
    BATCH_LOOK,
    CHANGES,
    ENDED,
    REVISED,
    ROW_WORDS,
    SETTLED,
    SHARES,
    WITHDRAWN_TRACKS,
    WORK_UPDATES,
)
from apss_fusion.tracking.window.touches import copy_rows, window_holds
from apss_fusion.tracking.work import (
    CELLS_A_TRACK,
    DONE,
    NEED_BANK,
    NEED_CELLS,
    NEED_OUTPUT,
    NEED_PAIRS,
    NEED_WINDOW,
    Work,
)


@lean_kernel
def settle_changes(w: Work, q: int) -> int:
    """Settle all tracks that were changed on the arrival of look q, in the order of their keys; DONE or what is needed."""
    win = w.window
    n = win.n[CHANGES]
    if n > len(win.differing):
        return NEED_WINDOW
    if win.n[SETTLED] == 0:
        _order_changes(w, n)
    while win.n[SETTLED] < n:
        c = win.differing[win.n[SETTLED]]
        need = _room(w, whole(win.change[c].track))
        if need != DONE:
            return need
        _settle_one(w, c, q)
        win.n[SETTLED] += 1
    win.n[CHANGES] = win.n[SETTLED] = 0
    return DONE


@inline_kernel
def _order_changes(w: Work, n: int) -> None:
    """Order the changes by the keys of their tracks (Shell's sort)."""
    order, change, belief = w.window.differing, w.window.change, w.bank.belief
    for c in range(n):
        order[c] = c
    gap = n // 2
    while gap > 0:
        for c in range(gap, n):
            x = order[c]
            key = belief[change[x].track].key
            at = c
            while at >= gap and belief[change[order[at - gap]].track].key > key:
                order[at] = order[at - gap]
                at -= gap
            order[at] = x
        gap //= 2


@inline_kernel
def _room(w: Work, i: int) -> int:
    """Whether all fits that settling track i may write, and all pairs of sources are known."""
    win, bank = w.window, w.bank
    k = whole(win.track[i].first)
    sources = whole(win.track[i].base_sources)
    entries = whole(win.track[i].base_contributors)
    w.scratch.missing[0, 0] = 0
    while k >= 0:
        v = win.touch[k]
        if v.look >= 0:
            entries += v.detection >= 0
            kept = win.touch_history[k]
            if len(kept) and kept[HISTORY_SOURCES] > 0.0:
                sources = whole(kept[HISTORY_SOURCES])
            elif v.flags & SHARES:
                s = find_pair(w.pairs.sets, sources, whole(win.look[v.look].source))
                if s < 0:
                    note_missing(w.scratch.missing, SOURCES, sources, whole(win.look[v.look].source))
                    return NEED_PAIRS
                sources = whole(w.pairs.sets[s].value)
        k = whole(v.after)
    if bank.counters[POOL_FREE] < entries:
        return NEED_BANK
    if bank.counters[HEAP] + 2 > len(bank.heap) or 2 * (bank.counters[IDENTITIES] + 2) > len(bank.identity):
        return NEED_BANK
    if w.cells.scalars[N_CELLS] + CELLS_A_TRACK > len(w.cells.row):
        return NEED_CELLS
    if not window_holds(win, 1, 1, 0):
        return NEED_WINDOW
    out = w.out
    if out.n[ROWS] + 2 > len(out.rows) or out.n[EVIDENCES] + 2 > len(out.evidence):
        return NEED_OUTPUT
    if out.n[CONTRIBUTORS] + 2 * entries > len(out.contributors):
        return NEED_OUTPUT
    return DONE


@inline_kernel
def _settle_one(w: Work, c: int, q: int) -> None:
    win, bank = w.window, w.bank
    change = win.change[c]
    i = whole(change.track)
    win.track[i].change = -1
    last, now = whole(win.track[i].last), win.now[0]
    was_alive = bank.link[i].alive != 0
    old1, old2 = bank.belief[i].id1, bank.belief[i].id2
    lives = False
    if last >= 0 and not win.touch[last].flags & ENDED:
        v = win.touch[last]
        d = w.params.domain[v.belief.domain]
        copy_rows(v, win.old[0].state, win.old[0].altitude, win.old[0].belief)
        lives = settle_row(win.old[0].state, win.old[0].belief, d, w.params.filter[0], now)
    if was_alive and not lives:
        retire_track(w, i, now)
    if last >= 0:
        bank.state[i] = win.touch[last]["state"]
        bank.altitude[i] = win.touch[last]["altitude"]
        bank.belief[i] = win.touch[last]["belief"]
        copy_history(win.touch_history[last], bank.history[i])
        if lives:
            bank.belief[i].status = win.old[0].belief.status
        fold_ledger(w, i)
    if lives:
        if was_alive:
            hang_afresh(w, i, old1, old2)
        else:
            k = bank.link[i]
            k.alive, k.cid, k.tick = 1, -1, -1
            hang_identity(bank.belief[i].id1, 0, i, bank.link, bank.identity, bank.counters)
            hang_identity(bank.belief[i].id2, 1, i, bank.link, bank.identity, bank.counters)
        d = w.params.domain[bank.belief[i].domain]
        row = w.scratch.spare[0].state
        predict(bank.state[i], now, d.q * bank.belief[i].factor, d.g, d.great_circle != 0, row)
        file_track(w, i, row, now)
    _tell(w, c, i, last, lives, q)
    if last < 0:
        founding = whole(win.track[i].look)
        if founding >= 0:
            win.heard[win.look[founding].first + win.track[i].detection].born = -1
        win.track[i].look = -1
        release_slot(bank, i)


@inline_kernel
def fold_ledger(w: Work, i: int) -> None:
    """Count anew who has contributed to track i: what is kept from before the window, then its versions."""
    win, bank = w.window, w.bank
    k, track = bank.link[i], win.track[i]
    free_contributors(bank, whole(k.contributor))
    k.contributor, k.contributors = -1, 0
    k.sources, k.detections = track.base_sources, track.base_detections
    entry, at = whole(track.base_contributor), whole(-1)
    while entry >= 0:
        p = bank.pool[entry]
        at = add_contributor(bank.link, bank.pool, bank.counters, i, at, whole(p.source), whole(p.n), p.last)
        entry = whole(bank.pool[entry].next)
    v = whole(track.first)
    while v >= 0:
        touch = win.touch[v]
        if touch.look >= 0:
            shares = touch.flags & SHARES != 0
            add_ledger(w, i, win.look[touch.look], touch.detection >= 0, shares, win.touch_history[v])
        v = whole(touch.after)


@inline_kernel
def _tell(w: Work, c: int, i: int, last: int, lives: bool, q: int) -> None:
    """Publish a revision of track i, whose change is c, if it differs for its readers."""
    win, bank, f = w.window, w.bank, w.params.filter[0]
    change, k = win.change[c], bank.link[i]
    b = bank.belief[i]
    shown = lives and (b.status != TENTATIVE or f.tentative)
    told = k.told != 0
    if not shown and not told:
        if last >= 0 and not lives and k.seq == 0:
            _tell_ended(w, c, i, last, q)
        return
    rows = w.out.n[ROWS]
    if shown:
        if told and change.alive and not _differs_from_bank(w, c, i):
            return
        t = b.tr
        if b.status == COASTING and win.touch[last].belief.status == CONFIRMED:
            d = w.params.domain[b.domain]
            t = max(t, b.seen + f.coast_intervals * (b.interval_s if b.interval_s > 0.0 else d.interval))
        if k.seq == 0 and b.status == COASTING:
            # What is first told of a track is its confirmation.
            _publish_at(w, i, bank.state[i], bank.altitude[i], b, b.tr, c, q, CONFIRMED, NO_REASON)
        _publish_at(w, i, bank.state[i], bank.altitude[i], b, t, c, q, b.status, NO_REASON)
    elif last < 0:
        copy_rows(change, win.old[0].state, win.old[0].altitude, win.old[0].belief)
        old = win.old[0]
        _publish_at(w, i, old.state, old.altitude, old.belief, old.belief.tr, c, q, TERMINATED, WITHDRAWN)
    else:
        t, reason = end_of(w, i, last)
        # What readers were told of has never been confirmed.
        if b.status == TENTATIVE and not f.tentative:
            reason = WITHDRAWN
        _publish_at(w, i, bank.state[i], bank.altitude[i], b, t, c, q, TERMINATED, reason)
    if w.out.n[ROWS] > rows:
        win.n[WORK_UPDATES] += 1
        win.n[REVISED] += 1
        win.n[WITHDRAWN_TRACKS] += w.out.rows[rows].reason == WITHDRAWN


@inline_kernel
def _differs_from_bank(w: Work, c: int, i: int) -> bool:
    """Whether the rows of change c have other bytes than the bank's of track i."""
    win = w.window
    win.old[0]["state"] = w.bank.state[i]
    win.old[0]["altitude"] = w.bank.altitude[i]
    win.old[0]["belief"] = w.bank.belief[i]
    for x in range(ROW_WORDS):
        if win.change_words[c, x] != win.old_words[0, x]:
            return True
    return not same_history(win.change_history[c], w.bank.history[i])


@lean_kernel
def _tell_ended(w: Work, c: int, i: int, last: int, q: int) -> None:
    """Tell of a track that readers do not hold and that has ended by now: that it was there, and that it ended."""
    win, f = w.window, w.params.filter[0]
    k = whole(win.touch[last].before) if win.touch[last].flags & ENDED else whole(last)
    if k < 0 or (win.touch[k].belief.status == TENTATIVE and not f.tentative):
        return
    old = win.old[0]
    copy_rows(win.touch[k], old.state, old.altitude, old.belief)
    _publish_at(w, i, old.state, old.altitude, old.belief, old.belief.tr, c, q, CONFIRMED, NO_REASON)
    t, reason = end_of(w, i, last)
    _publish_at(w, i, w.bank.state[i], w.bank.altitude[i], w.bank.belief[i], t, c, q, TERMINATED, reason)


@lean_kernel
def end_of(w: Work, i: int, last: int) -> tuple[float, int]:
    """(time, reason) of the end of track i, whose last version is `last`: by a look, or by itself."""
    b, f = w.bank.belief[i], w.params.filter[0]
    if w.window.touch[last].flags & ENDED:
        return b.tr, LOST
    status = b.status
    b.status = COASTING
    until = np.nextafter(w.window.now[0], np.inf)
    t, kind, reason = next_event(w.bank.state[i], b, w.params.domain[b.domain], f, until)
    b.status = status
    return (t, reason) if kind == END else (b.tr, LOST)


@lean_kernel
def _publish_at(w: Work, i: int, s: Row, a: Row, b: Row, t: float, c: int, q: int, status: int, reason: int) -> None:
    """Publish track i with rows s, a, b, as it is at time t, as a revision of change c on the arrival of look q.

    Not before what was told of it: a reader may go by the time of updates.
    """
    win, x = w.window, w.scratch.spare[0]
    t = max(t, win.track[i].told_us / 1e6)
    change = win.change[c]
    d = w.params.domain[b.domain]
    predict(s, t, d.q * b.factor, d.g, d.great_circle != 0, x.state)
    altitude_at(a, t, x.altitude)
    r = existence_at(b, d, max(t, b.tr))
    first, rows = w.out.n[EVIDENCES], w.out.n[ROWS]
    look = whole(-1)
    own = False
    if q >= 0:
        own = win.look[q].first <= change.detection < win.look[q].first + win.look[q].count
    if own and status != TERMINATED:
        look = q - win.n[BATCH_LOOK]
        v = w.out.evidence[first]
        v.weight, v.detection = change.weight, change.detection - win.n[BATCH_DETECTION]
        w.out.n[EVIDENCES] += 1
    publish(w, i, x.state, x.altitude, r, microseconds(t), look, status, reason, first, w.params.filter[0].tentative)
    if w.out.n[ROWS] > rows:
        w.out.rows[rows].revised_us = change.from_us
