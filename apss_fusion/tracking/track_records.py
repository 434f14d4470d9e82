"""Tracks as records: rows of numbers as they are, then names and attributes as text.

A record is its parts one behind the other, without gaps: a row of HEAD; STATE and BELIEF where the track exists, ALTITUDE where
its height is known, the numbers of its histories; CONTRIBUTION rows in the order of the names, and these names; the names of
the set of sources that shaped it; and the attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.history import COUNT, FIRST, SOURCES, WIDTH
from apss_fusion.estimation.motion import STATE
from apss_fusion.kernels import kernel
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.bank import Bank
from apss_fusion.tracking.hashing import copy_bytes
from apss_fusion.tracking.records import TRACK, Record, StateError
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import BELIEF

HEAD = np.dtype(
    [
        ("told_us", "i8"),
        ("kind", "i4"),  # the same in all records
        ("seq", "i4"),
        ("detections", "i4"),
        ("history", "i4"),  # how many numbers
        ("contributors", "i4"),  # how many
        ("sources", "i4"),  # bytes
        ("attributes", "i4"),  # bytes
        ("told", "i1"),
        ("exists", "i1"),
        ("altitude", "i1"),  # whether it is known
        ("spare", "i1"),
    ]
)
#: One source's part in a track; the length of its name is in bytes.
CONTRIBUTION = np.dtype([("last", "f8"), ("n", "i4"), ("name", "i4")])
_KIND = int.from_bytes(b"TRAK", "little")
_SOURCES = msgspec.msgpack.Decoder(tuple[str, ...])
_T = TypeVar("_T")


class TrackRows(NamedTuple):
    """What is kept of n tracks: what readers were told, who has contributed, and the rows of those k that exist."""

    track_id: NDArray[np.uint8]  # (n, 16)
    exists: NDArray[np.bool_]
    state: NDArray[np.void]  # (k,)
    altitude: NDArray[np.void]  # (k,)
    belief: NDArray[np.void]  # (k,)
    history: NDArray[np.float64]  # (k, width)
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
        np.ones(len(slots), np.bool_),
        bank.state[slots],
        bank.altitude[slots],
        bank.belief[slots],
        bank.history[slots],
        link["seq"],
        link["told"],
        np.zeros(len(slots), np.int64),
        link["detections"],
        link["contributor"].astype(np.int64),
        link["sources"],
    )


@kernel
def _contributor_rows(
    first: NDArray[np.int64], pool: NDArray[np.void], counts: NDArray[np.int64], out: NDArray[np.float64]
) -> None:
    """Rows (track, source, n, last) of lists of contributors that begin at `first`, one list after the other.

    counts: how many there are of each, written too. Only counted where `out` has no rows.
    """
    k = 0
    for i in range(len(first)):
        entry = first[i]
        counts[i] = 0
        while entry >= 0:
            if k < len(out):
                out[k, 0], out[k, 1], out[k, 2], out[k, 3] = i, pool[entry].source, pool[entry].n, pool[entry].last
                k += 1
            counts[i] += 1
            entry = np.int64(pool[entry].next)


def _contributors(
    rows: TrackRows, pool: NDArray[np.void], register: Register
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How many contributors each track has, and rows (track, source, n, last) of them all, in the order of the names."""
    counts = np.zeros(len(rows.contributor), np.int64)
    _contributor_rows(rows.contributor, pool, counts, np.zeros((0, 4)))
    flat = np.zeros((int(counts.sum()), 4))
    _contributor_rows(rows.contributor, pool, counts, flat)
    if len(flat) > np.count_nonzero(counts):
        sources = np.unique(flat[:, 1]).astype(np.int64)
        rank = np.zeros(len(register), np.int64)
        rank[sorted(sources.tolist(), key=register.names.__getitem__)] = np.arange(len(sources))
        flat = flat[np.lexsort((rank[flat[:, 1].astype(np.int64)], flat[:, 0]))]
    return counts, flat


def contributors_of(rows: TrackRows, pool: NDArray[np.void], register: Register) -> list[list[tuple[str, int, float]]]:
    """(source_id, n, last) of the contributors of each track, in the order of the names."""
    counts, flat = _contributors(rows, pool, register)
    entries = [(register.names[int(s)], int(n), last) for _, s, n, last in flat.tolist()]
    ends = np.cumsum(counts).tolist()
    return [entries[end - count : end] for end, count in zip(ends, counts.tolist(), strict=True)]


def track_records(rows: TrackRows, pool: NDArray[np.void], register: Register, attributes: Attributes) -> list[Record]:
    """The records of tracks."""
    belief, history = rows.belief.copy(), rows.history.copy()
    # Numbers of attributes and of sets of sources are others elsewhere: what they stand for is in parts of their own.
    belief["attributes"] = 0
    history[:, SOURCES : SOURCES + 1] = 0.0
    exists, contents = rows.exists, attributes.contents
    numbers = np.zeros(len(exists), np.int64)
    numbers[exists] = rows.belief["attributes"]
    members = {m: msgspec.msgpack.encode(register.set_members(m)) for m in dict.fromkeys(rows.sources.tolist())}
    counts, flat = _contributors(rows, pool, register)
    encoded = {s: register.names[int(s)].encode() for s in set(flat[:, 1].tolist())}
    names = [encoded[s] for s in flat[:, 1].tolist()]
    contributions = np.zeros(len(flat), CONTRIBUTION)
    contributions["last"], contributions["n"], contributions["name"] = flat[:, 3], flat[:, 2], list(map(len, names))

    head = np.zeros(len(numbers), HEAD)
    for name in ("told_us", "seq", "detections", "told", "exists"):
        head[name] = getattr(rows, name)
    head["kind"], head["contributors"] = _KIND, counts
    known = rows.altitude["hh"] > 0.0
    head["altitude"][exists] = known
    used = (FIRST + WIDTH * history[:, COUNT] if history.shape[1] else np.zeros(len(known))).astype(np.int64)
    head["history"][exists] = used
    sources, head["sources"] = _joined([members[m] for m in rows.sources.tolist()])
    maps, head["attributes"] = _joined([contents[n] for n in numbers.tolist()])
    records = _woven(
        [
            (head, np.full(len(head), HEAD.itemsize)),
            (rows.state, exists * STATE.itemsize),
            (belief, exists * BELIEF.itemsize),
            (rows.altitude[known], head["altitude"] * ALTITUDE.itemsize),
            (history[_used(used, history.shape[1])], 8 * head["history"]),
            (contributions, counts * CONTRIBUTION.itemsize),
            (_joined(names)[0], _sums(flat[:, 0].astype(np.int64), contributions["name"], len(counts))),
            (sources, head["sources"]),
            (maps, head["attributes"]),
        ]
    )
    text = rows.track_id.tobytes().hex()
    return [(TRACK + text[32 * k : 32 * k + 32], record) for k, record in enumerate(records)]


def _used(counts: NDArray[np.integer], width: int) -> NDArray[np.bool_]:
    """Of rows of a width, the places before these counts."""
    return np.arange(width) < counts[:, None]


def _sums(of: NDArray[np.int64], counts: NDArray[np.integer], size: int) -> NDArray[np.int64]:
    """The sums of the counts of each number."""
    return np.bincount(of, counts, size).astype(np.int64)


def _joined(texts: list[bytes]) -> tuple[NDArray[np.uint8], list[int]]:
    """Texts one behind the other, and how long each is."""
    return np.frombuffer(b"".join(texts), np.uint8), list(map(len, texts))


def _woven(parts: Sequence[tuple[NDArray, NDArray[np.integer]]]) -> list[bytes]:
    """The records whose parts lie in these arrays, one record behind the other in each; beside it, so many bytes of each."""
    lengths = np.array([counts for _, counts in parts], np.int64)
    ends = np.cumsum(lengths.sum(0))
    at = ends - lengths.sum(0)
    starts = at.tolist()
    out = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    for (rows, _), counts in zip(parts, lengths, strict=True):
        _put(np.ascontiguousarray(rows).view(np.uint8).reshape(-1), counts, at, out)
    data = out.tobytes()
    return [data[start:end] for start, end in zip(starts, ends.tolist(), strict=True)]


@kernel
def _put(part: NDArray[np.uint8], counts: NDArray[np.int64], at: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """Write so many bytes of a part each to these places of `out`; the places are then behind them."""
    p = 0
    for i in range(len(counts)):
        at[i] = copy_bytes(part, p, counts[i], out, at[i])
        p += counts[i]


@kernel
def _take(data: NDArray[np.uint8], counts: NDArray[np.int64], at: NDArray[np.int64], part: NDArray[np.uint8]) -> None:
    """The reverse of `_put`."""
    p = 0
    for i in range(len(counts)):
        p = copy_bytes(data, at[i], counts[i], part, p)
        at[i] += counts[i]


class _Parts:
    """Records that are taken apart, all at once."""

    def __init__(self, keys: list[str], values: list[bytes]) -> None:
        self._keys = keys
        self._data, lengths = _joined(values)
        self._ends = np.cumsum(np.array(lengths, np.int64))
        self._at = self._ends - lengths

    def check(self, wrong: NDArray[np.bool_], why: str) -> None:
        """Raise `StateError` where a record is wrong, which names the first that is."""
        if wrong.any():
            raise self._error(int(np.argmax(wrong)), why)

    def _error(self, number: int, why: object) -> StateError:
        return StateError(f"engine state: record {self._keys[number]!r} is damaged: {why}")

    def take(self, counts: NDArray[np.int64]) -> NDArray[np.uint8]:
        """So many bytes of each record, one record behind the other."""
        self.check((counts < 0) | (self._at + counts > self._ends), "it is too short")
        part = np.zeros(int(counts.sum()), np.uint8)
        _take(self._data, counts, self._at, part)
        return part

    def texts(self, counts: NDArray[np.int64], of: NDArray[np.int64], meaning: Callable[[bytes], _T]) -> list[_T]:
        """What texts mean, of so many bytes each, in records with these numbers; equal texts are asked for once."""
        self.check(np.bincount(of, counts < 0, len(self._keys)) > 0, "it is too short")
        data, ends = self.take(_sums(of, counts, len(self._keys))).tobytes(), np.cumsum(counts)
        known: dict[bytes, _T] = {}
        out = []
        for i, (start, end) in enumerate(zip((ends - counts).tolist(), ends.tolist(), strict=True)):
            text = data[start:end]
            value = known.get(text)
            if value is None:
                try:
                    value = known[text] = meaning(text)
                except (msgspec.MsgspecError, ValueError) as error:
                    raise self._error(int(of[i]), error) from None
            out.append(value)
        return out

    def end(self) -> None:
        """Nothing may be left."""
        self.check(self._at < self._ends, "it is too long")


class LoadedTracks:
    """Rows of tracks out of their records, sorted by track id: those that have rows. width: of a row of histories.

    Attributes
    ----------
    told_id, told
        Of all tracks that readers were told of, also of those without rows: their ids (S16), sorted, and (seq, told, time of
        the last update in microseconds) of each, (k, 3).
    contributors, contributor_counts
        Rows (source, n, last) of all tracks' contributors, one track after the other, and how many each has.
    """

    def __init__(self, records: dict[str, bytes], register: Register, attributes: Attributes, width: int) -> None:
        keys = sorted(key for key in records if key.startswith(TRACK))
        parts = _Parts(keys, [records[key] for key in keys])
        ids = _ids(keys)
        head = parts.take(np.full(len(keys), HEAD.itemsize)).view(HEAD)
        exists, known = head["exists"] == 1, head["altitude"] == 1
        parts.check(head["kind"] != _KIND, "it is no track")
        parts.check(head["contributors"] < 0, "it is too short")
        wrong = (head["history"] > width) | (head["history"] < 0) | (exists & ((head["history"] == 0) != (width == 0)))
        parts.check(wrong, "saved in another setting of the filter")
        self.state = parts.take(exists * STATE.itemsize).view(STATE)
        self.belief = parts.take(exists * BELIEF.itemsize).view(BELIEF)
        self.altitude = np.zeros(len(self.state), ALTITUDE)
        parts.check(known & ~exists, "a height of no track")
        self.altitude[known[exists]] = parts.take(known * ALTITUDE.itemsize).view(ALTITUDE)
        self.history = np.zeros((len(self.state), width))
        values = parts.take(8 * head["history"].astype(np.int64)).view(np.float64)
        parts.check((head["history"] > 0) & ~exists, "histories of no track")
        self.history[_used(head["history"][exists], width)] = values
        counts = head["contributors"].astype(np.int64)
        rows = parts.take(counts * CONTRIBUTION.itemsize).view(CONTRIBUTION)
        of = np.repeat(np.arange(len(keys)), counts)
        every = np.arange(len(keys))
        names = parts.texts(rows["name"].astype(np.int64), of, lambda name: register.number(name.decode()))
        sets = parts.texts(
            head["sources"].astype(np.int64), every, lambda text: register.set_number(_SOURCES.decode(text))
        )
        contents = parts.texts(head["attributes"].astype(np.int64), every, attributes.number_of_content)
        parts.end()
        parts.check((counts > 0) & ~exists, "contributors of no track")
        self.track_id = ids[exists]
        self.belief["attributes"] = np.array(contents, np.int64)[exists]
        self.detections = head["detections"][exists]
        self.contributor_counts = counts[exists]
        self.contributors = np.stack([np.array(names, np.float64), rows["n"], rows["last"]], 1).reshape(-1, 3)
        self.sources = np.array(sets, np.int64)[exists]
        self.history[:, SOURCES : SOURCES + 1] = self.sources[:, None]
        told = head["seq"] != 0
        self.told_id = ids[told].view("S16").ravel()
        self.told = np.stack([head["seq"][told], head["told"][told], head["told_us"][told]], 1).astype(np.int64)

    def __len__(self) -> int:
        return len(self.state)

    def told_of(self, ids: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the tracks with these ids, (n, 16), readers were told of, and their places in `told`."""
        _, which, place = np.intersect1d(np.ascontiguousarray(ids).view("S16"), self.told_id, return_indices=True)
        return which, place


def _ids(keys: list[str]) -> NDArray[np.uint8]:
    """The ids of tracks, (n, 16), of the keys of their records."""
    for key in keys:
        if len(key) != len(TRACK) + 32:
            raise StateError(f"engine state: record {key!r} names no track")
    try:
        ids = bytes.fromhex("".join([key[len(TRACK) :] for key in keys]))
    except ValueError:
        ids = b""
    if len(ids) != 16 * len(keys):
        raise StateError("engine state: the key of a track is not hexadecimal")
    return np.frombuffer(ids, np.uint8).reshape(-1, 16)
