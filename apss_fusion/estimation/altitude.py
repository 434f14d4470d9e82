"""Altitude, a state of its own: height h and climb w, with 2 x 2 covariance; independent of the horizontal motion.

Heights of different datums (above the ellipsoid, by pressure, ...) differ by up to hundreds of metres and are never mixed:
a track keeps the datum of the last height it took while that is fresh.
"""

from __future__ import annotations

import math

import numpy as np

from apss_fusion.kernels import Row, kernel

#: White climb noise, m^2/s^3, of an aircraft that may level off or begin to climb.
Q_CLIMB = 1.0
#: Standard deviation of the climb of an object of which only heights are known, m/s.
CLIMB_SIGMA_MPS = 10.0
#: A height older than this is replaced, not updated, s.
FRESH_S = 600.0
LOG_2PI = 1.8378770664093453


@kernel
def predict_altitude(s: Row, t: float, d: Row) -> None:
    """Near-constant climb from row s to time t into row d (dtype ALTITUDE)."""
    dt = t - s.t
    u = abs(dt)
    d.t, d.h, d.w = t, s.h + s.w * dt, s.w
    d.hh = s.hh + dt * (2.0 * s.hw + dt * s.ww) + Q_CLIMB * u * u * u / 3.0
    d.hw = s.hw + dt * s.ww + Q_CLIMB * dt * u / 2.0
    d.ww = s.ww + Q_CLIMB * u


@kernel
def update_altitude(s: Row, datum: int, t: float, z: Row, d: Row) -> int:
    """Row s (with its datum) updated by the height and climb of detection z at time t, into d; returns the datum of d.

    Both rows are of dtype ALTITUDE; hh = 0 means that no height is known.
    """
    known = s.hh > 0.0
    has_height = z.alt == z.alt
    if known and has_height and (datum != z.datum or t - s.t > FRESH_S):
        known = False
    if not known:
        if not has_height:
            return _copy(s, datum, d)
        d.t, d.h, d.hh, d.hw = t, z.alt, z.alt_var, 0.0
        d.w, d.ww = (z.climb, z.climb_var) if z.climb == z.climb else (0.0, CLIMB_SIGMA_MPS * CLIMB_SIGMA_MPS)
        return z.datum
    predict_altitude(s, t, d)
    if has_height:
        k, m = d.hh / (d.hh + z.alt_var), d.hw / (d.hh + z.alt_var)
        y = z.alt - d.h
        d.h, d.w = d.h + k * y, d.w + m * y
        d.ww -= m * d.hw
        d.hw -= k * d.hw
        d.hh -= k * d.hh
    if z.climb == z.climb:
        k, m = d.hw / (d.ww + z.climb_var), d.ww / (d.ww + z.climb_var)
        y = z.climb - d.w
        d.h, d.w = d.h + k * y, d.w + m * y
        d.hh -= k * d.hw
        d.hw -= m * d.hw
        d.ww -= m * d.ww
    return datum


@kernel
def _copy(s: Row, datum: int, d: Row) -> int:
    d.t, d.h, d.w, d.hh, d.hw, d.ww = s.t, s.h, s.w, s.hh, s.hw, s.ww
    return datum


@kernel
def altitude_loglik_ratio(s: Row, datum: int, t: float, z: Row, span_m: float) -> float:
    """Log of N(height) over a uniform height within span_m; 0 where either is unknown or the datums differ."""
    if s.hh <= 0.0 or z.alt != z.alt or datum != z.datum:
        return 0.0
    dt = t - s.t
    u = abs(dt)
    var = s.hh + dt * (2.0 * s.hw + dt * s.ww) + Q_CLIMB * u * u * u / 3.0 + z.alt_var
    y = z.alt - s.h - s.w * dt
    return -0.5 * (y * y / var + LOG_2PI + math.log(var)) + math.log(span_m)
