"""Stored rows are rounded to a grid of their own uncertainty, so that a difference that no longer matters also ends.

A difference between two histories of a track (a late look, say) then dies after some tens of updates instead of living on
in the last bits for ever. The state moves by less than 2^-9 of its sigma, which is far below what is known about it.
The covariance is rounded in its factors L D L', so that it stays positive.
"""

from __future__ import annotations

import math

from apss_fusion.geodesy.wgs84 import MEAN_RADIUS_M
from apss_fusion.kernels import Row, inline_kernel, lean_kernel

#: Significant bits of a covariance factor, and bits of a state below its sigma.
BITS = 8
_SPLIT = 2.0 ** (53 - BITS) + 1.0
#: Adding and taking away this times a power of two rounds to a multiple of that power.
_ROUNDER = 6755399441055744.0
PROBABILITY_GRID = 1048576.0


@inline_kernel
def significant(v: float) -> float:
    """V rounded to `BITS` significant bits (Dekker's splitting)."""
    c = v * _SPLIT
    return c - (c - v)


@inline_kernel
def to_grid(v: float, grid: float) -> float:
    """V rounded to a multiple of grid, a power of two; never -0.0."""
    m = _ROUNDER * grid
    return (v + m) - m + 0.0


@inline_kernel
def probability(p: float) -> float:
    """P rounded to a multiple of 2^-20: it reaches 0 and 1."""
    return math.floor(p * PROBABILITY_GRID + 0.5) / PROBABILITY_GRID


@inline_kernel
def power_below(v: float) -> float:
    """The power of two at or just below v > 0."""
    return math.ldexp(1.0, math.frexp(v)[1] - 1)


@lean_kernel
def round_state(s: Row) -> None:
    """Round state row s (dtype STATE) in place: P in its L D L' factors, x to 2^-BITS of its sigma."""
    d0 = significant(s.ee)
    g0 = power_below(math.sqrt(d0))
    u1, u2, u3 = s.en / s.ee, s.ea / s.ee, s.eb / s.ee
    v1 = max(s.nn - u1 * s.en, 1e-9 * s.nn)
    d1 = significant(v1)
    g1 = power_below(math.sqrt(d1))
    w2, w3 = (s.na - u1 * s.ea) / v1, (s.nb - u1 * s.eb) / v1
    v2 = max(s.aa - u2 * s.ea - w2 * w2 * v1, 1e-9 * s.aa)
    d2 = significant(v2)
    g2 = power_below(math.sqrt(d2))
    q3 = (s.ab - u2 * s.eb - w2 * w3 * v1) / v2
    v3 = max(s.bb - u3 * s.eb - w3 * w3 * v1 - q3 * q3 * v2, 1e-9 * s.bb)
    d3 = significant(v3)
    g3 = power_below(math.sqrt(d3))
    step = 2.0**-BITS
    u1, u2, u3 = to_grid(u1, step * g1 / g0), to_grid(u2, step * g2 / g0), to_grid(u3, step * g3 / g0)
    w2, w3 = to_grid(w2, step * g2 / g1), to_grid(w3, step * g3 / g1)
    q3 = to_grid(q3, step * g3 / g2)
    s.ee, s.en, s.ea, s.eb = d0, u1 * d0, u2 * d0, u3 * d0
    s.nn = u1 * u1 * d0 + d1
    s.na = u2 * u1 * d0 + w2 * d1
    s.nb = u3 * u1 * d0 + w3 * d1
    s.aa = u2 * u2 * d0 + w2 * w2 * d1 + d2
    s.ab = u3 * u2 * d0 + w3 * w2 * d1 + q3 * d2
    s.bb = u3 * u3 * d0 + w3 * w3 * d1 + q3 * q3 * d2 + d3
    # Position: the sigma of the tighter axis, as an angle.
    fine = min(g0, g1) * step
    grid = power_below(fine / MEAN_RADIUS_M)
    s.x, s.y, s.z = to_grid(s.x, grid), to_grid(s.y, grid), to_grid(s.z, grid)
    s.a, s.b = to_grid(s.a, g2 * step), to_grid(s.b, g3 * step)


@lean_kernel
def round_altitude(s: Row) -> None:
    """Round altitude row s (dtype ALTITUDE) in place, as `round_state`."""
    if s.hh <= 0.0:
        return
    d0 = significant(s.hh)
    u = s.hw / s.hh
    d1 = significant(max(s.ww - u * s.hw, 1e-9 * s.ww))
    g0, g1 = power_below(math.sqrt(d0)), power_below(math.sqrt(d1))
    step = 2.0**-BITS
    u = to_grid(u, step * g1 / g0)
    s.hh, s.hw, s.ww = d0, u * d0, u * u * d0 + d1
    s.h, s.w = to_grid(s.h, g0 * step), to_grid(s.w, g1 * step)
