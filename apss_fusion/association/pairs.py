"""Tables of what two interned things make together, looked up in compiled code and computed once in Python.

The attributes of a track and of a detection make merged attributes and a likelihood factor; a set of sources and a
source make a larger set. There are few distinct pairs, so a kernel looks the pair up and leaves an unknown one to its
caller, who lets the table learn it and calls again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import Row, lean_kernel

#: A learned pair: key (0: an empty place), value and factor.
PAIR = np.dtype([("key", "u8"), ("value", "i8"), ("factor", "f8")])

_MULTIPLIER = 0x9E3779B97F4A7C15
_FIRST_CAPACITY = 1024


@lean_kernel
def find_pair(rows: NDArray[np.void], a: int, b: int) -> int:
    """Place of the pair (a, b) in the `rows` of a `PairTable`, or -1 where the table has not learned it."""
    key = ((np.uint64(a) << np.uint64(32)) | np.uint64(b)) + np.uint64(1)
    mask = np.uint64(len(rows) - 1)
    # Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, 6.4), then linear probing.
    slot = ((key * np.uint64(_MULTIPLIER)) >> np.uint64(32)) & mask
    while rows[slot].key != np.uint64(0):
        if rows[slot].key == key:
            return np.int64(slot)  # type: ignore[return-value]
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)  # type: ignore[return-value]


@lean_kernel
def _insert(rows: NDArray[np.void], row: Row) -> None:
    mask = np.uint64(len(rows) - 1)
    slot = ((row.key * np.uint64(_MULTIPLIER)) >> np.uint64(32)) & mask
    while rows[slot].key != np.uint64(0):
        slot = (slot + np.uint64(1)) & mask
    rows[slot] = row


@lean_kernel
def _insert_all(old: NDArray[np.void], rows: NDArray[np.void]) -> None:
    for i in range(len(old)):
        if old[i].key != np.uint64(0):
            _insert(rows, old[i])


class PairTable:
    """Open addressing over pairs of numbers, each from 0 to 2^31 - 1.

    Parameters
    ----------
    compute
        The value (a number) and the factor of a pair: a pure function of what the two numbers stand for.

    Attributes
    ----------
    rows
        PAIR rows, a power of two of them: pass them to a kernel that uses `find_pair`. `learn` may replace them.
    """

    def __init__(self, compute: Callable[[int, int], tuple[int, float]]) -> None:
        self._compute = compute
        self._count = 0
        self.rows: NDArray[np.void] = np.zeros(_FIRST_CAPACITY, PAIR)

    def __len__(self) -> int:
        return self._count

    def learn(self, a: int, b: int) -> int:
        """The slot of the pair (a, b), computed and inserted where it is new."""
        slot = int(find_pair(self.rows, a, b))
        if slot < 0:
            value, factor = self._compute(a, b)
            if 2 * (self._count + 1) > len(self.rows):
                larger = np.zeros(2 * len(self.rows), PAIR)
                _insert_all(self.rows, larger)
                self.rows = larger
            _insert_all(np.array([((a << 32 | b) + 1, value, factor)], PAIR), self.rows)
            self._count += 1
            slot = int(find_pair(self.rows, a, b))
        return slot
