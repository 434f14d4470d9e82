"""Which estimate is which object: the cheapest pairing of two sets of points, of those near enough to be paired.

Points further apart than the cut-off are never paired in GOSPA or OSPA, so the cost matrix is sparse: its entries are
found by a sweep along one axis, and the assignment problem is solved by shortest augmenting paths (Jonker and Volgenant
1987, Computing 38, without their initialisation) that leave a group of near points only where other points are near.
Each row may also stay alone, at the price of the cut-off, which makes every problem feasible.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apss_fusion.kernels import kernel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Pairs(NamedTuple):
    """Pairs of a truth point and an estimate: their rows, and their distances; (k,) each, by rows of truth."""

    truth: IntArray
    estimate: IntArray
    distance: FloatArray


def assign(truth: ArrayLike, estimate: ArrayLike, c: float, p: float) -> Pairs:
    """The pairing with the least sum of distance ** p over pairs and c ** p over truth points left alone.

    Parameters
    ----------
    truth, estimate
        Points (n, d) and (m, d) of a Euclidean space; an empty list is no points.
    c
        Cut-off, in the unit of the points: a pair is always nearer than that.
    p
        Order of the metric, at least 1.

    Raises
    ------
    ValueError
        On a coordinate that is not finite, points of unequal dimension, and c or p out of range.
    """
    check(c, p)
    near = near_pairs(truth, estimate, c)
    # Relative to the cut-off, so that no power of a distance overflows.
    chosen = cheapest(near.truth, near.estimate, (near.distance / c) ** p)
    return Pairs(near.truth[chosen], near.estimate[chosen], near.distance[chosen])


def near_pairs(truth: ArrayLike, estimate: ArrayLike, c: float) -> Pairs:
    """All pairs of a point (n, d) and an estimate (m, d) that are nearer than c."""
    a, b = _points(truth), _points(estimate)
    if not len(a) or not len(b):
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"truth has {a.shape[1]} coordinates a point, the estimate {b.shape[1]}")
    axis = int(np.argmax(np.ptp(b, axis=0)))
    order = np.argsort(b[:, axis], kind="stable")
    start, column, distance = _near_pairs(a, b[order], axis, c)
    return Pairs(np.repeat(np.arange(len(a)), np.diff(start)), order[column], distance)


def cheapest(row: IntArray, column: IntArray, cost: FloatArray) -> IntArray:
    """Which of the possible pairs (k,), sorted by row, to take so that their costs and 1 for every other row are least.

    Costs lie in [0, 1]; a row and a column are taken once at most. Returns indices of pairs, ascending.
    """
    if not len(row):
        return np.empty(0, np.int64)
    rows, row = np.unique(row, return_inverse=True)
    columns, column = np.unique(column, return_inverse=True)
    start = np.searchsorted(row, np.arange(len(rows) + 1))
    choice = _cheapest(start, column, cost, len(columns))
    return choice[choice >= 0]


def check(c: float, p: float) -> None:
    """Raise ValueError for a cut-off or an order of no metric."""
    if not 0.0 < c < np.inf or not 1.0 <= p < np.inf:
        raise ValueError(f"the cut-off must be positive and the order at least 1, not {c} and {p}")


def _points(values: ArrayLike) -> FloatArray:
    points = np.ascontiguousarray(values, dtype=np.float64)
    if not points.size:
        return np.empty((0, points.shape[1] if points.ndim == 2 else 1))
    if points.ndim != 2:
        raise ValueError(f"points are rows of coordinates, not an array of shape {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("a coordinate is not finite")
    return points


@kernel
def _near_pairs(a: FloatArray, b: FloatArray, axis: int, c: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Pairs nearer than c as sparse rows: start (n + 1,), column and distance; b is sorted along `axis`."""
    start = np.zeros(len(a) + 1, np.int64)
    sweep = b[:, axis].copy()
    first = np.searchsorted(sweep, a[:, axis] - c)
    column = np.empty(16, np.int64)
    distance = np.empty(16, np.float64)
    count = 0
    for i in range(len(a)):
        j = first[i]
        while j < len(b) and sweep[j] <= a[i, axis] + c:
            square = 0.0
            for k in range(a.shape[1]):
                square += (a[i, k] - b[j, k]) ** 2
            d = np.sqrt(square)
            if d < c:
                if count == len(column):
                    column = np.append(column, np.empty(count, np.int64))
                    distance = np.append(distance, np.empty(count, np.float64))
                column[count] = j
                distance[count] = d
                count += 1
            j += 1
        start[i + 1] = count
    return start, column[:count], distance[:count]


@kernel
def _cheapest(start: IntArray, column: IntArray, cost: FloatArray, columns: int) -> IntArray:
    """The entry that each row takes, (n,), or -1 where it stays alone at cost 1; costs lie in [0, 1].

    Column ``columns + i`` stands for row i staying alone. `u` and `v` are the prices of rows and columns: no reduced
    cost ``cost - u - v`` is negative, and those of taken entries are zero, which proves the assignment cheapest.
    """
    rows = len(start) - 1
    u = np.zeros(rows)
    v = np.zeros(columns + rows)
    owner = np.full(columns + rows, -1)
    taken = np.full(rows, -1)
    length = np.full(columns + rows, np.inf)
    reached_by = np.full(columns + rows, -1)
    entry = np.full(columns + rows, -1)
    done = np.zeros(columns + rows, np.bool_)
    for first in range(rows):
        heap = [(0.0, 0) for _ in range(0)]
        touched = [0 for _ in range(0)]
        row, base = first, 0.0
        while True:
            for k in range(start[row], start[row + 1] + 1):
                alone = k == start[row + 1]
                j = columns + row if alone else column[k]
                if done[j]:
                    continue
                way = base + max(0.0, (1.0 if alone else cost[k]) - u[row] - v[j])
                if way < length[j]:
                    if length[j] == np.inf:
                        touched.append(j)
                    length[j] = way
                    reached_by[j] = row
                    entry[j] = -1 if alone else k
                    heapq.heappush(heap, (way, j))
            base, end = heapq.heappop(heap)
            while done[end]:
                base, end = heapq.heappop(heap)
            done[end] = True
            row = owner[end]
            if row < 0:
                break
        u[first] += base
        for j in touched:
            if done[j] and j != end:
                v[j] -= base - length[j]
                u[owner[j]] += base - length[j]
        while end >= 0:
            row = reached_by[end]
            owner[end] = row
            before = columns + row if taken[row] < 0 else column[taken[row]]
            taken[row] = entry[end]
            end = -1 if row == first else before
        for j in touched:
            length[j] = np.inf
            done[j] = False
    return taken
