"""Looks in Parquet and Arrow files: written, read back to batches, and read from files of other programs."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_looks import OTHER, SQUARE, T0, detection, encoder, look, looks, report
from test_look_columns import Outcome, plainly, slowly

from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.reading import InputError
from apss_fusion.model import Ellipse, Look
from apss_fusion.replay.blocks import LookBlock
from apss_fusion.replay.wkb import geojson_of, wkb_of
from apss_fusion.tracking.batch import LookBatch

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from apss_fusion.replay.look_file import SCHEMA, LookFile, record_batch  # noqa: E402
from apss_fusion.replay.looks_arrow import read_look_table  # noqa: E402


def outcome(blocks: list[LookBlock]) -> Outcome:
    rejects = [r for block in blocks for r in block.rejects]
    return LookBatch.concat([b.batch for b in blocks]), rejects, [n for b in blocks for n in b.numbers.tolist()]


def read(path: Path) -> Outcome:
    return outcome(list(read_look_table(path, encoder())))


def bare(rejects: list[Reject]) -> list[Reject]:
    """Without the text of the record, which is spelled otherwise."""
    return [msgspec.structs.replace(r, record=None) for r in rejects]


def write(path: Path, table: Any) -> Path:
    if path.suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write(table)
    else:
        pq.write_table(pa.table(table), path)
    return path


MANY = [
    *(report(k) for k in range(20)),
    look(footprint=SQUARE, time_end=T0 + timedelta(seconds=9), min_detectable_speed_mps=2.0),
    look(
        detection(
            ellipse=Ellipse(30.0, 20.0, 10.0),
            time=T0,
            class_probs={"cargo": 0.5, "tug": 0.25},
            ids={"name": "Ærø", "mmsi": "1"},
            domain="GROUND",
            alt_m=1.0,
            alt_datum="HAE",
        ),
        detection(detection_id="e", cov_enu_m2=(3.0, 1.0, 2.0), ids={}, class_probs={}),
        footprint={"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"], OTHER["coordinates"]]},
        p_detect=0.0,
    ),
    look(source_id="new", look_id="船"),
]


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
@pytest.mark.parametrize("block", [1, 7, 1 << 14])
def test_looks_come_back(tmp_path: Path, name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apss_fusion.replay.looks_arrow.BLOCK_DETECTIONS", block)
    monkeypatch.setattr("apss_fusion.replay.look_file.ROW_GROUP", 9)
    with LookFile(tmp_path / name) as file:
        file.write(MANY[:5])
        file.write(iter(MANY[5:]))
    batch, rejects, numbers = read(tmp_path / name)
    assert rejects == [] and numbers == list(range(1, len(MANY) + 1))
    assert plainly(batch) == plainly(encoder().encode(MANY))
    if block == 1:
        assert len(list(read_look_table(tmp_path / name, encoder()))) > 10


@settings(max_examples=100)
@given(given_looks=st.lists(looks(), max_size=5))
def test_any_looks_are_read_as_their_lines_are(
    tmp_path_factory: pytest.TempPathFactory, given_looks: list[Look]
) -> None:
    kept = [
        k if k.footprint in (None, SQUARE, OTHER) else msgspec.structs.replace(k, footprint=None) for k in given_looks
    ]
    path = tmp_path_factory.mktemp("any") / "x.arrow"
    write(path, record_batch(kept))
    got = read(path)
    expected = slowly(b"\n".join(map(msgspec.json.encode, kept)))
    assert plainly(got[0]) == plainly(expected[0])
    assert bare(got[1]) == bare(expected[1])
    assert got[2] == expected[2]


def test_an_empty_file_of_looks(tmp_path: Path) -> None:
    for name in ("x.parquet", "x.arrow"):
        LookFile(tmp_path / name).close()
        assert len(read(tmp_path / name)[0]) == 0


def test_a_record_is_given_as_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", record_batch(MANY))
    (block,) = read_look_table(path, encoder())
    for i, expected in enumerate(MANY):
        got = msgspec.json.decode(block.record(i), type=Look)
        if expected.footprint is not None:
            floats = geojson_of(wkb_of(expected.footprint))
            expected = msgspec.structs.replace(expected, footprint=floats)
        assert got == expected


# ---------------------------------------------------------------- files of other programs


def test_other_types_that_hold_the_same(tmp_path: Path) -> None:
    seen = pa.struct(
        [
            ("lon", pa.float32()),
            ("detection_id", pa.large_string()),
            ("lat", pa.float32()),
            ("remark", pa.string()),
            ("domain", pa.dictionary(pa.int8(), pa.string())),
            ("time", pa.timestamp("ns", tz="Europe/Oslo")),
            ("ids", pa.map_(pa.string(), pa.string())),
        ]
    )
    one = {
        "lat": 50.5,
        "lon": 0.5,
        "detection_id": "d",
        "remark": "?",
        "domain": "SEA",
        "time": T0,
        "ids": [("mmsi", "1")],
    }
    table = pa.record_batch(
        {
            "source_id": pa.array(["sar", "sar"]).dictionary_encode(),
            "detections": pa.array([[one], [one | {"domain": None, "ids": None}]], pa.large_list(seen)),
            "time": pa.array([T0, T0], pa.timestamp("ms", tz="UTC")),
            "look_id": pa.array(["l", "l"], pa.large_string()),
            "cloud_cover": pa.array([0.5, 0.5]),
            "p_detect": pa.array([1, 0], pa.int64()),
        }
    )
    expected = [
        look(detection(domain="SEA", time=T0, ids={"mmsi": "1"}), p_detect=1.0),
        look(detection(time=T0), p_detect=0.0),
    ]
    for name in ("x.parquet", "x.arrow"):
        batch, rejects, _ = read(write(tmp_path / name, table))
        assert rejects == [] and plainly(batch) == plainly(encoder().encode(expected))


def test_looks_without_detections_need_no_such_column(tmp_path: Path) -> None:
    table = pa.record_batch({"look_id": ["l"], "source_id": ["sar"], "time": pa.array([T0], pa.timestamp("s", "UTC"))})
    batch, rejects, _ = read(write(tmp_path / "x.parquet", table))
    assert rejects == [] and plainly(batch) == plainly(encoder().encode([look()]))


def changed(rows: list[dict[str, Any]]) -> Any:
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def row(**fields: Any) -> dict[str, Any]:
    return {"look_id": "l", "source_id": "sar", "time": T0, "detections": []} | fields


def seen_row(**fields: Any) -> dict[str, Any]:
    return row(detections=[{"detection_id": "d", "lat": 1.0, "lon": 2.0, "domain": "SEA"} | fields])


@pytest.mark.parametrize(
    ("bad", "field", "is_record"),
    [
        (row(look_id=None), "look_id", True),
        (row(look_id=""), "look_id", True),
        (row(source_id=None), "source_id", True),
        (row(source_id=""), "source_id", True),
        (row(time=None), "time", True),
        (row(time_end=T0 - timedelta(seconds=1)), "time_end", True),
        (row(p_detect=2.0), "p_detect", True),
        (row(footprint=b""), "footprint", True),
        (row(footprint=b"\x01\x01"), "footprint", True),
        (row(footprint=wkb_of(SQUARE) + b"x"), "footprint", True),
        (row(footprint=wkb_of({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]})), "footprint", True),
        (row(detections=None), "detections", True),
        (seen_row(detection_id=None), "detections[0].detection_id", False),
        (seen_row(detection_id=""), "detections[0].detection_id", False),
        (seen_row(lat=None), "detections[0].lat", False),
        (seen_row(lat=91.0), "detections[0].lat", False),
        (seen_row(domain="LAKE"), "detections[0].domain", False),
        (seen_row(alt_datum="GEOID"), "detections[0].alt_datum", False),
        (seen_row(ids=[("mmsi", None)]), "detections[0].ids[...]", False),
        (seen_row(class_probs=[("cargo", 1.5)]), "detections[0].class_probs[...]", False),
        (seen_row(class_probs=[("cargo", None)]), "detections[0].class_probs[...]", False),
        (seen_row(cov_enu_m2=[1.0, 2.0, 1.0]), "detections[0].cov_enu_m2", False),
        (
            seen_row(ellipse={"semi_major_m": 1.0, "semi_minor_m": 1.0, "orientation_deg": 0.0}),
            "detections[0].ellipse",
            0,
        ),
        (row(detections=[None]), "detections[0]", False),
    ],
)
def test_a_bad_row_is_named_and_its_neighbours_are_not_touched(
    tmp_path: Path, bad: dict[str, Any], field: str, is_record: bool
) -> None:
    path = write(tmp_path / "x.arrow", changed([row(look_id="a"), bad, row(look_id="b")]))
    batch, rejects, numbers = read(path)
    assert (batch.look_id(0), batch.look_id(len(batch) - 1)) == ("a", "b")
    assert len(rejects) == 1 and (rejects[0].line, rejects[0].is_record) == (2, bool(is_record))
    assert (rejects[0].field or "").startswith(field) and rejects[0].reason and rejects[0].record
    assert numbers == ([1, 3] if is_record else [1, 2, 3])


def test_a_domain_that_is_not_known_is_unknown(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", changed([seen_row(domain=None), seen_row(domain=None, lat=95.0)]))
    batch, rejects, _ = read(path)
    assert plainly(batch.take(0, 1)) == plainly(encoder().encode([look(detection(lat=1.0, lon=2.0))]))
    assert [r.field for r in rejects] == ["detections[0].lat"]


def test_the_last_of_equal_keys_of_a_map_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", changed([seen_row(ids=[("mmsi", "1"), ("mmsi", "2")])]))
    e = encoder()
    (block,) = read_look_table(path, e)
    assert e.attributes.ids(int(block.batch.detections["attributes"][0])) == {"mmsi": "2"}


def test_maps_that_are_spelled_alike_are_not_confused(tmp_path: Path) -> None:
    ids: list[Any] = [[("a", "b"), ("c", "d")], [("a", "bc"), ("", "d")], [("ab", "c"), ("d", "")], [("a", "")], None]
    classes: list[Any] = [None, [("a", 0.5)], [("a", 0.25)], [("a", 0.0)], []]
    pairs = [(i, c) for i in ids for c in classes]
    path = write(tmp_path / "x.arrow", changed([seen_row(ids=i, class_probs=c) for i, c in pairs]))
    e = encoder()
    (block,) = read_look_table(path, e)
    numbers = block.batch.detections["attributes"].tolist()
    assert [(e.attributes.ids(n), e.attributes.classes(n)) for n in numbers] == [
        (dict(i or ()), dict(c or ())) for i, c in pairs
    ]


def test_a_part_of_a_larger_table_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.arrow", record_batch(MANY).slice(15, 7))
    assert plainly(read(path)[0]) == plainly(encoder().encode(MANY[15:22]))


# ---------------------------------------------------------------- what is no such file


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"look_id": ["l"], "source_id": ["s"]}, "time"),
        ({"a": [1]}, "look_id"),
        ({"look_id": ["l"], "source_id": ["s"], "time": [datetime(2026, 1, 1)]}, "column time: a time without a zone"),  # noqa: DTZ001
        ({"look_id": ["l"], "source_id": ["s"], "time": ["noon"]}, "column time"),
        ({"look_id": ["l"], "source_id": ["s"], "time": [T0], "detections": [3]}, "column detections"),
        ({"look_id": ["l"], "source_id": ["s"], "time": [T0], "detections": [[{"lat": "x"}]]}, "column detections.lat"),
        ({"look_id": ["l"], "source_id": ["s"], "time": [T0], "p_detect": ["much"]}, "column p_detect"),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path: Path, table: dict[str, Any], words: str) -> None:
    path = write(tmp_path / "x.arrow", pa.record_batch({k: pa.array(v) for k, v in table.items()}))
    with pytest.raises(InputError) as error:
        read(path)
    assert error.value.status == 2 and words in error.value.reason and str(error.value).startswith(str(path))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"ARROW1", b"ARROW1" * 9, b"PAR1" + bytes(90), b"{}\n" * 30])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read(path)
    assert error.value.status == 2 and "\n" not in str(error.value)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.parquet", tmp_path):
        with pytest.raises(InputError) as error:
            read(path)
        assert error.value.status == 2


def test_a_damaged_row_group_ends_the_reading_after_what_was_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apss_fusion.replay.look_file.ROW_GROUP", 400)
    monkeypatch.setattr("apss_fusion.replay.looks_arrow.BLOCK_DETECTIONS", 100)
    path = tmp_path / "x.arrow"
    with LookFile(path) as file:
        file.write([report(k) for k in range(1200)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(4000) + whole[len(whole) // 2 + 4000 :])
    blocks: list[LookBlock] = []
    with pytest.raises(InputError) as error:
        for block in read_look_table(path, encoder()):
            blocks.append(block)
    assert error.value.status == 1
    assert blocks and outcome(blocks)[2] == list(range(1, 1 + sum(len(b.batch) for b in blocks)))


def test_a_full_disk_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError), LookFile("/dev/full") as file:
        file.write(MANY)


def test_a_footprint_that_is_none_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Point"), LookFile(tmp_path / "x.parquet") as file:
        file.write([look(footprint={"type": "Point", "coordinates": [0, 0]})])
        file.close()


# ---------------------------------------------------------------- well-known binary


RINGS = st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)).map(list), max_size=6)
POLYGONS = st.lists(RINGS, max_size=3)


@given(POLYGONS)
def test_a_polygon_comes_back(rings: list[Any]) -> None:
    shape = {"type": "Polygon", "coordinates": rings}
    assert geojson_of(wkb_of(shape)) == shape


@given(st.lists(POLYGONS, max_size=3))
def test_so_do_many(polygons: list[Any]) -> None:
    shape = {"type": "MultiPolygon", "coordinates": polygons}
    assert geojson_of(wkb_of(shape)) == shape


def test_golden_wkb() -> None:
    # From the examples of PostGIS' ST_AsBinary, ST_AsEWKB: POLYGON((0 0,0 1,1 1,1 0,0 0)).
    square = {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]]}
    one = "000000000000f03f"
    none = "0000000000000000"
    points = none * 2 + none + one + one + one + one + none + none * 2
    little = bytes.fromhex("01" + "03000000" + "01000000" + "05000000" + points)
    assert wkb_of(square) == little
    assert geojson_of(little) == square
    assert geojson_of(bytes.fromhex("01" + "03000020" + "e6100000" + "01000000" + "05000000" + points)) == square
    big = struct.pack(">BIII10d", 0, 3, 1, 5, *[x for p in square["coordinates"][0] for x in p])
    assert geojson_of(big) == square
    for code in (1003, 0x80000003):
        high = struct.pack("<BIII15d", 1, code, 1, 5, *[x for p in square["coordinates"][0] for x in (*p, 7)])
        assert geojson_of(high) == square


@given(POLYGONS, st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_damaged_wkb_is_refused_or_read_but_nothing_else(rings: list[Any], at: int, other: bytes) -> None:
    wkb = bytearray(wkb_of({"type": "Polygon", "coordinates": rings}))
    wkb[at : at + len(other)] = other
    for data in (bytes(wkb), bytes(wkb[:at])):
        try:
            assert geojson_of(data)["type"] in ("Polygon", "MultiPolygon")
        except ValueError as error:
            assert "\n" not in str(error)


def test_altitudes_are_left_out() -> None:
    ring = [[0.0, 0.0, 9.0], [1.0, 0.0, 9.0], [1.0, 1.0, 9.0], [0.0, 0.0, 9.0]]
    flat = [p[:2] for p in ring]
    assert geojson_of(wkb_of({"type": "Polygon", "coordinates": [ring]}))["coordinates"] == [flat]


@pytest.mark.parametrize(
    "shape",
    [{}, {"type": "Polygon"}, {"type": "Polygon", "coordinates": 3}, {"type": "Polygon", "coordinates": [[[1]]]}],
)
def test_what_is_no_polygon_has_no_wkb(shape: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        wkb_of(shape)


def test_the_schema_has_the_fields_of_the_model() -> None:
    fields = {f.name for f in msgspec.structs.fields(Look)}
    assert set(SCHEMA.names) == fields
    own = {f.name for f in msgspec.structs.fields(type(detection()))}
    assert set(SCHEMA.field("detections").type.value_type.names) == own
    assert np.dtype(np.float64) == SCHEMA.field("p_detect").type.to_pandas_dtype()
