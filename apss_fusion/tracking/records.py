"""The engine's state as keyed records: what a track, a cell and the clock are, in bytes; looks are in `look_records`.

Numbers that belong to one process (of sources, of attributes) do not leave it: records say names and contents. A record is
MessagePack; rows of kinematics are their bytes, little-endian float64, so that a restart continues to the last bit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.history import COUNT, FIRST, SOURCES, WIDTH
from apss_fusion.estimation.motion import STATE
from apss_fusion.kernels import kernel
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.bank import Bank
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import BELIEF

#: Name and version of the format; a state with another one is refused.
FORMAT = "apss-fusion engine state"
VERSION = 4
HEADER, CLOCK, CUTS = "format", "clock", "cuts"
TRACK, CELL, LOOKS = "track:", "cell:", "looks:"

Record = tuple[str, bytes | None]
#: What readers were told of a track: seq of the last update, whether they hold the track, time of that update, microseconds.
Told = tuple[int, int, int]


class Clock(msgspec.Struct, frozen=True, array_like=True):
    """Where time stands."""

    arrival_us: int
    floor_us: int
    #: Time of the last look that was fused, microseconds; -1 before the first.
    fused_us: int
    #: Time of the next picture, microseconds; -1 before the first look.
    picture_us: int
    #: Where the window begins, microseconds, a group of domains each; -1 for no cut so far. None where looks are held back.
    cut_us: list[int] | None
    #: How many looks have arrived since nothing was pending: the last ones of the blocks. 0 where nothing is.
    pending: int
    #: The number of the last block of looks.
    block: int


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
def _contributor_rows(first: NDArray[np.int64], pool: NDArray[np.void], out: NDArray[np.float64]) -> int:
    """Rows (source, n, last) of lists of contributors that begin at `first`, one list after the other; how many."""
    k = 0
    for entry in first:
        while entry >= 0:
            if k < len(out):
                out[k, 0], out[k, 1], out[k, 2] = pool[entry].source, pool[entry].n, pool[entry].last
            k += 1
            entry = np.int64(pool[entry].next)
    return k


@kernel
def _contributor_counts(first: NDArray[np.int64], pool: NDArray[np.void]) -> NDArray[np.int64]:
    out = np.zeros(len(first), np.int64)
    for s in range(len(first)):
        entry = first[s]
        while entry >= 0:
            out[s] += 1
            entry = np.int64(pool[entry].next)
    return out


class TrackRows(NamedTuple):
    """What is kept of n tracks: rows, what readers were told, and who has contributed."""

    track_id: NDArray[np.uint8]  # (n, 16)
    state: NDArray[np.void]
    altitude: NDArray[np.void]
    belief: NDArray[np.void]
    history: NDArray[np.float64]  # (n, width)
    exists: NDArray[np.bool_]  # whether there are rows
    seq: NDArray[np.int32]
    told: NDArray[np.int8]
    told_us: NDArray[np.int64]  # time of the last update that was published; 0 where nobody asks for it
    detections: NDArray[np.int32]
    contributor: NDArray[np.int64]  # first entry of its list in the pool
    sources: NDArray[np.int32]  # number of the set of sources


def bank_rows(bank: Bank, ids: NDArray[np.uint8], slots: NDArray[np.int64]) -> TrackRows:
    """The tracks in these slots as they are; ids: UUID by slot."""
    link = bank.link[slots]
    return TrackRows(
        ids[slots],
        bank.state[slots],
        bank.altitude[slots],
        bank.belief[slots],
        bank.history[slots],
        np.ones(len(slots), np.bool_),
        link["seq"],
        link["told"],
        np.zeros(len(slots), np.int64),
        link["detections"],
        link["contributor"].astype(np.int64),
        link["sources"],
    )


def contributors_of(rows: TrackRows, pool: NDArray[np.void], register: Register) -> list[list[tuple[str, int, float]]]:
    """(source_id, n, last) of the contributors of each track, in the order of the names."""
    counts = _contributor_counts(rows.contributor, pool)
    flat = np.zeros((int(counts.sum()), 3))
    _contributor_rows(rows.contributor, pool, flat)
    entries = [(register.names[int(s)], int(n), t) for s, n, t in flat.tolist()]
    ends = np.cumsum(counts).tolist()
    return [sorted(entries[end - count : end]) for end, count in zip(ends, counts.tolist(), strict=True)]


def track_records(rows: TrackRows, pool: NDArray[np.void], register: Register, attributes: Attributes) -> list[Record]:
    """The records of tracks."""
    states, altitudes = _row_bytes(rows.state), _row_bytes(rows.altitude)
    belief = rows.belief.copy()
    numbers = np.where(rows.exists, belief["attributes"], 0).tolist()
    belief["attributes"] = 0
    known = rows.altitude["hh"] > 0.0
    # A set of sources has another number elsewhere: its members stand beside it. Of histories, those that are used are kept.
    history = rows.history.copy()
    history[:, SOURCES : SOURCES + 1] = 0.0
    used = (FIRST + WIDTH * history[:, COUNT]).astype(int).tolist() if history.shape[1] else [0] * len(history)
    histories = [row[:n].tobytes() for row, n in zip(history, used, strict=True)]
    contents = attributes.contents
    members = {m: register.set_members(m) for m in dict.fromkeys(rows.sources.tolist())}
    encode = msgspec.msgpack.Encoder().encode
    return [
        (
            TRACK + key,
            encode(
                (
                    s if e else b"",
                    a if k and e else b"",
                    b if e else b"",
                    h if e else b"",
                    contents[n],
                    (q, t, u),
                    d,
                    c,
                    members[m],
                )
            ),
        )
        for key, s, a, k, b, h, e, n, q, t, u, d, c, m in zip(
            _hex_ids(rows.track_id),
            states,
            altitudes,
            known.tolist(),
            _row_bytes(belief),
            histories,
            rows.exists.tolist(),
            numbers,
            rows.seq.tolist(),
            rows.told.tolist(),
            rows.told_us.tolist(),
            rows.detections.tolist(),
            contributors_of(rows, pool, register),
            rows.sources.tolist(),
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
    tuple[bytes, bytes, bytes, bytes, bytes, tuple[int, int, int], int, list[tuple[str, int, float]], tuple[str, ...]]
)


class LoadedTracks:
    """Rows of tracks out of their records, sorted by track id: those that have rows. width: of a row of histories."""

    def __init__(
        self, records: Iterable[tuple[str, bytes]], register: Register, attributes: Attributes, width: int
    ) -> None:
        items = sorted(records)
        try:
            every = [(bytes.fromhex(key[len(TRACK) :]), _TRACK.decode(value)) for key, value in items]
            #: (seq, told, time of the last update) of all tracks that readers were told of, also of those without rows.
            self.told = {track_id: d[5] for track_id, d in every if d[5][0]}
            decoded = [d for _, d in every if d[0]]
            self.track_id = np.frombuffer(b"".join([i for i, d in every if d[0]]), np.uint8).reshape(len(decoded), 16)
            self.state = np.frombuffer(b"".join([d[0] for d in decoded]), STATE)
            nothing = bytes(ALTITUDE.itemsize)
            self.altitude = np.frombuffer(b"".join([d[1] or nothing for d in decoded]), ALTITUDE)
            self.belief = np.frombuffer(b"".join([d[2] for d in decoded]), BELIEF).copy()
            numbers = {
                content: attributes.number_of_content(content) for content in dict.fromkeys(d[4] for d in decoded)
            }
            self.belief["attributes"] = [numbers[d[4]] for d in decoded]
            self.history = _histories([d[3] for d in decoded], width)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateError(f"engine state: a track record is damaged: {error}") from None
        if not len(self.track_id) == len(self.state) == len(self.altitude) == len(self.belief):
            raise StateError("engine state: a track record is damaged: rows of a wrong size")
        self.detections = [d[6] for d in decoded]
        entries = [d[7] for d in decoded]
        self.contributor_counts = np.fromiter(map(len, entries), np.int64, len(entries))
        flat = [entry for several in entries for entry in several]
        sources = {name: register.number(name) for name in dict.fromkeys(name for name, _, _ in flat)}
        #: Rows (source, n, last) of all tracks' contributors, one track after the other.
        self.contributors = np.array([(sources[name], n, last) for name, n, last in flat]).reshape(-1, 3)
        sets = {members: register.set_number(members) for members in dict.fromkeys(d[8] for d in decoded)}
        self.sources = [sets[d[8]] for d in decoded]
        self.history[:, SOURCES : SOURCES + 1] = np.array(self.sources, np.float64).reshape(-1, 1)

    def __len__(self) -> int:
        return len(self.state)


def _histories(rows: list[bytes], width: int) -> NDArray[np.float64]:
    """The histories of tracks, (n, width), of what is kept of them. Raises ValueError where they are of another setting."""
    out = np.zeros((len(rows), width))
    for k, row in enumerate(rows):
        values = np.frombuffer(row)
        if len(values) > width or (len(values) == 0) != (width == 0):
            raise ValueError("saved in another setting of the filter")
        out[k, : len(values)] = values
    return out


def as_pairs(records: Any) -> dict[str, bytes]:
    """Records as a dictionary: the last of a key wins, a key whose last has no record is gone."""
    out: dict[str, bytes] = {}
    for key, value in records:
        if value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out
