"""Smoothing on the globe: ways of 2,000 km by GeographicLib, the antimeridian, the neighbourhood of the pole."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from engine_tools import WGS84
from filterpy.kalman import KalmanFilter  # type: ignore[import-untyped]
from test_smooth import Array, assert_same, axis_noise, updates

from apss_fusion.geodesy.positions import moves, offsets
from apss_fusion.geodesy.wgs84 import convergence_rad, nvectors
from apss_fusion.smoothing.rts import smoothed, state_rows
from apss_fusion.smoothing.steps import Motion, steps_between
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.rows import DOMAIN_NAMES


def flight(
    lat: float, lon: float, azimuth: float, speed: float, times: Sequence[float], domain: str
) -> tuple[Array, Array]:
    """n-vectors and velocities of an object that holds a great circle (aircraft) or its course (others), by GeographicLib."""
    place, velocity = [], []
    for t in times:
        if domain == "AIR":
            end_lon, end_lat, back = WGS84.fwd(lon, lat, azimuth, speed * t)
            course = math.radians(back + 180.0)
        else:
            end_lat, end_lon = lat, lon
            steps = 400
            for _ in range(steps):
                # A rhumb line in short pieces: half of each is flown before the frame turns.
                end_lon, end_lat, _ = WGS84.fwd(
                    end_lon, end_lat, _chord(end_lat, azimuth, speed * t / steps), speed * t / steps
                )
            course = math.radians(azimuth)
        place.append((end_lat, end_lon))
        velocity.append((speed * math.sin(course), speed * math.cos(course)))
    lats, lons = np.array(place).T
    return nvectors(lats, lons), np.array(velocity)


def _chord(lat: float, azimuth: float, distance: float) -> float:
    """The azimuth of the geodesic to the end of a short rhumb line: half the convergence poleward of the course."""
    course = math.radians(azimuth)
    return azimuth - math.degrees(0.5 * distance * math.sin(course) * math.tan(math.radians(lat)) / 6.38e6)


WAYS = [
    pytest.param(40.0, -3.0, 50.0, 250.0, 60.0, "AIR", id="aircraft over Europe"),
    pytest.param(60.0, 170.0, 80.0, 250.0, 600.0, "AIR", id="aircraft over the antimeridian, long gaps"),
    pytest.param(78.0, 100.0, 20.0, 240.0, 120.0, "AIR", id="aircraft near the pole"),
    pytest.param(55.0, 179.0, 85.0, 10.0, 3600.0, "SEA", id="ship over the antimeridian"),
    pytest.param(-45.0, -60.0, 200.0, 10.0, 3600.0, "SEA", id="ship southwards"),
]


@pytest.mark.parametrize(("lat", "lon", "azimuth", "speed", "gap", "domain"), WAYS)
def test_a_way_of_2000_km_bends_nothing(
    lat: float, lon: float, azimuth: float, speed: float, gap: float, domain: str
) -> None:
    """States exactly on their way need no correction: what the frame adds is below a hundredth of the smallest sigma."""
    times = np.arange(0.0, 2.0e6 / speed, gap)
    place, velocity = flight(lat, lon, azimuth, speed, times, domain)
    p = np.tile(np.diag([100.0, 64.0, 0.25, 0.16]), (len(times), 1, 1))
    s = smoothed(updates(times, place, velocity, p, domain), Config.of())
    assert np.linalg.norm(offsets(place, s.position), axis=1).max() < 0.08
    assert np.abs(s.velocity - velocity).max() < 0.004


def turned(a: Array, b: Array, velocity: Array, domain: str) -> Array:
    """Velocities at a as they read in the frames at b, for those who fly great circles."""
    out = velocity.copy()
    for i in range(len(a) if domain == "AIR" else 0):
        angle = convergence_rad(*a[i], *b[i])
        c, k = math.cos(angle), math.sin(angle)
        out[i] = np.array([[c, -k], [k, c]]) @ velocity[i]
    return out


@pytest.mark.parametrize(("lat", "lon", "azimuth", "speed", "gap", "domain"), WAYS)
def test_on_a_way_of_2000_km_corrections_are_those_of_a_plane(
    lat: float, lon: float, azimuth: float, speed: float, gap: float, domain: str
) -> None:
    """States beside the way by their sigmas, in frames along it; against filterpy on a plane, within a 20th of a sigma.

    What is left is of the engine's own prediction: 0.2 m in a step of 150 km, 0.4 m in an hour along a rhumb line.
    """
    times = np.arange(0.0, 2.0e6 / speed, gap)
    n = len(times)
    place, velocity = flight(lat, lon, azimuth, speed, times, domain)
    rng = np.random.default_rng(7)
    # As much noise in a gap as in a report of 50 m, so that smoothing corrects by some ten metres.
    noise, return_s = 50.0**2 / gap**3, Config.of().domain[domain].return_s
    f = np.tile(np.eye(4), (n, 1, 1))
    f[:, 0, 2] = f[:, 1, 3] = gap
    q = np.tile(np.kron(axis_noise(noise, return_s, gap), np.eye(2)), (n, 1, 1))
    # A settled filter of reports of 50 m: all its covariances are alike, and so are its errors, turned to each frame.
    kf = KalmanFilter(4, 2)
    kf.H, kf.R, kf.P = np.eye(2, 4), 2500.0 * np.eye(2), np.diag([2500.0, 2500.0, 400.0, 400.0])
    x, p, _, _ = kf.batch_filter(rng.normal(0.0, 50.0, (n, 2, 1)), Fs=list(f), Qs=list(q))
    x = x[:, :, 0]
    want, want_p, _, _ = kf.rts_smoother(x[:, :, None], p, list(f), list(q))
    # Aircraft: errors along and across the way. Ships keep east and north.
    angle = np.arctan2(velocity[:, 0], velocity[:, 1]) if domain == "AIR" else np.zeros(n)
    turn = np.zeros((n, 2, 2))
    turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1] = (
        np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle),
    )  # fmt: skip
    big = np.zeros((n, 4, 4))
    big[:, :2, :2] = big[:, 2:, 2:] = turn
    off = (big @ x[:, :, None])[:, :, 0]
    beside = moves(place, np.ascontiguousarray(off[:, :2]))
    told = updates(times, beside, turned(place, beside, velocity + off[:, 2:], domain),
                   big @ p @ big.transpose(0, 2, 1), domain)  # fmt: skip
    s = smoothed(told, Config.of({"domain": {domain: {"q": noise}}}))
    there = turned(s.position, place, s.velocity, domain)
    error = np.column_stack([offsets(place, s.position), there - velocity])
    got = (big.transpose(0, 2, 1) @ error[:, :, None])[:, :, 0]
    assert_same(got, big.transpose(0, 2, 1) @ s.covariance @ big, want[:, :, 0], want_p, 0.05 if gap > 120.0 else 0.001)
    # And it was worth it.
    assert np.linalg.norm(error[:-1, :2], axis=1).mean() < 0.95 * np.linalg.norm(off[:-1, :2], axis=1).mean()


def test_the_steps_are_those_of_the_engine() -> None:
    """F P F' + Q is the covariance that `predict` writes, in the frame of a state that lies where it was predicted."""
    rng = np.random.default_rng(1)
    for domain in DOMAIN_NAMES:
        params = Config.of().params()
        lats = np.array([0.0, 52.0, -70.0, 86.0])
        p = np.array([np.diag(rng.uniform(1.0, 100.0, 4)) for _ in lats])
        velocity = rng.uniform(-100, 100, (4, 2))
        u = updates(np.zeros(4), nvectors(lats, np.array([179.9, 3.0, -20.0, 50.0])), velocity, p, domain)
        rows = state_rows(u)
        later = rows.copy()
        later["t"] += 300.0
        motion = Motion.of(params, u.domain)
        predicted = steps_between(rows, later, motion)[1]
        steps, again = steps_between(rows, predicted, motion)
        assert (predicted == again).all()
        assert np.abs(steps.d).max() < 1e-6
        got = steps.predicted(p)
        for k, (name, i, j) in enumerate((("ee", 0, 0), ("eb", 0, 3), ("nn", 1, 1), ("ab", 2, 3))):
            assert np.allclose(got[:, i, j], predicted[name], rtol=1e-9, atol=1e-6), (domain, name, k)
