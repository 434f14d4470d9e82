"""Histories of a track: prediction, merging and moments against matrices."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from apss_fusion.estimation import history as hy
from apss_fusion.estimation import noise_bank as nb
from apss_fusion.estimation.motion import STATE, predict, process_noise
from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.tracking.config import Config

#: Places of a covariance in the order of a row.
UPPER = (np.array([0, 0, 1, 0, 0, 1, 1, 2, 2, 3]), np.array([0, 1, 1, 2, 3, 2, 3, 2, 3, 3]))
EVEN = st.integers(0, 10**6)


def covariance(rng: np.random.Generator) -> NDArray[np.float64]:
    root = np.diag([50.0, 50.0, 2.0, 2.0]) @ (np.eye(4) + 0.3 * rng.normal(size=(4, 4)))
    return root @ root.T


def mixture(seed: int, n: int, factors: tuple[float, ...] = (1.0,)) -> NDArray[np.float64]:
    """Some histories, behind them room for as many results."""
    rng = np.random.default_rng(seed)
    c = np.zeros((2 * n + 2, hy.WIDTH))
    for k in range(n):
        c[k, hy.W], c[k, hy.FACTOR] = rng.random(), rng.choice(factors)
        c[k, hy.E : hy.E + 4] = rng.normal(size=4) * [100.0, 100.0, 3.0, 3.0]
        c[k, hy.EE :] = covariance(rng)[UPPER]
    c[:n, hy.W] /= c[:n, hy.W].sum()
    return c


def matrix(row: NDArray[np.float64]) -> NDArray[np.float64]:
    P = np.zeros((4, 4))
    P[UPPER] = P[UPPER[::-1]] = row[hy.EE :]
    return P


def moments(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    w = rows[:, hy.W] / rows[:, hy.W].sum()
    x = w @ rows[:, hy.E : hy.E + 4]
    P = sum(
        g * (matrix(row) + np.outer(row[hy.E : hy.E + 4] - x, row[hy.E : hy.E + 4] - x))
        for g, row in zip(w, rows, strict=True)
    )
    return x, np.asarray(P)


@settings(max_examples=60)
@given(EVEN, st.integers(1, 8), st.integers(1, 4), st.sampled_from([0.0, 1.0, 9.0, 1e9]))
def test_merging_keeps_the_mean_and_the_covariance_of_the_whole(seed: int, n: int, most: int, near: float) -> None:
    c = mixture(seed, n)
    x, P = moments(c[:n])
    made = hy.reduce_histories(c, n, most, near, np.zeros(len(c), np.int64))
    assert 1 <= made <= min(n, most)
    y, Q = moments(c[n : n + made])
    np.testing.assert_allclose(c[n : n + made, hy.W].sum(), 1.0, atol=1e-12)
    np.testing.assert_allclose(y, x, atol=1e-9)
    np.testing.assert_allclose(Q, P, rtol=1e-9, atol=1e-9)


@settings(max_examples=30)
@given(EVEN, st.integers(2, 8))
def test_histories_of_other_factors_are_not_merged_while_there_is_room(seed: int, n: int) -> None:
    c = mixture(seed, n, (1.0, 100.0))
    factors = set(c[:n, hy.FACTOR].tolist())
    made = hy.reduce_histories(c, n, 4, 1e9, np.zeros(len(c), np.int64))
    assert sorted(c[n : n + made, hy.FACTOR].tolist()) == sorted(factors)
    for factor in factors:
        was = c[:n][c[:n, hy.FACTOR] == factor, hy.W].sum()
        now = c[n : n + made][c[n : n + made, hy.FACTOR] == factor, hy.W].sum()
        np.testing.assert_allclose(now, was, atol=1e-12)


@settings(max_examples=40)
@given(EVEN)
def test_the_distance_is_that_of_mahalanobis(seed: int) -> None:
    c = mixture(seed, 2)
    d = c[1, hy.E : hy.E + 4] - c[0, hy.E : hy.E + 4]
    np.testing.assert_allclose(hy.distance_sq(c, 0, 1), d @ np.linalg.inv(matrix(c[0])) @ d, rtol=1e-8)


def state(seed: int, lat: float) -> NDArray[np.void]:
    rng = np.random.default_rng(seed)
    s = np.zeros(2, STATE)
    s["x"][0], s["y"][0], s["z"][0] = nvectors(np.array([lat]), np.array([20.0]))[0]
    s["a"], s["b"], s["t"] = 4.0, -3.0, 100.0
    P = covariance(rng)
    for name, i, j in zip("ee en nn ea eb na nb aa ab bb".split(), *UPPER, strict=True):
        s[name] = P[i, j]
    return s


@settings(max_examples=40)
@given(EVEN, st.floats(-1000.0, 3000.0), st.integers(1, 3))
def test_each_history_is_predicted_by_its_own_process_noise(seed: int, gap_s: float, n: int) -> None:
    params = Config.of({"domain": {"SEA": {"q": 0.02, "return_s": 900.0}}}).params()
    d, factors = params.domain[0], np.array([1.0, 100.0])
    c, s = mixture(seed, n, (1.0, 100.0)), state(seed, 50.0)
    h, into = np.zeros(hy.row_width(3)), np.zeros(hy.row_width(3))
    h[hy.COUNT], h[hy.SOURCES] = n, 7
    h[hy.FIRST : hy.FIRST + n * hy.WIDTH] = c[:n].ravel()
    predict(s[0], 100.0 + gap_s, d["q"], d["g"], False, s[1])
    nb.predict_history(h, s[0], s[1], d, factors, 0.0, into, np.zeros(1, STATE)[0])
    F = np.eye(4)
    F[0, 2] = F[1, 3] = gap_s
    assert into[hy.SOURCES] == 7
    for k in range(n):
        row = into[hy.FIRST + k * hy.WIDTH : hy.FIRST + (k + 1) * hy.WIDTH]
        qxx, qxv, qvv = process_noise(d["q"] * c[k, hy.FACTOR], d["g"], gap_s)
        qxv = np.copysign(qxv, gap_s) if gap_s else 0.0
        Q = np.kron(np.array([[qxx, qxv], [qxv, qvv]]), np.eye(2))
        np.testing.assert_allclose(row[hy.E : hy.E + 4], F @ c[k, hy.E : hy.E + 4], atol=1e-7)
        np.testing.assert_allclose(matrix(row), F @ matrix(c[k]) @ F.T + Q, rtol=1e-9, atol=1e-7)


def test_every_factor_of_the_bank_keeps_its_least_weight() -> None:
    d, factors = Config.of().params().domain[0], np.array([1.0, 30.0, 0.01])
    s = state(1, 50.0)
    h, into = np.zeros(hy.row_width(3)), np.zeros(hy.row_width(3))
    predict(s[0], 160.0, d["q"], d["g"], False, s[1])
    nb.predict_history(h, s[0], s[1], d, factors, 0.05, into, np.zeros(1, STATE)[0])
    rows = into[hy.FIRST :].reshape(3, hy.WIDTH)
    assert into[hy.COUNT] == 3
    assert set(rows[:, hy.FACTOR].tolist()) == set(factors.tolist())
    np.testing.assert_allclose(rows[:, hy.W].sum(), 1.0, atol=1e-12)
    assert rows[:, hy.W].min() > 0.04
    # The factor of the whole is the mean of these.
    np.testing.assert_allclose(nb.mean_factor(h, factors, 0.05), (1.0 + 0.05 * 30.01) / 1.1, rtol=1e-12)


@settings(max_examples=60)
@given(EVEN, st.integers(1, 5))
def test_no_factor_is_lost_however_the_places_are_taken(seed: int, n: int) -> None:
    d, factors, least = Config.of().params().domain[0], np.array([1.0, 50.0, 0.1, 0.01]), 0.02
    s = state(seed, 50.0)
    h, into = np.zeros(hy.row_width(5)), np.zeros(hy.row_width(5))
    rng = np.random.default_rng(seed)
    c = mixture(seed, n, tuple(rng.choice(factors, rng.integers(1, 5)).tolist()))
    h[hy.COUNT], h[hy.FIRST : hy.FIRST + n * hy.WIDTH] = n, c[:n].ravel()
    predict(s[0], 160.0, d["q"], d["g"], False, s[1])
    nb.predict_history(h, s[0], s[1], d, factors, least, into, np.zeros(1, STATE)[0])
    rows = into[hy.FIRST :].reshape(5, hy.WIDTH)[: int(into[hy.COUNT])]
    np.testing.assert_allclose(rows[:, hy.W].sum(), 1.0, atol=1e-12)
    for factor in factors:
        assert rows[rows[:, hy.FACTOR] == factor, hy.W].sum() >= least / (1.0 + len(factors) * least) - 1e-12
    np.testing.assert_allclose(nb.mean_factor(h, factors, least), (rows[:, hy.W] * rows[:, hy.FACTOR]).sum(), rtol=1e-9)


@settings(max_examples=40)
@given(EVEN)
def test_rounding_moves_a_history_by_a_small_part_of_its_sigma(seed: int) -> None:
    c = mixture(seed, 1)
    row = c[0].copy()
    hy.round_history(row, 0, np.zeros(1, STATE)[0])
    P, Q = matrix(c[0]), matrix(row)
    d = row[hy.E : hy.E + 4] - c[0, hy.E : hy.E + 4]
    assert d @ np.linalg.inv(P) @ d < 1e-3
    assert np.linalg.eigvalsh(Q).min() > 0.0
    np.testing.assert_allclose(Q, P, rtol=0.02, atol=0.02 * np.sqrt(np.outer(np.diag(P), np.diag(P))).max())
    again = row.copy()
    hy.round_history(again, 0, np.zeros(1, STATE)[0])
    np.testing.assert_allclose(again[hy.E : hy.E + 4], row[hy.E : hy.E + 4], rtol=0, atol=1e-9)
