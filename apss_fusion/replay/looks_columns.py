"""Looks of this project's own form, one JSON object a line, straight to batches.

Plain lines are read by compiled code, which is some ten times quicker than a struct each. A line in which anything is
not plainly right is decoded by the decoder of the format, so what is used and what is rejected is the same as by that
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.feeds.base import MAX_LINE_BYTES, Reject
from apss_fusion.feeds.looks_ndjson import Looks, footprint_defect
from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.replay.blocks import LookBlock, block_of
from apss_fusion.replay.json_looks import LINE, SEEN, read_lines
from apss_fusion.replay.json_scan import NEWLINE, PADDING
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.columns import Columns
from apss_fusion.tracking.detection_rows import N_NUMBERS
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.look_rows import LOOK_NUMBERS
from apss_fusion.tracking.spellings import Spellings, joined_parts

#: Read at a time: lines are put together from so many bytes.
BLOCK_BYTES = 1 << 18

_CACHED_FOOTPRINTS = 256
_LEAST_DETECTION_BYTES = len('{"detection_id":"0","lat":0,"lon":0}')


def read_look_blocks(stream: BinaryIO, encoder: Encoder, block_bytes: int = BLOCK_BYTES) -> Iterator[LookBlock]:
    """All records of a decompressed stream of lines, in their order.

    Raises nothing because of data. An error of reading passes through, after the records before it were given.
    """
    reader = _LineReader(encoder)
    for number, text in whole_lines(stream, block_bytes):
        yield reader.block(number, text)


def whole_lines(stream: BinaryIO, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[int, bytes | None]]:
    r"""Whole lines of a stream, many at a time, each with a newline at its end, and the number of the first, from 1.

    The lines are those of `apss_fusion.feeds.base.lines`: ``\\r\\n`` and ``\\r`` end them too, and one that is too
    long comes alone, as None. `block_bytes` must not exceed the longest line.
    """
    number = 1
    rest: list[bytes] = []
    size = 0
    too_long = last_was_cr = False
    while block := stream.read(block_bytes):
        if last_was_cr and block.startswith(b"\n"):
            block = block[1:]
        last_was_cr = block.endswith(b"\r")
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = block.find(b"\n") + 1
        size += (end or len(block) + 1) - 1
        too_long = too_long or size > MAX_LINE_BYTES
        if too_long:
            rest.clear()
        if not end:
            if not too_long:
                rest.append(block)
            continue
        if too_long:
            yield number, None
            number += 1
            block = block[end:]
        last = block.rfind(b"\n") + 1
        if last:
            text = b"".join([*rest, block[:last]])
            yield number, text
            number += _count_lines(text)
        rest, size, too_long = [block[last:]], len(block) - last, False
    if too_long:
        yield number, None
    elif size:
        yield number, b"".join(rest) + b"\n"


class _LineReader:
    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._slow = Looks()
        self._sources = Spellings()
        self._footprints: dict[bytes, tuple[Footprint, int]] = {}

    def block(self, number: int, text: bytes | None) -> LookBlock:
        """The block of some lines, of which the first has this number; blank ones are no records."""
        if text is None:
            reject = Reject("the line is too long", None, number, None)
            return LookBlock(LookBatch.empty(), np.zeros(0, np.int64), [reject], lambda _: b"")
        columns, lines, others, starts = self._columns(text)

        def text_of(line: int) -> bytes:
            return text[starts[line - number] : starts[line - number + 1] - 1]

        return block_of(self._encoder, self._slow, columns, lines + number, others + number, text_of)

    def _columns(self, text: bytes) -> tuple[Columns, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Columns of the plain lines; which lines those are, and which the others; where each line begins."""
        n_lines, room = _count_lines(text), len(text) // _LEAST_DETECTION_BYTES
        data = np.frombuffer(bytearray(text) + bytes(PADDING), np.uint8)
        rows, look_numbers = np.empty(n_lines, LINE), np.empty((n_lines, len(LOOK_NUMBERS)))
        seen, numbers = np.empty(room, SEEN), np.empty((room, N_NUMBERS))
        others, starts = np.empty(n_lines, np.int64), np.empty(n_lines + 1, np.int64)
        n, m, n_others = read_lines(data, len(text), rows, look_numbers, seen, numbers, others, starts)
        rows, seen = rows[:n], seen[:m]
        columns = Columns(
            data,
            _column(rows, "id_at"),
            _column(rows, "id_length"),
            _column(seen, "id_at"),
            _column(seen, "id_length"),
            np.zeros(n, np.int32),
            _column(rows, "time_us"),
            _column(rows, "end_us"),
            _column(rows, "received_us"),
            look_numbers[:n],
            _column(rows, "count"),
            numbers[:m],
            _column(seen, "time_us"),
            seen["domain"].astype(np.int8),
            seen["datum"].astype(np.int8),
            np.zeros(m, np.int64),
            np.full(n, -1, np.int32),
            np.zeros(n, np.uint64),
        )
        columns.sources = self._source_numbers(columns, text, rows)
        self._put_attributes(columns, text, seen)
        columns.put_footprints([shape or None for shape in _texts(text, rows, "footprint")], self._footprint)
        return columns, _column(rows, "line"), others[:n_others], starts

    def _put_attributes(self, columns: Columns, text: bytes, seen: NDArray[np.void]) -> None:
        places = [_column(seen, name) for name in ("ids_at", "ids_length", "class_at", "class_length")]
        if not (places[1].any() or places[3].any()):
            return
        attributes = self._encoder.attributes
        spelled, edges = _joined(columns.text, *places)

        def numbers(rows: list[int]) -> Iterator[int | ValueError]:
            for a, k, b, n in zip(*[place[rows].tolist() for place in places], strict=True):
                try:
                    yield attributes.number_of_json(text[a : a + k], text[b : b + n])
                except ValueError as error:
                    yield error

        columns.put_spelled_attributes(spelled, edges, attributes.spellings("json"), numbers)

    def _source_numbers(self, columns: Columns, text: bytes, rows: NDArray[np.void]) -> NDArray[np.int32]:
        at, length = _column(rows, "source_at"), _column(rows, "source_length")
        spelled, edges = _joined(columns.text, at, length, 0 * at, 0 * at)

        def numbers(new: list[int]) -> Iterator[int]:
            for a, k in zip(at[new].tolist(), length[new].tolist(), strict=True):
                yield self._encoder.register.number(text[a : a + k].decode("ascii"))

        return self._sources.numbers(spelled, edges, numbers, {}).astype(np.int32)

    def _footprint(self, geojson: bytes) -> tuple[Footprint, int]:
        """The footprint of JSON text, decoded where that was not met before; ``ValueError`` where it is none."""
        known = self._footprints.get(geojson)
        if known is None:
            try:
                shape = msgspec.json.decode(geojson, type=dict)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ValueError(str(error)) from None
            if reason := footprint_defect(shape):
                raise ValueError(reason)
            if len(self._footprints) >= _CACHED_FOOTPRINTS:
                del self._footprints[next(iter(self._footprints))]
            known = self._footprints[geojson] = self._encoder.footprint(shape)
        return known


def _count_lines(text: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(text, np.uint8) == NEWLINE))


def _column(rows: NDArray[np.void], name: str) -> NDArray[np.int64]:
    return np.ascontiguousarray(rows[name])


def _joined(text: NDArray[np.uint8], *places: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Two parts of the text (place, length, place, length) for each row, one row after the other; where they begin."""
    at, length, also_at, also_length = places
    out = np.empty(int(length.sum() + also_length.sum()) + len(at), np.uint8)
    edges = np.zeros(len(at) + 1, np.int64)
    joined_parts(text, at, length, also_at, also_length, out, edges)
    return out, edges


def _texts(text: bytes, rows: NDArray[np.void], name: str) -> list[bytes]:
    """The bytes at a place of each row; empty ones where there is none."""
    at, length = rows[f"{name}_at"], rows[f"{name}_length"]
    if not length.any():
        return [b""] * len(rows)
    return [text[a:b] for a, b in zip(at.tolist(), (at + length).tolist(), strict=True)]
