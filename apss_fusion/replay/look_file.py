"""Looks as columns, in Parquet and Arrow files: the fields of the JSON lines, with the same names and values.

Footprints are WKB, maps are maps, detections are a list of structs, times are microseconds UTC, what is null in JSON is
null. With polars ``pl.read_parquet("looks.parquet").explode("detections").unnest("detections")``, in DuckDB
``select look_id, unnest(detections, recursive := true) from 'looks.parquet'``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from apss_fusion.model import Look
from apss_fusion.replay.wkb import wkb_of
from apss_fusion.tracking.detection_rows import ELLIPSE

try:
    import pyarrow as pa

    from apss_fusion.outputs.arrow_file import open_to_write
except ImportError as error:
    raise ModuleNotFoundError(
        "Parquet and Arrow files need pyarrow: pip install 'apss-fusion[archive]'", name="pyarrow"
    ) from error

#: Looks or detections in a row group of Parquet, or a record batch of Arrow.
ROW_GROUP = 1 << 16

_TIME = pa.timestamp("us", tz="UTC")
_NUMBER = pa.float64()

DETECTION_TYPE = pa.struct(
    [
        ("detection_id", pa.string()),
        ("lat", _NUMBER),
        ("lon", _NUMBER),
        ("time", _TIME),
        ("ellipse", pa.struct([(name, _NUMBER) for name in ELLIPSE])),
        ("cov_enu_m2", pa.list_(_NUMBER, 3)),
        ("alt_m", _NUMBER),
        ("alt_datum", pa.string()),
        ("alt_sigma_m", _NUMBER),
        ("speed_mps", _NUMBER),
        ("course_deg", _NUMBER),
        ("speed_sigma_mps", _NUMBER),
        ("course_sigma_deg", _NUMBER),
        ("heading_deg", _NUMBER),
        ("vertical_rate_mps", _NUMBER),
        ("range_rate_mps", _NUMBER),
        ("range_rate_sigma_mps", _NUMBER),
        ("los_az_deg", _NUMBER),
        ("los_el_deg", _NUMBER),
        ("domain", pa.string()),
        ("ids", pa.map_(pa.string(), pa.string())),
        ("class_probs", pa.map_(pa.string(), _NUMBER)),
        ("length_m", _NUMBER),
        ("width_m", _NUMBER),
        ("detection_prob", _NUMBER),
    ]
)
SCHEMA = pa.schema(
    [
        ("look_id", pa.string()),
        ("source_id", pa.string()),
        ("time", _TIME),
        ("time_end", _TIME),
        ("time_received", _TIME),
        ("footprint", pa.binary()),
        ("p_detect", _NUMBER),
        ("clutter_per_km2", _NUMBER),
        ("min_detectable_speed_mps", _NUMBER),
        ("detections", pa.list_(DETECTION_TYPE)),
    ]
)
# The Parquet columns that repeat few values.
_FEW_VALUES = [
    "source_id",
    *(f"detections.list.element.{name}" for name in ("alt_datum", "domain", "ids.key_value.key")),
    *(f"detections.list.element.class_probs.key_value.{name}" for name in ("key", "value")),
]


def record_batch(looks: Iterable[Look]) -> Any:
    """The looks as a `pyarrow.RecordBatch` of `SCHEMA`."""
    return pa.RecordBatch.from_pylist([_row(look) for look in looks], schema=SCHEMA)


def _row(look: Look) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(look, builtin_types=(datetime,))
    if look.footprint is not None:
        row["footprint"] = wkb_of(look.footprint)
    for detection in row["detections"]:
        for name in ("ids", "class_probs"):
            if detection[name] is not None:
                detection[name] = list(detection[name].items())
    return row


class LookFile:
    """Looks to a ``.parquet`` or an ``.arrow`` (IPC file) path, both compressed by zstd.

    Neither format can be read before it was closed.

    Raises
    ------
    OSError
        Here and from `write` and `close`: what the system says. After one of `write`, `close` only closes.
    ValueError
        From `write` and `close`: a footprint that is neither a Polygon nor a MultiPolygon.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._sink, self._writer = open_to_write(path, SCHEMA, _FEW_VALUES)
        self._pending: list[Look] = []
        self._pending_size = 0
        self._failed = False
        self._closed = False

    def write(self, looks: Iterable[Look]) -> None:
        """Write the looks: a row group when there are enough."""
        for look in looks:
            self._pending.append(look)
            self._pending_size += max(1, len(look.detections))
            if self._pending_size >= ROW_GROUP:
                self._write_pending()

    def close(self) -> None:
        """Write what is left and the end of the file; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self._failed:
                self._write_pending()
                self._failed = True
                self._writer.close()
                self._failed = False
        finally:
            if self._failed:
                # The end of the file, where there is room for it: what was good before can be read then.
                with contextlib.suppress(OSError, pa.ArrowException):
                    self._writer.close()
            self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_pending(self) -> None:
        if self._pending:
            self._failed = True
            batch = record_batch(self._pending)
            self._pending.clear()
            self._pending_size = 0
            self._writer.write_batch(batch)
            self._failed = False
