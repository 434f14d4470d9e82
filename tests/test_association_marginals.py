"""Clusters against a plain union-find, and marginals against the enumeration of all joint association events."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from apss_fusion.association.belief_propagation import marginals
from apss_fusion.association.clusters import clusters
from apss_fusion.association.scratch import Scratch, new_scratch

SEEDS = st.integers(0, 2**32 - 1)
Floats = NDArray[np.float64]


def scratch_of(weight: Floats, miss: Floats, new: Floats) -> Scratch:
    """Candidates and edges as a look leaves them; weight (n, m), 0 where there is no edge."""
    n, m = weight.shape
    scratch = new_scratch(n, n * m + 1, m, 1)
    e = 0
    for i in range(n):
        scratch.c[i]["edge"], scratch.c[i]["miss"] = e, miss[i]
        for j in np.flatnonzero(weight[i]):
            scratch.e[e]["detection"], scratch.e[e]["weight"], scratch.e[e]["p"] = j, weight[i, j], np.nan
            e += 1
    scratch.c[n]["edge"] = e
    scratch.d["new"][:m], scratch.d["p_new"][:m] = new, 1.0
    return scratch


def propagated(weight: Floats, miss: Floats, new: Floats, sweeps: int = 16) -> tuple[Floats, Floats]:
    """(p_ij, p_new_j) of the kernels."""
    n, m = weight.shape
    scratch = scratch_of(weight, miss, new)
    marginals(clusters(n, m, scratch), scratch, sweeps)
    p = np.zeros((n, m))
    for i in range(n):
        for e in range(scratch.c[i]["edge"], scratch.c[i + 1]["edge"]):
            p[i, scratch.e[e]["detection"]] = scratch.e[e]["p"]
    return p, scratch.d["p_new"][:m].copy()


def enumerated(weight: Floats, miss: Floats, new: Floats) -> tuple[Floats, Floats]:
    """The same by summing over all events: each track has at most one detection, each detection at most one track."""
    n, m = weight.shape
    p, p_new, total = np.zeros((n, m)), np.zeros(m), 0.0
    choices = [[-1, *np.flatnonzero(weight[i]).tolist()] for i in range(n)]
    for event in product(*choices):
        taken = [j for j in event if j >= 0]
        if len(set(taken)) < len(taken):
            continue
        free = [j for j in range(m) if j not in taken]
        value = float(np.prod([miss[i] if j < 0 else weight[i, j] for i, j in enumerate(event)]) * np.prod(new[free]))
        total += value
        p_new[free] += value
        for i, j in enumerate(event):
            if j >= 0:
                p[i, j] += value
    return p / total, p_new / total


def numbers(rng: np.random.Generator, n: int, m: int) -> tuple[Floats, Floats, Floats]:
    """Weights of plain looks: ratios from 1e-3 to 1e4, misses and new objects likely or not."""
    return 10.0 ** rng.uniform(-3, 4, (n, m)), rng.uniform(0.05, 1.0, n), 1.0 + 10.0 ** rng.uniform(-3, 2, m)


def tree(rng: np.random.Generator, n: int, m: int) -> NDArray[np.bool_]:
    """Edges of a random forest between n tracks and m detections."""
    edge = np.zeros((n, m), bool)
    root = list(range(n + m))

    def find(a: int) -> int:
        while root[a] != a:
            a = root[a]
        return a

    for k in rng.permutation(n * m):
        i, j = divmod(int(k), m)
        a, b = find(i), find(n + j)
        if a != b and rng.random() < 0.8:
            root[a] = b
            edge[i, j] = True
    return edge


@given(SEEDS, st.integers(1, 5), st.integers(1, 5))
def test_exact_on_trees(seed: int, n: int, m: int) -> None:
    """Belief propagation is exact where clusters have no loop (with a sweep for every step of the way across)."""
    rng = np.random.default_rng(seed)
    weight, miss, new = numbers(rng, n, m)
    weight = weight * tree(rng, n, m)
    p, p_new = propagated(weight, miss, new)
    want, want_new = enumerated(weight, miss, new)
    assert np.abs(p - want).max() <= 2.0**-20
    assert np.abs(p_new - want_new).max() <= 2.0**-20


@given(SEEDS, st.integers(1, 6))
def test_exact_for_one_track_and_for_one_detection(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    for shape in ((1, n), (n, 1)):
        weight, miss, new = numbers(rng, *shape)
        p, p_new = propagated(weight, miss, new, sweeps=1)
        want, want_new = enumerated(weight, miss, new)
        assert np.abs(p - want).max() <= 2.0**-20
        assert np.abs(p_new - want_new).max() <= 2.0**-20


@given(SEEDS, st.integers(2, 4), st.integers(2, 4))
def test_near_the_truth_where_there_are_loops(seed: int, n: int, m: int) -> None:
    """Loopy: known to be overconfident (Williams and Lau 2014), here by less than 0.25, and by 0.03 in the mean."""
    rng = np.random.default_rng(seed)
    weight, miss, new = numbers(rng, n, m)
    weight *= rng.random((n, m)) < 0.8
    p, p_new = propagated(weight, miss, new)
    want, want_new = enumerated(weight, miss, new)
    assert np.abs(p - want).max() < 0.25
    assert np.abs(p_new - want_new).max() < 0.25


def test_mean_error_where_there_are_loops() -> None:
    rng = np.random.default_rng(3)
    errors = []
    for _ in range(300):
        weight, miss, new = numbers(rng, 3, 3)
        p, _ = propagated(weight, miss, new)
        errors.append(np.abs(p - enumerated(weight, miss, new)[0]).mean())
    assert np.mean(errors) < 0.03


def test_two_tracks_and_two_detections_that_cannot_be_told_apart() -> None:
    """All four pairs alike and likely: each is an even chance, and nothing is new."""
    p, p_new = propagated(np.full((2, 2), 1e5), np.full(2, 0.1), np.ones(2))
    assert p == pytest.approx(np.full((2, 2), 0.5), abs=1e-3)
    assert (p_new < 0.05).all()


@given(SEEDS, st.integers(1, 8), st.integers(1, 8))
def test_probabilities_add_up(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    weight, miss, new = numbers(rng, n, m)
    weight *= rng.random((n, m)) < 0.5
    p, p_new = propagated(weight, miss, new)
    assert (p >= 0.0).all() and (p.sum(1) <= 1.0 + m * 2.0**-20).all()
    assert (p_new >= 0.0).all() and (p_new <= 1.0).all()
    assert (p[weight == 0.0] == 0.0).all()
    assert (p_new[(weight > 0.0).sum(0) == 0] == 1.0).all()


@given(SEEDS, st.integers(2, 6), st.integers(2, 6))
def test_the_order_of_tracks_and_detections_does_not_matter(seed: int, n: int, m: int) -> None:
    """Bit for bit: sums in another order differ in their last bits only, which are rounded away."""
    rng = np.random.default_rng(seed)
    weight, miss, new = numbers(rng, n, m)
    weight *= rng.random((n, m)) < 0.6
    p, p_new = propagated(weight, miss, new)
    rows, columns = rng.permutation(n), rng.permutation(m)
    q, q_new = propagated(weight[rows][:, columns], miss[rows], new[columns])
    assert (q == p[rows][:, columns]).all()
    assert (q_new == p_new[columns]).all()


@given(SEEDS, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_a_cluster_is_the_same_alone_and_among_others(seed: int, n: int, m: int, k: int, q: int) -> None:
    """Bit for bit: with a tolerance over all clusters in place of fixed sweeps, one would depend on the others."""
    rng = np.random.default_rng(seed)
    one, other = numbers(rng, n, m), numbers(rng, k, q)
    both = np.zeros((n + k, m + q))
    rows, columns = rng.permutation(n + k), rng.permutation(m + q)
    rows[:n], columns[:m] = np.sort(rows[:n]), np.sort(columns[:m])
    both[np.ix_(rows[:n], columns[:m])] = one[0]
    both[np.ix_(rows[n:], columns[m:])] = other[0]
    miss, new = np.zeros(n + k), np.zeros(m + q)
    miss[rows], new[columns] = np.concatenate([one[1], other[1]]), np.concatenate([one[2], other[2]])
    p, p_new = propagated(both, miss, new)
    alone, alone_new = propagated(*one)
    assert (p[np.ix_(rows[:n], columns[:m])] == alone).all()
    assert (p_new[columns[:m]] == alone_new).all()


@given(SEEDS, st.integers(0, 12), st.integers(0, 12), st.sampled_from([0.05, 0.15, 0.4]))
def test_clusters_are_the_connected_parts(seed: int, n: int, m: int, density: float) -> None:
    """In the order of their first track, each in the order of keys; tracks without an edge stand alone."""
    rng = np.random.default_rng(seed)
    edge = rng.random((n, m)) < density
    scratch = scratch_of(edge.astype(float), np.ones(n), np.ones(m))
    count = clusters(n, m, scratch)
    got = [scratch.c["order"][scratch.c[g]["start"] : scratch.c[g + 1]["start"]].tolist() for g in range(count)]
    group = list(range(n))
    for _ in range(n + 1):
        for j in range(m):
            members = np.flatnonzero(edge[:, j])
            if len(members):
                low = min(group[i] for i in members)
                for i in members:
                    group[i] = low
    want = [[i for i in range(n) if group[i] == g] for g in sorted(set(group))]
    assert got == want
