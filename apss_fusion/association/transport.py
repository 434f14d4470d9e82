"""Exact solver of the small transport problem of the variational projection.

    minimise  sum_ih q_ih C_ih   with  sum_h q_ih = 1 (rows: tracks),  sum_i q_ih = demand_h (columns: hypotheses)

There are few rows and more columns, so the residual graph is kept on the rows alone. Every column starts on its cheapest row.
Rows then hold too much or too little; excess moves along shortest paths of the row graph, whose arc a -> b costs the
least C_bh - C_ah over the columns h that a holds some of (successive shortest paths with node prices, as Ahuja, Magnanti and
Orlin, Network Flows, 1993, chapter 9: every step stays optimal). With two rows it is a fractional knapsack.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import lean_kernel

_TINY = 1e-13
#: Tracks and hypotheses of the largest cluster that is solved.
MOST_ROWS, MOST_COLUMNS = 48, 768


class Solver(NamedTuple):
    """Arrays to solve in. Matrices of n rows and H columns lie in their first n H numbers, row by row."""

    cost: NDArray[np.float64]
    q: NDArray[np.float64]
    new: NDArray[np.float64]  # what `transport` fills
    demand: NDArray[np.float64]  # by column
    price: NDArray[np.float64]  # by row: prices, excess, distances
    excess: NDArray[np.float64]
    distance: NDArray[np.float64]
    arc: NDArray[np.float64]  # (rows, rows), row by row: reduced lengths, and the column of each
    column: NDArray[np.int64]
    before: NDArray[np.int64]
    done: NDArray[np.int64]
    order: NDArray[np.int64]  # by column


def new_solver(rows: int = MOST_ROWS, columns: int = MOST_COLUMNS) -> Solver:
    """Room for problems up to this size."""
    longest = max(rows, columns) + rows + 1
    matrix, line = rows * (columns + rows), np.zeros(longest)
    return Solver(
        cost=np.zeros(matrix),
        q=np.zeros(matrix),
        new=np.zeros(matrix),
        demand=line,
        price=line.copy(),
        excess=line.copy(),
        distance=line.copy(),
        arc=np.zeros(rows * rows),
        column=np.zeros(max(rows * rows, longest), np.int64),
        before=np.zeros(longest, np.int64),
        done=np.zeros(longest, np.int64),
        order=np.zeros(longest, np.int64),
    )


@lean_kernel
def _two_rows(v: Solver, columns: int) -> None:
    """Row 0 takes the columns with the smallest C_0h - C_1h until it is full."""
    order, cost, new = v.order, v.cost, v.new
    for h in range(columns):
        d, at = cost[h] - cost[columns + h], h
        while at > 0 and cost[order[at - 1]] - cost[columns + order[at - 1]] > d:
            order[at] = order[at - 1]
            at -= 1
        order[at] = h
    left = 1.0
    for k in range(columns):
        h = order[k]
        take = min(left, v.demand[h])
        new[h], new[columns + h] = take, v.demand[h] - take
        left -= take


@lean_kernel
def _arcs_of(v: Solver, a: int, rows: int, columns: int) -> None:
    """Work out the arcs that leave row a."""
    for b in range(rows):
        v.arc[a * rows + b], v.column[a * rows + b] = math.inf, -1
    for h in range(columns):
        if v.new[a * columns + h] > _TINY:
            base = v.cost[a * columns + h] - v.price[a]
            for b in range(rows):
                d = v.cost[b * columns + h] - v.price[b] - base
                if d < v.arc[a * rows + b]:
                    v.arc[a * rows + b], v.column[a * rows + b] = d, h


@lean_kernel
def _shortest(v: Solver, source: int, rows: int) -> int:
    """The nearest row to `source` that lacks something (Dijkstra), or -1."""
    for i in range(rows):
        v.distance[i], v.before[i], v.done[i] = math.inf, -1, 0
    v.distance[source] = 0.0
    while True:
        at, best = -1, math.inf
        for i in range(rows):
            if not v.done[i] and v.distance[i] < best:
                best, at = v.distance[i], i
        if at < 0 or v.excess[at] < -_TINY:
            return at
        v.done[at] = 1
        for b in range(rows):
            if not v.done[b] and v.column[at * rows + b] >= 0:
                d = v.distance[at] + max(v.arc[at * rows + b], 0.0)
                if d < v.distance[b]:
                    v.distance[b], v.before[b] = d, at


@lean_kernel
def transport(v: Solver, rows: int, columns: int) -> bool:
    """Fill `new` with the best plan for `cost` and `demand`, whose sum is the number of rows; false where it was given up."""
    if rows == 1:
        for h in range(columns):
            v.new[h] = v.demand[h]
        return True
    if rows == 2:
        _two_rows(v, columns)
        return True
    for i in range(rows):
        v.excess[i], v.price[i] = -1.0, 0.0
        for h in range(columns):
            v.new[i * columns + h] = 0.0
    for h in range(columns):
        at = 0
        for i in range(1, rows):
            if v.cost[i * columns + h] < v.cost[at * columns + h]:
                at = i
        v.new[at * columns + h] = v.demand[h]
        v.excess[at] += v.demand[h]
    for a in range(rows):
        _arcs_of(v, a, rows, columns)
    for _ in range(50 * (rows + columns)):
        source, most = -1, 1e-12
        for i in range(rows):
            if v.excess[i] > most:
                most, source = v.excess[i], i
        if source < 0:
            return True
        sink = _shortest(v, source, rows)
        if sink < 0:
            return True
        move = min(v.excess[source], -v.excess[sink])
        b = sink
        while b != source:
            a = v.before[b]
            move = min(move, v.new[a * columns + v.column[a * rows + b]])
            b = a
        far = v.distance[sink]
        for i in range(rows):
            v.price[i] += min(v.distance[i], far)
        for a in range(rows):
            for b in range(rows):
                if v.column[a * rows + b] >= 0:
                    v.arc[a * rows + b] += min(v.distance[a], far) - min(v.distance[b], far)
        b = sink
        while b != source:
            a = v.before[b]
            h = v.column[a * rows + b]
            v.new[a * columns + h] -= move
            v.new[b * columns + h] += move
            if v.new[a * columns + h] <= _TINY:
                v.new[b * columns + h] += v.new[a * columns + h]
                v.new[a * columns + h] = 0.0
            b = a
        v.excess[source] -= move
        v.excess[sink] += move
        b = sink
        while True:
            _arcs_of(v, b, rows, columns)
            if b == source:
                break
            b = v.before[b]
    return False


@lean_kernel
def assign(v: Solver, rows: int, columns: int) -> None:
    """The cheapest assignment of every row to a column of `cost` (columns >= rows), into `order` by row.

    Shortest augmenting paths with dual prices (Jonker and Volgenant 1987).
    """
    # match[j]: the row of column j - 1, 0 for none; way: the column before it on the path. Rows and columns count from 1 here.
    match, way, used = v.before, v.column, v.done
    low, of_row, of_column = v.distance, v.excess, v.price
    for i in range(rows + 1):
        of_row[i] = 0.0
    for j in range(columns + 1):
        match[j], of_column[j] = 0, 0.0
    for i in range(1, rows + 1):
        match[0] = i
        for j in range(columns + 1):
            low[j], used[j] = math.inf, 0
        at = 0
        while True:
            used[at] = 1
            row, step, following = match[at], math.inf, 0
            for j in range(1, columns + 1):
                if not used[j]:
                    c = v.cost[(row - 1) * columns + j - 1] - of_row[row] - of_column[j]
                    if c < low[j]:
                        low[j], way[j] = c, at
                    if low[j] < step:
                        step, following = low[j], j
            for j in range(columns + 1):
                if used[j]:
                    of_row[match[j]] += step
                    of_column[j] -= step
                else:
                    low[j] -= step
            at = following
            if match[at] == 0:
                break
        while at:
            match[at] = match[way[at]]
            at = way[at]
    for j in range(1, columns + 1):
        if match[j]:
            v.order[match[j] - 1] = j - 1
