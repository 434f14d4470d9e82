"""The first half of a step: which tracks a look concerns, and how its detections weigh on them. Changes no track."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.belief_propagation import marginals
from apss_fusion.association.cell_table import N_CELLS
from apss_fusion.association.clusters import clusters
from apss_fusion.association.edges import (
    FEW,
    NO_EDGE_ROOM,
    drop_dominated,
    drop_untouched,
    edges_of,
    hang_detections,
    unhang_detections,
)
from apss_fusion.association.pairs import find_pair
from apss_fusion.association.scratch import OWN, Scratch
from apss_fusion.association.weights import ATTRIBUTES, SOURCES, note_missing, reference, weigh
from apss_fusion.estimation.motion import predict
from apss_fusion.estimation.noise_bank import predict_history
from apss_fusion.estimation.rounding import probability, significant
from apss_fusion.geodesy.polygon import chance_inside_with
from apss_fusion.geodesy.wgs84 import MEAN_RADIUS_M
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.bank import (
    HEAP,
    IDENTITIES,
    N_FREE,
    POOL_FREE,
)
from apss_fusion.tracking.filing import existence_at
from apss_fusion.tracking.intensity import cell_key, cell_of, density
from apss_fusion.tracking.project import project_look
from apss_fusion.tracking.propose import COVERS, RINGS, VERTICES, reach_of
from apss_fusion.tracking.publish import (
    CONTRIBUTORS,
    EVIDENCES,
    ROWS,
)
from apss_fusion.tracking.undetected import DOMAIN, ON, advance, first_detections
from apss_fusion.tracking.window.log import density_before
from apss_fusion.tracking.window.rows import KEPT
from apss_fusion.tracking.window.touches import window_holds
from apss_fusion.tracking.work import (
    CELLS_A_TRACK,
    DONE,
    NEED_BANK,
    NEED_CELLS,
    NEED_EDGES,
    NEED_INTENSITY,
    NEED_OUTPUT,
    NEED_PAIRS,
    NEED_WINDOW,
    Work,
)

#: Nothing is detected for certain: a track that was missed is not proved away.
_MOST_SEEN = 1.0 - 2.0**-20


@inline_kernel
def prepare_detections(w: Work, look: Row, z: NDArray[np.void], past: int) -> None:
    """Densities that the weights of each detection are relative to, and its chance to be new.

    past: number of the look in the window, of whose time the intensity is read; -1 for that of now.
    """
    s = w.scratch
    if w.undetected.n[ON]:
        advance(w.undetected, look.t, w.params.domain[w.undetected.n[DOMAIN]], s.spare[0].state)
    for j in range(len(z)):
        d = w.params.domain[z[j].domain]
        s.d[j].log_ref = reference(look, z[j], d)
        s.d[j].expected = 0.0
        if look.cooperative:
            s.d[j].new, s.d[j].birth = 1.0, w.params.filter[0].birth_cooperative
            continue
        s.d[j].cell = cell_of(z[j].x, z[j].y, z[j].z, w.params, s.digits)
        s.d[j].expected = expected_density(w, look, z[j], s.d[j].cell, past)
        clutter = max(look.clutter_per_m2, 1e-15)
        s.d[j].new, s.d[j].birth = 1.0 + s.d[j].expected / clutter, s.d[j].expected / (clutter + s.d[j].expected)


@lean_kernel
def expected_density(w: Work, look: Row, z: Row, cell: np.uint64, past: int) -> float:
    """Density of first detections at detection z that the look expects, 1/m^2, from the intensity before it."""
    if w.undetected.n[ON]:
        undetected = first_detections(w.undetected, z, w.params.filter[0].gate, w.scratch.spare[0].posterior)
    elif past < 0:
        undetected = density(w.intensity, w.params, cell, z.domain, look.t)
    else:
        undetected = density_before(w, cell_key(cell, z.domain), past)
    least = w.params.filter[0].birth_min / (1.0 - w.params.filter[0].birth_min)
    return max(significant(look.p_detect * undetected), max(look.clutter_per_m2, 1e-15) * least)


@lean_kernel
def chance_seen(w: Work, look: Row, p: Row, stop_probability: float) -> float:
    """Probability that the look would have detected a track with prediction p."""
    f = look.footprint
    cap = w.feet.cap[f]
    dx, dy, dz = p.x - cap.x, p.y - cap.y, p.z - cap.z
    away_m = MEAN_RADIUS_M * math.sqrt(dx * dx + dy * dy + dz * dz)
    four_sigma_m = 4.0 * math.sqrt(p.ee + p.nn)
    if away_m - four_sigma_m > cap.outer_m:
        return 0.0
    inside = 1.0
    # The chord of a small cap is its arc within a thousandth up to 1,000 km; beyond, the polygon is asked.
    if away_m + four_sigma_m > cap.inner_m or away_m > 1e6:
        rings = w.feet.ring_start[w.feet.first[f, RINGS] : w.feet.first[f + 1, RINGS]]
        low, high = w.feet.first[f, VERTICES], w.feet.first[f + 1, VERTICES]
        inside = chance_inside_with(p.x, p.y, p.z, p.ee, p.en, p.nn, w.feet.vertices[low:high], rings, w.feet.edges)
    if inside < w.params.filter[0].inside_min:
        return 0.0
    if inside > 1.0 - w.params.filter[0].inside_min:
        inside = 1.0
    if look.min_speed_mps == look.min_speed_mps:
        sigma = math.sqrt(0.5 * (p.aa + p.bb))
        speed = math.sqrt(p.a * p.a + p.b * p.b)
        moves = 0.5 * (1.0 + math.erf((speed - look.min_speed_mps) / (sigma * 1.4142135623730951)))
        inside *= moves * (1.0 - stop_probability)
    return min(probability(look.p_detect * inside), _MOST_SEEN)


@inline_kernel
def weigh_all(w: Work, look: Row, z: NDArray[np.void], n: int) -> int:
    """Predict the candidates and write their edges; keeps those that the look touches. How many, or minus what is needed."""
    s, bank = w.scratch, w.bank
    # Reports of identities are compared pair by pair: their gate may be that of the wide model.
    listed = len(z) >= FEW
    for j in range(len(z)):
        listed &= z[j].identity == 0
    if listed and not hang_detections(w.cells, z, w.heads, s):
        return -NEED_CELLS
    widest = 0.0
    if listed:
        for j in range(len(z)):
            widest = max(widest, reach_of(look, z[j], w.params))
    kept, e = 0, 0
    for c in range(n):
        i = s.c[c].slot
        b = bank.belief[i]
        if not (w.domain_mask[look.source] >> b.domain) & 1:
            continue
        d = w.params.domain[b.domain]
        predict(bank.state[i], look.t, d.q * b.factor, d.g, d.great_circle != 0, s.c[kept].pred)
        predict_history(
            bank.history[i],
            bank.state[i],
            s.c[kept].pred,
            d,
            w.params.factors,
            w.params.filter[0].least_factor,
            s.c_h[kept],
            s.spare[0].state,
        )
        s.c[kept].slot = i
        s.c[kept].r = existence_at(b, d, look.t)
        s.c[kept].seen = 0.0
        if look.footprint >= 0 and not look.cooperative:
            s.c[kept].seen = chance_seen(w, look, s.c[kept].pred, d.stop_probability)
        s.c[kept].miss = 1.0 - s.c[kept].r * s.c[kept].seen
        s.c[kept].edge = e
        after = edges_of(
            w.params,
            w.pairs,
            w.cells,
            look,
            bank.state[i],
            bank.altitude[i],
            b,
            kept,
            z,
            w.heads,
            widest,
            listed,
            e,
            s,
        )
        if after < 0:
            if listed:
                unhang_detections(w.cells, len(z), w.heads, s)
            return -NEED_EDGES if after == NO_EDGE_ROOM else -NEED_CELLS
        if after > e or s.c[kept].seen > 0.0:
            e = after
            kept += 1
    s.c[kept].edge = e
    if listed:
        unhang_detections(w.cells, len(z), w.heads, s)
    return kept


@lean_kernel
def weigh_one(
    w: Work,
    look: Row,
    s: Row,
    a: Row,
    b: Row,
    h: NDArray[np.float64],
    p: Row,
    r: float,
    z: Row,
    log_ref: float,
) -> float:
    """Weight of detection z for a track with rows s, a, b and histories h, predicted to p; its posterior is in a spare row."""
    d, spare = w.params.domain[b.domain], w.scratch.spare
    # The last rows of histories are nobody's.
    histories = w.scratch.c_h[len(w.scratch.c_h) - 1]
    predict_history(h, s, p, d, w.params.factors, w.params.filter[0].least_factor, histories, spare[0].state)
    return weigh(
        w.params.filter[0],
        d,
        w.pairs,
        look,
        s,
        a,
        b,
        p,
        r,
        z,
        log_ref,
        w.scratch.missing,
        spare[0],
        spare[1].posterior,
        histories,
        w.scratch.e_h[len(w.scratch.e_h) - 1],
        w.scratch.mix,
        w.scratch.group,
    )


@lean_kernel
def weigh_look(w: Work, look: Row, z: NDArray[np.void], n: int, past: int) -> int:
    """Weigh n candidates against the detections; those that the look touches stay. How many, or minus what is needed."""
    prepare_detections(w, look, z, past)
    n = weigh_all(w, look, z, n)
    if n >= 0:
        drop_dominated(n, len(z), w.params.filter[0].edge_dominated, w.scratch)
        n = drop_untouched(n, w.scratch)
    return n


@inline_kernel
def associate(w: Work, look: Row, z: NDArray[np.void], n: int) -> int:
    """Clusters of n candidates and the detections, their marginals and, where histories are kept, their projection.

    How many clusters hold tracks.
    """
    for j in range(len(z)):
        w.scratch.d[j].p_new = 1.0
    count = clusters(n, len(z), w.scratch)
    marginals(count, w.scratch, w.params.filter[0].sweeps)
    if len(w.scratch.outcome):
        project_look(w, look, z, n)
    return count


@lean_kernel
def note_missing_pairs(w: Work, look: Row, z: NDArray[np.void], n: int) -> None:
    """Note the pairs that revising the n candidates, and founding, need and that are not known."""
    s = w.scratch
    if len(s.outcome) and len(z) and find_pair(w.pairs.sets, 0, look.source) < 0:
        note_missing(s.missing, SOURCES, 0, look.source)
    for c in range(n):
        own = own_detection(c, s)
        if own >= 0:
            a, b = whole(w.bank.belief[s.c[c].slot].attributes), z[own].attributes
            if len(s.outcome) and s.outcome[c].source != c:
                a = s.outcome[c].attributes
            if a and b and a != b and find_pair(w.pairs.attributes, a, b) < 0:
                note_missing(s.missing, ATTRIBUTES, a, b)


@inline_kernel
def own_detection(c: int, s: Scratch) -> int:
    """The detection that most likely is candidate c's own, or -1."""
    own = -1
    if len(s.outcome):
        e = s.outcome[c].own
        return whole(s.e[e].detection if e >= 0 else -1)
    for e in range(s.c[c].edge, s.c[c + 1].edge):
        if s.e[e].p > OWN:
            own = s.e[e].detection
    return own


@inline_kernel
def room_for(w: Work, look: Row, z: NDArray[np.void], n: int) -> int:
    """Whether all that the look may write fits, and all pairs it needs are known."""
    bank, s, m = w.bank, w.scratch, len(z)
    contributors = 2 * m
    known_set = -1
    if m:
        known_set = 0
        if find_pair(w.pairs.sets, 0, look.source) < 0:
            note_missing(s.missing, SOURCES, 0, look.source)
    for c in range(n):
        k = bank.link[s.c[c].slot]
        contributors += k.contributors + 1
        if k.sources != known_set:
            if find_pair(w.pairs.sets, k.sources, look.source) < 0:
                note_missing(s.missing, SOURCES, k.sources, look.source)
            else:
                known_set = k.sources
    note_missing_pairs(w, look, z, n)
    if s.missing[0, 0]:
        return NEED_PAIRS
    if bank.counters[N_FREE] < m or bank.counters[POOL_FREE] < n + m:
        return NEED_BANK
    if bank.counters[HEAP] + n + m > len(bank.heap) or 2 * (bank.counters[IDENTITIES] + n + m) > len(bank.identity):
        return NEED_BANK
    if w.cells.scalars[N_CELLS] + CELLS_A_TRACK * (n + 2 * m) > len(w.cells.row):
        return NEED_CELLS
    out, edges = w.out, s.c[n].edge
    if out.n[ROWS] + n + m > len(out.rows) or out.n[EVIDENCES] + edges + m > len(out.evidence):
        return NEED_OUTPUT
    if out.n[CONTRIBUTORS] + contributors > len(out.contributors) or w.born[0, 0] + m + 1 > len(w.born):
        return NEED_OUTPUT
    writes = written_cells(w, look) + n + m
    if 2 * (w.intensity.used[0] + writes + m) > len(w.intensity.cells):
        return NEED_INTENSITY
    if w.window.n[KEPT] and not window_holds(w.window, n + m, writes + m, m):
        return NEED_WINDOW
    return DONE


@lean_kernel
def written_cells(w: Work, look: Row) -> int:
    """How many cells of all domains the look covers at most."""
    if look.footprint < 0:
        return 0
    return len(w.params.domain) * (w.feet.first[look.footprint + 1, COVERS] - w.feet.first[look.footprint, COVERS])
