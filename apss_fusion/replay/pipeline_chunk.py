"""A chunk of an input: what is merged, fused and accounted for at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.feeds.base import Reject
from apss_fusion.model import Look
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.tracking.batch import LookBatch

if TYPE_CHECKING:
    from apss_fusion.replay.pipeline_inputs import InputReader


class Chunk:
    """Consecutive looks of one input.

    Attributes
    ----------
    looks
        The looks, where they were decoded one by one; else empty.
    batch
        The looks as arrays; None where the run makes no arrays.
    arrival_us
        (n,), with each look the latest arrival in its input so far, microseconds since 1970.
    records
        (n,), of how many records each look was made; None: one each.
    """

    __slots__ = ("_numbers", "_text_of", "arrival_us", "batch", "input", "looks", "records")

    def __init__(
        self,
        source: InputReader,
        looks: list[Look],
        batch: LookBatch | None,
        arrival_us: NDArray[np.int64],
        records: NDArray[np.int64] | None = None,
        numbers: NDArray[np.int64] | None = None,
        text_of: Callable[[int], bytes] | None = None,
    ) -> None:
        self.input = source
        self.looks = looks
        self.batch = batch
        self.arrival_us = arrival_us
        self.records = records
        self._numbers = numbers
        self._text_of = text_of

    def __len__(self) -> int:
        return len(self.arrival_us)

    def records_between(self, start: int, stop: int) -> int:
        """Of how many records the looks from `start` to before `stop` were made."""
        return stop - start if self.records is None else int(self.records[start:stop].sum())

    def reject(self, i: int, reason: str, field: str | None) -> Reject:
        """What to say of look i that was not used."""
        if self._numbers is None or self._text_of is None:
            return Reject(reason, field, None, look_json(self.looks[i]).rstrip())
        number = int(self._numbers[i])
        return Reject(reason, field, number, self._text_of(number))
