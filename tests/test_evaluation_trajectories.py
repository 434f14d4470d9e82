"""OSPA(2) and trajectory GOSPA against their definitions, searched exhaustively or solved in full, and cases by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from apss_fusion.evaluation import gospa, ospa, ospa2, t_gospa
from apss_fusion.evaluation.trajectories import encounters
from apss_fusion.evaluation.trajectory_gospa import weights_of

TIMES = 4
NAN = math.nan
# Small integers make ties and coincident points common.
place = st.one_of(st.none(), st.tuples(st.integers(-4, 4), st.integers(-4, 4)))


def rows(drawn: list[list[tuple[int, int] | None]]) -> np.ndarray:
    return np.array([[p or (NAN, NAN) for p in row] for row in drawn], float).reshape(-1, TIMES, 2)


worlds = st.lists(st.lists(place, min_size=TIMES, max_size=TIMES), max_size=3).map(rows)
cutoffs = st.floats(0.5, 8.0)
orders = st.sampled_from([1.0, 2.0, 3.5])
gammas = st.floats(0.1, 10.0)


def here(point: np.ndarray) -> bool:
    return not np.isnan(point).any()


# --- OSPA(2) ---


def base_distance(x: np.ndarray, y: np.ndarray, c: float, q: float) -> float:
    """Of two trajectories: the mean over the times when either exists."""
    costs = []
    for a, b in zip(x, y, strict=True):
        if here(a) and here(b):
            costs.append(min(c, math.dist(a, b)) ** q)
        elif here(a) or here(b):
            costs.append(c**q)
    return float(np.mean(costs) ** (1 / q))


def brute_ospa2(x: np.ndarray, y: np.ndarray, c: float, p: float, q: float) -> float:
    x, y = (np.array([t for t in z if any(map(here, t))]) for z in (x, y))
    small, large = (x, y) if len(x) <= len(y) else (y, x)
    if not len(large):
        return 0.0
    if not len(small):
        return c
    best = min(
        sum(base_distance(small[i], large[j], c, q) ** p for i, j in enumerate(chosen))
        for chosen in itertools.permutations(range(len(large)), len(small))
    )
    return float(((best + c**p * (len(large) - len(small))) / len(large)) ** (1 / p))


@given(worlds, worlds, cutoffs, orders, orders, st.integers(1, 5))
def test_ospa2_is_its_definition(x: np.ndarray, y: np.ndarray, c: float, p: float, q: float, window: int) -> None:
    values = ospa2(x, y, c, p, q, window)
    for k in range(len(values)):
        part = slice(max(0, k + 1 - window), k + 1)
        assert values[k] == pytest.approx(brute_ospa2(x[:, part], y[:, part], c, p, q), abs=1e-9)
    assert len(values) == TIMES


@given(worlds, worlds, cutoffs, orders)
def test_ospa2_of_one_time_is_ospa(x: np.ndarray, y: np.ndarray, c: float, p: float) -> None:
    for k, value in enumerate(ospa2(x, y, c, p, 2.0, window=1)):
        a, b = ([t[k] for t in z if here(t[k])] for z in (x, y))
        assert value == pytest.approx(ospa(a, b, c, p), abs=1e-9)


@given(worlds, worlds, worlds, cutoffs, orders, orders)
def test_ospa2_is_a_metric(x: np.ndarray, y: np.ndarray, z: np.ndarray, c: float, p: float, q: float) -> None:
    def last(a: np.ndarray, b: np.ndarray) -> float:
        return float(ospa2(a, b, c, p, q)[-1])

    assert last(x, x) == 0.0
    assert last(x, y) == pytest.approx(last(y, x))
    assert 0.0 <= last(x, y) <= c * (1 + 1e-12)
    assert last(x, z) <= last(x, y) + last(y, z) + 1e-9


def test_ospa2_of_a_track_that_breaks() -> None:
    """Ten times in place, by one track or by two of five times: the better half is paired, the other counts full."""
    truth = np.zeros((1, 10, 2))
    first, second = truth.copy(), truth.copy()
    first[:, 5:], second[:, :5] = NAN, NAN
    assert ospa2(truth, truth, 100.0)[-1] == 0.0
    assert ospa2(truth, np.concatenate([first, second]), 100.0)[-1] == pytest.approx((50.0 + 100.0) / 2)
    # A window of five times sees one track at the end, two in between.
    windows = ospa2(truth, np.concatenate([first, second]), 100.0, window=5)
    assert windows[[4, 9]].tolist() == [0.0, 0.0]
    assert windows[6] == pytest.approx((100 * 2 / 5 + 100) / 2)


# --- Trajectory GOSPA ---


def assignments(n: int, m: int) -> Iterator[tuple[int, ...]]:
    """To each of n objects an estimate, or m for none; no estimate twice."""
    for chosen in itertools.product(range(m + 1), repeat=n):
        real = [j for j in chosen if j < m]
        if len(set(real)) == len(real):
            yield chosen


def searched(x: np.ndarray, y: np.ndarray, c: float, p: float, gamma: float) -> float:
    """The least cost over all sequences of whole assignments, to the power p."""
    n, m = len(x), len(y)

    def at_a_time(chosen: tuple[int, ...], k: int) -> float:
        cost = 0.0
        for i, j in enumerate(chosen):
            a, b = here(x[i, k]), j < m and here(y[j, k])
            cost += min(c, math.dist(x[i, k], y[j, k])) ** p if a and b else (a + b) * c**p / 2
        return cost + sum(here(y[j, k]) for j in range(m) if j not in chosen) * c**p / 2

    def change(before: tuple[int, ...], after: tuple[int, ...]) -> float:
        ends = sum((a != b) * ((a < m) + (b < m)) for a, b in zip(before, after, strict=True))
        return ends * gamma**p / 2

    best = {chosen: at_a_time(chosen, 0) for chosen in assignments(n, m)}
    for k in range(1, x.shape[1]):
        best = {
            after: at_a_time(after, k) + min(cost + change(before, after) for before, cost in best.items())
            for after in assignments(n, m)
        }
    return min(best.values())


def solved_in_full(x: np.ndarray, y: np.ndarray, c: float, p: float, gamma: float) -> float:
    """The linear programme of the paper with all its weights W (n + 1, m + 1) a time, to the power p."""
    (n, times), m = x.shape[:2], len(y)
    index = np.arange(times * (n + 1) * (m + 1)).reshape(times, n + 1, m + 1)
    steps = index.size + np.arange((times - 1) * n * m).reshape(times - 1, n, m)
    size = index.size + steps.size
    cost = np.zeros(size)
    for k, i, j in np.ndindex(times, n + 1, m + 1):
        a, b = i < n and here(x[i, k]), j < m and here(y[j, k])
        cost[index[k, i, j]] = min(c, math.dist(x[i, k], y[j, k])) ** p if a and b else (a + b) * c**p / 2
    cost[index.size :] = gamma**p / 2
    equal, upper = [], []
    for k in range(times):
        for columns in [*index[k, :n], *index[k, :, :m].T]:
            equal.append(np.bincount(columns, minlength=size))
    for k, i, j in np.ndindex(times - 1, n, m):
        for sign in (1.0, -1.0):
            line = np.zeros(size)
            line[[index[k, i, j], index[k + 1, i, j], steps[k, i, j]]] = sign, -sign, -1.0
            upper.append(line)
    found = linprog(
        cost, np.array(upper) if upper else None, np.zeros(len(upper)) if upper else None, equal, np.ones(len(equal))
    )
    return float(found.fun)


def power(x: np.ndarray, y: np.ndarray, c: float, p: float, gamma: float) -> float:
    return t_gospa(x, y, c, p, gamma).total ** p


@settings(max_examples=60)
@given(worlds.filter(len), worlds.filter(len), cutoffs, orders, gammas)
def test_t_gospa_is_the_programme_of_the_paper(x: np.ndarray, y: np.ndarray, c: float, p: float, gamma: float) -> None:
    expected = solved_in_full(x, y, c, p, gamma)
    assert power(x, y, c, p, gamma) == pytest.approx(expected, rel=1e-6, abs=1e-6 * c**p)


@settings(max_examples=60)
@given(worlds, worlds, cutoffs, orders, gammas)
def test_t_gospa_is_at_most_the_best_whole_assignment(
    x: np.ndarray, y: np.ndarray, c: float, p: float, gamma: float
) -> None:
    assert power(x, y, c, p, gamma) <= searched(x, y, c, p, gamma) * (1 + 1e-7) + 1e-7 * c**p


def walks(seed: int, n: int, m: int, times: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects on straight ways that cross, and tracks of them: some break, some change over, some are false."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 20, (n, 1, 2)) + rng.normal(size=(n, 1, 2)) * np.arange(times)[:, None]
    y = np.concatenate([x, rng.uniform(0, 20, (max(0, m - n), times, 2))])[:m]
    y = y + rng.normal(scale=1.0, size=y.shape)
    half = times // 2
    if m > 1:
        y[:2, half:] = y[1::-1, half:].copy()
    y[rng.random(y.shape[:2]) < 0.15] = NAN
    return x, y


def test_t_gospa_is_mostly_the_best_whole_assignment() -> None:
    """As in the paper: the relaxation is tight in nearly all cases, and never above."""
    tight = 0
    for seed in range(60):
        x, y = walks(seed, 3, 3, 6)
        value, best = power(x, y, 5.0, 2.0, 2.0), searched(x, y, 5.0, 2.0, 2.0)
        assert value <= best * (1 + 1e-7)
        tight += value == pytest.approx(best, rel=1e-6)
    assert tight >= 55


@pytest.mark.parametrize("seed", range(5))
def test_groups_apart_and_times_alone_change_nothing(seed: int) -> None:
    """Several groups far from each other, and times when nobody meets: the parts add up to the whole."""
    one, two = walks(seed, 4, 5, 9), walks(seed + 50, 3, 3, 9)
    x, y = (np.concatenate([a, b + 1e4]) for a, b in zip(one, two, strict=True))
    y[:, 4] += 500.0
    one[1][:, 4] += 500.0
    two[1][:, 4] += 500.0
    whole = np.array(t_gospa(x, y, 5.0, 2.0, 3.0)) ** 2
    parts = [np.array(t_gospa(a, b, 5.0, 2.0, 3.0)) ** 2 for a, b in (one, two)]
    np.testing.assert_allclose(whole[0], parts[0][0] + parts[1][0], rtol=1e-7)
    assert whole[0] == pytest.approx(solved_in_full(x, y, 5.0, 2.0, 3.0), rel=1e-6)


@settings(max_examples=60)
@given(worlds, worlds, worlds, cutoffs, orders, gammas)
def test_t_gospa_is_a_metric(x: np.ndarray, y: np.ndarray, z: np.ndarray, c: float, p: float, gamma: float) -> None:
    def total(a: np.ndarray, b: np.ndarray) -> float:
        return t_gospa(a, b, c, p, gamma).total

    slack = 1e-4 * c
    assert total(x, x) == pytest.approx(0.0, abs=slack)
    there, back = t_gospa(x, y, c, p, gamma), t_gospa(y, x, c, p, gamma)
    assert there.total == pytest.approx(back.total, rel=1e-6, abs=slack)
    assert total(x, z) <= there.total + total(y, z) + slack


@settings(max_examples=60)
@given(worlds, worlds, cutoffs, orders, gammas)
def test_the_parts_of_t_gospa_add_up_and_are_at_least_those_of_gospa(
    x: np.ndarray, y: np.ndarray, c: float, p: float, gamma: float
) -> None:
    value = t_gospa(x, y, c, p, gamma)
    assert min(value) >= 0.0
    parts = np.array(value[1:]) ** p
    assert value.total**p == pytest.approx(parts.sum())
    a_time = [gospa(*([t[k] for t in z if here(t[k])] for z in (x, y)), c, p) for k in range(TIMES)]
    assert value.total**p >= sum(g.total**p for g in a_time) * (1 - 1e-7) - 1e-7 * c**p
    # Missed less false is what more objects there are than estimates, however they are assigned.
    more = sum(g.missed**p - g.false**p for g in a_time)
    assert value.missed**p - value.false**p == pytest.approx(more, abs=1e-6 * c**p)
    # A switch that costs next to nothing leaves GOSPA at each time.
    free = t_gospa(x, y, c, p, 1e-6 * c).total ** p
    assert free == pytest.approx(sum(g.total**p for g in a_time), rel=1e-4, abs=1e-4 * c**p)


def test_t_gospa_by_hand() -> None:
    """One object for ten times, tracked half the time each by two tracks: one switch and the offsets."""
    truth = np.zeros((1, 10, 2))
    first, second = truth + np.array([3.0, 4.0]), truth + np.array([0.0, 1.0])
    first[:, 5:], second[:, :5] = NAN, NAN
    both = np.concatenate([first, second])
    value = t_gospa(truth, both, 10.0, 1.0, 4.0)
    assert value == pytest.approx((5 * 5 + 5 * 1 + 4, 30, 0, 0, 4))
    # Where a switch is dearer than to lose the object for a while, it is not made: half of ten times each.
    dear = t_gospa(truth, both, 10.0, 1.0, 1000.0)
    assert dear == pytest.approx((5 * 1 + 5 * 5 + 5 * 5, 5, 25, 25, 0))
    # Two tracks that change objects half way: both switch.
    two = np.concatenate([truth, truth + 100.0])
    crossed = two.copy()
    crossed[:, 5:] = two[::-1, 5:]
    assert t_gospa(two, crossed, 10.0, 1.0, 4.0) == pytest.approx((8, 0, 0, 0, 8))
    assert t_gospa(two, crossed, 10.0, 2.0, 4.0).switch == pytest.approx(math.sqrt(2 * 16))


@given(worlds, cutoffs, orders, gammas)
def test_nothing_against_something(x: np.ndarray, c: float, p: float, gamma: float) -> None:
    number = int((~np.isnan(x[:, :, 0])).sum())
    all_missed, all_false = t_gospa(x, [], c, p, gamma), t_gospa([], x, c, p, gamma)
    expected = c * (number / 2) ** (1 / p)
    assert all_missed == pytest.approx((expected, 0, expected, 0, 0))
    assert all_false == pytest.approx((expected, 0, 0, expected, 0))
    assert all(value in (0.0, c) for value in ospa2(x, [], c).tolist())


def test_both_empty() -> None:
    assert t_gospa([], [], 5.0) == (0, 0, 0, 0, 0)
    assert ospa2([], [], 5.0).tolist() == []
    assert ospa2(np.empty((0, 3, 2)), np.empty((0, 3, 2)), 5.0).tolist() == [0, 0, 0]
    one = np.array([[[1.0, 2.0]]])
    assert t_gospa(one, one + np.array([0.0, 1.0]), 5.0).localisation == pytest.approx(1.0)
    assert ospa2(one, one + np.array([0.0, 1.0]), 5.0) == pytest.approx([1.0])


def test_how_many_weights_there_are() -> None:
    """Only couples of groups count, at the times when anybody of the group meets."""
    truth, estimate = np.zeros((2, 6, 2)), np.zeros((2, 6, 2))
    truth[1] = estimate[1] = 1000.0
    assert weights_of(encounters(truth, estimate, 5.0)) == 0
    truth[1, :2] = 1.0
    assert weights_of(encounters(truth, estimate, 5.0)) == 3 * 6


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda x: t_gospa(x, x[:, :2], 5.0), "times"),
        (lambda x: t_gospa(x, x[..., :1], 5.0), "coordinates"),
        (lambda x: t_gospa(x[0], x, 5.0), "shape"),
        (lambda x: t_gospa(x, x, 0.0), "cut-off"),
        (lambda x: t_gospa(x, x, 5.0, 0.5), "order"),
        (lambda x: t_gospa(x, x, 5.0, 2.0, 0.0), "gamma"),
        (lambda x: t_gospa(x, x, 5.0, 2.0, NAN), "gamma"),
        (lambda x: ospa2(x, x, 5.0, 0.0), "order"),
        (lambda x: ospa2(x, x, 5.0, 1.0, NAN), "order"),
        (lambda x: ospa2(x, x, NAN), "cut-off"),
        (lambda x: ospa2(x, x, 5.0, window=0), "window"),
        (lambda x: ospa2(np.where(x == x[0, 0, 0], math.inf, x), x, 5.0), "finite"),
        (lambda x: ospa2(np.where(x == x[0, 0, 0], NAN, x), x, 5.0), "partly NaN"),
    ],
)
def test_refusals(bad: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bad(np.random.default_rng(0).normal(size=(2, 3, 2)))
