"""Inputs read as chunks of looks, with every record accounted for.

This project's own looks (JSON lines, Parquet, Arrow) go to arrays in whole blocks; any other format goes item by item
through its decoder.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.feeds.reading import FeedReader, InputError
from apss_fusion.feeds.registry import decoder_named
from apss_fusion.model import Look
from apss_fusion.replay.blocks import LookBlock
from apss_fusion.replay.looks_columns import read_look_blocks
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.replay.pipeline_stop import Interrupted, Stop, interruptible
from apss_fusion.replay.pipeline_tally import Tally
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.times import NO_TIME_US, times_us

STANDARD_INPUT = "-"
#: What a chunk holds at most, give or take one item: looks or other items, and detections.
CHUNK_ITEMS, CHUNK_DETECTIONS = 8192, 65536
#: Lines of looks are read in blocks of so many bytes.
BLOCK_BYTES = 1 << 20
#: From another program, a chunk is given after this long, in s, also where it is not full.
_LIVE_S = 1.0
_TABLE_MAGICS = (b"PAR1", b"ARROW1")
_FINGERPRINT_BYTES = 2**16

Sink = Callable[[Reject, str], None]


class Chunk:
    """Consecutive looks of one input.

    Attributes
    ----------
    looks
        The looks, where they were decoded one by one; else empty.
    batch
        The looks as arrays, without those that cannot be used; None where the run makes no arrays.
    arrival_us
        (n,), of each look the latest arrival in its input so far, microseconds since 1970.
    records
        (n,), of how many records each look was made; None: one each.
    numbers
        (n,), number of each look's line or row; None: not known.
    """

    __slots__ = ("_text_of", "arrival_us", "batch", "input", "looks", "numbers", "records")

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
        self.numbers = numbers
        self._text_of = text_of

    def __len__(self) -> int:
        return len(self.arrival_us)

    def records_between(self, start: int, stop: int) -> int:
        """Of how many records the looks from `start` to before `stop` were made."""
        return stop - start if self.records is None else int(self.records[start:stop].sum())

    def reject(self, i: int, reason: str, field: str | None) -> Reject:
        """The dead letter of look i."""
        if self._text_of is None or self.numbers is None:
            return Reject(reason, field, None, look_json(self.looks[i]).rstrip())
        number = int(self.numbers[i])
        return Reject(reason, field, number, self._text_of(number))


class Position(Struct, frozen=True, array_like=True):
    """How far a file was read: so many items (or lines, rows), and so many of its looks were fused."""

    size: int
    digest: bytes
    items: int
    looks: int
    #: What the input began with.
    begin_state: bytes
    begin_arrival_us: int


class InputState(Struct, frozen=True, array_like=True):
    """What a later input of a format needs from one that was read."""

    name: str
    format: str
    state: bytes
    arrival_us: int
    #: Where the input was left; None where it was read to its end, or cannot be read again.
    position: Position | None


class InputReader:
    """One input: opened and recognised when it is made, read by `chunks`.

    Attributes
    ----------
    name, format
        The input as it was named; its format, "" for an empty input.
    tally
        The records read so far; those of looks are counted as used when they are taken.
    error
        What ended the input before its end.
    """

    def __init__(self, name: str, format_name: str | None, stop: Stop) -> None:
        self.name = name
        self.tally = Tally()
        self.looks_taken = 0
        self.error: InputError | None = None
        self._stop = stop
        self._items = 0
        self._looks = 0
        self._skip = (0, 0)
        self._arrival_us = self._begin_arrival_us = NO_TIME_US
        self._begin_state = b""
        self._live = name == STANDARD_INPUT
        self._feed: FeedReader | None = None
        self.decoder: Decoder | None = None
        self._table = not self._live and format_name in (None, Looks.name) and _is_table(name)
        if self._table:
            self.decoder = Looks()
            return
        self._feed = FeedReader(name, format_name)
        self.decoder = self._feed.decoder
        if self._live:
            self._feed.input.stream = interruptible(self._feed.input.stream, stop)

    @classmethod
    def of_state(cls, state: InputState, stop: Stop) -> InputReader:
        """What an earlier input left unfinished, as an input of its own."""
        reader = cls.__new__(cls)
        reader.__init__(os.devnull, state.format, stop)  # type: ignore[misc]
        reader.name = state.name
        reader.take_up(state, whole=False)
        return reader

    @property
    def format(self) -> str:
        """Name of the format; "" for an empty input."""
        return "" if self.decoder is None else self.decoder.name

    @property
    def is_columnar(self) -> bool:
        """Whether the input holds looks of this project."""
        return isinstance(self.decoder, Looks)

    def size(self) -> int | None:
        """Bytes of the file, None where that is not known."""
        try:
            found = os.stat(self.name)
        except (OSError, ValueError):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) and not self._live else None

    def bytes_read(self) -> int:
        """How far the file has been read, before decompression."""
        return 0 if self._feed is None else self._feed.input._file.tell()

    # ------------------------------------------------------------------ save and resume

    def fingerprint(self) -> tuple[int, bytes] | None:
        """Size and digest of the first 64 KiB of a file; None for what cannot be read again."""
        size = self.size()
        if size is None:
            return None
        try:
            with open(self.name, "rb") as file:
                return size, xxh3_128_digest(file.read(_FINGERPRINT_BYTES))
        except OSError:
            return None

    def take_up(self, state: InputState, whole: bool) -> None:
        """Continue after an input of the same format, or where this very file (`whole`) was left.

        ValueError or MsgspecError where the decoder's state is of another version or none.
        """
        position = state.position if whole else None
        self._begin_state = state.state if position is None else position.begin_state
        self._begin_arrival_us = state.arrival_us if position is None else position.begin_arrival_us
        if position is not None:
            self._skip = position.items, position.looks
        self._arrival_us = self._begin_arrival_us
        if self.decoder is not None and self._begin_state:
            self.decoder.restore(self._begin_state)

    def state(self, fingerprint: tuple[int, bytes] | None) -> InputState:
        """What follows needs; with a fingerprint also where to continue in the file itself."""
        position = None
        if fingerprint is not None:
            position = Position(
                *fingerprint, self._items, self.looks_taken, self._begin_state, self._begin_arrival_us
            )
        state = b"" if self.decoder is None else self.decoder.state()
        return InputState(self.name, self.format, state, self._arrival_us, position)

    # ------------------------------------------------------------------ reading

    def chunks(self, sink: Sink, encoder: Encoder | None, limit: int = CHUNK_ITEMS) -> Iterator[Chunk]:
        """All looks, in the order of the input; what cannot be used goes to `sink` and into `tally`.

        With an encoder the looks come as arrays, and looks and detections that these cannot hold are dead letters too.
        A fault of reading ends the chunks and is left in `error`.

        Raises
        ------
        InputError
            Of status 2, from the first chunk: a table whose columns are not those of looks.
        """
        try:
            if self._feed is None:
                yield from self._block_chunks(self._table_blocks(encoder), sink, encoder)
            elif encoder is not None and self.is_columnar:
                with self._feed.input:
                    stream = self._feed.input.stream
                    yield from self._block_chunks(read_look_blocks(stream, encoder, BLOCK_BYTES), sink, encoder)
                    self._feed.input.check()
            else:
                yield from self._item_chunks(self._feed.items(), sink, encoder, limit)
        except InputError as error:
            if error.status == 2:
                raise
            self.error = error
        except Interrupted:
            return

    def _table_blocks(self, encoder: Encoder | None) -> Iterator[LookBlock]:
        from apss_fusion.replay.looks_arrow import read_look_table

        if encoder is None:
            from apss_fusion.tracking.attributes import Attributes
            from apss_fusion.tracking.register import Register

            encoder = Encoder(Register({}), Attributes())
        return read_look_table(self.name, encoder)

    def _block_chunks(self, blocks: Iterator[LookBlock], sink: Sink, encoder: Encoder | None) -> Iterator[Chunk]:
        for block in blocks:
            for reject in block.rejects:
                self._not_used(reject, sink)
            batch, numbers = block.batch, block.numbers
            for r in batch.rejected:
                number = int(numbers[r.look])
                reject = Reject(r.reason, r.field, number, block.text_of(number), is_record=r.detection < 0)
                self._not_used(reject, sink)
            numbers = _without(numbers, [r.look for r in batch.rejected if r.detection < 0])
            batch = LookBatch(batch.looks, batch.detections, batch.text, batch.footprints)
            new = self._new_looks(len(numbers))
            arrival_us = self._running(batch.looks["received_us"])[new:]
            batch, numbers = batch.take(new, len(batch)), numbers[new:]
            self.tally.records_in += len(numbers)
            self._items = max([self._items, *numbers[-1:].tolist(), *(r.line or 0 for r in block.rejects[-1:])])
            looks = []
            if encoder is None:
                decoder = Looks()
                looks = [
                    item
                    for number in numbers.tolist()
                    for item in decoder.items(BytesIO(block.text_of(number)))
                    if isinstance(item, Look)
                ]
            yield Chunk(self, looks, batch, arrival_us, None, numbers, block.text_of)
