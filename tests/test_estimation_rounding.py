"""Rounding of stored rows: small against what is known, positive, idempotent, and where small differences end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from engine_tools import covariance, covariance_of, set_covariance
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.motion import STATE
from apss_fusion.estimation.rounding import (
    BITS,
    power_below,
    probability,
    round_altitude,
    round_state,
    significant,
    to_grid,
)
from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.kernels import Row

SEEDS = st.integers(0, 2**32 - 1)
EARTH_M = 6_371_008.8


def random_state(seed: int) -> Row:
    rng = np.random.default_rng(seed)
    row = np.zeros(1, STATE)[0]
    row["x"], row["y"], row["z"] = nvectors(rng.uniform(-90, 90), rng.uniform(-180, 180))[0]
    row["a"], row["b"], row["t"] = *rng.normal(0.0, 30.0, 2), 1.7e9 + rng.uniform(0, 1e6)
    set_covariance(row, covariance(rng))
    return row


def rounded(row: np.void) -> Row:
    out = np.array([row], row.dtype)[0]
    round_state(out)
    return out


@given(SEEDS)
def test_a_state_moves_less_than_its_last_bit_of_sigma(seed: int) -> None:
    """2^-8 of the sigma of the tighter axis (of the velocity: of each), in every direction."""
    row = random_state(seed)
    out = rounded(row)
    p = covariance_of(row)
    shift = np.array([out[k] - row[k] for k in "xyz"])
    tighter = math.sqrt(np.linalg.eigvalsh(p[:2, :2])[0])
    # Along the surface; the length of the normal has no meaning.
    n = np.array([row[k] for k in "xyz"])
    along = shift - (shift @ n) * n
    assert np.linalg.norm(along) * EARTH_M <= 2.0**-BITS * min(math.sqrt(p[0, 0]), math.sqrt(p[1, 1]))
    assert np.linalg.norm(along) * EARTH_M <= 1.1 * 2.0**-BITS * tighter
    assert abs(out["a"] - row["a"]) <= 2.0**-BITS * math.sqrt(p[2, 2])
    assert abs(out["b"] - row["b"]) <= 2.0**-BITS * math.sqrt(p[3, 3])
    assert out["t"] == row["t"]


@given(SEEDS)
def test_a_covariance_stays_positive_and_nearly_what_it_was(seed: int) -> None:
    """Seen from P itself (whitened) no direction changes by more than 2 %: what rounding each entry would not give."""
    row = random_state(seed)
    p, q = covariance_of(row), covariance_of(rounded(row))
    white = np.linalg.inv(np.linalg.cholesky(p))
    values = np.linalg.eigvalsh(white @ q @ white.T)
    assert 0.98 < values[0] <= values[-1] < 1.02
    np.linalg.cholesky(q)


@given(SEEDS)
def test_rounding_twice_is_rounding_once(seed: int) -> None:
    once = rounded(random_state(seed))
    assert rounded(once).tobytes() == once.tobytes()


@given(SEEDS, st.booleans())
def test_there_is_no_negative_zero(seed: int, still: bool) -> None:
    """-0.0 and 0.0 compare equal and differ in bytes: a difference that never dies."""
    row = random_state(seed)
    if still:
        row["a"], row["b"] = -1e-12, -0.0
        row["en"], row["ea"], row["eb"], row["na"], row["nb"], row["ab"] = -1e-12, -0.0, 0.0, -1e-15, 1e-15, -1e-13
        row["y"] = -1e-16
    out = rounded(row)
    for name in STATE.names or ():
        assert not (out[name] == 0.0 and np.signbit(out[name])), name


@given(SEEDS)
def test_small_differences_end(seed: int) -> None:
    """Two rows a billionth of a sigma apart are nearly always the same row: of 40 pairs at most one differs."""
    rng = np.random.default_rng(seed)
    different = 0
    for k in range(40):
        row = random_state(int(rng.integers(2**32)) + k)
        other = np.array([row], STATE)[0]
        p = covariance_of(row)
        set_covariance(other, p * (1.0 + 1e-9))
        other["a"] += 1e-9 * math.sqrt(p[2, 2])
        other["x"] += 1e-9 * math.sqrt(p[0, 0]) / EARTH_M
        different += rounded(row).tobytes() != rounded(other).tobytes()
    assert different <= 1


def test_a_singular_covariance_becomes_positive() -> None:
    """Two components that are one, and numbers that cancelled to slightly below zero."""
    row = random_state(5)
    v = np.array([100.0, 100.0, 1.0, 1.0])
    set_covariance(row, np.outer(v, v))
    row["nn"] -= 1e-9
    np.linalg.cholesky(covariance_of(rounded(row)))


@given(st.floats(1e-200, 1e200), st.booleans())
def test_significant_keeps_eight_bits(v: float, negative: bool) -> None:
    out = significant(-v if negative else v)
    mantissa, _ = math.frexp(out)
    assert mantissa * 2.0**BITS == int(mantissa * 2.0**BITS)
    assert abs(abs(out) - v) <= 2.0**-(BITS) * v
    assert significant(out) == out
    assert (out < 0.0) == negative


@given(st.floats(-1e6, 1e6), st.integers(-30, 4))
def test_to_grid_is_the_nearest_multiple(v: float, power: int) -> None:
    grid = 2.0**power
    out = to_grid(v, grid)
    assert out == round(v / grid) * grid
    assert not (out == 0.0 and math.copysign(1.0, out) < 0.0)


@given(st.floats(0.0, 1.0))
def test_probabilities_reach_their_ends(p: float) -> None:
    out = probability(p)
    assert out * 2.0**20 == int(out * 2.0**20)
    assert abs(out - p) <= 2.0**-21
    assert 0.0 <= out <= 1.0
    assert probability(1.0 - 2.0**-22) == 1.0 and probability(2.0**-22) == 0.0


@given(st.floats(1e-300, 1e300))
def test_power_below(v: float) -> None:
    out = power_below(v)
    assert out <= v < 2.0 * out
    assert math.frexp(out)[0] == 0.5


@given(SEEDS)
def test_altitude_rows_likewise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row = np.zeros(1, ALTITUDE)[0]
    sigma = 10.0 ** rng.uniform(-1, 2.5, 2)
    corr = rng.uniform(-0.999, 0.999)
    row["h"], row["w"], row["t"] = rng.uniform(-400, 15000), rng.normal(0, 10), 1.7e9
    row["hh"], row["hw"], row["ww"] = sigma[0] ** 2, corr * sigma[0] * sigma[1], sigma[1] ** 2
    out = np.array([row], ALTITUDE)[0]
    round_altitude(out)
    assert abs(out["h"] - row["h"]) <= 2.0**-BITS * sigma[0]
    assert abs(out["w"] - row["w"]) <= 2.0**-BITS * sigma[1]
    p = np.array([[row["hh"], row["hw"]], [row["hw"], row["ww"]]])
    q = np.array([[out["hh"], out["hw"]], [out["hw"], out["ww"]]])
    white = np.linalg.inv(np.linalg.cholesky(p))
    assert np.linalg.eigvalsh(white @ q @ white.T) == pytest.approx([1.0, 1.0], abs=0.02)
    again = np.array([out], ALTITUDE)[0]
    round_altitude(again)
    assert again.tobytes() == out.tobytes()


def test_no_altitude_stays_none() -> None:
    row = np.zeros(1, ALTITUDE)[0]
    round_altitude(row)
    assert row.tobytes() == bytes(ALTITUDE.itemsize)
