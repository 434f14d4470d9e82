"""Looks in the project's own form: strict where it can be, tolerant of bad detections, every defect named."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_feeds_air_common import BrokenStream, decode, kinds, looks_of, mutated, records

from apss_fusion.feeds.base import Reject, lines
from apss_fusion.feeds.looks_ndjson import Looks, footprint_defect
from apss_fusion.model import Detection, Ellipse, Look

SQUARE = {"type": "Polygon", "coordinates": [[[1.0, 2.0], [3.0, 2.0], [3.0, 4.0], [1.0, 4.0], [1.0, 2.0]]]}


def detection(**values: Any) -> dict[str, Any]:
    return {"detection_id": "d1", "lat": 50.5, "lon": -1.25} | values


def look(**values: Any) -> dict[str, Any]:
    usual = {"look_id": "l1", "source_id": "radar-7", "time": "2026-01-01T00:10:00Z", "detections": [detection()]}
    return usual | values


def text(*values: Any) -> str:
    return "".join((value if isinstance(value, str) else json.dumps(value)) + "\n" for value in values)


def only(*values: Any) -> Look:
    (item,) = decode(Looks, text(*values))
    assert isinstance(item, Look), item
    return item


def rejected(value: Any) -> Reject:
    """The reject of a line that is bad as a whole, between two good ones."""
    first, item, last = decode(Looks, text(look(), value, look()))
    assert isinstance(first, Look)
    assert isinstance(last, Look)
    assert isinstance(item, Reject)
    assert item.is_record
    assert item.line == 2
    return item


class TestGoodLooks:
    def test_the_fields(self) -> None:
        item = only(look())
        assert item == Look(
            look_id="l1",
            source_id="radar-7",
            time=datetime(2026, 1, 1, 0, 10, tzinfo=UTC),
            detections=(Detection(detection_id="d1", lat=50.5, lon=-1.25),),
        )

    def test_everything_at_once(self) -> None:
        full = Look(
            look_id="l1",
            source_id="s",
            time=datetime(2026, 1, 1, tzinfo=UTC),
            time_end=datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
            time_received=datetime(2026, 1, 1, 1, tzinfo=UTC),
            footprint=SQUARE,
            p_detect=0.9,
            clutter_per_km2=0.01,
            min_detectable_speed_mps=2.0,
            detections=(
                Detection(
                    detection_id="a",
                    lat=1.0,
                    lon=2.0,
                    time=datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC),
                    ellipse=Ellipse(30.0, 20.0, 45.0),
                    ids={"mmsi": "235012345"},
                    class_probs={"cargo": 0.9},
                    domain="SEA",
                ),
                Detection(detection_id="b", lat=1.0, lon=2.0, cov_enu_m2=(4.0, 1.0, 9.0)),
            ),
        )
        data = msgspec.json.encode(full)
        assert decode(Looks, data + b"\n") == [full]
        assert decode(Looks, b"\xef\xbb\xbf" + data + b"\r\n\r\n   \n" + data) == [full, full]

    def test_nothing_seen_is_a_look(self) -> None:
        assert only(look(detections=[], footprint=SQUARE)).detections == ()
        assert only({"look_id": "l", "source_id": "s", "time": "2026-01-01T00:00:00Z"}).detections == ()
        assert decode(Looks, b"") == decode(Looks, b"\n \n") == []

    def test_unknown_fields_are_passed_over(self) -> None:
        assert only(look(note="x", detections=[detection(note="y")])) == only(look())

    def test_other_zones_become_utc(self) -> None:
        item = only(
            look(
                time="2026-01-01T02:10:00+02:00",
                time_end="2026-01-01T02:10:01+02:00",
                time_received="2025-12-31T19:10:00-05:00",
                detections=[detection(time="2026-01-01T05:40:00+05:30")],
            )
        )
        moment = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
        assert item.time == item.time_received == item.detections[0].time == moment
        times = (item.time, item.time_end, item.time_received, item.detections[0].time)
        assert all(time is not None and time.tzinfo is UTC for time in times)

    @given(
        moment=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)),  # noqa: DTZ001
        offset=st.integers(-14 * 60, 14 * 60),
        lat=st.floats(-90, 90),
        lon=st.floats(-180, 180),
    )
    def test_written_looks_are_read_back(self, moment: datetime, offset: int, lat: float, lon: float) -> None:
        time = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
        written = Look(
            look_id="l", source_id="s", time=time, detections=(Detection(detection_id="d", lat=lat, lon=lon),)
        )
        (item,) = decode(Looks, msgspec.json.encode(written))
        assert isinstance(item, Look)
        assert item.time == time
        assert item.detections == written.detections


class TestBadLooks:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"look_id": None}, "look_id"),
            ({"look_id": 5}, "look_id"),
            ({"look_id": ""}, "look_id"),
            ({"source_id": ""}, "source_id"),
            ({"time": "2026-01-01T00:10:00"}, "time"),
            ({"time": 1767225600}, "time"),
            ({"time": "yesterday"}, "time"),
            ({"time": "2026-02-30T00:00:00Z"}, "time"),
            ({"time": "0001-01-01T00:00:00+14:00"}, "time"),
            ({"time_end": "2026-01-01T00:09:59Z"}, "time_end"),
            ({"time_end": "9999-12-31T23:59:59-14:00"}, "time_end"),
            ({"time_received": "2026-01-01"}, "time_received"),
            ({"time_received": "0001-01-01T00:00:00+14:00"}, "time_received"),
            ({"p_detect": 1.5}, "p_detect"),
            ({"p_detect": "high"}, "p_detect"),
            ({"p_detect": float("nan")}, "p_detect"),
            ({"clutter_per_km2": -1}, "clutter_per_km2"),
            ({"min_detectable_speed_mps": -1}, "min_detectable_speed_mps"),
            ({"footprint": "everywhere"}, "footprint"),
            ({"footprint": {"type": "Point", "coordinates": [1, 2]}}, "footprint"),
            ({"detections": None}, "detections"),
            ({"detections": {"d1": detection()}}, "detections"),
        ],
    )
    def test_the_field_is_named(self, changes: dict[str, Any], field: str) -> None:
        assert rejected(look(**changes)).field == field

    @pytest.mark.parametrize("missing", ["look_id", "source_id", "time"])
    def test_missing(self, missing: str) -> None:
        value = look()
        del value[missing]
        assert missing in rejected(value).reason

    @pytest.mark.parametrize(
        "line", ["{", "nonsense", "[]", "5", "null", '"look"', "[" * 100_000, '{"look_id": "\ud800"}']
    )
    def test_no_object(self, line: str) -> None:
        data = text(look()).encode() + line.encode("utf-8", "surrogatepass") + b"\n"
        good, item = decode(Looks, data)
        assert isinstance(good, Look)
        assert isinstance(item, Reject)
        assert item.is_record

    def test_a_bad_look_with_bad_detections_is_one_reject(self) -> None:
        item = rejected(look(time_end="2020-01-01T00:00:00Z", detections=[detection(lat=99), detection()]))
        assert item.field == "time_end"

    def test_a_line_that_is_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("apss_fusion.feeds.base.MAX_LINE_BYTES", 1000)
        items = decode(Looks, text(look(), look(note="x" * 200_000), look()))
        assert [type(item) for item in items] == [Look, Reject, Look]


class TestBadDetections:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"lat": 90.5}, "lat"),
            ({"lat": "50"}, "lat"),
            ({"lat": float("nan")}, "lat"),
            ({"lon": 180.5}, "lon"),
            ({"lon": None}, "lon"),
            ({"lon": float("-inf")}, "lon"),
            ({"detection_id": 7}, "detection_id"),
            ({"detection_id": ""}, "detection_id"),
            ({"time": "2026-01-01T00:10:00"}, "time"),
            ({"time": "0001-01-01T00:00:00+14:00"}, "time"),
            ({"ellipse": {"semi_major_m": 10, "orientation_deg": 5}}, "ellipse"),
            ({"ellipse": {"semi_major_m": -10, "semi_minor_m": 5, "orientation_deg": 5}}, "ellipse.semi_major_m"),
            ({"ellipse": {"semi_major_m": 10, "semi_minor_m": 50, "orientation_deg": 5}}, "ellipse.semi_minor_m"),
            (
                {"ellipse": {"semi_major_m": 10, "semi_minor_m": 5, "orientation_deg": 5, "probability": 1}},
                "ellipse.probability",
            ),
            ({"cov_enu_m2": [1, 0]}, "cov_enu_m2"),
            ({"cov_enu_m2": [1, 0, 0]}, "cov_enu_m2"),
            ({"cov_enu_m2": [-1, 0, -1]}, "cov_enu_m2"),
            ({"cov_enu_m2": [1, 2, 1]}, "cov_enu_m2"),
            ({"cov_enu_m2": [1, "x", 1]}, "cov_enu_m2[1]"),
            ({"alt_m": float("inf")}, "alt_m"),
            ({"alt_datum": "EGM"}, "alt_datum"),
            ({"alt_sigma_m": 0}, "alt_sigma_m"),
            ({"speed_mps": -1}, "speed_mps"),
            ({"speed_sigma_mps": 0}, "speed_sigma_mps"),
            ({"course_sigma_deg": -5}, "course_sigma_deg"),
            ({"domain": "SPACE"}, "domain"),
            ({"ids": {"mmsi": 235012345}}, "ids[...]"),
            ({"ids": ["235012345"]}, "ids"),
            ({"class_probs": {"cargo": 2}}, "class_probs[...]"),
            ({"length_m": 0}, "length_m"),
            ({"detection_prob": 1.1}, "detection_prob"),
        ],
    )
    def test_a_bad_one_is_rejected_alone(self, changes: dict[str, Any], field: str) -> None:
        bad = detection(detection_id="d2") | changes
        reject, item = decode(Looks, text(look(detections=[detection(), bad, detection(detection_id="d3")])))
        assert isinstance(reject, Reject)
        assert (reject.field, reject.is_record, reject.line) == (f"detections[1].{field}", False, 1)
        assert isinstance(item, Look)
        assert [d.detection_id for d in item.detections] == ["d1", "d3"]

    @pytest.mark.parametrize("bad", [None, 5, [], "d2"])
    def test_no_object(self, bad: Any) -> None:
        reject, item = decode(Looks, text(look(detections=[bad, detection()])))
        assert isinstance(reject, Reject)
        assert (reject.field, reject.is_record) == ("detections[0]", False)
        assert isinstance(item, Look)
        assert len(item.detections) == 1

    def test_missing_field(self) -> None:
        reject, item = decode(Looks, text(look(detections=[{"detection_id": "d", "lat": 5}])))
        assert isinstance(reject, Reject)
        assert "lon" in reject.reason
        assert isinstance(item, Look)
        assert item.detections == ()

    @pytest.mark.parametrize("token", ["1e999", "-1e999", "9" * 400, "NaN", "Infinity", '"\\ud800"'])
    def test_numbers_that_json_does_not_have(self, token: str) -> None:
        line = json.dumps(look(detections=[detection(detection_id="d0"), detection(alt_m=0.125)]))
        reject, item = decode(Looks, line.replace("0.125", token))
        assert isinstance(reject, Reject)
        assert (reject.is_record, reject.line) == (False, 1)
        assert reject.field is not None
        assert reject.field.startswith("detections[1]")
        assert isinstance(item, Look)
        assert len(item.detections) == 1

    def test_the_second_of_one_id_is_bad(self) -> None:
        ids = ["a", "b", "a", "c", "b"]
        *rejects, item = decode(
            Looks, text(look(detections=[detection(detection_id=i, alt_m=n) for n, i in enumerate(ids)]))
        )
        fields = [reject.field for reject in rejects if isinstance(reject, Reject) and not reject.is_record]
        assert fields == ["detections[2].detection_id", "detections[4].detection_id"]
        assert isinstance(item, Look)
        assert [(d.detection_id, d.alt_m) for d in item.detections] == [("a", 0.0), ("b", 1.0), ("c", 3.0)]

    def test_the_id_of_a_bad_one_is_not_taken(self) -> None:
        reject, item = decode(Looks, text(look(detections=[detection(lat=99), detection()])))
        assert isinstance(reject, Reject)
        assert isinstance(item, Look)
        assert len(item.detections) == 1


RING = SQUARE["coordinates"][0]


class TestFootprints:
    @pytest.mark.parametrize(
        "footprint",
        [
            SQUARE,
            SQUARE | {"bbox": [1, 2, 3, 4]},
            {"type": "Polygon", "coordinates": [RING, [[1.5, 2.5], [1.6, 2.5], [1.6, 2.6], [1.5, 2.5]]]},
            {"type": "Polygon", "coordinates": [[[1, 2, 5], [3, 2, 5], [3, 4, 5], [1, 2, 5]]]},
            {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, -90]]]},
            {"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"], SQUARE["coordinates"]]},
        ],
    )
    def test_good(self, footprint: dict[str, Any]) -> None:
        assert footprint_defect(footprint) is None
        assert only(look(footprint=footprint)).footprint == footprint

    @pytest.mark.parametrize(
        "footprint",
        [
            {},
            {"type": "Polygon"},
            {"type": "Polygon", "coordinates": None},
            {"type": "Polygon", "coordinates": []},
            {"type": "Polygon", "coordinates": [[]]},
            {"type": "Polygon", "coordinates": [RING[:3]]},
            {"type": "Polygon", "coordinates": [RING[:4]]},
            {"type": "Polygon", "coordinates": RING},
            {"type": "Polygon", "coordinates": [RING, RING[:2]]},
            {"type": "Polygon", "coordinates": [[[1, 2], [181, 2], [3, 4], [1, 2]]]},
            {"type": "Polygon", "coordinates": [[[1, 2], [3, 91], [3, 4], [1, 2]]]},
            {"type": "Polygon", "coordinates": [[[1, 2], [3, "2"], [3, 4], [1, 2]]]},
            {"type": "Polygon", "coordinates": [[[1, 2], [3, None], [3, 4], [1, 2]]]},
            {"type": "Polygon", "coordinates": [[[1, 2], [3, True], [3, 4], [1, 2]]]},
            {"type": "Polygon", "coordinates": [[[1, 2], [3], [3, 4], [1, 2]]]},
            {"type": "Polygon", "coordinates": [[[1, 2], "x", [3, 4], [1, 2]]]},
            {"type": "MultiPolygon", "coordinates": SQUARE["coordinates"]},
            {"type": "MultiPolygon", "coordinates": []},
            {"type": "MultiPolygon", "coordinates": [[]]},
            {"type": "LineString", "coordinates": RING},
            {"type": "Feature", "geometry": SQUARE},
        ],
    )
    def test_bad(self, footprint: dict[str, Any]) -> None:
        item = rejected(look(footprint=footprint))
        assert item.field == "footprint"
        assert item.reason == footprint_defect(footprint)

    def test_not_a_number(self) -> None:
        line = json.dumps(look(footprint=SQUARE)).replace("3.0", "NaN", 1)
        assert rejected(line).field == "footprint"


class TestRecognition:
    def test_cut_heads(self) -> None:
        data = text(look(), look()).encode()
        first = data.index(b"\n")
        assert all(Looks.recognises(data[:cut]) for cut in range(first, len(data)))
        assert Looks.recognises(b"\xef\xbb\xbf\n" + data)
        assert Looks.recognises(b"broken\n" + data)

    def test_a_first_line_longer_than_the_head(self) -> None:
        many = [detection(detection_id=f"d{n}") for n in range(5000)]
        for value in (look(detections=many), {"detections": many} | look(detections=many)):
            head = json.dumps(value).encode()[: 2**16]
            assert b"\n" not in head
            assert Looks.recognises(head) == (b'"source_id"' in head)

    def test_line_ends(self) -> None:
        assert Looks.recognises(text(look(), look()).replace("\n", "\r").encode())
        assert Looks.recognises(text(look(), look()).replace("\n", "\r\n").encode())

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "{}",
            "[]",
            '{"track_id": "t", "evidence": [{"look_id": "l"}], "contributors": [{"source_id": "s"}], "time": "2026"}',
            '{"time": "2026-01-01T00:00:00Z", "tracks": []}',
            '{"look_id": "l", "detection_id": "d", "weight": 1.0}',
            '{"features": [{"properties": {"look_id": "l", "source_id": "s", "time": "x"}}]}',
        ],
    )
    def test_others(self, line: str) -> None:
        assert not Looks.recognises(line.encode() + b"\n")
        assert not Looks.recognises(line.encode())


def test_what_was_good_before_a_fault_is_given() -> None:
    reader = Looks().items(BrokenStream(text(look(), look()).encode()))
    assert isinstance(next(reader), Look)
    assert isinstance(next(reader), Look)
    with pytest.raises(EOFError):
        next(reader)


FULL = look(
    time_end="2026-01-01T00:10:01Z",
    footprint=SQUARE,
    p_detect=0.5,
    detections=[
        detection(cov_enu_m2=[1, 0, 1], ids={"mmsi": "1"}),
        detection(detection_id="d2", ellipse={"semi_major_m": 10, "semi_minor_m": 5, "orientation_deg": 5}),
    ],
)


@settings(max_examples=300)
@given(data=mutated(text(look(), FULL, look()).encode()))
def test_mutated_lines_never_raise_and_add_up(data: bytes) -> None:
    items = decode(Looks, data)
    expected = sum(
        1 for _, line in lines(io.BytesIO(data)) if line is None or line.removeprefix(b"\xef\xbb\xbf").strip()
    )
    assert records(items) == expected
    for item in looks_of(items):
        # What is given is sound: written, it is read back by the strict decoder, and whole.
        assert decode(Looks, msgspec.json.encode(item)) == [item]
        assert kinds(decode(Looks, msgspec.json.encode(item))) == {"Look": 1}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(Look.__struct_fields__)), json_values, max_size=2),
    inner=st.dictionaries(st.sampled_from(sorted(Detection.__struct_fields__)), json_values, max_size=2),
)
def test_any_values_give_one_record(changes: dict[str, Any], inner: dict[str, Any]) -> None:
    items = decode(
        Looks, json.dumps(FULL | {"detections": [detection(), detection(detection_id="x") | inner]} | changes)
    )
    assert records(items) == 1
    for item in items:
        if isinstance(item, Reject):
            assert item.is_record or (item.field or "").startswith("detections[")
