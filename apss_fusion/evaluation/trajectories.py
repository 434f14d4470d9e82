"""Two sets of trajectories: which exist when, and where an object and an estimate are near enough to be paired.

That is all that the metrics of trajectories depend on: pairs that are never nearer than the cut-off cost as much as an
object missed and an estimate false.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apss_fusion.evaluation.assignment import check, near_pairs

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Encounters(NamedTuple):
    """Presence of n objects and m estimates at T times, and their k encounters nearer than the cut-off, by time."""

    #: (n, T) and (m, T).
    truth_present: BoolArray
    estimate_present: BoolArray
    #: Of each encounter: index of the time, the object and the estimate, and the distance as a share of the cut-off.
    time: IntArray
    truth: IntArray
    estimate: IntArray
    share: FloatArray


class Couples(NamedTuple):
    """The P distinct pairs of an object and an estimate that meet at any time, by object; and whose each encounter is."""

    truth: IntArray
    estimate: IntArray
    #: (k,): row of the couple of each encounter.
    of_encounter: IntArray


def encounters(truth: ArrayLike, estimate: ArrayLike, c: float) -> Encounters:
    """What two sets of trajectories have to do with each other.

    Parameters
    ----------
    truth, estimate
        Trajectories (n, T, d) and (m, T, d) at the same T times; a row of NaN where one does not exist. An empty list
        is no trajectories.
    c
        Cut-off, in the unit of the points.

    Raises
    ------
    ValueError
        On other shapes, times or dimensions that differ, a point that is partly NaN, and infinity.
    """
    check(c, 1.0)
    a, b = _trajectories(truth), _trajectories(estimate)
    if not len(a):
        a = np.empty((0, *b.shape[1:]))
    if not len(b):
        b = np.empty((0, *a.shape[1:]))
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"truth has (times, coordinates) {a.shape[1:]}, the estimate {b.shape[1:]}")
    here, there = _present(a), _present(b)
    parts = [(np.empty(0, np.int64),) * 3 + (np.empty(0),)]
    for k in range(a.shape[1]):
        i, j = np.flatnonzero(here[:, k]), np.flatnonzero(there[:, k])
        near = near_pairs(a[i, k], b[j, k], c)
        parts.append((np.full(len(near.truth), k), i[near.truth], j[near.estimate], near.distance / c))
    time, row, column, share = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Encounters(here, there, time, row, column, share)


def couples(met: Encounters) -> Couples:
    """The pairs that meet at any time."""
    width = len(met.estimate_present)
    keys, of_encounter = np.unique(met.truth * width + met.estimate, return_inverse=True)
    return Couples(keys // max(width, 1), keys % max(width, 1), of_encounter)


def _trajectories(values: ArrayLike) -> FloatArray:
    array = np.asarray(values, np.float64)
    if not array.size and array.ndim < 3:
        return np.empty((0, 0, 0))
    if array.ndim != 3:
        raise ValueError(f"trajectories are rows of times of coordinates, not an array of shape {array.shape}")
    return array


def _present(trajectories: FloatArray) -> BoolArray:
    absent = np.isnan(trajectories)
    if np.isinf(trajectories).any() or (absent.any(axis=2) != absent.all(axis=2)).any():
        raise ValueError("a coordinate is not finite, or a point is only partly NaN")
    return np.asarray(~absent.any(axis=2))
