"""The Rauch-Tung-Striebel smoother over chains of states on the ellipsoid, with the engine's models of motion.

In textbook names, from the last state of a track backwards,

    Pp = F P F' + Q,   C = P F' Pp^-1
    x_s = x + C (x_s+ - F x),   P_s = P + C (P_s+ - Pp) C'

where + is the next state (Rauch, Tung and Striebel 1965); no measurement is needed, the filtered states hold them.

**Frame.** There is no map on which a flight of 2,000 km is a plane. But the equations only ask for differences: how far a
state lies from the prediction of the one before. So each step is taken on the ellipsoid, as the engine takes it
(`estimation.motion.predict`: a rhumb line, or a great circle along which velocity and covariance turn), and

    d+ = (filtered state) - (prediction of the one before),   in the local frame of the filtered state,

is a difference of sigmas, not of the way flown. Coordinates with X = 0 at the first state and X+ = F X + d+ have just these
differences, so the plane smoother applies to them unchanged, and its correction X_s - X is laid off from each filtered
state. What the curvature of the Earth bends is a correction, never a way.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from filterpy.kalman import rts_smoother  # type: ignore[import-untyped]
from numpy.typing import NDArray

from apss_fusion.estimation.motion import POLAR_COS_LAT, STATE, predict, process_noise
from apss_fusion.geodesy.positions import moves
from apss_fusion.geodesy.wgs84 import frame_rotation, offset
from apss_fusion.kernels import Row, inline_kernel, kernel
from apss_fusion.smoothing.chains import Chains, chains, replaced_by, revisions
from apss_fusion.smoothing.records import UPPER, Updates
from apss_fusion.tracking.config import Config, Params

FloatArray = NDArray[np.float64]
#: Squared Mahalanobis distance up to which a step is an ordinary one (chi-square, 2 degrees of freedom, 98.9 %).
_WELL = 9.0
_COV_FIELDS = ("ee", "en", "ea", "eb", "nn", "na", "nb", "aa", "ab", "bb")


class Smoothed(NamedTuple):
    """States as in the updates that were smoothed, one a row: n-vector, velocity, covariance; and whether it changed."""

    position: FloatArray
    velocity: FloatArray
    covariance: FloatArray
    changed: NDArray[np.bool_]


class Steps(NamedTuple):
    """Steps from states to later ones, one a row: F and Q (n, 4, 4) to the frame of the later, and d (n, 4)."""

    f: FloatArray
    q: FloatArray
    d: FloatArray


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
    """The turn of the local frame from n-vectors a to b as matrices (n, 4, 4) of (e, n, ve, vn), where asked for."""
    for i in range(len(a)):
        c, k = 1.0, 0.0
        if which[i]:
            c, k = frame_rotation(a[i, 0], a[i, 1], a[i, 2], b[i, 0], b[i, 1], b[i, 2])
        for j in range(0, 4, 2):
            out[i, j, j], out[i, j, j + 1], out[i, j + 1, j], out[i, j + 1, j + 1] = c, -k, k, c


class _Domains(NamedTuple):
    """Motion parameters of rows, (n,) each."""

    q: FloatArray
    g: FloatArray
    great_circle: NDArray[np.bool_]

    @classmethod
    def of(cls, params: Params, domain: NDArray[np.int64]) -> _Domains:
        d = params.domain[domain]
        return cls(d["q"].copy(), d["g"].copy(), d["great_circle"] != 0)


def smoothed(updates: Updates, config: Config) -> Smoothed:
    """All updates, smoothed track by track; those that nothing came after stay as they are."""
    params = config.params()
    rows = _state_rows(updates)
    c = chains(updates, _replaced(updates, rows, params))
    result = Smoothed(
        updates.position.copy(),
        updates.velocity.copy(),
        updates.covariance.copy(),
        np.zeros(len(rows), np.bool_),
    )
    if not len(c.link):
        return result
    motion = _Domains.of(params, updates.domain[c.link])
    state = rows[c.link]
    at = np.flatnonzero(c.goes_on)
    steps, _ = _take(state[at], state[at + 1], _Domains(*(v[at] for v in motion)))
    wide = _manoeuvres(steps, updates, c, at, params)
    steps = steps._replace(q=_enlarged(steps, updates.covariance[c.link], at, wide, params))
    shift, cov = _backwards(steps, updates.covariance[c.link], c.goes_on, at)
    _lay_off(result, state, shift, cov, c.link, at, motion.great_circle)
    if len(c.between):
        _interpolate(result, updates, rows, c, motion, (steps, at, wide), (shift, cov), params)
    return result


def _state_rows(u: Updates) -> NDArray[np.void]:
    rows = np.zeros(len(u.seq), STATE)
    rows["x"], rows["y"], rows["z"] = u.position.T
    rows["a"], rows["b"] = u.velocity.T
    for name, i, j in zip(_COV_FIELDS, *UPPER, strict=True):
        rows[name] = u.covariance[:, i, j]
    rows["t"] = u.time_us * 1e-6
    return rows


def _take(rows: NDArray[np.void], later: NDArray[np.void], motion: _Domains) -> tuple[Steps, NDArray[np.void]]:
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


def _replaced(u: Updates, rows: NDArray[np.void], params: Params) -> NDArray[np.bool_]:
    """Updates (n,) that a later revision contradicts.

    A revision tells only the newest state; what was told of the time since `revised_from` lacks the late look, but holds all
    others. So it stays a link of the chain, and learns of the late look from the states after it, unless the revision lies
    outside the gate of what was told before: then another detection was taken for this object, and it holds no longer.
    """
    revision, told = revisions(u)
    if not len(revision):
        return np.zeros(len(rows), np.bool_)
    steps, _ = _take(rows[told], rows[revision], _Domains.of(params, u.domain[told]))
    doubt = steps.f @ u.covariance[told] @ steps.f.transpose(0, 2, 1) + steps.q + u.covariance[revision]
    d = steps.d[:, :, None]
    distance = (d.transpose(0, 2, 1) @ np.linalg.solve(doubt, d))[:, 0, 0]
    return replaced_by(u, revision[distance > params.filter[0]["gate"]])


def _manoeuvres(
    steps: Steps, u: Updates, c: Chains, at: NDArray[np.int64], params: Params
) -> NDArray[np.bool_]:
    """Which steps the engine's wide model explains better, as it decides for reports of the same identity."""
    p, after = u.covariance[c.link[at]], u.covariance[c.link[at + 1]][:, :2, :2]
    filter_ = params.filter[0]
    carried = steps.f @ p @ steps.f.transpose(0, 2, 1)
    narrow = (carried + steps.q)[:, :2, :2]
    wide = (carried + filter_["manoeuvre_factor"] * steps.q)[:, :2, :2] + filter_["manoeuvre_jump"] * after
    y = steps.d[:, :2, None]
    distance = (y.transpose(0, 2, 1) @ np.linalg.solve(narrow, y))[:, 0, 0]
    wider = (y.transpose(0, 2, 1) @ np.linalg.solve(wide, y))[:, 0, 0]
    gain = 0.5 * (distance - wider) + 0.5 * np.log(np.linalg.det(narrow) / np.linalg.det(wide))
    moved_on = u.time_us[c.link[at + 1]] > u.time_us[c.link[at]]
    prior = filter_["manoeuvre_probability"]
    return u.named[c.link[at]] & moved_on & (distance > _WELL) & (prior * np.exp(np.minimum(gain, 700.0)) > 1.0)


def _enlarged(
    steps: Steps, p: FloatArray, at: NDArray[np.int64], wide: NDArray[np.bool_], params: Params
) -> FloatArray:
    """Q of each step: that of the wide model where it was used, and enlarged until no state surprises by its doubt.

    A filtered state that is less certain than its own prediction holds more than one hypothesis (whose detection was
    it?). Its excess over the prediction came in at this step: Q + (P+ - Pp)+, the positive part as seen from Pp.
    """
    filter_ = params.filter[0]
    q, after = steps.q.copy(), p[at + 1]
    q[wide] *= filter_["manoeuvre_factor"]
    q[wide, :2, :2] += filter_["manoeuvre_jump"] * after[wide, :2, :2]
    pp = steps.f @ p[at] @ steps.f.transpose(0, 2, 1) + q
    root = np.linalg.cholesky(pp)
    inverse = np.linalg.inv(root)
    values, vectors = np.linalg.eigh(inverse @ after @ inverse.transpose(0, 2, 1))
    # Rounding of what was published is no excess.
    excess = np.where(values > 1.0, values - 1.0, 0.0)
    stretched = root @ vectors
    out: FloatArray = q + (stretched * excess[:, None, :]) @ stretched.transpose(0, 2, 1)
    return out


def _backwards(
    steps: Steps, p: FloatArray, goes_on: NDArray[np.bool_], at: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Corrections (m, 4) and smoothed covariances (m, 4, 4) of all links.

    Each state is in units of the sigmas of its prediction, so that what is inverted is a correlation matrix.
    """
    n = len(p)
    pp = steps.f @ p[at] @ steps.f.transpose(0, 2, 1) + steps.q
    unit = np.sqrt(np.diagonal(p, axis1=1, axis2=2)).copy()
    unit[at + 1] = np.sqrt(np.diagonal(pp, axis1=1, axis2=2))
    f, q, d = np.zeros((n, 4, 4)), np.zeros((n, 4, 4)), np.zeros((n, 4))
    f[at] = steps.f * unit[at][:, None, :] / unit[at + 1][:, :, None]
    q[at] = steps.q / unit[at + 1][:, :, None] / unit[at + 1][:, None, :]
    d[at] = steps.d / unit[at + 1]
    scaled = p / unit[:, :, None] / unit[:, None, :]
    shift, cov = np.zeros((n, 4)), p.copy()
    ends = np.flatnonzero(~goes_on) + 1
    for first, end in zip(np.concatenate([[0], ends[:-1]]).tolist(), ends.tolist(), strict=True):
        if end - first < 2:
            continue
        x = np.zeros((end - first, 4))
        for k in range(first, end - 1):
            x[k - first + 1] = f[k] @ x[k - first] + d[k]
        own = slice(first, end - 1)
        x_s, p_s, _, _ = rts_smoother(x, scaled[first:end], f[first:end], q[first:end])
        shift[own] = (x_s - x)[:-1] * unit[own]
        cov[own] = p_s[:-1] * unit[own][:, :, None] * unit[own][:, None, :]
    return shift, 0.5 * (cov + cov.transpose(0, 2, 1))


def _lay_off(
    result: Smoothed,
    state: NDArray[np.void],
    shift: FloatArray,
    cov: FloatArray,
    row: NDArray[np.int64],
    which: NDArray[np.int64],
    great_circle: NDArray[np.bool_],
) -> None:
    """Write states moved by their corrections, of which `which`, to the rows of the result."""
    s, by = state[which], shift[which]
    here = np.stack([s["x"], s["y"], s["z"]], 1)
    there = moves(here, np.ascontiguousarray(by[:, :2]))
    velocity = np.stack([s["a"], s["b"]], 1) + by[:, 2:]
    turning = great_circle[which] | (np.hypot(here[:, 0], here[:, 1]) < POLAR_COS_LAT)
    turn = np.zeros((len(s), 4, 4))
    _rotations(here, there, turning, turn)
    rows = row[which]
    result.position[rows] = there
    result.velocity[rows] = (turn[:, :2, :2] @ velocity[:, :, None])[:, :, 0]
    result.covariance[rows] = turn @ cov[which] @ turn.transpose(0, 2, 1)
    result.changed[rows] = True


def _interpolate(
    result: Smoothed,
    u: Updates,
    rows: NDArray[np.void],
    c: Chains,
    motion: _Domains,
    forwards: tuple[Steps, NDArray[np.int64], NDArray[np.bool_]],
    backwards: tuple[FloatArray, FloatArray],
    params: Params,
) -> None:
    """Smooth what lies between two links: the prediction of the one before, corrected by what the next one knows.

    The noise of the engine's prediction is an Ornstein-Uhlenbeck velocity that begins at the link before, w1 up to here
    and w up to the next link, where w = A w1 + (noise of its own), A = [1 (1-e)/g; 0 e], e = exp(-g t) of the rest t.
    With T, the turn of the frame from here to there,

        cov(here, next) = F1 P F' + Q1 A' T',  C = cov(here, next) Pp^-1
    """
    steps, at, wide = forwards
    shift, cov = backwards
    step = np.searchsorted(at, c.before)
    own = _Domains(*(v[c.before] for v in motion))
    one, predicted = _take(rows[c.link[c.before]], rows[c.between], own)
    q1 = np.where(wide[step][:, None, None], params.filter[0]["manoeuvre_factor"], 1.0) * one.q
    p, f = u.covariance[c.link[c.before]], steps.f[step]
    # F to the frame of the prediction itself, which what was told may lie beside.
    here = np.stack([predicted["x"], predicted["y"], predicted["z"]], 1)
    at_before = u.position[c.link[c.before]]
    turning = own.great_circle | (np.hypot(at_before[:, 0], at_before[:, 1]) < POLAR_COS_LAT)
    dt = (u.time_us[c.between] - u.time_us[c.link[c.before]]) * 1e-6
    rest = (u.time_us[c.link[c.before + 1]] - u.time_us[c.between]) * 1e-6
    turn = np.zeros((len(here), 4, 4))
    _rotations(at_before, here, turning, turn)
    f1 = turn @ _free(dt, np.ones(len(dt)))
    _rotations(here, u.position[c.link[c.before + 1]], turning, turn)
    g = own.g
    e = np.exp(-g * rest)
    reach = np.where(g > 0.0, -np.expm1(-g * rest) / np.where(g > 0.0, g, 1.0), rest)
    a = turn @ _free(reach, e)
    pp = f @ p @ f.transpose(0, 2, 1) + steps.q[step]
    both = f1 @ p @ f.transpose(0, 2, 1) + q1 @ a.transpose(0, 2, 1)
    gain = np.linalg.solve(pp, both.transpose(0, 2, 1)).transpose(0, 2, 1)
    here_p = f1 @ p @ f1.transpose(0, 2, 1) + q1
    by = (gain @ (steps.d[step] + shift[c.before + 1])[:, :, None])[:, :, 0]
    here_cov = here_p + gain @ (cov[c.before + 1] - pp) @ gain.transpose(0, 2, 1)
    here_cov = 0.5 * (here_cov + here_cov.transpose(0, 2, 1))
    _lay_off(result, predicted, by, here_cov, c.between, np.arange(len(here)), own.great_circle)


def _free(reach: FloatArray, keeps: FloatArray) -> FloatArray:
    """[I reach I; 0 keeps I], (n, 4, 4)."""
    out = np.zeros((len(reach), 4, 4))
    for axis in (0, 1):
        out[:, axis, axis], out[:, axis, axis + 2], out[:, axis + 2, axis + 2] = 1.0, reach, keeps
    return out
