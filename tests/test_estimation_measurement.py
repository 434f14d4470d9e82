"""Measurement updates against filterpy and against the joint Gaussian density of scipy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from engine_tools import assert_same_covariance, covariance, covariance_of, set_covariance
from filterpy.kalman import KalmanFilter  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from apss_fusion.estimation.measurement import (
    MIN_POSITION_VAR,
    MIN_VELOCITY_VAR,
    POSTERIOR,
    gate_distance,
    update,
)
from apss_fusion.estimation.motion import STATE
from apss_fusion.kernels import Row
from apss_fusion.tracking.rows import DETECTION

SEEDS = st.integers(0, 2**32 - 1)


def prediction(rng: np.random.Generator) -> Row:
    row = np.zeros(1, STATE)[0]
    row["x"], row["a"], row["b"] = 1.0, *rng.normal(0.0, 10.0, 2)
    set_covariance(row, covariance(rng))
    return row


def detection(rng: np.random.Generator, dt: float = 0.0, velocity: bool = False, rate: bool = False) -> Row:
    """A detection row whose R is not far below any P of `covariance` (a millionth of its variance at most)."""
    z = np.zeros(1, DETECTION)[0]
    for name in ("va", "vb", "vaa", "vab", "vbb", "rate", "rate_var", "alt", "climb", "length_m", "width_m"):
        z[name] = np.nan
    z["dt"] = dt
    z["ree"], z["ren"], z["rnn"] = plane_covariance(rng, 10.0 ** rng.uniform(1, 4))
    if velocity:
        z["va"], z["vb"] = rng.normal(0.0, 10.0, 2)
        z["vaa"], z["vab"], z["vbb"] = plane_covariance(rng, 10.0 ** rng.uniform(-1.5, 1))
    if rate:
        azimuth, elevation = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(-1.2, 0.0)
        z["le"], z["ln"] = math.cos(elevation) * math.sin(azimuth), math.cos(elevation) * math.cos(azimuth)
        z["rate"], z["rate_var"] = rng.normal(0.0, 10.0), 10.0 ** rng.uniform(-2, 1)
    return z


def plane_covariance(rng: np.random.Generator, sigma: float) -> tuple[float, float, float]:
    a, b = sigma * rng.uniform(0.2, 1.0, 2)
    return a * a, a * b * rng.uniform(-0.95, 0.95), b * b


def models(p: np.void, z: np.void, east_m: float, north_m: float, qxx: float) -> list[tuple[Any, Any, Any]]:
    """(z, H, R) of each part, for the state (e, n, a, b) whose mean is (0, 0, a, b)."""
    dt = float(z["dt"])
    eye = np.eye(2)
    out: list[tuple[Any, Any, Any]] = [
        (
            np.array([east_m, north_m]),
            np.hstack([eye, dt * eye]),
            np.array([[z["ree"] + qxx, z["ren"]], [z["ren"], z["rnn"] + qxx]]),
        )
    ]
    if not math.isnan(z["va"]):
        r = np.array([[z["vaa"], z["vab"]], [z["vab"], z["vbb"]]])
        out.append((np.array([z["va"], z["vb"]]), np.hstack([0.0 * eye, eye]), r))
    if not math.isnan(z["rate"]):
        out.append((np.array([z["rate"]]), np.array([[0.0, 0.0, z["le"], z["ln"]]]), np.array([[z["rate_var"]]])))
    return out


def mean_of(p: np.void, h: np.void) -> NDArray[np.float64]:
    return np.array([h["e"], h["n"], p["a"] + h["a"], p["b"] + h["b"]])


KINDS = st.sampled_from([(False, False), (True, False), (False, True), (True, True)])


@given(SEEDS, KINDS, st.one_of(st.just(0.0), st.floats(-600.0, 600.0)))
def test_update_is_that_of_filterpy(seed: int, kind: tuple[bool, bool], dt: float) -> None:
    rng = np.random.default_rng(seed)
    p, z = prediction(rng), detection(rng, dt, *kind)
    sigma = np.sqrt(np.diag(covariance_of(p)))
    east_m, north_m = rng.normal(0.0, 1.0, 2) * (sigma[:2] + abs(dt) * sigma[2:]) + dt * np.array([p["a"], p["b"]])
    qxx = 0.0 if dt == 0.0 else rng.uniform(0.0, 1e4)
    h = np.zeros(1, POSTERIOR)[0]
    update(p, z, east_m, north_m, qxx, h)
    kf = KalmanFilter(dim_x=4, dim_z=2)
    kf.x, kf.P = np.array([0.0, 0.0, p["a"], p["b"]]), covariance_of(p)
    loglik = 0.0
    for measured, model, noise in models(p, z, east_m, north_m, qxx):
        kf.update(measured, R=noise, H=model)
        loglik += kf.log_likelihood
    assert np.abs((mean_of(p, h) - kf.x) / sigma).max() < 1e-9
    assert_same_covariance(covariance_of(h), kf.P, covariance_of(p))
    assert h["loglik"] == pytest.approx(loglik, rel=1e-9, abs=1e-9)


@given(SEEDS, KINDS)
def test_loglik_is_the_joint_density_and_the_order_of_parts_does_not_matter(seed: int, kind: tuple[bool, bool]) -> None:
    rng = np.random.default_rng(seed)
    p, z = prediction(rng), detection(rng, 30.0, *kind)
    h = np.zeros(1, POSTERIOR)[0]
    update(p, z, 120.0, -80.0, 25.0, h)
    parts = models(p, z, 120.0, -80.0, 25.0)
    measured = np.concatenate([m for m, _, _ in parts])
    model = np.vstack([m for _, m, _ in parts])
    noise = np.zeros((len(measured), len(measured)))
    at = 0
    for m, _, r in parts:
        noise[at : at + len(m), at : at + len(m)] = r
        at += len(m)
    x, cov = np.array([0.0, 0.0, p["a"], p["b"]]), covariance_of(p)
    s = model @ cov @ model.T + noise
    unit = np.sqrt(np.diag(s))
    density = multivariate_normal(np.zeros(len(s)), s / np.outer(unit, unit)).logpdf((measured - model @ x) / unit)
    assert h["loglik"] == pytest.approx(density - np.log(unit).sum(), rel=1e-7, abs=1e-7)
    gain = cov @ model.T @ np.linalg.inv(s)
    sigma = np.sqrt(np.diag(cov))
    assert np.abs((mean_of(p, h) - (x + gain @ (measured - model @ x))) / sigma).max() < 1e-7


@given(SEEDS, st.floats(-600.0, 600.0))
def test_gate_distance_is_that_of_the_innovation(seed: int, dt: float) -> None:
    rng = np.random.default_rng(seed)
    p, z = prediction(rng), detection(rng, dt)
    east_m, north_m, qxx = *rng.normal(0.0, 3e3, 2), rng.uniform(0.0, 1e4)
    ((measured, model, noise),) = models(p, z, east_m, north_m, qxx)
    y = measured - model @ np.array([0.0, 0.0, p["a"], p["b"]])
    s = model @ covariance_of(p) @ model.T + noise
    assert gate_distance(p, z, east_m, north_m, qxx) == pytest.approx(y @ np.linalg.solve(s, y), rel=1e-7)


@given(SEEDS, KINDS, st.floats(-600.0, 600.0))
def test_an_update_never_loses_what_was_known(seed: int, kind: tuple[bool, bool], dt: float) -> None:
    """P after is positive, and not larger than P before in any direction."""
    rng = np.random.default_rng(seed)
    p, z = prediction(rng), detection(rng, dt, *kind)
    h = np.zeros(1, POSTERIOR)[0]
    update(p, z, 0.0, 0.0, 0.0, h)
    before, after = covariance_of(p), covariance_of(h)
    white = np.linalg.inv(np.linalg.cholesky(before))
    values = np.linalg.eigvalsh(white @ after @ white.T)
    assert values[0] > 0.0
    assert values[-1] <= 1.0 + 1e-6


@pytest.mark.parametrize("ratio", [1e4, 1e8, 1e11])
def test_a_sharp_sensor_on_a_vague_track_leaves_a_covariance(ratio: float) -> None:
    """A track of 30 km that is met within metres: cancellation may cost digits, not the sign."""
    p = np.zeros(1, STATE)[0]
    # After a long gap position and velocity are nearly one thing.
    dt = math.sqrt(25.0 * ratio / 4.0)
    f = np.kron([[1.0, dt], [0.0, 1.0]], np.eye(2))
    plane = np.array([[1.0, 0.3], [0.3, 1.0]])
    set_covariance(p, f @ np.kron(np.diag([100.0, 4.0]), plane) @ f.T)
    z = detection(np.random.default_rng(1))
    z["ree"], z["ren"], z["rnn"] = 25.0, 0.0, 25.0
    h = np.zeros(1, POSTERIOR)[0]
    update(p, z, 100.0, 100.0, 0.0, h)
    after = covariance_of(h)
    sigma = np.sqrt(np.diag(after))
    assert np.linalg.eigvalsh(after / np.outer(sigma, sigma))[0] > -1e-9
    assert after[0, 0] == pytest.approx(25.0, rel=1e-3) and after[1, 1] == pytest.approx(25.0, rel=1e-3)


def test_floors_of_the_diagonal() -> None:
    """Whatever a sensor claims, a variance does not fall below the floors."""
    rng = np.random.default_rng(2)
    p, z = prediction(rng), detection(rng, velocity=True)
    z["ree"], z["ren"], z["rnn"] = 1e-9, 0.0, 1e-9
    z["vaa"], z["vab"], z["vbb"] = 1e-12, 0.0, 1e-12
    h = np.zeros(1, POSTERIOR)[0]
    update(p, z, 1.0, 1.0, 0.0, h)
    assert h["ee"] >= MIN_POSITION_VAR and h["nn"] >= MIN_POSITION_VAR
    assert h["aa"] >= MIN_VELOCITY_VAR and h["bb"] >= MIN_VELOCITY_VAR


def test_a_detection_beside_the_time_of_its_look_tells_the_velocity() -> None:
    """H = [I dt I]: seen 100 s later 500 m further east, an object known to be here moves by some 5 m/s."""
    p, z = np.zeros(1, STATE)[0], detection(np.random.default_rng(0), 100.0)
    set_covariance(p, np.diag([1.0, 1.0, 100.0, 100.0]))
    z["ree"], z["ren"], z["rnn"] = 1.0, 0.0, 1.0
    h = np.zeros(1, POSTERIOR)[0]
    update(p, z, 500.0, 0.0, 0.0, h)
    assert h["a"] == pytest.approx(5.0, rel=1e-3)
    assert abs(h["e"]) < 0.1
    z["dt"] = -100.0
    update(p, z, 500.0, 0.0, 0.0, h)
    assert h["a"] == pytest.approx(-5.0, rel=1e-3)
