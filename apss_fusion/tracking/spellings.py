"""Byte strings that were met, to numbers: a cache that compiled code asks for a whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import Row, kernel
from apss_fusion.tracking.hashing import copy_bytes, xxh3_64

_SPELLING = np.dtype([("hash", "u8"), ("at", "i8"), ("length", "i4"), ("number", "i4")])
_FIRST_CAPACITY = 1024
_MAX_BYTES = 1 << 26


@kernel
def _is(text: NDArray[np.uint8], start: int, arena: NDArray[np.uint8], row: Row) -> bool:
    for k in range(row.length):
        if text[start + k] != arena[row.at + k]:
            return False
    return True


@kernel
def _find(
    text: NDArray[np.uint8],
    edges: NDArray[np.int64],
    rows: NDArray[np.void],
    arena: NDArray[np.uint8],
    out: NDArray[np.int64],
) -> int:
    """Set the number of each part of the text, -1 where it is not known; how many are not."""
    mask = np.uint64(len(rows) - 1)
    unknown = 0
    for j in range(len(out)):
        start, length = edges[j], edges[j + 1] - edges[j]
        h = xxh3_64(text, start, length)
        slot = h & mask
        out[j] = -1
        while rows[slot].number >= 0:
            if rows[slot].hash == h and rows[slot].length == length and _is(text, start, arena, rows[slot]):
                out[j] = rows[slot].number
                break
            slot = (slot + np.uint64(1)) & mask
        unknown += out[j] < 0
    return unknown


@kernel
def _insert(rows: NDArray[np.void], new: NDArray[np.void]) -> None:
    mask = np.uint64(len(rows) - 1)
    for i in range(len(new)):
        if new[i].number >= 0:
            slot = new[i].hash & mask
            while rows[slot].number >= 0:
                slot = (slot + np.uint64(1)) & mask
            rows[slot] = new[i]


@kernel
def _hash(rows: NDArray[np.void], arena: NDArray[np.uint8]) -> None:
    for i in range(len(rows)):
        rows[i].hash = xxh3_64(arena, rows[i].at, rows[i].length)


@kernel
def joined_parts(
    text: NDArray[np.uint8],
    at: NDArray[np.int64],
    length: NDArray[np.int64],
    also_at: NDArray[np.int64],
    also_length: NDArray[np.int64],
    out: NDArray[np.uint8],
    edges: NDArray[np.int64],
) -> None:
    """Two parts of a text for each row, with a NUL byte between, one row after the other: for `Spellings.numbers`."""
    p = 0
    for j in range(len(at)):
        p = copy_bytes(text, at[j], length[j], out, p)
        out[p] = 0
        p = copy_bytes(text, also_at[j], also_length[j], out, p + 1)
        edges[j + 1] = p


class Spellings:
    """A cache of numbers (from 0 to 2^31 - 1) by byte strings; it forgets all when it has grown too large."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._rows = np.zeros(_FIRST_CAPACITY, _SPELLING)
        self._rows["number"] = -1
        self._count = 0
        self._arena = np.zeros(1 << 14, np.uint8)
        self._used = 0

    def numbers(
        self,
        text: NDArray[np.uint8],
        edges: NDArray[np.int64],
        compute: Callable[[list[int]], Iterable[int | ValueError]],
        wrong: dict[int, ValueError],
    ) -> NDArray[np.int64]:
        """The numbers of the m parts of a text that `edges`, (m + 1,), delimit.

        Parameters
        ----------
        compute
            The numbers of some of the parts, that were not met before, or the error of one that has none.
        wrong
            Is given the errors by part; the number is 0 there.
        """
        if self._used > _MAX_BYTES:
            self._clear()
        out = np.empty(len(edges) - 1, np.int64)
        if not _find(text, edges, self._rows, self._arena, out):
            return out
        unknown = {j: text[edges[j] : edges[j + 1]].tobytes() for j in np.flatnonzero(out < 0).tolist()}
        new = {part: j for j, part in unknown.items()}
        results = dict(zip(new, compute(list(new.values())), strict=True))
        for j, part in unknown.items():
            result = results[part]
            if isinstance(result, ValueError):
                wrong[j] = result
                out[j] = 0
            else:
                out[j] = result
        self._add({part: result for part, result in results.items() if not isinstance(result, ValueError)})
        return out

    def _add(self, known: dict[bytes, int]) -> None:
        new = np.zeros(len(known), _SPELLING)
        lengths = np.array([len(part) for part in known], np.int64)
        start, self._used = self._used, self._used + int(lengths.sum())
        if self._used > len(self._arena):
            larger = np.zeros(2 * self._used, np.uint8)
            larger[:start] = self._arena[:start]
            self._arena = larger
        text = np.frombuffer(bytearray().join(known), np.uint8)
        self._arena[start : self._used] = text
        new["at"] = start + np.cumsum(lengths) - lengths
        new["length"] = lengths
        new["number"] = list(known.values())
        new["hash"] = [
            int(xxh3_64(self._arena, a, k)) for a, k in zip(new["at"].tolist(), lengths.tolist(), strict=True)
        ]
        self._count += len(new)
        if 2 * self._count > len(self._rows):
            larger_rows = np.zeros(1 << (4 * self._count - 1).bit_length(), _SPELLING)
            larger_rows["number"] = -1
            _insert(larger_rows, self._rows)
            self._rows = larger_rows
        _insert(self._rows, new)
