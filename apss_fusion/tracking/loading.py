"""A bank and a table of cells from what was saved."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import kernel, whole
from apss_fusion.tracking import bank as banks
from apss_fusion.tracking.bank import Bank
from apss_fusion.tracking.intensity import Intensity, slot_of


@kernel
def take_slots(bank: Bank, n: int) -> None:
    """Take the first n slots of a new bank."""
    for _ in range(n):
        banks.take_slot(bank)


@kernel
def load_contributors(bank: Bank, counts: NDArray[np.int64], rows: NDArray[np.float64]) -> None:
    """Rows (source, n, last) as the contributors of tracks 0, 1, ...: so many of each."""
    k = 0
    for i in range(len(counts)):
        last = whole(-1)
        for _ in range(counts[i]):
            last = banks.add_contributor(
                bank.link, bank.pool, bank.counters, i, last, whole(rows[k, 0]), whole(rows[k, 1]), rows[k, 2]
            )
            k += 1


@kernel
def load_intensity(table: Intensity, key: NDArray[np.uint64], rows: NDArray[np.float64]) -> None:
    """Write (value, time) of cells into a table that has room."""
    for k in range(len(key)):
        s = slot_of(table.cells, key[k])
        if table.cells[s].key == 0:
            table.used[0] += 1
        row = table.cells[s]
        row.key, row.value, row.t, row.written, row.last = key[k], rows[k, 0], rows[k, 1], 1, -1
