"""AIS messages that come in several sentences: their parts put together."""

from __future__ import annotations

from msgspec import Struct

from apss_fusion.feeds.ais_sentences import Tag

#: Messages that wait for parts: no more than these, for no more lines and microseconds than these, as many of one key.
MAX_PARTIALS = 4096
MAX_PART_LINES = 1000
MAX_PART_US = 30_000_000
MAX_PARTIALS_OF_KEY = 4


class Part(Struct, array_like=True):
    """One sentence of a message of several: its count in the feed, its line in the file, the line, the payload."""

    count: int
    number: int
    line: bytes
    payload: bytes


class Partial(Struct, array_like=True):
    """A message that waits for the rest of its sentences."""

    group: bytes | None
    station: str | None
    time_us: int | None
    arrival_us: int | None
    #: Of all parts so far.
    checksum: int
    fill: int
    parts: dict[int, Part]

    @property
    def first(self) -> int:
        """The count of its earliest line."""
        return min(part.count for part in self.parts.values())

    def accepts(self, index: int, count: int, tag: Tag, arrival_us: int | None) -> bool:
        """Whether a sentence can belong to this message: another part, and no other group, station or time."""
        return (
            index not in self.parts
            and count - self.first <= MAX_PART_LINES
            and (tag.group is None or self.group is None or tag.group == self.group)
            and (tag.station is None or self.station is None or tag.station == self.station)
            and _near(tag.time_us, self.time_us)
            and _near(arrival_us, self.arrival_us)
        )


def _near(a: int | None, b: int | None) -> bool:
    return a is None or b is None or abs(a - b) <= MAX_PART_US


class Assembler:
    """Joins the sentences of messages by talker, count of sentences, sequence id and channel, and group, station, time.

    Sentences may be interleaved, out of order, or missing. Memory is bounded by `MAX_PARTIALS`.
    """

    def __init__(self) -> None:
        self._waiting: dict[bytes, list[Partial]] = {}
        self._size = 0
        #: Parts that nothing will complete any more, to be taken by the caller.
        self.dropped: list[Part] = []

    def add(
        self, key: bytes, total: int, index: int, part: Part, fill: int, checksum: int, tag: Tag, arrival_us: int | None
    ) -> Partial | None:
        """Take sentence `index` of `total`; the whole message if it was the last one missing."""
        waiting = self._waiting.setdefault(key, [])
        while waiting and part.count - waiting[0].first > MAX_PART_LINES:
            self._drop(key, 0)
            waiting = self._waiting.setdefault(key, [])
        # The youngest first: an older one has most likely lost its sentence.
        for partial in reversed(waiting):
            if partial.accepts(index, part.count, tag, arrival_us):
                break
        else:
            partial = Partial(tag.group, None, None, None, 0, 0, {})
            waiting.append(partial)
            self._size += 1
        partial.parts[index] = part
        partial.checksum ^= checksum
        partial.group = partial.group or tag.group
        partial.station = partial.station or tag.station
        partial.time_us = tag.time_us if partial.time_us is None else partial.time_us
        partial.arrival_us = arrival_us if partial.arrival_us is None else max(partial.arrival_us, arrival_us or 0)
        if index == total:
            partial.fill = fill
        if len(partial.parts) == total:
            self._remove(key, waiting.index(partial))
            return partial
        if len(waiting) > MAX_PARTIALS_OF_KEY:
            self._drop(key, 0)
        if self._size > MAX_PARTIALS:
            self._drop(next(iter(self._waiting)), 0)
        return None

    def drop_all(self) -> None:
        """Give up on all that waits: nothing will follow."""
        for key in list(self._waiting):
            while key in self._waiting:
                self._drop(key, 0)

    def records(self) -> dict[bytes, list[Partial]]:
        """All that waits."""
        return self._waiting

    def restore(self, records: dict[bytes, list[Partial]]) -> None:
        """Take up what another one was waiting for."""
        self._waiting = records
        self._size = sum(map(len, records.values()))

    def _drop(self, key: bytes, place: int) -> None:
        self.dropped.extend(self._waiting[key][place].parts.values())
        self._remove(key, place)

    def _remove(self, key: bytes, place: int) -> None:
        waiting = self._waiting[key]
        del waiting[place]
        self._size -= 1
        if not waiting:
            del self._waiting[key]
