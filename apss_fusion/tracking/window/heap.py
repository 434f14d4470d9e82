"""Places in time that wait to be visited: a heap in the order of looks."""

from __future__ import annotations

from apss_fusion.kernels import inline_kernel, lean_kernel, whole
from apss_fusion.tracking.window.lists import precedes
from apss_fusion.tracking.window.rows import VISITS, Window


@lean_kernel
def wait(win: Window, q: int, i: int, why: int) -> None:
    """Let look q wait for a visit: because track i (or -1) differs there, or why (WHOLE, CELLS). The caller has seen to room."""
    if i < 0:
        if win.seen[q].waiting & why:
            return
        first = win.seen[q].waiting == 0
        win.seen[q].waiting |= why
        if not first:
            return
    else:
        win.track[i].waiting += 1
    n = win.n[VISITS]
    win.n[VISITS] = n + 1
    while n > 0:
        up = (n - 1) // 2
        if not precedes(win, q, whole(win.visit[up].look)):
            break
        win.visit[n].look, win.visit[n].track = win.visit[up].look, win.visit[up].track
        n = up
    win.visit[n].look, win.visit[n].track = q, i


@inline_kernel
def next_visit(win: Window) -> tuple[int, int]:
    """Take the first (look, track) out of the heap, which is not empty."""
    look, track = whole(win.visit[0].look), whole(win.visit[0].track)
    n = win.n[VISITS] - 1
    win.n[VISITS] = n
    moved_look, moved_track = win.visit[n].look, win.visit[n].track
    at = 0
    while 2 * at + 1 < n:
        down = 2 * at + 1
        if down + 1 < n and precedes(win, whole(win.visit[down + 1].look), whole(win.visit[down].look)):
            down += 1
        if not precedes(win, whole(win.visit[down].look), whole(moved_look)):
            break
        win.visit[at].look, win.visit[at].track = win.visit[down].look, win.visit[down].track
        at = down
    win.visit[at].look, win.visit[at].track = moved_look, moved_track
    if track >= 0:
        # A slot may have been given to another track since.
        win.track[track].waiting = max(win.track[track].waiting - 1, 0)
    return look, track
