"""What a look in its order leaves in the window: versions of the tracks it touched, and what it made of its detections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.history import copy_history
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.revise import Revision
from apss_fusion.tracking.window.rows import BORN, ENDED, SHARES
from apss_fusion.tracking.window.touches import new_touch, note_carrier

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work


@inline_kernel
def record_detections(w: Work, q: int, z: NDArray[np.void], n: int) -> None:
    """Note bars, clusters and expectations of the detections of look q, just weighed with n candidates."""
    s, win = w.scratch, w.window
    for j in range(len(z)):
        heard = win.heard[win.look[q].first + j]
        heard.bar, heard.expected, heard.mass, heard.born = s.d[j].best, s.d[j].expected, 0.0, -1
        heard.cluster = cluster_of(s.c, s.d[j].cid, n + j)
    win.seen[q].clusters = n + len(z)


@lean_kernel
def cluster_of(c: NDArray[np.void], first: int, alone: int) -> int:
    """The number of the cluster of a detection whose first candidate is `first`, or of one without (-1): `alone`."""
    return whole(c[first].up) if first >= 0 else whole(alone)


@inline_kernel
def record_touch(w: Work, i: int, q: int, c: int, own: int, result: Revision, old1: np.uint64, old2: np.uint64) -> None:
    """Note what look q has made of track i, candidate c, whose identities were old1 and old2."""
    win = w.window
    k = new_touch(win, i, q, whole(win.track[i].last))
    v = win.touch[k]
    keep_rows(w, k, i)
    v.cluster, v.detection = w.scratch.c[c].up, own
    v.flags = SHARES if result.shares else 0
    if result.r < w.params.filter[0].recycle:
        v.flags |= ENDED
        v.detection = -1
        win.touch[k]["state"] = w.scratch.c[c].pred
        v.belief.r, v.belief.tr = result.r, win.look[q].t
        return
    b = v.belief
    if b.id1 != old1:
        note_carrier(win, i, b.id1)
    if b.id2 != old2:
        note_carrier(win, i, b.id2)


@lean_kernel
def keep_rows(w: Work, k: int, i: int) -> None:
    """Write the bank's rows of track i into version k."""
    w.window.touch[k]["state"] = w.bank.state[i]
    w.window.touch[k]["altitude"] = w.bank.altitude[i]
    w.window.touch[k]["belief"] = w.bank.belief[i]
    copy_history(w.bank.history[i], w.window.touch_history[k])


@inline_kernel
def record_founding(w: Work, i: int, q: int, j: int) -> None:
    """Note that detection j of look q has founded track i."""
    win = w.window
    clear_tracked(win.track[i])
    win.track[i].look, win.track[i].detection = q, j
    k = new_touch(win, i, q, whole(-1))
    keep_rows(w, k, i)
    heard = win.heard[win.look[q].first + j]
    heard.born = i
    v = win.touch[k]
    v.flags, v.detection, v.cluster = BORN | SHARES, j, heard.cluster
    note_carrier(win, i, v.belief.id1)


@lean_kernel
def clear_tracked(track: Row) -> None:
    """Make a row of TRACKED that of a track of which nothing is known."""
    track.first = track.last = track.end_write = track.change = track.base_contributor = track.look = -1
    track.waiting = track.base_contributors = track.base_sources = track.base_detections = 0
    track.filed_from, track.told_us = 0.0, 0
