"""readsb's traces and lists of aircraft: units, flags, ages, accuracy, bad elements, a recorded trace."""

from __future__ import annotations

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

from apss_fusion.feeds import readsb_trace
from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.readsb_trace import Readsb
from apss_fusion.model import Detection, Look

T0 = 1_738_703_622.619
DETAILS = {
    "type": "adsb_icao", "flight": "DAL1812 ", "alt_geom": 33825, "true_heading": 336.63,
    "rc": 186, "nac_p": 10, "nac_v": 2, "gva": 2,
}  # fmt: skip


def trace(*rows: list[Any], **head: Any) -> bytes:
    return json.dumps({"icao": "ac671b", "r": "N899DN", "timestamp": T0} | head | {"trace": rows}).encode()


def row(seconds: float = 0.0, **values: Any) -> list[Any]:
    """A row as they are, with the given values in place of the usual ones."""
    fields = {
        "seconds": seconds, "lat": 16.83, "lon": -88.05, "alt": 32000, "gs": 480.0, "track": 90.0, "flags": 0,
        "rate": 640, "details": None, "type": "adsb_icao", "alt_geom": 33825, "geom_rate": 32, "ias": 280, "roll": 0.0,
    }  # fmt: skip
    return list((fields | values).values())


def aircraft(now: float = T0, **values: Any) -> bytes:
    usual = {
        "hex": "ac671b", "type": "adsb_icao", "lat": 16.83, "lon": -88.05, "seen_pos": 2.5, "alt_baro": 32000,
        "alt_geom": 33825, "gs": 480.0, "track": 90.0, "baro_rate": 640, "seen": 0.1,
    }  # fmt: skip
    return json.dumps({"now": now, "messages": 5, "aircraft": [usual | values]}).encode()


def only(data: bytes) -> tuple[Look, Detection]:
    (look,) = decode(Readsb, data)
    assert isinstance(look, Look)
    (detection,) = look.detections
    return look, detection


class TestTrace:
    def test_units(self) -> None:
        look, detection = only(trace(row(10.5)))
        assert look.source_id == "readsb"
        assert look.time == datetime.fromtimestamp(T0 + 10.5, UTC)
        assert unknown(look.time_received, look.footprint, look.p_detect)
        assert (detection.lat, detection.lon) == (16.83, -88.05)
        assert detection.alt_m == pytest.approx(9_753.6)
        assert detection.alt_datum == "BARO"
        assert detection.speed_mps == pytest.approx(246.933, abs=1e-3)
        assert detection.course_deg == 90.0
        assert detection.vertical_rate_mps == pytest.approx(3.2512)
        assert detection.ids == {"icao24": "ac671b"}
        assert detection.domain == "AIR"
        assert unknown(detection.cov_enu_m2, detection.heading_deg, detection.alt_sigma_m)

    def test_details_hold_for_the_rows_after_them(self) -> None:
        items = decode(Readsb, trace(row(0), row(1, details=DETAILS), row(2), row(3, flags=2), row(4, flags=2)))
        before, at, after, leg, _ = (look.detections[0] for look in looks_of(items))
        assert before.ids == leg.ids == {"icao24": "ac671b"}
        assert at.ids == after.ids == {"icao24": "ac671b", "callsign": "DAL1812"}
        assert (at.heading_deg, after.heading_deg) == (336.63, None)
        assert unknown(before.cov_enu_m2, leg.cov_enu_m2)
        sigma, along = 10 / 2.4477, 246.933 * 0.1
        assert after.cov_enu_m2 == pytest.approx((sigma**2 + along**2, 0.0, sigma**2), rel=1e-3, abs=1e-9)
        assert after.speed_sigma_mps == pytest.approx(3 / 2.4477, rel=1e-3)
        assert after.course_sigma_deg == pytest.approx(0.284, abs=1e-3)
        again = decode(Readsb, trace(row(0, details=DETAILS), row(1, flags=2, details=DETAILS | {"flight": "DAL2927"})))
        assert looks_of(again)[1].detections[0].ids == {"icao24": "ac671b", "callsign": "DAL2927"}

    def test_containment_where_accuracy_is_missing(self) -> None:
        _, detection = only(trace(row(details={"rc": 186}, gs=None)))
        assert detection.cov_enu_m2 == pytest.approx((38.76**2, 0.0, 38.76**2), rel=1e-3)

    def test_a_stale_position_may_be_late(self) -> None:
        _, detection = only(trace(row(flags=1, details=DETAILS)))
        assert detection.cov_enu_m2 is not None
        assert detection.cov_enu_m2[0] ** 0.5 == pytest.approx(246.97, abs=0.01)
        assert detection.cov_enu_m2[2] ** 0.5 == pytest.approx(4.085, abs=0.01)

    def test_on_the_ground(self) -> None:
        _, detection = only(trace(row(alt="ground", track=270.0, details=DETAILS)))
        assert unknown(detection.alt_m, detection.alt_datum, detection.alt_sigma_m, detection.course_deg)
        assert detection.heading_deg == 270.0

    def test_geometric_altitude(self) -> None:
        _, detection = only(trace(row(flags=8, details=DETAILS)))
        assert altitude(detection) == (pytest.approx(9_753.6), "HAE")
        assert detection.alt_sigma_m == pytest.approx(45 / 1.96, rel=1e-3)
        _, detection = only(trace(row(alt=None)))
        assert altitude(detection) == (pytest.approx(33_825 * 0.3048), "HAE")
        _, detection = only(trace(row(alt=None, alt_geom=None)))
        assert unknown(detection.alt_m, detection.alt_datum)

    def test_unknown_is_none(self) -> None:
        _, detection = only(trace(row(gs=None, track=None, rate=None, geom_rate=None)))
        assert unknown(detection.speed_mps, detection.course_deg, detection.vertical_rate_mps)
        _, detection = only(trace(row(rate=None)))
        assert detection.vertical_rate_mps == pytest.approx(32 * 0.00508)
        _, detection = only(trace(row(track=360.0)))
        assert detection.course_deg == 0.0

    def test_rows_of_2021_are_shorter(self) -> None:
        _, detection = only(trace(row()[:9]))
        assert detection.speed_mps == pytest.approx(246.933, abs=1e-3)

    def test_multilateration_has_its_own_accuracy(self) -> None:
        _, detection = only(trace(row(type="mlat", details=DETAILS, gs=None)))
        assert detection.cov_enu_m2 == (10_000.0, 0.0, 10_000.0)
        assert detection.speed_sigma_mps is None
        _, detection = only(trace(row(type="adsc", details=DETAILS)))
        assert detection.cov_enu_m2 is None

    def test_addresses_that_icao_did_not_assign(self) -> None:
        _, detection = only(trace(row(), icao="~2b3C4d"))
        assert detection.ids == {"address": "2b3c4d"}

    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            (row(lat="x"), "lat"),
            (row(lat=90.5), "lat"),
            (row(lon=-180.5), "lon"),
            (row(lat=None), "lat"),
            (row(alt="grounded"), "altitude"),
            (row(alt=1e9), "altitude"),
            (row(gs=-1), "gs"),
            (row(track=361), "track"),
            (row(flags="1"), "flags"),
            (row(details=DETAILS | {"nac_p": "x"}), "details.nac_p"),
            (row(1e12), "seconds"),
            (row()[:2], None),
            ({"lat": 5}, None),
            (None, None),
        ],
    )
    def test_a_bad_row_is_rejected_alone(self, bad: Any, field: str | None) -> None:
        first, second, third = decode(Readsb, trace(row(0), bad, row(2)))
        assert isinstance(first, Look)
        assert isinstance(third, Look)
        assert isinstance(second, Reject)
        assert (second.line, second.field, second.is_record) == (2, field, True)
        assert second.record == json.dumps(bad).encode()

    @pytest.mark.parametrize(
        ("head", "field"),
        [
            ({"icao": "xyz"}, "icao"),
            ({"icao": 5}, "icao"),
            ({"timestamp": "x"}, "timestamp"),
            ({"timestamp": 5}, "timestamp"),
        ],
    )
    def test_a_bad_head_rejects_each_row(self, head: dict[str, Any], field: str) -> None:
        items = decode(Readsb, trace(row(0), row(1), **head))
        assert [(item.field, item.line) for item in items if isinstance(item, Reject)] == [(field, 1), (field, 2)]

    def test_the_same_row_is_the_same_look(self) -> None:
        one, two = decode(Readsb, trace(row(5), row(5)))
        assert one == two
        assert len({look.look_id for look in looks_of(decode(Readsb, trace(row(5), row(6), row(5, lat=1.0))))}) == 3

    def test_rows_before_a_break_are_used(self) -> None:
        whole = trace(row(0), row(1), row(2))
        items = decode(Readsb, whole[:-30])
        assert kinds(items) == {"Look": 2, "Reject": 1}
        assert items[:2] == decode(Readsb, whole)[:2]
        reader = Readsb().items(BrokenStream(whole[:-30]))
        assert [next(reader) for _ in range(3)] == items
        with pytest.raises(EOFError):
            next(reader)


class TestList:
    def test_units_and_age(self) -> None:
        look, detection = only(aircraft(true_heading=88.0))
        assert look.time == datetime.fromtimestamp(T0 - 2.5, UTC)
        assert look.time_received == datetime.fromtimestamp(T0, UTC)
        assert altitude(detection) == (pytest.approx(9_753.6), "BARO")
        assert detection.speed_mps == pytest.approx(246.933, abs=1e-3)
        assert (detection.course_deg, detection.heading_deg) == (90.0, 88.0)
        assert detection.vertical_rate_mps == pytest.approx(3.2512)

    def test_altitudes(self) -> None:
        assert only(aircraft(alt_baro="ground"))[1].alt_m is None
        _, detection = only(aircraft(alt_baro=None, gva=1))
        assert altitude(detection) == (pytest.approx(33_825 * 0.3048), "HAE")
        assert detection.alt_sigma_m == pytest.approx(150 / 1.96, rel=1e-3)

    def test_no_position_is_ignored(self) -> None:
        assert kinds(decode(Readsb, aircraft(lat=None, lon=None, type="mode_s"))) == {"no position": 1}
        assert decode(Readsb, b'{"now": 1738703622.6, "aircraft": []}') == []

    def test_a_position_that_was_in_the_last_list_is_ignored(self) -> None:
        first, second = Readsb(), Readsb()
        assert kinds(decode(first, aircraft())) == {"Look": 1}
        second.restore(first.state())
        assert kinds(decode(second, aircraft(T0 + 1.1, seen_pos=3.5))) == {"position repeated": 1}
        assert kinds(decode(second, aircraft(T0 + 2, seen_pos=4.4))) == {"position repeated": 1}
        # An aircraft that stands still says so anew.
        assert kinds(decode(second, aircraft(T0 + 3, seen_pos=0.1))) == {"Look": 1}
        assert kinds(decode(second, aircraft(T0 + 4, seen_pos=0.1, lat=16.84))) == {"Look": 1}
        second.restore(b"")
        assert kinds(decode(second, aircraft())) == {"Look": 1}

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readsb_trace, "MAX_AIRCRAFT", 2)
        decoder = Readsb()
        for n in range(4):
            decode(decoder, aircraft(hex=f"00000{n + 1}"))
        assert kinds(decode(decoder, aircraft(hex="000004"))) == {"position repeated": 1}
        assert kinds(decode(decoder, aircraft(hex="000001"))) == {"Look": 1}

    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            ({"hex": "5"}, "hex"),
            ({"seen_pos": None}, "seen_pos"),
            ({"seen_pos": -1}, "seen_pos"),
            ({"seen_pos": 1e12}, "seen_pos"),
            ({"lat": 91}, "lat"),
            ({"alt_baro": "high"}, "alt_baro"),
            ({"gs": "fast"}, "gs"),
        ],
    )
    def test_bad_elements(self, bad: dict[str, Any], field: str) -> None:
        (item,) = decode(Readsb, aircraft(**bad))
        assert isinstance(item, Reject)
        assert (item.field, item.line) == (field, 1)

    def test_bad_head(self) -> None:
        (item,) = decode(Readsb, aircraft(now=5.0))
        assert isinstance(item, Reject)
        assert item.field == "now"


class TestRecognition:
    @pytest.mark.parametrize("data", [trace(row(), row()), aircraft(), b'{ "now" : 1738703622.6,\n"aircraft" : [ ] }'])
    def test_cut_heads(self, data: bytes) -> None:
        enough = data.index(b"[") + 10
        assert all(Readsb.recognises(data[:cut]) for cut in range(enough, len(data) + 1))
        assert Readsb.recognises(b"\xef\xbb\xbf\n" + data)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{}",
            b'{"icao": "ac671b", "positions": []}',
            b'{"now": 5, "planes": []}',
            b'{"now": 5, "aircraft": ["ac671b"]}',
            b'{"icao": "airport", "trace": []}',
            b"\x00" * 2**16,
        ],
    )
    def test_others(self, data: bytes) -> None:
        assert not Readsb.recognises(data)


@settings(max_examples=150)
@given(
    data=mutated(trace(row(0, details=DETAILS), row(1), row(2, alt="ground"))) | mutated(aircraft()), rest=st.binary()
)
def test_mutated_documents_never_raise_and_add_up(data: bytes, rest: bytes) -> None:
    check_items(decode(Readsb, data + rest))
    items = decode(Readsb, data)
    check_items(items)
    try:
        document = json.loads(data)
        elements = document["trace"] if "trace" in document else document["aircraft"]
        expected = len(elements) if isinstance(elements, list) else 1
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    assert records(items) in (expected, expected + 1)


@pytest.mark.feeds
def test_recorded_trace() -> None:
    """2,500 rows of a day of one Boeing 737."""
    data = recorded("adsb/readsb_trace_full.json").read_bytes()
    assert Readsb.recognises(data[: 2**16])
    items = decode(Readsb, data)
    assert kinds(items) == {"Look": 2_500}
    check_items(items)
    looks = looks_of(items)
    assert len({look.look_id for look in looks}) == 2_500
    assert looks[0].time == datetime.fromtimestamp(T0, UTC)
    detections = [look.detections[0] for look in looks]
    assert sum(detection.alt_m is None for detection in detections) == 394
    assert sum(detection.speed_mps is None for detection in detections) == 25
    assert {d.ids["callsign"] for d in detections if d.ids and "callsign" in d.ids} >= {"DAL1812", "DAL2927"}
    # Positions imply the speeds that are stated, but for rows of one second and late deliveries after a gap.
    compared, off = 0, 0
    for seconds, speed, look in speeds(looks):
        stated = look.detections[0].speed_mps
        if stated is not None and stated > 100.0 and 5.0 < seconds < 60.0:
            compared += 1
            off += abs(speed - stated) > 15.0
    assert compared > 700
    assert off < 20
