"""OSPA(2): how far a set of estimated trajectories is from the set of true ones, as a mean a trajectory.

Beard, Vo and Vo 2020, "A solution for large-scale multi-object tracking", IEEE Trans. Signal Processing 68 (first in
2017, "OSPA(2): using the OSPA metric to evaluate multi-target tracking performance", ICCAIS): OSPA whose points are
trajectories. The distance of two trajectories is the mean of order q, over the times when either exists, of their
distance cut off at c, which is c when only one of them exists. A track that breaks in two is two trajectories, each of
them far from the object, so it is punished; one pairing holds for the whole window.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apss_fusion.evaluation.assignment import cheapest, check
from apss_fusion.evaluation.trajectories import Encounters, couples, encounters

FloatArray = NDArray[np.float64]


class WindowCosts(NamedTuple):
    """Of the window that ends at each time: sum of costs, in units of c ** p, and by how many it is to be divided; (T,)."""

    cost: FloatArray
    most: FloatArray

    def ospa2(self, c: float, p: float) -> FloatArray:
        """The metric (T,): 0 where nothing exists in the window."""
        value: FloatArray = c * (self.cost / np.maximum(self.most, 1.0)) ** (1.0 / p)
        return value


def ospa2(
    truth: ArrayLike, estimate: ArrayLike, c: float, p: float = 1.0, q: float = 1.0, window: int | None = None
) -> FloatArray:
    """OSPA(2) of the window that ends at each time, (T,), between 0 and c; the last is that of the last `window` times.

    Parameters
    ----------
    truth, estimate
        Trajectories (n, T, d) and (m, T, d); NaN where one does not exist. Those that do not exist in a window do not
        count there.
    c
        Cut-off, in the unit of the points.
    p, q
        Order of the mean over trajectories, and of the mean over times.
    window
        How many times a window has, at the beginning fewer; all, if it is None.

    Raises
    ------
    ValueError
        As :func:`apss_fusion.evaluation.trajectories.encounters`, and on c, p, q or window out of range.
    """
    met = encounters(truth, estimate, c)
    return window_costs(met, met.truth_present.shape[1] if window is None else window, p, q).ospa2(c, p)


def window_costs(met: Encounters, window: int, p: float, q: float) -> WindowCosts:
    """What OSPA(2) is made of, for the windows of `window` times (fewer at the beginning) that end at each time."""
    check(1.0, p)
    check(1.0, q)
    times = met.truth_present.shape[1]
    if window < min(times, 1):
        raise ValueError(f"a window has at least one time, not {window}")
    pairs = couples(met)
    powers = met.share**q
    until = np.searchsorted(met.time, np.arange(times + 1))
    here, there = _counted(met.truth_present), _counted(met.estimate_present)
    cost, count = np.zeros(times), np.zeros(times)
    for k in range(times):
        begin = max(0, k + 1 - window)
        lived, tracked = here[:, k + 1] - here[:, begin], there[:, k + 1] - there[:, begin]
        most = max(np.count_nonzero(lived), np.count_nonzero(tracked))
        rows = slice(until[begin], until[k + 1])
        met_now, which = np.unique(pairs.of_encounter[rows], return_inverse=True)
        i, j = pairs.truth[met_now], pairs.estimate[met_now]
        both = np.count_nonzero(met.truth_present[i, begin : k + 1] & met.estimate_present[j, begin : k + 1], axis=1)
        either = lived[i] + tracked[j] - both
        near = np.bincount(which, minlength=len(met_now))
        distance = (np.bincount(which, powers[rows], len(met_now)) + either - near) / either
        distance = np.minimum(distance, 1.0) ** (p / q)
        chosen = cheapest(i, j, distance)
        cost[k], count[k] = distance[chosen].sum() + most - len(chosen), most
    return WindowCosts(cost, count)


def _counted(present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often each trajectory (n, T) was there before each time, and before the end; (n, T + 1)."""
    before = np.zeros((present.shape[0], present.shape[1] + 1), np.int64)
    np.cumsum(present, axis=1, out=before[:, 1:])
    return before
