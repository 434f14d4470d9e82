"""The order of looks, and lists under hashed keys: what the index of the past is made of.

A key is a hash of what it stands for; two that fell together would only make a list longer, as whoever reads one checks what
it finds.
"""

from __future__ import annotations

import numpy as np

from apss_fusion.kernels import lean_kernel, whole
from apss_fusion.tracking.window.rows import BUCKETS, NODES, TIME, Window

_A, _B, _C = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9


@lean_kernel
def precedes(win: Window, p: int, q: int) -> bool:
    """Whether look p comes before look q in the order of (time, source_id, look_id); -1 comes before all."""
    if p < 0 or q < 0:
        return p < q
    a, b = win.look[p].t, win.look[q].t
    return a < b or (a == b and win.seen[p].tie < win.seen[q].tie)


@lean_kernel
def _key(kind: int, level: int, moment: int, what: np.uint64) -> np.uint64:
    key = what * np.uint64(_A) + np.uint64(moment) * np.uint64(_B) + np.uint64(8 * kind + level + 1) * np.uint64(_C)
    key ^= key >> np.uint64(31)
    key *= np.uint64(_B)
    key ^= key >> np.uint64(29)
    return key if key != 0 else np.uint64(1)


@lean_kernel
def list_key(win: Window, kind: int, level: int, moment: int, what: np.uint64) -> int:
    """Row of BUCKET of a list, made where there is none. The caller has seen to room."""
    key = _key(kind, level, moment, what)
    mask = np.uint64(len(win.bucket) - 1)
    at = key & mask
    while win.bucket[at].key != key:
        if win.bucket[at].key == 0:
            win.bucket[at].key, win.bucket[at].head = key, -1
            win.n[BUCKETS] += 1
            break
        at = (at + np.uint64(1)) & mask
    return whole(at)


@lean_kernel
def head_of(win: Window, kind: int, level: int, moment: int, what: np.uint64) -> int:
    """First entry of a list, or -1."""
    key = _key(kind, level, moment, what)
    mask = np.uint64(len(win.bucket) - 1)
    at = key & mask
    while win.bucket[at].key != 0:
        if win.bucket[at].key == key:
            return whole(win.bucket[at].head)
        at = (at + np.uint64(1)) & mask
    return whole(-1)


@lean_kernel
def append(win: Window, kind: int, level: int, moment: int, what: np.uint64, a: int, b: int) -> None:
    """Put (a, b) at the head of a list. The caller has seen to room."""
    at = list_key(win, kind, level, moment, what)
    win.n[NODES] += 1
    entry = win.node[win.n[NODES] - 1]
    entry.a, entry.b, entry.next = a, b, win.bucket[at].head
    win.bucket[at].head = win.n[NODES] - 1


@lean_kernel
def take_place(win: Window, q: int) -> None:
    """Give look q its place among the looks of its time. The caller has seen to room."""
    at = list_key(win, TIME, 0, 0, np.uint64(win.look[q].time_us))
    before, k = whole(-1), whole(win.bucket[at].head)
    while k >= 0 and _named_before(win, k, q):
        before, k = k, whole(win.seen[k].same)
    win.seen[q].same = k
    if before < 0:
        win.bucket[at].head = q
        win.seen[q].tie = 0
    else:
        win.seen[before].same = q
        win.seen[q].tie = win.seen[before].tie + 1
    tie = win.seen[q].tie
    while k >= 0:
        tie += 1
        win.seen[k].tie = tie
        k = whole(win.seen[k].same)


@lean_kernel
def _named_before(win: Window, p: int, q: int) -> bool:
    """Whether look p comes before look q of the same time by source_id, then look_id (as bytes)."""
    a, b = win.look[p], win.look[q]
    if a.source != b.source:
        return win.rank[a.source] < win.rank[b.source]
    for k in range(min(a.id_length, b.id_length)):
        x, y = win.text[a.id_at + k], win.text[b.id_at + k]
        if x != y:
            return x < y
    return a.id_length < b.id_length
