"""OpenSky state vectors: SI units, repeated positions, unknown altitudes, the API's arrays, a recorded hour's start."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import recorded
from hypothesis import given, settings
from hypothesis import strategies as st
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

from apss_fusion.feeds import opensky_csv
from apss_fusion.feeds.base import Reject, lines
from apss_fusion.feeds.opensky_csv import OpenSky
from apss_fusion.model import Detection, Look

HEADER = (
    "time,icao24,lat,lon,velocity,heading,vertrate,callsign,onground,alert,spi,squawk,baroaltitude,geoaltitude,"
    "lastposupdate,lastcontact"
)
USUAL = {
    "time": "1626098410", "icao24": "407A19", "lat": "53.4576", "lon": "-4.0532", "velocity": "142.8",
    "heading": "83.79", "vertrate": "-3.2512", "callsign": "GMDSI   ", "onground": "False", "alert": "False",
    "spi": "False", "squawk": "5226.0", "baroaltitude": "6050.28", "geoaltitude": "6195.06",
    "lastposupdate": "1626098409.76", "lastcontact": "1626098409.994",
}  # fmt: skip


def rows(*changes: dict[str, str], header: str = HEADER) -> str:
    return "\n".join([header, *(",".join((USUAL | change).values()) for change in changes)]) + "\n"


def only(change: dict[str, str]) -> tuple[Look, Detection]:
    (look,) = decode(OpenSky, rows(change))
    assert isinstance(look, Look)
    (detection,) = look.detections
    return look, detection


def test_values() -> None:
    look, detection = only({})
    assert look.source_id == "opensky"
    assert look.time == datetime(2021, 7, 12, 14, 0, 9, 760_000, UTC)
    assert look.time_received == datetime(2021, 7, 12, 14, 0, 10, tzinfo=UTC)
    assert unknown(look.footprint, look.p_detect)
    assert (detection.lat, detection.lon) == (53.4576, -4.0532)
    assert altitude(detection) == (6050.28, "BARO")
    assert (detection.speed_mps, detection.course_deg, detection.vertical_rate_mps) == (142.8, 83.79, -3.2512)
    assert detection.ids == {"icao24": "407a19", "callsign": "GMDSI"}
    assert detection.domain == "AIR"
    assert unknown(detection.cov_enu_m2, detection.ellipse, detection.heading_deg)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"baroaltitude": ""}, (6195.06, "HAE")),
        ({"baroaltitude": "0.0"}, (6195.06, "HAE")),
        ({"baroaltitude": "nan"}, (6195.06, "HAE")),
        ({"baroaltitude": "", "geoaltitude": "0.0"}, (None, None)),
        ({"baroaltitude": "", "geoaltitude": ""}, (None, None)),
        ({"baroaltitude": "-30.48"}, (-30.48, "BARO")),
        ({"onground": "True"}, (None, None)),
        ({"onground": "true"}, (None, None)),
    ],
)
def test_altitudes(change: dict[str, str], expected: tuple[float | None, str | None]) -> None:
    _, detection = only(change)
    assert altitude(detection) == expected
    assert detection.domain == "AIR"


def test_unknown_is_none() -> None:
    _, detection = only({"velocity": "", "heading": "NULL", "vertrate": "nan", "callsign": ""})
    assert unknown(detection.speed_mps, detection.course_deg, detection.vertical_rate_mps)
    assert detection.ids == {"icao24": "407a19"}
    assert only({"heading": "360.0"})[1].course_deg == 0.0
    assert only({"vertrate": "0.0", "velocity": "0"})[1].vertical_rate_mps == 0.0


class TestRepeats:
    def test_a_repeated_position_is_no_observation(self) -> None:
        items = decode(
            OpenSky,
            rows(
                {}, {"time": "1626098420"}, {"time": "1626098430", "velocity": "150.0"},
                {"time": "1626098440", "lastposupdate": "1626098439.5"}, {"time": "1626098450", "icao24": "407a20"},
            ),
        )  # fmt: skip
        assert kinds(items) == {"Look": 3, "position repeated": 2}

    def test_also_in_the_next_part(self) -> None:
        first, second = OpenSky(), OpenSky()
        decode(first, rows({}))
        second.restore(first.state())
        assert kinds(decode(second, rows({"time": "1626098420"}))) == {"position repeated": 1}
        second.restore(b"")
        assert kinds(decode(second, rows({"time": "1626098420"}))) == {"Look": 1}

    def test_without_memory_it_has_the_same_id(self) -> None:
        looks = [only(change)[0] for change in ({}, {"time": "1626098420", "velocity": "150.0"}, {"lat": "53.4577"})]
        assert looks[0].look_id == looks[1].look_id != looks[2].look_id

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opensky_csv, "MAX_AIRCRAFT", 2)
        several = [{"icao24": f"00000{n}"} for n in (1, 2, 3, 4, 4, 1)]
        assert kinds(decode(OpenSky, rows(*several))) == {"Look": 5, "position repeated": 1}


class TestFiles:
    def test_columns_by_name(self) -> None:
        text = "lastposupdate,lon,lat,icao24,time,more\n1626098409.76,-4.0532,53.4576,407a19,1626098410,x\n"
        (item,) = decode(OpenSky, text)
        assert isinstance(item, Look)
        assert item.look_id == only({})[0].look_id

    def test_quotes_blank_lines_line_ends_and_a_second_header(self) -> None:
        text = rows({"callsign": '"GMDSI"'}) + "\n" + rows({"icao24": "407a20"})
        data = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
        assert kinds(decode(OpenSky, data)) == {"Look": 2}
        detection = looks_of(decode(OpenSky, data))[0].detections[0]
        assert detection.ids == {"icao24": "407a19", "callsign": "GMDSI"}

    def test_what_is_no_csv(self) -> None:
        assert kinds(decode(OpenSky, rows({}) + '1,"x\n"' + "y" * 200_000 + "\n")) == {"Look": 1, "Reject": 2}
        assert not OpenSky.recognises(b'\r"')

    def test_a_part_without_header(self) -> None:
        assert decode(OpenSky, rows({}).split("\n", 1)[1]) == decode(OpenSky, rows({}))
        assert kinds(decode(OpenSky, "1,2,3\n4,5\n")) == {"Reject": 2}

    def test_rows_that_are_too_short_or_long(self) -> None:
        items = decode(OpenSky, rows({}) + "1626098410,407a19\n" + rows({}).split("\n")[1] + ",1\n")
        assert kinds(items) == {"Look": 1, "Reject": 2}
        assert [item.line for item in items if isinstance(item, Reject)] == [3, 4]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"icao24": "xyz"}, "icao24"),
            ({"icao24": ""}, "icao24"),
            ({"icao24": "~407a19"}, "icao24"),
            ({"time": ""}, "time"),
            ({"time": "noon"}, "time"),
            ({"time": "1626098410000"}, "time"),
            ({"lat": "95"}, "lat"),
            ({"lon": "195"}, "lon"),
            ({"lon": "west"}, "lon"),
            ({"lat": "inf"}, "lat"),
            ({"lastposupdate": ""}, "lastposupdate"),
            ({"lastposupdate": "1"}, "lastposupdate"),
            ({"velocity": "-1"}, "velocity"),
            ({"velocity": "1e9"}, "velocity"),
            ({"heading": "400"}, "heading"),
            ({"vertrate": "x"}, "vertrate"),
            ({"baroaltitude": "1e6"}, "baroaltitude"),
            ({"onground": "maybe"}, "onground"),
        ],
    )
    def test_bad_values(self, change: dict[str, str], field: str) -> None:
        first, item, last = decode(OpenSky, rows({"icao24": "000001"}, change, {"icao24": "000002"}))
        assert isinstance(first, Look)
        assert isinstance(last, Look)
        assert isinstance(item, Reject)
        assert (item.field, item.line, item.is_record) == (field, 3, True)

    def test_no_position_is_ignored(self) -> None:
        assert kinds(decode(OpenSky, rows({"lat": "", "lon": "", "lastposupdate": ""}))) == {"no position": 1}


def state(**changes: Any) -> list[Any]:
    usual = {
        "icao24": "407a19", "callsign": "GMDSI   ", "country": "United Kingdom", "time_position": 1626098409,
        "last_contact": 1626098410, "lon": -4.0532, "lat": 53.4576, "baro": 6050.28, "ground": False, "velocity": 142.8,
        "track": 83.79, "rate": -3.25, "sensors": None, "geo": 6195.06, "squawk": "5226", "spi": False, "source": 0,
    }  # fmt: skip
    return list((usual | changes).values())


class TestApi:
    def test_values(self) -> None:
        (look,) = decode(OpenSky, json.dumps({"time": 1626098410, "states": [state()]}))
        assert isinstance(look, Look)
        detection = look.detections[0]
        assert look.time == datetime(2021, 7, 12, 14, 0, 9, tzinfo=UTC)
        assert look.time_received == datetime(2021, 7, 12, 14, 0, 10, tzinfo=UTC)
        assert (detection.lat, detection.lon) == (53.4576, -4.0532)
        assert altitude(detection) == (6050.28, "BARO")
        assert (detection.speed_mps, detection.course_deg, detection.vertical_rate_mps) == (142.8, 83.79, -3.25)
        assert detection.ids == {"icao24": "407a19", "callsign": "GMDSI"}

    def test_elements(self) -> None:
        given = [state(), state(), state(lat=None, lon=None), state(lat="x"), state(ground=True), state()[:9], 5]
        items = decode(OpenSky, json.dumps({"time": 1626098410, "states": given}))
        assert kinds(items) == {"Look": 1, "position repeated": 2, "no position": 1, "Reject": 3}
        assert [(item.line, item.field) for item in items if isinstance(item, Reject)] == [
            (4, "lat"),
            (6, None),
            (7, None),
        ]
        assert decode(OpenSky, '{"time": 1626098410, "states": null}') == []

    def test_no_time(self) -> None:
        (item,) = decode(OpenSky, json.dumps({"time": "x", "states": [state()]}))
        assert isinstance(item, Reject)
        assert item.field == "time"

    def test_elements_before_a_break_are_used(self) -> None:
        whole = json.dumps({"time": 1626098410, "states": [state(), state(icao24="000001"), state()]}).encode()
        items = decode(OpenSky, whole[:-20])
        assert kinds(items) == {"Look": 2, "Reject": 1}
        assert items[:2] == decode(OpenSky, whole)[:2]
        reader = OpenSky().items(BrokenStream(whole[:-20]))
        assert [next(reader) for _ in range(3)] == items
        with pytest.raises(EOFError):
            next(reader)


class TestRecognition:
    def test_heads(self) -> None:
        data = rows({}).encode()
        assert all(OpenSky.recognises(data[:cut]) for cut in range(len(HEADER), len(data)))
        assert OpenSky.recognises(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
        api = json.dumps({"time": 1626098410, "states": [state()]}).encode()
        assert all(OpenSky.recognises(api[:cut]) for cut in range(api.index(b"[") + 1, len(api)))
        assert OpenSky.recognises(b'{"time":1626098410,"states":null}')

    @pytest.mark.parametrize(
        "data", [b"", b"time,lat,lon,icao24\n", b'{"time": 5}', b'{"states": []}', b"\x00\xff\n" * 99]
    )
    def test_others(self, data: bytes) -> None:
        assert not OpenSky.recognises(data)


@settings(max_examples=150)
@given(data=mutated(rows({}, {"time": "1626098420"}, {"icao24": "000001"}, {"baroaltitude": ""}).encode()))
def test_mutated_rows_never_raise_and_add_up(data: bytes) -> None:
    items = decode(OpenSky, data)
    check_items(items)
    if data.lstrip().startswith(b"{"):
        return
    headers = {"time", "icao24", "lat", "lon", "lastposupdate"}
    expected = 0
    for _, line in lines(io.BytesIO(data)):
        if line is not None and line.strip():
            fields = next(csv.reader([line.decode(errors="replace")]), [])
            expected += not headers <= {field.strip() for field in fields}
    assert records(items) == expected


@given(
    data=mutated(json.dumps({"time": 1626098410, "states": [state(), state(icao24="000001")]}).encode()),
    rest=st.binary(),
)
def test_mutated_documents_never_raise(data: bytes, rest: bytes) -> None:
    check_items(decode(OpenSky, data))
    check_items(decode(OpenSky, data + rest))


@pytest.mark.feeds
def test_recorded_vectors() -> None:
    """6,052 vectors of 84 aircraft, every 10 s for 20 min."""
    data = recorded("adsb/opensky_state_vectors_uk_2021-07-12.csv").read_bytes()
    assert OpenSky.recognises(data[: 2**16])
    items = decode(OpenSky, data)
    assert kinds(items) == {"Look": 5_407, "position repeated": 645}
    check_items(items)
    looks = looks_of(items)
    assert len({look.look_id for look in looks}) == len(looks)
    detections = [look.detections[0] for look in looks]
    assert len({d.ids["icao24"] for d in detections if d.ids}) == 84
    assert sum(d.alt_m is None for d in detections) == sum(d.alt_datum is None for d in detections) < 40
    for look in looks:
        assert look.time_received is not None
        assert 0.0 <= (look.time_received - look.time).total_seconds() < 13.0
    off = [
        (speed, look.detections[0].speed_mps)
        for seconds, speed, look in speeds(looks)
        if seconds > 5.0 and abs(speed - (look.detections[0].speed_mps or 0.0)) > 40.0
    ]
    assert len(off) < 60
    assert max(speed for seconds, speed, _ in speeds(looks) if seconds > 5.0) < 450.0
    # Cut anywhere, the parts give what the whole gives.
    table = data.splitlines(keepends=True)
    for cut in (2, 3_000, 6_000):
        first, second = OpenSky(), OpenSky()
        parts = decode(first, b"".join(table[:cut]))
        second.restore(first.state())
        assert parts + decode(second, b"".join([table[0], *table[cut:]])) == items
