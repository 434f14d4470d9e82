"""Spire's AIS messages: lines, arrays and pages, sentinels, static messages, and damaged ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from feeds_ais_tools import items_of, kinds, looks_of, plain, records
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds.ais_common import HIGH_ACCURACY_M2, KNOT_MPS, LONG_RANGE_M2, LOW_ACCURACY_M2
from apss_fusion.feeds.base import Ignored, Item, Reject, Used
from apss_fusion.feeds.spire_json import SpireAis
from apss_fusion.model import Detection, Look

#: As published in their answers to users.
EXAMPLE: dict[str, Any] = {
    "msg_type": 1,
    "course": 0.6,
    "collection_type": "satellite",
    "source": "FM50",
    "speed": 11.3,
    "latitude": -16.3036,
    "longitude": -104.58344,
    "status": 7,
    "timestamp": "2018-05-15T17:39:13+00:00",
    "mmsi": 431704520,
    "created_at": "2018-05-15T21:06:08.215187+00:00",
    "heading": 6,
    "rot": 0,
    "accuracy": 0,
    "maneuver": 0,
}
VOYAGE: dict[str, Any] = {
    "msg_type": 5,
    "mmsi": 431704520,
    "timestamp": "2018-05-15T17:30:00+00:00",
    "created_at": "2018-05-15T17:30:01+00:00",
    "imo": 9134270,
    "name": "EVER DIADEM",
    "call_sign": "3FOF8",
    "ship_and_cargo_type": 70,
    "length": 295,
    "width": 32,
    "draught": 122,
    "destination": "NEW YORK",
}


def items(*messages: dict[str, Any]) -> list[Item]:
    return items_of(SpireAis(), "\n".join(json.dumps(message) for message in messages))


def one(**changes: Any) -> Item:
    (item,) = items(EXAMPLE | changes)
    return item


def one_detection(**changes: Any) -> Detection:
    look = one(**changes)
    assert isinstance(look, Look), look
    return look.detections[0]


def test_the_published_example() -> None:
    look = one()
    assert isinstance(look, Look)
    assert look.source_id == "spire-ais"
    assert look.time == datetime(2018, 5, 15, 17, 39, 13, tzinfo=UTC)
    assert look.time_received == datetime(2018, 5, 15, 21, 6, 8, 215187, tzinfo=UTC)
    (detection,) = look.detections
    assert (detection.lat, detection.lon) == (-16.3036, -104.58344)
    assert detection.speed_mps == pytest.approx(11.3 * KNOT_MPS)
    assert (detection.course_deg, detection.heading_deg, detection.domain) == (0.6, 6.0, "SEA")
    assert (detection.ids, detection.cov_enu_m2) == ({"mmsi": "431704520"}, LOW_ACCURACY_M2)
    # It is not late by the source's own latency.
    assert (look.time_received - look.time).total_seconds() < (SpireAis.source.max_latency_s or 0)


def test_sentinels_are_unknown() -> None:
    detection = one_detection(speed=102.3, course=360.0, heading=511, accuracy=1)
    assert (detection.speed_mps, detection.course_deg, detection.heading_deg) == (None, None, None)
    assert detection.cov_enu_m2 == HIGH_ACCURACY_M2
    detection = one_detection(speed=None, course=None, heading=None, accuracy=None)
    assert (detection.speed_mps, detection.course_deg, detection.heading_deg) == (None, None, None)
    assert detection.cov_enu_m2 is None
    assert isinstance(one(latitude=91.0, longitude=181.0), Ignored)


def test_long_range_and_aircraft() -> None:
    far = one_detection(msg_type=27, speed=63, course=511, heading=None)
    assert (far.speed_mps, far.course_deg, far.cov_enu_m2) == (None, None, LONG_RANGE_M2)
    aircraft = one_detection(msg_type=9, mmsi=111232511, speed=300, altitude=1000)
    assert (aircraft.domain, aircraft.alt_m, aircraft.alt_datum) == ("AIR", 1000.0, "MSL")
    assert aircraft.speed_mps == pytest.approx(300 * KNOT_MPS)
    assert one_detection(msg_type=9, mmsi=111232511, speed=1023, altitude=4095).alt_m is None


def test_static_messages_are_remembered() -> None:
    found = items(EXAMPLE, VOYAGE, EXAMPLE)
    assert found[1] == Used()
    before, after = (look.detections[0] for look in looks_of(found))
    assert before.ids == {"mmsi": "431704520"}
    assert after.ids == {"mmsi": "431704520", "imo": "9134270", "callsign": "3FOF8", "name": "EVER DIADEM"}
    assert after.class_probs == {"cargo": 0.95, "other": 0.05}
    assert (after.length_m, after.width_m) == (295.0, 32.0)
    sides = {"msg_type": 24, "mmsi": 431704520, "dimensions": {"a": 10, "b": 5, "c": 2, "d": 3.0}}
    detection = looks_of(items(sides, EXAMPLE))[0].detections[0]
    assert (detection.length_m, detection.width_m) == (15.0, 5.0)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"msg_type": 4}, Ignored),
        ({"msg_type": 21}, Ignored),
        ({"mmsi": 992351234}, Ignored),
        ({"mmsi": 2320001}, Ignored),
        ({"msg_type": 5, "mmsi": 2320001}, Ignored),
        ({"mmsi": 970123456, "status": 15}, Ignored),
        ({"mmsi": 970123456, "status": 14}, Look),
        ({"mmsi": "431704520"}, Look),
        ({"msg_type": 19}, Look),
        ({"created_at": None}, Look),
    ],
)
def test_kinds_of_messages(changes: dict[str, Any], kind: type) -> None:
    assert isinstance(one(**changes), kind)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mmsi": 0}, "mmsi"),
        ({"mmsi": "x"}, "mmsi"),
        ({"mmsi": None}, "mmsi"),
        ({"msg_type": 0}, "msg_type"),
        ({"msg_type": "1"}, "msg_type"),
        ({"latitude": None}, "latitude"),
        ({"longitude": None}, "longitude"),
        ({"latitude": "north"}, "latitude"),
        ({"latitude": -90.5}, "latitude"),
        ({"longitude": 180.5}, "longitude"),
        ({"timestamp": None}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"created_at": "later"}, "created_at"),
        ({"speed": "fast"}, "speed"),
    ],
)
def test_dead_letters(changes: dict[str, Any], field: str) -> None:
    reject = one(**changes)
    assert isinstance(reject, Reject), reject
    assert (reject.field, reject.line) == (field, 1)


def test_lines_arrays_and_pages_are_the_same() -> None:
    messages = [EXAMPLE, VOYAGE, EXAMPLE | {"latitude": 10.0}]
    expected = items(*messages)
    assert kinds(expected) == {"Look": 2, "Used": 1}
    page = {"paging": {"after": "x", "total": 3}, "data": messages}
    for text in (
        json.dumps(messages),
        json.dumps(messages, indent=2),
        json.dumps(page),
        json.dumps(page, indent=2),
        json.dumps({"data": messages[:2]}) + "\n" + json.dumps({"data": messages[2:]}) + "\n",
        "\ufeff\r\n" + "\r\n\r\n".join(json.dumps(message) for message in messages),
    ):
        assert SpireAis.recognises(text.encode()), text
        assert items_of(SpireAis(), text) == expected


def test_the_same_message_is_the_same_look_by_any_delivery() -> None:
    first, second, other = looks_of(
        items(EXAMPLE, EXAMPLE | {"created_at": "2018-05-16T00:00:00+00:00"}, EXAMPLE | {"longitude": 5})
    )
    assert first.look_id == second.look_id != other.look_id


def test_damaged_documents() -> None:
    text = json.dumps([EXAMPLE, EXAMPLE | {"latitude": 1.0}])
    assert kinds(items_of(SpireAis(), text[:-20])) == {"Look": 1, "Reject": 1}
    assert kinds(items_of(SpireAis(), "[1, null, []]")) == {"Reject": 3}
    assert items_of(SpireAis(), "[]") == items_of(SpireAis(), "") == items_of(SpireAis(), '{"data": []}') == []
    lines = json.dumps(EXAMPLE) + '\n{"msg_type": 1, NaN}\nnoise\n[1]\n' + json.dumps(EXAMPLE)[:-1] + "\n\n"
    assert kinds(items_of(SpireAis(), lines)) == {"Look": 1, "Reject": 4}


def test_long_lines() -> None:
    found = items_of(SpireAis(), json.dumps(EXAMPLE) + "\n" + "x" * 5000 + "\n" + "y" * (9 * 2**20))
    assert kinds(found) == {"Look": 1, "Reject": 2}
    assert isinstance(found[1], Reject)
    assert isinstance(found[1].record, bytes)
    assert len(found[1].record) == 4096


@given(st.lists(st.one_of(st.binary(max_size=30), st.just(json.dumps(EXAMPLE).encode())), min_size=1, max_size=10))
def test_noise_never_raises_and_adds_up(lines: list[bytes]) -> None:
    data = b"{}\n" + b"\n".join(line.replace(b"\n", b"").replace(b"\r", b"") for line in lines)
    assert records(items_of(SpireAis(), data)) == sum(bool(line.strip()) for line in data.split(b"\n"))


@given(st.integers(0, 400), st.binary(max_size=4), st.integers(0, 4), st.booleans())
def test_damaged_messages_never_raise(place: int, put: bytes, drop: int, array: bool) -> None:
    text = json.dumps([EXAMPLE, VOYAGE, EXAMPLE] if array else EXAMPLE).encode()
    for item in items_of(SpireAis(), text[:place] + put + text[place + drop :]):
        assert not isinstance(item, Look) or -90 <= item.detections[0].lat <= 90


@given(st.integers(0, 3))
def test_a_feed_cut_anywhere(cut: int) -> None:
    messages = [VOYAGE, EXAMPLE, VOYAGE | {"name": "OTHER"}, EXAMPLE]
    first, second = SpireAis(), SpireAis()
    found = items_of(first, "\n".join(map(json.dumps, messages[:cut])))
    second.restore(first.state())
    found += items_of(second, "\n".join(map(json.dumps, messages[cut:])))
    assert [plain(item) for item in found] == [plain(item) for item in items(*messages)]


def test_foreign_states_are_refused() -> None:
    SpireAis().restore(b"")
    for state in (b"\x00", b"nonsense", SpireAis().state().replace(b"version\x01", b"version\x63")):
        with pytest.raises(ValueError):
            SpireAis().restore(state)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[",
        b'{"msg_type":1,"mmsi":2',
        b'[{"timestamp":1599702342000,"icao24":"a3c6bd"}]',
        b'{"type": "FeatureCollection", "features": []}',
        b'"msg_type": 1, "mmsi": 2, "timestamp": 3',
        b"!AIVDM,1,1,,A,x",
    ],
)
def test_not_recognised(head: bytes) -> None:
    assert not SpireAis.recognises(head)


def test_recognised_wherever_the_head_is_cut() -> None:
    text = json.dumps(EXAMPLE).encode()
    named = max(text.index(key) + len(key) + 3 for key in (b"msg_type", b"mmsi", b"timestamp"))
    for cut in range(len(text)):
        assert SpireAis.recognises(text[:cut]) == (cut >= named - 1)
