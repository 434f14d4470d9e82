"""What stands beside a track's rows: who has contributed to it, and the lists that lead to its identities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.pairs import find_pair
from apss_fusion.estimation.history import SOURCES
from apss_fusion.kernels import Row, lean_kernel, whole
from apss_fusion.tracking.bank import contribute, hang_identity, unhang_identity

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work


@lean_kernel
def add_ledger(w: Work, i: int, look: Row, own: bool, shares: bool, histories: NDArray[np.float64]) -> None:
    """Count the look in what shaped track i, and a detection of its own.

    histories: of the track after the look; where they are kept (and it has not ended) they know who shaped it.
    """
    k = w.bank.link[i]
    if len(histories) and histories[SOURCES] > 0.0:
        k.sources = whole(histories[SOURCES])
    elif shares:
        k.sources = w.pairs.sets[find_pair(w.pairs.sets, k.sources, look.source)].value
    if own:
        k.detections += 1
        contribute(w.bank.link, w.bank.pool, w.bank.counters, i, look.source, look.t)


@lean_kernel
def hang_afresh(w: Work, i: int, old1: np.uint64, old2: np.uint64) -> None:
    """Track i has changed its identities from these two to those in its belief."""
    bank, b = w.bank, w.bank.belief[i]
    new1, new2 = b.id1, b.id2
    if new1 != old1:
        unhang_identity(old1, 0, i, bank.link, bank.identity)
        hang_identity(new1, 0, i, bank.link, bank.identity, bank.counters)
    if new2 != old2:
        unhang_identity(old2, 1, i, bank.link, bank.identity)
        hang_identity(new2, 1, i, bank.link, bank.identity, bank.counters)
