"""Several inputs as one sequence of looks, in the order of their arrival.

Inputs are never sorted: each has a clock, the latest arrival in it so far, and the look with the earliest clock is
next, of several the one whose input was named first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from apss_fusion.model import Look
from apss_fusion.replay.pipeline_chunk import Chunk
from apss_fusion.tracking.batch import LookBatch


class Merged:
    """Parts of chunks of several inputs, that come next.

    Attributes
    ----------
    parts
        (chunk, start, stop) each: the looks from start to before stop, one part an input at most.
    order
        (n,), numbers of the looks of all parts, one part after the other, in the order in which they come.
    """

    __slots__ = ("order", "parts")

    def __init__(self, parts: list[tuple[Chunk, int, int]], order: NDArray[np.int64]) -> None:
        self.parts = parts
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def batch(self) -> LookBatch:
        """The looks as arrays."""
        batches = [chunk.batch.take(start, stop) for chunk, start, stop in self.parts if chunk.batch is not None]
        return batches[0] if len(batches) == 1 else LookBatch.concat(batches).order(self.order)

    def looks(self) -> list[Look]:
        """The looks themselves, of inputs that were decoded one by one."""
        looks = [look for chunk, start, stop in self.parts for look in chunk.looks[start:stop]]
        return looks if len(self.parts) == 1 else [looks[i] for i in self.order.tolist()]

    def place(self, i: int) -> tuple[Chunk, int]:
        """The chunk of the i-th look that comes, and its number in it."""
        k = int(self.order[i])
        for chunk, start, stop in self.parts:
            if k < stop - start:
                return chunk, start + k
            k -= stop - start
        raise IndexError(i)


class _Head:
    """What is left of the chunk that is next of an input."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._chunk: Chunk | None = None
        self._at = 0
        self.ended = False

    @property
    def is_spent(self) -> bool:
        return self._chunk is None or self._at == len(self._chunk)

    @property
    def last_us(self) -> int:
        """The clock at the end of the chunk."""
        return -1 if self._chunk is None else int(self._chunk.arrival_us[-1])

    def refill(self) -> None:
        """Go on to the next chunk; it may be empty."""
        self._chunk, self._at = next(self._chunks, None), 0
        self.ended = self._chunk is None

    def cut(self, until_us: int, inclusive: bool) -> tuple[Chunk, int, int] | None:
        """Take out what arrived before a time, or until then."""
        if self._chunk is None:
            return None
        start = self._at
        # Times are whole microseconds: until a time is before the next.
        before_us = until_us + 1 if inclusive else until_us
        self._at = max(start, int(np.searchsorted(self._chunk.arrival_us, before_us)))
        return (self._chunk, start, self._at) if self._at > start else None


def merge(inputs: Sequence[Iterator[Chunk]]) -> Iterator[Merged]:
    """All looks of all inputs. Something comes, perhaps nothing in it, after each chunk that is read.

    Of each input one chunk is held at a time.
    """
    heads = [_Head(chunks) for chunks in inputs]
    while heads:
        for head in heads:
            if head.is_spent:
                head.refill()
        heads = [head for head in heads if not head.ended]
        if any(head.is_spent for head in heads):
            yield Merged([], np.zeros(0, np.int64))
            continue
        if not heads:
            return
        # The input whose chunk ends first: until then, all that can come is here.
        first = min(range(len(heads)), key=lambda i: (heads[i].last_us, i))
        until_us = heads[first].last_us
        cuts = [head.cut(until_us, inclusive=i <= first) for i, head in enumerate(heads)]
        parts = [cut for cut in cuts if cut is not None]
        arrival_us = np.concatenate([chunk.arrival_us[start:stop] for chunk, start, stop in parts])
        yield Merged(parts, np.argsort(arrival_us, kind="stable"))
