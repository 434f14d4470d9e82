"""Track updates in Parquet and Arrow files, with the smoothed columns in place of the filtered ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
import orjson

from apss_fusion.model.track import TrackUpdate
from apss_fusion.smoothing.lines import fields, published
from apss_fusion.smoothing.records import Update, checked
from apss_fusion.smoothing.rts import Smoothed

try:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from apss_fusion.outputs.arrow_file import open_to_write
    from apss_fusion.outputs.track_arrow import ROW_GROUP, SCHEMA
except ImportError as error:
    raise ModuleNotFoundError(
        "Parquet and Arrow files need pyarrow: pip install 'apss-fusion[archive]'", name="pyarrow"
    ) from error

_FEW_VALUES = ["status", "end_reason", "domain", "alt_datum"]
_NEEDED = list(Update.__struct_fields__)
_UPDATE = msgspec.json.Decoder(TrackUpdate)


def read_batches(path: str) -> Iterator[Any]:
    """The record batches of a ``.parquet`` or ``.arrow`` (IPC) file. Raises ValueError where it is none, OSError."""
    try:
        if path.endswith(".arrow"):
            with pa.memory_map(path) as source:
                reader = pa.ipc.open_file(source)
                for i in range(reader.num_record_batches):
                    yield reader.get_batch(i)
        else:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(batch_size=ROW_GROUP)
    except pa.ArrowException as error:
        raise ValueError(f"{path}: {str(error).splitlines()[0]}") from None


def read_updates(path: str) -> Iterator[Update]:
    """What smoothing needs of each row. Raises ValueError that names file, row (from 1) and field."""
    row = 0
    for batch in read_batches(path):
        held = [name for name in _NEEDED if name in batch.schema.names]
        for values in batch.select(held).to_pylist(maps_as_pydicts="strict"):
            row += 1
            try:
                update = msgspec.convert(values, Update, strict=False)
            except msgspec.ValidationError as error:
                raise ValueError(f"{path}:{row}: {error}") from None
            yield checked(update, path, row)


def rewritten_batches(batches: Iterable[Any], result: Smoothed) -> Iterator[Any]:
    """The batches with the smoothed columns, in the file's own types; all other columns as they were."""
    numbers = published(result)
    values = numbers.values()
    first = 0
    for batch in batches:
        rows = batch.to_pylist(maps_as_pydicts="strict") if batch.num_rows else []
        columns: dict[str, list[Any]] = {}
        for k, old in enumerate(rows, first):
            new = fields(values[k].tolist(), int(numbers.h3[k]), old["v_enu_mps"][2]) if result.changed[k] else old
            for name in _CHANGED:
                columns.setdefault(name, []).append(new[name])
        for name, column in columns.items():
            at = batch.schema.get_field_index(name)
            if at >= 0:
                batch = batch.set_column(at, batch.schema.field(at), pa.array(column, batch.schema.field(at).type))
        first += batch.num_rows
        yield batch


_CHANGED = ("lat", "lon", "speed_mps", "course_deg", "v_enu_mps", "cov_enu", "ellipse95", "h3")


def batches_of(lines: Iterable[bytes]) -> Iterator[Any]:
    """Lines of track updates as record batches of the archive's schema."""
    source = iter(lines)
    while chunk := list(islice(source, ROW_GROUP)):
        rows = [msgspec.to_builtins(_UPDATE.decode(line), builtin_types=(datetime,)) for line in chunk]
        yield pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def lines_of(batches: Iterable[Any]) -> Iterator[bytes]:
    """Record batches as lines of JSON."""
    for batch in batches:
        for row in batch.to_pylist(maps_as_pydicts="strict"):
            yield orjson.dumps(row, default=_text, option=orjson.OPT_PASSTHROUGH_DATETIME) + b"\n"


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    raise TypeError(type(value).__name__)


def write_batches(path: str, batches: Iterator[Any]) -> None:
    """Write record batches of one schema to a ``.parquet`` or ``.arrow`` path; for none, a file without rows."""
    first = next(batches, None)
    schema = SCHEMA if first is None else first.schema
    sink, writer = open_to_write(path, schema, [name for name in _FEW_VALUES if name in schema.names])
    with sink:
        if first is not None:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
        writer.close()
