"""Inputs read as chunks of looks, with every record accounted for.

This project's own looks (JSON lines, Parquet, Arrow) go to arrays in whole blocks; any other format goes item by item
through its decoder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from io import BytesIO
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.feeds.reading import FeedReader, InputError
from apss_fusion.feeds.registry import HEAD_BYTES
from apss_fusion.model import Look
from apss_fusion.replay.pipeline_chunk import Chunk
from apss_fusion.replay.pipeline_files import (
    fingerprint_of,
    formats_of,
    formats_of_lines,
    is_pipe,
    is_table,
    printable,
)
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.replay.pipeline_stop import Interrupted, Stop, interruptible
from apss_fusion.replay.pipeline_tally import AccountError, Tally
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.times import NO_TIME_US, times_us

if TYPE_CHECKING:
    from apss_fusion.replay.blocks import LookBlock

STANDARD_INPUT = "-"
#: What a chunk holds at most, give or take one item: items, and detections in its looks.
CHUNK_ITEMS, CHUNK_DETECTIONS = 8192, 65536
#: Lines of looks are read in blocks of so many bytes.
BLOCK_BYTES = 1 << 21
#: From another program, a chunk is given after this long, in s, also where it is not full.
_LIVE_S = 1.0

_T = TypeVar("_T")

#: Takes what could not be used, and the name of the input that it stands in.
Sink = Callable[[Reject, str], None]


class Position(Struct, frozen=True, array_like=True):
    """How far a file was read: so many items (or lines, rows), and so many of its looks were taken."""

    size: int
    digest: bytes
    items: int
    looks: int
    #: What its decoder began with.
    begin_state: bytes


class InputState(Struct, frozen=True, array_like=True):
    """What is known of an input when a run is saved."""

    name: str
    format: str
    #: Of its decoder, for the input that follows it.
    state: bytes
    #: Where the input was left; None where it was read to its end, or cannot be read again.
    position: Position | None
    #: The newest time of a look that had come when the run was saved, from whatever input, microseconds since 1970.
    newest_us: int = NO_TIME_US


class InputReader:
    """One input, opened and recognised when it is made.

    Attributes
    ----------
    name
        The input as it was named.
    decoder
        What reads it; None for an empty input whose format was not given.
    fingerprint
        Size and digest of the first 64 KiB of a file; None for what cannot be read again.
    built_in
        Formats whose built-in sources are in it: its own, or of looks of this project those that its first looks name.
    tally
        Its records so far, those of looks once these are taken.
    error
        What ended the input before its end.

    Raises
    ------
    InputError
        Of status 2: it is not there or in no known format.
    """

    def __init__(self, name: str, format_name: str | None, stop: Stop) -> None:
        self.name = printable(name)
        self.decoder: Decoder | None
        self.tally = Tally()
        self.error: InputError | None = None
        self._path = name
        self._live = name == STANDARD_INPUT or is_pipe(name)
        self._items = self._looks = self._taken = 0
        self._skip_items = self._skip_looks = 0
        self._begin_state = b""
        self._arrival_us = NO_TIME_US
        self._feed: FeedReader | None = None
        self.fingerprint = None if self._live else fingerprint_of(name)
        if not self._live and format_name in (None, Looks.name) and is_table(name):
            self.decoder = Looks()
            self.built_in = self._sources_of_table()
            return
        with stop.waits() if self._live else nullcontext():
            self._feed = FeedReader(name, format_name)
            self.decoder = self._feed.decoder
            self.built_in = {self.format} if self.decoder is not None else set()
            if isinstance(self.decoder, Looks):
                # A pipe whose format was given may not have so many bytes yet.
                wait = format_name is None or not self._live
                self.built_in = self._sources_of_lines() if wait else set()
        if self._live:
            self._feed.input.stream = interruptible(self._feed.input.stream, stop)

    @property
    def format(self) -> str:
        """Name of the format; "" for an empty input."""
        return "" if self.decoder is None else self.decoder.name

    @property
    def size(self) -> int | None:
        """Bytes of the file, None for what is none."""
        return None if self.fingerprint is None else self.fingerprint[0]

    def bytes_read(self) -> int:
        """How far the file has been read, before decompression."""
        try:
            return 0 if self._feed is None or self._live else self._feed.input._file.tell()
        except ValueError:  # It is closed.
            return self.size or 0

    def take(self, chunk: Chunk, start: int, stop: int, detections: int) -> None:
        """Count looks of a chunk, and the detections in them, as used."""
        records = chunk.records_between(start, stop)
        self._taken += stop - start
        self.tally.records_in += records
        self.tally.records_used += records
        self.tally.looks += stop - start
        self.tally.detections += detections

    def close(self) -> None:
        """Close the file, also where it was not read to its end."""
        if self._feed is not None:
            self._feed.input.close()

    # ------------------------------------------------------------------ save and resume

    def follow(self, state: InputState) -> None:
        """Continue after an input of the same format. ValueError, MsgspecError: its decoder's state is of no use."""
        self._begin(state.state)

    def go_on(self, position: Position) -> None:
        """Continue where this very file was left; raises as `follow`."""
        self._begin(position.begin_state)
        self._skip_items, self._skip_looks = position.items, position.looks

    def _begin(self, state: bytes) -> None:
        self._begin_state = state
        if self.decoder is not None and state:
            self.decoder.restore(state)

    def state(self, with_position: bool, newest_us: int) -> InputState:
        """What an input that follows needs and, with its position, what this file needs to be read on."""
        position = None
        if with_position and self.fingerprint is not None:
            taken = self._skip_looks + self._taken
            position = Position(*self.fingerprint, self._items, taken, self._begin_state)
        state = b"" if self.decoder is None else self.decoder.state()
        return InputState(self.name, self.format, state, position, newest_us)

    # ------------------------------------------------------------------ reading

    def chunks(self, sink: Sink, encoder: Encoder | None, limit: int = CHUNK_ITEMS) -> Iterator[Chunk]:
        """All looks in the order of the input; what cannot be used goes to `sink`. To be called once.

        With an encoder the looks come as arrays, and what these cannot hold is not used either. A fault of reading ends
        the chunks and is left in `error`. A chunk may be empty.

        Raises
        ------
        InputError
            Of status 2, before the first chunk: a table whose columns are not those of looks.
        """
        try:
            if encoder is not None and isinstance(self.decoder, Looks):
                yield from self._block_chunks(self._blocks(encoder), sink)
            else:
                items = self._table_items() if self._feed is None else self._feed.items()
                yield from self._item_chunks(items, sink, encoder, limit)
        finally:
            self.close()

    def _blocks(self, encoder: Encoder) -> Iterator[LookBlock]:
        if self._feed is not None:
            # Imported where it is needed: its tables take a while to make.
            from apss_fusion.replay.looks_columns import read_look_blocks

            yield from read_look_blocks(self._feed.input.stream, encoder, BLOCK_BYTES)
            self._feed.input.check()
            return
        try:
            from apss_fusion.replay.looks_arrow import read_look_table
        except ModuleNotFoundError as error:
            raise InputError(self.name, str(error), status=2) from error
        yield from read_look_table(self._path, encoder)

    def _sources_of_lines(self) -> set[str]:
        # What is wrong with the first bytes is told when they are read.
        with suppress(InputError):
            if self._feed is not None:
                return formats_of_lines(self._feed.input.peek(HEAD_BYTES))
        return set()

    def _sources_of_table(self) -> set[str]:
        """Also shows whether the columns are those of looks."""
        register = Register({})
        next(self._blocks(Encoder(register, Attributes())), None)
        return formats_of(register.names)

    def _table_items(self) -> Iterator[Item]:
        decoder = Looks()
        for block in self._blocks(Encoder(Register({}), Attributes())):
            yield from block.rejects
            for number in block.numbers.tolist():
                found = decoder.items(BytesIO(block.text_of(number)))
                # Its bad detections are among the rejects already.
                yield from (item for item in found if isinstance(item, Look))

    def _block_chunks(self, blocks: Iterator[LookBlock], sink: Sink) -> Iterator[Chunk]:
        for block in self._until_the_end(blocks):
            batch, numbers = block.batch, block.numbers
            whole = [r.look for r in batch.rejected if r.detection < 0]
            rejects = block.rejects + [
                Reject(r.reason, r.field, int(numbers[r.look]), block.record(r.look), is_record=r.detection < 0)
                for r in batch.rejected
            ]
            numbers = np.delete(numbers, whole)
            for reject in rejects:
                if (reject.line or 0) > self._skip_items:
                    self._count(reject, sink)
            self._items = max([self._items, *numbers[-1:].tolist(), *(r.line or 0 for r in rejects)])
            arrival_us = self._clock(batch.looks["received_us"])
            old = self._known(len(batch))
            # The new batch leaves the rejections behind: they are counted here, not by the engine.
            batch = batch.take(old, len(batch))
            yield Chunk(self, [], batch, arrival_us[old:], None, numbers[old:], block.text_of)

    def _item_chunks(self, items: Iterator[Item], sink: Sink, encoder: Encoder | None, limit: int) -> Iterator[Chunk]:
        looks: list[Look] = []
        records: list[int] = []
        numbers: list[int] = []
        room, detections, began = limit, 0, time.monotonic()
        for item in self._until_the_end(items):
            self._items += 1
            if isinstance(item, Look | Decoded):
                look = item if isinstance(item, Look) else item.look
                looks.append(look)
                records.append(1 if isinstance(item, Look) else item.records)
                numbers.append(self._items)
                detections += len(look.detections)
            elif self._items > self._skip_items:
                self._count(item, sink)
            room -= 1
            if room > 0 and detections < CHUNK_DETECTIONS:
                if not self._live or time.monotonic() < began + _LIVE_S:
                    continue
            yield self._chunk(looks, records, numbers, sink, encoder)
            looks, records, numbers = [], [], []
            room, detections, began = limit, 0, time.monotonic()
        yield self._chunk(looks, records, numbers, sink, encoder)

    def _chunk(
        self, looks: list[Look], records: list[int], numbers: list[int], sink: Sink, encoder: Encoder | None
    ) -> Chunk:
        """A chunk of looks: of how many records each was made, and the number of its item in the input."""
        counts = np.array(records, np.int64)
        if encoder is None:
            arrival_us = self._clock(times_us([look.time_received or look.time for look in looks]))
            return Chunk(self, looks, None, arrival_us, counts)
        batch = encoder.encode(looks)
        whole = []
        for r in batch.rejected:
            reject = Reject(r.reason, r.field, None, look_json(looks[r.look]).rstrip(), is_record=r.detection < 0)
            if numbers[r.look] > self._skip_items:
                self._count(reject, sink, records[r.look])
            if reject.is_record:
                whole.append(r.look)
        if whole:
            gone = set(whole)
            looks = [look for i, look in enumerate(looks) if i not in gone]
            counts = np.delete(counts, whole)
        arrival_us = self._clock(batch.looks["received_us"])
        old = self._known(len(batch))
        # The new batch leaves the rejections behind: they are counted here, not by the engine.
        batch = batch.take(old, len(batch))
        return Chunk(self, looks[old:], batch, arrival_us[old:], counts[old:])

    def _until_the_end(self, things: Iterator[_T]) -> Iterator[_T]:
        """Things until there are no more, until reading fails, or until it is interrupted."""
        try:
            yield from things
        except InputError as error:
            if error.status != 1:
                raise
            self.error = error
        except Interrupted:
            return

    def _clock(self, received_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """The running maximum of arrivals."""
        running = np.maximum.accumulate(np.concatenate([[self._arrival_us], received_us]))
        self._arrival_us = int(running[-1])
        return running[1:]

    def _known(self, looks: int) -> int:
        """How many of the next looks were taken before the run was interrupted."""
        old = min(max(self._skip_looks - self._looks, 0), looks)
        self._looks += looks
        return old

    def _count(self, item: Used | Ignored | Reject, sink: Sink, records: int = 1) -> None:
        """Count what is no look; a reject is of so many records."""
        tally = self.tally
        if isinstance(item, Reject):
            if item.is_record:
                tally.records_in += records
                tally.dead_letters += records
            else:
                tally.detections_rejected += 1
            sink(item, self.name)
        elif isinstance(item, Used):
            tally.records_in += item.records
            tally.records_used += item.records
        else:
            tally.records_in += item.records
            tally.records_ignored += item.records

    def check(self, at_end: bool) -> None:
        """Raise `AccountError` where records are not accounted for; `at_end`: the input was read to its end."""
        self.tally.check()
        if at_end and self._feed is not None and self._feed.records_in and not self._skip_items:
            read = self._feed.records_in
            if read != self.tally.records_in:
                raise AccountError(f"{self.name}: of {read} records {self.tally.records_in} are accounted for")
