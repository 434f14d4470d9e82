"""Looks as records: blocks of looks in the order of their arrival, each under a number of its own.

A block is written once and never changes. It goes when the last of its looks has left; which looks of the other blocks have
left follows from the cuts that came after them, and these are a record of their own.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.kernels import kernel
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch, used_footprints
from apss_fusion.tracking.records import CUTS, LOOKS, Record, StateError
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import DETECTION, LOOK

#: A block holds at most so many looks, and at most so many bytes where it holds more than one.
MOST_LOOKS, MOST_BYTES = 1000, 1 << 18


class SavedLooks(msgspec.Struct, frozen=True, array_like=True):
    """Looks in the order of their arrival, as they were encoded.

    Sources, attributes and footprints (GeoJSON) stand in the order in which they are met first; rows hold their places.
    """

    looks: memoryview
    detections: memoryview
    text: memoryview
    sources: list[str]
    attributes: list[bytes]
    footprints: list[bytes]


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """Looks of these sources in blocks before this one have left where their time, in s, is before t."""

    block: int
    t: float
    sources: list[str]


_BLOCK = msgspec.msgpack.Decoder(SavedLooks)
_CUTS = msgspec.msgpack.Decoder(list[Cut])


class LookBlocks:
    """The blocks of looks that are in records, and how many looks of each are left.

    Parameters
    ----------
    register, attributes
        Of the engine whose looks these are.
    """

    def __init__(self, register: Register, attributes: Attributes) -> None:
        #: The number of the last block; they count from 1.
        self.last = 0
        self._register = register
        self._attributes = attributes
        self._left: dict[int, int] = {}
        self._gone: list[int] = []
        self._cuts: list[Cut] = []
        self._cuts_reported = True

    def changes(self, new: LookBatch) -> tuple[list[Record], NDArray[np.int64]]:
        """Records of what has left since last asked, and of new looks; and the number of the block of each of these."""
        out: list[Record] = [(_key(number), None) for number in self._gone]
        self._gone = []
        if not self._cuts_reported:
            out.append((CUTS, msgspec.msgpack.encode(self._cuts)))
            self._cuts_reported = True
        numbers = np.zeros(len(new), np.int64)
        start = 0
        for stop in _ends(new, self._attributes):
            self.last += 1
            numbers[start:stop] = self.last
            self._left[self.last] = stop - start
            out.append((_key(self.last), self._encoded(new.order(np.arange(start, stop)))))
            start = stop
        return out, numbers

    def let_go(self, numbers: NDArray[np.int64]) -> None:
        """Looks have left; numbers: of the block of each."""
        for number, count in zip(*(column.tolist() for column in np.unique(numbers, return_counts=True)), strict=True):
            self._left[number] -= count
            if not self._left[number]:
                del self._left[number]
                self._gone.append(number)

    def note_cut(self, t: float, sources: list[str]) -> None:
        """All looks of these sources whose time, in s, is before t have left."""
        if not self._left:
            return
        oldest, new = next(iter(self._left)), Cut(self.last + 1, t, sorted(sources))
        names = set(sources)
        self._cuts = [c for c in self._cuts if c.block > oldest and not (c.t <= t and names.issuperset(c.sources))]
        self._cuts.append(new)
        self._cuts_reported = False

    def take_up(self, records: Mapping[str, bytes], last: int) -> tuple[LookBatch, NDArray[np.int64]]:
        """Go on from such records, of which the last block had this number.

        Returns all their looks in the order of their arrival, and the number of the block of each; 0 for those that have left.

        Raises
        ------
        StateError
            A record is damaged.
        """
        values = sorted((_number(key), value) for key, value in records.items() if key.startswith(LOOKS))
        if values and not 0 < values[0][0] <= values[-1][0] <= last:
            raise StateError("engine state: a block of looks has a number that no block had so far")
        try:
            self._cuts = _CUTS.decode(records[CUTS]) if CUTS in records else []
        except msgspec.MsgspecError as error:
            raise StateError(f"engine state: record '{CUTS}' is damaged: {error}") from None
        batch, numbers = self._decoded(values)
        self.last = last
        numbers[self._are_gone(batch, numbers)] = 0
        return batch, numbers

    def keep(self, numbers: NDArray[np.int64]) -> None:
        """Of the blocks that were taken up, these looks are still there; numbers: of the block of each."""
        found, counts = np.unique(numbers, return_counts=True)
        self._left = dict(zip(found.tolist(), counts.tolist(), strict=True))

    def _are_gone(self, batch: LookBatch, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        gone = np.zeros(len(batch), np.bool_)
        names = {self._register.names[n]: n for n in np.unique(batch.looks["source"]).tolist()}
        for cut in self._cuts:
            sources = [names[name] for name in cut.sources if name in names]
            gone |= (numbers < cut.block) & (batch.looks["t"] < cut.t) & np.isin(batch.looks["source"], sources)
        return gone

    def _encoded(self, block: LookBatch) -> bytes:
        """The record of looks; their rows are used up."""
        looks, detections = block.looks, block.detections
        sources, looks["source"] = _first_met(looks["source"])
        attributes, detections["attributes"] = _first_met(detections["attributes"])
        contents = self._attributes.contents
        return msgspec.msgpack.encode(
            SavedLooks(
                _bytes_of(looks),
                _bytes_of(detections),
                _bytes_of(block.text),
                [self._register.names[n] for n in sources],
                [contents[n] for n in attributes],
                [footprint.geojson for footprint in block.footprints],
            )
        )

    def _decoded(self, values: list[tuple[int, bytes]]) -> tuple[LookBatch, NDArray[np.int64]]:
        """All looks of blocks, and the number of the block of each."""
        blocks = [_block(number, value) for number, value in values]
        looks, detections = (
            _joined([b.looks for b in blocks]).view(LOOK),
            _joined([b.detections for b in blocks]).view(DETECTION),
        )
        text = _joined([b.text for b in blocks])
        sizes = np.array(
            [
                (
                    len(b.looks) // LOOK.itemsize,
                    len(b.detections) // DETECTION.itemsize,
                    len(b.text),
                    len(b.sources),
                    len(b.attributes),
                    len(b.footprints),
                )
                for b in blocks
            ],
            np.int64,
        ).reshape(-1, 6)
        wrong = _lay_out(looks, detections, np.concatenate([np.zeros((1, 6), np.int64), np.cumsum(sizes, 0)]))
        if wrong >= 0:
            raise _damaged(values[wrong][0], "its parts do not belong together")
        sources = [name for b in blocks for name in b.sources]
        known = {name: self._register.number(name) for name in dict.fromkeys(sources)}
        looks["source"] = np.array([known[name] for name in sources], np.int32)[looks["source"]]
        detections["attributes"] = self._numbers(values, blocks)[detections["attributes"]]
        footprints = [
            footprint for (number, _), b in zip(values, blocks, strict=True) for footprint in _shapes(number, b)
        ]
        batch = LookBatch(looks, detections, text, used_footprints(looks, footprints))
        return batch, np.repeat(np.array([number for number, _ in values], np.int64), sizes[:, 0])

    def _numbers(self, values: list[tuple[int, bytes]], blocks: list[SavedLooks]) -> NDArray[np.int64]:
        """The numbers of the attributes of all blocks, one block after the other."""
        out = list[int]()
        for (number, _), block in zip(values, blocks, strict=True):
            try:
                out += map(self._attributes.number_of_content, block.attributes)
            except ValueError as error:
                raise _damaged(number, error) from None
        return np.array(out, np.int64)


def _bytes_of(rows: NDArray) -> memoryview:
    return memoryview(np.ascontiguousarray(rows).view(np.uint8).data)


def _joined(parts: list[memoryview]) -> NDArray[np.uint8]:
    return np.concatenate([np.zeros(0, np.uint8), *(np.frombuffer(part, np.uint8) for part in parts)])


def _key(number: int) -> str:
    return f"{LOOKS}{number:020d}"


def _number(key: str) -> int:
    try:
        return int(key.removeprefix(LOOKS))
    except ValueError:
        raise StateError(f"engine state: record {key!r} has no number") from None


def _damaged(number: int, why: object) -> StateError:
    return StateError(f"engine state: record '{_key(number)}' is damaged: {why}")


def _block(number: int, value: bytes) -> SavedLooks:
    try:
        block = _BLOCK.decode(value)
    except msgspec.MsgspecError as error:
        raise _damaged(number, error) from None
    if len(block.looks) % LOOK.itemsize or len(block.detections) % DETECTION.itemsize:
        raise _damaged(number, "rows of a wrong size")
    return block


def _shapes(number: int, block: SavedLooks) -> list[Footprint]:
    try:
        return [Footprint.of(msgspec.json.decode(footprint)) for footprint in block.footprints]
    except (msgspec.MsgspecError, ValueError) as error:
        raise _damaged(number, error) from None


def _ends(batch: LookBatch, attributes: Attributes) -> list[int]:
    """Where blocks of looks end: so many of each as `MOST_LOOKS` and `MOST_BYTES` allow."""
    looks, numbers = batch.looks, batch.detections["attributes"]
    shapes = np.array([len(footprint.geojson) for footprint in batch.footprints] + [0])
    maps = [table.arrays()[1] for table in (attributes.ids_json, attributes.class_json)]
    beside = sum(ends[numbers + 1] - ends[numbers] for ends in maps)
    detections = np.cumsum(np.concatenate([[0], DETECTION.itemsize + batch.detections["id_length"] + beside]))
    first = looks["first"]
    sizes = LOOK.itemsize + looks["id_length"] + shapes[looks["footprint"]]
    until = np.cumsum(sizes + detections[first + looks["count"]] - detections[first])
    ends = list[int]()
    start, written = 0, 0
    while start < len(batch):
        within = int(np.searchsorted(until, written + MOST_BYTES, "right"))
        start = min(max(within, start + 1), start + MOST_LOOKS)
        written = int(until[start - 1])
        ends.append(start)
    return ends


def _first_met(numbers: NDArray[np.integer]) -> tuple[list[int], NDArray[np.int64]]:
    """The different numbers in the order in which they are met first, and the place of each of all among these."""
    different, first, place = np.unique(numbers, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return different[order].tolist(), rank[place]


@kernel
def _lay_out(looks: NDArray[np.void], detections: NDArray[np.void], ends: NDArray[np.int64]) -> int:
    """Let rows of blocks, one behind the other, say where their parts are in all of them; the first damaged block, or -1.

    ends, (blocks + 1, 6): of looks, detections, text, sources, attributes and footprints up to each block.
    """
    i = j = p = 0
    for b in range(len(ends) - 1):
        source, attribute, footprint = ends[b, 3], ends[b, 4], ends[b, 5]
        while i < ends[b + 1, 0]:
            look = looks[i]
            if not (0 <= look.count <= ends[b + 1, 1] - j and 0 <= look.id_length <= ends[b + 1, 2] - p):
                return b
            if not (0 <= look.source < ends[b + 1, 3] - source and -1 <= look.footprint < ends[b + 1, 5] - footprint):
                return b
            look.first, look.id_at = j, p
            look.source += source
            if look.footprint >= 0:
                look.footprint += footprint
            p += look.id_length
            for _ in range(look.count):
                z = detections[j]
                if not (0 <= z.id_length <= ends[b + 1, 2] - p and 0 <= z.attributes < ends[b + 1, 4] - attribute):
                    return b
                z.id_at = p
                z.attributes += attribute
                p += z.id_length
                j += 1
            i += 1
        if j != ends[b + 1, 1] or p != ends[b + 1, 2]:
            return b
    return -1
