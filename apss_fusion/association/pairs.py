"""Tables of what two interned things make together, looked up in compiled code and computed once in Python.

The attributes of a track and of a detection make merged attributes and a likelihood factor; a set of sources and a
source make a larger set. There are few distinct pairs, so a kernel looks the pair up and leaves an unknown one to its
caller, who lets the table learn it and calls again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import kernel

_MULTIPLIER = 0x9E3779B97F4A7C15
_FIRST_CAPACITY = 1024


@kernel
def find_pair(keys: NDArray[np.uint64], a: int, b: int) -> int:
    """Slot of the pair (a, b) in the `keys` of a `PairTable`, or -1 where the table has not learned it."""
    key = ((np.uint64(a) << np.uint64(32)) | np.uint64(b)) + np.uint64(1)
    mask = np.uint64(len(keys) - 1)
    # Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, 6.4), then linear probing.
    slot = ((key * np.uint64(_MULTIPLIER)) >> np.uint64(32)) & mask
    while keys[slot] != np.uint64(0):
        if keys[slot] == key:
            return np.int64(slot)  # type: ignore[return-value]
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)  # type: ignore[return-value]


@kernel
def _insert(
    keys: NDArray[np.uint64],
    values: NDArray[np.int64],
    factors: NDArray[np.float64],
    key: np.uint64,
    value: int,
    factor: float,
) -> None:
    mask = np.uint64(len(keys) - 1)
    slot = ((key * np.uint64(_MULTIPLIER)) >> np.uint64(32)) & mask
    while keys[slot] != np.uint64(0):
        slot = (slot + np.uint64(1)) & mask
    keys[slot] = key
    values[slot] = value
    factors[slot] = factor


@kernel
def _rehash(
    old_keys: NDArray[np.uint64],
    old_values: NDArray[np.int64],
    old_factors: NDArray[np.float64],
    keys: NDArray[np.uint64],
    values: NDArray[np.int64],
    factors: NDArray[np.float64],
) -> None:
    for i in range(len(old_keys)):
        if old_keys[i] != np.uint64(0):
            _insert(keys, values, factors, old_keys[i], old_values[i], old_factors[i])


class PairTable:
    """Open addressing over pairs of numbers, each from 0 to 2^31 - 1.

    Parameters
    ----------
    compute
        The value (a number) and the factor of a pair: a pure function of what the two numbers stand for.

    Attributes
    ----------
    keys, value, factor
        Arrays of one length, a power of two: pass them to a kernel that uses `find_pair`. `learn` may replace them.
    """

    def __init__(self, compute: Callable[[int, int], tuple[int, float]]) -> None:
        self._compute = compute
        self._count = 0
        self.keys: NDArray[np.uint64] = np.zeros(_FIRST_CAPACITY, np.uint64)
        self.value: NDArray[np.int64] = np.zeros(_FIRST_CAPACITY, np.int64)
        self.factor: NDArray[np.float64] = np.ones(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return self._count

    def learn(self, a: int, b: int) -> int:
        """The slot of the pair (a, b), computed and inserted where it is new."""
        slot = int(find_pair(self.keys, a, b))
        if slot < 0:
            value, factor = self._compute(a, b)
            if 2 * (self._count + 1) > len(self.keys):
                self._grow()
            _insert(self.keys, self.value, self.factor, np.uint64((a << 32 | b) + 1), value, factor)
            self._count += 1
            slot = int(find_pair(self.keys, a, b))
        return slot

    def _grow(self) -> None:
        size = 2 * len(self.keys)
        keys, value, factor = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.ones(size)
        _rehash(self.keys, self.value, self.factor, keys, value, factor)
        self.keys, self.value, self.factor = keys, value, factor
