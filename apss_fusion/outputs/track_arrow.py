"""Track updates as columns, in Parquet and Arrow files: the fields of the JSON lines, with the same names and values.

Maps are maps, lists are lists of structs, times are microseconds UTC, what is null in JSON is null. With polars
``pl.read_parquet("tracks.parquet")``, with pandas ``pd.read_parquet("tracks.parquet")``, in DuckDB
``select track_id, time, lat, lon, ids['mmsi'] from 'tracks.parquet'``; ``pyarrow.ipc.open_file("tracks.arrow")`` or
``pl.read_ipc`` for Arrow.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from apss_fusion.outputs.arrow_columns import (
    TIME,
    cells,
    decoded,
    floats,
    maps,
    named,
    offsets,
    spans,
    texts,
    times,
    uuids,
)
from apss_fusion.outputs.arrow_file import open_to_write
from apss_fusion.tracking.rows import DATUM_NAMES, DOMAIN_NAMES, REASON_NAMES, STATUS_NAMES
from apss_fusion.tracking.updates import (
    ALT,
    ALT_SIGMA,
    COURSE,
    COV,
    EXISTENCE,
    FLAGS_MASK,
    LAT,
    LENGTH,
    LON,
    MAJOR,
    MINOR,
    NULL,
    ORIENTATION,
    SPEED,
    V_EAST,
    V_UP,
    WEIGHT_DECIMALS,
    WIDTH,
    UpdateBatch,
    flag_names,
)

#: Updates in a row group of Parquet, or a record batch of Arrow.
ROW_GROUP = 1 << 16

_TEXTS = pa.list_(pa.string())
_ELLIPSE = pa.struct([(name, pa.float64()) for name in ("semi_major_m", "semi_minor_m", "orientation_deg")])
_SOURCE = pa.struct([(name, pa.string()) for name in ("source_id", "nation", "modality")])
_MARKING = pa.struct([("classification", pa.string()), ("releasable_to", _TEXTS), ("caveats", _TEXTS)])
_CONTRIBUTOR = pa.struct([*_SOURCE, ("n", pa.int64()), ("last", TIME)])
_EVIDENCE = pa.struct([("look_id", pa.string()), ("detection_id", pa.string()), ("weight", pa.float64())])

SCHEMA = pa.schema(
    [
        ("track_id", pa.string()),
        ("seq", pa.int64()),
        ("status", pa.string()),
        ("end_reason", pa.string()),
        ("revised_from", TIME),
        ("time", TIME),
        ("time_last_detection", TIME),
        ("domain", pa.string()),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
        ("alt_m", pa.float64()),
        ("alt_sigma_m", pa.float64()),
        ("alt_datum", pa.string()),
        ("speed_mps", pa.float64()),
        ("course_deg", pa.float64()),
        ("v_enu_mps", pa.list_(pa.float64(), 3)),
        ("cov_enu", pa.list_(pa.float64(), 10)),
        ("ellipse95", _ELLIPSE),
        ("existence_prob", pa.float64()),
        ("ids", pa.map_(pa.string(), pa.string())),
        ("class_probs", pa.map_(pa.string(), pa.float64())),
        ("length_m", pa.float64()),
        ("width_m", pa.float64()),
        ("n_detections", pa.int64()),
        ("contributors", pa.list_(_CONTRIBUTOR)),
        ("evidence", pa.list_(_EVIDENCE)),
        ("h3", pa.string()),
        ("flags", _TEXTS),
        ("marking", _MARKING),
    ]
)

# The Parquet columns that repeat few values: a dictionary of the others would only be built to be given up.
_FEW_VALUES = [
    *("status", "end_reason", "domain", "alt_datum", "flags.list.element"),
    *(f"contributors.list.element.{name}" for name in ("source_id", "nation", "modality")),
    *("ids.key_value.key", "class_probs.key_value.key"),
    *("marking.classification", "marking.releasable_to.list.element", "marking.caveats.list.element"),
]


def record_batch(updates: UpdateBatch) -> Any:
    """The updates as a `pyarrow.RecordBatch` of `SCHEMA`, built column by column. Texts of one column: below 2 GiB."""
    rows = updates.rows
    belief = rows["belief"]
    numbers = updates.numbers
    values = numbers.values()

    def number(column: int) -> Any:
        return floats(values[:, column])

    attributes = np.ascontiguousarray(belief["attributes"])
    has_alt = numbers.scaled[:, ALT] != NULL
    columns = {
        "track_id": uuids(updates.track_ids),
        "seq": pa.array(rows["seq"].astype(np.int64)),
        "status": named(STATUS_NAMES, rows["status"]),
        "end_reason": named(REASON_NAMES, rows["reason"]),
        "revised_from": times(rows["revised_us"], rows["revised_us"] < 0),
        "time": times(rows["time_us"]),
        "time_last_detection": times(numbers.seen_us),
        "domain": named(DOMAIN_NAMES, belief["domain"]),
        "lat": number(LAT),
        "lon": number(LON),
        "alt_m": number(ALT),
        "alt_sigma_m": number(ALT_SIGMA),
        "alt_datum": named(DATUM_NAMES, np.where(has_alt, belief["datum"], 0)),
        "speed_mps": number(SPEED),
        "course_deg": number(COURSE),
        "v_enu_mps": pa.FixedSizeListArray.from_arrays(floats(values[:, V_EAST : V_UP + 1].ravel()), 3),
        "cov_enu": pa.FixedSizeListArray.from_arrays(floats(values[:, COV : COV + 10].ravel()), 10),
        "ellipse95": pa.StructArray.from_arrays(
            [number(MAJOR), number(MINOR), number(ORIENTATION)], fields=[*_ELLIPSE]
        ),
        "existence_prob": number(EXISTENCE),
        "ids": maps(updates.attributes.ids_json, attributes, pa.string()),
        "class_probs": maps(updates.attributes.class_json, attributes, pa.float64()),
        "length_m": number(LENGTH),
        "width_m": number(WIDTH),
        "n_detections": pa.array(rows["detections"].astype(np.int64)),
        "contributors": _contributors(updates),
        "evidence": _evidence(updates),
        "h3": cells(numbers.h3),
        "flags": named([flag_names(k) for k in range(FLAGS_MASK + 1)], rows["flags"] & FLAGS_MASK, _TEXTS),
        "marking": decoded(updates.register.markings, rows["sources"], "", _MARKING),
    }
    return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _contributors(updates: UpdateBatch) -> Any:
    count = updates.rows["contributors_n"]
    span = spans(updates.rows["contributors"], count)
    rows = updates.contributors
    sources = decoded(updates.register.heads, rows["source"][span], "0}", _SOURCE)
    fields = [
        *sources.flatten(),
        pa.array(rows["n"][span].astype(np.int64)),
        times(np.rint(rows["last"][span] * 1e6).astype(np.int64)),
    ]
    return pa.ListArray.from_arrays(offsets(count), pa.StructArray.from_arrays(fields, fields=[*_CONTRIBUTOR]))


def _evidence(updates: UpdateBatch) -> Any:
    rows, batch = updates.rows, updates.batch
    count = np.where(rows["look"] >= 0, rows["evidence_n"], 0)
    span = spans(rows["evidence"], count)
    detection = updates.evidence["detection"][span]
    look = np.repeat(rows["look"], count)
    unit = 10.0**WEIGHT_DECIMALS
    fields = [
        texts(batch.text, batch.looks["id_at"][look], batch.looks["id_length"][look].astype(np.int64)),
        texts(
            batch.text, batch.detections["id_at"][detection], batch.detections["id_length"][detection].astype(np.int64)
        ),
        floats(np.rint(updates.evidence["weight"][span] * unit) / unit),
    ]
    return pa.ListArray.from_arrays(offsets(count), pa.StructArray.from_arrays(fields, fields=[*_EVIDENCE]))


class TrackFile:
    """A `TrackWriter` of a ``.parquet`` or an ``.arrow`` (IPC file) path, both compressed by zstd.

    Updates are kept until there are `ROW_GROUP` of them, and neither format can be read before it was closed: `flush`
    does nothing.

    Raises
    ------
    OSError
        Here and from `write` and `close`: what the system says. After one of `write`, `close` only closes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._sink, self._writer = open_to_write(path, SCHEMA, _FEW_VALUES)
        self._pending: list[Any] = []
        self._pending_rows = 0
        self._failed = False
        self._closed = False

    def write(self, updates: UpdateBatch) -> None:
        """Write the updates: a row group when there are enough."""
        for start in range(0, len(updates), ROW_GROUP):
            part = updates if len(updates) <= ROW_GROUP else updates[start : start + ROW_GROUP]
            self._pending.append(record_batch(part))
            self._pending_rows += len(part)
            if self._pending_rows >= ROW_GROUP:
                self._write_pending()

    def flush(self) -> None:
        """Do nothing: see the class."""

    def close(self) -> None:
        """Write what is left and the end of the file; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._failed:
                self._write_pending()
                self._writer.close()
        finally:
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_pending(self) -> None:
        if self._pending:
            table = pa.Table.from_batches(self._pending).combine_chunks()
            self._pending.clear()
            self._pending_rows = 0
            try:
                self._writer.write_table(table)
            except Exception:
                self._failed = True
                raise
