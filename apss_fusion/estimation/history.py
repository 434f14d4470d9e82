"""Association histories: a track as a mixture of a few Gaussians, one for each way in which it may have come about.

A row of histories is float64: how many there are (0: the track is the one Gaussian of its STATE row), the number of the set
of sources that shaped it, then `WIDTH` numbers for each history, in the order of `W` to `BB`. A history is told relative to
the track's STATE row, which holds the mean and covariance of all of them: shift of the mean (m, m/s) on the local tangent
plane, and its own covariance. Each history may move by a process noise of its own: a factor on the domain's q (`noise_bank`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.rounding import BITS, power_below, probability, round_state, to_grid
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


@lean_kernel
def history_of_state(s: Row, h: NDArray[np.float64], at: int) -> None:
    """Write the Gaussian of state row s at place `at` of a row, without a shift."""
    for k in range(WIDTH):
        h[at + k] = 0.0
    h[at + EE], h[at + EN], h[at + NN], h[at + EA], h[at + EB] = s.ee, s.en, s.nn, s.ea, s.eb
    h[at + NA], h[at + NB], h[at + AA], h[at + AB], h[at + BB] = s.na, s.nb, s.aa, s.ab, s.bb


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
