"""Identity as evidence: a reported identity is a factor of the weight, strong and never proof.

A track holds a categorical over identities: the two likeliest with their probabilities, the rest unknown. With eps the
probability that a wrong identity is reported and N the number of identities that could be reported by chance, the factor of
a track with p(same) = ps and p(unknown) = pu, relative to a detection of anything (Bayes; Horridge and Maskell 2006), is

    L = ps (1 - eps) N + (1 - ps - pu) eps + pu.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import Row, lean_kernel

_GRID = 65536.0


@lean_kernel
def identity_factor(b: Row, z: np.uint64, eps: float, count: float) -> float:
    """Factor of track belief b for a detection with identity z (0: none, factor 1)."""
    if z == 0:
        return 1.0
    same = 0.0
    if b.id1 == z:
        same = b.p1
    elif b.id2 == z:
        same = b.p2
    unknown = max(0.0, 1.0 - b.p1 - b.p2)
    return same * (1.0 - eps) * count + max(0.0, 1.0 - same - unknown) * eps + unknown


@lean_kernel
def add_identity(
    b: Row, z: np.uint64, weight: float, eps: float, count: float, mixture: NDArray[np.void], n: int
) -> int:
    """Add `weight` times the categorical of b, after a report of z (0: none), to the mixture of n rows; returns n."""
    w1, w2 = b.p1, b.p2
    unknown = max(0.0, 1.0 - b.p1 - b.p2)
    wz = 0.0
    total = 1.0
    if z != 0:
        w1 *= (1.0 - eps) * count if b.id1 == z else eps
        w2 *= (1.0 - eps) * count if b.id2 == z else eps
        wz = unknown * (1.0 - eps)
        total = w1 + w2 + wz + unknown * eps
    n = _add(mixture, n, b.id1, weight * w1 / total)
    n = _add(mixture, n, b.id2, weight * w2 / total)
    return _add(mixture, n, z, weight * wz / total)


@lean_kernel
def _add(mixture: NDArray[np.void], n: int, identity: np.uint64, p: float) -> int:
    if identity == 0 or p <= 0.0:
        return n
    for k in range(n):
        if mixture[k].identity == identity:
            mixture[k].p += p
            return n
    if n < len(mixture):
        mixture[n].identity, mixture[n].p = identity, p
        return n + 1
    return n


@lean_kernel
def keep_two(mixture: NDArray[np.void], n: int, b: Row) -> None:
    """Write the two likeliest of a mixture into belief b, rounded to 2^-16; ties go to the smaller hash."""
    b.id1, b.p1, b.id2, b.p2 = np.uint64(0), 0.0, np.uint64(0), 0.0
    for k in range(n):
        p = math.floor(mixture[k].p * _GRID + 0.5) / _GRID
        if p <= 0.0:
            continue
        identity = mixture[k].identity
        if p > b.p1 or (p == b.p1 and identity < b.id1):
            b.id2, b.p2 = b.id1, b.p1
            b.id1, b.p1 = identity, p
        elif p > b.p2 or (p == b.p2 and identity < b.id2):
            b.id2, b.p2 = identity, p
