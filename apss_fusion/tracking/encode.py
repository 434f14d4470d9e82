"""Looks into arrays: checked, with the defaults of their sources, hashed and interned.

What a look becomes depends on the look and the register alone, never on the batch that it comes in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.model import Detection, Look
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch, Rejection, used_footprints
from apss_fusion.tracking.columns import Columns, Fault, columns_of
from apss_fusion.tracking.detection_rows import FAULT_KNOWN, FAULTS, default_sigmas, fill_detections
from apss_fusion.tracking.look_rows import LOOK_FAULTS, fill_looks, find_duplicates, hash_contents, hash_ids, place_ids
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import DETECTION, LOOK

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
        n = len(columns.look_id_at)
        rejected = [Rejection(i, -1, *fault) for i, fault in look_faults.items()]
        good_looks = np.ones(n, np.bool_)
        good_looks[list(look_faults)] = False
        good_detections = np.ones(len(columns.detection_id_at), np.bool_)
        good_detections[list(detection_faults)] = False
        first = columns.firsts()
        for j, fault in detection_faults.items():
            i = int(np.searchsorted(first, j, "right")) - 1
            if good_looks[i]:
                rejected.append(Rejection(i, j - int(first[i]), *fault))
        batch, _, _ = self.build(columns.kept(good_looks, good_detections))
        batch.footprints = used_footprints(batch.looks, batch.footprints)
        batch.given, batch.rejected = n, sorted(rejected)
        return batch

    def build(self, columns: Columns) -> tuple[LookBatch, dict[int, Fault], dict[int, Fault]]:
        """A batch of all of the columns, what is wrong with its looks, and with its detections (by number of all m)."""
        n, m = len(columns.look_id_at), len(columns.detection_id_at)
        first = columns.firsts()
        looks, detections = np.zeros(n, LOOK), np.zeros(m, DETECTION)
        text = np.zeros(int(columns.look_id_length.sum() + columns.detection_id_length.sum()), np.uint8)
        look_codes, codes = np.zeros(n, np.uint8), np.zeros(m, np.uint8)
        sources = self.register.parameters
        fill_looks(
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
            codes,
        )
        codes[list(columns.detection_faults)] = FAULT_KNOWN
        detections["attributes"] = columns.attributes
        detections["identity"] = self.attributes.identities[columns.attributes]
        place_ids(
            columns.text,
            columns.look_id_at,
            columns.look_id_length,
            columns.detection_id_at,
            columns.detection_id_length,
            looks,
            detections,
            text,
        )
        hash_ids(
            text,
            *self.register.ids.arrays(),
            *self.attributes.ids_json.arrays(),
            *self.attributes.class_json.arrays(),
            looks,
            detections,
        )
        find_duplicates(text, looks, detections, codes)
        hash_contents(
            columns.look_numbers,
            columns.footprint_hash,
            sources,
            columns.numbers,
            columns.detection_time_us,
            columns.domain,
            columns.datum,
            looks,
            detections,
        )
        batch = LookBatch(looks, detections, text, columns.footprints)
        look_faults = {i: LOOK_FAULTS[look_codes[i]] for i in np.flatnonzero(look_codes).tolist()}
        faults = {j: FAULTS[codes[j]] for j in np.flatnonzero(codes).tolist() if codes[j] != FAULT_KNOWN}
        return batch, look_faults | columns.look_faults, faults | columns.detection_faults

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
            msgspec.convert(plain, f.type, builtin_types=(datetime,))
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
