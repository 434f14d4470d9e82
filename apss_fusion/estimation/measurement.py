"""Measurement models and their Kalman updates on rows of the bank.

A detection measures the position (with its own R; it may lie dt seconds beside the look's time: H = [I dt I]), and where it
has them the velocity (speed and course), the range rate along a line of sight, in this order, each conditioned on the one
before. For every part, in textbook names:

    y = z - H x,  S = H P H' + R,  K = P H' S^-1,  x <- x + K y,  P <- P - K S K'

The log-likelihood of the detection is the sum of log N(y; 0, S) of the parts: their joint density.
"""

from __future__ import annotations

import math

import numpy as np

from apss_fusion.kernels import Row, lean_kernel

LOG_2PI = 1.8378770664093453
#: Floors of the diagonal of P after an update, m^2 and m^2/s^2: no sensor here is better, and P stays positive.
MIN_POSITION_VAR = 1e-2
MIN_VELOCITY_VAR = 1e-6

#: Posterior of one hypothesis: shift of the mean (e, n in m; a, b in m/s) from the prediction, and P.
POSTERIOR = np.dtype(
    [(k, "f8") for k in ("e", "n", "a", "b", "ee", "en", "nn", "ea", "eb", "na", "nb", "aa", "ab", "bb", "loglik")]
)


@lean_kernel
def gate_distance(p: Row, z: Row, east_m: float, north_m: float, qxx: float) -> float:
    """Squared Mahalanobis distance of the position part of detection z from prediction p.

    east_m, north_m: from the predicted position at the look's time to the detection. qxx: variance of the motion noise in
    the seconds between the look's time and the detection's.
    """
    dt = z.dt
    see = p.ee + dt * (2.0 * p.ea + dt * p.aa) + qxx + z.ree
    snn = p.nn + dt * (2.0 * p.nb + dt * p.bb) + qxx + z.rnn
    sen = p.en + dt * (p.eb + p.na + dt * p.ab) + z.ren
    de, dn = east_m - p.a * dt, north_m - p.b * dt
    return (de * de * snn - 2.0 * de * dn * sen + dn * dn * see) / (see * snn - sen * sen)


@lean_kernel
def update(p: Row, z: Row, east_m: float, north_m: float, qxx: float, h: Row) -> None:
    """Posterior of prediction p given all that detection z measures, into h (dtype POSTERIOR)."""
    update_position(p, z, east_m, north_m, qxx, h)
    if z.va == z.va:
        h.loglik += _update_two(h, 0.0, 1.0, z.va - p.a - h.a, z.vb - p.b - h.b, z.vaa, z.vab, z.vbb)
    if z.rate == z.rate:
        h.loglik += _update_rate(h, z.le, z.ln, z.rate - z.le * (p.a + h.a) - z.ln * (p.b + h.b), z.rate_var)
    _keep_above_floor(h)


@lean_kernel
def update_position(p: Row, z: Row, east_m: float, north_m: float, qxx: float, h: Row) -> None:
    """Posterior of prediction p given the position of detection z alone, into h (dtype POSTERIOR)."""
    h.e = h.n = h.a = h.b = 0.0
    h.ee, h.en, h.nn, h.ea, h.eb, h.na, h.nb = p.ee, p.en, p.nn, p.ea, p.eb, p.na, p.nb
    h.aa, h.ab, h.bb = p.aa, p.ab, p.bb
    dt = z.dt
    h.loglik = _update_two(h, 1.0, dt, east_m - p.a * dt, north_m - p.b * dt, z.ree + qxx, z.ren, z.rnn + qxx)
    _keep_above_floor(h)


@lean_kernel
def _keep_above_floor(h: Row) -> None:
    h.ee, h.nn = max(h.ee, MIN_POSITION_VAR), max(h.nn, MIN_POSITION_VAR)
    h.aa, h.bb = max(h.aa, MIN_VELOCITY_VAR), max(h.bb, MIN_VELOCITY_VAR)


@lean_kernel
def _update_two(h: Row, on_x: float, on_v: float, ye: float, yn: float, ree: float, ren: float, rnn: float) -> float:
    """Update h by two measured components, H = [on_x I, on_v I], innovation (ye, yn); returns log N(y; 0, S)."""
    # C = P H', rows e n a b, columns east north
    cee, cen = on_x * h.ee + on_v * h.ea, on_x * h.en + on_v * h.eb
    cne, cnn = on_x * h.en + on_v * h.na, on_x * h.nn + on_v * h.nb
    cae, can = on_x * h.ea + on_v * h.aa, on_x * h.na + on_v * h.ab
    cbe, cbn = on_x * h.eb + on_v * h.ab, on_x * h.nb + on_v * h.bb
    see = on_x * cee + on_v * cae + ree
    snn = on_x * cnn + on_v * cbn + rnn
    sen = on_x * cen + on_v * can + ren
    det = see * snn - sen * sen
    iee, ien, inn = snn / det, -sen / det, see / det
    kee, ken = cee * iee + cen * ien, cee * ien + cen * inn
    kne, knn = cne * iee + cnn * ien, cne * ien + cnn * inn
    kae, kan = cae * iee + can * ien, cae * ien + can * inn
    kbe, kbn = cbe * iee + cbn * ien, cbe * ien + cbn * inn
    h.e += kee * ye + ken * yn
    h.n += kne * ye + knn * yn
    h.a += kae * ye + kan * yn
    h.b += kbe * ye + kbn * yn
    h.ee -= kee * cee + ken * cen
    h.en -= kee * cne + ken * cnn
    h.nn -= kne * cne + knn * cnn
    h.ea -= kee * cae + ken * can
    h.eb -= kee * cbe + ken * cbn
    h.na -= kne * cae + knn * can
    h.nb -= kne * cbe + knn * cbn
    h.aa -= kae * cae + kan * can
    h.ab -= kae * cbe + kan * cbn
    h.bb -= kbe * cbe + kbn * cbn
    return -0.5 * (ye * ye * iee + 2.0 * ye * yn * ien + yn * yn * inn) - LOG_2PI - 0.5 * math.log(det)


@lean_kernel
def _update_rate(h: Row, le: float, ln: float, y: float, r: float) -> float:
    """Update h by one component of the velocity, H = [0 0 le ln], innovation y; returns log N(y; 0, S)."""
    ce, cn = h.ea * le + h.eb * ln, h.na * le + h.nb * ln
    ca, cb = h.aa * le + h.ab * ln, h.ab * le + h.bb * ln
    s = ca * le + cb * ln + r
    ke, kn, ka, kb = ce / s, cn / s, ca / s, cb / s
    h.e += ke * y
    h.n += kn * y
    h.a += ka * y
    h.b += kb * y
    h.ee -= ke * ce
    h.en -= ke * cn
    h.nn -= kn * cn
    h.ea -= ke * ca
    h.eb -= ke * cb
    h.na -= kn * ca
    h.nb -= kn * cb
    h.aa -= ka * ca
    h.ab -= ka * cb
    h.bb -= kb * cb
    return -0.5 * (y * y / s + LOG_2PI + math.log(s))
