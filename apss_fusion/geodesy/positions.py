"""Offsets and moves of many positions at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import moved, offset
from apss_fusion.kernels import kernel

FloatArray = NDArray[np.float64]


@kernel
def offsets(a: FloatArray, b: FloatArray) -> FloatArray:
    """East and north in m (m, 2) from n-vectors a to b, (m, 3) each, in the frames of a."""
    out = np.empty((len(a), 2))
    for i in range(len(a)):
        out[i, 0], out[i, 1] = offset(a[i, 0], a[i, 1], a[i, 2], b[i, 0], b[i, 1], b[i, 2])
    return out


@kernel
def moves(a: FloatArray, way_m: FloatArray) -> FloatArray:
    """n-vectors (m, 3) reached from a (m, 3) along the geodesics that begin with (east, north) in m (m, 2)."""
    out = np.empty((len(a), 3))
    for i in range(len(a)):
        out[i, 0], out[i, 1], out[i, 2] = moved(a[i, 0], a[i, 1], a[i, 2], way_m[i, 0], way_m[i, 1])
    return out
