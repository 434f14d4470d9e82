"""The writes to each cell of the intensity, in their order, so that one of them may change afterwards.

A look reads a cell before it writes to it. Where what it read turns out to be another value, the look waits to be visited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from apss_fusion.estimation.rounding import significant
from apss_fusion.kernels import inline_kernel, lean_kernel, whole
from apss_fusion.tracking.intensity import relaxed, slot_of, take_cell
from apss_fusion.tracking.window.heap import wait
from apss_fusion.tracking.window.lists import precedes
from apss_fusion.tracking.window.rows import BASE, CELLS, READ, WRITE_FREE, WRITES, Window

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work


@inline_kernel
def _comes_before(win: Window, x: int, t: float, look: int, kind: int, order: np.uint64) -> bool:
    """Whether write x comes before such a one."""
    e = win.write[x]
    if e.kind == BASE:
        return True
    if e.t != t:
        return e.t < t
    if e.look != look:
        return precedes(win, whole(e.look), look)
    if e.kind != kind:
        return e.kind < kind
    return e.order < order


@lean_kernel
def _place(win: Window, last: int, t: float, look: int, kind: int, order: np.uint64) -> int:
    """The last write that comes before such a one, searched from write `last` backwards; -1 for none."""
    while last >= 0 and not _comes_before(win, last, t, look, kind, order):
        last = whole(win.write[last].before)
    return last


@lean_kernel
def _value_at(w: Work, x: int, key: np.uint64, t: float) -> float:
    """Density at time t after write x (-1: the prior) of a cell."""
    d = w.params.domain[whole(key >> np.uint64(56)) & 3]
    if x < 0:
        return d.undetected
    e = w.window.write[x]
    since = e.t
    if e.kind == READ:
        since = e.add
        if since == -np.inf:
            return d.undetected
    return relaxed(d, e.value, since, t)


@lean_kernel
def density_before(w: Work, key: np.uint64, q: int) -> float:
    """Density of undetected objects in a cell (with its domain), 1/m^2, as look q finds it."""
    s = slot_of(w.intensity.cells, key)
    t = w.window.look[q].t
    if w.intensity.cells[s].key == 0:
        return _value_at(w, whole(-1), key, t)
    x = _place(w.window, whole(w.intensity.cells[s].last), t, q, READ, np.uint64(0))
    return _value_at(w, x, key, t)


@lean_kernel
def put_write(
    w: Work, key: np.uint64, t: float, factor: float, add: float, look: int, kind: int, order: np.uint64
) -> int:
    """Enter a write at its place, and carry it on to the writes behind it; its number. The caller has seen to room.

    The cell becomes its density at t times `factor` plus `add` (1/m^2), rounded; a READ changes nothing.
    """
    win = w.window
    s = take_cell(w.intensity, key)
    x = win.n[WRITE_FREE]
    if x >= 0:
        win.n[WRITE_FREE] = win.write[x].after
    else:
        x = win.n[WRITES]
    win.n[WRITES] += 1
    e = win.write[x]
    e.t, e.factor, e.add, e.key, e.order, e.look, e.kind = t, factor, add, key, order, look, kind
    e.before = _place(win, whole(w.intensity.cells[s].last), t, look, kind, order)
    if e.before >= 0:
        e.after = win.write[e.before].after
        win.write[e.before].after = x
    else:
        e.after = _first(w, s)
    if e.after >= 0:
        win.write[e.after].before = x
    else:
        w.intensity.cells[s].last = x
    _compute(w, x)
    _carry_on(w, s, x)
    return x


@inline_kernel
def put_read(w: Work, key: np.uint64, t: float, q: int) -> None:
    """Note that look q, of time t, reads a cell; once."""
    win = w.window
    x = _place(win, whole(w.intensity.cells[take_cell(w.intensity, key)].last), t, q, READ, np.uint64(1))
    if x < 0 or win.write[x].kind != READ or win.write[x].look != q:
        put_write(w, key, t, 1.0, 0.0, q, READ, np.uint64(0))


@lean_kernel
def _first(w: Work, s: int) -> int:
    """The first write of a cell, or -1."""
    x = whole(w.intensity.cells[s].last)
    while x >= 0 and w.window.write[x].before >= 0:
        x = whole(w.window.write[x].before)
    return x


@lean_kernel
def change_write(w: Work, x: int, add: float) -> None:
    """Let write x add another mass, and carry it on."""
    if w.window.write[x].add != add:
        w.window.write[x].add = add
        _compute(w, x)
        _carry_on(w, slot_of(w.intensity.cells, w.window.write[x].key), x)


@lean_kernel
def take_write(w: Work, x: int) -> None:
    """Take write x out, and carry that on."""
    e = w.window.write[x]
    s = slot_of(w.intensity.cells, e.key)
    before = whole(e.before)
    if e.after >= 0:
        w.window.write[e.after].before = e.before
    else:
        w.intensity.cells[s].last = e.before
    if e.before >= 0:
        w.window.write[e.before].after = e.after
    after = whole(e.after)
    free_write(w.window, x)
    if after >= 0:
        _renew(w, s, after)
    else:
        _show(w, s)
    if before < 0 and after < 0:
        w.intensity.cells[s].written = 0


@lean_kernel
def free_write(win: Window, x: int) -> None:
    """Give back a write that is on no list."""
    win.write[x].after = win.n[WRITE_FREE]
    win.n[WRITE_FREE] = x
    win.n[WRITES] -= 1


@lean_kernel
def find_write(w: Work, key: np.uint64, t: float, look: int, kind: int, order: np.uint64) -> int:
    """The write with this place, or -1."""
    s = slot_of(w.intensity.cells, key)
    if w.intensity.cells[s].key == 0:
        return whole(-1)
    x = whole(w.intensity.cells[s].last)
    while x >= 0:
        e = w.window.write[x]
        if e.t == t and e.look == look and e.kind == kind and e.order == order:
            return x
        if e.t < t:
            return whole(-1)
        x = whole(e.before)
    return whole(-1)


@lean_kernel
def _compute(w: Work, x: int) -> bool:
    """Compute the value of write x from the one before it; whether it has changed."""
    e = w.window.write[x]
    if e.kind == BASE:
        return False
    old, old_add = e.value, e.add
    if e.kind == READ:
        e.value, e.add = 0.0, -np.inf
        if e.before >= 0:
            b = w.window.write[e.before]
            e.value, e.add = b.value, b.add if b.kind == READ else b.t
    else:
        e.value = significant(_value_at(w, whole(e.before), e.key, e.t) * e.factor + e.add)
    return e.value != old or (e.kind == READ and e.add != old_add)


@lean_kernel
def _renew(w: Work, s: int, x: int) -> None:
    """Compute write x and those behind it again, as far as they change."""
    if _compute(w, x):
        if w.window.write[x].kind == READ:
            wait(w.window, whole(w.window.write[x].look), whole(-1), CELLS)
        _carry_on(w, s, x)
    else:
        _show(w, s)


@lean_kernel
def _carry_on(w: Work, s: int, x: int) -> None:
    """Compute the writes behind x again, until one keeps its value; looks that read another value wait."""
    x = whole(w.window.write[x].after)
    while x >= 0:
        if not _compute(w, x):
            break
        if w.window.write[x].kind == READ:
            wait(w.window, whole(w.window.write[x].look), whole(-1), CELLS)
        x = whole(w.window.write[x].after)
    _show(w, s)


@lean_kernel
def _show(w: Work, s: int) -> None:
    """Let the table hold what the last write of a cell left."""
    row = w.intensity.cells[s]
    row.written = 0
    x = whole(row.last)
    if x >= 0:
        e = w.window.write[x]
        if e.kind != READ:
            row.value, row.t, row.written = e.value, e.t, 1
        elif e.add != -np.inf:
            row.value, row.t, row.written = e.value, e.add, 1
