"""The filter's step: one look against the bank, the same for a report, a scan and an empty sweep.

Events that tracks have by themselves come first, up to the look's time. Then: propose, predict, weigh, cluster, marginals,
revise, found, thin, recycle. Up to `revise` nothing of a track is changed, so where an array is too small, or a pair of
attributes is new, the step returns and is called again with the same look.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.belief_propagation import marginals
from apss_fusion.association.cell_table import N_CELLS
from apss_fusion.association.clusters import clusters
from apss_fusion.association.edges import drop_dominated
from apss_fusion.estimation.altitude import altitude_at
from apss_fusion.estimation.motion import predict
from apss_fusion.estimation.rounding import probability
from apss_fusion.kernels import Row, inline_kernel, lean_kernel
from apss_fusion.tracking.bank import (
    HEAP,
    MOST,
    N_FREE,
    STAMP,
    take_slot,
)
from apss_fusion.tracking.filing import COAST, END, existence_at, file_track, next_due, next_event, remove_track
from apss_fusion.tracking.intensity import cell_of, write
from apss_fusion.tracking.propose import COVERS
from apss_fusion.tracking.publish import CONTRIBUTORS, EVIDENCES, ROWS, microseconds, publish
from apss_fusion.tracking.revise import found, revise
from apss_fusion.tracking.rows import COASTING, LOST, NO_REASON, TERMINATED
from apss_fusion.tracking.weighing import candidates, prepare_detections, room_for, weigh_all
from apss_fusion.tracking.work import (
    CELLS_A_TRACK,
    DONE,
    EVIDENCE_MIN,
    NEED_BANK,
    NEED_CELLS,
    NEED_INTENSITY,
    NEED_OUTPUT,
    NEED_SCRATCH,
    Work,
    cell_area_m2,
)


@lean_kernel
def run(w: Work, looks: NDArray[np.void], detections: NDArray[np.void], start: int, stop: int) -> tuple[int, int]:
    """Looks start to stop, in order; returns (first look not done, what is needed for it)."""
    for q in range(start, stop):
        need = live_until(w, looks[q].t)
        if need == DONE:
            need = one_look(
                w, looks[q], detections[looks[q].first : looks[q].first + looks[q].count], q, looks[q].first
            )
        if need != DONE:
            return q, need
    return stop, DONE


@lean_kernel
def live_until(w: Work, t: float) -> int:
    """Let happen, in order, what tracks have by themselves up to time t."""
    while True:
        if w.out.n[ROWS] + 1 > len(w.out.rows) or w.out.n[CONTRIBUTORS] + w.bank.counters[MOST] > len(
            w.out.contributors
        ):
            return NEED_OUTPUT
        if w.cells.scalars[N_CELLS] + CELLS_A_TRACK > len(w.cells.row):
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
    cell = cell_of(row.x, row.y, row.z, w.params, w.scratch.digits)
    r = existence_at(b, d, due)
    write(w.intensity, w.params, cell, b.domain, due, 1.0, r / cell_area_m2(w.params.filter[0].intensity_resolution))
    remove_track(bank, w.cells, i)


@inline_kernel
def _tell(w: Work, i: int, row: Row, t: float, status: int, reason: int) -> None:
    """Publish what happened to track i by itself at time t, its state predicted to then."""
    b = w.bank.belief[i]
    a = w.scratch.spare[0].altitude
    altitude_at(w.bank.altitude[i], t, a)
    r = existence_at(b, w.params.domain[b.domain], t)
    first = w.out.n[EVIDENCES]
    publish(w.bank, w.out, i, row, a, r, microseconds(t), -1, status, reason, first, w.params.filter[0].tentative)


@inline_kernel
def one_look(w: Work, look: Row, z: NDArray[np.void], q: int, first: int) -> int:
    """Weigh one look and apply it; returns DONE or what is needed, with no track changed then."""
    w.bank.counters[STAMP] = (w.bank.counters[STAMP] + 1) % 2000000000
    w.scratch.missing[0, 0] = 0
    if len(z) > len(w.scratch.d):
        return NEED_SCRATCH
    n = candidates(w, look, z)
    if n < 0:
        return -n
    prepare_detections(w, look, z)
    n = weigh_all(w, look, z, n)
    if n < 0:
        return -n
    edges = drop_dominated(n, len(z), w.params.filter[0].edge_dominated, w.scratch)
    for j in range(len(z)):
        w.scratch.d[j].p_new = 1.0
    count = clusters(n, len(z), w.scratch)
    marginals(count, w.scratch, w.params.filter[0].sweeps)
    need = room_for(w, look, z, n, edges)
    if need != DONE:
        return need
    masses = _revise_all(w, look, z, n, q, first)
    masses = _found_all(w, look, z, q, first, masses)
    _write_intensity(w, look, masses)
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
                masses = _mass(w, masses, result.r, p.x, p.y, p.z, bank.belief[i].domain)
            if bank.link[i].seq > 0:
                altitude_at(bank.altitude[i], look.t, s.spare[0].altitude)
                publish(
                    bank,
                    out,
                    i,
                    s.c[c].pred,
                    s.spare[0].altitude,
                    result.r,
                    look.time_us,
                    q,
                    TERMINATED,
                    LOST,
                    evidence,
                    True,
                )
            remove_track(bank, w.cells, i)
            continue
        for e in range(s.c[c].edge, s.c[c + 1].edge):
            if s.e[e].p >= EVIDENCE_MIN:
                v = out.evidence[out.n[EVIDENCES]]
                v.weight, v.detection = s.e[e].p, first + s.e[e].detection
                out.n[EVIDENCES] += 1
        b = bank.belief[i]
        row = s.c[c].pred
        if result.hit > 0.0:
            row = bank.state[i]
        if result.news:
            a = s.spare[0].altitude
            altitude_at(bank.altitude[i], look.t, a)
            publish(
                bank, out, i, row, a, b.r, look.time_us, q, b.status, NO_REASON, evidence, w.params.filter[0].tentative
            )
        else:
            out.n[EVIDENCES] = evidence
        file_track(bank, w.cells, w.params, i, row, s.digits, look.t)
    return masses


@inline_kernel
def _mass(w: Work, masses: int, r: float, x: float, y: float, z: float, domain: int) -> int:
    """Note existence that goes back to the intensity at an n-vector; returns how many there are."""
    w.mass[masses].r, w.mass[masses].domain = r, domain
    w.mass[masses].cell = cell_of(x, y, z, w.params, w.scratch.digits)
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
                masses = _mass(w, masses, r, z[j].x, z[j].y, z[j].z, z[j].domain)
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
    if f >= 0 and not look.cooperative:
        mask = w.domain_mask[look.source]
        for k in range(w.feet.first[f, COVERS], w.feet.first[f + 1, COVERS]):
            for d in range(len(w.params.domain)):
                if (mask >> d) & 1:
                    thin = 1.0 - look.p_detect * w.feet.cover[k].share
                    write(w.intensity, w.params, w.feet.cover[k].cell, d, look.t, thin, 0.0)
    area = cell_area_m2(w.params.filter[0].intensity_resolution)
    for k in range(masses):
        write(w.intensity, w.params, w.mass[k].cell, w.mass[k].domain, look.t, 1.0, w.mass[k].r / area)
