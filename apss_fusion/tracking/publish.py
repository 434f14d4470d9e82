"""Snapshots of tracks for those who read them: rows of `UPDATE`, with their evidence and contributors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.bank import Bank, identity_entry, identity_entry_next
from apss_fusion.tracking.rows import (
    CONTRIBUTOR,
    EVIDENCE,
    FLAG_ID_CONFLICT,
    FLAG_PENDING,
    TENTATIVE,
    TERMINATED,
    UPDATE,
)
from apss_fusion.tracking.window.rows import KEPT, TOLD

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work

#: Places in `n`.
ROWS, EVIDENCES, CONTRIBUTORS = 0, 1, 2


class Output(NamedTuple):
    """What the kernels have published in this call."""

    rows: NDArray[np.void]
    evidence: NDArray[np.void]
    contributors: NDArray[np.void]
    n: NDArray[np.int64]


def new_output(rows: int, evidence: int, contributors: int) -> Output:
    """Room for so many updates, pieces of evidence and contributor entries."""
    return Output(
        np.zeros(rows, UPDATE), np.zeros(evidence, EVIDENCE), np.zeros(contributors, CONTRIBUTOR), np.zeros(3, np.int64)
    )


@lean_kernel
def has_twin(bank: Bank, i: int) -> bool:
    """Whether another living track is believed to carry the same identity, or this one has two."""
    b = bank.belief[i]
    if b.id1 == 0:
        return False
    if b.p2 > 0.05:
        return True
    entry = identity_entry(bank.identity, b.id1)
    while entry >= 0:
        k = entry >> 1
        if k != i and entry & 1 == 0 and bank.belief[k].p1 > 0.5 and bank.belief[k].several:
            return True
        entry = identity_entry_next(bank.link, entry)
    return False


@lean_kernel
def publish(
    w: Work,
    i: int,
    s: Row,
    altitude: Row,
    r: float,
    time_us: int,
    look: int,
    status: int,
    reason: int,
    first_evidence: int,
    tentative: bool,
) -> None:
    """Append an update of track i in state s (its row, or a prediction), unless it is tentative and those are not wanted.

    The evidence since `first_evidence` belongs to it; without an update it is taken back. The caller has seen to room.
    """
    bank, out, win = w.bank, w.out, w.window
    k = bank.link[i]
    if (status == TENTATIVE and not tentative) or not win.n[TOLD]:
        out.n[EVIDENCES] = first_evidence
        return
    k.seq += 1
    k.told = status != TERMINATED
    k.changed = 1
    row = out.rows[out.n[ROWS]]
    out.n[ROWS] += 1
    out.rows[out.n[ROWS] - 1]["state"] = s
    out.rows[out.n[ROWS] - 1]["altitude"] = altitude
    out.rows[out.n[ROWS] - 1]["belief"] = bank.belief[i]
    row.belief.r = r
    row.time_us, row.revised_us, row.track, row.look = time_us, -1, i, look
    row.seq, row.detections, row.sources, row.status, row.reason = k.seq, k.detections, k.sources, status, reason
    row.flags = FLAG_ID_CONFLICT if has_twin(bank, i) else 0
    if win.n[KEPT]:
        win.track[i].told_us = time_us
        if win.track[i].waiting:
            row.flags |= FLAG_PENDING
    row.evidence, row.evidence_n = first_evidence, out.n[EVIDENCES] - first_evidence
    first = out.n[CONTRIBUTORS]
    row.contributors = first
    entry = whole(k.contributor)
    while entry >= 0:
        p = bank.pool[entry]
        # In the order of the sources' names.
        at = out.n[CONTRIBUTORS]
        while at > first and win.rank[out.contributors[at - 1].source] > win.rank[p.source]:
            _copy_contributor(out.contributors[at - 1], out.contributors[at])
            at -= 1
        _copy_contributor(p, out.contributors[at])
        out.n[CONTRIBUTORS] += 1
        entry = whole(p.next)
    row.contributors_n = out.n[CONTRIBUTORS] - first


@inline_kernel
def _copy_contributor(p: Row, c: Row) -> None:
    c.last, c.source, c.n, c.next = p.last, p.source, p.n, 0


@lean_kernel
def microseconds(t: float) -> int:
    """Integer microseconds of a time in s."""
    return whole(math.floor(t * 1e6 + 0.5))
