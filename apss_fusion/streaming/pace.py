"""Feeds in step: while a worker catches up, none of its feeds runs ahead of the others.

Looks are late by the clock of arrivals. After an outage, and where a recording is replayed as fast as it goes, each partition of
a feed would be decoded as fast as it can be; one that is ahead of another by more than the lag makes the other's looks late.
So a partition waits where others have older records. How old one is, its header ``arrival`` says (`replay` writes it), else
its time stamp. A partition that is read to its end holds nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from apss_fusion.streaming.headers import ARRIVAL

#: How long a partition waits for one that does not get on, before it goes its own way.
PATIENCE_S = 30.0
_LOOK_S = 0.005


def arrival_ms(record: Any) -> float:
    """When a record of a feed arrived, ms since 1970."""
    for name, value in record.headers:
        if name == ARRIVAL:
            try:
                return datetime.fromisoformat((value or b"").decode("ascii")).timestamp() * 1e3
            except ValueError:
                break
    return float(record.timestamp or 0)


class Pace:
    """How far each partition may go.

    Parameters
    ----------
    step_s
        How far one may be ahead of another: less than the shortest lag.
    oldest_ms
        Called with one that asks: the time of arrival, ms, from which on the slowest of the others is yet to be decoded; None
        where all are at their ends.
    """

    def __init__(self, step_s: float, oldest_ms: Callable[[Any], float | None]) -> None:
        self._step_ms = step_s * 1e3
        self._oldest_ms = oldest_ms
        self._is_halted = False

    def halt(self) -> None:
        """Let none go on, as partitions are to be given back: who waits stops where it is."""
        self._is_halted = True

    def go_on(self) -> None:
        """Keep them in step again."""
        self._is_halted = False

    async def reach(self, asking: Any, records: list[Any], start: int) -> int:
        """Wait until record `start` may be decoded; the number of the first one that may not, `start` after `halt`."""
        clock, first_ms = asyncio.get_running_loop().time, arrival_ms(records[start])
        since_s, seen_ms = clock(), None
        while not self._is_halted:
            oldest_ms = self._oldest_ms(asking)
            if oldest_ms is None:
                return len(records)
            horizon_ms = oldest_ms + self._step_ms
            if first_ms <= horizon_ms:
                return _first_after(horizon_ms, records, start)
            if oldest_ms != seen_ms:
                since_s, seen_ms = clock(), oldest_ms
            elif clock() > since_s + PATIENCE_S:
                return _first_after(first_ms + self._step_ms, records, start)
            await asyncio.sleep(_LOOK_S)
        return start


def _first_after(until_ms: float, records: list[Any], start: int) -> int:
    """The number of the first record from `start` on that arrived after a time; how many there are where none did."""
    return next((k for k in range(start, len(records)) if arrival_ms(records[k]) > until_ms), len(records))
