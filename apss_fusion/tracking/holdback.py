"""Looks wait here until nothing earlier may come any more; what is late, met before or contradictory is turned away.

The clock of arrivals is the running maximum of arrival times. A look is late when the clock minus its time exceeds the lag of
its source; one that lies more than a minute after its own arrival is no look of the past at all. Looks leave in the order of
(time, source_id, look_id) once the clock has passed them by the longest lag, so what leaves when is a function of the sequence
of arrivals alone, wherever that is cut.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import kernel
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.look_records import LookBlocks
from apss_fusion.tracking.records import Record

#: A look may lie this long after its arrival: clocks differ.
AHEAD_US = 60_000_000
#: Codes of `admit`.
GOOD, LATE, DUPLICATE, CONTRADICTORY, AHEAD = 0, 1, 2, 3, 4
REASONS = (
    "",
    "late",
    "duplicate",
    "a look with this look_id and other content was met before",
    "lies more than 60 s after its arrival",
)
_MERGE_AT = 32


@kernel
def _slot(keys: NDArray[np.uint64], key: np.uint64) -> int:
    mask = np.uint64(len(keys) - 1)
    s = (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(24) & mask
    while keys[s] != 0 and keys[s] != key:
        s = (s + np.uint64(1)) & mask
    return np.int64(s)


@kernel
def _admit(
    looks: NDArray[np.void],
    lag_us: NDArray[np.int64],
    clock_us: int,
    floor_us: int,
    keys: NDArray[np.uint64],
    content: NDArray[np.uint64],
    time_us: NDArray[np.int64],
    used: int,
    code: NDArray[np.int8],
) -> tuple[int, int]:
    """Write the code of every look; returns (clock, known ids). floor_us: what is not after it was fused already."""
    for i in range(len(looks)):
        k = looks[i]
        clock_us = max(clock_us, k.received_us)
        key = k.id_hash if k.id_hash != 0 else np.uint64(1)
        s = _slot(keys, key)
        met = keys[s] == key and time_us[s] + lag_us[k.source] >= clock_us
        if k.time_us > k.received_us + AHEAD_US:
            code[i] = AHEAD
        elif met and content[s] == k.content:
            code[i] = DUPLICATE
        elif met:
            code[i] = CONTRADICTORY
        elif clock_us - k.time_us > lag_us[k.source] or k.time_us <= floor_us:
            code[i] = LATE
        else:
            code[i] = GOOD
            used += 1 if keys[s] == 0 else 0
            keys[s], content[s], time_us[s] = key, k.content, k.time_us
    return clock_us, used


@kernel
def _know(
    looks: NDArray[np.void],
    keys: NDArray[np.uint64],
    content: NDArray[np.uint64],
    time_us: NDArray[np.int64],
    used: int,
) -> int:
    """Remember the ids of looks, the last of each; returns how many are known."""
    for i in range(len(looks)):
        key = looks[i].id_hash if looks[i].id_hash != 0 else np.uint64(1)
        s = _slot(keys, key)
        used += 1 if keys[s] == 0 else 0
        keys[s], content[s], time_us[s] = key, looks[i].content, looks[i].time_us
    return used


@kernel
def _keep_known(
    keys: NDArray[np.uint64],
    content: NDArray[np.uint64],
    time_us: NDArray[np.int64],
    from_us: int,
    new_keys: NDArray[np.uint64],
    new_content: NDArray[np.uint64],
    new_time_us: NDArray[np.int64],
) -> int:
    used = 0
    for k in range(len(keys)):
        if keys[k] != 0 and time_us[k] >= from_us:
            s = _slot(new_keys, keys[k])
            new_keys[s], new_content[s], new_time_us[s] = keys[k], content[k], time_us[k]
            used += 1
    return used


class HoldBack:
    """The looks that wait, and the ids of those that were met within the lag.

    blocks: of the looks that wait, in records.
    """

    def __init__(self, blocks: LookBlocks) -> None:
        #: Running maximum of arrivals, microseconds since 1970; -1 before the first.
        self.clock_us = -1
        #: Looks not after this were fused: later arrivals from before are late.
        self.floor_us = -1
        self._blocks = blocks
        # Looks, and the number of the block that each is in; 0 for none.
        self._waiting: list[tuple[LookBatch, NDArray[np.int64]]] = []
        self._known = (np.zeros(1024, np.uint64), np.zeros(1024, np.uint64), np.zeros(1024, np.int64))
        self._used = 0

    def __len__(self) -> int:
        return sum(len(b) for b, _ in self._waiting)

    def records(self) -> list[Record]:
        """Records of the looks that wait, of what changed since last asked; a key that is gone has none."""
        new = [(batch, numbers, np.flatnonzero(numbers == 0)) for batch, numbers in self._waiting]
        out, blocks = self._blocks.changes(LookBatch.concat([batch.order(chosen) for batch, _, chosen in new]))
        start = 0
        for _, numbers, chosen in new:
            numbers[chosen] = blocks[start : start + len(chosen)]
            start += len(chosen)
        return out

    def admit(
        self, batch: LookBatch, lag_us: NDArray[np.int64], longest_us: int, wait: bool = True
    ) -> NDArray[np.int8]:
        """The code of each look of a batch, in order of arrival; the good ones wait, if they are to.

        lag_us: by source number.
        """
        code = np.zeros(len(batch), np.int8)
        self._make_room(len(batch), self.clock_us - longest_us)
        self.clock_us, self._used = _admit(
            batch.looks, lag_us, self.clock_us, self.floor_us, *self._known, self._used, code
        )
        good = np.flatnonzero(code == GOOD)
        if len(good) and wait:
            batch = batch if len(good) == len(batch) else batch.order(good)
            self._waiting.append((batch, np.zeros(len(batch), np.int64)))
        return code

    def take_up(self, batch: LookBatch, blocks: NDArray[np.int64], clock_us: int, floor_us: int, fused_us: int) -> None:
        """Wait with those of these looks that come after what was fused, at this time of the clock, as before a restart.

        blocks: the number of the block of each look. No look that is not after what was fused can come any more.
        """
        waits = np.flatnonzero((blocks > 0) & (batch.looks["time_us"] > fused_us))
        batch, blocks = batch.order(waits), blocks[waits]
        self._blocks.keep(blocks)
        self._waiting = [(batch, blocks)] if len(batch) else []
        self.remember(batch.looks, clock_us, max(floor_us, fused_us))

    def remember(self, looks: NDArray[np.void], clock_us: int, floor_us: int) -> None:
        """Know the ids of these looks (rows of `LOOK`), at this time of the clock, as before a restart."""
        self.clock_us, self.floor_us = clock_us, floor_us
        self._make_room(len(looks), 0)
        self._used = _know(looks, *self._known, self._used)

    def _make_room(self, more: int, from_us: int) -> None:
        if 2 * (self._used + more) <= len(self._known[0]):
            return
        kept = int(np.count_nonzero((self._known[0] != 0) & (self._known[2] >= from_us)))
        size = 1 << (4 * (kept + more) - 1).bit_length()
        new = (np.zeros(size, np.uint64), np.zeros(size, np.uint64), np.zeros(size, np.int64))
        self._used = _keep_known(*self._known, from_us, *new)
        self._known = new

    def release(self, before_us: int, names: list[str]) -> LookBatch:
        """Take out the looks whose time is before `before_us`, in the order of (time, source_id, look_id).

        names: source number to source_id.
        """
        ready, rest = [], []
        for batch, blocks in self._waiting:
            out = batch.looks["time_us"] < before_us
            if out.any():
                self._blocks.let_go(blocks[out & (blocks > 0)])
            if out.all():
                ready.append(batch)
            elif out.any():
                ready.append(batch.order(np.flatnonzero(out)))
                rest.append((batch.order(np.flatnonzero(~out)), blocks[~out]))
            else:
                rest.append((batch, blocks))
        if len(rest) > _MERGE_AT:
            rest = [(LookBatch.concat([b for b, _ in rest]), np.concatenate([n for _, n in rest]))]
        self._waiting = rest
        batch = LookBatch.concat(ready)
        order = time_order(batch, names)
        return batch if (order[1:] > order[:-1]).all() else batch.order(order)


def time_order(batch: LookBatch, names: list[str]) -> NDArray[np.int64]:
    """Numbers of the looks in the order of (time, source_id, look_id); names: source number to source_id."""
    time_us = batch.looks["time_us"]
    if (time_us[1:] > time_us[:-1]).all():
        return np.arange(len(batch))
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    source = rank[batch.looks["source"]]
    high, low = _id_prefix(batch.looks, batch.text)
    order = np.lexsort((low, high, source, time_us))
    # Ids that agree in their first 16 bytes are compared whole.
    same = (
        (time_us[order][1:] == time_us[order][:-1])
        & (source[order][1:] == source[order][:-1])
        & (high[order][1:] == high[order][:-1])
        & (low[order][1:] == low[order][:-1])
    )
    if same.any():
        edges = np.flatnonzero(np.diff(np.concatenate(([0], same.astype(np.int8), [0]))))
        for start, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            part = order[start : stop + 1]
            order[start : stop + 1] = sorted(part.tolist(), key=lambda i: batch.look_id(i).encode())
    return order


@kernel
def _id_prefix(looks: NDArray[np.void], text: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first 8 and the next 8 bytes of every look_id as big-endian numbers: their order is that of the texts."""
    high, low = np.zeros(len(looks), np.uint64), np.zeros(len(looks), np.uint64)
    for i in range(len(looks)):
        for k in range(16):
            byte = np.uint64(0)
            if k < looks[i].id_length:
                byte = np.uint64(text[looks[i].id_at + k])
            if k < 8:
                high[i] = (high[i] << np.uint64(8)) | byte
            else:
                low[i] = (low[i] << np.uint64(8)) | byte
    return high, low
