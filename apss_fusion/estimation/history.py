"""Association histories: a track as a mixture of a few Gaussians, one for each way in which it may have come about.

A row of histories is float64: how many there are (0: the track is the one Gaussian of its STATE row), the number of the set
of sources that shaped it, then `WIDTH` numbers for each history, in the order of `W` to `BB`. A history is told relative to
the track's STATE row, which holds the mean and covariance of all of them: shift of the mean (m, m/s) on the local tangent
plane, and its own covariance. Each history may move by a process noise of its own: a factor on the domain's q.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.motion import POLAR_COS_LAT, process_noise, turn
from apss_fusion.estimation.rounding import BITS, power_below, probability, round_state, to_grid
from apss_fusion.geodesy.wgs84 import frame_rotation
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole

#: Places in a row: how many histories, and the set of sources; then of each history its weight, factor, shift and covariance.
COUNT, SOURCES, FIRST = 0, 1, 2
W, FACTOR, E, N, A, B, EE, EN, NN, EA, EB, NA, NB, AA, AB, BB = range(16)
WIDTH = 16


def row_width(histories: int) -> int:
    """Numbers in a row of so many histories; 0 where tracks are one Gaussian."""
    return FIRST + WIDTH * histories if histories else 0


@inline_kernel
def count_of(h: NDArray[np.float64]) -> int:
    """How many histories a row holds; 0 where the state row says it all."""
    return whole(h[COUNT]) if len(h) else whole(0)


@lean_kernel
def copy_history(source: NDArray[np.float64], into: NDArray[np.float64]) -> None:
    """Copy a row."""
    for k in range(len(source)):
        into[k] = source[k]


@lean_kernel
def same_history(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether two rows hold the same (no number in them is -0.0 or NaN)."""
    for k in range(len(a)):
        if a[k] != b[k]:
            return False
    return True


@lean_kernel
def clear_history(h: NDArray[np.float64]) -> None:
    """Make a row that of one Gaussian that nobody shaped."""
    for k in range(len(h)):
        h[k] = 0.0


@lean_kernel
def history_row(h: NDArray[np.float64], at: int, d: Row) -> None:
    """Write velocity and covariance of the history at place `at` of a row into state row d; its position stays in the row."""
    d.a, d.b = h[at + A], h[at + B]
    d.ee, d.en, d.nn, d.ea, d.eb = h[at + EE], h[at + EN], h[at + NN], h[at + EA], h[at + EB]
    d.na, d.nb, d.aa, d.ab, d.bb = h[at + NA], h[at + NB], h[at + AA], h[at + AB], h[at + BB]


@lean_kernel
def put_history(h: NDArray[np.float64], at: int, e: float, n: float, d: Row) -> None:
    """The reverse of `history_row`, with the shift (e, n) of the position."""
    h[at + E], h[at + N], h[at + A], h[at + B] = e, n, d.a, d.b
    h[at + EE], h[at + EN], h[at + NN], h[at + EA], h[at + EB] = d.ee, d.en, d.nn, d.ea, d.eb
    h[at + NA], h[at + NB], h[at + AA], h[at + AB], h[at + BB] = d.na, d.nb, d.aa, d.ab, d.bb


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
def history_of_state(s: Row, h: NDArray[np.float64], at: int) -> None:
    """Write the Gaussian of state row s at place `at` of a row, without a shift."""
    for k in range(WIDTH):
        h[at + k] = 0.0
    h[at + EE], h[at + EN], h[at + NN], h[at + EA], h[at + EB] = s.ee, s.en, s.nn, s.ea, s.eb
    h[at + NA], h[at + NB], h[at + AA], h[at + AB], h[at + BB] = s.na, s.nb, s.aa, s.ab, s.bb


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


@lean_kernel
def round_history(h: NDArray[np.float64], at: int, spare: Row) -> None:
    """Round the history at place `at` of a row as `round_state` rounds a state: to 2^-BITS of its own sigma."""
    history_row(h, at, spare)
    spare.x = spare.y = spare.z = 0.0
    round_state(spare)
    first = power_below(math.sqrt(spare.ee))
    second = power_below(math.sqrt(max(spare.nn - spare.en * spare.en / spare.ee, 1e-9 * spare.nn)))
    grid = min(first, second) * 2.0**-BITS
    put_history(h, at, to_grid(h[at + E], grid), to_grid(h[at + N], grid), spare)
    h[at + W] = probability(h[at + W])


@lean_kernel
def distance_sq(c: NDArray[np.float64], i: int, j: int) -> float:
    """Squared Mahalanobis distance of the mean of row j of c from that of row i, by the covariance of row i.

    c: histories, (n, WIDTH).
    """
    # Forward substitution with the Cholesky factor of the covariance, row by row.
    y0 = c[j, E] - c[i, E]
    y1 = c[j, N] - c[i, N]
    y2 = c[j, A] - c[i, A]
    y3 = c[j, B] - c[i, B]
    l00 = math.sqrt(max(c[i, EE], 1e-12))
    y0 /= l00
    l10, l20, l30 = c[i, EN] / l00, c[i, EA] / l00, c[i, EB] / l00
    l11 = math.sqrt(max(c[i, NN] - l10 * l10, 1e-12))
    y1 = (y1 - l10 * y0) / l11
    l21, l31 = (c[i, NA] - l20 * l10) / l11, (c[i, NB] - l30 * l10) / l11
    l22 = math.sqrt(max(c[i, AA] - l20 * l20 - l21 * l21, 1e-12))
    y2 = (y2 - l20 * y0 - l21 * y1) / l22
    l32 = (c[i, AB] - l30 * l20 - l31 * l21) / l22
    l33 = math.sqrt(max(c[i, BB] - l30 * l30 - l31 * l31 - l32 * l32, 1e-12))
    y3 = (y3 - l30 * y0 - l31 * y1 - l32 * y2) / l33
    return y0 * y0 + y1 * y1 + y2 * y2 + y3 * y3


@lean_kernel
def _add_moments(
    c: NDArray[np.float64], i: int, share: float, de: float, dn: float, da: float, db: float, o: int
) -> None:
    """Add `share` times the covariance of row i and the spread (de, dn, da, db) of its mean to the covariance of row o."""
    c[o, EE] += share * (c[i, EE] + de * de)
    c[o, EN] += share * (c[i, EN] + de * dn)
    c[o, NN] += share * (c[i, NN] + dn * dn)
    c[o, EA] += share * (c[i, EA] + de * da)
    c[o, EB] += share * (c[i, EB] + de * db)
    c[o, NA] += share * (c[i, NA] + dn * da)
    c[o, NB] += share * (c[i, NB] + dn * db)
    c[o, AA] += share * (c[i, AA] + da * da)
    c[o, AB] += share * (c[i, AB] + da * db)
    c[o, BB] += share * (c[i, BB] + db * db)


@lean_kernel
def match_moments(c: NDArray[np.float64], low: int, high: int, group: NDArray[np.int64], number: int, o: int) -> None:
    """Write weight, mean and covariance of the rows low to high of c with this number in `group` into row o.

    x = sum g_h x_h and P = sum g_h (P_h + (x_h - x)(x_h - x)'), with g the weights over their sum.
    """
    total, e, n, a, b = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(low, high):
        if group[i] == number:
            w = c[i, W]
            total += w
            e += w * c[i, E]
            n += w * c[i, N]
            a += w * c[i, A]
            b += w * c[i, B]
    for k in range(WIDTH):
        c[o, k] = 0.0
    if total <= 0.0:
        return
    e, n, a, b = e / total, n / total, a / total, b / total
    c[o, W], c[o, FACTOR] = total, 1.0
    c[o, E], c[o, N], c[o, A], c[o, B] = e, n, a, b
    for i in range(low, high):
        if group[i] == number:
            c[o, FACTOR] = c[i, FACTOR]
            _add_moments(c, i, c[i, W] / total, c[i, E] - e, c[i, N] - n, c[i, A] - a, c[i, B] - b, o)


@lean_kernel
def reduce_histories(c: NDArray[np.float64], count: int, most: int, near: float, group: NDArray[np.int64]) -> int:
    """Merge the first `count` rows of c (n, WIDTH) into at most `most`; they come behind, from row `count` on. How many.

    The heaviest takes all of its own factor within the squared Mahalanobis distance `near`, and so on; what is left then
    joins the nearest. Rows of no weight are passed over. Weights of the result sum to 1. group: (n,) to work in.
    """
    total = 0.0
    for i in range(count):
        total += c[i, W]
        group[i] = -1
    made = 0
    while made < most:
        top = -1
        for i in range(count):
            if group[i] < 0 and c[i, W] > 0.0 and (top < 0 or c[i, W] > c[top, W]):
                top = i
        if top < 0:
            break
        group[top] = made
        # The heaviest of a group stays at hand as its centre.
        group[count + made] = top
        for i in range(count):
            if group[i] < 0 and c[i, W] > 0.0 and c[i, FACTOR] == c[top, FACTOR] and distance_sq(c, top, i) < near:
                group[i] = made
        made += 1
    for i in range(count):
        if group[i] < 0 and c[i, W] > 0.0:
            best = math.inf
            for g in range(made):
                centre = group[count + g]
                d2 = distance_sq(c, centre, i)
                if c[centre, FACTOR] != c[i, FACTOR]:
                    d2 += 100.0
                if d2 < best:
                    best, group[i] = d2, g
    factors = count + made
    for g in range(made):
        centre = group[factors - made + g]
        factor = c[centre, FACTOR]
        match_moments(c, 0, count, group, g, count + g)
        c[count + g, FACTOR] = factor
        c[count + g, W] /= total
    return made


@lean_kernel
def write_histories(
    c: NDArray[np.float64], first: int, count: int, mean: int, h: NDArray[np.float64], spare: Row
) -> None:
    """Write the `count` rows of c (n, WIDTH) from `first` on into a row of histories, rounded, relative to row `mean`.

    spare: a STATE row to work in.
    """
    h[COUNT] = count
    for g in range(count):
        at = FIRST + WIDTH * g
        for k in range(WIDTH):
            h[at + k] = c[first + g, k]
        if count == 1:
            h[at + W] = 1.0
        h[at + E] -= c[mean, E]
        h[at + N] -= c[mean, N]
        h[at + A] -= c[mean, A]
        h[at + B] -= c[mean, B]
        round_history(h, at, spare)
