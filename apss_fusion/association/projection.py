"""The variational projection of a cluster: its hypotheses back to one Bernoulli a track, with the least loss.

A look leaves each track of a cluster with hypotheses: missed, or caused one of the detections. The marginals say how much each
weighs. Written as a multi-Bernoulli, any track may take any hypothesis, as labels mean nothing to the set of objects: what
must stay is how much each weighs in all. So

    minimise  sum_ih q_ih C_ih,   sum_h q_ih = 1,   sum_i q_ih = weight of h,
    C_ih = -(1 - r_h) ln(1 - r_i) - r_h ln r_i + r_h / 2 [tr(P_i^-1 P_h) + d' P_i^-1 d + ln |2 pi P_i|]

the cross entropy of hypothesis h and Bernoulli i, alternates with moment matching of the Bernoullis (Williams 2015, "An
efficient, variational approximation of the best fitting multi-Bernoulli filter", IEEE Trans. Signal Processing 63, in full).
It starts from the cluster's best global hypothesis: from the marginals, equal tracks are a saddle point and stay alike.

Identity is a part of the state: a hypothesis that carries a name costs a track of another name as much as the two disagree. So a
label follows its evidence where the projection would swap states.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.transport import MOST_COLUMNS, MOST_ROWS, Solver, assign, new_solver, transport
from apss_fusion.estimation.history import AA, AB, BB, EA, EB, EE, EN, NA, NB, NN, WIDTH, A, B, E, N, W
from apss_fusion.kernels import Row, lean_kernel

#: Whose hypothesis it is (row of the cluster), of which edge (-1: missed) and detection (number in the cluster, -1: missed); and
#: the likeliest identities, as of a track, and its domain.
LABEL = np.dtype(
    [
        ("id1", "u8"),
        ("p1", "f8"),
        ("id2", "u8"),
        ("p2", "f8"),
        ("cost", "f8"),  # -log weight
        ("owner", "i4"),
        ("edge", "i4"),
        ("detection", "i4"),
        ("domain", "i4"),
    ]
)
#: A pair that is never to be.
_FORBIDDEN = 1e7
#: p of an identity that is not among the two likeliest is at least this.
_LEAST_P = 2.0**-17
_LOG_2PI_4 = 7.351508265637381
_UNKNOWN_DOMAIN = 3


class Projection(NamedTuple):
    """Arrays to project a cluster in."""

    solver: Solver
    hypothesis: NDArray[np.float64]  # (columns, WIDTH): Gaussians in one frame, in place of the weight the existence
    label: NDArray[np.void]  # LABEL by hypothesis
    row: NDArray[np.float64]  # (rows, WIDTH): the Bernoullis
    name: NDArray[np.void]  # LABEL by row


def new_projection(on: bool) -> Projection:
    """Room for the largest cluster, or for none."""
    rows, columns = (MOST_ROWS, MOST_COLUMNS) if on else (0, 0)
    return Projection(
        new_solver(rows, columns),
        np.zeros((columns, WIDTH)),
        np.zeros(columns, LABEL),
        np.zeros((rows, WIDTH)),
        np.zeros(rows, LABEL),
    )


@lean_kernel
def _inverse(c: NDArray[np.float64], i: int) -> tuple[float, ...]:
    """Inverse of the covariance in row i of c, its upper triangle by rows, and the log of the determinant."""
    l00 = math.sqrt(max(c[i, EE], 1e-12))
    l10, l20, l30 = c[i, EN] / l00, c[i, EA] / l00, c[i, EB] / l00
    l11 = math.sqrt(max(c[i, NN] - l10 * l10, 1e-12))
    l21, l31 = (c[i, NA] - l20 * l10) / l11, (c[i, NB] - l30 * l10) / l11
    l22 = math.sqrt(max(c[i, AA] - l20 * l20 - l21 * l21, 1e-12))
    l32 = (c[i, AB] - l30 * l20 - l31 * l21) / l22
    l33 = math.sqrt(max(c[i, BB] - l30 * l30 - l31 * l31 - l32 * l32, 1e-12))
    m00, m11, m22, m33 = 1.0 / l00, 1.0 / l11, 1.0 / l22, 1.0 / l33
    m10 = -l10 * m00 * m11
    m20 = -(l20 * m00 + l21 * m10) * m22
    m30 = -(l30 * m00 + l31 * m10 + l32 * m20) * m33
    m21 = -l21 * m11 * m22
    m31 = -(l31 * m11 + l32 * m21) * m33
    m32 = -l32 * m22 * m33
    return (
        m00 * m00 + m10 * m10 + m20 * m20 + m30 * m30,
        m10 * m11 + m20 * m21 + m30 * m31,
        m20 * m22 + m30 * m32,
        m30 * m33,
        m11 * m11 + m21 * m21 + m31 * m31,
        m21 * m22 + m31 * m32,
        m31 * m33,
        m22 * m22 + m32 * m32,
        m32 * m33,
        m33 * m33,
        2.0 * (math.log(l00) + math.log(l11) + math.log(l22) + math.log(l33)),
    )


@lean_kernel
def _probability_of(name: Row, identity: np.uint64) -> float:
    p = 0.0
    if identity == name.id1:
        p = name.p1
    elif identity == name.id2:
        p = name.p2
    return max(p, _LEAST_P)


@lean_kernel
def _disagreement(h: Row, name: Row) -> float:
    """Cross entropy of the identities of hypothesis h and those of a Bernoulli, in nats."""
    unknown = max(1.0 - name.p1 - name.p2, _LEAST_P)
    cost = -max(1.0 - h.p1 - h.p2, 0.0) * math.log(unknown)
    if h.p1 > 0.0:
        cost -= h.p1 * math.log(_probability_of(name, h.id1))
    if h.p2 > 0.0:
        cost -= h.p2 * math.log(_probability_of(name, h.id2))
    return cost


@lean_kernel
def _costs(v: Projection, i: int, columns: int) -> None:
    """Write the cross entropies of Bernoulli i."""
    c, x = v.hypothesis, v.row
    r = min(max(x[i, W], 1e-9), 1.0 - 1e-9)
    on, off = -math.log(r), -math.log(1.0 - r)
    ee, en, ea, eb, nn, na, nb, aa, ab, bb, log_det = _inverse(x, i)
    name = v.name[i]
    named = name.p1 > 0.0
    for h in range(columns):
        de, dn, da, db = c[h, E] - x[i, E], c[h, N] - x[i, N], c[h, A] - x[i, A], c[h, B] - x[i, B]
        g = log_det + _LOG_2PI_4
        g += (
            ee * (c[h, EE] + de * de)
            + nn * (c[h, NN] + dn * dn)
            + aa * (c[h, AA] + da * da)
            + bb * (c[h, BB] + db * db)
        )
        g += 2.0 * (en * (c[h, EN] + de * dn) + ea * (c[h, EA] + de * da) + eb * (c[h, EB] + de * db))
        g += 2.0 * (na * (c[h, NA] + dn * da) + nb * (c[h, NB] + dn * db) + ab * (c[h, AB] + da * db))
        g *= 0.5
        label = v.label[h]
        if named or label.p1 > 0.0:
            g += _disagreement(label, name)
        if label.domain != name.domain and label.domain != _UNKNOWN_DOMAIN and name.domain != _UNKNOWN_DOMAIN:
            g += 1e3
        v.solver.cell[i * columns + h].cost = c[h, W] * (on + g) + (1.0 - c[h, W]) * off


@lean_kernel
def _take_one(v: Projection, i: int, h: int) -> None:
    """Let Bernoulli i be hypothesis h."""
    for k in range(WIDTH):
        v.row[i, k] = v.hypothesis[h, k]
    _take_name(v, i, h)


@lean_kernel
def _take_name(v: Projection, i: int, h: int) -> None:
    a, b = v.name[i], v.label[h]
    a.id1, a.p1, a.id2, a.p2, a.domain = b.id1, b.p1, b.id2, b.p2, b.domain


@lean_kernel
def _match(v: Projection, i: int, columns: int) -> None:
    """Let Bernoulli i be the moments of its hypotheses by the plan q; its name is that of the heaviest."""
    c, q, x = v.hypothesis, v.solver.cell, v.row
    low = i * columns
    r, most, top, e, n, a, b = 0.0, -1.0, 0, 0.0, 0.0, 0.0, 0.0
    for h in range(columns):
        g = q[low + h].q * c[h, W]
        if q[low + h].q > most:
            most, top = q[low + h].q, h
        if g > 0.0:
            r += g
            e += g * c[h, E]
            n += g * c[h, N]
            a += g * c[h, A]
            b += g * c[h, B]
    _take_name(v, i, top)
    if r <= 1e-12:
        _take_one(v, i, top)
        x[i, W] = r
        return
    for k in range(WIDTH):
        x[i, k] = 0.0
    e, n, a, b = e / r, n / r, a / r, b / r
    x[i, W], x[i, E], x[i, N], x[i, A], x[i, B] = r, e, n, a, b
    for h in range(columns):
        g = q[low + h].q * c[h, W] / r
        if g > 1e-14:
            de, dn, da, db = c[h, E] - e, c[h, N] - n, c[h, A] - a, c[h, B] - b
            x[i, EE] += g * (c[h, EE] + de * de)
            x[i, EN] += g * (c[h, EN] + de * dn)
            x[i, NN] += g * (c[h, NN] + dn * dn)
            x[i, EA] += g * (c[h, EA] + de * da)
            x[i, EB] += g * (c[h, EB] + de * db)
            x[i, NA] += g * (c[h, NA] + dn * da)
            x[i, NB] += g * (c[h, NB] + dn * db)
            x[i, AA] += g * (c[h, AA] + da * da)
            x[i, AB] += g * (c[h, AB] + da * db)
            x[i, BB] += g * (c[h, BB] + db * db)


@lean_kernel
def _best_global(v: Projection, rows: int, columns: int) -> None:
    """Write the hypothesis of each row in the cluster's best global hypothesis into the solver's `done`."""
    s = v.solver
    detections = 0
    for h in range(columns):
        detections = max(detections, v.label[h].detection + 1)
    width = detections + rows
    for x in range(rows * width):
        s.cell[x].cost, s.cell[x].new = _FORBIDDEN, -1.0
    for h in range(columns):
        a = v.label[h]
        x = a.owner * width + (detections + a.owner if a.detection < 0 else a.detection)
        s.cell[x].cost, s.cell[x].new = a.cost, h
    assign(s, rows, width)
    for i in range(rows):
        h = int(s.cell[i * width + s.line[i].order].new)
        if h < 0:
            # Its hypotheses weigh nothing in the best one: the heaviest of its own.
            h = 0
            for k in range(columns):
                if s.cell[i * columns + k].q > s.cell[i * columns + h].q:
                    h = k
        s.line[i].done = h


@lean_kernel
def project(v: Projection, rows: int, columns: int, rounds: int) -> None:
    """Turn the marginals in `solver.q`, (rows, columns) with a row's own hypotheses in its row, into the projection's weights.

    rounds: of moment matching and transport at most; it ends earlier where nothing is gained.
    """
    s = v.solver
    for h in range(columns):
        s.line[h].demand = 0.0
    for i in range(rows):
        total = 0.0
        for h in range(columns):
            total += s.cell[i * columns + h].q
        for h in range(columns):
            s.cell[i * columns + h].q /= total
    # `demand` is an array of the solver that assigning leaves alone.
    for h in range(columns):
        s.line[h].demand = s.cell[v.label[h].owner * columns + h].q
    _best_global(v, rows, columns)
    for i in range(rows):
        _take_one(v, i, s.line[i].done)
    last = math.inf
    for turn in range(rounds):
        for i in range(rows):
            if turn > 0:
                _match(v, i, columns)
            _costs(v, i, columns)
        if not transport(s, rows, columns):
            return
        total = 0.0
        for x in range(rows * columns):
            total += s.cell[x].new * s.cell[x].cost
        if last - total < 1e-4:
            return
        last = total
        for x in range(rows * columns):
            s.cell[x].q = s.cell[x].new
