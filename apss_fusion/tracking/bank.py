"""The bank: every track in rows of a few arrays, the lists that lead to them, and their birth and death.

What a track is stands in `state`, `altitude`, `belief` and, in the setting `accurate`, `history`; `link` says only where it
is found and what was published.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.history import row_width
from apss_fusion.estimation.motion import STATE
from apss_fusion.kernels import kernel, lean_kernel, whole
from apss_fusion.tracking.rows import BELIEF, CONTRIBUTOR, LINK

#: Slots of the calendar and seconds of each.
WHEEL, TICK_S = 4096, 8.0
#: Places in `counters`: free slots and the first of them, those freed in this batch, the calendar's slot, the number of the
#: look, events in the heap, free contributor entries and the first of them, known identities, the most contributors of any track.
N_FREE, FREE, FREED, TICK, STAMP, HEAP, POOL_FREE, POOL, IDENTITIES, MOST = range(10)

#: What is due: time, track key, slot.
EVENT = np.dtype([("t", "f8"), ("key", "u8"), ("slot", "i8")])
#: An identity and the first entry of its list of tracks.
IDENTITY = np.dtype([("key", "u8"), ("head", "i8")])


class Bank(NamedTuple):
    """Arrays of `capacity` tracks. A slot is a row number; free slots are a list through `link.next`.

    Slots freed while a batch is in work wait in a list of their own until it ends, so that a slot names one track in a batch.
    """

    state: NDArray[np.void]
    altitude: NDArray[np.void]
    belief: NDArray[np.void]
    history: NDArray[np.float64]  # (capacity, width); no width where tracks are one Gaussian
    link: NDArray[np.void]
    counters: NDArray[np.int64]
    wheel: NDArray[np.int32]
    heap: NDArray[np.void]
    identity: NDArray[np.void]
    pool: NDArray[np.void]


def new_bank(capacity: int, histories: int = 0) -> Bank:
    """An empty bank for `capacity` tracks with so many histories each (0: one Gaussian)."""
    bank = Bank(
        np.zeros(0, STATE),
        np.zeros(0, ALTITUDE),
        np.zeros(0, BELIEF),
        np.zeros((0, row_width(histories))),
        np.zeros(0, LINK),
        np.zeros(16, np.int64),
        np.full(WHEEL, -1, np.int32),
        np.zeros(0, EVENT),
        np.zeros(0, IDENTITY),
        np.zeros(0, CONTRIBUTOR),
    )
    bank.counters[[FREE, FREED, POOL, TICK]] = -1
    return grown(bank, capacity)


def grown(bank: Bank, capacity: int) -> Bank:
    """A bank for at least `capacity` tracks, with room for the contributors, identities and events of as many."""
    old, pool_old = len(bank.link), len(bank.pool)
    capacity = max(capacity, old)
    pool = max(2 * capacity, 2 * pool_old if bank.counters[POOL_FREE] * 4 < pool_old else pool_old)
    events = max(2 * capacity, 2 * len(bank.heap) if bank.counters[HEAP] * 2 > len(bank.heap) else len(bank.heap))
    identities = 1 << (2 * (capacity + int(bank.counters[IDENTITIES]) // 2) - 1).bit_length()
    new = Bank(
        _longer(bank.state, capacity),
        _longer(bank.altitude, capacity),
        _longer(bank.belief, capacity),
        _longer(bank.history, capacity),
        _longer(bank.link, capacity),
        bank.counters.copy(),
        bank.wheel,
        _longer(bank.heap, events),
        np.zeros(max(identities, len(bank.identity)), IDENTITY),
        _longer(bank.pool, pool),
    )
    _chain_new(new, old, pool_old)
    rebuild_identities(new)
    return new


def _longer(rows: NDArray[Any], length: int) -> NDArray[Any]:
    out = np.zeros((length, *rows.shape[1:]), rows.dtype)
    out[: len(rows)] = rows
    return out


@lean_kernel
def _chain_new(bank: Bank, old: int, pool_old: int) -> None:
    """Put new slots and contributor entries on the lists of free ones, low ones first."""
    for i in range(len(bank.link) - 1, old - 1, -1):
        bank.link[i].next = bank.counters[FREE]
        bank.counters[FREE] = i
        bank.counters[N_FREE] += 1
    for i in range(len(bank.pool) - 1, pool_old - 1, -1):
        bank.pool[i].next = bank.counters[POOL]
        bank.counters[POOL] = i
        bank.counters[POOL_FREE] += 1


@lean_kernel
def rebuild_identities(bank: Bank) -> None:
    """Hang all living tracks on their identities afresh; identities of none are forgotten."""
    bank.counters[IDENTITIES] = 0
    for s in range(len(bank.identity)):
        bank.identity[s].key, bank.identity[s].head = 0, -1
    for i in range(len(bank.link)):
        if bank.link[i].alive:
            hang_identity(bank.belief[i].id1, 0, i, bank.link, bank.identity, bank.counters)
            hang_identity(bank.belief[i].id2, 1, i, bank.link, bank.identity, bank.counters)


@lean_kernel
def _identity_place(identity: NDArray[np.void], key: np.uint64) -> np.int64:
    """Place of an identity in the table, or the empty one where it belongs."""
    mask = np.uint64(len(identity) - 1)
    s = ((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while identity[s].key != 0 and identity[s].key != key:
        s = (s + np.uint64(1)) & mask
    return whole(s)


@lean_kernel
def identity_entry(identity: NDArray[np.void], key: np.uint64) -> int:
    """First entry of the list of tracks that carry an identity, -1 for none; entries are 2 slot + (0 first, 1 second)."""
    row = identity[_identity_place(identity, key)]
    return row.head if row.key == key else whole(-1)


@lean_kernel
def hang_identity(
    key: np.uint64, which: int, i: int, link: NDArray[np.void], identity: NDArray[np.void], counters: NDArray[np.int64]
) -> None:
    """Put track i on the list of an identity (0 is none), as its first (which = 0) or second (1)."""
    if key == 0:
        return
    row = identity[_identity_place(identity, key)]
    if row.key == 0:
        row.key, row.head = key, -1
        counters[IDENTITIES] += 1
    if which == 0:
        link[i].id1_next = row.head
    else:
        link[i].id2_next = row.head
    row.head = 2 * i + which


@lean_kernel
def unhang_identity(key: np.uint64, which: int, i: int, link: NDArray[np.void], identity: NDArray[np.void]) -> None:
    """Take track i off the list of an identity."""
    if key == 0:
        return
    row = identity[_identity_place(identity, key)]
    entry, before = row.head, whole(-1)
    while entry >= 0:
        after = identity_entry_next(link, entry)
        if entry == 2 * i + which:
            if before < 0:
                row.head = after
            elif before & 1 == 0:
                link[before >> 1].id1_next = after
            else:
                link[before >> 1].id2_next = after
            return
        before, entry = entry, after


@lean_kernel
def identity_entry_next(link: NDArray[np.void], entry: int) -> int:
    """The list entry after `entry`."""
    return whole(link[entry >> 1].id1_next if entry & 1 == 0 else link[entry >> 1].id2_next)


@lean_kernel
def contribute(
    link: NDArray[np.void], pool: NDArray[np.void], counters: NDArray[np.int64], i: int, source: int, t: float
) -> None:
    """Count one more detection by a source on track i."""
    entry, last = whole(link[i].contributor), whole(-1)
    while entry >= 0:
        c = pool[entry]
        if c.source == source:
            c.n += 1
            c.last = max(c.last, t)
            return
        last, entry = entry, whole(c.next)
    add_contributor(link, pool, counters, i, last, source, 1, t)


@lean_kernel
def add_contributor(
    link: NDArray[np.void],
    pool: NDArray[np.void],
    counters: NDArray[np.int64],
    i: int,
    after: int,
    source: int,
    n: int,
    t: float,
) -> int:
    """Append an entry to the contributors of track i, behind entry `after` (-1: as the first); returns it."""
    entry = take_entry(pool, counters, source, n, t)
    if after < 0:
        link[i].contributor = entry
    else:
        pool[after].next = entry
    link[i].contributors += 1
    counters[MOST] = max(counters[MOST], link[i].contributors)
    return entry


@lean_kernel
def take_entry(pool: NDArray[np.void], counters: NDArray[np.int64], source: int, n: int, t: float) -> int:
    """A new entry of a list of contributors. The caller has seen to room."""
    entry = counters[POOL]
    c = pool[entry]
    counters[POOL] = c.next
    counters[POOL_FREE] -= 1
    c.source, c.n, c.last, c.next = source, n, t, -1
    return entry


@lean_kernel
def take_slot(bank: Bank) -> int:
    """A slot for a new track, with clear links."""
    i = bank.counters[FREE]
    k = bank.link[i]
    bank.counters[FREE] = k.next
    bank.counters[N_FREE] -= 1
    k.cid = k.next = k.prev = k.tick = k.tick_next = k.tick_prev = k.id1_next = k.id2_next = k.stamp = -1
    k.seq = k.detections = k.sources = k.contributors = k.told = 0
    k.contributor = -1
    k.alive = 1
    k.changed = 1
    a = bank.altitude[i]
    a.h = a.w = a.hh = a.hw = a.ww = a.t = 0.0
    return i


@lean_kernel
def free_contributors(bank: Bank, entry: int) -> None:
    """Give back a list of contributors."""
    while entry >= 0:
        after = whole(bank.pool[entry].next)
        bank.pool[entry].next = bank.counters[POOL]
        bank.counters[POOL] = entry
        bank.counters[POOL_FREE] += 1
        entry = after


@lean_kernel
def release_slot(bank: Bank, i: int) -> None:
    """Track i is gone (already taken off all lists): its slot is free once the batch ends."""
    free_contributors(bank, whole(bank.link[i].contributor))
    k = bank.link[i]
    k.alive, k.contributor, k.next = 0, -1, bank.counters[FREED]
    bank.counters[FREED] = i


@kernel
def freed(bank: Bank) -> NDArray[np.int64]:
    """Slots freed while this batch was in work."""
    out = []
    i = bank.counters[FREED]
    while i >= 0:
        out.append(i)
        i = whole(bank.link[i].next)
    return np.array(out, np.int64) if len(out) else np.zeros(0, np.int64)


@lean_kernel
def settle(bank: Bank) -> None:
    """Give back what was freed while a batch was in work."""
    i = bank.counters[FREED]
    while i >= 0:
        after = whole(bank.link[i].next)
        bank.link[i].next = bank.counters[FREE]
        bank.counters[FREE] = i
        bank.counters[N_FREE] += 1
        i = after
    bank.counters[FREED] = -1


def alive(bank: Bank) -> NDArray[np.int64]:
    """Slots of all living tracks."""
    return np.flatnonzero(bank.link["alive"])
