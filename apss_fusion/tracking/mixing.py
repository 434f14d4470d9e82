"""The mixture that a candidate becomes: the histories of all hypotheses it takes, in its own frame, reduced to a few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.history import (
    AA,
    AB,
    BB,
    EA,
    EB,
    EE,
    EN,
    FACTOR,
    FIRST,
    NA,
    NB,
    NN,
    SOURCES,
    WIDTH,
    A,
    B,
    E,
    N,
    W,
    clear_history,
    count_of,
    history_row,
    match_moments,
    put_history,
    reduce_histories,
    write_histories,
)
from apss_fusion.estimation.motion import turn
from apss_fusion.geodesy.wgs84 import frame_rotation, offset
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: A part of a mixture that weighs less than this share of it is left out.
_LEAST_PART = 1e-5
#: Histories within this squared Mahalanobis distance are one.
NEAR = 1.0


@inline_kernel
def write_gaussian(w: Work, c: int, edge: int, reference: int, x: NDArray[np.float64]) -> None:
    """Write mean and covariance of a hypothesis of candidate c as a shift from the prediction of candidate `reference`."""
    s = w.scratch
    spare = s.spare[0].state
    p = s.c[c].pred
    e, n = 0.0, 0.0
    if edge < 0:
        spare.a, spare.b, spare.ee, spare.en, spare.nn = 0.0, 0.0, p.ee, p.en, p.nn
        spare.ea, spare.eb, spare.na, spare.nb = p.ea, p.eb, p.na, p.nb
        spare.aa, spare.ab, spare.bb = p.aa, p.ab, p.bb
    else:
        h = s.e[edge].posterior
        e, n = h.e, h.n
        spare.a, spare.b, spare.ee, spare.en, spare.nn = h.a, h.b, h.ee, h.en, h.nn
        spare.ea, spare.eb, spare.na, spare.nb = h.ea, h.eb, h.na, h.nb
        spare.aa, spare.ab, spare.bb = h.aa, h.ab, h.bb
    if c != reference:
        e, n = _carry(p, s.c[reference].pred, e, n, spare)
    x[E], x[N], x[A], x[B] = e, n, spare.a, spare.b
    x[EE], x[EN], x[NN], x[EA], x[EB] = spare.ee, spare.en, spare.nn, spare.ea, spare.eb
    x[NA], x[NB], x[AA], x[AB], x[BB] = spare.na, spare.nb, spare.aa, spare.ab, spare.bb


@lean_kernel
def _carry(p: Row, into: Row, e: float, n: float, spare: Row) -> tuple[float, float]:
    """Carry a shift (e, n; velocity and covariance in `spare`) from prediction p to one from prediction `into`."""
    c, k = frame_rotation(p.x, p.y, p.z, into.x, into.y, into.z)
    spare.a += p.a
    spare.b += p.b
    turn(spare, c, -k)
    spare.a -= into.a
    spare.b -= into.b
    east, north = offset(into.x, into.y, into.z, p.x, p.y, p.z)
    return east + c * e - k * n, north + c * n + k * e


@lean_kernel
def add_parts(w: Work, c: int, other: int, edge: int, weight: float, r: float, count: int) -> int:
    """Add the parts of a hypothesis of candidate `other` to the mixture of candidate c, in its frame; how many there are then."""
    if weight < _LEAST_PART * r or r <= 0.0:
        return count
    s = w.scratch
    spare = s.spare[0].state
    h = s.c_h[other] if edge < 0 else s.e_h[edge]
    parts = count_of(h)
    if parts == 0:
        x = s.mix[count]
        write_gaussian(w, other, edge, c, x)
        x[W], x[FACTOR] = weight, 1.0
        return count + 1
    p = s.c[other].pred
    for m in range(parts):
        at = FIRST + WIDTH * m
        g = weight * h[at + W]
        if g < _LEAST_PART * r:
            continue
        e, n = h[at + E], h[at + N]
        history_row(h, at, spare)
        if c != other:
            e, n = _carry(p, s.c[c].pred, e, n, spare)
        x = s.mix[count]
        put_history(x, 0, e, n, spare)
        x[W], x[FACTOR] = g, h[at + FACTOR]
        count += 1
    return count


@inline_kernel
def reduce_parts(w: Work, c: int, count: int) -> None:
    """Reduce the mixture of candidate c to its histories and their moments."""
    s = w.scratch
    out, mix, h = s.outcome[c], s.mix, s.o_h[c]
    clear_history(h)
    h[SOURCES] = out.sources
    if count == 0:
        return
    made, at = 1, whole(0)
    if count > 1:
        at = count
        made = reduce_histories(mix, count, (len(h) - FIRST) // WIDTH, NEAR, s.group)
    mean = at
    if made > 1:
        for g in range(made):
            s.group[at + g] = 0
        mean = at + made
        match_moments(mix, at, mean, s.group, 0, mean)
    x, y = mix[mean], out.posterior
    y.e, y.n, y.a, y.b = x[E], x[N], x[A], x[B]
    y.ee, y.en, y.nn, y.ea, y.eb = x[EE], x[EN], x[NN], x[EA], x[EB]
    y.na, y.nb, y.aa, y.ab, y.bb = x[NA], x[NB], x[AA], x[AB], x[BB]
    if made == 1 and mix[at, FACTOR] == 1.0:
        return
    write_histories(mix, at, made, mean, h, s.spare[0].state)
