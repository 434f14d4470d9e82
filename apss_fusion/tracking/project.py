"""What a look leaves of each track in the setting `accurate`: the projection of its cluster, as a few association histories.

Fills the `outcome` rows and histories of the scratch; no track is changed. Where a track takes from the hypotheses of another, the
sources that shaped the other have shaped it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.edges import SOURCES as SOURCE_SETS
from apss_fusion.association.edges import note_missing
from apss_fusion.association.identity import add_identity
from apss_fusion.association.pairs import find_pair
from apss_fusion.association.projection import project
from apss_fusion.association.scratch import OWN, UNION
from apss_fusion.association.transport import MOST_COLUMNS, MOST_ROWS
from apss_fusion.estimation.history import (
    AA,
    AB,
    BB,
    COUNT,
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
    match_moments,
    put_history,
    reduce_histories,
    round_history,
)
from apss_fusion.estimation.motion import turn
from apss_fusion.estimation.rounding import probability
from apss_fusion.geodesy.wgs84 import frame_rotation, offset
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: Tracks are projected together where they share a detection with more than this probability each.
_LINKED = 1e-3
#: A hypothesis, and a part of a mixture, that weighs less than this is left out.
_LEAST, _LEAST_PART = 1e-6, 1e-5
#: Rounds of moment matching and transport at most.
_ROUNDS = 10
#: Histories within this squared Mahalanobis distance are one.
_NEAR = 1.0


@lean_kernel
def project_look(w: Work, look: Row, z: NDArray[np.void], n: int) -> None:
    """Work out what the look leaves of its n candidates, whose clusters and marginals are known."""
    s = w.scratch
    _link(w, n, len(z))
    for c in range(n):
        if s.outcome[c].up == c:
            rows = _members(w, c, n)
            columns = _hypotheses(w, rows) if rows > 1 else whole(0)
            if columns:
                project(s.projection, rows, columns, _ROUNDS)
            for i in range(rows):
                _leave(w, look, z, i, rows, columns)


@lean_kernel
def _root(outcome: NDArray[np.void], a: int) -> int:
    while outcome[a].up != a:
        outcome[a].up = outcome[outcome[a].up].up
        a = outcome[a].up
    return a


@inline_kernel
def _link(w: Work, n: int, m: int) -> None:
    """Find the candidates that are projected together."""
    s = w.scratch
    for j in range(m):
        s.d[j].linked = -1
    for c in range(n):
        s.outcome[c].up = c
    for c in range(n):
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            if s.e[e].p > _LINKED:
                d = s.d[s.e[e].detection]
                if d.linked < 0:
                    d.linked = c
                else:
                    a, b = _root(s.outcome, whole(d.linked)), _root(s.outcome, c)
                    s.outcome[max(a, b)].up = min(a, b)
    for c in range(n):
        s.outcome[c].up = _root(s.outcome, c)


@inline_kernel
def _members(w: Work, first: int, n: int) -> int:
    """Write the candidates that are projected with `first`, the lowest of them, into `member`; how many."""
    s = w.scratch
    rows = 0
    for c in range(first, n):
        if s.outcome[c].up == first:
            s.member[rows] = c
            rows += 1
    return rows


@inline_kernel
def missed_existence(c: Row) -> float:
    """Existence of candidate c if the look missed it."""
    return c.r * (1.0 - c.seen) / (1.0 - c.r * c.seen)


@inline_kernel
def _hypotheses(w: Work, rows: int) -> int:
    """Write the hypotheses of the members, and their marginals into the solver's q; how many, 0 where they are too many."""
    s, v = w.scratch, w.scratch.projection
    columns = 0
    for i in range(rows):
        c = s.member[i]
        columns += 1 + s.c[c + 1].edge - s.c[c].edge
    if rows > MOST_ROWS or columns > MOST_COLUMNS:
        return whole(0)
    columns, detections = 0, 0
    reference = s.member[0]
    for i in range(rows):
        c = s.member[i]
        hit = 0.0
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            hit += s.e[e].p
        for e in range(s.c[c].edge - 1, s.c[c + 1].edge):
            edge = e if e >= s.c[c].edge else whole(-1)
            p = max(1.0 - hit, 0.0) if edge < 0 else s.e[e].p
            if p <= _LEAST:
                continue
            label = v.label[columns]
            label.owner, label.edge, label.detection = i, edge, -1
            x = v.hypothesis[columns]
            if edge < 0:
                label.cost = -np.log(s.c[c].miss)
                x[W] = missed_existence(s.c[c])
            else:
                d = s.d[s.e[e].detection]
                label.cost = -np.log(s.e[e].weight / d.new)
                x[W] = 1.0
            _write_gaussian(w, c, edge, reference, x)
            b = w.bank.belief[s.c[c].slot]
            label.id1, label.p1, label.id2, label.p2 = b.id1, b.p1, b.id2, b.p2
            label.domain = b.domain
            # Until all are written, q holds the marginals in the order of hypotheses.
            v.solver.demand[columns] = p
            columns += 1
    # Number the detections in the order in which they come.
    for h in range(columns):
        if v.label[h].edge < 0:
            continue
        j = s.e[v.label[h].edge].detection
        for k in range(h):
            if v.label[k].edge >= 0 and s.e[v.label[k].edge].detection == j:
                v.label[h].detection = v.label[k].detection
                break
        if v.label[h].detection < 0:
            v.label[h].detection = detections
            detections += 1
    for x in range(rows * columns):
        v.solver.q[x] = 0.0
    for h in range(columns):
        v.solver.q[v.label[h].owner * columns + h] = v.solver.demand[h]
    return columns


@inline_kernel
def _write_gaussian(w: Work, c: int, edge: int, reference: int, x: NDArray[np.float64]) -> None:
    """Write mean and covariance of a hypothesis of candidate c in the frame of candidate `reference`: as a shift from its prediction."""
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


@inline_kernel
def _leave(w: Work, look: Row, z: NDArray[np.void], i: int, rows: int, columns: int) -> None:
    """Write what the look leaves of member i: by the plan (columns > 0), or by its own marginals."""
    s, v, q = w.scratch, w.scratch.projection, w.scratch.projection.solver.q
    c = s.member[i]
    o = s.outcome[c]
    slot = s.c[c].slot
    o.hit, o.own, o.shares, o.source, o.moved = 0.0, -1, s.c[c].seen > 0.0, c, 0
    o.sources = _sources(w, slot)
    r, count, names = 0.0, 0, 0
    if columns:
        heaviest = 0.0
        for h in range(columns):
            g = q[i * columns + h]
            if g <= _LEAST:
                continue
            label = v.label[h]
            other = s.member[label.owner]
            r += g * v.hypothesis[h, W]
            if g > heaviest:
                heaviest, o.source = g, other
            if label.edge >= 0:
                o.hit += g
                o.shares = True
            if other != c:
                o.moved = 1
                o.sources = _union(w, whole(o.sources), _sources(w, s.c[other].slot))
        r = probability(min(r, 1.0))
        for h in range(columns):
            g = q[i * columns + h]
            if g > _LEAST:
                label = v.label[h]
                other = whole(s.member[label.owner])
                count = _add_parts(w, c, other, whole(label.edge), g * v.hypothesis[h, W], r, count)
                names = _add_name(w, other, whole(label.edge), z, g * v.hypothesis[h, W] / max(r, 1e-9), names)
        _note_own(w, i, columns)
    else:
        hit = 0.0
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            hit += s.e[e].p
            if s.e[e].p > OWN:
                o.own = e
        o.hit = min(hit, 1.0)
        o.shares |= hit > 0.0
        missed = (1.0 - o.hit) * missed_existence(s.c[c])
        r = probability(missed + o.hit)
        count = _add_parts(w, c, c, whole(-1), missed, r, count)
        names = _add_name(w, c, whole(-1), z, missed / max(r, 1e-9), names)
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            count = _add_parts(w, c, c, e, s.e[e].p, r, count)
            names = _add_name(w, c, e, z, s.e[e].p / max(r, 1e-9), names)
    o.r = r
    if o.shares:
        o.sources = _with_source(w, whole(o.sources), whole(look.source))
    _keep_names(w, c, names)
    if o.source != c:
        _keep_source(w, c)
    _reduce(w, c, count)


@inline_kernel
def _sources(w: Work, slot: int) -> int:
    return whole(w.bank.history[slot, SOURCES])


@lean_kernel
def _union(w: Work, a: int, b: int) -> int:
    """The set that holds two sets of sources; the first where it has to be learned yet, which is noted."""
    if a == b or b == 0:
        return a
    if a == 0:
        return b
    k = find_pair(w.pairs.sets, a, UNION + b)
    if k < 0:
        note_missing(w.scratch.missing, SOURCE_SETS, a, UNION + b)
        return a
    return whole(w.pairs.sets[k].value)


@lean_kernel
def _with_source(w: Work, a: int, source: int) -> int:
    """A set of sources with one more; the set itself where that has to be learned yet, which is noted."""
    k = find_pair(w.pairs.sets, a, source)
    if k < 0:
        note_missing(w.scratch.missing, SOURCE_SETS, a, source)
        return a
    return whole(w.pairs.sets[k].value)


@inline_kernel
def _note_own(w: Work, i: int, columns: int) -> None:
    """Find the detection that is most likely member i's own by the plan; its edges get the weights of their detections."""
    s, v = w.scratch, w.scratch.projection
    c = s.member[i]
    for e in range(s.c[c].edge, s.c[c + 1].edge):
        s.e[e].p = 0.0
    for h in range(columns):
        g = v.solver.q[i * columns + h]
        if g <= _LEAST or v.label[h].edge < 0:
            continue
        j, total = s.e[v.label[h].edge].detection, 0.0
        for k in range(columns):
            if v.label[k].edge >= 0 and s.e[v.label[k].edge].detection == j:
                total += v.solver.q[i * columns + k]
        if total > OWN:
            s.outcome[c].own = v.label[h].edge
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            if s.e[e].detection == j:
                s.e[e].p = total


@lean_kernel
def _add_parts(w: Work, c: int, other: int, edge: int, weight: float, r: float, count: int) -> int:
    """Add the parts of a hypothesis of candidate `other` to the mixture of candidate c, in its frame; how many there are then."""
    if weight < _LEAST_PART * r or r <= 0.0:
        return count
    s = w.scratch
    spare = s.spare[0].state
    h = s.c_h[other] if edge < 0 else s.e_h[edge]
    parts = count_of(h)
    if parts == 0:
        x = s.mix[count]
        _write_gaussian(w, other, edge, c, x)
        x[W], x[FACTOR] = weight, 1.0
        return count + 1
    p = s.c[other].pred
    for m in range(parts):
        at = FIRST + WIDTH * m
        g = weight * h[at + W]
        if g < _LEAST_PART * r:
            continue
        e, n = h[at + E], h[at + N]
        spare.a, spare.b = h[at + A], h[at + B]
        spare.ee, spare.en, spare.nn, spare.ea, spare.eb = h[at + EE], h[at + EN], h[at + NN], h[at + EA], h[at + EB]
        spare.na, spare.nb, spare.aa, spare.ab, spare.bb = h[at + NA], h[at + NB], h[at + AA], h[at + AB], h[at + BB]
        if c != other:
            e, n = _carry(p, s.c[c].pred, e, n, spare)
        x = s.mix[count]
        put_history(x, 0, e, n, spare)
        x[W], x[FACTOR] = g, h[at + FACTOR]
        count += 1
    return count


@inline_kernel
def _add_name(w: Work, other: int, edge: int, z: NDArray[np.void], weight: float, n: int) -> int:
    """Add the identities of a hypothesis to the mixture of names."""
    s, f = w.scratch, w.params.filter[0]
    identity = np.uint64(0)
    if edge >= 0:
        identity = z[s.e[edge].detection].identity
    b = w.bank.belief[s.c[other].slot]
    return add_identity(b, identity, weight, f.identity_error, f.identity_count, s.mixture, n)


@inline_kernel
def _keep_names(w: Work, c: int, n: int) -> None:
    """Keep the two likeliest identities of candidate c."""
    s, o = w.scratch, w.scratch.outcome[c]
    o.id1, o.p1, o.id2, o.p2 = np.uint64(0), 0.0, np.uint64(0), 0.0
    for k in range(n):
        p = np.floor(s.mixture[k].p * 65536.0 + 0.5) / 65536.0
        if p <= 0.0:
            continue
        identity = s.mixture[k].identity
        if p > o.p1 or (p == o.p1 and identity < o.id1):
            o.id2, o.p2 = o.id1, o.p1
            o.id1, o.p1 = identity, p
        elif p > o.p2 or (p == o.p2 and identity < o.id2):
            o.id2, o.p2 = identity, p


@inline_kernel
def _keep_source(w: Work, c: int) -> None:
    """Keep what candidate c takes over from the track whose hypothesis weighs most in it."""
    s, o = w.scratch, w.scratch.outcome[c]
    slot = s.c[o.source].slot
    a, b = w.bank.altitude[slot], w.bank.belief[slot]
    k = o.altitude
    k.h, k.w, k.hh, k.hw, k.ww, k.t = a.h, a.w, a.hh, a.hw, a.ww, a.t
    o.length_m, o.length_var, o.width_m = b.length_m, b.length_var, b.width_m
    o.attributes, o.datum = b.attributes, b.datum


@inline_kernel
def _reduce(w: Work, c: int, count: int) -> None:
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
        made = reduce_histories(mix, count, (len(h) - FIRST) // WIDTH, _NEAR, s.group)
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
    h[COUNT] = made
    for g in range(made):
        place = FIRST + WIDTH * g
        for k in range(WIDTH):
            h[place + k] = mix[at + g, k]
        if made == 1:
            h[place + W] = 1.0
        h[place + E] -= x[E]
        h[place + N] -= x[N]
        h[place + A] -= x[A]
        h[place + B] -= x[B]
        round_history(h, place, s.spare[0].state)


@lean_kernel
def take_outcome(c: int, o: Row, a: Row, b: Row) -> None:
    """Write what outcome o of candidate c says beside the state into altitude a and belief b."""
    b.id1, b.p1, b.id2, b.p2 = o.id1, o.p1, o.id2, o.p2
    if o.source != c:
        k = o.altitude
        a.h, a.w, a.hh, a.hw, a.ww, a.t = k.h, k.w, k.hh, k.hw, k.ww, k.t
        b.length_m, b.length_var, b.width_m = o.length_m, o.length_var, o.width_m
        b.attributes, b.datum = o.attributes, o.datum
