"""Clusters: tracks linked by shared detections. What happens in one does not depend on any other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.scratch import Scratch
from apss_fusion.kernels import kernel


@kernel
def _root(up: NDArray[np.int64], a: int) -> int:
    while up[a] != a:
        up[a] = up[up[a]]
        a = up[a]
    return a


@kernel
def clusters(n: int, first: NDArray[np.int64], key: NDArray[np.uint64], scratch: Scratch) -> int:
    """Order the n candidates by cluster, by track key inside each; returns how many clusters there are.

    first: scratch by detection, -1 on entry. Writes c_order and c_start.
    """
    up, order, start, base = scratch.c_up, scratch.c_order, scratch.c_start, scratch.c_base
    for i in range(n):
        up[i] = i
    for i in range(n):
        for e in range(scratch.c_edge[i], scratch.c_edge[i + 1]):
            j = scratch.e_detection[e]
            if first[j] < 0:
                first[j] = i
            else:
                a, b = _root(up, first[j]), _root(up, i)
                up[max(a, b)] = min(a, b)
    for i in range(n):
        base[i] = 0
    for i in range(n):
        up[i] = _root(up, i)
        base[up[i]] += 1
    count, at = 0, 0
    for i in range(n):
        if up[i] == i:
            start[count] = at
            count += 1
            size = base[i]
            base[i] = at
            at += size
    start[count] = at
    # `base` of a root is where its cluster starts; fill each by insertion in the order of keys.
    for i in range(n):
        order[i] = -1
    for i in range(n):
        low = base[up[i]]
        k = low
        while k < n and order[k] >= 0 and up[order[k]] == up[i]:
            k += 1
        while k > low and key[order[k - 1]] > key[i]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i
    return count
