"""Updates as columns: the same fields and values as the lines of JSON."""

from __future__ import annotations

import builtins
import errno
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_updates import engine_tables, expected, look_batch, random_updates

from apss_fusion.model import TrackUpdate
from apss_fusion.outputs import open_track_writer, track_arrow
from apss_fusion.outputs.track_arrow import SCHEMA, TrackFile, record_batch

ENDINGS = [".parquet", ".arrow"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read(path: Path) -> pa.Table:
    """The table of a file."""
    if path.suffix == ".arrow":
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    return pq.read_table(path)


def plain(value: Any) -> Any:
    """A value of `to_pylist` as JSON has it: maps are lists of pairs there, times are datetimes."""
    if isinstance(value, datetime):
        value = EPOCH + (value - EPOCH) // timedelta(microseconds=1) * timedelta(microseconds=1)
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def rows_of(table: Any) -> list[dict[str, Any]]:
    """Rows as `json.loads` would give them."""
    rows = [plain(row) for row in table.to_pylist()]
    for row in rows:
        row["ids"], row["class_probs"] = dict(row["ids"]), dict(row["class_probs"])
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_columns_are_as_the_reference_says(seed: int) -> None:
    updates = random_updates(seed, 150)
    batch = record_batch(updates)
    batch.validate(full=True)
    assert rows_of(batch) == [expected(updates, i) for i in range(150)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_files_hold_the_columns(tmp_path: Path, ending: str) -> None:
    updates = random_updates(7, 120)
    path = tmp_path / f"tracks{ending}"
    with open_track_writer(path) as writer:
        writer.write(updates)
    table = read(path)
    assert table.schema.equals(SCHEMA)
    assert rows_of(table) == [expected(updates, i) for i in range(120)]


def test_columns_are_the_fields_of_an_update() -> None:
    assert tuple(SCHEMA.names) == TrackUpdate.__struct_fields__
    assert str(SCHEMA.field("time").type) == "timestamp[us, tz=UTC]"
    assert SCHEMA.field("cov_enu").type.list_size == 10
    assert str(SCHEMA.field("class_probs").type) == "map<string, double>"


UPDATES = random_updates(3, 60)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=25)
@given(st.lists(st.integers(0, 60), max_size=5).map(lambda cuts: [0, *sorted(cuts), 60]))
def test_any_parts_give_the_same_table(tmp_path_factory: pytest.TempPathFactory, ending: str, cuts: list[int]) -> None:
    path = tmp_path_factory.mktemp("parts") / f"tracks{ending}"
    with open_track_writer(path) as writer:
        for start, stop in pairwise(cuts):
            writer.write(UPDATES[start:stop])
            writer.flush()
    writer.close()
    assert read(path).combine_chunks().equals(pa.Table.from_batches([record_batch(UPDATES)]))


@pytest.mark.parametrize("ending", ENDINGS)
def test_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(track_arrow, "ROW_GROUP", 25)
    path = tmp_path / f"tracks{ending}"
    with open_track_writer(path) as writer:
        writer.write(UPDATES[:10])
        writer.write(UPDATES[10:])
    table = read(path)
    assert table.combine_chunks().equals(pa.Table.from_batches([record_batch(UPDATES)]))
    sizes = [len(chunk) for chunk in table.column("seq").chunks]
    if ending == ".parquet":
        file = pq.ParquetFile(path)
        sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
    assert sizes == [35, 25]


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_updates(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tracks{ending}"
    with open_track_writer(path) as writer:
        writer.write(UPDATES[:0])
    assert read(path).equals(SCHEMA.empty_table())
    assert record_batch(UPDATES[:0]).num_rows == 0


TABLES = engine_tables(np.random.default_rng(0))


@given(
    st.dictionaries(st.text(), st.text(), max_size=4),
    st.dictionaries(st.text(), st.floats(0, 1), max_size=4),
    st.text(),
)
def test_any_text(ids: dict[str, str], classes: dict[str, float], look_id: str) -> None:
    updates = random_updates(1, 3, TABLES, look_batch([look_id], ["d"]))
    updates.rows["look"] = 0
    updates.rows["belief"]["attributes"] = [0, TABLES[0].number(ids, classes), 0]
    rows = rows_of(record_batch(updates))
    assert [row["ids"] for row in rows] == [{}, ids, {}]
    assert [row["class_probs"] for row in rows] == [{}, classes, {}]
    assert {e["look_id"] for row in rows for e in row["evidence"]} <= {look_id}


def test_what_is_not_finite_is_null() -> None:
    updates = random_updates(2, 3)
    updates.rows["state"]["a"] = np.nan
    batch = record_batch(updates)
    assert batch.column("speed_mps").null_count == 3
    assert all(v[0] is None for v in batch.column("v_enu_mps").to_pylist())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tracks{ending}"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError) as caught, open_track_writer(path) as writer:
        writer.write(UPDATES)
    assert caught.value.errno == errno.ENOSPC


def test_after_an_error_the_file_is_only_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track_arrow, "ROW_GROUP", 10)
    writer = TrackFile(tmp_path / "tracks.parquet")
    writer._writer.close()
    monkeypatch.setattr(writer, "_writer", FailingWriter())
    with pytest.raises(OSError, match="full"):
        writer.write(UPDATES)
    writer.close()
    writer.close()


class FailingWriter:
    """Fails to write, and must not be closed then."""

    def write_table(self, table: object) -> None:
        """Fail."""
        raise OSError(errno.ENOSPC, "full")

    def close(self) -> None:
        """Fail."""
        raise AssertionError("closed after an error")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "pyarrow":
            raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for module in ("track_arrow", "arrow_columns"):
        monkeypatch.delitem(sys.modules, f"apss_fusion.outputs.{module}")
    path = tmp_path / "tracks.parquet"
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'apss-fusion\[archive\]'"):
        open_track_writer(path)
    assert not path.exists()
    with open_track_writer(tmp_path / "tracks.ndjson") as writer:
        writer.write(UPDATES)
