"""Steps of chains on the ellipsoid: the engine's prediction as F, Q and what the next state lies beside it."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.motion import POLAR_COS_LAT, STATE, predict, process_noise
from apss_fusion.geodesy.wgs84 import frame_rotation, offset
from apss_fusion.kernels import Row, inline_kernel, kernel
from apss_fusion.tracking.config import Params

FloatArray = NDArray[np.float64]


class Steps(NamedTuple):
    """Steps from states to later ones, one a row.

    F and Q (n, 4, 4) lead to the local frame of the later state; d (n, 4) is how far that lies from the prediction, in
    (e, n, ve, vn).
    """

    f: FloatArray
    q: FloatArray
    d: FloatArray

    def predicted(self, p: FloatArray) -> FloatArray:
        """Pp = F P F' + Q of the covariances p (n, 4, 4) that the steps begin with."""
        return quadratic(self.f, p) + self.q


class Motion(NamedTuple):
    """Parameters of motion, (n,) each: noise density, its return, and whether the object flies great circles."""

    q: FloatArray
    g: FloatArray
    great_circle: NDArray[np.bool_]

    @classmethod
    def of(cls, params: Params, domain: NDArray[np.int64]) -> Motion:
        """Those of domains, by their codes (n,)."""
        d = params.domain[domain]
        return cls(d["q"].copy(), d["g"].copy(), d["great_circle"] != 0)

    def take(self, which: NDArray[np.int64]) -> Motion:
        """Some rows."""
        return Motion(self.q[which], self.g[which], self.great_circle[which])


def quadratic(a: NDArray[Any], p: NDArray[Any]) -> FloatArray:
    """A P A', (n, 4, 4) each."""
    out: FloatArray = a @ p @ a.transpose(0, 2, 1)
    return out


@inline_kernel
def turns(s: Row, great_circle: bool) -> bool:
    """Whether state row s flies a great circle, along which its frame turns: as in `predict`."""
    return great_circle or math.sqrt(s.x * s.x + s.y * s.y) < POLAR_COS_LAT


@kernel
def _steps(
    rows: NDArray[np.void],
    later: NDArray[np.void],
    q: FloatArray,
    g: FloatArray,
    great_circle: NDArray[np.bool_],
    predicted: NDArray[np.void],
    f: FloatArray,
    noise: FloatArray,
    d: FloatArray,
) -> None:
    for i in range(len(rows)):
        s, n, p = rows[i], later[i], predicted[i]
        predict(s, n.t, q[i], g[i], great_circle[i], p)
        dt = n.t - s.t
        de, dn = offset(p.x, p.y, p.z, n.x, n.y, n.z)
        a, b, c, k = p.a, p.b, 1.0, 0.0
        if turns(s, great_circle[i]):
            c, k = frame_rotation(p.x, p.y, p.z, n.x, n.y, n.z)
            de, dn = c * de - k * dn, k * de + c * dn
            a, b = c * a - k * b, k * a + c * b
            c1, k1 = frame_rotation(s.x, s.y, s.z, p.x, p.y, p.z)
            c, k = c * c1 - k * k1, k * c1 + c * k1
        f[i, 0, 0], f[i, 0, 1], f[i, 0, 2], f[i, 0, 3] = c, -k, c * dt, -k * dt
        f[i, 1, 0], f[i, 1, 1], f[i, 1, 2], f[i, 1, 3] = k, c, k * dt, c * dt
        f[i, 2, 2], f[i, 2, 3], f[i, 3, 2], f[i, 3, 3] = c, -k, k, c
        noise[i, 0], noise[i, 1], noise[i, 2] = process_noise(q[i], g[i], dt)
        d[i, 0], d[i, 1], d[i, 2], d[i, 3] = de, dn, n.a - a, n.b - b


@kernel
def _rotations(a: FloatArray, b: FloatArray, which: NDArray[np.bool_], out: FloatArray) -> None:
    for i in range(len(a)):
        c, k = 1.0, 0.0
        if which[i]:
            c, k = frame_rotation(a[i, 0], a[i, 1], a[i, 2], b[i, 0], b[i, 1], b[i, 2])
        for j in range(0, 4, 2):
            out[i, j, j], out[i, j, j + 1], out[i, j + 1, j], out[i, j + 1, j + 1] = c, -k, k, c


def steps_between(rows: NDArray[np.void], later: NDArray[np.void], motion: Motion) -> tuple[Steps, NDArray[np.void]]:
    """The steps from rows to later ones, and the predictions."""
    n = len(rows)
    predicted = np.zeros(n, STATE)
    f, noise, d = np.zeros((n, 4, 4)), np.zeros((n, 3)), np.zeros((n, 4))
    _steps(rows, later, *motion, predicted, f, noise, d)
    return Steps(f, noise_matrices(noise), d), predicted


def noise_matrices(noise: FloatArray) -> FloatArray:
    """Q (n, 4, 4) of (e, n, ve, vn) from (Qxx, Qxv, Qvv) of one axis, (n, 3)."""
    q = np.zeros((len(noise), 4, 4))
    for axis in (0, 1):
        q[:, axis, axis], q[:, axis + 2, axis + 2] = noise[:, 0], noise[:, 2]
        q[:, axis, axis + 2] = q[:, axis + 2, axis] = noise[:, 1]
    return q


def rotations(a: FloatArray, b: FloatArray, which: NDArray[np.bool_]) -> FloatArray:
    """The turn of the local frame from n-vectors a to b (n, 3) as matrices (n, 4, 4) of (e, n, ve, vn); I where not asked for."""
    out = np.zeros((len(a), 4, 4))
    _rotations(a, b, which, out)
    return out


def turning(position: FloatArray, motion: Motion) -> NDArray[np.bool_]:
    """Whether the frame turns along the way of objects at n-vectors (n, 3): as in `predict`."""
    out: NDArray[np.bool_] = motion.great_circle | (np.hypot(position[:, 0], position[:, 1]) < POLAR_COS_LAT)
    return out


def free(reach: FloatArray, keeps: FloatArray) -> FloatArray:
    """[I reach I; 0 keeps I], (n, 4, 4)."""
    out = np.zeros((len(reach), 4, 4))
    for axis in (0, 1):
        out[:, axis, axis], out[:, axis, axis + 2], out[:, axis + 2, axis + 2] = 1.0, reach, keeps
    return out


def noise_carried(g: FloatArray, t_s: FloatArray) -> FloatArray:
    """A (n, 4, 4): what (position, velocity) noise becomes t_s later, if its velocity returns at the rate g (0: never)."""
    u = g * t_s
    # (1 - exp(-u)) / g, also where g is 0.
    reach = t_s.copy()
    np.divide(-np.expm1(-u), g, out=reach, where=g > 0.0)
    return free(reach, np.asarray(np.exp(-u), np.float64))
