"""The variational projection against one written independently: covariances as matrices, plans by a linear programme."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog

from apss_fusion.association.projection import Projection, new_projection, project
from apss_fusion.estimation.history import EE, E, W


class Hypothesis(NamedTuple):
    owner: int
    detection: int
    p: float
    r: float
    x: NDArray[np.float64]
    P: NDArray[np.float64]
    name: int = 0


#: Places of a covariance in the order of a row.
UPPER = (np.array([0, 0, 1, 0, 0, 1, 1, 2, 2, 3]), np.array([0, 1, 1, 2, 3, 2, 3, 2, 3, 3]))


def filled(hypotheses: list[Hypothesis], rows: int) -> Projection:
    v = new_projection(True)
    columns = len(hypotheses)
    for k, h in enumerate(hypotheses):
        v.hypothesis[k, W], v.hypothesis[k, E : E + 4], v.hypothesis[k, EE : EE + 10] = h.r, h.x, h.P[UPPER]
        label = v.label[k]
        label["owner"], label["detection"], label["edge"] = h.owner, h.detection, k if h.detection >= 0 else -1
        label["cost"] = -np.log(h.p)
        if h.name:
            label["id1"], label["p1"] = h.name, 1.0
        v.solver.cell["q"][h.owner * columns + k] = h.p
    return v


def weights(v: Projection, rows: int, columns: int) -> NDArray[np.float64]:
    return v.solver.cell["q"][: rows * columns].reshape(rows, columns).copy()


def cluster(seed: int, rows: int, detections: int) -> list[Hypothesis]:
    rng = np.random.default_rng(seed)
    out = []
    for i in range(rows):
        p = rng.random(detections + 1) ** 3
        for j, share in enumerate(p / p.sum(), -1):
            root = rng.normal(size=(4, 4)) + 2.0 * np.eye(4)
            out.append(Hypothesis(i, j, share, rng.random() if j < 0 else 1.0, 2 * rng.normal(size=4), root @ root.T))
    return out


def moments(q: NDArray[np.float64], hs: list[Hypothesis]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    g = q * np.array([h.r for h in hs])
    r = g.sum()
    x = sum(w * h.x for w, h in zip(g, hs, strict=True)) / r
    P = sum(w * (h.P + np.outer(h.x - x, h.x - x)) for w, h in zip(g, hs, strict=True)) / r
    return float(r), x, P


def cross_entropy(h: Hypothesis, r: float, x: NDArray[np.float64], P: NDArray[np.float64]) -> float:
    r = min(max(r, 1e-9), 1 - 1e-9)
    inverse, d = np.linalg.inv(P), h.x - x
    density = 0.5 * (np.trace(inverse @ h.P) + d @ inverse @ d + np.linalg.slogdet(2 * np.pi * P)[1])
    return float(-(1 - h.r) * np.log(1 - r) - h.r * np.log(r) + h.r * density)


def reference(hs: list[Hypothesis], rows: int, rounds: int) -> NDArray[np.float64]:
    columns, detections = len(hs), 1 + max(h.detection for h in hs)
    q = np.zeros((rows, columns))
    cost, at = np.full((rows, detections + rows), 1e7), np.zeros((rows, detections + rows), int)
    for k, h in enumerate(hs):
        q[h.owner, k] = h.p
        j = detections + h.owner if h.detection < 0 else h.detection
        cost[h.owner, j], at[h.owner, j] = -np.log(h.p), k
    demand = q.sum(0)
    best = linear_sum_assignment(cost)[1]
    states = [(hs[at[i, best[i]]].r, hs[at[i, best[i]]].x, hs[at[i, best[i]]].P) for i in range(rows)]
    equal = np.vstack([np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))])[:-1]
    last = np.inf
    for turn in range(rounds):
        if turn:
            states = [moments(q[i], hs) for i in range(rows)]
        C = np.array([[cross_entropy(h, *s) for h in hs] for s in states])
        plan = linprog(C.ravel(), A_eq=equal, b_eq=np.r_[np.ones(rows), demand][:-1], method="highs")
        if last - plan.fun < 1e-4:
            break
        last, q = plan.fun, plan.x.reshape(rows, columns)
    return q


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 4))
def test_it_is_the_projection_of_an_independent_solver(seed: int, rows: int, detections: int) -> None:
    hs = cluster(seed, rows, detections)
    v = filled(hs, rows)
    project(v, rows, len(hs), 10)
    q = weights(v, rows, len(hs))
    np.testing.assert_allclose(q.sum(1), 1.0, atol=1e-9)
    np.testing.assert_allclose(q.sum(0), [h.p for h in hs], atol=1e-9)
    np.testing.assert_allclose(q, reference(hs, rows, 10), atol=1e-5)


def near(name_a: int, name_b: int) -> list[Hypothesis]:
    """Two tracks that have nearly met; the likelier story of each is that it took the place of the other."""
    P = np.diag([100.0, 100.0, 1.0, 1.0])
    west, east = np.array([-20.0, 0.0, 1.0, 0.0]), np.array([20.0, 0.0, -1.0, 0.0])
    return [
        Hypothesis(0, 0, 0.45, 1.0, west, P, name_a),
        Hypothesis(0, 1, 0.55, 1.0, east, P, name_a),
        Hypothesis(1, 0, 0.55, 1.0, west, P, name_b),
        Hypothesis(1, 1, 0.45, 1.0, east, P, name_b),
    ]


def test_states_without_names_part_whichever_track_they_are_of() -> None:
    hs = near(0, 0)
    v = filled(hs, 2)
    project(v, 2, 4, 10)
    q = weights(v, 2, 4)
    # Each place is one track's alone.
    np.testing.assert_allclose(np.sort(q @ [1.0, 0.0, 1.0, 0.0]), [0.0, 1.0], atol=1e-6)


def test_a_label_follows_the_evidence_of_its_identity() -> None:
    hs = near(111, 222)
    v = filled(hs, 2)
    project(v, 2, 4, 10)
    q = weights(v, 2, 4)
    # A track keeps the hypotheses that carry its name, although the states would part better otherwise.
    assert q[0, :2].sum() == pytest.approx(1.0, abs=1e-6)
    assert q[1, 2:].sum() == pytest.approx(1.0, abs=1e-6)
