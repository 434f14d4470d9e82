"""Looks in Parquet and Arrow files straight to batches: whole columns, without a Python object for each look.

Files of other programs are read too: columns that are not there are unknown, further ones are passed over, and types
that hold the same (large or dictionary strings, other time units, 32-bit floats) are converted. A row in which anything
is not plainly right is written as a line of JSON and left to the decoder of lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.feeds.looks_ndjson import Looks, footprint_defect
from apss_fusion.feeds.reading import InputError
from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.kernels import kernel
from apss_fusion.replay.blocks import LookBlock, block_of
from apss_fusion.replay.look_file import DETECTION_TYPE, SCHEMA
from apss_fusion.replay.wkb import geojson_of
from apss_fusion.tracking.columns import Columns
from apss_fusion.tracking.detection_rows import N_NUMBERS, NUMBERS
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.look_rows import LOOK_NUMBERS
from apss_fusion.tracking.rows import DATUM_NAMES, DOMAIN_NAMES, UNKNOWN
from apss_fusion.tracking.times import NO_TIME_US

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as error:
    raise ModuleNotFoundError(
        "Parquet and Arrow files need pyarrow: pip install 'apss-fusion[archive]'", name="pyarrow"
    ) from error

#: Rows of a block hold about so many detections.
BLOCK_DETECTIONS = 1 << 14

_CACHED = 1 << 16
_ENCODE = msgspec.json.Encoder().encode


def read_look_table(path: str | os.PathLike[str], encoder: Encoder) -> Iterator[LookBlock]:
    """All rows of a ``.parquet`` or ``.arrow`` (IPC file or stream) file of looks, in their order.

    Raises
    ------
    InputError
        Of status 2 where the file is not there, is no such file, or has a column of a type that does not fit; of
        status 1 where reading it fails part way, after the rows before were given.
    """
    name = os.fspath(path)
    try:
        source = pa.memory_map(name) if os.path.getsize(name) else pa.py_buffer(b"")
        batches = _batches(source)
    except (OSError, pa.ArrowException) as error:
        raise InputError(name, _reason(error), status=2) from error
    reader = _RowReader(encoder)
    first = 1
    while True:
        try:
            batch = next(batches, None)
        except (OSError, pa.ArrowException) as error:
            raise InputError(name, _reason(error), status=1) from error
        if batch is None:
            return
        try:
            table = _conformed(batch)
        except (pa.ArrowException, ValueError) as error:
            raise InputError(name, _reason(error), status=2 if first == 1 else 1) from error
        yield reader.block(first, table)
        first += batch.num_rows


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0]


def _batches(source: Any) -> Iterator[Any]:
    """Record batches of about `BLOCK_DETECTIONS` detections; the first bytes say which kind of file it is."""
    head = pa.input_stream(source).read(6) if isinstance(source, pa.Buffer) else bytes(source.read(6))
    if head.startswith(b"PAR1"):
        source.seek(0)
        file = pq.ParquetFile(source)
        return file.iter_batches(batch_size=_rows_of_parquet(file.metadata), use_threads=False)
    if head == b"ARROW1":
        source.seek(0)
        reader = pa.ipc.open_file(source)
        return _slices(reader.get_batch(i) for i in range(reader.num_record_batches))
    raise pa.ArrowInvalid("neither a Parquet nor an Arrow file")


def _rows_of_parquet(metadata: Any) -> int:
    rows = seen = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        rows += group.num_rows
        seen += max([group.column(k).num_values for k in range(group.num_columns)], default=0)
    return max(1, min(BLOCK_DETECTIONS, BLOCK_DETECTIONS * rows // max(seen, 1)))


def _slices(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        rows = batch.num_rows
        lists = batch.column("detections") if "detections" in batch.schema.names else None
        if rows and lists is not None and _is_list(lists.type):
            seen = pc.sum(pc.list_value_length(lists)).as_py() or 0
            rows = max(1, BLOCK_DETECTIONS * rows // max(seen, rows))
        for start in range(0, batch.num_rows, max(rows, 1)):
            yield batch.slice(start, rows)


def _conformed(batch: Any) -> Any:
    """The batch with the columns and types of `SCHEMA`; ``ValueError`` (column: reason) where one does not fit."""
    missing = [name for name in ("look_id", "source_id", "time") if name not in batch.schema.names]
    if missing:
        raise ValueError(f"no looks: without the column {missing[0]}")
    columns = []
    for field in SCHEMA:
        if field.name in batch.schema.names:
            columns.append(_as(batch.column(field.name), field.type, field.name))
        elif field.name == "detections":
            columns.append(pa.array([[]], field.type).take(pa.array(np.zeros(batch.num_rows, np.int64))))
        else:
            columns.append(pa.nulls(batch.num_rows, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _as(array: Any, kind: Any, name: str) -> Any:
    """An array as another type; structs by the names of their fields."""
    if array.type.equals(kind):
        return array
    try:
        if pa.types.is_dictionary(array.type):
            return _as(array.dictionary_decode(), kind, name)
        if pa.types.is_timestamp(kind) and pa.types.is_timestamp(array.type) and array.type.tz is None:
            raise ValueError(f"column {name}: a time without a zone")
        if pa.types.is_struct(kind) and pa.types.is_struct(array.type):
            have = {array.type.field(k).name: k for k in range(array.type.num_fields)}
            flat = array.flatten()
            parts = [
                _as(flat[have[f.name]], f.type, f"{name}.{f.name}") if f.name in have else pa.nulls(len(array), f.type)
                for f in kind
            ]
            return pa.StructArray.from_arrays(parts, fields=list(kind), mask=array.is_null())
        if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and _is_list(array.type):
            lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
            values = _as(array.flatten(), kind.value_type, name)
            return pa.ListArray.from_arrays(pa.array(offsets), values, type=kind, mask=array.is_null())
        return array.cast(kind)
    except pa.ArrowException as error:
        raise ValueError(f"column {name}: {_reason(error)}") from None


class _RowReader:
    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._decoder = Looks()
        self._footprints: dict[bytes, tuple[Footprint, int]] = {}

    def block(self, first: int, batch: Any) -> LookBlock:
        """The block of some rows of `SCHEMA`, of which the first has this number."""

        def text_of(number: int) -> bytes:
            return _line(batch.slice(number - first, 1).to_pylist()[0])

        numbers = np.arange(first, first + batch.num_rows, dtype=np.int64)
        return block_of(self._encoder, self._decoder, self._columns(batch), numbers, np.zeros(0, np.int64), text_of)

    def _columns(self, batch: Any) -> Columns:
        lists = batch.column("detections")
        counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        seen = dict(zip(DETECTION_TYPE.names, lists.flatten().flatten(), strict=True))
        look_text, look_at, look_length = _strings(batch.column("look_id"))
        text, at, length = _strings(seen["detection_id"])
        domain, datum = _codes(seen["domain"], DOMAIN_NAMES), _codes(seen["alt_datum"], DATUM_NAMES)
        n, m = batch.num_rows, len(at)
        columns = Columns(
            np.concatenate([look_text, text]),
            look_at,
            look_length,
            at + len(look_text),
            length,
            np.zeros(n, np.int32),
            _times(batch.column("time")),
            _times(batch.column("time_end")),
            _times(batch.column("time_received")),
            _matrix([batch.column(name) for name in LOOK_NUMBERS], n),
            counts,
            np.full((m, N_NUMBERS), np.nan),
            _times(seen["time"]),
            np.where(domain >= 0, domain, UNKNOWN).astype(np.int8),
            np.where(datum >= 0, datum, 0).astype(np.int8),
            np.zeros(m, np.int64),
            np.full(n, -1, np.int32),
            np.zeros(n, np.uint64),
        )
        columns.numbers[:, : len(NUMBERS)] = _matrix([seen[name] for name in NUMBERS], m)
        columns.numbers[:, len(NUMBERS) : -3] = _matrix(seen["ellipse"].flatten(), m)
        columns.numbers[:, -3:] = _triples(seen["cov_enu_m2"])
        columns.note_empty_ids()
        # The decoder of lines says what is wrong with these.
        for name, codes in (("domain", domain), ("alt_datum", datum)):
            columns.detection_faults |= dict.fromkeys(np.flatnonzero(codes == _FOREIGN).tolist(), (name, ""))
        nulls = np.flatnonzero(lists.is_null().to_numpy(zero_copy_only=False)).tolist()
        columns.look_faults |= dict.fromkeys(nulls, ("detections", ""))
        self._put_sources(columns, batch.column("source_id"))
        self._put_attributes(columns, seen["ids"], seen["class_probs"])
        columns.put_footprints(batch.column("footprint").to_pylist(), self._footprint)
        return columns

    def _put_sources(self, columns: Columns, names: Any) -> None:
        coded = names.dictionary_encode()
        numbers = [self._encoder.register.number(name) for name in coded.dictionary.to_pylist()]
        codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
        columns.sources[:] = np.array([*numbers, 0], np.int32)[codes]
        bad = [k for k, name in enumerate(coded.dictionary.to_pylist()) if not name]
        faulty = np.flatnonzero((codes < 0) | np.isin(codes, bad)).tolist()
        columns.look_faults |= dict.fromkeys(faulty, ("source_id", "empty"))

    def _put_attributes(self, columns: Columns, ids: Any, classes: Any) -> None:
        m = len(ids)
        if ids.null_count == m and classes.null_count == m:
            return
        id_edges, id_keys, id_values = _entries(ids)
        class_edges, class_keys, class_values = _entries(classes)
        names, texts, labels = _strings(id_keys), _strings(id_values), _strings(class_keys)
        texts[2][id_values.is_null().to_numpy(zero_copy_only=False)] = -1
        entries = len(id_keys) + len(class_keys)
        out = np.empty(sum(len(part[0]) for part in (names, texts, labels)) + 12 * entries + 4 * m, np.uint8)
        edges = np.zeros(m + 1, np.int64)
        bits = _floats(class_values).view(np.int64)
        _spell(id_edges, *names, *texts, class_edges, *labels, bits, out, edges)

        attributes = self._encoder.attributes

        def numbers(rows: list[int]) -> Iterator[int | ValueError]:
            chosen = pa.array(rows, pa.int64())
            for own_ids, own_classes in zip(_dicts(ids.take(chosen)), _dicts(classes.take(chosen)), strict=True):
                try:
                    yield attributes.number(own_ids, own_classes)
                except ValueError as error:
                    yield error

        columns.put_spelled_attributes(out, edges, attributes.spellings("map"), numbers)

    def _footprint(self, wkb: bytes) -> tuple[Footprint, int]:
        known = self._footprints.get(wkb)
        if known is None:
            geojson = geojson_of(wkb)
            if reason := footprint_defect(geojson):
                raise ValueError(reason)
            if len(self._footprints) >= _CACHED:
                self._footprints.clear()
            known = self._footprints[wkb] = self._encoder.footprint(geojson)
        return known


_FOREIGN = -2


def _line(row: dict[str, Any]) -> bytes:
    """A row as a line of JSON."""
    if row["footprint"] is not None:
        try:
            row["footprint"] = geojson_of(row["footprint"])
        except ValueError as error:
            row["footprint"] = str(error)
    for detection in row["detections"] or ():
        if detection is not None:
            for name in ("ids", "class_probs"):
                if detection[name] is not None:
                    detection[name] = dict(detection[name])
            if detection["domain"] is None:
                del detection["domain"]
    return _ENCODE(row)


def _strings(array: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """The bytes of all strings, where each begins, and its length (0 for null)."""
    _, offsets, data = array.buffers()
    if offsets is None or data is None:
        return np.zeros(0, np.uint8), np.zeros(len(array), np.int64), np.zeros(len(array), np.int64)
    edges = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    text = np.frombuffer(data, np.uint8)[edges[0] : edges[-1]].copy()
    length = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, np.diff(edges))
    return text, edges[:-1] - edges[0], length


def _times(array: Any) -> NDArray[np.int64]:
    us: NDArray[np.int64] = pc.fill_null(array.cast(pa.int64()), NO_TIME_US).to_numpy(zero_copy_only=False)
    return us


def _codes(array: Any, names: tuple[str | None, ...]) -> NDArray[np.int64]:
    """Which of some names each string is; -1 for null, `_FOREIGN` for another."""
    found = pc.fill_null(pc.index_in(array, value_set=pa.array(names, pa.string()), skip_nulls=True), _FOREIGN)
    codes: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(array.is_null().to_numpy(zero_copy_only=False), -1, codes)


def _floats(array: Any) -> NDArray[np.float64]:
    """Numbers; NaN for null."""
    values: NDArray[np.float64] = array.to_numpy(zero_copy_only=False)
    return values


def _matrix(arrays: list[Any], rows: int) -> NDArray[np.float64]:
    out = np.full((rows, len(arrays)), np.nan)
    for k, array in enumerate(arrays):
        if array.null_count < rows:
            out[:, k] = _floats(array)
    return out


def _triples(array: Any) -> NDArray[np.float64]:
    if array.null_count == len(array):
        return np.full((len(array), 3), np.nan)
    values = _floats(array.values)[3 * array.offset : 3 * (array.offset + len(array))].reshape(-1, 3).copy()
    values[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return values


def _entries(maps: Any) -> tuple[NDArray[np.int64], Any, Any]:
    """Where the entries of each map begin and the last one's end, (m + 1,), and all keys and values."""
    edges = np.frombuffer(maps.buffers()[1], np.int32)[maps.offset : maps.offset + len(maps) + 1].astype(np.int64)
    keys, values = (part.slice(edges[0], edges[-1] - edges[0]) for part in (maps.keys, maps.items))
    return edges - edges[0], keys, values


def _dicts(maps: Any) -> list[dict[str, Any]]:
    edges, keys, values = _entries(maps)
    names, things = keys.to_pylist(), values.to_pylist()
    return [dict(zip(names[a:b], things[a:b], strict=True)) for a, b in pairwise(edges.tolist())]


@kernel
def _put_int(out: NDArray[np.uint8], p: int, value: int, size: int) -> int:
    for k in range(size):
        out[p + k] = (value >> (8 * k)) & 255
    return p + size


@kernel
def _put_text(out: NDArray[np.uint8], p: int, text: NDArray[np.uint8], at: int, length: int) -> int:
    p = _put_int(out, p, length, 4)
    for k in range(length):
        out[p + k] = text[at + k]
    return p + max(length, 0)


@kernel
def _spell(
    edges: NDArray[np.int64],
    names: NDArray[np.uint8],
    name_at: NDArray[np.int64],
    name_length: NDArray[np.int64],
    texts: NDArray[np.uint8],
    text_at: NDArray[np.int64],
    text_length: NDArray[np.int64],
    class_edges: NDArray[np.int64],
    labels: NDArray[np.uint8],
    label_at: NDArray[np.int64],
    label_length: NDArray[np.int64],
    bits: NDArray[np.int64],
    out: NDArray[np.uint8],
    out_edges: NDArray[np.int64],
) -> None:
    """For each pair of an ids and a class map bytes that are equal only where the maps are."""
    p = 0
    for j in range(len(edges) - 1):
        p = _put_int(out, p, edges[j + 1] - edges[j], 4)
        for k in range(edges[j], edges[j + 1]):
            p = _put_text(out, p, names, name_at[k], name_length[k])
            p = _put_text(out, p, texts, text_at[k], text_length[k])
        for k in range(class_edges[j], class_edges[j + 1]):
            p = _put_text(out, p, labels, label_at[k], label_length[k])
            p = _put_int(out, p, bits[k], 8)
        out_edges[j + 1] = p
