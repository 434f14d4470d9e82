"""The JSON Schemas of `topics/schemas`: in step with the structs, valid, and true of what the structs write."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from msgspec import inspect

from apss_fusion.model import DeadLetter, Look, Picture, Source, TrackUpdate
from apss_fusion.model.schemas import FILES, main, schema

SCHEMAS = Path(__file__).parents[1] / "topics" / "schemas"
STRUCTS = sorted(FILES.values(), key=lambda struct: struct.__name__)

FOOTPRINT = {"type": "Polygon", "coordinates": [[[0, 50], [1, 50], [1, 51], [0, 50]]]}

# A track update as the documentation shows it.
TRACK_UPDATE = """
{"track_id": "0f4c", "seq": 7, "status": "CONFIRMED", "end_reason": null, "revised_from": null,
 "time": "2026-01-01T00:10:00.000000Z", "time_last_detection": "2026-01-01T00:10:00.000000Z", "domain": "SEA",
 "lat": 50.7712345, "lon": -1.2998765, "alt_m": null, "alt_sigma_m": null, "speed_mps": 6.21, "course_deg": 182.4,
 "v_enu_mps": [-0.26, -6.2, null], "cov_enu": [900.0, 12.0, 3.1, 0.0, 870.0, 0.2, 2.9, 0.05, 0.001, 0.06],
 "ellipse95": {"semi_major_m": 74.1, "semi_minor_m": 71.9, "orientation_deg": 71.0}, "existence_prob": 0.999,
 "ids": {"mmsi": "235012345"}, "class_probs": {"cargo": 0.9}, "length_m": 180.0, "width_m": 30.0, "n_detections": 41,
 "contributors": [{"source_id": "ais-nmea", "nation": null, "modality": "AIS", "n": 40,
                   "last": "2026-01-01T00:10:00.000000Z"}],
 "evidence": [{"look_id": "5d", "detection_id": "5d", "weight": 1.0}], "h3": "871958a4affffff",
 "flags": ["id_conflict"],
 "marking": {"classification": "UNCLASSIFIED", "releasable_to": ["LUX"], "caveats": []}}
"""


def values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type as msgspec describes it."""
    match kind:
        case inspect.StructType():
            fields = {field.name: values(field.type) for field in kind.fields}
            return st.builds(kind.cls, **fields)
        case inspect.UnionType():
            return st.one_of([values(member) for member in kind.types])
        case inspect.FloatType():
            low, high = (
                next((limit for limit in limits if limit is not None), None)
                for limits in ((kind.ge, kind.gt), (kind.le, kind.lt))
            )
            return st.floats(
                low,
                high,
                exclude_min=kind.gt is not None,
                exclude_max=kind.lt is not None,
                allow_nan=False,
                allow_infinity=False,
            )
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.DateTimeType():
            return st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
        case inspect.VarTupleType():
            return st.lists(values(kind.item_type), max_size=3).map(tuple)
        case inspect.TupleType():
            return st.tuples(*map(values, kind.item_types))
        case inspect.DictType(value_type=inspect.AnyType()):
            return st.just(FOOTPRINT)
        case inspect.DictType():
            return st.dictionaries(values(kind.key_type), values(kind.value_type), max_size=3)
    simple: dict[type, Callable[[], st.SearchStrategy[Any]]] = {
        inspect.NoneType: st.none,
        inspect.BoolType: st.booleans,
        inspect.StrType: st.text,
        inspect.IntType: lambda: st.integers(-(2**53), 2**53),
    }
    return simple[type(kind)]()


def test_every_file_is_in_step_with_its_struct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SCHEMAS.parents[1])
    assert main(["--check"]) == 0
    assert sorted(path.name for path in SCHEMAS.iterdir() if path.is_file()) == sorted(FILES)


def test_check_names_what_differs_and_writing_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(tmp_path / "new")]
    assert main([*folder, "--check"]) == 1
    assert not (tmp_path / "new").exists()
    assert main(folder) == 0
    assert main([*folder, "--check"]) == 0
    (tmp_path / "new" / "look.schema.json").write_text("{}\n")
    capsys.readouterr()
    assert main([*folder, "--check"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert "look.schema.json" in errors[0]
    assert main(folder) == 0
    for name in FILES:
        assert (tmp_path / "new" / name).read_bytes() == (SCHEMAS / name).read_bytes()


@pytest.mark.parametrize("struct", STRUCTS)
def test_a_schema_is_valid_and_says_what_it_is(struct: type[msgspec.Struct]) -> None:
    written = schema(struct)
    Draft202012Validator.check_schema(written)
    assert written["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert written["title"] == struct.__name__
    assert written["description"]
    assert set(written["properties"]) == {field.name for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize("struct", STRUCTS)
def test_what_a_struct_writes_is_valid_and_reads_back(struct: type[msgspec.Struct]) -> None:
    validator = Draft202012Validator(schema(struct), format_checker=Draft202012Validator.FORMAT_CHECKER)

    @settings(max_examples=40)
    @given(values(inspect.type_info(struct)))
    def check(value: msgspec.Struct) -> None:
        encoded = msgspec.json.encode(value)
        validator.validate(json.loads(encoded))
        assert msgspec.json.decode(encoded, type=struct) == value

    check()


def errors_of(struct: type[msgspec.Struct], record: dict[str, Any]) -> list[str]:
    return [error.json_path for error in Draft202012Validator(schema(struct)).iter_errors(record)]


def test_the_documented_track_update_is_valid() -> None:
    record = json.loads(TRACK_UPDATE)
    assert errors_of(TrackUpdate, record) == []
    update = msgspec.json.decode(TRACK_UPDATE, type=TrackUpdate)
    assert json.loads(msgspec.json.encode(update)) == record | {
        "alt_datum": None,
        "time": "2026-01-01T00:10:00Z",
        "time_last_detection": "2026-01-01T00:10:00Z",
        "contributors": [record["contributors"][0] | {"last": "2026-01-01T00:10:00Z"}],
    }


def test_the_smallest_records_are_valid() -> None:
    detection = {"detection_id": "d", "lat": 0, "lon": 180}
    assert errors_of(Look, {"look_id": "l", "source_id": "s", "time": "2026-01-01T00:00:00Z"}) == []
    look = {"look_id": "l", "source_id": "s", "time": "2026-01-01T00:00:00Z", "detections": [detection]}
    assert errors_of(Look, look | {"footprint": FOOTPRINT, "a_key_of_tomorrow": 1}) == []
    assert errors_of(Source, {"modality": "SAR"}) == []
    assert errors_of(DeadLetter, {"reason": "no latitude"}) == []
    assert errors_of(Picture, {"time": "2026-01-01T00:00:00Z", "tracks": []}) == []


@pytest.mark.parametrize(
    ("struct", "change", "path"),
    [
        (Look, {"time": None}, "$.time"),
        (Look, {"p_detect": 1.5}, "$.p_detect"),
        (Look, {"detections": [{"detection_id": "d", "lat": 90.5, "lon": 0}]}, "$.detections[0].lat"),
        (Look, {"detections": [{"detection_id": "d", "lat": 0}]}, "$.detections[0]"),
        (Source, {"modality": "SONAR"}, "$.modality"),
        (Source, {"modalities": "SAR"}, "$"),
        (TrackUpdate, {"status": "HOSTILE"}, "$.status"),
        (TrackUpdate, {"cov_enu": [1.0]}, "$.cov_enu"),
    ],
)
def test_wrong_records_are_told_from_right_ones(
    struct: type[msgspec.Struct], change: dict[str, Any], path: str
) -> None:
    right: dict[type, dict[str, Any]] = {
        Look: {"look_id": "l", "source_id": "s", "time": "2026-01-01T00:00:00Z"},
        Source: {"modality": "SAR"},
        TrackUpdate: json.loads(TRACK_UPDATE),
    }
    assert errors_of(struct, right[struct]) == []
    assert errors_of(struct, right[struct] | change) == [path]
