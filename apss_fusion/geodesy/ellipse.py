"""Error ellipses and covariances of a position in the local east, north frame.

An ellipse is two semi-axes in m, the direction of the major one in degrees clockwise from true north, and the
probability that it holds the object. For two dimensions the square of its radius in sigmas is chi-squared with two
degrees of freedom, so ``k^2 = -2 ln(1 - p)``: 39.3 % is k = 1, 95 % is k = 2.448.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apss_fusion.geodesy.wgs84 import columns
from apss_fusion.kernels import inline_kernel, kernel


@inline_kernel
def sigma_axes(ee: float, en: float, nn: float) -> tuple[float, float, float]:
    """Standard deviations along the principal axes, larger first, and the larger one's direction in degrees [0, 180).

    In the units of the root of the covariance; a circle's direction is 0.
    """
    half = 0.5 * math.sqrt((ee - nn) * (ee - nn) + 4.0 * en * en)
    major = 0.5 * (ee + nn) + half
    minor = max((ee * nn - en * en) / major, 0.0) if major > 0.0 else 0.0
    direction = 0.5 * math.atan2(2.0 * en, nn - ee) * (180.0 / math.pi)
    if direction < 0.0:
        direction += 180.0
    if direction >= 180.0:
        direction = 0.0
    return math.sqrt(max(major, 0.0)), math.sqrt(minor), direction


@kernel
def _covariances(
    major: NDArray[np.float64],
    minor: NDArray[np.float64],
    direction_deg: NDArray[np.float64],
    probability: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for i in range(len(major)):
        k2 = -2.0 * math.log1p(-probability[i])
        a, b = major[i] * major[i] / k2, minor[i] * minor[i] / k2
        turn = direction_deg[i] * (math.pi / 180.0)
        s, c = math.sin(turn), math.cos(turn)
        out[i, 0] = a * s * s + b * c * c
        out[i, 1] = (a - b) * s * c
        out[i, 2] = a * c * c + b * s * s


@kernel
def _ellipses(
    ee: NDArray[np.float64],
    en: NDArray[np.float64],
    nn: NDArray[np.float64],
    probability: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for i in range(len(ee)):
        k = math.sqrt(-2.0 * math.log1p(-probability[i]))
        major, minor, direction = sigma_axes(ee[i], en[i], nn[i])
        out[0, i], out[1, i], out[2, i] = k * major, k * minor, direction


def covariance_of_ellipse(
    semi_major_m: ArrayLike, semi_minor_m: ArrayLike, orientation_deg: ArrayLike, probability: ArrayLike
) -> NDArray[np.float64]:
    """Covariances [ee, en, nn] in m^2, (m, 3), of ellipses: ``P = R diag((a/k)^2, (b/k)^2) R'``.

    The arguments are (m,) each, or numbers for all. A probability outside (0, 1) is for the caller to refuse:
    it gives values that are zero or not finite.
    """
    major, minor, direction, p = columns(semi_major_m, semi_minor_m, orientation_deg, probability)
    out = np.empty((len(major), 3))
    _covariances(major, minor, direction, p, out)
    return out


def ellipse_of_covariance(
    ee: ArrayLike, en: ArrayLike, nn: ArrayLike, probability: ArrayLike = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Semi-major and semi-minor axis in m and orientation in degrees, in [0, 180), of covariances in m^2; (m,) each."""
    east, both, north, p = columns(ee, en, nn, probability)
    out = np.empty((3, len(east)))
    _ellipses(east, both, north, p, out)
    return out[0], out[1], out[2]
