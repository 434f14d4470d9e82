"""Looks of this project's own form, one JSON object a line, straight to batches.

Lines are decoded to structs whose times stay texts and whose ids and classes stay JSON, which is quicker than `Look`.
A line in which anything is not plainly right is decoded again by the decoder of the format, so what is used and what is
rejected is the same as by that alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any, BinaryIO

import msgspec
import numpy as np
from msgspec import NODEFAULT, Raw, Struct
from numpy.typing import NDArray

from apss_fusion.feeds.base import Reject, lines
from apss_fusion.feeds.looks_ndjson import Looks, footprint_defect
from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.model import Detection, Look
from apss_fusion.tracking.batch import LookBatch, Rejection
from apss_fusion.tracking.columns import columns_of
from apss_fusion.tracking.encode import Encoder

#: A block is closed at so many lines or bytes.
BLOCK_LINES = 1024
BLOCK_BYTES = 1 << 20
_CACHED_FOOTPRINTS = 256

_NOTHING = Raw(b"")


def _wire(name: str, model: type[Struct], replaced: dict[str, tuple[Any, Any]]) -> type[Struct]:
    """A struct with the fields of a model, but for types and defaults of some."""
    fields = []
    for f in msgspec.structs.fields(model):
        kind, default = replaced.get(f.name, (f.type, f.default))
        fields.append((f.name, kind) if default is NODEFAULT else (f.name, kind, default))
    return msgspec.defstruct(name, fields, kw_only=True, gc=False)


_WireDetection = _wire(
    "_WireDetection",
    Detection,
    {"time": (str | None, None), "ids": (Raw, _NOTHING), "class_probs": (Raw, _NOTHING)},
)
_WireLook = _wire(
    "_WireLook",
    Look,
    {
        "time": (str, NODEFAULT),
        "time_end": (str | None, None),
        "time_received": (str | None, None),
        "footprint": (dict[str, Raw] | None, None),
        "detections": (list[_WireDetection], ()),  # type: ignore[valid-type]
    },
)


class LookBlock(Struct):
    """Looks of consecutive records, as a batch, and what could not become one."""

    batch: LookBatch
    #: Line (or row) of each look that was given to the batch, from 1, (``batch.given``,).
    lines: NDArray[np.int64]
    #: The record of each look given, as it was read.
    records: list[bytes]
    #: Records that are no look, and bad detections of good looks, in their order.
    rejects: list[Reject]


def read_look_blocks(stream: BinaryIO, encoder: Encoder, block_lines: int = BLOCK_LINES) -> Iterator[LookBlock]:
    """All records of a decompressed stream of lines, those of `block_lines` lines at a time.

    Raises nothing because of data. An error of reading passes through, after the records before it were given.
    """
    reader = _LineReader(encoder)
    for numbers, texts in _blocks(stream, block_lines):
        yield reader.block(numbers, texts)


def _blocks(stream: BinaryIO, block_lines: int) -> Iterator[tuple[list[int], list[bytes | None]]]:
    numbers: list[int] = []
    texts: list[bytes | None] = []
    size = 0
    try:
        for number, line in lines(stream):
            numbers.append(number)
            texts.append(line)
            size += len(line or b"")
            if len(texts) >= block_lines or size >= BLOCK_BYTES:
                yield numbers, texts
                numbers, texts, size = [], [], 0
    except Exception:
        # Reading failed; what was read before is still good.
        yield numbers, texts
        raise
    if texts:
        yield numbers, texts


class _LineReader:
    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._decode = msgspec.json.Decoder(_WireLook).decode
        self._slow = Looks()
        self._footprints: dict[bytes, tuple[Footprint, int]] = {}

    def block(self, numbers: list[int], texts: list[bytes | None]) -> LookBlock:
        """The block of some lines; blank ones are no records."""
        quick, looks, doubtful = self._decoded(texts)
        encoder = self._encoder
        try:
            columns = columns_of(looks, encoder.register.number, encoder.attributes.number_of_json, self._footprint)
        except UnicodeEncodeError:
            return self._merged(numbers, texts, [], LookBatch.empty(), quick + doubtful)
        batch, look_faults, detection_faults = encoder.build(columns)
        if look_faults or detection_faults:
            owners = np.searchsorted(columns.firsts(), list(detection_faults), "right") - 1
            good = np.ones(len(looks), np.bool_)
            good[list(look_faults)] = False
            good[owners] = False
            doubtful += [k for k, is_good in zip(quick, good.tolist(), strict=True) if not is_good]
            quick = [k for k, is_good in zip(quick, good.tolist(), strict=True) if is_good]
            batch = batch.order(np.flatnonzero(good))
        return self._merged(numbers, texts, quick, batch, doubtful)

    def _decoded(self, texts: list[bytes | None]) -> tuple[list[int], list[Any], list[int]]:
        """Numbers and structs of the lines that decode, and the numbers of the others."""
        try:
            return list(range(len(texts))), list(map(self._decode, texts)), []  # type: ignore[arg-type]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
            pass
        quick: list[int] = []
        looks: list[Any] = []
        doubtful: list[int] = []
        for k, line in enumerate(texts):
            try:
                looks.append(self._decode(line or b""))
                quick.append(k)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                doubtful.append(k)
        return quick, looks, doubtful

    def _merged(
        self, numbers: list[int], texts: list[bytes | None], quick: list[int], batch: LookBatch, doubtful: list[int]
    ) -> LookBlock:
        """The looks that were quickly read, with those of the doubtful lines, in the order of the lines."""
        if not doubtful:
            return LookBlock(batch, np.array(numbers, np.int64), texts, [])  # type: ignore[arg-type]
        slow: list[int] = []
        looks: list[Look] = []
        rejects: list[Reject] = []
        for k in sorted(doubtful):
            for item in self._items(texts[k]):
                if isinstance(item, Reject):
                    rejects.append(msgspec.structs.replace(item, line=numbers[k]))
                else:
                    slow.append(k)
                    looks.append(item)
        given = sorted(quick + slow)
        part = self._encoder.encode(looks)
        gone = {r.look for r in part.rejected if r.detection < 0}
        used = quick + [k for i, k in enumerate(slow) if i not in gone]
        merged = LookBatch.concat([batch, part]).order(np.argsort(np.array(used, np.int64), kind="stable"))
        place = {k: i for i, k in enumerate(given)}
        merged.rejected = [Rejection(place[slow[r.look]], r.detection, r.field, r.reason) for r in part.rejected]
        merged.given = len(given)
        lines_given = np.array([numbers[k] for k in given], np.int64)
        return LookBlock(merged, lines_given, [texts[k] or b"" for k in given], rejects)

    def _items(self, line: bytes | None) -> Iterator[Look | Reject]:
        """What the decoder of the format makes of one line."""
        if line is None:
            yield Reject("the line is too long", None, None, None)
        elif line:
            for item in self._slow.items(BytesIO(line)):
                if isinstance(item, Look | Reject):
                    yield item

    def _footprint(self, shape: dict[str, Raw]) -> tuple[Footprint, int]:
        """The footprint of GeoJSON, decoded where its text was not met before; ``ValueError`` where it is none."""
        text = b"%b\0%b" % (shape.get("type", _NOTHING), shape.get("coordinates", _NOTHING))
        known = self._footprints.get(text)
        if known is None:
            try:
                geojson = {name: msgspec.json.decode(value) for name, value in shape.items()}
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ValueError(str(error)) from None
            if reason := footprint_defect(geojson):
                raise ValueError(reason)
            if len(self._footprints) >= _CACHED_FOOTPRINTS:
                del self._footprints[next(iter(self._footprints))]
            known = self._footprints[text] = self._encoder.footprint(geojson)
        return known
