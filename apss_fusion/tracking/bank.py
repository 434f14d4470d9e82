"""The bank: every track in rows of a few arrays, the lists that lead to them, and their birth and death.

What a track is stands in `state`, `altitude` and `belief`; `link` says only where it is found and what was published.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import inline_kernel, kernel
from apss_fusion.tracking.rows import ALTITUDE, BELIEF, CONTRIBUTOR, LINK, STATE

#: Slots of the calendar and seconds of each.
WHEEL, TICK_S = 4096, 8.0
#: Places in `counters`.
N_FREE, N_FREED, TICK, STAMP, HEAP, POOL_FREE, IDENTITIES, POOL_FREED = range(8)


class Bank(NamedTuple):
    """Arrays of `capacity` tracks. A slot is a row number; `free` is a stack of those without a track.

    Slots freed while a batch is in work wait in `freed` until it ends, so that a slot names one track in a batch.
    """

    state: NDArray[np.void]
    altitude: NDArray[np.void]
    belief: NDArray[np.void]
    link: NDArray[np.void]
    track_id: NDArray[np.uint8]
    free: NDArray[np.int32]
    freed: NDArray[np.int32]
    counters: NDArray[np.int64]
    wheel: NDArray[np.int32]
    heap_t: NDArray[np.float64]
    heap_key: NDArray[np.uint64]
    heap_slot: NDArray[np.int32]
    identity_key: NDArray[np.uint64]
    identity_head: NDArray[np.int64]
    pool: NDArray[np.void]
    pool_free: NDArray[np.int32]
    pool_freed: NDArray[np.int32]


def new_bank(capacity: int) -> Bank:
    """An empty bank for `capacity` tracks."""
    pool = 2 * capacity
    link = np.zeros(capacity, LINK)
    _clear_links(link)
    counters = np.zeros(16, np.int64)
    counters[N_FREE], counters[POOL_FREE], counters[TICK] = capacity, pool, -1
    identities = 1 << (3 * capacity - 1).bit_length()
    return Bank(
        np.zeros(capacity, STATE),
        np.zeros(capacity, ALTITUDE),
        np.zeros(capacity, BELIEF),
        link,
        np.zeros((capacity, 16), np.uint8),
        np.arange(capacity - 1, -1, -1, dtype=np.int32),
        np.zeros(capacity, np.int32),
        counters,
        np.full(WHEEL, -1, np.int32),
        np.zeros(2 * capacity, np.float64),
        np.zeros(2 * capacity, np.uint64),
        np.zeros(2 * capacity, np.int32),
        np.zeros(identities, np.uint64),
        np.full(identities, -1, np.int64),
        np.zeros(pool, CONTRIBUTOR),
        np.arange(pool - 1, -1, -1, dtype=np.int32),
        np.zeros(pool, np.int32),
    )


def _clear_links(link: NDArray[np.void]) -> None:
    for name in ("cid", "next", "prev", "tick", "tick_next", "tick_prev", "id1_next", "id2_next", "stamp"):
        link[name] = -1
    link["contributor"] = -1


def grown(bank: Bank, capacity: int) -> Bank:
    """A bank for at least `capacity` tracks and as many contributors, identities and events as that may need."""
    old = len(bank.state)
    capacity = max(capacity, old)
    new = new_bank(capacity)
    for name in ("state", "altitude", "belief", "link", "track_id"):
        getattr(new, name)[:old] = getattr(bank, name)
    new.counters[:] = bank.counters
    # Low slots go first: the new ones lie below the old stack.
    height = int(bank.counters[N_FREE])
    new.free[: capacity - old] = np.arange(capacity - 1, old - 1, -1, dtype=np.int32)
    new.free[capacity - old : capacity - old + height] = bank.free[:height]
    new.counters[N_FREE] = height + capacity - old
    new.freed[: bank.counters[N_FREED]] = bank.freed[: bank.counters[N_FREED]]
    new.wheel[:] = bank.wheel
    room = max(len(bank.heap_t) if bank.counters[HEAP] * 2 < len(bank.heap_t) else 2 * len(bank.heap_t), 2 * capacity)
    heap = [np.zeros(room, a.dtype) for a in (bank.heap_t, bank.heap_key, bank.heap_slot)]
    for a, b in zip(heap, (bank.heap_t, bank.heap_key, bank.heap_slot), strict=True):
        a[: len(b)] = b
    pool, pool_old = 2 * capacity, len(bank.pool)
    if bank.counters[POOL_FREE] * 4 < pool_old:
        pool = max(pool, 2 * pool_old)
    pool = max(pool, pool_old)
    pool_rows = np.zeros(pool, CONTRIBUTOR)
    pool_rows[:pool_old] = bank.pool
    pool_free = np.zeros(pool, np.int32)
    pool_free[: pool - pool_old] = np.arange(pool - 1, pool_old - 1, -1, dtype=np.int32)
    height = int(bank.counters[POOL_FREE])
    pool_free[pool - pool_old : pool - pool_old + height] = bank.pool_free[:height]
    new.counters[POOL_FREE] = height + pool - pool_old
    pool_freed = np.zeros(pool, np.int32)
    pool_freed[: bank.counters[POOL_FREED]] = bank.pool_freed[: bank.counters[POOL_FREED]]
    new = new._replace(
        heap_t=heap[0], heap_key=heap[1], heap_slot=heap[2], pool=pool_rows, pool_free=pool_free, pool_freed=pool_freed
    )
    rebuild_identities(new)
    return new


def rebuild_identities(bank: Bank) -> None:
    """Hang all living tracks on their identities afresh (identities of none are forgotten)."""
    bank.identity_key[:] = 0
    bank.identity_head[:] = -1
    bank.counters[IDENTITIES] = 0
    bank.link["id1_next"] = -1
    bank.link["id2_next"] = -1
    _hang_all(bank.belief, bank.link, bank.identity_key, bank.identity_head, bank.counters)


@kernel
def _hang_all(
    belief: NDArray[np.void],
    link: NDArray[np.void],
    identity_key: NDArray[np.uint64],
    identity_head: NDArray[np.int64],
    counters: NDArray[np.int64],
) -> None:
    for i in range(len(link)):
        if link[i].alive:
            hang_identity(belief[i].id1, 0, i, link, identity_key, identity_head, counters)
            hang_identity(belief[i].id2, 1, i, link, identity_key, identity_head, counters)


@kernel
def identity_slot(identity_key: NDArray[np.uint64], identity: np.uint64) -> np.uint64:
    """Place of an identity in the table, or the empty one where it belongs."""
    mask = np.uint64(identity_key.size - 1)
    s = ((identity * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & mask
    while identity_key[s] != 0 and identity_key[s] != identity:
        s = (s + np.uint64(1)) & mask
    return s


@kernel
def hang_identity(
    identity: np.uint64,
    which: int,
    i: int,
    link: NDArray[np.void],
    identity_key: NDArray[np.uint64],
    identity_head: NDArray[np.int64],
    counters: NDArray[np.int64],
) -> None:
    """Put track i on the list of an identity, as its first (which = 0) or second (1); entries are 2 i + which."""
    if identity == 0:
        return
    s = identity_slot(identity_key, identity)
    if identity_key[s] == 0:
        identity_key[s] = identity
        counters[IDENTITIES] += 1
    after = identity_head[s]
    if which == 0:
        link[i].id1_next = after
    else:
        link[i].id2_next = after
    identity_head[s] = 2 * i + which


@kernel
def unhang_identity(
    identity: np.uint64,
    which: int,
    i: int,
    link: NDArray[np.void],
    identity_key: NDArray[np.uint64],
    identity_head: NDArray[np.int64],
) -> None:
    """Take track i off the list of an identity."""
    if identity == 0:
        return
    s = identity_slot(identity_key, identity)
    entry, before = identity_head[s], -1
    while entry >= 0:
        k = entry >> 1
        after = link[k].id1_next if entry & 1 == 0 else link[k].id2_next
        if k == i and entry & 1 == which:
            if before < 0:
                identity_head[s] = after
            elif before & 1 == 0:
                link[before >> 1].id1_next = after
            else:
                link[before >> 1].id2_next = after
            return
        before, entry = entry, after


@inline_kernel
def identity_entry_next(link: NDArray[np.void], entry: int) -> int:
    """The list entry after `entry`."""
    after = link[entry >> 1].id2_next
    if entry & 1 == 0:
        after = link[entry >> 1].id1_next
    return after


@kernel
def contribute(bank: Bank, i: int, source: int, t: float) -> None:
    """Count one more detection by a source on track i."""
    entry = bank.link[i].contributor
    last = -1
    while entry >= 0:
        c = bank.pool[entry]
        if c.source == source:
            c.n += 1
            c.last = max(c.last, t)
            return
        last, entry = entry, c.next
    bank.counters[POOL_FREE] -= 1
    entry = bank.pool_free[bank.counters[POOL_FREE]]
    c = bank.pool[entry]
    c.source, c.n, c.last, c.next = source, 1, t, -1
    if last < 0:
        bank.link[i].contributor = entry
    else:
        bank.pool[last].next = entry


@kernel
def take_slot(bank: Bank) -> int:
    """A slot for a new track, with clear links."""
    bank.counters[N_FREE] -= 1
    i = bank.free[bank.counters[N_FREE]]
    k = bank.link[i]
    k.cid = k.next = k.prev = k.tick = k.tick_next = k.tick_prev = k.id1_next = k.id2_next = k.stamp = -1
    k.seq = k.detections = k.sources = 0
    k.contributor = -1
    k.alive = k.changed = 1
    a = bank.altitude[i]
    a.h = a.w = a.hh = a.hw = a.ww = a.t = 0.0
    return i


@kernel
def release_slot(bank: Bank, i: int) -> None:
    """Track i is gone (already taken off all lists): its slot is free once the batch ends."""
    entry = bank.link[i].contributor
    while entry >= 0:
        bank.pool_freed[bank.counters[POOL_FREED]] = entry
        bank.counters[POOL_FREED] += 1
        entry = bank.pool[entry].next
    bank.link[i].alive = 0
    bank.link[i].changed = 1
    bank.freed[bank.counters[N_FREED]] = i
    bank.counters[N_FREED] += 1


def settle(bank: Bank) -> None:
    """Give back what was freed while a batch was in work."""
    n, free = int(bank.counters[N_FREED]), int(bank.counters[N_FREE])
    bank.free[free : free + n] = bank.freed[:n]
    bank.counters[N_FREE], bank.counters[N_FREED] = free + n, 0
    n, free = int(bank.counters[POOL_FREED]), int(bank.counters[POOL_FREE])
    bank.pool_free[free : free + n] = bank.pool_freed[:n]
    bank.counters[POOL_FREE], bank.counters[POOL_FREED] = free + n, 0


def alive(bank: Bank) -> NDArray[np.int64]:
    """Slots of all living tracks."""
    return np.flatnonzero(bank.link["alive"])
