"""Clusters: tracks linked by shared detections. What happens in one does not depend on any other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.scratch import Scratch
from apss_fusion.kernels import lean_kernel


@lean_kernel
def _root(c: NDArray[np.void], a: int) -> int:
    while c[a].up != a:
        c[a].up = c[c[a].up].up
        a = c[a].up
    return a


@lean_kernel
def clusters(n: int, detections: int, scratch: Scratch) -> int:
    """Order the n candidates by cluster, by track key inside each; returns how many clusters there are.

    Writes `order` and `start` of the candidates. Candidates come in the order of their keys.
    """
    c, e, d = scratch.c, scratch.e, scratch.d
    for j in range(detections):
        d[j].cid = -1
    for i in range(n):
        c[i].up, c[i].base = i, 0
    for i in range(n):
        for k in range(c[i].edge, c[i + 1].edge):
            j = e[k].detection
            if d[j].cid < 0:
                d[j].cid = i
            else:
                a, b = _root(c, d[j].cid), _root(c, i)
                c[max(a, b)].up = min(a, b)
    for i in range(n):
        c[i].up = _root(c, i)
        c[c[i].up].base += 1
    count, at = 0, 0
    for i in range(n):
        if c[i].up == i:
            c[count].start = at
            count += 1
            size = c[i].base
            c[i].base = at
            at += size
    c[count].start = at
    # `base` of a root is where the next of its cluster goes; candidates come by key, so each cluster is by key.
    for i in range(n):
        root = c[i].up
        c[c[root].base].order = i
        c[root].base += 1
    return count
