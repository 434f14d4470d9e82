"""What a visit changes: versions, foundings and writes that differ are put in the window's place of the old ones, and each
difference waits at the next look where it matters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.history import clear_history, copy_history, same_history
from apss_fusion.estimation.motion import predict
from apss_fusion.estimation.rounding import probability
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.bank import take_slot
from apss_fusion.tracking.cover import note_reads, thin_cover
from apss_fusion.tracking.filing import END, existence_at, next_event
from apss_fusion.tracking.intensity import cell_key, cell_of
from apss_fusion.tracking.revise import found, revise
from apss_fusion.tracking.rows import COASTING
from apss_fusion.tracking.window.heap import wait
from apss_fusion.tracking.window.log import change_write, find_write, put_write, take_write
from apss_fusion.tracking.window.past import file_past, first_touched
from apss_fusion.tracking.window.record import clear_tracked, cluster_of
from apss_fusion.tracking.window.rows import (
    BIRTH_MASS,
    BORN,
    CHANGES,
    ENDED,
    EVENT,
    ROW_WORDS,
    SHARES,
    TRACK_MASS,
    WHOLE,
)
from apss_fusion.tracking.window.touches import drop_touch, new_touch, note_carrier, version_at, version_before
from apss_fusion.tracking.work import EVIDENCE_MIN, Work, cell_area_m2

if TYPE_CHECKING:
    from apss_fusion.tracking.window.rows import Window


@lean_kernel
def apply_visit(
    w: Work, desk: Work, look: Row, z: NDArray[np.void], q: int, why: int, n: int, kept: int, picked: int
) -> None:
    """Write what weighing look q again has given: n tracks on the desk, of which `kept` are touched, and `picked` detections.

    The caller has seen to room.
    """
    win = w.window
    clusters = whole(win.seen[q].clusters)
    if why & WHOLE:
        win.seen[q].fused = 1
        note_reads(w, look, z, q, picked)
        thin_cover(w, look, q)
    for c in range(kept):
        row = whole(w.scratch.c[c].slot)
        _revise_one(w, desk, look, z, q, why, c, row, clusters)
        # A negative slot: it has been dealt with.
        win.slot[row] = -1
    for row in range(n):
        if win.slot[row] >= 0 and win.slot_touch[row] >= 0:
            _untouch(w, whole(win.slot[row]), win.slot_touch[row], look, q)
    for j in range(picked):
        _found_one(w, desk, look, z[j], q, j, cluster_of(w.scratch.c, w.scratch.d[j].cid, kept + j) + clusters, why)
    win.seen[q].clusters = clusters + kept + picked


@inline_kernel
def _revise_one(
    w: Work, desk: Work, look: Row, z: NDArray[np.void], q: int, why: int, c: int, row: int, clusters: int
) -> None:
    """Candidate c, in a row of the desk, is touched by look q."""
    win, s = w.window, w.scratch
    i, k = whole(win.slot[row]), whole(win.slot_touch[row])
    b = desk.bank.belief[row]
    old1, old2 = b.id1, b.id2
    history = desk.bank.history[row]
    result = revise(desk.bank.state[row], desk.bank.altitude[row], b, history, c, look, z, w.params, w.pairs, s)
    ended = result.r < w.params.filter[0].recycle
    was = k >= 0
    if was:
        _keep_old(win, k)
    else:
        k = new_touch(win, i, q, version_before(win, i, q))
    if ended:
        clear_history(history)
    copy_history(history, win.touch_history[k])
    v = win.touch[k]
    win.touch[k]["altitude"] = desk.bank.altitude[row]
    win.touch[k]["belief"] = desk.bank.belief[row]
    v.flags = SHARES if result.shares else 0
    v.detection, v.cluster = -1, clusters + s.c[c].up
    if ended:
        win.touch[k]["state"] = s.c[c].pred
        v.flags |= ENDED
        v.belief.r, v.belief.tr = result.r, look.t
    else:
        win.touch[k]["state"] = desk.bank.state[row]
        if result.own >= 0:
            v.detection = win.picked[s.e[result.own].detection]
        if b.id1 != old1:
            note_carrier(win, i, b.id1)
        if b.id2 != old2:
            note_carrier(win, i, b.id2)
    _set_track_mass(w, look, q, k, was)
    differs = not was or _differs(win, k)
    if differs or win.old[0].flags != v.flags or win.old[0].detection != v.detection:
        note_change(w, i, q)
    if why & WHOLE and win.track[i].change >= 0:
        _note_evidence(w, look, i, c)
    if differs:
        carry_on(w, i, q)


@lean_kernel
def _differs(win: Window, k: int) -> bool:
    """Whether version k has other bytes than `old`, or ends where that does not."""
    if (win.touch[k].flags ^ win.old[0].flags) & ENDED:
        return True
    for x in range(ROW_WORDS):
        if win.touch_words[k, x] != win.old_words[0, x]:
            return True
    return not same_history(win.touch_history[k], win.old_history[0])


@lean_kernel
def _keep_old(win: Window, k: int) -> None:
    win.old[0] = win.touch[k]
    copy_history(win.touch_history[k], win.old_history[0])


@inline_kernel
def _note_evidence(w: Work, look: Row, i: int, c: int) -> None:
    """The likeliest detection of a late look becomes the evidence of what is told of track i."""
    win, s = w.window, w.scratch
    change = win.change[win.track[i].change]
    for e in range(s.c[c].edge, s.c[c + 1].edge):
        if s.e[e].p >= EVIDENCE_MIN and s.e[e].p > change.weight:
            change.weight, change.detection = s.e[e].p, look.first + win.picked[s.e[e].detection]


@lean_kernel
def _track_mass(w: Work, v: Row) -> tuple[np.uint64, float]:
    """(key of the cell, mass per m^2) that a version gives back; mass 0 for none."""
    f = w.params.filter[0]
    if not v.flags & ENDED or v.belief.r < f.recycle_mass_min:
        return np.uint64(0), 0.0
    cell = cell_of(v.state.x, v.state.y, v.state.z, w.params, w.scratch.digits)
    return cell_key(cell, v.belief.domain), v.belief.r / cell_area_m2(f.intensity_resolution)


@lean_kernel
def _set_track_mass(w: Work, look: Row, q: int, k: int, was: bool) -> None:
    """Let the cells hold what version k of look q gives back, and no more what `old` gave."""
    v = w.window.touch[k]
    key, mass = _track_mass(w, v)
    old_key, old_mass = np.uint64(0), 0.0
    if was:
        old_key, old_mass = _track_mass(w, w.window.old[0])
    set_mass(w, look.t, q, TRACK_MASS, v.belief.key, old_key, old_mass, key, mass)


@lean_kernel
def set_mass(
    w: Work,
    t: float,
    q: int,
    kind: int,
    order: np.uint64,
    old_key: np.uint64,
    old_mass: float,
    key: np.uint64,
    mass: float,
) -> None:
    """Replace a mass in the log of a cell by another one (0: none)."""
    if old_mass > 0.0:
        x = find_write(w, old_key, t, q, kind, order)
        if mass > 0.0 and key == old_key:
            change_write(w, x, mass)
            return
        take_write(w, x)
    if mass > 0.0:
        put_write(w, key, t, 1.0, mass, q, kind, order)


@inline_kernel
def _untouch(w: Work, i: int, k: int, look: Row, q: int) -> None:
    """Look q no longer touches track i, whose version k it had made."""
    v = w.window.touch[k]
    old_key, old_mass = _track_mass(w, v)
    set_mass(w, look.t, q, TRACK_MASS, v.belief.key, old_key, old_mass, np.uint64(0), 0.0)
    note_change(w, i, q)
    drop_touch(w.window, k, True)
    carry_on(w, i, q)


@inline_kernel
def _found_one(w: Work, desk: Work, look: Row, z: Row, q: int, j: int, cluster: int, why: int) -> None:
    """Detection j of the desk founds a track, or not, or no more; and what it is to be remembered for."""
    win, f = w.window, w.params.filter[0]
    number = whole(win.picked[j])
    heard = win.heard[look.first + number]
    r = probability(w.scratch.d[j].p_new * w.scratch.d[j].birth)
    founds = look.may_initiate and r >= f.recycle
    i = whole(-1) if why & WHOLE else whole(heard.born)
    k = whole(-1)
    if i >= 0:
        # The slot of a track that this detection has founded stays its own while the track's later versions wait to go.
        k = version_at(win, i, q)
        if k >= 0:
            _keep_old(win, k)
    if founds:
        if i < 0:
            i = take_slot(w.bank)
            w.bank.link[i].alive = 0
            w.bank.belief[i].key = z.key
            clear_tracked(win.track[i])
            win.track[i].look, win.track[i].detection = q, number
            w.born[0, 0] += 1
            w.born[w.born[0, 0], 0], w.born[w.born[0, 0], 1] = i, look.first + number
        was = k >= 0
        if not was:
            k = new_touch(win, i, q, whole(-1))
        v = win.touch[k]
        a = v.altitude
        a.h = a.w = a.hh = a.hw = a.ww = a.t = 0.0
        found(v.state, a, v.belief, win.touch_history[k], look, z, r, w.params, w.pairs)
        v.flags, v.detection = BORN | SHARES, number
        if not was:
            note_carrier(win, i, v.belief.id1)
        if not was or _differs(win, k):
            note_change(w, i, q)
            if why & WHOLE:
                change = win.change[win.track[i].change]
                change.weight, change.detection = w.scratch.d[j].p_new, look.first + number
            carry_on(w, i, q)
    elif k >= 0:
        note_change(w, i, q)
        drop_touch(win, k, True)
        k = whole(-1)
        carry_on(w, i, q)
    if k >= 0:
        win.touch[k].cluster = cluster
    area = cell_area_m2(f.intensity_resolution)
    mass = 0.0
    if look.may_initiate and not founds and not look.cooperative and r >= f.recycle_mass_min:
        mass = r
    old_mass = 0.0 if why & WHOLE else np.float64(heard.mass)
    if not look.cooperative:
        key = cell_key(w.scratch.d[j].cell, z.domain)
        set_mass(w, look.t, q, BIRTH_MASS, np.uint64(number), key, old_mass / area, key, mass / area)
    heard.bar, heard.expected, heard.mass = w.scratch.d[j].best, w.scratch.d[j].expected, mass
    heard.cluster, heard.born = cluster, i


@lean_kernel
def note_change(w: Work, i: int, q: int) -> None:
    """Keep the bank's rows of track i as they were, the first time that a wave changes it (at look q)."""
    win = w.window
    c = whole(win.track[i].change)
    if c >= 0:
        win.change[c].from_us = min(win.change[c].from_us, win.look[q].time_us)
        return
    c = win.n[CHANGES]
    win.n[CHANGES] += 1
    win.track[i].change = c
    win.change[c]["state"] = w.bank.state[i]
    win.change[c]["altitude"] = w.bank.altitude[i]
    win.change[c]["belief"] = w.bank.belief[i]
    copy_history(w.bank.history[i], win.change_history[c])
    row = win.change[c]
    row.from_us, row.track, row.alive = win.look[q].time_us, i, w.bank.link[i].alive
    row.weight, row.detection = 0.0, -1


@lean_kernel
def carry_on(w: Work, i: int, q: int) -> None:
    """Track i differs from look q on: let it wait where that matters next, and let its cell have what it leaves at its end."""
    win = w.window
    k = whole(win.track[i].last)
    after = whole(-1)
    while k >= 0 and win.touch[k].look != q and version_after(win, k, q):
        after, k = k, whole(win.touch[k].before)
    stop = whole(-1)
    if after >= 0:
        stop = whole(win.touch[after].look)
    lives = k >= 0 and not win.touch[k].flags & ENDED
    end = win.now[0]
    if lives:
        v = win.touch[k]
        # Beyond its own end it lies nowhere and touches nothing.
        end, _ = end_by_itself(w, v.state, v.belief, end)
        until = min(end, win.look[stop].t if stop >= 0 else end)
        file_past(w, k, min(win.look[q].t, until), until)
        stop = first_touched(w, v.state, v.altitude, v.belief, win.touch_history[k], q, stop, end)
    if stop >= 0:
        # What it leaves at its end follows when that look has been visited.
        wait(win, stop, i, 0)
    else:
        set_end(w, i, k if lives else whole(-1), win.now[0])


@lean_kernel
def end_by_itself(w: Work, s: Row, b: Row, until: float) -> tuple[float, bool]:
    """(time, whether) a track with rows s and b ends by itself, if by time `until`; else (until, False)."""
    status = b.status
    b.status = COASTING
    t, kind, _ = next_event(s, b, w.params.domain[b.domain], w.params.filter[0], np.nextafter(until, math.inf))
    b.status = status
    return (t, True) if kind == END else (until, False)


@lean_kernel
def version_after(win: Window, k: int, q: int) -> bool:
    """Whether version k comes after look q."""
    p = whole(win.touch[k].look)
    if p < 0:
        return False
    a, b = win.look[p].t, win.look[q].t
    return a > b or (a == b and win.seen[p].tie > win.seen[q].tie)


@lean_kernel
def set_end(w: Work, i: int, k: int, now: float) -> None:
    """Let the cells hold what track i gives back if it ends by itself after version k by time `now` (-1: it does not)."""
    win = w.window
    key, mass, t, look = np.uint64(0), 0.0, 0.0, whole(-1)
    if k >= 0:
        s, b = win.touch[k].state, win.touch[k].belief
        d = w.params.domain[b.domain]
        t, ends = end_by_itself(w, s, b, now)
        if ends:
            row = w.scratch.spare[0].state
            predict(s, t, d.q * b.factor, d.g, d.great_circle != 0, row)
            cell = cell_of(row.x, row.y, row.z, w.params, w.scratch.digits)
            key = cell_key(cell, b.domain)
            mass = existence_at(b, d, t) / cell_area_m2(w.params.filter[0].intensity_resolution)
            if win.touch[k].look >= 0 and win.look[win.touch[k].look].t == t:
                look = whole(win.touch[k].look)
    x = whole(win.track[i].end_write)
    if x >= 0:
        e = win.write[x]
        if mass > 0.0 and e.key == key and e.t == t and e.look == look:
            change_write(w, x, mass)
            return
        take_write(w, x)
        win.track[i].end_write = -1
    if mass > 0.0:
        win.track[i].end_write = put_write(w, key, t, 1.0, mass, look, EVENT, win.touch[k].belief.key)
