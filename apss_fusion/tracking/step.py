"""The filter's step: one look against the bank, the same for a report, a scan and an empty sweep.

Events that tracks have by themselves come first, up to the look's time. Then: propose, predict, weigh, cluster, marginals,
revise, found, thin, recycle. Up to `revise` nothing of a track is changed, so where an array is too small, or a pair of
attributes is new, the step returns and is called again with the same look.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import N_CELLS
from apss_fusion.estimation.altitude import altitude_at
from apss_fusion.estimation.history import clear_history
from apss_fusion.estimation.motion import predict
from apss_fusion.estimation.rounding import probability
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.bank import (
    HEAP,
    MOST,
    N_FREE,
    STAMP,
    hang_identity,
    release_slot,
    take_slot,
)
from apss_fusion.tracking.candidates import candidates
from apss_fusion.tracking.cover import note_reads, thin_cover
from apss_fusion.tracking.filing import COAST, END, existence_at, file_track, next_due, next_event, retire_track
from apss_fusion.tracking.intensity import cell_key, cell_of, write
from apss_fusion.tracking.ledger import add_ledger, hang_afresh
from apss_fusion.tracking.publish import CONTRIBUTORS, EVIDENCES, ROWS, microseconds, publish
from apss_fusion.tracking.revise import found, projected_state, revise
from apss_fusion.tracking.rows import COASTING, LOST, NO_REASON, TERMINATED
from apss_fusion.tracking.undetected import (
    ON,
    count_born,
    found_from_mixture,
    give_back,
    holds_more,
    note_founded,
    thin,
)
from apss_fusion.tracking.weighing import associate, room_for, weigh_look
from apss_fusion.tracking.window.apply import set_end
from apss_fusion.tracking.window.log import put_write
from apss_fusion.tracking.window.record import record_detections, record_founding, record_touch
from apss_fusion.tracking.window.rows import (
    BATCH_DETECTION,
    BATCH_LOOK,
    BIRTH_MASS,
    KEPT,
    TOLD,
    TRACK_MASS,
)
from apss_fusion.tracking.window.touches import window_holds
from apss_fusion.tracking.work import (
    CELLS_A_TRACK,
    DONE,
    EVIDENCE_MIN,
    NEED_BANK,
    NEED_CELLS,
    NEED_INTENSITY,
    NEED_OUTPUT,
    NEED_SCRATCH,
    NEED_WINDOW,
    Work,
    cell_area_m2,
)


@lean_kernel
def run(w: Work, looks: NDArray[np.void], detections: NDArray[np.void], start: int, stop: int) -> tuple[int, int]:
    """Looks start to stop, in order; returns (first look not done, what is needed for it)."""
    for q in range(start, stop):
        need = live_until(w, looks[q].t)
        if need == DONE:
            need = one_look(w, looks[q], detections[looks[q].first : looks[q].first + looks[q].count], q)
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
        if w.window.n[KEPT] and not window_holds(w.window, 1, 1, 0):
            return NEED_WINDOW
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
    predict(bank.state[i], due, d.q * b.factor, d.g, d.great_circle != 0, row)
    if kind == COAST:
        b.status = COASTING
        bank.link[i].changed |= w.window.n[KEPT] == 0
    if kind != END:
        if kind == COAST:
            _tell(w, i, row, due, b.status, NO_REASON)
        file_track(w, i, row, due)
        return
    if bank.link[i].told:
        _tell(w, i, row, due, TERMINATED, reason)
    _give_back(w, i, row, due)
    retire_track(w, i, due)


@inline_kernel
def _give_back(w: Work, i: int, row: Row, t: float) -> None:
    """Give the existence of track i, which ends by itself at time t in state `row`, back to its cell."""
    if w.window.n[KEPT]:
        set_end(w, i, whole(w.window.track[i].last), t)
        return
    b = w.bank.belief[i]
    cell = cell_of(row.x, row.y, row.z, w.params, w.scratch.digits)
    mass = existence_at(b, w.params.domain[b.domain], t) / cell_area_m2(w.params.filter[0].intensity_resolution)
    write(w.intensity, w.params, cell, b.domain, t, 1.0, mass)


@inline_kernel
def _tell(w: Work, i: int, row: Row, t: float, status: int, reason: int) -> None:
    """Publish what happened to track i by itself at time t, its state predicted to then."""
    b = w.bank.belief[i]
    a = w.scratch.spare[0].altitude
    altitude_at(w.bank.altitude[i], t, a)
    r = existence_at(b, w.params.domain[b.domain], t)
    publish(w, i, row, a, r, microseconds(t), -1, status, reason, w.out.n[EVIDENCES], w.params.filter[0].tentative)


@lean_kernel
def one_look(w: Work, look: Row, z: NDArray[np.void], q: int) -> int:
    """Weigh one look and apply it; returns DONE or what is needed, with no track changed then.

    q: its number in the batch, or in the window where that is kept.
    """
    w.bank.counters[STAMP] = (w.bank.counters[STAMP] + 1) % 2000000000
    w.scratch.missing[0, 0] = 0
    if len(z) > len(w.scratch.d):
        return NEED_SCRATCH
    if w.undetected.n[ON] and not holds_more(w.undetected, len(w.scratch.c) + len(z)):
        return NEED_INTENSITY
    n = candidates(w, look, z, False)
    if n < 0:
        return -n
    n = weigh_look(w, look, z, n, -1)
    if n < 0:
        return -n
    associate(w, look, z, n)
    need = room_for(w, look, z, n)
    if need != DONE:
        return need
    kept = w.window.n[KEPT] != 0
    if kept:
        record_detections(w, q, z, n)
    if w.undetected.n[ON]:
        thin(w.undetected, look.p_detect if look.footprint >= 0 and not look.cooperative else 0.0)
    masses = _revise_all(w, look, z, n, q)
    masses = _found_all(w, look, z, q, masses)
    _write_intensity(w, look, z, q, masses)
    return DONE


@inline_kernel
def _revise_all(w: Work, look: Row, z: NDArray[np.void], n: int, q: int) -> int:
    """Apply the look to its tracks, in the order of their keys; returns how many masses go back to the intensity."""
    bank, s, out = w.bank, w.scratch, w.out
    masses = 0
    told = w.window.n[TOLD] != 0
    number, first = q - w.window.n[BATCH_LOOK], look.first - w.window.n[BATCH_DETECTION]
    for c in range(n):
        i = s.c[c].slot
        b = bank.belief[i]
        old1, old2 = b.id1, b.id2
        result = revise(bank.state[i], bank.altitude[i], b, bank.history[i], c, look, z, w.params, w.pairs, s)
        own = -1
        if result.own >= 0:
            own = s.e[result.own].detection
        ended = result.r < w.params.filter[0].recycle
        if ended:
            clear_history(bank.history[i])
        add_ledger(w, i, look, own >= 0 and not ended, result.shares, bank.history[i])
        if w.window.n[KEPT]:
            record_touch(w, i, q, c, own, result, old1, old2)
        else:
            bank.link[i].changed = 1
        evidence = out.n[EVIDENCES]
        if ended:
            if w.undetected.n[ON]:
                if len(s.outcome):
                    projected_state(c, look.t, s, bank.state[i])
                    give_back(w.undetected, bank.state[i], result.r)
                else:
                    give_back(w.undetected, s.c[c].pred, result.r)
            elif result.r >= w.params.filter[0].recycle_mass_min:
                p = s.c[c].pred
                masses = _mass(w, masses, result.r, p.x, p.y, p.z, b.domain, b.key, False)
            if bank.link[i].told and told:
                altitude_at(bank.altitude[i], look.t, s.spare[0].altitude)
                publish(
                    w,
                    i,
                    s.c[c].pred,
                    s.spare[0].altitude,
                    result.r,
                    look.time_us,
                    number,
                    TERMINATED,
                    LOST,
                    evidence,
                    True,
                )
            retire_track(w, i, look.t)
            continue
        hang_afresh(w, i, old1, old2)
        row = s.c[c].pred
        if bank.state[i].t == look.t:
            row = bank.state[i]
        if result.news and told:
            for e in range(s.c[c].edge, s.c[c + 1].edge):
                if s.e[e].p >= EVIDENCE_MIN:
                    v = out.evidence[out.n[EVIDENCES]]
                    v.weight, v.detection = s.e[e].p, first + s.e[e].detection
                    out.n[EVIDENCES] += 1
            a = s.spare[0].altitude
            altitude_at(bank.altitude[i], look.t, a)
            publish(
                w, i, row, a, b.r, look.time_us, number, b.status, NO_REASON, evidence, w.params.filter[0].tentative
            )
        file_track(w, i, row, look.t)
    return masses


@inline_kernel
def _mass(
    w: Work, masses: int, r: float, x: float, y: float, z: float, domain: int, order: np.uint64, birth: bool
) -> int:
    """Note existence that goes back to the intensity at an n-vector; returns how many there are."""
    m = w.mass[masses]
    m.r, m.domain, m.order, m.birth = r, domain, order, birth
    m.cell = cell_of(x, y, z, w.params, w.scratch.digits)
    return masses + 1


@inline_kernel
def _found_all(w: Work, look: Row, z: NDArray[np.void], q: int, masses: int) -> int:
    """Found a track for each detection that is new enough; returns how many masses go back to the intensity."""
    bank, s, out = w.bank, w.scratch, w.out
    if not look.may_initiate:
        return masses
    number, first = q - w.window.n[BATCH_LOOK], look.first - w.window.n[BATCH_DETECTION]
    for j in range(len(z)):
        r = probability(s.d[j].p_new * s.d[j].birth)
        if r < w.params.filter[0].recycle:
            if w.undetected.n[ON]:
                _give_back_unborn(w, look, z[j], r)
            elif not look.cooperative and r >= w.params.filter[0].recycle_mass_min:
                if w.window.n[KEPT]:
                    w.window.heard[look.first + j].mass = r
                masses = _mass(w, masses, r, z[j].x, z[j].y, z[j].z, z[j].domain, np.uint64(j), True)
            continue
        i = take_slot(bank)
        found(bank.state[i], bank.altitude[i], bank.belief[i], bank.history[i], look, z[j], r, w.params, w.pairs)
        if w.undetected.n[ON]:
            found_from_mixture(w, i, z[j])
            note_founded(w, i)
        if w.window.n[KEPT]:
            record_founding(w, i, q, j)
        hang_identity(bank.belief[i].id1, 0, i, bank.link, bank.identity, bank.counters)
        add_ledger(w, i, look, True, True, bank.history[i])
        name_later(w, i, look.first + j)
        file_track(w, i, bank.state[i], look.t)
        if w.params.filter[0].tentative and w.window.n[TOLD]:
            evidence = out.n[EVIDENCES]
            v = out.evidence[evidence]
            v.weight, v.detection = s.d[j].p_new, first + j
            out.n[EVIDENCES] += 1
            b = bank.belief[i]
            publish(w, i, bank.state[i], bank.altitude[i], r, look.time_us, number, b.status, NO_REASON, evidence, True)
    return masses


@inline_kernel
def _give_back_unborn(w: Work, look: Row, z: Row, r: float) -> None:
    """Give the existence r of an object that detection z would found back to the mixture."""
    i = take_slot(w.bank)
    bank = w.bank
    found(bank.state[i], bank.altitude[i], bank.belief[i], bank.history[i], look, z, r, w.params, w.pairs)
    found_from_mixture(w, i, z)
    give_back(w.undetected, bank.state[i], r)
    release_slot(bank, i)


@lean_kernel
def name_later(w: Work, i: int, detection: int) -> None:
    """Track i was founded by a detection: it gets its name from that once the call ends."""
    w.born[0, 0] += 1
    w.born[w.born[0, 0], 0], w.born[w.born[0, 0], 1] = i, detection


@inline_kernel
def _write_intensity(w: Work, look: Row, z: NDArray[np.void], q: int, masses: int) -> None:
    """Thin the cells that the look covered, then add the recycled masses in the order in which they came."""
    if w.undetected.n[ON]:
        count_born(w)
        return
    kept = w.window.n[KEPT] != 0
    if kept:
        note_reads(w, look, z, q, len(z))
    thin_cover(w, look, q)
    area = cell_area_m2(w.params.filter[0].intensity_resolution)
    for k in range(masses):
        m = w.mass[k]
        if kept:
            kind = BIRTH_MASS if m.birth else TRACK_MASS
            put_write(w, cell_key(m.cell, m.domain), look.t, 1.0, m.r / area, q, kind, m.order)
        else:
            write(w.intensity, w.params, m.cell, m.domain, look.t, 1.0, m.r / area)
