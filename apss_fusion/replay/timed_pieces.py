"""Recorded feeds as the records of a broker's topics: cut into pieces, each with its arrival, merged, and given when due.

The arrival of a piece is that of the look that it completes; of one without a look, the latest in its input so far. As
in fusing, inputs are never sorted: the one whose next piece arrived first comes next, of several the one named first.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import NamedTuple

from apss_fusion.feeds.base import Decoded, Decoder, Reject
from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.feeds.reading import FeedReader, InputError
from apss_fusion.model import Look
from apss_fusion.replay.pipeline_files import is_pipe, is_table, printable
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.replay.pipeline_stop import Stop, interruptible

STANDARD_INPUT = "-"
#: The arrival of a piece before which no look is known to have arrived.
NO_ARRIVAL_US = -1
#: So many pieces and bytes at the beginning of an input wait for its first look, which tells when they arrived.
_WAITING_PIECES, _WAITING_BYTES = 10_000, 2**25
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: Takes the name of an input and a reject: what is no piece because it is no record of its input.
Sink = Callable[[str, Reject], None]


class Piece(NamedTuple):
    """A piece of an input."""

    input: PieceInput
    #: In its input, from 1.
    number: int
    data: bytes
    #: Microseconds since 1970, never before that of an earlier piece of the input; `NO_ARRIVAL_US`: not known.
    arrival_us: int


def arrival_us(look: Look) -> int:
    """When a look arrived, microseconds since 1970; one from before counts as of 1970."""
    return max((look.time_received or look.time) - _EPOCH, timedelta(0)) // _MICROSECOND


def time_of(us: int) -> datetime:
    """The time of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)


class PieceInput:
    """One input, opened and recognised when it is made.

    Attributes
    ----------
    name
        The input as it was named.
    key
        The file's name without its folder: the key of its records.
    format
        Name of the format; "" for an empty input whose format was not given.
    error
        What ended the input before its end.

    Raises
    ------
    InputError
        Of status 2: it is not there or in no known format.
    """

    def __init__(self, name: str, format_name: str | None, stop: Stop) -> None:
        self.name = printable(name)
        self.key = printable(os.path.basename(name))
        self.error: InputError | None = None
        self._path = name
        self._stop = stop
        self._feed: FeedReader | None = None
        self._decoder: Decoder | None = None
        self._live = name == STANDARD_INPUT or is_pipe(name)
        self.size = None if self._live else _size_of(name)
        if not self._live and format_name in (None, Looks.name) and is_table(name):
            self.format = Looks.name
            return
        if self._live:
            with stop.waits():
                self._feed = FeedReader(name, format_name)
            self._feed.input.stream = interruptible(self._feed.input.stream, stop)
        else:
            self._feed = FeedReader(name, format_name)
        self._decoder = self._feed.decoder
        self.format = "" if self._decoder is None else self._decoder.name

    def bytes_read(self) -> int:
        """How far the file has been read, before decompression."""
        try:
            return 0 if self._feed is None or self._live else self._feed.input._file.tell()
        except ValueError:  # It is closed.
            return self.size or 0

    def close(self) -> None:
        """Close the file, also where it was not read to its end."""
        if self._feed is not None:
            self._feed.input.close()

    def pieces(self, sink: Sink) -> Iterator[Piece]:
        """All pieces; a fault of reading ends them and is left in `error`. To be called once."""
        try:
            if self._feed is None:
                yield from self._table(sink)
            elif self._decoder is not None:
                yield from self._timed(self._decoder, self._feed)
        except InputError as error:
            if error.status != 1:
                raise
            self.error = error
        finally:
            self.close()

    def _timed(self, decoder: Decoder, feed: FeedReader) -> Iterator[Piece]:
        if hasattr(decoder, "more_follows"):
            decoder.more_follows = True
        clock_us, number = NO_ARRIVAL_US, 0
        waiting: list[bytes] = []
        size = 0
        try:
            for data in decoder.pieces(feed.input.stream):
                arrivals_us = [
                    arrival_us(item if isinstance(item, Look) else item.look)
                    for item in decoder.items(BytesIO(data))
                    if isinstance(item, Look | Decoded)
                ]
                if clock_us == NO_ARRIVAL_US and not arrivals_us and number == 0:
                    waiting.append(data)
                    size += len(data)
                    if len(waiting) < _WAITING_PIECES and size < _WAITING_BYTES:
                        continue
                    data = waiting.pop()
                for early in waiting:
                    number += 1
                    yield Piece(self, number, early, arrivals_us[0] if arrivals_us else NO_ARRIVAL_US)
                waiting = []
                clock_us = max([clock_us, *arrivals_us])
                number += 1
                yield Piece(self, number, data, clock_us)
            feed.input.check()
        except InputError as error:
            self.error = error
        for data in waiting:
            number += 1
            yield Piece(self, number, data, clock_us)

    def _table(self, sink: Sink) -> Iterator[Piece]:
        """The rows of a table of looks as lines."""
        # Imported where it is needed: it brings the engine's arrays with it.
        from apss_fusion.replay.pipeline_inputs import InputReader

        reader = InputReader(self._path, Looks.name, self._stop)
        number = 0
        for chunk in reader.chunks(lambda reject, name: sink(name, reject), None):
            for look, clock_us in zip(chunk.looks, chunk.arrival_us.tolist(), strict=True):
                number += 1
                yield Piece(self, number, look_json(look).rstrip(b"\n"), max(clock_us, 0))
        self.error = reader.error


def merged(inputs: Sequence[PieceInput], sink: Sink) -> Iterator[Piece]:
    """The pieces of all inputs in the order of their arrival. Of each input one piece is held."""
    return heapq.merge(*(one.pieces(sink) for one in inputs), key=lambda piece: piece.arrival_us)


class Pace:
    """When pieces are due: as far apart as they arrived, `speed` times as fast; 0: all at once.

    `clock` tells seconds and is never set back.
    """

    def __init__(self, speed: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._speed = speed
        self._clock = clock
        #: What the first piece arrived at and was given at.
        self._first: tuple[int, float] | None = None

    def wait_s(self, arrival: int) -> float:
        """How long until a piece that arrived at a time is due; 0 where it is, or was before."""
        if self._speed == 0.0 or arrival == NO_ARRIVAL_US:
            return 0.0
        now_s = self._clock()
        if self._first is None:
            self._first = arrival, now_s
        first_us, began_s = self._first
        return max(0.0, began_s + (arrival - first_us) / 1e6 / self._speed - now_s)


def _size_of(name: str) -> int | None:
    try:
        return os.stat(name).st_size
    except (OSError, ValueError):
        return None
