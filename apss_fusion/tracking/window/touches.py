"""Versions of tracks: what each look made of the tracks it touched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from apss_fusion.estimation.history import same_history
from apss_fusion.kernels import Row, lean_kernel, whole
from apss_fusion.tracking.filing import settle_row
from apss_fusion.tracking.window.lists import append, precedes
from apss_fusion.tracking.window.rows import (
    BUCKETS,
    CARRIER,
    CHANGES,
    ENDED,
    FILINGS,
    LOOKS,
    NODES,
    ROW_WORDS,
    TOUCH_FREE,
    TOUCHES,
    VISITS,
    WANTED_DETECTIONS,
    WANTED_TOUCHES,
    WANTED_WRITES,
    WRITES,
    Window,
)

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: List entries that a detection may take: one a level of its own index, one of its identity, one of its footprint, one of a
#: track that carries a new identity or two.
NODES_A_DETECTION = 9


@lean_kernel
def window_holds(win: Window, touches: int, writes: int, detections: int) -> bool:
    """Whether so many more touches, writes and entered detections fit, with what follows from them; else it is noted."""
    n = win.n
    n[WANTED_TOUCHES], n[WANTED_WRITES], n[WANTED_DETECTIONS] = touches, writes, detections
    nodes = nodes_for(touches, detections)
    return (
        n[TOUCHES] + touches <= len(win.touch)
        and n[FILINGS] + 2 * touches <= len(win.filed)
        and n[WRITES] + writes + touches <= len(win.write)
        and n[NODES] + nodes <= len(win.node)
        and 2 * (n[BUCKETS] + nodes + 2 * touches) <= len(win.bucket)
        and n[VISITS] + 2 * touches + n[LOOKS] + 8 <= len(win.visit)
        and n[CHANGES] + touches <= len(win.change)
        and n[CHANGES] + n[VISITS] + touches < len(win.differing)
        and touches + detections <= len(win.slot)
        and detections <= len(win.desk)
        and touches + detections <= len(win.marked)
    )


@lean_kernel
def nodes_for(touches: int, detections: int) -> int:
    """List entries that so many touches and detections may take."""
    return NODES_A_DETECTION * (detections + 1) + 2 * touches


@lean_kernel
def version_before(win: Window, i: int, q: int) -> int:
    """The last version of track i that comes before look q, or -1."""
    k = whole(win.track[i].last)
    while k >= 0 and not precedes(win, whole(win.touch[k].look), q):
        k = whole(win.touch[k].before)
    return k


@lean_kernel
def version_at(win: Window, i: int, q: int) -> int:
    """The version of track i that look q made, or -1."""
    k = whole(win.track[i].last)
    while k >= 0 and precedes(win, q, whole(win.touch[k].look)):
        k = whole(win.touch[k].before)
    return k if k >= 0 and win.touch[k].look == q else whole(-1)


@lean_kernel
def load_version(w: Work, k: int, t: float, s: Row, a: Row, b: Row) -> bool:
    """Write version k into the rows s, a, b as it is at time t; whether the track lives then."""
    v = w.window.touch[k]
    if v.flags & ENDED:
        return False
    copy_rows(v, s, a, b)
    return settle_row(s, b, w.params.domain[b.domain], w.params.filter[0], t)


@lean_kernel
def copy_rows(v: Row, s: Row, a: Row, b: Row) -> None:
    """Write the rows of a touch or change into s, a and b."""
    x = v.state
    s.x, s.y, s.z, s.a, s.b, s.t = x.x, x.y, x.z, x.a, x.b, x.t
    s.ee, s.en, s.nn, s.ea, s.eb = x.ee, x.en, x.nn, x.ea, x.eb
    s.na, s.nb, s.aa, s.ab, s.bb = x.na, x.nb, x.aa, x.ab, x.bb
    h = v.altitude
    a.h, a.w, a.hh, a.hw, a.ww, a.t = h.h, h.w, h.hh, h.hw, h.ww, h.t
    y = v.belief
    b.r, b.tr, b.seen, b.interval_s, b.key = y.r, y.tr, y.seen, y.interval_s, y.key
    b.factor = y.factor
    b.id1, b.p1, b.id2, b.p2, b.attributes = y.id1, y.p1, y.id2, y.p2, y.attributes
    b.length_m, b.length_var, b.width_m = y.length_m, y.length_var, y.width_m
    b.domain, b.status, b.several, b.datum = y.domain, y.status, y.several, y.datum


@lean_kernel
def new_touch(win: Window, i: int, q: int, after: int) -> int:
    """A version of track i by look q, linked behind version `after` (-1: as the first). The caller has seen to room."""
    k = win.n[TOUCH_FREE]
    if k >= 0:
        win.n[TOUCH_FREE] = win.touch[k].next
    else:
        k = win.n[TOUCHES]
    win.n[TOUCHES] += 1
    v, track = win.touch[k], win.track[i]
    v.look, v.track, v.cluster, v.detection, v.flags = q, i, -1, -1, 0
    v.before = after
    v.after = win.touch[after].after if after >= 0 else track.first
    if after >= 0:
        win.touch[after].after = k
    else:
        track.first = k
    if v.after >= 0:
        win.touch[v.after].before = k
    else:
        track.last = k
    v.next = -1
    if q >= 0:
        v.next = win.seen[q].touches
        win.seen[q].touches = k
    return k


@lean_kernel
def drop_touch(win: Window, k: int, of_look: bool) -> None:
    """Take version k off the list of its track, and (of_look) of its look."""
    v = win.touch[k]
    if v.before >= 0:
        win.touch[v.before].after = v.after
    else:
        win.track[v.track].first = v.after
    if v.after >= 0:
        win.touch[v.after].before = v.before
    else:
        win.track[v.track].last = v.before
    if of_look:
        x = whole(win.seen[v.look].touches)
        if x == k:
            win.seen[v.look].touches = v.next
        else:
            while win.touch[x].next != k:
                x = whole(win.touch[x].next)
            win.touch[x].next = v.next
    v.track, v.next = -1, win.n[TOUCH_FREE]
    win.n[TOUCH_FREE] = k
    win.n[TOUCHES] -= 1


@lean_kernel
def same_rows(win: Window, k: int, m: int) -> bool:
    """Whether versions k and m have the same bytes, and both live or both end."""
    if (win.touch[k].flags ^ win.touch[m].flags) & ENDED:
        return False
    for x in range(ROW_WORDS):
        if win.touch_words[k, x] != win.touch_words[m, x]:
            return False
    return same_history(win.touch_history[k], win.touch_history[m])


@lean_kernel
def note_carrier(win: Window, i: int, identity: np.uint64) -> None:
    """Note that track i carries an identity at some time."""
    if identity != 0:
        append(win, CARRIER, 0, 0, identity, i, 0)
