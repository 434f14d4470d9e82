"""The filter's step: one look against the bank, the same for a report, a scan and an empty sweep.

Events that tracks have by themselves come first, up to the look's time. Then: propose, predict, weigh, cluster, marginals,
revise, found, thin, recycle. Up to `revise` nothing of a track is changed, so where an array is too small, or a pair of
attributes is new, the step returns and is called again with the same look.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.belief_propagation import marginals
from apss_fusion.association.cell_table import GLOBE_LEVEL, LEVELS, N_CELLS, Cells
from apss_fusion.association.clusters import clusters
from apss_fusion.association.edges import (
    ATTRIBUTES,
    FEW,
    NO_CELL_ROOM,
    NO_EDGE_ROOM,
    SOURCES,
    Pairs,
    drop_dominated,
    edges_of,
    hang_detections,
    note_missing,
    reference,
    unhang_detections,
)
from apss_fusion.association.pairs import find_pair
from apss_fusion.association.scratch import Scratch
from apss_fusion.estimation.altitude import predict_altitude
from apss_fusion.estimation.motion import predict
from apss_fusion.estimation.rounding import probability, significant
from apss_fusion.geodesy.polygon import chance_inside_with
from apss_fusion.geodesy.h3cells import nvec_to_cell, parent_of
from apss_fusion.kernels import Row, inline_kernel, lean_kernel
from apss_fusion.tracking.bank import (
    HEAP,
    IDENTITIES,
    N_FREE,
    POOL_FREE,
    STAMP,
    TICK,
    TICK_S,
    Bank,
    take_slot,
)
from apss_fusion.tracking.config import Params
from apss_fusion.tracking.filing import COAST, END, file_track, next_due, next_event, remove_track
from apss_fusion.tracking.intensity import Intensity, density, write
from apss_fusion.tracking.propose import COVERS, RINGS, VERTICES, Feet, propose_near, propose_under, reach_of
from apss_fusion.tracking.publish import (
    CONTRIBUTORS,
    EVIDENCES,
    ROWS,
    Output,
    microseconds,
    publish,
)
from apss_fusion.tracking.revise import OWN, found, revise
from apss_fusion.tracking.rows import COASTING, LOST, NO_REASON, TERMINATED

_FINEST = LEVELS[0]
_EARTH_M = 6_371_008.8
#: What a call needs before it can go on.
DONE, NEED_BANK, NEED_CELLS, NEED_SCRATCH, NEED_EDGES, NEED_OUTPUT, NEED_INTENSITY, NEED_PAIRS = range(8)
#: An edge that is told as evidence has at least this probability.
EVIDENCE_MIN = 1e-3
#: Cells that filing one track may intern.
_CELLS_A_TRACK = GLOBE_LEVEL + 1


#: Existence that goes back to the intensity of a cell.
MASS = np.dtype([("r", "f8"), ("cell", "u8"), ("domain", "i8")])


class Work(NamedTuple):
    """Everything a step works on."""

    bank: Bank
    cells: Cells
    intensity: Intensity
    params: Params
    pairs: Pairs
    feet: Feet
    scratch: Scratch
    heads: NDArray[np.int64]
    out: Output
    domain_mask: NDArray[np.int64]  # by source: bit d is domain d
    born: NDArray[np.int64]  # (slot, detection) of the tracks founded in this call, and in row 0 their number
    mass: NDArray[np.void]  # MASS rows


@lean_kernel
def run(w: Work, looks: NDArray[np.void], detections: NDArray[np.void], start: int, stop: int) -> tuple[int, int]:
    """Looks start to stop, in order; returns (first look not done, what is needed for it)."""
    for q in range(start, stop):
        need = live_until(w, looks[q].t)
        if need == DONE:
            need = one_look(w, looks[q], detections[looks[q].first : looks[q].first + looks[q].count], q, looks[q].first)
        if need != DONE:
            return q, need
    return stop, DONE


@lean_kernel
def live_until(w: Work, t: float) -> int:
    """Let happen, in order, what tracks have by themselves up to time t."""
    while True:
        if w.out.n[ROWS] + 1 > len(w.out.rows) or w.out.n[CONTRIBUTORS] + 4096 > len(w.out.contributors):
            return NEED_OUTPUT
        if w.cells.scalars[N_CELLS] + _CELLS_A_TRACK > len(w.cells.row):
            return NEED_CELLS
        if w.bank.counters[HEAP] + len(w.bank.link) - w.bank.counters[N_FREE] + 1 > len(w.bank.heap):
            return NEED_BANK
        if 2 * (w.intensity.used[0] + 1) > len(w.intensity.cells):
            return NEED_INTENSITY
        i = next_due(w.bank, t)
        if i < 0:
            return DONE
        _happen(w, i)


@inline_kernel
def _happen(w: Work, i: int) -> None:
    bank, b = w.bank, w.bank.belief[i]
    due = bank.link[i].due
    d = w.params.domain[b.domain]
    _, kind, reason = next_event(bank.state[i], b, d, w.params.filter[0], due + 1e-6)
    row = w.scratch.spare[0].state
    predict(bank.state[i], due, d.q, d.g, d.great_circle != 0, row)
    if kind == COAST:
        b.status = COASTING
        bank.link[i].changed = 1
    if kind != END:
        if kind == COAST:
            _tell(w, i, row, due, b.status, NO_REASON)
        file_track(bank, w.cells, w.params, i, row, w.scratch.digits, due)
        return
    if bank.link[i].seq > 0:
        _tell(w, i, row, due, TERMINATED, reason)
    cell = parent_of(
        nvec_to_cell(row.x, row.y, row.z, _FINEST, w.scratch.digits), w.params.filter[0].intensity_resolution
    )
    r = b.r * math.exp(-d.departure * (due - b.tr))
    write(w.intensity, w.params, cell, b.domain, due, 1.0, r / cell_area_m2(w.params.filter[0].intensity_resolution))
    remove_track(bank, w.cells, i)


@inline_kernel
def _tell(w: Work, i: int, row: Row, t: float, status: int, reason: int) -> None:
    """Publish what happened to track i by itself at time t, its state predicted to then."""
    b = w.bank.belief[i]
    a = w.scratch.spare[0].altitude
    if w.bank.altitude[i].hh > 0.0:
        predict_altitude(w.bank.altitude[i], t, a)
    else:
        a.h, a.hh = 0.0, 0.0
    r = b.r * math.exp(-w.params.domain[b.domain].departure * (t - b.tr))
    first = w.out.n[EVIDENCES]
    publish(w.bank, w.out, i, row, a, r, microseconds(t), -1, status, reason, first, w.params.filter[0].tentative)


@lean_kernel
def cell_area_m2(res: int) -> float:
    """Mean area of an H3 cell (the sphere in 2 + 120 * 7^res cells)."""
    return 5.100656e14 / (2.0 + 120.0 * 7.0**res)


@inline_kernel
def one_look(w: Work, look: Row, z: NDArray[np.void], q: int, first: int) -> int:
    """Weigh one look and apply it; returns DONE or what is needed, with no track changed then."""
    w.bank.counters[STAMP] = (w.bank.counters[STAMP] + 1) % 2000000000
    w.scratch.missing[0, 0] = 0
    if len(z) > len(w.scratch.d):
        return NEED_SCRATCH
    n = _candidates(w, look, z)
    if n < 0:
        return -n
    _prepare_detections(w, look, z)
    n = _weigh_all(w, look, z, n)
    if n < 0:
        return -n
    edges = drop_dominated(n, len(z), w.params.filter[0].edge_dominated, w.scratch)
    for j in range(len(z)):
        w.scratch.d[j].p_new = 1.0
    count = clusters(n, len(z), w.scratch)
    marginals(count, w.scratch, w.params.filter[0].sweeps)
    need = _room(w, look, z, n, edges)
    if need != DONE:
        return need
    masses = _revise_all(w, look, z, n, q, first)
    masses = _found_all(w, look, z, q, first, masses)
    _write_intensity(w, look, masses)
    return DONE


@inline_kernel
def _candidates(w: Work, look: Row, z: NDArray[np.void]) -> int:
    """Proposed tracks in c_slot, in the order of their keys; how many, or minus what is needed."""
    if w.cells.scalars[N_CELLS] + _CELLS_A_TRACK * (len(z) + 1) > len(w.cells.row):
        return -NEED_CELLS
    n = 0
    if look.footprint >= 0:
        n = propose_under(w.bank, w.cells, w.feet, look.footprint, w.scratch)
    else:
        for j in range(len(z)):
            n = propose_near(w.bank, w.cells, w.params, look, z[j], n, w.scratch)
            if n < 0:
                break
    if n < 0:
        return -NEED_SCRATCH
    _sort_by_key(w.bank.belief, n, w.scratch.c)
    return n


@lean_kernel
def _sort_by_key(belief: NDArray[np.void], n: int, c: NDArray[np.void]) -> None:
    """Sort the slots of n candidates by the keys of their tracks: by insertion where they are few, else as a heap."""
    for k in range(n):
        c[k].key = belief[c[k].slot].key
    if n <= 32:
        for k in range(1, n):
            slot, key, m = c[k].slot, c[k].key, k
            while m > 0 and c[m - 1].key > key:
                c[m].slot, c[m].key = c[m - 1].slot, c[m - 1].key
                m -= 1
            c[m].slot, c[m].key = slot, key
        return
    for k in range(n // 2 - 1, -1, -1):
        _sift(c, k, n)
    for k in range(n - 1, 0, -1):
        c[0].slot, c[k].slot = c[k].slot, c[0].slot
        c[0].key, c[k].key = c[k].key, c[0].key
        _sift(c, 0, k)


@lean_kernel
def _sift(c: NDArray[np.void], k: int, n: int) -> None:
    """Let row k sink to its place in the heap of the first n rows, the largest key on top."""
    slot, key = c[k].slot, c[k].key
    while 2 * k + 1 < n:
        child = 2 * k + 1
        if child + 1 < n and c[child + 1].key > c[child].key:
            child += 1
        if c[child].key <= key:
            break
        c[k].slot, c[k].key = c[child].slot, c[child].key
        k = child
    c[k].slot, c[k].key = slot, key


@inline_kernel
def _prepare_detections(w: Work, look: Row, z: NDArray[np.void]) -> None:
    """Densities that the weights of each detection are relative to, and its chance to be new."""
    s = w.scratch
    for j in range(len(z)):
        d = w.params.domain[z[j].domain]
        s.d[j].log_ref = reference(look, z[j], d)
        if look.cooperative:
            s.d[j].new, s.d[j].birth = 1.0, w.params.filter[0].birth_cooperative
            continue
        s.d[j].cell = parent_of(
            nvec_to_cell(z[j].x, z[j].y, z[j].z, _FINEST, s.digits), w.params.filter[0].intensity_resolution
        )
        clutter = max(look.clutter_per_m2, 1e-15)
        seen = look.p_detect * density(w.intensity, w.params, s.d[j].cell, z[j].domain, look.t)
        seen = max(significant(seen), clutter * w.params.filter[0].birth_min / (1.0 - w.params.filter[0].birth_min))
        s.d[j].new, s.d[j].birth = 1.0 + seen / clutter, seen / (clutter + seen)


@inline_kernel
def _chance_seen(w: Work, look: Row, p: Row) -> float:
    """Probability that the look would have detected a track with prediction p."""
    f = look.footprint
    cap = w.feet.cap[f]
    dx, dy, dz = p.x - cap.x, p.y - cap.y, p.z - cap.z
    away_m = _EARTH_M * math.sqrt(dx * dx + dy * dy + dz * dz)
    four_sigma_m = 4.0 * math.sqrt(p.ee + p.nn)
    if away_m - four_sigma_m > cap.outer_m:
        return 0.0
    inside = 1.0
    # The chord of a small cap is its arc within a thousandth up to 1,000 km; beyond, the polygon is asked.
    if away_m + four_sigma_m > cap.inner_m or away_m > 1e6:
        rings = w.feet.ring_start[w.feet.first[f, RINGS] : w.feet.first[f + 1, RINGS]]
        low, high = w.feet.first[f, VERTICES], w.feet.first[f + 1, VERTICES]
        inside = chance_inside_with(
            p.x, p.y, p.z, p.ee, p.en, p.nn, w.feet.vertices[low:high], rings, w.feet.edges
        )
    if inside < w.params.filter[0].inside_min:
        return 0.0
    if inside > 1.0 - w.params.filter[0].inside_min:
        inside = 1.0
    if look.min_speed_mps == look.min_speed_mps:
        sigma = math.sqrt(0.5 * (p.aa + p.bb))
        speed = math.sqrt(p.a * p.a + p.b * p.b)
        inside *= 0.5 * (1.0 + math.erf((speed - look.min_speed_mps) / (sigma * 1.4142135623730951)))
    return probability(look.p_detect * inside)


@inline_kernel
def _weigh_all(w: Work, look: Row, z: NDArray[np.void], n: int) -> int:
    """Predict the candidates and write their edges; keeps those that the look touches. How many, or minus what is needed."""
    s, bank = w.scratch, w.bank
    listed = len(z) >= FEW
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
        d = w.params.domain[b.domain]
        predict(bank.state[i], look.t, d.q, d.g, d.great_circle != 0, s.c[kept].pred)
        s.c[kept].slot = i
        s.c[kept].r = b.r * math.exp(-d.departure * (look.t - b.tr))
        s.c[kept].seen = 0.0
        if look.footprint >= 0 and (w.domain_mask[look.source] >> b.domain) & 1:
            s.c[kept].seen = _chance_seen(w, look, s.c[kept].pred)
        s.c[kept].miss = 1.0 - s.c[kept].r * s.c[kept].seen
        s.c[kept].edge = e
        after = edges_of(
            w.params, w.pairs, w.cells, look, bank.state[i], bank.altitude[i], b, kept, z, w.heads, widest, e, s
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


@inline_kernel
def _room(w: Work, look: Row, z: NDArray[np.void], n: int, edges: int) -> int:
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
        own = -1
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            if s.e[e].p > OWN:
                own = s.e[e].detection
        if own < 0:
            continue
        if k.sources != known_set:
            if find_pair(w.pairs.sets, k.sources, look.source) < 0:
                note_missing(s.missing, SOURCES, k.sources, look.source)
            else:
                known_set = k.sources
        a, b = bank.belief[s.c[c].slot].attributes, z[own].attributes
        if a and b and a != b and find_pair(w.pairs.attributes, a, b) < 0:
            note_missing(s.missing, ATTRIBUTES, a, b)
    if s.missing[0, 0]:
        return NEED_PAIRS
    if bank.counters[N_FREE] < m or bank.counters[POOL_FREE] < n + m:
        return NEED_BANK
    if bank.counters[HEAP] + n + m > len(bank.heap) or 2 * (bank.counters[IDENTITIES] + n + m) > len(bank.identity):
        return NEED_BANK
    if w.cells.scalars[N_CELLS] + _CELLS_A_TRACK * (n + m) > len(w.cells.row):
        return NEED_CELLS
    out = w.out
    if out.n[ROWS] + n + m > len(out.rows) or out.n[EVIDENCES] + edges + m > len(out.evidence):
        return NEED_OUTPUT
    if out.n[CONTRIBUTORS] + contributors > len(out.contributors) or w.born[0, 0] + m + 1 > len(w.born):
        return NEED_OUTPUT
    cover = 0
    if look.footprint >= 0:
        cover = 4 * (w.feet.first[look.footprint + 1, COVERS] - w.feet.first[look.footprint, COVERS])
    if 2 * (w.intensity.used[0] + cover + n + m) > len(w.intensity.cells):
        return NEED_INTENSITY
    return DONE


@inline_kernel
def _revise_all(w: Work, look: Row, z: NDArray[np.void], n: int, q: int, first: int) -> int:
    """Apply the look to its tracks, in the order of their keys; returns how many masses go back to the intensity."""
    bank, s, out = w.bank, w.scratch, w.out
    masses = 0
    for c in range(n):
        i = s.c[c].slot
        result = revise(bank, i, c, look, z, w.params, w.pairs, s)
        evidence = out.n[EVIDENCES]
        if result.r < w.params.filter[0].recycle:
            if result.r >= w.params.filter[0].recycle_mass_min:
                p = s.c[c].pred
                cell = nvec_to_cell(p.x, p.y, p.z, _FINEST, s.digits)
                masses = _mass(w, masses, result.r, cell, bank.belief[i].domain)
            if bank.link[i].seq > 0:
                publish(
                    bank, out, i, s.c[c].pred, bank.altitude[i], result.r, look.time_us, q, TERMINATED, LOST, evidence, True
                )
            remove_track(bank, w.cells, i)
            continue
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            if s.e[e].p >= EVIDENCE_MIN:
                v = out.evidence[out.n[EVIDENCES]]
                v.weight, v.detection = s.e[e].p, first + s.e[e].detection
                out.n[EVIDENCES] += 1
        b = bank.belief[i]
        if result.news:
            row, a = bank.state[i], bank.altitude[i]
            if result.hit <= 0.0:
                row = s.c[c].pred
            publish(bank, out, i, row, a, b.r, look.time_us, q, b.status, NO_REASON, evidence, w.params.filter[0].tentative)
        else:
            out.n[EVIDENCES] = evidence
        if result.hit > 0.0:
            file_track(bank, w.cells, w.params, i, bank.state[i], s.digits, look.t)
        else:
            file_track(bank, w.cells, w.params, i, s.c[c].pred, s.digits, look.t)
    return masses


@inline_kernel
def _mass(w: Work, masses: int, r: float, finest: np.uint64, domain: int) -> int:
    w.mass[masses].r, w.mass[masses].domain = r, domain
    w.mass[masses].cell = parent_of(finest, w.params.filter[0].intensity_resolution)
    return masses + 1


@inline_kernel
def _found_all(w: Work, look: Row, z: NDArray[np.void], q: int, first: int, masses: int) -> int:
    """Found a track for each detection that is new enough; returns how many masses go back to the intensity."""
    bank, s, out = w.bank, w.scratch, w.out
    if not look.may_initiate:
        return masses
    for j in range(len(z)):
        r = probability(s.d[j].p_new * s.d[j].birth)
        if r < w.params.filter[0].recycle:
            if not look.cooperative and r >= w.params.filter[0].recycle_mass_min:
                masses = _mass(w, masses, r, nvec_to_cell(z[j].x, z[j].y, z[j].z, _FINEST, s.digits), z[j].domain)
            continue
        i = take_slot(bank)
        found(bank, i, look, z[j], r, w.params, w.pairs)
        w.born[0, 0] += 1
        w.born[w.born[0, 0], 0], w.born[w.born[0, 0], 1] = i, first + j
        file_track(bank, w.cells, w.params, i, bank.state[i], s.digits, look.t)
        if w.params.filter[0].tentative:
            evidence = out.n[EVIDENCES]
            v = out.evidence[evidence]
            v.weight, v.detection = s.d[j].p_new, first + j
            out.n[EVIDENCES] += 1
            b = bank.belief[i]
            publish(
                bank, out, i, bank.state[i], bank.altitude[i], r, look.time_us, q, b.status, NO_REASON, evidence, True
            )
    return masses


@inline_kernel
def _write_intensity(w: Work, look: Row, masses: int) -> None:
    """Thin the cells that the look covered, then add the recycled masses in the order in which they came."""
    f = look.footprint
    if f >= 0:
        mask = w.domain_mask[look.source]
        for k in range(w.feet.first[f, COVERS], w.feet.first[f + 1, COVERS]):
            for d in range(len(w.params.domain)):
                if (mask >> d) & 1:
                    thin = 1.0 - look.p_detect * w.feet.cover[k].share
                    write(w.intensity, w.params, w.feet.cover[k].cell, d, look.t, thin, 0.0)
    area = cell_area_m2(w.params.filter[0].intensity_resolution)
    for k in range(masses):
        write(w.intensity, w.params, w.mass[k].cell, w.mass[k].domain, look.t, 1.0, w.mass[k].r / area)


@lean_kernel
def start_calendar(bank: Bank, t: float) -> None:
    """Set the calendar to time t (of a state that is loaded)."""
    bank.counters[TICK] = np.int64(math.floor(t / TICK_S))
