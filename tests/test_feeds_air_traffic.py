"""Trajectories of the library traffic: units, missing values, order, a recorded file."""

from __future__ import annotations

import gzip
import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import recorded
from hypothesis import given, settings
from test_feeds_air_common import (
    BrokenStream,
    altitude,
    check_items,
    decode,
    kinds,
    looks_of,
    mutated,
    records,
    speeds,
    unknown,
)

from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.traffic_json import Traffic
from apss_fusion.model import Detection, Look

USUAL = {
    "timestamp": 1599702342000, "altitude": 1050.0, "callsign": "N342WN", "geoaltitude": 1000.0, "groundspeed": 113.0,
    "icao24": "A3c6bd", "latitude": 47.0139312744, "longitude": -122.4367218018, "track": 224.2838400545,
    "vertical_rate": -64.0, "flight_id": "N342WN_014",
}  # fmt: skip


def document(*changes: dict[str, Any]) -> bytes:
    return json.dumps([USUAL | change for change in changes]).encode()


def only(change: dict[str, Any]) -> tuple[Look, Detection]:
    (look,) = decode(Traffic, document(change))
    assert isinstance(look, Look)
    (detection,) = look.detections
    return look, detection


def test_values() -> None:
    look, detection = only({})
    assert look.source_id == "traffic"
    assert look.time == datetime(2020, 9, 10, 1, 45, 42, tzinfo=UTC)
    assert unknown(look.time_received, look.footprint)
    assert (detection.lat, detection.lon) == (47.0139312744, -122.4367218018)
    assert altitude(detection) == (pytest.approx(320.04), "BARO")
    assert detection.speed_mps == pytest.approx(58.132, abs=1e-3)
    assert detection.course_deg == 224.2838400545
    assert detection.vertical_rate_mps == pytest.approx(-0.32512)
    assert detection.ids == {"icao24": "a3c6bd", "callsign": "N342WN"}
    assert detection.domain == "AIR"


@pytest.mark.parametrize("missing", [None, math.nan])
def test_unknown_is_none(missing: float | None) -> None:
    _, detection = only(dict.fromkeys(("groundspeed", "track", "vertical_rate", "callsign", "altitude"), missing))
    assert unknown(detection.speed_mps, detection.course_deg, detection.vertical_rate_mps)
    assert detection.ids == {"icao24": "a3c6bd"}
    assert altitude(detection) == (pytest.approx(304.8), "HAE")
    _, detection = only({"altitude": missing, "geoaltitude": missing})
    assert unknown(detection.alt_m, detection.alt_datum)
    assert only({"onground": True})[1].alt_m is None
    assert only({"track": 360.0})[1].course_deg == 0.0
    assert kinds(decode(Traffic, document({"latitude": missing}))) == {"no position": 1}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"timestamp": "2020-09-10"}, "timestamp"),
        ({"timestamp": 1599702342}, "timestamp"),
        ({"icao24": "x"}, "icao24"),
        ({"icao24": None}, "icao24"),
        ({"latitude": 91.0}, "latitude"),
        ({"longitude": "x"}, "longitude"),
        ({"altitude": 1e9}, "altitude"),
        ({"groundspeed": -1.0}, "groundspeed"),
        ({"track": 361.0}, "track"),
        ({"vertical_rate": "x"}, "vertical_rate"),
        ({"callsign": 5}, "callsign"),
    ],
)
def test_bad_elements(change: dict[str, Any], field: str) -> None:
    first, item, last = decode(Traffic, document({}, change, {"icao24": "000001"}))
    assert isinstance(first, Look)
    assert isinstance(last, Look)
    assert isinstance(item, Reject)
    assert (item.field, item.line, item.is_record) == (field, 2, True)


def test_elements_that_are_no_objects() -> None:
    assert kinds(decode(Traffic, b'[null, 5, [], "x", {}]')) == {"Reject": 5}
    assert kinds(decode(Traffic, b'{"a": 1}')) == {"Reject": 1}
    assert decode(Traffic, b"") == decode(Traffic, b"[]") == []


def test_same_content_same_look() -> None:
    one, two, other = looks_of(decode(Traffic, document({}, {}, {"groundspeed": 114.0})))
    assert one == two
    assert one.look_id != other.look_id


def test_elements_before_a_break_are_used() -> None:
    whole = document({}, {"icao24": "000001"}, {})
    items = decode(Traffic, whole[:-20])
    assert kinds(items) == {"Look": 2, "Reject": 1}
    assert items[:2] == decode(Traffic, whole)[:2]
    reader = Traffic().items(BrokenStream(whole[:-20]))
    assert [next(reader) for _ in range(3)] == items
    with pytest.raises(EOFError):
        next(reader)


def test_recognition() -> None:
    data = document({}, {})
    first = data.index(b"}")
    assert all(Traffic.recognises(data[:cut]) for cut in range(first, len(data)))
    assert Traffic.recognises(b"\xef\xbb\xbf\n" + data)
    assert not any(Traffic.recognises(data[:cut]) for cut in range(40))
    for other in (b"", b"[]", b"{}", b'[{"timestamp": 5, "latitude": 1, "longitude": 2}]', b"\x00\xff" * 99):
        assert not Traffic.recognises(other)


@settings(max_examples=150)
@given(data=mutated(document({}, {"altitude": None}, {"callsign": None})))
def test_mutated_documents_never_raise_and_add_up(data: bytes) -> None:
    items = decode(Traffic, data)
    check_items(items)
    try:
        elements = json.loads(data)
    except (ValueError, RecursionError):
        return
    assert records(items) == (len(elements) if isinstance(elements, list) else 1)


@pytest.mark.feeds
def test_recorded_trajectories() -> None:
    """9,955 positions of 186 flights of 45 aircraft in a week."""
    data = gzip.decompress(recorded("adsb/traffic_calfire.json.gz").read_bytes())
    assert Traffic.recognises(data[: 2**16])
    items = decode(Traffic, data)
    assert kinds(items) == {"Look": 9_955}
    check_items(items)
    looks = looks_of(items)
    assert len({look.look_id for look in looks}) == len(looks)
    # Nothing is late: the clock of arrivals runs ahead of a record by less than the source's latency.
    clock, behind = looks[0].time, 0.0
    for look in looks:
        clock = max(clock, look.time)
        behind = max(behind, (clock - look.time).total_seconds())
    assert 6 * 86_400 < behind < (Traffic.source.max_latency_s or 0.0)
    assert max(speed for seconds, speed, _ in speeds(looks) if seconds >= 5.0) < 350.0
