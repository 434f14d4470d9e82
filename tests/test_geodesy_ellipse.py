"""Error ellipses: round trips, and chi-squared by scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from apss_fusion.geodesy.ellipse import covariance_of_ellipse, ellipse_of_covariance, sigma_axes

axes = st.floats(1e-2, 1e6)
probabilities = st.floats(0.01, 0.999)


@given(axes, st.floats(0.0, 1.0), st.floats(-720.0, 720.0), probabilities)
def test_round_trip(major: float, flatness: float, orientation: float, probability: float) -> None:
    minor = max(major * flatness, 1e-3 * major)
    ee, en, nn = covariance_of_ellipse(major, minor, orientation, probability)[0]
    got_major, got_minor, got_orientation = (v[0] for v in ellipse_of_covariance(ee, en, nn, probability))
    assert got_major == pytest.approx(major, rel=1e-12)
    assert got_minor == pytest.approx(minor, rel=1e-8)
    assert 0.0 <= got_orientation < 180.0
    if minor < 0.99 * major:
        assert abs(math.remainder(got_orientation - orientation, 180.0)) < 1e-9


@pytest.mark.parametrize("probability", [0.1, 0.393469, 0.5, 0.9, 0.95, 0.99])
def test_the_radius_is_chi_squared_with_two_degrees_of_freedom(probability: float) -> None:
    k2 = chi2.ppf(probability, 2)
    covariance = covariance_of_ellipse(300.0, 100.0, 0.0, probability)[0]
    assert covariance == pytest.approx([100.0**2 / k2, 0.0, 300.0**2 / k2], abs=1e-6)
    major, minor, orientation = ellipse_of_covariance(9.0, 0.0, 4.0, probability)
    assert (major[0], minor[0], orientation[0]) == pytest.approx((3.0 * k2**0.5, 2.0 * k2**0.5, 90.0))


@pytest.mark.parametrize(
    ("orientation", "along"),
    [(0.0, (0.0, 1.0)), (90.0, (1.0, 0.0)), (45.0, (1.0, 1.0)), (135.0, (1.0, -1.0)), (30.0, (0.5, 0.75**0.5))],
)
def test_the_orientation_is_clockwise_from_north(orientation: float, along: tuple[float, float]) -> None:
    (ee, en, nn) = covariance_of_ellipse(50.0, 10.0, orientation, 0.95)[0]
    p = np.array([[ee, en], [en, nn]])
    u = np.array(along) / math.hypot(*along)
    k2 = chi2.ppf(0.95, 2)
    assert u @ p @ u == pytest.approx(50.0**2 / k2)
    assert np.linalg.det(p) == pytest.approx((50.0 * 10.0 / k2) ** 2)


def test_samples_fall_inside_as_often_as_it_says() -> None:
    ee, en, nn = covariance_of_ellipse(5_000.0, 800.0, 70.0, 0.9)[0]
    e, n = np.random.default_rng(3).multivariate_normal([0, 0], [[ee, en], [en, nn]], 100_000).T
    s, c = math.sin(math.radians(70.0)), math.cos(math.radians(70.0))
    inside = ((e * s + n * c) / 5_000.0) ** 2 + ((e * c - n * s) / 800.0) ** 2 < 1.0
    assert inside.mean() == pytest.approx(0.9, abs=0.003)


def test_circles_lines_and_points_have_an_ellipse() -> None:
    assert sigma_axes(4.0, 0.0, 4.0) == (2.0, 2.0, 0.0)
    assert sigma_axes(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
    assert sigma_axes(1.0, 1.0, 1.0) == pytest.approx((2.0**0.5, 0.0, 45.0))
    assert sigma_axes(0.0, 0.0, 9.0) == (3.0, 0.0, 0.0)


def test_columns_numbers_and_bytes() -> None:
    whole = covariance_of_ellipse([10.0, 20.0, 30.0], 5.0, [0.0, 30.0, 179.0], 0.95)
    assert whole.shape == (3, 3)
    assert covariance_of_ellipse(20.0, 5.0, 30.0, 0.95).tobytes() == whole[1:2].tobytes()
    major, minor, orientation = ellipse_of_covariance(*whole.T)
    assert major == pytest.approx([10.0, 20.0, 30.0])
    assert minor == pytest.approx([5.0] * 3)
    assert orientation == pytest.approx([0.0, 30.0, 179.0])
