"""Consistency: whether errors are as large as the covariances that come with them say.

Bar-Shalom, Li and Kirubarajan 2001, "Estimation with Applications to Tracking and Navigation", section 5.4. If it is so,
the normalised error squared of n dimensions is distributed as chi-square with n degrees of freedom; its mean over N
independent cases, divided by n (ANEES), lies near 1: less is too cautious, more is too sure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv

FloatArray = NDArray[np.float64]


class Interval(NamedTuple):
    """Bounds, of which both belong to the interval."""

    low: float
    high: float


def nees(error: ArrayLike, covariance: ArrayLike) -> FloatArray:
    """Normalised estimation error squared, ``e' P^-1 e``, of errors (N, n) with covariances (N, n, n); (N,).

    Raises ValueError on other shapes, values that are not finite, and a covariance that is not positive definite.
    """
    e, cov = np.asarray(error, np.float64), np.asarray(covariance, np.float64)
    if e.ndim != 2 or cov.shape != (*e.shape, e.shape[1]):
        raise ValueError(f"errors (N, n) need covariances (N, n, n), not {e.shape} and {cov.shape}")
    if not np.isfinite(e).all() or not np.isfinite(cov).all():
        raise ValueError("an error or a covariance is not finite")
    try:
        root = np.linalg.cholesky(cov)
    except np.linalg.LinAlgError:
        raise ValueError("a covariance is not positive definite") from None
    whitened = np.linalg.solve(root, e[..., None])[..., 0]
    return np.asarray(np.sum(whitened**2, axis=1))


def nis(innovation: ArrayLike, covariance: ArrayLike) -> FloatArray:
    """Normalised innovation squared, ``v' S^-1 v``, of innovations (N, n) with covariances (N, n, n); (N,)."""
    return nees(innovation, covariance)


def anees(values: ArrayLike, dimension: int) -> float:
    """Mean of NEES (or NIS) values (N,), divided by the dimension n: 1 on average if all is consistent."""
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all() or dimension < 1:
        raise ValueError("the mean needs finite values and a dimension of at least 1")
    return float(array.mean() / dimension)


def anees_bounds(count: int, dimension: int, probability: float = 0.95) -> Interval:
    """Where :func:`anees` of `count` independent consistent cases lies with this probability, half of the rest each side.

    ``chi2inv([(1 - probability) / 2, (1 + probability) / 2], N n) / (N n)``. Errors of one track at successive times are
    not independent: the interval is then too narrow.
    """
    if count < 1 or dimension < 1 or not 0.0 < probability < 1.0:
        raise ValueError(f"no interval for {count} cases of {dimension} dimensions and probability {probability}")
    half = count * dimension / 2.0
    # The quantile of chi-square with k degrees of freedom is twice that of the gamma distribution of shape k / 2.
    low, high = gammaincinv(half, [(1.0 - probability) / 2.0, (1.0 + probability) / 2.0]) / half
    return Interval(float(low), float(high))
