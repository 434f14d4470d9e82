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

from typing import NamedTuple

import numpy as np
from filterpy.kalman import rts_smoother  # type: ignore[import-untyped]
from numpy.typing import NDArray

from apss_fusion.estimation.motion import STATE
from apss_fusion.geodesy.positions import moves
from apss_fusion.smoothing.chains import Chains, chains, replaced_by, revisions
from apss_fusion.smoothing.records import COV_FIELDS, UPPER, Updates
from apss_fusion.smoothing.steps import (
    FloatArray,
    Motion,
    Steps,
    free,
    noise_carried,
    quadratic,
    rotations,
    steps_between,
    turning,
)
from apss_fusion.tracking.config import Config, Params

#: Squared Mahalanobis distance up to which the engine asks for no manoeuvre (chi-square, 2 degrees of freedom, 98.9 %).
_WELL = 9.0


class Smoothed(NamedTuple):
    """States as in the updates that were smoothed, one a row: n-vector, velocity, covariance; and whether it changed."""

    position: FloatArray
    velocity: FloatArray
    covariance: FloatArray
    changed: NDArray[np.bool_]


class _Forwards(NamedTuple):
    """All steps from link to link: the links that they begin with, and which of them were manoeuvres."""

    steps: Steps
    begin: NDArray[np.int64]
    wide: NDArray[np.bool_]


class _Backwards(NamedTuple):
    """Of each link the correction (m, 4) of (e, n, ve, vn) in its own frame, and the smoothed covariance (m, 4, 4)."""

    shift: FloatArray
    covariance: FloatArray


def smoothed(updates: Updates, config: Config) -> Smoothed:
    """All updates, smoothed track by track; those that nothing came after stay as they are.

    config: the one that the tracks were fused with.
    """
    params = config.params()
    rows = state_rows(updates)
    result = Smoothed(
        updates.position.copy(), updates.velocity.copy(), updates.covariance.copy(), np.zeros(len(rows), np.bool_)
    )
    c = chains(updates, _contradicted(updates, rows, params))
    if not c.goes_on.any():
        return result
    motion = Motion.of(params, updates.domain[c.link])
    p = updates.covariance[c.link]
    begin = np.flatnonzero(c.goes_on)
    steps = steps_between(rows[c.link[begin]], rows[c.link[begin + 1]], motion.take(begin))[0]
    forwards = _Forwards(steps, begin, _manoeuvres(steps, updates, c.link[begin], c.link[begin + 1], params))
    forwards = forwards._replace(steps=steps._replace(q=_enlarged(forwards, p, params)))
    backwards = _backwards(forwards, p, c.goes_on)
    _lay_off(result, rows[c.link[begin]], backwards, begin, c.link[begin], motion.take(begin))
    if len(c.between):
        _interpolate(result, updates, rows, c, motion, forwards, backwards, params)
    return result


def state_rows(u: Updates) -> NDArray[np.void]:
    """The filtered states as rows of the engine's dtype STATE."""
    rows = np.zeros(len(u.seq), STATE)
    rows["x"], rows["y"], rows["z"] = u.position.T
    rows["a"], rows["b"] = u.velocity.T
    for name, i, j in zip(COV_FIELDS, *UPPER, strict=True):
        rows[name] = u.covariance[:, i, j]
    rows["t"] = u.time_us * 1e-6
    return rows


def _contradicted(u: Updates, rows: NDArray[np.void], params: Params) -> NDArray[np.bool_]:
    """Updates (n,) that a later revision contradicts.

    A revision tells only the newest state. What was told of the time since its `revised_from` lacks the late look, but holds
    all others: it stays a link of the chain and learns of the late look from the states after it, unless the revision lies
    outside the gate of what was told before. Then another detection was taken for this object, and it holds no longer.
    """
    revision, told = revisions(u)
    if not len(revision):
        return np.zeros(len(rows), np.bool_)
    steps, _ = steps_between(rows[told], rows[revision], Motion.of(params, u.domain[told]))
    distance = _mahalanobis_sq(steps.d, steps.predicted(u.covariance[told]) + u.covariance[revision])
    return replaced_by(u, revision[distance > params.filter[0]["gate"]])


def _mahalanobis_sq(d: FloatArray, p: FloatArray) -> FloatArray:
    """Squared Mahalanobis distances d' P^-1 d, (n,)."""
    out: FloatArray = (d[:, None, :] @ np.linalg.solve(p, d[:, :, None]))[:, 0, 0]
    return out


def _manoeuvres(
    steps: Steps, u: Updates, begin: NDArray[np.int64], end: NDArray[np.int64], params: Params
) -> NDArray[np.bool_]:
    """Which steps the engine's wide model explains better: its own rule for reports of the same identity, on positions.

    begin, end: rows in the file. What the engine knew as R is P+ here, which is close to it where a manoeuvre shows at all.
    """
    f = params.filter[0]
    carried = quadratic(steps.f, u.covariance[begin])
    narrow = (carried + steps.q)[:, :2, :2]
    wide = (carried + f["manoeuvre_factor"] * steps.q)[:, :2, :2]
    wide = wide + f["manoeuvre_jump"] * u.covariance[end][:, :2, :2]
    distance, wider = (_mahalanobis_sq(steps.d[:, :2], s) for s in (narrow, wide))
    gain = 0.5 * (distance - wider + np.log(np.linalg.det(narrow) / np.linalg.det(wide)))
    chosen: NDArray[np.bool_] = (
        u.named[begin]
        & (u.time_us[end] > u.time_us[begin])
        & (distance > _WELL)
        & (f["manoeuvre_probability"] * np.exp(np.clip(gain, -700.0, 700.0)) > 1.0)
    )
    return chosen


def _enlarged(forwards: _Forwards, p: FloatArray, params: Params) -> FloatArray:
    """Q of each step: that of the wide model where it was used, and enlarged until no state surprises by its doubt.

    A filtered state that is less certain than its own prediction holds more than one hypothesis (whose detection was
    it?). Its excess came in at this step: Q + (P+ - Pp)+, the positive part in the metric of Pp. With it P+ <= Pp, and
    no smoothed covariance is larger than the filtered one.
    """
    f, (steps, begin, wide) = params.filter[0], forwards
    q, after = steps.q.copy(), p[begin + 1]
    q[wide] *= f["manoeuvre_factor"]
    q[wide, :2, :2] += f["manoeuvre_jump"] * after[wide, :2, :2]
    root = np.linalg.cholesky(quadratic(steps.f, p[begin]) + q)
    inverse = np.linalg.inv(root)
    values, vectors = np.linalg.eigh(quadratic(inverse, after))
    stretched = root @ vectors
    out: FloatArray = q + (stretched * np.maximum(values - 1.0, 0.0)[:, None, :]) @ stretched.transpose(0, 2, 1)
    return out


def _backwards(forwards: _Forwards, p: FloatArray, goes_on: NDArray[np.bool_]) -> _Backwards:
    """Smooth chain by chain with filterpy.

    Each state is in units of the sigmas of its prediction, so that what is inverted is a correlation matrix.
    """
    (steps, begin, _), n = forwards, len(p)
    unit = np.sqrt(np.diagonal(p, axis1=1, axis2=2)).copy()
    unit[begin + 1] = np.sqrt(np.diagonal(steps.predicted(p[begin]), axis1=1, axis2=2))
    f, q, d = np.zeros((n, 4, 4)), np.zeros((n, 4, 4)), np.zeros((n, 4))
    f[begin] = steps.f * unit[begin][:, None, :] / unit[begin + 1][:, :, None]
    q[begin] = steps.q / unit[begin + 1][:, :, None] / unit[begin + 1][:, None, :]
    d[begin] = steps.d / unit[begin + 1]
    scaled = p / unit[:, :, None] / unit[:, None, :]
    shift, cov = np.zeros((n, 4)), p.copy()
    ends = np.flatnonzero(~goes_on) + 1
    for first, end in zip(np.concatenate([[0], ends[:-1]]).tolist(), ends.tolist(), strict=True):
        if end - first == 1:
            continue
        x = np.zeros((end - first, 4))
        for k in range(end - first - 1):
            x[k + 1] = f[first + k] @ x[k] + d[first + k]
        x_s, p_s, _, _ = rts_smoother(x, scaled[first:end], f[first:end], q[first:end])
        own = slice(first, end - 1)
        shift[own] = (x_s - x)[:-1] * unit[own]
        cov[own] = p_s[:-1] * unit[own][:, :, None] * unit[own][:, None, :]
    return _Backwards(shift, 0.5 * (cov + cov.transpose(0, 2, 1)))


def _lay_off(
    result: Smoothed,
    state: NDArray[np.void],
    by: _Backwards,
    which: NDArray[np.int64],
    row: NDArray[np.int64],
    motion: Motion,
) -> None:
    """Write states, moved by the corrections `which`, to these rows of the result, each in its new local frame."""
    here = np.stack([state["x"], state["y"], state["z"]], 1)
    there = moves(here, np.ascontiguousarray(by.shift[which, :2]))
    velocity = np.stack([state["a"], state["b"]], 1) + by.shift[which, 2:]
    turn = rotations(here, there, turning(here, motion))
    result.position[row] = there
    result.velocity[row] = (turn[:, :2, :2] @ velocity[:, :, None])[:, :, 0]
    result.covariance[row] = quadratic(turn, by.covariance[which])
    result.changed[row] = True


def _interpolate(
    result: Smoothed,
    u: Updates,
    rows: NDArray[np.void],
    c: Chains,
    motion: Motion,
    forwards: _Forwards,
    backwards: _Backwards,
    params: Params,
) -> None:
    """Smooth what lies between two links: the prediction of the one before, corrected by what the next one knows.

    The noise of a prediction is an Ornstein-Uhlenbeck velocity that begins at the link before: w1 up to here and w up to
    the next link are one path, w = A w1 + (noise of its own), A = [1 (1-e)/g; 0 e], e = exp(-g t) of the rest t. With T,
    the turn of the frame from here to there,

        P1 = F1 P F1' + Q1,   C = (F1 P F' + Q1 A' T') Pp^-1
        x_s = x1 + C (x_s+ - F x),   P_s = P1 + C (P_s+ - Pp) C'
    """
    begin, end = c.link[c.before], c.link[c.before + 1]
    step = np.searchsorted(forwards.begin, c.before)
    own = motion.take(c.before)
    part, predicted = steps_between(rows[begin], rows[c.between], own)
    q1 = part.q.copy()
    q1[forwards.wide[step]] *= params.filter[0]["manoeuvre_factor"]
    here = np.stack([predicted["x"], predicted["y"], predicted["z"]], 1)
    turns = turning(u.position[begin], own)
    passed_s, rest_s = rows["t"][c.between] - rows["t"][begin], rows["t"][end] - rows["t"][c.between]
    f1: FloatArray = rotations(u.position[begin], here, turns) @ free(passed_s, np.ones(len(passed_s)))
    turned: FloatArray = rotations(here, u.position[end], turns) @ noise_carried(own.g, rest_s)
    p, f = u.covariance[begin], forwards.steps.f[step]
    pp = quadratic(f, p) + forwards.steps.q[step]
    both = f @ p @ f1.transpose(0, 2, 1) + turned @ q1
    gain = np.linalg.solve(pp, both).transpose(0, 2, 1)
    shift = gain @ (forwards.steps.d[step] + backwards.shift[c.before + 1])[:, :, None]
    cov = quadratic(f1, p) + q1 + quadratic(gain, backwards.covariance[c.before + 1] - pp)
    by = _Backwards(shift[:, :, 0], np.asarray(0.5 * (cov + cov.transpose(0, 2, 1)), np.float64))
    _lay_off(result, predicted, by, np.arange(len(here)), c.between, own)
