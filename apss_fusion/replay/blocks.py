"""What every quick reader of looks gives, and how it leaves doubtful records to the decoder of lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.model import Look
from apss_fusion.tracking.batch import LookBatch, Rejection
from apss_fusion.tracking.columns import Columns
from apss_fusion.tracking.encode import Encoder


class LookBlock(msgspec.Struct):
    """Looks of consecutive records, as a batch, and what could not become one."""

    batch: LookBatch
    #: Number of the record (line, row), from 1, of each look that was given to the batch, (``batch.given``,).
    numbers: NDArray[np.int64]
    #: Records that are no look, and bad detections of good looks, in the order of the records.
    rejects: list[Reject]
    #: The text of a record, by its number.
    text_of: Callable[[int], bytes]

    def record(self, i: int) -> bytes:
        """The record of the i-th look that was given, as JSON text."""
        return self.text_of(int(self.numbers[i]))


def block_of(
    encoder: Encoder,
    decoder: Looks,
    columns: Columns,
    numbers: NDArray[np.int64],
    others: NDArray[np.int64],
    text_of: Callable[[int], bytes],
) -> LookBlock:
    """The looks of `columns`, which are the records `numbers`, and those of the records `others`, in their order.

    A record in whose columns anything is wrong counts with the others: the decoder of lines says what becomes of them.
    """
    batch, look_faults, detection_faults = encoder.build(columns)
    if look_faults or detection_faults:
        good = np.ones(len(numbers), np.bool_)
        good[list(look_faults)] = False
        good[np.searchsorted(columns.firsts(), list(detection_faults), "right") - 1] = False
        batch = batch.order(np.flatnonzero(good))
        others = np.sort(np.concatenate([others, numbers[~good]]))
        numbers = numbers[good]
    if not len(others):
        return LookBlock(batch, numbers, [], text_of)
    looks: list[Look] = []
    looks_of: list[int] = []
    rejects: list[Reject] = []
    for number in others.tolist():
        for item in decoder.items(BytesIO(text_of(number))):
            if isinstance(item, Reject):
                rejects.append(msgspec.structs.replace(item, line=number))
            elif isinstance(item, Look):
                looks.append(item)
                looks_of.append(number)
    return _merged(batch, numbers, encoder.encode(looks), looks_of, rejects, text_of)


def _merged(
    batch: LookBatch,
    numbers: NDArray[np.int64],
    other: LookBatch,
    other_numbers: Sequence[int],
    rejects: list[Reject],
    text_of: Callable[[int], bytes],
) -> LookBlock:
    """Two batches in the order of their records. `batch` is without rejections."""
    given = np.concatenate([numbers, np.array(other_numbers, np.int64)])
    order = np.argsort(given, kind="stable")
    rank = np.empty(len(given), np.int64)
    rank[order] = np.arange(len(given))
    used = np.ones(len(given), np.bool_)
    used[[len(numbers) + r.look for r in other.rejected if r.detection < 0]] = False
    merged = LookBatch.concat([batch, other]).order(np.argsort(rank[used]))
    places = rank[len(numbers) :]
    merged.rejected = [Rejection(int(places[r.look]), r.detection, r.field, r.reason) for r in other.rejected]
    merged.given = len(given)
    return LookBlock(merged, given[order], rejects, text_of)
