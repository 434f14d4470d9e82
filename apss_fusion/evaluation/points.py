"""GOSPA and OSPA: how far a set of estimated positions is from the set of true ones.

Both are metrics between finite sets of points. GOSPA with alpha = 2 (Rahmathullah, Garcia-Fernandez and Svensson 2017,
"Generalized optimal sub-pattern assignment metric", FUSION) adds up, to the power p, what is wrong:
errors of position, objects missed, false estimates. OSPA (Schuhmacher, Vo and Vo 2008, IEEE Trans. Signal Processing
56) is a mean a point, in which a missed and a false object are alike. With alpha = 2 one pairing is the best for both.
A coordinate that is not finite, points of unequal dimension and parameters out of range raise ValueError.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from apss_fusion.evaluation.assignment import assign


class Gospa(NamedTuple):
    """The metric and its parts, in the unit of the points: ``total^p = localisation^p + missed^p + false^p``."""

    total: float
    localisation: float
    missed: float
    false: float


def gospa(truth: ArrayLike, estimate: ArrayLike, c: float, p: float = 2.0) -> Gospa:
    """GOSPA with alpha = 2 between points (n, d) and (m, d) of a Euclidean space.

    A pair is always nearer than the cut-off c; an object or an estimate without a partner costs ``c^p / 2``.
    """
    pairs = assign(truth, estimate, c, p)
    n, m, k = _count(truth), _count(estimate), len(pairs.distance)
    parts = (float(np.sum((pairs.distance / c) ** p)), (n - k) / 2, (m - k) / 2)
    return Gospa(*(c * part ** (1 / p) for part in (sum(parts), *parts)))


def ospa(truth: ArrayLike, estimate: ArrayLike, c: float, p: float = 2.0) -> float:
    """OSPA with cut-off c and order p between points (n, d) and (m, d); between 0 and c."""
    pairs = assign(truth, estimate, c, p)
    n, m, k = _count(truth), _count(estimate), len(pairs.distance)
    if not n and not m:
        return 0.0
    most = max(n, m)
    return float(c * ((np.sum((pairs.distance / c) ** p) + most - k) / most) ** (1 / p))


def _count(points: ArrayLike) -> int:
    array = np.asarray(points)
    return len(array) if array.size else 0
