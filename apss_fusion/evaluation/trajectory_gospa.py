"""Trajectory GOSPA: how far a set of estimated trajectories is from the set of true ones, with what is wrong added up.

Garcia-Fernandez, Rahmathullah and Svensson 2020, "A metric on the space of finite sets of trajectories for evaluation of
multi-target tracking algorithms", IEEE Trans. Signal Processing 68. At each time an object is assigned to an estimate or
to none, and that costs what GOSPA (alpha = 2) says; a change of the assignment from one time to the next costs, to the
power p, half of gamma ** p for each assignment that ends or begins. The linear programming relaxation, in which weights
w between 0 and 1 assign, is a metric itself and is what is computed here:

    minimise    sum of g w  +  gamma^p / 2 * sum of |w at the next time - w|
    subject to  w >= 0 and, at each time, the sum of w over an object and over an estimate at most 1

where g = d^p - c^p for an encounter nearer than c, else 0, is what assigning saves against one missed and one false.
Groups of trajectories that never meet are problems apart, as in the paper's section on clustering. A pair that meets
nobody else is assigned for ever. Times when nobody of a group meets need no weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack, kron, vstack
from scipy.sparse.csgraph import connected_components

from apss_fusion.evaluation.assignment import check
from apss_fusion.evaluation.trajectories import Couples, Encounters, couples, encounters

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TOLERANCE = 1e-9
#: Weights nearer than that to 0 or 1 are that.
_INTEGRAL = 1e-7


class TrajectoryGospa(NamedTuple):
    """The metric and its parts, in the unit of the points: ``total^p`` is the sum of the parts to the power p."""

    total: float
    localisation: float
    missed: float
    false: float
    switch: float


def t_gospa(truth: ArrayLike, estimate: ArrayLike, c: float, p: float = 2.0, gamma: float = 1.0) -> TrajectoryGospa:
    """Trajectory GOSPA over all times, not divided by their number.

    Parameters
    ----------
    truth, estimate
        Trajectories (n, T, d) and (m, T, d); NaN where one does not exist.
    c
        Cut-off, in the unit of the points.
    p
        Order, at least 1.
    gamma
        Price of a switch from one estimate to another, in the unit of the points; half to the power p from or to none.

    Raises
    ------
    ValueError
        As :func:`apss_fusion.evaluation.trajectories.encounters`, and on parameters out of range.
    RuntimeError
        If the solver fails.
    """
    return t_gospa_of(encounters(truth, estimate, c), c, p, gamma)


def t_gospa_of(met: Encounters, c: float, p: float, gamma: float) -> TrajectoryGospa:
    """Trajectory GOSPA of encounters nearer than c."""
    check(c, p)
    if not 0.0 < gamma < np.inf:
        raise ValueError(f"gamma must be positive, not {gamma}")
    price = (gamma / c) ** p / 2.0
    pairs = couples(met)
    powers = met.share**p
    weight = np.ones(len(powers))
    changes = 0.0
    for rows in _groups(met, pairs):
        members, column = np.unique(pairs.of_encounter[rows], return_inverse=True)
        times, line = np.unique(met.time[rows], return_inverse=True)
        gains = np.zeros((len(times), len(members)))
        gains[line, column] = powers[rows] - 1.0
        w = _programme(gains, _sums(pairs.truth[members], pairs.estimate[members]), price)
        weight[rows] = w[line, column]
        changes += float(np.abs(np.diff(w, axis=0)).sum())
    assigned = float(weight.sum())
    missed = (np.count_nonzero(met.truth_present) - assigned) / 2.0
    false = (np.count_nonzero(met.estimate_present) - assigned) / 2.0
    parts = (float(weight @ powers), missed, false, price * changes)
    return TrajectoryGospa(*(float(c * max(value, 0.0) ** (1.0 / p)) for value in (sum(parts), *parts)))


def weights_of(met: Encounters) -> int:
    """How many weights the linear programmes of all groups have: what sets the time that :func:`t_gospa_of` takes."""
    pairs = couples(met)
    return sum(
        len(np.unique(pairs.of_encounter[rows])) * len(np.unique(met.time[rows])) for rows in _groups(met, pairs)
    )


def _groups(met: Encounters, pairs: Couples) -> list[IntArray]:
    """Rows of the encounters of each group of trajectories that meet, but for pairs that meet nobody else."""
    n, m = len(met.truth_present), len(met.estimate_present)
    links = csr_array((np.ones(len(pairs.truth)), (pairs.truth, n + pairs.estimate)), shape=(n + m, n + m))
    _, group = connected_components(links, directed=False)
    several = np.bincount(group[pairs.truth], minlength=1) > 1
    of_row = group[met.truth]
    rows = np.flatnonzero(several[of_row])
    rows = rows[np.argsort(of_row[rows], kind="stable")]
    return [part for part in np.split(rows, np.flatnonzero(np.diff(of_row[rows])) + 1) if len(part)]


def _sums(truth: IntArray, estimate: IntArray) -> csr_array:
    """A row of ones for each object and estimate with several pairs, at the pairs (P,) that it is part of."""
    lines = []
    for side in (truth, estimate):
        owners, owner = np.unique(side, return_inverse=True)
        line = csr_array((np.ones(len(side)), (owner, np.arange(len(side)))), shape=(len(owners), len(side)))
        lines.append(line[np.bincount(owner) > 1])
    return csr_array(vstack(lines))


def _programme(gains: FloatArray, sums: csr_array, price: float) -> FloatArray:
    """The best weights (T, P) for gains (T, P).

    The other columns of the programme are increases and decreases: w at the next time - w = increase - decrease.
    """
    times, pairs = gains.shape
    size, steps = times * pairs, (times - 1) * pairs
    cost = np.concatenate([gains.ravel(), np.full(2 * steps, price)])
    limits = hstack([kron(eye_array(times), sums), csr_array((times * sums.shape[0], 2 * steps))], format="csr")
    change = eye_array(steps, size, k=pairs) - eye_array(steps, size)
    changes = hstack([change, -eye_array(steps), eye_array(steps)], format="csr") if steps else None
    found = linprog(
        cost,
        A_ub=limits,
        b_ub=np.ones(limits.shape[0]),
        A_eq=changes,
        b_eq=np.zeros(steps) if steps else None,
        bounds=np.column_stack([np.zeros(len(cost)), np.ones(len(cost))]),
        method="highs",
        options={"primal_feasibility_tolerance": _TOLERANCE, "dual_feasibility_tolerance": _TOLERANCE},
    )
    if found.status != 0:
        raise RuntimeError(f"T-GOSPA: the linear programme was not solved: {found.message}")
    w = found.x[:size].reshape(times, pairs)
    whole = np.round(w)
    return np.where(np.abs(w - whole) < _INTEGRAL, whole, w)
