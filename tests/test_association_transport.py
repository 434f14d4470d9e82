"""The transport and assignment solvers against SciPy's linear programme and assignment."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog

from apss_fusion.association.transport import MOST_COLUMNS, MOST_ROWS, assign, new_solver, transport


def problem(seed: int, rows: int, columns: int, ties: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(costs, marginals) as a cluster gives them: many pairs weigh nothing, some cost the same."""
    rng = np.random.default_rng(seed)
    cost = rng.gamma(1.0, 10.0, (rows, columns)) - 3.0
    if ties:
        cost = np.round(cost)
    p = rng.random((rows, columns)) * (rng.random((rows, columns)) < 0.5) + 1e-3 * np.eye(rows, columns)
    return cost, p / p.sum(1, keepdims=True)


def plan(cost: NDArray[np.float64], demand: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = cost.shape
    v = new_solver(rows, columns)
    v.cell["cost"][: cost.size], v.line["demand"][:columns] = cost.ravel(), demand
    assert transport(v, rows, columns)
    return v.cell["new"][: cost.size].reshape(rows, columns).copy()


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 20), st.booleans())
def test_the_plan_is_feasible_and_as_cheap_as_the_linear_programme_finds(
    seed: int, rows: int, more: int, ties: bool
) -> None:
    columns = rows + more
    cost, p = problem(seed, rows, columns, ties)
    demand = p.sum(0)
    q = plan(cost, demand)
    assert q.min() >= 0.0
    np.testing.assert_allclose(q.sum(1), 1.0, atol=1e-9)
    np.testing.assert_allclose(q.sum(0), demand, atol=1e-9)
    equal = np.vstack([np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))])[:-1]
    best = linprog(cost.ravel(), A_eq=equal, b_eq=np.r_[np.ones(rows), demand][:-1], method="highs")
    assert abs((q * cost).sum() - best.fun) < 1e-6


def test_the_largest_cluster() -> None:
    cost, p = problem(1, MOST_ROWS, MOST_COLUMNS, False)
    q = plan(cost, p.sum(0))
    np.testing.assert_allclose(q.sum(1), 1.0, atol=1e-9)


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 12), st.booleans())
def test_the_assignment_is_the_cheapest(seed: int, rows: int, more: int, ties: bool) -> None:
    cost, _ = problem(seed, rows, rows + more, ties)
    v = new_solver(rows, rows + more)
    v.cell["cost"][: cost.size] = cost.ravel()
    assign(v, rows, rows + more)
    chosen = v.line["order"][:rows]
    assert len(set(chosen.tolist())) == rows
    i, j = linear_sum_assignment(cost)
    assert abs(cost[np.arange(rows), chosen].sum() - cost[i, j].sum()) < 1e-9
