"""Looks into arrays: checked, with the defaults of their sources, hashed and interned.

What a look becomes depends on the look and the register alone, never on the batch that it comes in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain, repeat
from operator import add
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.kernels import inline_kernel, kernel
from apss_fusion.model import Detection, Look
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch, Rejection
from apss_fusion.tracking.columns import Columns, Fault, columns_of
from apss_fusion.tracking.detection_rows import FAULTS, N_NUMBERS, default_sigmas, fill_detections
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import DETECTION, LOOK
from apss_fusion.tracking.times import NO_TIME_US

#: A look's time lies from 1970 to before 2250, where seconds as float64 still tell microseconds apart.
MAX_TIME_US = 8_835_955_200_000_000

#: Field and reason by fault number; 0 is none.
LOOK_FAULTS: tuple[Fault, ...] = (
    ("", ""),
    ("time", "not a time from 1970 to 2250"),
    ("time_end", "not a time from the look's time to 2250"),
    ("time_received", "not a time from 1970 to 2250"),
    ("p_detect", "not from 0 to 1"),
    ("clutter_per_km2", "negative or not finite"),
    ("min_detectable_speed_mps", "negative or not finite"),
)
_DUPLICATE: Fault = ("detection_id", "met before in this look")
_CACHED_FOOTPRINTS = 256
_UNUSABLE = (TypeError, ValueError, AttributeError, KeyError, OverflowError, msgspec.ValidationError)


class Encoder:
    """Turns looks into batches.

    Parameters
    ----------
    register, attributes
        Number sources, and ids and classes; both grow with what is met.
    """

    def __init__(self, register: Register, attributes: Attributes) -> None:
        self.register = register
        self.attributes = attributes
        self._sigmas = default_sigmas(register.defaults)
        self._footprints: dict[bytes, tuple[Footprint, int]] = {}

    def encode(self, looks: Sequence[Look]) -> LookBatch:
        """The looks that can be used, in their order, and what cannot be. Raises nothing because of data."""
        try:
            return self.assemble(self.columns(looks))
        except _UNUSABLE:
            # A struct that was not decoded but built holds something of a wrong type.
            return LookBatch.concat([self._encode_alone(look) for look in looks])

    def columns(self, looks: Sequence[Look]) -> Columns:
        """The columns of looks; raises as `columns_of`."""
        return columns_of(looks, self.register.number, self.attributes.number, self.footprint)

    def footprint(self, geojson: Mapping[str, Any]) -> tuple[Footprint, int]:
        """The footprint of a GeoJSON geometry, the same object while it is met again, and the hash of its content.

        Raises
        ------
        ValueError
            It is no Polygon or MultiPolygon.
        """
        if not isinstance(geojson, Mapping):
            raise ValueError("not a GeoJSON object")
        shape = {"type": geojson.get("type"), "coordinates": _as_floats(geojson.get("coordinates"), 4)}
        content = msgspec.json.encode(shape)
        known = self._footprints.get(content)
        if known is None:
            known = Footprint.of(shape), xxh3_64_intdigest(content)
            if len(self._footprints) >= _CACHED_FOOTPRINTS:
                del self._footprints[next(iter(self._footprints))]
            self._footprints[content] = known
        return known

    def assemble(self, columns: Columns) -> LookBatch:
        """A batch of columns, without the looks and detections that are wrong."""
        batch, look_faults, detection_faults = self.build(columns)
        if not look_faults and not detection_faults:
            return batch
        n = len(columns.look_ids)
        rejected = [Rejection(i, -1, *fault) for i, fault in look_faults.items()]
        good_looks = np.ones(n, np.bool_)
        good_looks[list(look_faults)] = False
        good_detections = np.ones(len(columns.detection_ids), np.bool_)
        good_detections[list(detection_faults)] = False
        first = columns.firsts()
        for j, fault in detection_faults.items():
            i = int(np.searchsorted(first, j, "right")) - 1
            if good_looks[i]:
                rejected.append(Rejection(i, j - int(first[i]), *fault))
        batch, _, _ = self.build(columns.kept(good_looks, good_detections))
        batch.given, batch.rejected = n, sorted(rejected)
        return batch

    def build(self, columns: Columns) -> tuple[LookBatch, dict[int, Fault], dict[int, Fault]]:
        """A batch of all of the columns, what is wrong with its looks, and with its detections (by number of all m)."""
        n, m = len(columns.look_ids), len(columns.detection_ids)
        first = columns.firsts()
        looks, detections = np.zeros(n, LOOK), np.zeros(m, DETECTION)
        look_codes, detection_codes = np.zeros(n, np.uint8), np.zeros(m, np.uint8)
        sources = self.register.parameters
        _fill_looks(
            columns.time_us,
            columns.end_us,
            columns.received_us,
            columns.look_numbers,
            columns.footprint,
            columns.sources,
            sources,
            first,
            looks,
            look_codes,
        )
        fill_detections(
            columns.numbers,
            columns.detection_time_us,
            columns.domain,
            columns.datum,
            first,
            columns.time_us,
            columns.sources,
            sources,
            self._sigmas,
            detections,
            detection_codes,
        )
        look_faults = {i: LOOK_FAULTS[look_codes[i]] for i in np.flatnonzero(look_codes).tolist()} | columns.look_faults
        detection_faults = {j: FAULTS[detection_codes[j]] for j in np.flatnonzero(detection_codes).tolist()}
        detection_faults |= columns.detection_faults
        _find_duplicates(columns, first, detection_faults)

        self._put_texts(columns, looks, detections)
        _put_contents(columns, sources, looks, detections)
        text = _put_text(columns, looks, detections)
        return LookBatch(looks, detections, text, columns.footprints), look_faults, detection_faults

    def _put_texts(self, columns: Columns, looks: NDArray[np.void], detections: NDArray[np.void]) -> None:
        """Identities and the hashes of ids."""
        n, m = len(looks), len(detections)
        digest = xxh3_64_intdigest
        looks["id_hash"] = np.fromiter(map(digest, columns.look_ids), np.uint64, n)
        names = [name.encode() + b"\0" for name in self.register.names]
        sources = map(names.__getitem__, columns.sources.tolist())
        heads = map(add, map(add, sources, columns.look_ids), repeat(b"\0"))
        owners = chain.from_iterable(map(repeat, heads, columns.counts.tolist()))
        detections["key"] = np.fromiter(map(digest, map(add, owners, columns.detection_ids)), np.uint64, m)
        contents = map(self.attributes.contents.__getitem__, columns.attributes.tolist())
        closed = map(add, columns.detection_ids, repeat(b"\0"))
        detections["texts"] = np.fromiter(map(digest, map(add, closed, contents)), np.uint64, m)
        detections["attributes"] = columns.attributes
        detections["identity"] = self.attributes.identities[columns.attributes]

    def _encode_alone(self, look: Look) -> LookBatch:
        try:
            return self.assemble(self.columns([look]))
        except _UNUSABLE:
            pass
        detections: Any = look.detections
        fault = _type_fault(msgspec.structs.replace(look, detections=()), Look)
        if fault is None and not isinstance(detections, tuple | list):
            fault = "detections", "not a list"
        if fault is not None:
            return self._nothing([Rejection(0, -1, *fault)])
        faults = {j: fault for j, d in enumerate(detections) if (fault := _type_fault(d, Detection))}
        kept = [j for j in range(len(detections)) if j not in faults]
        part = msgspec.structs.replace(look, detections=tuple(detections[j] for j in kept))
        batch = self.assemble(self.columns([part]))
        rejected = [Rejection(0, j, *fault) for j, fault in faults.items()]
        rejected += [
            Rejection(0, kept[r.detection] if r.detection >= 0 else -1, r.field, r.reason) for r in batch.rejected
        ]
        if not len(batch):
            rejected = [r for r in rejected if r.detection < 0]
        batch.rejected = sorted(rejected)
        return batch

    @staticmethod
    def _nothing(rejected: list[Rejection]) -> LookBatch:
        batch = LookBatch.empty()
        batch.rejected, batch.given = rejected, 1
        return batch


def _type_fault(value: Look | Detection, kind: type[Look] | type[Detection]) -> Fault | None:
    """The first field that is of no type that it may have."""
    if not isinstance(value, kind):
        return "detections", f"not a {kind.__name__}"
    for f in msgspec.structs.fields(kind):
        try:
            plain = msgspec.to_builtins(getattr(value, f.name), builtin_types=(datetime,))
            msgspec.convert(plain, f.type)
            msgspec.json.encode(plain)
        except (*_UNUSABLE, RecursionError) as error:
            return f.name, str(error)
    return None


def _as_floats(value: Any, depth: int) -> Any:
    """Coordinates with all numbers as floats, so that 0 and 0.0 are one content; deeper than `depth` as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, list | tuple) and depth > 0:
        return [_as_floats(v, depth - 1) for v in value]
    return value


def _find_duplicates(columns: Columns, first: NDArray[np.int64], faults: dict[int, Fault]) -> None:
    """Add the later ones of equal detection ids in one look, among those without a fault."""
    for i in np.flatnonzero(columns.counts > 1).tolist():
        ids = columns.detection_ids[first[i] : first[i + 1]]
        if len(set(ids)) == len(ids):
            continue
        seen: set[bytes] = set()
        for j, name in enumerate(ids, int(first[i])):
            if j in faults:
                continue
            if name in seen:
                faults[j] = _DUPLICATE
            seen.add(name)


def _put_text(columns: Columns, looks: NDArray[np.void], detections: NDArray[np.void]) -> NDArray[np.uint8]:
    """Lay the ids out: each look's, then those of its detections."""
    ids: list[bytes] = []
    j = 0
    for look, count in zip(columns.look_ids, columns.counts.tolist(), strict=True):
        ids.append(look)
        ids += columns.detection_ids[j : j + count]
        j += count
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    _place(lengths, looks, detections)
    return np.frombuffer(bytearray().join(ids), np.uint8)


@kernel
def _place(lengths: NDArray[np.int64], looks: NDArray[np.void], detections: NDArray[np.void]) -> None:
    at = k = j = 0
    for i in range(len(looks)):
        looks[i].id_at, looks[i].id_length = at, lengths[k]
        at += lengths[k]
        k += 1
        for _ in range(looks[i].count):
            detections[j].id_at, detections[j].id_length = at, lengths[k]
            at += lengths[k]
            k += 1
            j += 1


@inline_kernel
def _sane(time_us: int) -> bool:
    return 0 <= time_us < MAX_TIME_US


@inline_kernel
def _positive(x: float) -> bool:
    """Unknown, or finite and not negative."""
    return not (x < 0.0 or x == np.inf)


@kernel
def _fill_looks(
    time_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    received_us: NDArray[np.int64],
    numbers: NDArray[np.float64],
    footprint: NDArray[np.int32],
    source: NDArray[np.int32],
    sources: NDArray[np.void],
    first: NDArray[np.int64],
    rows: NDArray[np.void],
    faults: NDArray[np.uint8],
) -> None:
    """Rows of `LOOK`, all but hashes and text, and fault numbers, (n,) each."""
    for i in range(len(time_us)):
        row, own = rows[i], sources[source[i]]
        p_detect, clutter, min_speed = numbers[0, i], numbers[1, i], numbers[2, i]
        end = time_us[i] if end_us[i] == NO_TIME_US else end_us[i]
        received = time_us[i] if received_us[i] == NO_TIME_US else received_us[i]
        if not _sane(time_us[i]):
            faults[i] = 1
        elif not _sane(end) or end < time_us[i]:
            faults[i] = 2
        elif not _sane(received):
            faults[i] = 3
        elif p_detect < 0.0 or p_detect > 1.0:
            faults[i] = 4
        elif not _positive(clutter):
            faults[i] = 5
        elif not _positive(min_speed):
            faults[i] = 6
        row.time_us, row.end_us, row.received_us = time_us[i], end, received
        row.t = time_us[i] / 1e6
        row.first, row.count = first[i], first[i + 1] - first[i]
        row.source, row.footprint = source[i], footprint[i]
        row.cooperative, row.may_initiate = own.cooperative, own.may_initiate
        row.p_detect = (own.p_detect if np.isnan(p_detect) else p_detect) + 0.0
        row.clutter_per_m2 = (own.clutter_per_m2 if np.isnan(clutter) else clutter / 1e6) + 0.0
        row.min_speed_mps = np.nan if np.isnan(min_speed) else min_speed + 0.0


def _put_contents(
    columns: Columns, sources: NDArray[np.void], looks: NDArray[np.void], detections: NDArray[np.void]
) -> None:
    _fold_contents(
        columns.look_numbers,
        columns.footprint_hash,
        columns.sources,
        sources,
        columns.numbers,
        columns.detection_time_us,
        columns.domain,
        columns.datum,
        looks,
        detections,
    )


@inline_kernel
def _fold(h: np.uint64, word: np.uint64) -> np.uint64:
    """One step of FNV-1a with 64-bit words and the multiplier and shift of splitmix64."""
    h = (h ^ word) * np.uint64(0x9E3779B97F4A7C15)
    return h ^ (h >> np.uint64(29))


@kernel
def _bits(x: float, cell: NDArray[np.float64], bits: NDArray[np.uint64]) -> np.uint64:
    """The bits of a number; all NaN alike, and both zeros."""
    cell[0] = np.nan if np.isnan(x) else x + 0.0
    return bits[0]


@kernel
def _fold_contents(
    look_numbers: NDArray[np.float64],
    footprint_hash: NDArray[np.uint64],
    source: NDArray[np.int32],
    sources: NDArray[np.void],
    numbers: NDArray[np.float64],
    time_us: NDArray[np.int64],
    domain: NDArray[np.int8],
    datum: NDArray[np.int8],
    looks: NDArray[np.void],
    detections: NDArray[np.void],
) -> None:
    """Set the hash of all that a look says, but for when it arrived."""
    cell = np.zeros(1)
    bits = cell.view(np.uint64)
    for i in range(len(looks)):
        look = looks[i]
        h = _fold(np.uint64(look.count), look.id_hash)
        h = _fold(h, np.uint64(look.time_us))
        h = _fold(h, np.uint64(look.end_us))
        h = _fold(h, sources[source[i]].name_hash)
        h = _fold(h, footprint_hash[i])
        for k in range(len(look_numbers)):
            h = _fold(h, _bits(look_numbers[k, i], cell, bits))
        for j in range(look.first, look.first + look.count):
            h = _fold(h, detections[j].texts)
            h = _fold(h, np.uint64(time_us[j]))
            h = _fold(h, np.uint64(domain[j]) << np.uint64(8) | np.uint64(datum[j]))
            for k in range(N_NUMBERS):
                h = _fold(h, _bits(numbers[k, j], cell, bits))
        look.content = h
