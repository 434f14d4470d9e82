"""Motion against integration, the matrix exponential, filterpy, GeographicLib and a rhumb line integrated in small steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from engine_tools import assert_same_covariance, covariance, covariance_of, set_covariance
from filterpy.kalman import KalmanFilter  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Geod
from scipy.integrate import quad
from scipy.linalg import expm

from apss_fusion.estimation.motion import STATE, position_variance, predict, process_noise, reach_m
from apss_fusion.geodesy.wgs84 import ECCENTRICITY_SQ, SEMI_MAJOR_M, geodetic, nvectors

WGS84 = Geod(ellps="WGS84")
SEEDS = st.integers(0, 2**32 - 1)


def state(lat: float, lon: float, east_mps: float = 0.0, north_mps: float = 0.0, t: float = 0.0) -> NDArray[np.void]:
    """Two rows: a state with a plain covariance, and room for its prediction."""
    rows = np.zeros(2, STATE)
    rows[0]["x"], rows[0]["y"], rows[0]["z"] = nvectors(lat, lon)[0]
    rows["a"], rows["b"], rows["t"] = east_mps, north_mps, t
    set_covariance(rows[0], np.diag([400.0, 900.0, 0.25, 0.49]))
    return rows


def place(row: np.void) -> tuple[float, float]:
    lat, lon = geodetic([[row["x"], row["y"], row["z"]]])
    return float(lat[0]), float(lon[0])


def metres(row: np.void, lat: float, lon: float) -> float:
    own_lat, own_lon = place(row)
    return float(WGS84.inv(own_lon, own_lat, lon, lat)[2])


# ---------------------------------------------------------------------------------------- process noise


@given(st.floats(1e-4, 100.0), st.one_of(st.just(0.0), st.floats(1e-6, 0.1)), st.floats(1e-3, 1e6))
def test_process_noise_is_the_integral_of_its_definition(q: float, g: float, t: float) -> None:
    """Qxx = q int x(s)^2, Qxv = q int x(s) v(s), Qvv = q int v(s)^2 with v(s) = exp(-g s), x(s) = (1 - v(s)) / g."""
    u = min(g * t, 700.0)

    def v(s: float) -> float:
        return math.exp(-u * s)

    def x(s: float) -> float:
        return -math.expm1(-u * s) / u if u > 0.0 else s

    def integral(of: Callable[[float], float]) -> float:
        kink = min(1.0, 5.0 / (u + 5.0))
        return float(quad(of, 0.0, 1.0, epsabs=0.0, epsrel=1e-12, limit=400, points=[kink])[0])

    want = integral(lambda s: x(s) ** 2), integral(lambda s: x(s) * v(s)), integral(lambda s: v(s) ** 2)
    if g * t <= 700.0:
        assert process_noise(q, g, t) == pytest.approx(
            [q * t**3 * want[0], q * t**2 * want[1], q * t * want[2]], rel=1e-9
        )


@given(st.floats(0.0, 5.0), st.floats(1.0, 1e5))
def test_f_and_q_are_those_of_van_loan(u: float, t: float) -> None:
    """The matrix exponential of [-A W; 0 A'] (Van Loan 1978) for (x, v, mu), dv = -g (v - mu) dt + noise, mu = v at first."""
    a = np.array([[0.0, 1.0, 0.0], [0.0, -u, u], [0.0, 0.0, 0.0]])
    w = np.diag([0.0, 1.0, 0.0])
    big = expm(np.block([[-a, w], [np.zeros((3, 3)), a.T]]))
    f = big[3:, 3:].T
    noise = f @ big[:3, 3:]
    scale = np.diag([t**1.5, t**0.5])
    got = process_noise(0.3, u / t, t)
    want = 0.3 * scale @ noise[:2, :2] @ scale
    assert got == pytest.approx([want[0, 0], want[0, 1], want[1, 1]], rel=1e-9)
    # With mu = v the mean moves on a straight line.
    assert f @ [0.0, 7.0, 7.0] == pytest.approx([7.0, 7.0, 7.0], rel=1e-9)


def test_the_limit_without_return_is_white_acceleration_noise() -> None:
    t = 1234.5
    want = pytest.approx([0.2 * t**3 / 3.0, 0.2 * t**2 / 2.0, 0.2 * t], rel=1e-12)
    assert process_noise(0.2, 0.0, t) == want
    assert process_noise(0.2, 0.0, -t) == want
    assert process_noise(0.2, 1e-16, t) == want
    assert process_noise(0.2, 1e-7, t) == pytest.approx([0.2 * t**3 / 3.0, 0.2 * t**2 / 2.0, 0.2 * t], rel=2e-4)


@given(st.floats(1e-5, 1e-1), st.floats(0.015, 0.025))
def test_series_and_closed_form_meet(g: float, u: float) -> None:
    """A wrong coefficient, or a threshold set too high, shows as a step where the series gives way."""
    for a, b in zip(process_noise(1.0, g, u / g), process_noise(1.0, g, u * (1.0 + 1e-9) / g), strict=True):
        assert a <= b <= a * (1.0 + 1e-8)


def test_noise_of_a_long_gap_grows_like_its_square_root() -> None:
    """Hours without a report: bounded velocity noise, variance of position linear in time (cubic without return)."""
    q, g = 0.01, 1.0 / 3600.0
    day = process_noise(q, g, 86_400.0)
    two = process_noise(q, g, 172_800.0)
    assert day[2] == pytest.approx(q / (2.0 * g), rel=1e-9)
    assert two[2] == pytest.approx(day[2], rel=1e-9)
    assert 1.9 < two[0] / day[0] < 2.2
    assert process_noise(q, 0.0, 172_800.0)[0] / process_noise(q, 0.0, 86_400.0)[0] == pytest.approx(8.0)
    # Position and velocity noise of one axis are a covariance at any gap.
    for t in np.geomspace(1e-3, 1e7, 60):
        qxx, qxv, qvv = process_noise(q, g, float(t))
        assert 0.0 < qxv * qxv < qxx * qvv
    assert process_noise(q, g, 0.0) == (0.0, 0.0, 0.0)


# ---------------------------------------------------------------------------------------- covariance


def noise_matrix(q: float, g: float, dt: float) -> NDArray[np.float64]:
    qxx, qxv, qvv = process_noise(q, g, dt)
    qxv = math.copysign(qxv, dt)
    return np.kron(np.array([[qxx, qxv], [qxv, qvv]]), np.eye(2))


def transition(dt: float) -> NDArray[np.float64]:
    return np.kron(np.array([[1.0, dt], [0.0, 1.0]]), np.eye(2))


@given(SEEDS, st.floats(-3e4, 3e4), st.booleans())
def test_covariance_is_that_of_filterpy(seed: int, dt: float, returns: bool) -> None:
    rng = np.random.default_rng(seed)
    q, g = 10.0 ** rng.uniform(-3, 1.5), 1.0 / 3600.0 if returns else 0.0
    dt = round(dt * 1024.0) / 1024.0
    rows = state(rng.uniform(-80, 80), rng.uniform(-180, 180), t=5e8)
    p = covariance(rng)
    set_covariance(rows[0], p)
    predict(rows[0], 5e8 + dt, q, g, False, rows[1])
    kf = KalmanFilter(dim_x=4, dim_z=2)
    kf.P, kf.F, kf.Q = p, transition(dt), noise_matrix(q, g, dt)
    kf.predict()
    assert_same_covariance(covariance_of(rows[1]), kf.P)
    assert rows[1]["t"] == 5e8 + dt


@given(SEEDS)
def test_two_steps_are_one_without_return(seed: int) -> None:
    """White acceleration noise is a semigroup: Q(s + t) = F Q(s) F' + Q(t)."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(3, STATE)
    rows[0] = state(40.0, 20.0, 3.0, 4.0)[0]
    set_covariance(rows[0], covariance(rng))
    s, t = rng.uniform(0.0, 3000.0, 2)
    predict(rows[0], s, 0.05, 0.0, False, rows[1])
    predict(rows[1], s + t, 0.05, 0.0, False, rows[2])
    twice = covariance_of(rows[2]).copy()
    predict(rows[0], s + t, 0.05, 0.0, False, rows[2])
    assert_same_covariance(twice, covariance_of(rows[2]))


@given(SEEDS)
def test_bounds_of_the_index_hold(seed: int) -> None:
    """`position_variance` is the larger eigenvalue; `reach_m` is beyond every gate up to then and grows with time."""
    rng = np.random.default_rng(seed)
    rows = state(rng.uniform(-80, 80), 0.0, rng.normal(0.0, 10.0), rng.normal(0.0, 10.0))
    set_covariance(rows[0], covariance(rng))
    q, g = 0.01, 1.0 / 3600.0
    last = 0.0
    for dt in (0.0, 30.0, 600.0, 7200.0, 60_000.0):
        predict(rows[0], dt, q, g, False, rows[1])
        largest = np.linalg.eigvalsh(covariance_of(rows[1])[:2, :2])[1]
        assert position_variance(rows[0], q, g, dt) == pytest.approx(largest, rel=1e-9)
        reach = reach_m(rows[0], q, dt, 4.0)
        moved_m = math.hypot(rows[0]["a"], rows[0]["b"]) * dt
        assert reach >= max(last, moved_m + 4.0 * math.sqrt(largest) * (1.0 - 1e-12))
        last = reach


# ---------------------------------------------------------------------------------------- great circles


@given(
    st.floats(-90.0, 90.0),
    st.floats(-180.0, 180.0),
    st.floats(-180.0, 180.0),
    st.floats(1.0, 300.0),
    st.floats(-3600.0, 3600.0),
)
def test_aircraft_follow_the_geodesic(lat: float, lon: float, azimuth: float, speed: float, dt: float) -> None:
    """An hour at 300 m/s over any place, also over a pole and the antimeridian: position and course of GeographicLib."""
    if abs(lat) > 89.9999999:
        lat = math.copysign(89.9999999, lat)
    rad = math.radians(azimuth)
    rows = state(lat, lon, speed * math.sin(rad), speed * math.cos(rad))
    predict(rows[0], dt, 0.0, 0.0, True, rows[1])
    end_lon, end_lat, back = WGS84.fwd(lon, lat, azimuth, speed * dt)
    assert metres(rows[1], end_lat, end_lon) <= 1e-4 * speed * abs(dt) + 1e-3
    got = math.degrees(math.atan2(rows[1]["a"], rows[1]["b"]))
    turned = (got - (back + 180.0) + 180.0) % 360.0 - 180.0
    # Near a pole a course means little: the error across is what counts.
    assert abs(turned) * math.cos(math.radians(end_lat)) < 2e-3
    assert math.hypot(rows[1]["a"], rows[1]["b"]) == pytest.approx(speed, rel=1e-12)


def test_an_aircraft_crosses_the_pole() -> None:
    """From 60 degrees east at 89 N due north: after twice the way it flies due south on 120 degrees west."""
    way = WGS84.inv(60.0, 89.0, 60.0, 90.0)[2]
    rows = state(89.0, 60.0, 0.0, 250.0)
    predict(rows[0], 2.0 * way / 250.0, 20.0, 0.0, True, rows[1])
    assert place(rows[1]) == pytest.approx((89.0, -120.0), abs=1e-5)
    assert (rows[1]["a"], rows[1]["b"]) == pytest.approx((0.0, -250.0), abs=1e-6)


def test_ships_beyond_85_degrees_leave_the_rhumb_line() -> None:
    """A rhumb line spirals about the pole; there everything goes straight on."""
    rows = state(89.9, 10.0, 8.0, 0.0)
    predict(rows[0], 7200.0, 0.0, 0.0, False, rows[1])
    end_lon, end_lat, _ = WGS84.fwd(10.0, 89.9, 90.0, 8.0 * 7200.0)
    assert metres(rows[1], end_lat, end_lon) < 5.0


@given(SEEDS)
def test_a_turn_keeps_what_is_known(seed: int) -> None:
    """Over a pole the frame turns by up to half a turn: eigenvalues and both traces of P stay, the velocity's length too."""
    rng = np.random.default_rng(seed)
    rows = state(
        float(rng.uniform(86.0, 89.99) * rng.choice([-1, 1])), rng.uniform(-180, 180), *rng.normal(0.0, 150.0, 2)
    )
    p = covariance(rng)
    set_covariance(rows[0], p)
    dt = rng.uniform(10.0, 2000.0)
    predict(rows[0], dt, 3.0, 1e-3, True, rows[1])
    straight = transition(dt) @ p @ transition(dt).T + noise_matrix(3.0, 1e-3, dt)
    got = covariance_of(rows[1])
    scale = np.sqrt(np.diag(np.repeat([straight[0, 0] + straight[1, 1], straight[2, 2] + straight[3, 3]], 2)))
    whiten = np.linalg.inv(scale)
    assert np.linalg.eigvalsh(whiten @ got @ whiten) == pytest.approx(
        np.linalg.eigvalsh(whiten @ straight @ whiten), abs=1e-11
    )
    assert got[0, 0] + got[1, 1] == pytest.approx(straight[0, 0] + straight[1, 1], rel=1e-12)
    assert got[2, 2] + got[3, 3] == pytest.approx(straight[2, 2] + straight[3, 3], rel=1e-12)


def test_the_ellipse_of_an_aircraft_stays_along_its_flight() -> None:
    """At 80 degrees north an hour to the east turns the local frame by more than 40 degrees: P and v turn together."""
    rows = state(80.0, 0.0, 250.0, 0.0)
    set_covariance(rows[0], np.diag([1e6, 1e2, 4.0, 0.01]))
    predict(rows[0], 3600.0, 0.0, 0.0, True, rows[1])
    along = np.array([rows[1]["a"], rows[1]["b"]]) / 250.0
    p = covariance_of(rows[1])
    assert math.degrees(math.atan2(along[0], along[1])) - 90.0 > 35.0
    assert along @ p[:2, :2] @ along == pytest.approx(1e6 + 4.0 * 3600.0**2, rel=1e-9)
    assert along @ p[2:, 2:] @ along == pytest.approx(4.0, rel=1e-9)
    across = np.array([-along[1], along[0]])
    assert across @ p[:2, :2] @ across == pytest.approx(1e2 + 0.01 * 3600.0**2, rel=1e-9)


# ---------------------------------------------------------------------------------------- rhumb lines


def rhumb(lat: float, lon: float, east_mps: float, north_mps: float, dt: float) -> tuple[float, float, float]:
    """(lat, lon, highest |lat|) of constant east and north speeds on the ellipsoid, Runge-Kutta in 200 steps."""
    phi, lam, h = math.radians(lat), math.radians(lon), dt / 200
    top = abs(phi)

    def rates(p: float) -> tuple[float, float]:
        w = 1.0 - ECCENTRICITY_SQ * math.sin(p) ** 2
        return (
            north_mps * w**1.5 / (SEMI_MAJOR_M * (1.0 - ECCENTRICITY_SQ)),
            east_mps * math.sqrt(w) / (SEMI_MAJOR_M * math.cos(p)),
        )

    for _ in range(200):
        k1 = rates(phi)
        k2 = rates(phi + 0.5 * h * k1[0])
        k4 = rates(phi + h * k2[0])
        phi += h / 6.0 * (k1[0] + 4.0 * k2[0] + k4[0])
        lam += h / 6.0 * (k1[1] + 4.0 * k2[1] + k4[1])
        top = max(top, abs(phi))
    return math.degrees(phi), math.degrees(lam), math.degrees(top)


@given(
    st.floats(-84.0, 84.0),
    st.floats(-180.0, 180.0),
    st.floats(-180.0, 180.0),
    st.floats(0.5, 15.0),
    st.floats(-21_600.0, 21_600.0),
)
def test_ships_hold_their_course(lat: float, lon: float, azimuth: float, speed: float, dt: float) -> None:
    """Six hours on a rhumb line, to second order: the rest is a fifth of the squared convergence of the meridians."""
    rad = math.radians(azimuth)
    east, north = speed * math.sin(rad), speed * math.cos(rad)
    end_lat, end_lon, top = rhumb(lat, lon, east, north, dt)
    rows = state(lat, lon, east, north)
    predict(rows[0], dt, 0.0, 0.0, False, rows[1])
    way = speed * abs(dt)
    convergence = way * math.tan(math.radians(min(top, 87.0))) / 6.37e6
    assert metres(rows[1], end_lat, end_lon) <= way * (0.2 * convergence**2 + 2e-4 * (way / 1e5) ** 2) + 1e-3
    assert (rows[1]["a"], rows[1]["b"]) == (east, north)


def test_a_rhumb_line_is_no_great_circle() -> None:
    """Due east at 55 N for 12 h at 10 m/s the two are some 20 km apart: mistaking one for the other shows."""
    rows = state(55.0, 170.0, 10.0, 0.0)
    predict(rows[0], 43_200.0, 0.0, 0.0, False, rows[1])
    lat, lon, _ = rhumb(55.0, 170.0, 10.0, 0.0, 43_200.0)
    assert metres(rows[1], lat, lon) < 1_000.0
    predict(rows[0], 43_200.0, 0.0, 0.0, True, rows[1])
    assert 15_000.0 < metres(rows[1], lat, lon) < 25_000.0


@given(st.floats(-84.0, 84.0), st.sampled_from([0.0, 90.0, 179.9, 180.0, -180.0, -90.0]), st.booleans())
def test_no_longitude_is_special(lat: float, lon: float, great_circle: bool) -> None:
    """The same journey from another longitude is the same journey turned about the axis."""
    here, there = state(lat, 12.0, 9.0, 3.0), state(lat, 12.0 + lon, 9.0, 3.0)
    predict(here[0], 20_000.0, 0.01, 1e-4, great_circle, here[1])
    predict(there[0], 20_000.0, 0.01, 1e-4, great_circle, there[1])
    c, s = math.cos(math.radians(lon)), math.sin(math.radians(lon))
    x, y = float(here[1]["x"]), float(here[1]["y"])
    assert (there[1]["x"], there[1]["y"], there[1]["z"]) == pytest.approx(
        (c * x - s * y, s * x + c * y, here[1]["z"]), abs=1e-14
    )
    assert covariance_of(there[1]) == pytest.approx(covariance_of(here[1]), rel=1e-9, abs=1e-9)
