"""What a look leaves of each track in the setting `accurate`: the projection of its cluster, as a few association histories.

Fills the `outcome` rows and histories of the scratch; no track is changed. Where a track takes from the hypotheses of
another, the sources that shaped the other have shaped it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.identity import add_identity, keep_two
from apss_fusion.association.pairs import find_pair
from apss_fusion.association.projection import project
from apss_fusion.association.scratch import OWN, UNION
from apss_fusion.association.transport import MOST_COLUMNS, MOST_ROWS
from apss_fusion.association.weights import SOURCES as SOURCE_SETS
from apss_fusion.association.weights import note_missing
from apss_fusion.estimation.history import SOURCES, W
from apss_fusion.estimation.rounding import probability
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.mixing import add_parts, reduce_parts, write_gaussian

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: Tracks are projected together where they share a detection with more than this probability each.
_LINKED = 1e-3
#: A hypothesis that weighs less than this is left out.
_LEAST = 1e-6
#: Rounds of moment matching and transport at most.
_ROUNDS = 10


@lean_kernel
def project_look(w: Work, look: Row, z: NDArray[np.void], n: int) -> None:
    """Work out what the look leaves of its n candidates, whose clusters and marginals are known."""
    s = w.scratch
    _link(w, n, len(z))
    for c in range(n):
        if s.outcome[c].up == c:
            rows = _members(w, c)
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
        s.outcome[c].up, s.outcome[c].first = _root(s.outcome, c), -1
    for c in range(n - 1, -1, -1):
        root = s.outcome[s.outcome[c].up]
        s.outcome[c].next, root.first = root.first, c


@inline_kernel
def _members(w: Work, lowest: int) -> int:
    """Write the candidates that are projected with the `lowest` of them into `member`, in their order; how many."""
    s = w.scratch
    rows = 0
    c = whole(s.outcome[lowest].first)
    while c >= 0:
        s.member[rows] = c
        rows += 1
        c = whole(s.outcome[c].next)
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
            write_gaussian(w, c, edge, reference, x)
            b = w.bank.belief[s.c[c].slot]
            label.id1, label.p1, label.id2, label.p2 = b.id1, b.p1, b.id2, b.p2
            label.domain = b.domain
            # Until all are written, q holds the marginals in the order of hypotheses.
            v.solver.line[columns].demand = p
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
        v.solver.cell[x].q = 0.0
    for h in range(columns):
        v.solver.cell[v.label[h].owner * columns + h].q = v.solver.line[h].demand
    return columns


@inline_kernel
def _leave(w: Work, look: Row, z: NDArray[np.void], i: int, rows: int, columns: int) -> None:
    """Write what the look leaves of member i: by the plan (columns > 0), or by its own marginals."""
    s, v, q = w.scratch, w.scratch.projection, w.scratch.projection.solver.cell
    c = s.member[i]
    o = s.outcome[c]
    slot = s.c[c].slot
    o.hit, o.own, o.shares, o.source, o.moved = 0.0, -1, s.c[c].seen > 0.0, c, 0
    o.sources = _sources(w, slot)
    r, count, names = 0.0, 0, 0
    if columns:
        heaviest = 0.0
        for h in range(columns):
            g = q[i * columns + h].q
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
            g = q[i * columns + h].q
            if g > _LEAST:
                label = v.label[h]
                other = whole(s.member[label.owner])
                count = add_parts(w, c, other, whole(label.edge), g * v.hypothesis[h, W], r, count)
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
        count = add_parts(w, c, c, whole(-1), missed, r, count)
        names = _add_name(w, c, whole(-1), z, missed / max(r, 1e-9), names)
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            count = add_parts(w, c, c, e, s.e[e].p, r, count)
            names = _add_name(w, c, e, z, s.e[e].p / max(r, 1e-9), names)
    if look.cooperative and o.moved and o.hit <= 0.0:
        # A report says nothing of those that it is not of.
        r, o.source, o.moved = probability(missed_existence(s.c[c])), c, 0
        o.sources = _sources(w, slot)
    o.r = r
    if o.shares:
        o.sources = _with_source(w, whole(o.sources), whole(look.source))
    keep_two(s.mixture, names, o)
    if o.source != c:
        _keep_source(w, c)
    reduce_parts(w, c, count)


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
        g = v.solver.cell[i * columns + h].q
        if g <= _LEAST or v.label[h].edge < 0:
            continue
        j, total = s.e[v.label[h].edge].detection, 0.0
        for k in range(columns):
            if v.label[k].edge >= 0 and s.e[v.label[k].edge].detection == j:
                total += v.solver.cell[i * columns + k].q
        if total > OWN:
            s.outcome[c].own = v.label[h].edge
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            if s.e[e].detection == j:
                s.e[e].p = total


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
def _keep_source(w: Work, c: int) -> None:
    """Keep what candidate c takes over from the track whose hypothesis weighs most in it."""
    s, o = w.scratch, w.scratch.outcome[c]
    slot = s.c[o.source].slot
    a, b = w.bank.altitude[slot], w.bank.belief[slot]
    k = o.altitude
    k.h, k.w, k.hh, k.hw, k.ww, k.t = a.h, a.w, a.hh, a.hw, a.ww, a.t
    o.length_m, o.length_var, o.width_m = b.length_m, b.length_var, b.width_m
    o.attributes, o.datum = b.attributes, b.datum


@lean_kernel
def take_outcome(c: int, o: Row, a: Row, b: Row) -> None:
    """Write what outcome o of candidate c says beside the state into altitude a and belief b."""
    b.id1, b.p1, b.id2, b.p2 = o.id1, o.p1, o.id2, o.p2
    if o.source != c:
        k = o.altitude
        a.h, a.w, a.hh, a.hw, a.ww, a.t = k.h, k.w, k.hh, k.hw, k.ww, k.t
        b.length_m, b.length_var, b.width_m = o.length_m, o.length_var, o.width_m
        b.attributes, b.datum = o.attributes, o.datum
