"""Motion: near-constant velocity on the ellipsoid, with process noise that stays bounded over long gaps.

On the local tangent plane, per axis, the state is (position, velocity) and over a gap of t seconds

    F = [1 t; 0 1]
    Q = [Qxx Qxv; Qxv Qvv], the noise of an Ornstein-Uhlenbeck velocity about the held one:
    Qxx = q/g^3 [u - 2(1-e) + (1-e^2)/2],  Qxv = q/(2 g^2) (1-e)^2,  Qvv = q/(2g) (1-e^2),   u = g t, e = exp(-u)

(Millefiori et al. 2016; the limit g -> 0 is white-noise acceleration, Q = q [t^3/3 t^2/2; t^2/2 t]). The velocity's own
uncertainty grows position by t^2 P_vv, as for a mean velocity that is estimated; only its wandering is bounded.

Ships and vehicles hold their course (a rhumb line): the velocity keeps its east and north parts. Aircraft, and everything
beyond 85 degrees of latitude, fly great circles: velocity and covariance are carried along in parallel and turn in the
local frame by the convergence of the meridians. A prediction is always one step from a row's own last update.
"""

from __future__ import annotations

import math

import numpy as np

from apss_fusion.geodesy.wgs84 import frame_rotation, moved, radii
from apss_fusion.kernels import Row, inline_kernel, lean_kernel

#: Kinematic state of a track, or a prediction of it: 128 bytes, two cache lines. Position as an n-vector; velocity east (a)
#: and north (b) in m/s; covariance of (e, n, a, b) on the local tangent plane; time t in s since 1970.
STATE = np.dtype(
    [(k, "f8") for k in ("x", "y", "z", "a", "b", "ee", "en", "nn", "ea", "eb", "na", "nb", "aa", "ab", "bb", "t")]
)

#: Distance between cos(latitude) here and the pole beyond which a rhumb line is no course that anybody holds: 85 degrees.
POLAR_COS_LAT = 0.08715574274765817
#: In place of the rate g of a noise model: Q = q [t^3/4 t^2/2; t^2/2 t], the piecewise constant acceleration of many scenarios
#: (Bar-Shalom, Li and Kirubarajan 2001, 6.3.2), with q its variance times the gap.
PIECEWISE = -1.0
#: Below this u = g t the closed forms lose digits; the series takes over (relative error below 1e-12).
_SERIES_U = 0.02


@inline_kernel
def process_noise(q: float, g: float, t: float) -> tuple[float, float, float]:
    """(Qxx, Qxv, Qvv) of one axis over a gap of |t| seconds.

    q: noise density, m^2/s^3. g: rate at which the velocity returns, 1/s (0: never). PIECEWISE: an acceleration that is constant
    over the gap, of variance q / |t|.
    """
    t = abs(t)
    u = g * t
    if g == PIECEWISE:
        qxx, qxv, qvv = 0.25 * q * t * t * t, 0.5 * q * t * t, q * t
    elif u < _SERIES_U:
        qxx = q * t * t * t * (1.0 / 3.0 - u * (0.25 - u * (7.0 / 60.0 - u * (1.0 / 24.0 - u * (31.0 / 2520.0)))))
        qxv = 0.5 * q * t * t * (1.0 - u * (1.0 - u * (7.0 / 12.0 - u * (0.25 - u * (31.0 / 360.0)))))
        qvv = q * t * (1.0 - u * (1.0 - u * (2.0 / 3.0 - u * (1.0 / 3.0 - u * (2.0 / 15.0)))))
    else:
        e = math.exp(-u)
        d = 1.0 - e
        qxx = q / (g * g * g) * (u - 2.0 * d + 0.5 * (1.0 - e * e))
        qxv = 0.5 * q / (g * g) * d * d
        qvv = 0.5 * q / g * (1.0 - e * e)
    return qxx, qxv, qvv


@lean_kernel
def predict(s: Row, t: float, q: float, g: float, great_circle: bool, d: Row) -> None:
    """Write the prediction of state row s to time t into row d (dtype STATE); s and d may not be the same row.

    Also backwards in time: x by F(-t), P by F(-t) and Q(|t|).
    """
    dt = t - s.t
    qxx, qxv, qvv = process_noise(q, g, dt)
    if dt < 0.0:
        qxv = -qxv
    d.t = t
    d.a, d.b = s.a, s.b
    d.ee = s.ee + dt * (2.0 * s.ea + dt * s.aa) + qxx
    d.nn = s.nn + dt * (2.0 * s.nb + dt * s.bb) + qxx
    d.en = s.en + dt * (s.eb + s.na + dt * s.ab)
    d.ea = s.ea + dt * s.aa + qxv
    d.eb = s.eb + dt * s.ab
    d.na = s.na + dt * s.ab
    d.nb = s.nb + dt * s.bb + qxv
    d.aa, d.ab, d.bb = s.aa + qvv, s.ab, s.bb + qvv
    east_m, north_m = s.a * dt, s.b * dt
    cos_lat = math.sqrt(s.x * s.x + s.y * s.y)
    if great_circle or cos_lat < POLAR_COS_LAT:
        d.x, d.y, d.z = moved(s.x, s.y, s.z, east_m, north_m)
        c, k = frame_rotation(s.x, s.y, s.z, d.x, d.y, d.z)
        turn(d, c, -k)
    else:
        # The great circle that leads to the end of the rhumb line leaves at half the convergence, poleward of the course.
        normal, _ = radii(s.z)
        half = 0.5 * east_m * s.z / (normal * cos_lat)
        d.x, d.y, d.z = moved(s.x, s.y, s.z, east_m - half * north_m, north_m + half * east_m)


@lean_kernel
def turn(d: Row, c: float, k: float) -> None:
    """Turn velocity and covariance of row d clockwise by the angle with cosine c and sine k: T P T', T = [c k; -k c]."""
    a, b = d.a, d.b
    d.a, d.b = c * a + k * b, c * b - k * a
    ee, en, nn = d.ee, d.en, d.nn
    d.ee = c * c * ee + 2.0 * c * k * en + k * k * nn
    d.nn = k * k * ee - 2.0 * c * k * en + c * c * nn
    d.en = (c * c - k * k) * en + c * k * (nn - ee)
    aa, ab, bb = d.aa, d.ab, d.bb
    d.aa = c * c * aa + 2.0 * c * k * ab + k * k * bb
    d.bb = k * k * aa - 2.0 * c * k * ab + c * c * bb
    d.ab = (c * c - k * k) * ab + c * k * (bb - aa)
    ea, eb, na, nb = d.ea, d.eb, d.na, d.nb
    d.ea = c * c * ea + c * k * (eb + na) + k * k * nb
    d.eb = c * c * eb + c * k * (nb - ea) - k * k * na
    d.na = c * c * na + c * k * (nb - ea) - k * k * eb
    d.nb = c * c * nb - c * k * (eb + na) + k * k * ea


@inline_kernel
def position_variance(s: Row, q: float, g: float, dt: float) -> float:
    """Larger principal variance of the position dt seconds after the row's time, m^2."""
    qxx, _, _ = process_noise(q, g, dt)
    ee = s.ee + dt * (2.0 * s.ea + dt * s.aa) + qxx
    nn = s.nn + dt * (2.0 * s.nb + dt * s.bb) + qxx
    en = s.en + dt * (s.eb + s.na + dt * s.ab)
    return 0.5 * (ee + nn + math.sqrt((ee - nn) * (ee - nn) + 4.0 * en * en))


@inline_kernel
def reach_m(s: Row, q: float, dt: float, sigmas: float) -> float:
    """Upper bound, growing with dt >= 0, of the way from the row's position to the far side of its gate dt seconds on."""
    var = s.ee + s.nn + 2.0 * dt * (abs(s.ea) + abs(s.nb)) + dt * dt * (s.aa + s.bb) + q * dt * dt * dt * (2.0 / 3.0)
    return math.sqrt(s.a * s.a + s.b * s.b) * dt + sigmas * math.sqrt(var)
