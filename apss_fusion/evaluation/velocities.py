"""Velocities as vectors in ECEF, which need no frame that turns near a pole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.evaluation.records import Truth
from apss_fusion.geodesy.positions import moves
from apss_fusion.geodesy.wgs84 import ecef, geodetic

FloatArray = NDArray[np.float64]

#: Truth positions of one object further apart in time say nothing about its velocity.
MOST_BETWEEN_S = 300.0


def positions(n: FloatArray) -> FloatArray:
    """ECEF coordinates (m, 3) in m of n-vectors (m, 3) on the ellipsoid."""
    return ecef(*geodetic(n), 0.0)


def truth_velocities(truth: Truth) -> FloatArray:
    """Velocities (n, 3) in m/s at all truth positions: the chord between the neighbours in time, over its duration.

    At an end of a trajectory, or where the other neighbour is more than ``MOST_BETWEEN_S`` away in time, that to the
    one neighbour; NaN where there is none.
    """
    count = len(truth.item)
    xyz = positions(truth.position)
    time_s = np.repeat(truth.times_us * 1e-6, np.diff(truth.start))
    order = np.lexsort((time_s, truth.item))
    xyz, time_s, item = xyz[order], time_s[order], truth.item[order]
    linked = (np.diff(item) == 0) & (np.diff(time_s) <= MOST_BETWEEN_S) & (np.diff(time_s) > 0.0)
    here = np.arange(count)
    before, after = here.copy(), here.copy()
    before[1:] -= linked
    after[:-1] += linked
    span = (time_s[after] - time_s[before])[:, None]
    velocity = np.full((count, 3), np.nan)
    np.divide(xyz[after] - xyz[before], span, out=velocity, where=span > 0.0)
    out = np.empty((count, 3))
    out[order] = velocity
    return out


def track_velocities(position: FloatArray, velocity: FloatArray, age_s: FloatArray) -> FloatArray:
    """Velocities (m, 3) in m/s after `age_s` (m,) along the geodesics from n-vectors with (east, north) in m/s (m, 2).

    The chord of one second, half before and half after.
    """
    early, late = (moves(position, velocity * (age_s + half)[:, None]) for half in (-0.5, 0.5))
    return np.asarray(positions(late) - positions(early))
