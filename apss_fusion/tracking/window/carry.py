"""Looks as they arrive: the newest is a step on the bank, an earlier one is visited at its place, and what it changes is carried
forward in the order of time until nothing differs any more, or until the budget of the arrival is spent.
"""

from __future__ import annotations

from apss_fusion.association.cell_table import N_CELLS
from apss_fusion.kernels import inline_kernel, lean_kernel, whole
from apss_fusion.tracking.step import live_until, one_look
from apss_fusion.tracking.window.heap import next_visit, wait
from apss_fusion.tracking.window.lists import precedes, take_place
from apss_fusion.tracking.window.past import enter_look
from apss_fusion.tracking.window.rows import (
    ALIVE,
    BUDGET,
    CHANGES,
    CLEAN,
    LATE_LOOKS,
    NEWEST,
    STAGE,
    VISITS,
    WHOLE,
    WORK_AGAIN,
    WORK_FIRST,
    WORK_PLACES,
    WORK_TRACKS,
    WORK_UPDATES,
    Window,
)
from apss_fusion.tracking.window.settle import settle_changes
from apss_fusion.tracking.window.touches import window_holds
from apss_fusion.tracking.window.visit import visit
from apss_fusion.tracking.work import CELLS_A_TRACK, DONE, NEED_CELLS, NEED_NAMES, NEED_WINDOW, Work

#: Stages of an arrival.
_NEW, _PLACED, _WAVE, _NAMED = range(4)


@lean_kernel
def arrive(w: Work, desk: Work, start: int, stop: int, budget: int) -> tuple[int, int]:
    """Take in looks start to stop of the window, in the order of their arrival; (first look not done, what is needed for it).

    budget: clusters that may be weighed at earlier places for each of them. start = -1: no look arrives, stop = 0; all that is
    pending is finished.
    """
    win = w.window
    for q in range(start, stop):
        if q < 0 and win.n[STAGE] == _NEW:
            win.n[STAGE] = _WAVE
            win.n[BUDGET] = budget
        if win.n[STAGE] == _NEW:
            m = whole(win.look[q].count)
            if not window_holds(win, 1, 1, m):
                return q, NEED_WINDOW
            take_place(win, q)
            if win.n[VISITS] == 0:
                win.n[CLEAN] = q
            win.seen[q].alive = 1
            win.n[ALIVE] += 1
            win.n[STAGE] = _PLACED
        if win.n[STAGE] == _PLACED:
            need = _take_in(w, q)
            if need != DONE:
                return q, need
            win.n[STAGE] = _WAVE
            win.n[BUDGET] = budget
        need = _work_off(w, desk, q)
        if need != DONE:
            return q, need
        win.n[STAGE] = _NEW
    return stop, DONE


@inline_kernel
def _work_off(w: Work, desk: Work, q: int) -> int:
    """Carry on within the budget, on the arrival of look q, and settle what has changed; DONE or what is needed."""
    win = w.window
    if win.n[STAGE] == _WAVE:
        # A look may leave tracks that end at that very moment.
        need = live_until(w, win.now[0])
        if need == DONE:
            need = carry(w, desk)
        if need != DONE:
            return need
        win.n[STAGE] = _NAMED
        win.n[WORK_TRACKS] += win.n[CHANGES]
        # Tracks that were founded in the past may have been told of before: their names lead to what was told.
        if win.n[CHANGES] > 0 and w.born[0, 0] > 0:
            return NEED_NAMES
    if win.n[CHANGES] > 0:
        return settle_changes(w, q)
    return DONE


@inline_kernel
def _take_in(w: Work, q: int) -> int:
    """Fuse look q if it is the newest; else let it wait at its place. DONE or what is needed."""
    win = w.window
    look = win.look[q]
    m = whole(look.count)
    if not window_holds(win, 1, 1, m):
        return NEED_WINDOW
    if w.cells.scalars[N_CELLS] + CELLS_A_TRACK * (m + 1) > len(w.cells.row):
        return NEED_CELLS
    if look.t > win.now[0] or (look.t == win.now[0] and precedes(win, win.n[NEWEST], q)):
        need = live_until(w, look.t)
        if need == DONE:
            need = one_look(w, look, win.detection[look.first : look.first + m], q)
        if need != DONE:
            return need
        win.seen[q].fused = 1
        win.n[NEWEST] = q
        win.now[0] = look.t
    else:
        win.n[LATE_LOOKS] += 1
        wait(win, q, whole(-1), WHOLE)
    enter_look(w, q)
    return DONE


@inline_kernel
def carry(w: Work, desk: Work) -> int:
    """Visit the places that wait, in the order of time, until none does or the budget is spent; DONE or what is needed."""
    win = w.window
    while win.n[VISITS] > 0 and win.n[BUDGET] > 0:
        q = whole(win.visit[0].look)
        count = 0
        while win.n[VISITS] > 0 and win.visit[0].look == q:
            if count + 1 > len(win.differing):
                _put_back(win, q, count)
                return NEED_WINDOW
            _, track = next_visit(win)
            if track >= 0:
                win.differing[count] = track
                count += 1
        why = whole(win.seen[q].waiting)
        win.seen[q].waiting = 0
        need = visit(w, desk, q, why, win.differing, count)
        if need != DONE:
            _put_back(win, q, count)
            for bit in (1, 2):
                if why & bit:
                    wait(win, q, whole(-1), bit)
            return need
    return DONE


@lean_kernel
def _put_back(win: Window, q: int, count: int) -> None:
    for k in range(count):
        wait(win, q, win.differing[k], 0)


@lean_kernel
def clear_work(win: Window) -> None:
    """Begin to count the work of a late look."""
    for k in (WORK_FIRST, WORK_AGAIN, WORK_PLACES, WORK_TRACKS, WORK_UPDATES):
        win.n[k] = 0
