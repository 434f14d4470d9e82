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


#: A pair of a row and a column: its cost, the plan so far, and the one that `transport` fills.
CELL = np.dtype([("cost", "f8"), ("q", "f8"), ("new", "f8")])
#: By column: demand, and the order; by row: price, excess, distance on a path, the row before it there, whether it is done with.
LINE = np.dtype(
    [
        ("demand", "f8"),
        ("price", "f8"),
        ("excess", "f8"),
        ("distance", "f8"),
        ("before", "i8"),
        ("done", "i8"),
        ("order", "i8"),
    ]
)
#: A pair of rows: reduced length of the way from one to the other, and the column that it leads over.
ARC = np.dtype([("length", "f8"), ("column", "i8")])


class Solver(NamedTuple):
    """Arrays to solve in. Matrices of n rows and H columns lie in the first n H cells, row by row; so do arcs."""

    cell: NDArray[np.void]
    line: NDArray[np.void]
    arc: NDArray[np.void]


def new_solver(rows: int = MOST_ROWS, columns: int = MOST_COLUMNS) -> Solver:
    """Room for problems up to this size."""
    longest = max(rows, columns) + rows + 1
    return Solver(
        np.zeros(rows * (columns + rows), CELL), np.zeros(longest, LINE), np.zeros(max(rows * rows, longest), ARC)
    )


@lean_kernel
def _two_rows(v: Solver, columns: int) -> None:
    """Row 0 takes the columns with the smallest C_0h - C_1h until it is full."""
    for h in range(columns):
        d, at = v.cell[h].cost - v.cell[columns + h].cost, h
        while at > 0 and v.cell[v.line[at - 1].order].cost - v.cell[columns + v.line[at - 1].order].cost > d:
            v.line[at].order = v.line[at - 1].order
            at -= 1
        v.line[at].order = h
    left = 1.0
    for k in range(columns):
        h = v.line[k].order
        take = min(left, v.line[h].demand)
        v.cell[h].new, v.cell[columns + h].new = take, v.line[h].demand - take
        left -= take


@lean_kernel
def _arcs_of(v: Solver, a: int, rows: int, columns: int) -> None:
    """Work out the arcs that leave row a."""
    for b in range(rows):
        v.arc[a * rows + b].length, v.arc[a * rows + b].column = math.inf, -1
    for h in range(columns):
        if v.cell[a * columns + h].new > _TINY:
            base = v.cell[a * columns + h].cost - v.line[a].price
            for b in range(rows):
                d = v.cell[b * columns + h].cost - v.line[b].price - base
                if d < v.arc[a * rows + b].length:
                    v.arc[a * rows + b].length, v.arc[a * rows + b].column = d, h


@lean_kernel
def _shortest(v: Solver, source: int, rows: int) -> int:
    """The nearest row to `source` that lacks something (Dijkstra), or -1."""
    for i in range(rows):
        v.line[i].distance, v.line[i].before, v.line[i].done = math.inf, -1, 0
    v.line[source].distance = 0.0
    while True:
        at, best = -1, math.inf
        for i in range(rows):
            if not v.line[i].done and v.line[i].distance < best:
                best, at = v.line[i].distance, i
        if at < 0 or v.line[at].excess < -_TINY:
            return at
        v.line[at].done = 1
        for b in range(rows):
            if not v.line[b].done and v.arc[at * rows + b].column >= 0:
                d = v.line[at].distance + max(v.arc[at * rows + b].length, 0.0)
                if d < v.line[b].distance:
                    v.line[b].distance, v.line[b].before = d, at


@lean_kernel
def transport(v: Solver, rows: int, columns: int) -> bool:
    """Fill `new` with the best plan for `cost` and `demand`, whose sum is the number of rows; false where it was given up."""
    if rows == 1:
        for h in range(columns):
            v.cell[h].new = v.line[h].demand
        return True
    if rows == 2:
        _two_rows(v, columns)
        return True
    for i in range(rows):
        v.line[i].excess, v.line[i].price = -1.0, 0.0
        for h in range(columns):
            v.cell[i * columns + h].new = 0.0
    for h in range(columns):
        at = 0
        for i in range(1, rows):
            if v.cell[i * columns + h].cost < v.cell[at * columns + h].cost:
                at = i
        v.cell[at * columns + h].new = v.line[h].demand
        v.line[at].excess += v.line[h].demand
    for a in range(rows):
        _arcs_of(v, a, rows, columns)
    for _ in range(50 * (rows + columns)):
        source, most = -1, 1e-12
        for i in range(rows):
            if v.line[i].excess > most:
                most, source = v.line[i].excess, i
        if source < 0:
            return True
        sink = _shortest(v, source, rows)
        if sink < 0:
            return True
        move = min(v.line[source].excess, -v.line[sink].excess)
        b = sink
        while b != source:
            a = v.line[b].before
            move = min(move, v.cell[a * columns + v.arc[a * rows + b].column].new)
            b = a
        far = v.line[sink].distance
        for i in range(rows):
            v.line[i].price += min(v.line[i].distance, far)
        for a in range(rows):
            for b in range(rows):
                if v.arc[a * rows + b].column >= 0:
                    v.arc[a * rows + b].length += min(v.line[a].distance, far) - min(v.line[b].distance, far)
        b = sink
        while b != source:
            a = v.line[b].before
            h = v.arc[a * rows + b].column
            v.cell[a * columns + h].new -= move
            v.cell[b * columns + h].new += move
            if v.cell[a * columns + h].new <= _TINY:
                v.cell[b * columns + h].new += v.cell[a * columns + h].new
                v.cell[a * columns + h].new = 0.0
            b = a
        v.line[source].excess -= move
        v.line[sink].excess += move
        b = sink
        while True:
            _arcs_of(v, b, rows, columns)
            if b == source:
                break
            b = v.line[b].before
    return False


@lean_kernel
def assign(v: Solver, rows: int, columns: int) -> None:
    """The cheapest assignment of every row to a column of `cost` (columns >= rows), into `order` of the lines.

    Shortest augmenting paths with dual prices (Jonker and Volgenant 1987).
    """
    # `before` of a column: its row, 0 for none. `column` of an arc: the column before it on the path. Both count from 1 here.
    line, arc = v.line, v.arc
    for i in range(rows + 1):
        line[i].excess = 0.0
    for j in range(columns + 1):
        line[j].before, line[j].price = 0, 0.0
    for i in range(1, rows + 1):
        line[0].before = i
        for j in range(columns + 1):
            line[j].distance, line[j].done = math.inf, 0
        at = 0
        while True:
            line[at].done = 1
            row, step, following = line[at].before, math.inf, 0
            for j in range(1, columns + 1):
                if not line[j].done:
                    c = v.cell[(row - 1) * columns + j - 1].cost - line[row].excess - line[j].price
                    if c < line[j].distance:
                        line[j].distance, arc[j].column = c, at
                    if line[j].distance < step:
                        step, following = line[j].distance, j
            for j in range(columns + 1):
                if line[j].done:
                    line[line[j].before].excess += step
                    line[j].price -= step
                else:
                    line[j].distance -= step
            at = following
            if line[at].before == 0:
                break
        while at:
            line[at].before = line[arc[at].column].before
            at = arc[at].column
    for j in range(1, columns + 1):
        if line[j].before:
            v.line[line[j].before - 1].order = j - 1
