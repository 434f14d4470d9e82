"""Altitude, a state of its own: height h and climb w, with 2 x 2 covariance; independent of the horizontal motion.

Heights of different datums (above the ellipsoid, by pressure, ...) differ by up to hundreds of metres and are never mixed:
a track keeps the datum of the last height it took while that is fresh.
"""

from __future__ import annotations

import math

import numpy as np

from apss_fusion.estimation.measurement import LOG_2PI
from apss_fusion.kernels import Row, lean_kernel

#: Altitude h (m) and climb w (m/s) with covariance, at time t (s since 1970); hh = 0 means that none is known.
ALTITUDE = np.dtype([("h", "f8"), ("w", "f8"), ("hh", "f8"), ("hw", "f8"), ("ww", "f8"), ("t", "f8")])

#: White climb noise, m^2/s^3, of an aircraft that may level off or begin to climb.
Q_CLIMB = 1.0
#: Standard deviation of the climb of an object of which only heights are known, m/s.
CLIMB_SIGMA_MPS = 10.0
#: A height older than this is replaced, not updated, s.
FRESH_S = 600.0


@lean_kernel
def predict_altitude(s: Row, t: float, d: Row) -> None:
    """Near-constant climb from row s to time t into row d (dtype ALTITUDE), which may be s."""
    dt = t - s.t
    u = abs(dt)
    d.t, d.h, d.w = t, s.h + s.w * dt, s.w
    d.hh = s.hh + dt * (2.0 * s.hw + dt * s.ww) + Q_CLIMB * u * u * u / 3.0
    d.hw = s.hw + dt * s.ww + Q_CLIMB * dt * u / 2.0
    d.ww = s.ww + Q_CLIMB * u


@lean_kernel
def altitude_at(s: Row, t: float, d: Row) -> None:
    """Row s predicted to time t into row d; where no height is known, none is known then."""
    d.h, d.w, d.hh, d.hw, d.ww, d.t = 0.0, 0.0, 0.0, 0.0, 0.0, t
    if s.hh > 0.0:
        predict_altitude(s, t, d)


@lean_kernel
def update_altitude(s: Row, datum: int, t: float, z: Row) -> int:
    """Update row s (dtype ALTITUDE), with its datum, by the height and climb of detection z at time t; returns the new datum.

    hh = 0 means that no height is known.
    """
    has_height = z.alt == z.alt
    if s.hh <= 0.0 or (has_height and (datum != z.datum or t - s.t > FRESH_S)):
        if not has_height:
            return datum
        s.t, s.h, s.hh, s.hw = t, z.alt, z.alt_var, 0.0
        s.w, s.ww = 0.0, CLIMB_SIGMA_MPS * CLIMB_SIGMA_MPS
        if z.climb == z.climb:
            s.w, s.ww = z.climb, z.climb_var
        return np.int64(z.datum)
    predict_altitude(s, t, s)
    if has_height:
        k, m = s.hh / (s.hh + z.alt_var), s.hw / (s.hh + z.alt_var)
        y = z.alt - s.h
        s.h, s.w = s.h + k * y, s.w + m * y
        s.ww -= m * s.hw
        s.hw -= k * s.hw
        s.hh -= k * s.hh
    if z.climb == z.climb:
        k, m = s.hw / (s.ww + z.climb_var), s.ww / (s.ww + z.climb_var)
        y = z.climb - s.w
        s.h, s.w = s.h + k * y, s.w + m * y
        s.hh -= k * s.hw
        s.hw -= m * s.hw
        s.ww -= m * s.ww
    return datum


@lean_kernel
def altitude_loglik_ratio(s: Row, datum: int, t: float, z: Row, span_m: float) -> float:
    """Log of N(height) over a uniform height within span_m; 0 where either is unknown or the datums differ."""
    if z.alt != z.alt or datum != z.datum or s.hh <= 0.0:
        return 0.0
    dt = t - s.t
    u = abs(dt)
    var = s.hh + dt * (2.0 * s.hw + dt * s.ww) + Q_CLIMB * u * u * u / 3.0 + z.alt_var
    y = z.alt - s.h - s.w * dt
    return -0.5 * (y * y / var + LOG_2PI + math.log(var)) + math.log(span_m)
