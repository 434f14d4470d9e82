"""A bank of process noises: each history of a track moves by a factor on its domain's noise, and detections weigh them.

So a track adapts to how its object moves: as the domain says, harder, or calmer. Every factor keeps a least weight, because an
object may change how it moves.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.history import (
    COUNT,
    FACTOR,
    FIRST,
    WIDTH,
    E,
    N,
    W,
    copy_history,
    count_of,
    history_of_state,
    history_row,
    put_history,
)
from apss_fusion.estimation.motion import POLAR_COS_LAT, process_noise, turn
from apss_fusion.estimation.rounding import probability
from apss_fusion.geodesy.wgs84 import frame_rotation
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole


@inline_kernel
def _mass_of(h: NDArray[np.float64], count: int, factor: float) -> float:
    """Weight of all histories of a factor."""
    mass = 0.0
    for m in range(count):
        if h[FIRST + WIDTH * m + FACTOR] == factor:
            mass += h[FIRST + WIDTH * m + W]
    return mass


@lean_kernel
def _place_for(h: NDArray[np.float64], count: int, room: int, least: float) -> int:
    """Where a history of a factor that has none may go: a free place, or that of the lightest whose factor can do without it.

    -1 where there is none.
    """
    if count < room:
        return count
    low = whole(-1)
    for m in range(count):
        at = FIRST + WIDTH * m
        spare = _mass_of(h, count, h[at + FACTOR]) - h[at + W] >= least
        if spare and (low < 0 or h[at + W] < h[FIRST + WIDTH * low + W]):
            low = whole(m)
    return low


@lean_kernel
def _leave_weight(h: NDArray[np.float64], count: int, place: int) -> None:
    """Leave the weight of a history that goes to the heaviest other one of its factor."""
    best = whole(-1)
    for m in range(count):
        same = h[FIRST + WIDTH * m + FACTOR] == h[FIRST + WIDTH * place + FACTOR]
        if m != place and same and (best < 0 or h[FIRST + WIDTH * m + W] > h[FIRST + WIDTH * best + W]):
            best = whole(m)
    h[FIRST + WIDTH * best + W] += h[FIRST + WIDTH * place + W]


@lean_kernel
def _spread_factors(
    h: NDArray[np.float64], s: Row, factors: NDArray[np.float64], least: float, into: NDArray[np.float64]
) -> int:
    """Copy a row so that every factor of the process noise has at least the weight `least`; how many histories there are.

    An object may change how it moves: a factor that has too little gets more, one that has none takes the heaviest state.
    The weights are normalised afterwards.
    """
    count = count_of(h)
    copy_history(h, into)
    if len(factors) < 2:
        return count
    if count == 0:
        history_of_state(s, into, FIRST)
        into[FIRST + W], into[FIRST + FACTOR] = 1.0, factors[0]
        count = whole(1)
    room = (len(h) - FIRST) // WIDTH
    for factor in factors:
        mass = _mass_of(into, count, factor)
        if mass >= least:
            continue
        top, own = whole(0), whole(-1)
        for m in range(count):
            at = FIRST + WIDTH * m
            if into[at + W] > into[FIRST + WIDTH * top + W]:
                top = whole(m)
            if into[at + FACTOR] == factor and (own < 0 or into[at + W] > into[FIRST + WIDTH * own + W]):
                own = whole(m)
        if own >= 0:
            into[FIRST + WIDTH * own + W] += least - mass
            continue
        place = _place_for(into, count, room, least)
        if place < 0:
            continue
        if place < count:
            _leave_weight(into, count, place)
        for k in range(WIDTH):
            into[FIRST + WIDTH * place + k] = into[FIRST + WIDTH * top + k]
        into[FIRST + WIDTH * place + W], into[FIRST + WIDTH * place + FACTOR] = least, factor
        count = whole(max(count, place + 1))
    total = 0.0
    for m in range(count):
        total += into[FIRST + WIDTH * m + W]
    for m in range(count):
        into[FIRST + WIDTH * m + W] /= total
    into[COUNT] = count
    return count


@lean_kernel
def prior_of_factor(factors: NDArray[np.float64], k: int, least: float) -> float:
    """Weight of factor k of the bank for an object that has just been found: turns are rare, the calmer ones alike."""
    if factors[k] > 1.0:
        return least
    calm, rare = 0, 0.0
    for factor in factors:
        if factor > 1.0:
            rare += least
        else:
            calm += 1
    return (1.0 - rare) / calm


@lean_kernel
def start_bank(s: Row, factors: NDArray[np.float64], least: float, h: NDArray[np.float64]) -> None:
    """Write the one Gaussian of state row s into a row as a history for each factor of the bank; nothing where there is one."""
    if len(h) == 0 or len(factors) < 2:
        return
    h[COUNT] = len(factors)
    for k in range(len(factors)):
        at = FIRST + WIDTH * k
        history_of_state(s, h, at)
        h[at + W], h[at + FACTOR] = probability(prior_of_factor(factors, k, least)), factors[k]


@lean_kernel
def mean_factor(h: NDArray[np.float64], factors: NDArray[np.float64], least: float) -> float:
    """The factor of the process noise of a whole track: the mean over its histories, once every factor has its least weight."""
    count = count_of(h)
    total, mean = 0.0, 0.0
    for m in range(count):
        total += h[FIRST + WIDTH * m + W]
        mean += h[FIRST + WIDTH * m + W] * h[FIRST + WIDTH * m + FACTOR]
    if count == 0:
        total = mean = 1.0
    if len(factors) > 1:
        for k in range(len(factors)):
            mass = 1.0 if count == 0 and k == 0 else _mass_of(h, count, factors[k])
            more = max(least - mass, 0.0)
            total += more
            mean += more * factors[k]
    return mean / total


@lean_kernel
def predict_history(
    h: NDArray[np.float64],
    s: Row,
    p: Row,
    d: Row,
    factors: NDArray[np.float64],
    least: float,
    into: NDArray[np.float64],
    spare: Row,
) -> None:
    """Predict the histories of a row of the track with state row s to the time of its prediction p, into another row.

    d: its DOMAIN row. factors, least: of the bank of process noises. spare: a STATE row to work in.
    """
    if len(h) == 0:
        return
    count = _spread_factors(h, s, factors, least, into)
    if count == 0:
        return
    dt = p.t - s.t
    c, k = 1.0, 0.0
    if d.great_circle or math.sqrt(s.x * s.x + s.y * s.y) < POLAR_COS_LAT:
        c, k = frame_rotation(s.x, s.y, s.z, p.x, p.y, p.z)
    for m in range(count):
        at = FIRST + WIDTH * m
        qxx, qxv, qvv = process_noise(d.q * into[at + FACTOR], d.g, dt)
        if dt < 0.0:
            qxv = -qxv
        history_row(into, at, spare)
        e, n = into[at + E] + dt * spare.a, into[at + N] + dt * spare.b
        spare.ee += dt * (2.0 * spare.ea + dt * spare.aa) + qxx
        spare.nn += dt * (2.0 * spare.nb + dt * spare.bb) + qxx
        spare.en += dt * (spare.eb + spare.na + dt * spare.ab)
        spare.ea += dt * spare.aa + qxv
        spare.eb += dt * spare.ab
        spare.na += dt * spare.ab
        spare.nb += dt * spare.bb + qxv
        spare.aa += qvv
        spare.bb += qvv
        if k != 0.0:
            turn(spare, c, -k)
            e, n = c * e - k * n, c * n + k * e
        put_history(into, at, e, n, spare)
