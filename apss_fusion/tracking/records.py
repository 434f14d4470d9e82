"""The engine's state as keyed records: what a track, a cell, a waiting look and the clock are, in bytes.

Numbers that belong to one process (of sources, of attributes) do not leave it: records say names and contents. A record is
MessagePack; rows of kinematics are their bytes, little-endian float64, so that a restart continues to the last bit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.motion import STATE
from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.kernels import kernel
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.bank import Bank
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import BELIEF, DETECTION, LOOK

#: Name and version of the format; a state with another one is refused.
FORMAT = "apss-fusion engine state"
VERSION = 1
HEADER, CLOCK = "format", "clock"
TRACK, CELL, LOOK_KEY = "track:", "cell:", "look:"

Record = tuple[str, bytes | None]


class Clock(msgspec.Struct, frozen=True, array_like=True):
    """Where time stands."""

    arrival_us: int
    floor_us: int
    #: Time of the last look that was fused, microseconds; -1 before the first.
    fused_us: int
    #: Time of the next picture, microseconds; -1 before the first look.
    picture_us: int


class HeldLook(msgspec.Struct, frozen=True, array_like=True):
    """A look that waits, as it was encoded."""

    source_id: str
    look: bytes
    detections: bytes
    text: bytes
    attributes: list[bytes]
    footprint: bytes | None


class StateError(ValueError):
    """Records that are of another format or version, or damaged; the message names which."""


def header() -> Record:
    """The record that names the format."""
    return HEADER, msgspec.msgpack.encode((FORMAT, VERSION, sys.byteorder))


def check_header(records: dict[str, bytes]) -> None:
    """Raise `StateError` where the records are not of this format and version."""
    if HEADER not in records:
        raise StateError("not an engine state: it has no record 'format'")
    try:
        found = msgspec.msgpack.decode(records[HEADER], type=tuple[str, int, str])
    except msgspec.MsgspecError as error:
        raise StateError(f"not an engine state: record 'format': {error}") from None
    if found[0] != FORMAT:
        raise StateError(f"not an engine state but {found[0]!r}")
    if found[1:] != (VERSION, sys.byteorder):
        raise StateError(f"engine state of version {found[1]} ({found[2]}-endian); this is version {VERSION}")


@kernel
def _contributor_rows(
    slots: NDArray[np.int64], link: NDArray[np.void], pool: NDArray[np.void], out: NDArray[np.float64]
) -> int:
    """Rows (source, n, last) of the contributors of each slot, one slot after the other."""
    k = 0
    for i in slots:
        entry = np.int64(link[i].contributor)
        while entry >= 0:
            if k < len(out):
                out[k, 0], out[k, 1], out[k, 2] = pool[entry].source, pool[entry].n, pool[entry].last
            k += 1
            entry = np.int64(pool[entry].next)
    return k


@kernel
def _contributor_counts(slots: NDArray[np.int64], link: NDArray[np.void], pool: NDArray[np.void]) -> NDArray[np.int64]:
    out = np.zeros(len(slots), np.int64)
    for s in range(len(slots)):
        entry = np.int64(link[slots[s]].contributor)
        while entry >= 0:
            out[s] += 1
            entry = np.int64(pool[entry].next)
    return out


def track_records(
    bank: Bank, ids: NDArray[np.uint8], slots: NDArray[np.int64], register: Register, attributes: Attributes
) -> list[Record]:
    """The records of the tracks in these slots; ids: UUID by slot."""
    states = _row_bytes(bank.state[slots])
    altitudes = _row_bytes(bank.altitude[slots])
    belief = bank.belief[slots]
    numbers = belief["attributes"].tolist()
    belief["attributes"] = 0
    beliefs = _row_bytes(belief)
    counts = _contributor_counts(slots, bank.link, bank.pool)
    rows = np.zeros((int(counts.sum()), 3))
    _contributor_rows(slots, bank.link, bank.pool, rows)
    entries = [(register.names[int(s)], int(n), t) for s, n, t in rows.tolist()]
    ends = np.cumsum(counts).tolist()
    starts = (np.cumsum(counts) - counts).tolist()
    link = bank.link[slots]
    known = bank.altitude["hh"][slots] > 0.0
    contents = attributes.contents
    members = {m: register.set_members(m) for m in dict.fromkeys(link["sources"].tolist())}
    encode = msgspec.msgpack.Encoder().encode
    return [
        (TRACK + key, encode((s, a if k else b"", b, contents[n], q, d, entries[i:j], members[m])))
        for key, s, a, k, b, n, q, d, i, j, m in zip(
            _hex_ids(ids[slots]),
            states,
            altitudes,
            known.tolist(),
            beliefs,
            numbers,
            link["seq"].tolist(),
            link["detections"].tolist(),
            starts,
            ends,
            link["sources"].tolist(),
            strict=True,
        )
    ]


def _row_bytes(rows: NDArray[np.void]) -> list[bytes]:
    data, size = np.ascontiguousarray(rows).tobytes(), rows.dtype.itemsize
    return [data[at : at + size] for at in range(0, len(data), size)]


def _hex_ids(ids: NDArray[np.uint8]) -> list[str]:
    text = ids.tobytes().hex()
    return [text[at : at + 32] for at in range(0, len(text), 32)]


_TRACK = msgspec.msgpack.Decoder(
    tuple[bytes, bytes, bytes, bytes, int, int, list[tuple[str, int, float]], tuple[str, ...]]
)


class LoadedTracks:
    """Rows of tracks out of their records, sorted by track id."""

    def __init__(self, records: Iterable[tuple[str, bytes]], register: Register, attributes: Attributes) -> None:
        items = sorted(records)
        try:
            decoded = [_TRACK.decode(value) for _, value in items]
            self.track_id = np.frombuffer(bytes.fromhex("".join(k[len(TRACK) :] for k, _ in items)), np.uint8)
            self.track_id = self.track_id.reshape(len(items), 16)
            self.state = np.frombuffer(b"".join([d[0] for d in decoded]), STATE)
            nothing = bytes(ALTITUDE.itemsize)
            self.altitude = np.frombuffer(b"".join([d[1] or nothing for d in decoded]), ALTITUDE)
            self.belief = np.frombuffer(b"".join([d[2] for d in decoded]), BELIEF).copy()
            numbers = {
                content: attributes.number_of_content(content) for content in dict.fromkeys(d[3] for d in decoded)
            }
            self.belief["attributes"] = [numbers[d[3]] for d in decoded]
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateError(f"engine state: a track record is damaged: {error}") from None
        if not len(self.track_id) == len(self.state) == len(self.altitude) == len(self.belief):
            raise StateError("engine state: a track record is damaged: rows of a wrong size")
        self.seq = [d[4] for d in decoded]
        self.detections = [d[5] for d in decoded]
        entries = [d[6] for d in decoded]
        self.contributor_counts = np.fromiter(map(len, entries), np.int64, len(entries))
        flat = [entry for several in entries for entry in several]
        sources = {name: register.number(name) for name in dict.fromkeys(name for name, _, _ in flat)}
        #: Rows (source, n, last) of all tracks' contributors, one track after the other.
        self.contributors = np.array([(sources[name], n, last) for name, n, last in flat]).reshape(-1, 3)
        sets = {members: register.set_number(members) for members in dict.fromkeys(d[7] for d in decoded)}
        self.sources = [sets[d[7]] for d in decoded]

    def __len__(self) -> int:
        return len(self.state)


def held_records(batch: LookBatch, register: Register, attributes: Attributes) -> list[Record]:
    """The records of looks that wait. The key orders them as they arrived."""
    out: list[Record] = []
    for i in range(len(batch)):
        one = batch.take(i, i + 1)
        look, detections = one.looks.copy(), one.detections.copy()
        contents = [attributes.content(n) for n in detections["attributes"].tolist()]
        source = register.names[int(look["source"][0])]
        look["source"], detections["attributes"] = 0, 0
        footprint = one.footprints[0].geojson if one.footprints else None
        value = HeldLook(source, look.tobytes(), detections.tobytes(), one.text.tobytes(), contents, footprint)
        out.append((held_key(int(look["time_us"][0]), one.look_id(0)), msgspec.msgpack.encode(value)))
    return out


def held_key(time_us: int, look_id: str) -> str:
    """Key of a waiting look."""
    return f"{LOOK_KEY}{time_us:020d}:{look_id}"


def held_batch(values: Iterable[bytes], register: Register, attributes: Attributes) -> LookBatch:
    """The waiting looks of their records."""
    batches = []
    for value in values:
        try:
            held = msgspec.msgpack.decode(value, type=HeldLook)
            looks = np.frombuffer(held.look, LOOK).copy()
            detections = np.frombuffer(held.detections, DETECTION).copy()
            looks["source"] = register.number(held.source_id)
            detections["attributes"] = [attributes.number_of_content(c) for c in held.attributes]
            footprints = [Footprint.of(msgspec.json.decode(held.footprint))] if held.footprint else []
            if len(looks) != 1 or looks["count"][0] != len(detections) or len(held.attributes) != len(detections):
                raise ValueError("it lacks detections")
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateError(f"engine state: a record of a waiting look is damaged: {error}") from None
        batches.append(LookBatch(looks, detections, np.frombuffer(held.text, np.uint8), footprints))
    return LookBatch.concat(batches)


def as_pairs(records: Any) -> dict[str, bytes]:
    """Records as a dictionary: the last of a key wins, a key whose last has no record is gone."""
    out: dict[str, bytes] = {}
    for key, value in records:
        if value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out
