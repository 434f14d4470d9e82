"""``$PGHP`` lines, with which Gatehouse systems tell when and where the AIS sentence beside them was received."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import lru_cache

from msgspec import Struct

from apss_fusion.feeds.ais_sentences import HEX_BYTES, station_of, time_us_of, xor_of

#: How far a message and its line stand apart at most. In exactEarth's recordings 97 % are within these many lines.
REACH = 16
#: How long a line waits for a message whose later sentences are late.
KEPT_LINES = 64
#: With so many lines in so many, all messages around are announced by one.
_DENSE, _DENSE_LINES = 8, 32


class Stamp(Struct):
    """A ``$PGHP`` line: when and where the sentences with this checksum were received."""

    line: int
    time_us: int
    station: str | None
    #: Of all sentences of the message. Not quoted: ``None``, and 0 for messages that the station sent itself (VDO).
    checksum: int | None


def parse_pghp(sentence: bytes, line: int) -> Stamp | None:
    """A ``$PGHP`` sentence of the old form (2008) or the newer one, or ``None`` if it is damaged.

    ``$PGHP,1,year,month,day,hour,minute,second,ms,country,region,station,online,checksum*hh``
    """
    body, _, rest = sentence[1:].partition(b"*")
    if xor_of(body) != HEX_BYTES.get(rest[:2]):
        return None
    fields = body.split(b",")
    if len(fields) < 9 or not fields[8].isdigit() or len(fields[8]) > 3:
        return None
    second_us = _second_us(b",".join(fields[2:8]))
    if second_us is None:
        return None
    station = station_of(fields[11]) if len(fields) > 11 else None
    quoted = HEX_BYTES.get(fields[13]) if len(fields) > 13 else None
    return Stamp(line, second_us + 1000 * int(fields[8]), station, quoted)


@lru_cache(maxsize=256)
def _second_us(text: bytes) -> int | None:
    numbers = text.split(b",")
    if not all(number.isdigit() and len(number) <= 4 for number in numbers):
        return None
    return time_us_of([int(number) for number in numbers], 0)


class StampsState(Struct, array_like=True):
    """What `Stamps` remembers."""

    unclaimed: list[Stamp]
    recent: list[int]


class Stamps:
    """The ``$PGHP`` lines around the line that is being decoded, each until a message claims it."""

    def __init__(self) -> None:
        #: By their counts, in that order.
        self._unclaimed: dict[int, Stamp] = {}
        #: Counts of the last lines that were ``$PGHP``, claimed or not.
        self._recent: deque[int] = deque(maxlen=_DENSE_LINES)

    def __bool__(self) -> bool:
        return bool(self._unclaimed)

    def read(self, line: bytes, count: int) -> None:
        """Take in the line of that count, if it is a good ``$PGHP`` line."""
        stamp = parse_pghp(line, count)
        if stamp is not None:
            while self._unclaimed and count - (oldest := next(iter(self._unclaimed))) > KEPT_LINES:
                del self._unclaimed[oldest]
            self._unclaimed[count] = stamp
            self._recent.append(count)

    def near(self, count: int) -> bool:
        """Whether the line of that count may be one whose ``$PGHP`` line is still to come."""
        return count <= REACH or (bool(self._recent) and count - self._recent[-1] <= KEPT_LINES)

    def dense(self, count: int) -> bool:
        """Whether messages around the line of that count have ``$PGHP`` lines as a rule."""
        return sum(abs(count - line) <= _DENSE_LINES // 2 for line in self._recent) >= _DENSE

    def claim(self, first: int, checksum: int, ahead: Iterable[bytes | None]) -> Stamp | None:
        """The line that tells of a message: its first sentence's count, its checksum, the lines that follow it.

        The one just before the message, if it quotes no checksum; else the nearest one that quotes this checksum; else
        the one just before it all the same, if no sentence that follows has the checksum that it quotes.
        """
        previous = self._unclaimed.get(first - 1)
        if previous is not None and (previous.checksum is None or previous.checksum == checksum):
            return self._unclaimed.pop(first - 1)
        best: Stamp | None = None
        for stamp in self._unclaimed.values():
            distance = abs(stamp.line - first)
            if stamp.checksum == checksum and distance <= REACH and (best is None or distance < abs(best.line - first)):
                best = stamp
        if previous is not None and previous.checksum is not None and (best is None or previous.checksum == 0):
            quoted = b"*%02X" % previous.checksum
            if not any(line is not None and quoted in line for line in ahead):
                best = previous
        return None if best is None else self._unclaimed.pop(best.line)

    def records(self) -> StampsState:
        """What is remembered."""
        return StampsState(list(self._unclaimed.values()), list(self._recent))

    def restore(self, records: StampsState) -> None:
        """Take up what another one remembered."""
        self._unclaimed = {stamp.line: stamp for stamp in records.unclaimed}
        self._recent.clear()
        self._recent.extend(records.recent)
