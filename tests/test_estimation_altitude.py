"""Altitude against filterpy and the normal density of scipy; what is never mixed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from apss_fusion.estimation.altitude import (
    ALTITUDE,
    CLIMB_SIGMA_MPS,
    FRESH_S,
    Q_CLIMB,
    altitude_loglik_ratio,
    predict_altitude,
    update_altitude,
)
from apss_fusion.kernels import Row
from apss_fusion.tracking.rows import DETECTION

SEEDS = st.integers(0, 2**32 - 1)
HAE, BARO = 1, 3
T = 1.7e9


def known(rng: np.random.Generator) -> Row:
    row = np.zeros(1, ALTITUDE)[0]
    sigma = 10.0 ** rng.uniform(0, 2), 10.0 ** rng.uniform(-1, 1)
    row["h"], row["w"], row["t"] = rng.uniform(0, 12_000), rng.normal(0, 10), T
    row["hh"], row["hw"], row["ww"] = sigma[0] ** 2, rng.uniform(-0.9, 0.9) * sigma[0] * sigma[1], sigma[1] ** 2
    return row


def seen(alt: float = math.nan, sigma: float = 15.0, climb: float = math.nan, datum: int = HAE) -> Row:
    z = np.zeros(1, DETECTION)[0]
    z["alt"], z["alt_var"], z["climb"], z["climb_var"], z["datum"] = alt, sigma**2, climb, 1.0, datum
    return z


def filter_of(row: np.void) -> KalmanFilter:
    kf = KalmanFilter(dim_x=2, dim_z=1)
    kf.x = np.array([row["h"], row["w"]])
    kf.P = np.array([[row["hh"], row["hw"]], [row["hw"], row["ww"]]])
    return kf


def step(kf: KalmanFilter, dt: float) -> None:
    u = abs(dt)
    kf.F = np.array([[1.0, dt], [0.0, 1.0]])
    kf.Q = Q_CLIMB * np.array([[u**3 / 3.0, dt * u / 2.0], [dt * u / 2.0, u]])
    kf.predict()


def assert_same(row: np.void, kf: KalmanFilter) -> None:
    """Within 1e-9 of the sigmas before an update (of `P_prior`)."""
    sigma = np.sqrt(np.diag(kf.P_prior))
    assert np.abs((np.array([row["h"], row["w"]]) - kf.x) / sigma).max() < 1e-9
    p = np.array([[row["hh"], row["hw"]], [row["hw"], row["ww"]]])
    assert np.abs((p - kf.P) / np.outer(sigma, sigma)).max() < 1e-9


@given(SEEDS, st.integers(-300, 300))
def test_predict_is_that_of_filterpy(seed: int, dt: int) -> None:
    row = known(np.random.default_rng(seed))
    kf = filter_of(row)
    predict_altitude(row, T + dt, row)
    step(kf, dt)
    assert_same(row, kf)
    assert row["t"] == T + dt


@given(SEEDS, st.integers(0, 500), st.booleans(), st.booleans())
def test_update_is_that_of_filterpy(seed: int, dt: int, has_height: bool, has_climb: bool) -> None:
    rng = np.random.default_rng(seed)
    row = known(rng)
    kf = filter_of(row)
    z = seen(
        row["h"] + rng.normal(0, 50) if has_height else math.nan,
        10.0 ** rng.uniform(0, 2),
        row["w"] + rng.normal(0, 3) if has_climb else math.nan,
    )
    assert update_altitude(row, HAE, T + dt, z) == HAE
    step(kf, dt)
    if has_height:
        kf.update(np.array([z["alt"]]), R=np.array([[z["alt_var"]]]), H=np.array([[1.0, 0.0]]))
    if has_climb:
        kf.update(np.array([z["climb"]]), R=np.array([[z["climb_var"]]]), H=np.array([[0.0, 1.0]]))
    assert_same(row, kf)


@given(SEEDS, st.floats(5.0, 30_000.0), st.integers(-300, 300))
def test_loglik_ratio_is_that_of_scipy(seed: int, span_m: float, dt: int) -> None:
    row = known(np.random.default_rng(seed))
    z = seen(row["h"] + 37.0)
    kf = filter_of(row)
    step(kf, dt)
    want = norm.logpdf(z["alt"], kf.x[0], math.sqrt(kf.P[0, 0] + z["alt_var"])) - math.log(1.0 / span_m)
    assert altitude_loglik_ratio(row, HAE, T + dt, z, span_m) == pytest.approx(want, rel=1e-9, abs=1e-9)


def test_what_is_unknown_or_of_another_datum_says_nothing() -> None:
    row = known(np.random.default_rng(1))
    assert altitude_loglik_ratio(row, HAE, T, seen(), 1e4) == 0.0
    assert altitude_loglik_ratio(row, HAE, T, seen(0.0, datum=BARO), 1e4) == 0.0
    assert altitude_loglik_ratio(np.zeros(1, ALTITUDE)[0], HAE, T, seen(100.0), 1e4) == 0.0


def test_the_first_height_is_taken_as_it_is() -> None:
    row = np.zeros(1, ALTITUDE)[0]
    assert update_altitude(row, 0, T, seen(1000.0, 20.0, datum=BARO)) == BARO
    assert [row[k] for k in ("h", "w", "hh", "hw", "ww", "t")] == [1000.0, 0.0, 400.0, 0.0, CLIMB_SIGMA_MPS**2, T]
    row = np.zeros(1, ALTITUDE)[0]
    update_altitude(row, 0, T, seen(1000.0, 20.0, climb=-7.0))
    assert (row["w"], row["ww"]) == (-7.0, 1.0)


def test_a_climb_alone_founds_no_altitude() -> None:
    row = np.zeros(1, ALTITUDE)[0]
    assert update_altitude(row, 0, T, seen(climb=5.0)) == 0
    assert row.tobytes() == bytes(ALTITUDE.itemsize)


@pytest.mark.parametrize(("datum", "dt"), [(BARO, 10.0), (HAE, FRESH_S + 1.0)])
def test_another_datum_or_an_old_height_is_replaced(datum: int, dt: float) -> None:
    """Pressure height and height above the ellipsoid differ by hundreds of metres: a mean of them is neither."""
    row = known(np.random.default_rng(2))
    assert update_altitude(row, HAE, T + dt, seen(5.0, 2.0, datum=datum)) == datum
    assert (row["h"], row["hh"], row["t"]) == (5.0, 4.0, T + dt)
