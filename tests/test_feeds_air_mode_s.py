"""Raw Mode S frames: published frames, pairing and its memory, defects of the splitting library, a recorded flight."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from test_feeds_air_common import (
    decode,
    distance_m,
    kinds,
    looks_of,
    speeds,
    unknown,
)
from test_feeds_air_cpr import encode, parity

from apss_fusion.feeds import mode_s
from apss_fusion.feeds.base import Ignored, Reject, Used
from apss_fusion.feeds.mode_s import ModeS
from apss_fusion.model import Look

T0 = 1_720_248_189.5
#: The 1090 Megahertz Riddle: airborne position (even, odd), velocity, identification.
EVEN, ODD = "8d40621d58c382d690c8ac2863a7", "8d40621d58c386435cc412692ad6"
VELOCITY, IDENT = "8d485020994409940838175b284f", "8d4840d6202cc371c32ce0576098"


def frame(message: int, icao: str = "40621d", first: int = 0x8D) -> str:
    """An extended squitter of these 56 bits, with its parity."""
    head = f"{first:02x}{icao}{message:014x}"
    return f"{head}{parity(head):06x}"


def airborne(lat: float, lon: float, odd: bool, icao: str = "40621d", kind: int = 11, altitude: int = 0xC38) -> str:
    y, x = encode(lat, lon, odd)
    return frame(kind << 51 | altitude << 36 | int(odd) << 34 | y << 17 | x, icao)


def surface(lat: float, lon: float, odd: bool, icao: str = "40621d", movement: int = 20, track: int = 32) -> str:
    y, x = encode(lat, lon, odd, surface=True)
    return frame(6 << 51 | movement << 44 | 1 << 43 | track << 36 | int(odd) << 34 | y << 17 | x, icao)


def velocity(east_kt: int | None, north_kt: int | None, icao: str = "40621d", subtype: int = 1, rate: int = 10) -> str:
    """Velocity to the east and south as given, 64 ft/min times (rate - 1) of climb, NACv 2."""
    message = 19 << 51 | subtype << 48 | 2 << 43
    message |= (0 if east_kt is None else east_kt + 1) << 32
    message |= 1 << 31 | (0 if north_kt is None else north_kt + 1) << 21
    return frame(message | rate << 10, icao)


def stream(*frames: tuple[float, str]) -> bytes:
    return b"".join(json.dumps({"timestamp": T0 + t, "frame": f}).encode() + b"\n" for t, f in frames)


def others(text: str, icao: str = "40621d") -> str:
    """The message of a published frame, as another aircraft's."""
    return frame(int(text[8:22], 16), icao)


class TestFrames:
    def test_published_pair(self) -> None:
        items = decode(ModeS, stream((0.0, ODD), (1.0, EVEN)))
        assert kinds(items) == {"Used": 1, "Look": 1}
        (look,) = looks_of(items)
        (detection,) = look.detections
        assert (detection.lat, detection.lon) == pytest.approx((52.25720, 3.91937), abs=5e-6)
        assert detection.alt_m == pytest.approx(38_000 * 0.3048)
        assert detection.alt_datum == "BARO"
        assert detection.ids == {"icao24": "40621d"}
        assert detection.domain == "AIR"
        assert look.source_id == "mode-s"
        assert look.time == datetime.fromtimestamp(T0 + 1.0, UTC)
        assert unknown(look.time_received, look.footprint, look.p_detect)
        # NUCp 7: 92.6 m with 95 %.
        assert detection.cov_enu_m2 == pytest.approx((37.83**2, 0.0, 37.83**2), rel=1e-3)

    def test_velocity_and_callsign_join_the_next_position(self) -> None:
        frames = [(0.0, others(VELOCITY)), (0.1, others(IDENT)), (0.2, EVEN), (0.3, ODD)]
        items = decode(ModeS, stream(*frames))
        assert kinds(items) == {"Used": 3, "Look": 1}
        detection = looks_of(items)[0].detections[0]
        assert detection.ids == {"icao24": "40621d", "callsign": "KLM1023"}
        assert detection.speed_mps == pytest.approx(159.20 * 0.514444, abs=5e-3)
        assert detection.course_deg == pytest.approx(182.88, abs=5e-3)
        assert detection.vertical_rate_mps == pytest.approx(-832 * 0.00508, abs=1e-3)
        assert detection.heading_deg is None

    def test_a_velocity_gets_old(self) -> None:
        frames = [(0.0, velocity(300, 400)), (0.0, EVEN), (1.0, ODD), (9.0, EVEN), (10.5, ODD)]
        first, second, third = (look.detections[0] for look in looks_of(decode(ModeS, stream(*frames))))
        assert first.speed_mps == pytest.approx(500 * 0.514444, rel=1e-5)
        # NACv 2: 3 m/s with 95 %; then 2 m/s for each second.
        assert first.speed_sigma_mps == pytest.approx((1.2256**2 + 2.0**2) ** 0.5, rel=1e-3)
        assert second.speed_sigma_mps == pytest.approx((1.2256**2 + 18.0**2) ** 0.5, rel=1e-3)
        assert first.course_sigma_deg == pytest.approx(0.522, abs=1e-3)
        assert (third.speed_mps, third.course_deg, third.vertical_rate_mps, third.speed_sigma_mps) == (None,) * 4

    def test_no_information_is_not_minus_one_knot(self) -> None:
        for message in (velocity(None, None), velocity(None, 100), velocity(100, None)):
            detection = looks_of(decode(ModeS, stream((0, message), (0, EVEN), (1, ODD))))[0].detections[0]
            assert detection.speed_mps is None
            assert detection.course_deg is None
            assert detection.vertical_rate_mps == pytest.approx(9 * 64 * 0.00508)

    def test_supersonic_velocities_count_four_times(self) -> None:
        slow, fast = (
            looks_of(decode(ModeS, stream((0, velocity(30, 40, subtype=n)), (0, EVEN), (1, ODD))))[0].detections[0]
            for n in (1, 2)
        )
        assert slow.speed_mps == pytest.approx(50 * 0.514444, rel=1e-5)
        assert fast.speed_mps == pytest.approx(200 * 0.514444, rel=1e-5)
        assert fast.course_deg == slow.course_deg == pytest.approx(143.13, abs=0.01)

    def test_airspeed_and_magnetic_heading_are_not_over_ground(self) -> None:
        message = frame(19 << 51 | 3 << 48 | 1 << 42 | 512 << 32 | 1 << 31 | 301 << 21 | 5 << 10)
        detection = looks_of(decode(ModeS, stream((0, message), (0, EVEN), (1, ODD))))[0].detections[0]
        assert unknown(detection.speed_mps, detection.course_deg, detection.heading_deg)
        assert detection.vertical_rate_mps is not None

    def test_altitudes(self) -> None:
        def altitude(code: int, kind: int = 11) -> tuple[Any, Any]:
            frames = [(t, airborne(50.0, 8.0, bool(t), altitude=code, kind=kind)) for t in (0, 1)]
            detection = looks_of(decode(ModeS, stream(*frames)))[0].detections[0]
            return detection.alt_m, detection.alt_datum

        assert altitude(0) == (None, None)
        assert altitude(0x10) == (pytest.approx(-1000 * 0.3048), "BARO")
        assert altitude(0x58) == (0.0, "BARO")
        assert altitude(0xC38, kind=20) == (pytest.approx(38_000 * 0.3048), "HAE")

    def test_stated_accuracy_of_the_newer_versions(self) -> None:
        def sigma_m(*before: str) -> float:
            frames = [*((0.0, text) for text in before), (0.0, EVEN), (1.0, ODD)]
            covariance = looks_of(decode(ModeS, stream(*frames)))[0].detections[0].cov_enu_m2
            assert covariance is not None
            return float(covariance[0] ** 0.5)

        status = 0xF8230002004AB8  # airborne status, version 2, NACp 10, GVA 2
        assert sigma_m(frame(status)) == pytest.approx(10 / 2.4477, rel=1e-3)
        assert sigma_m(frame(status ^ 0b010 << 13 ^ 0)) == pytest.approx(92.6 / 2.4477, rel=1e-3)  # version 0
        assert sigma_m(frame(0xEA447864013C08)) == pytest.approx(30 / 2.4477, rel=1e-3)  # target state, NACp 9
        assert sigma_m(frame(status, icao="40621e")) == pytest.approx(92.6 / 2.4477, rel=1e-3)

    def test_geometric_altitude_has_its_own_accuracy(self) -> None:
        frames = [(0, frame(0xF8230002004AB8))] + [(t, airborne(50.0, 8.0, bool(t), kind=20)) for t in (0, 1)]
        detection = looks_of(decode(ModeS, stream(*frames)))[0].detections[0]
        assert detection.alt_sigma_m == pytest.approx(45 / 1.96, rel=1e-3)

    def test_a_position_of_no_known_accuracy_is_a_poor_one(self) -> None:
        frames = [(t, airborne(50.0, 8.0, bool(t), kind=18)) for t in (0, 1)]
        covariance = looks_of(decode(ModeS, stream(*frames)))[0].detections[0].cov_enu_m2
        assert covariance is not None
        assert covariance[0] ** 0.5 == pytest.approx(1852 / 2.4477, rel=1e-3)

    def test_on_the_ground(self) -> None:
        alone = decode(ModeS, stream((0, surface(50.0, 8.0, False)), (1, surface(50.0, 8.0, True))))
        assert kinds(alone) == {"surface position without one before it": 2}
        landing = [(0, airborne(50.0, 8.0, False)), (1, airborne(50.0, 8.0, True)), (60, surface(50.01, 8.02, True))]
        look = looks_of(decode(ModeS, stream(*landing)))[-1]
        detection = look.detections[0]
        assert distance_m((detection.lat, detection.lon), (50.01, 8.02)) < 2.0
        assert detection.alt_m is None
        assert detection.speed_mps == pytest.approx(5.5 * 0.514444, rel=1e-3)
        assert detection.course_deg == 90.0
        magnetic = [*landing[:2], (2, frame(0xF8230002004ABC)), landing[2]]
        detection = looks_of(decode(ModeS, stream(*magnetic)))[-1].detections[0]
        assert detection.course_deg is None
        assert detection.speed_mps is not None

    def test_who_is_meant(self) -> None:
        """ICAO addresses and others (DO-260B 2.2.17): formats 18 of other emitters, and the IMF bit of relays."""

        def ids(first: int, other_address: bool = False) -> dict[str, str] | None:
            bits = (int(text[8:22], 16) | (1 << 48 if other_address else 0) for text in (EVEN, ODD))
            items = decode(ModeS, stream(*((t, frame(m, first=first)) for t, m in enumerate(bits))))
            return looks_of(items)[0].detections[0].ids if looks_of(items) else None

        assert ids(0x90) == {"icao24": "40621d"}
        assert ids(0x91) == ids(0x95) == {"address": "40621d"}
        assert ids(0x92) == ids(0x96) == {"icao24": "40621d"}
        assert ids(0x92, other_address=True) == ids(0x96, other_address=True) == {"address": "40621d"}
        assert ids(0x93) is ids(0x94) is ids(0x97) is None

    def test_frames_that_are_no_positions(self) -> None:
        short, long = "5d484ba2a3f2c4", "a0001838ca3800315800007448d2"
        tests = frame(23 << 51)
        items = decode(ModeS, stream((0, short), (0, long), (0, "212800bf40f1ef7e5817e9cc428d"), (0, tests)))
        assert kinds(items) == {"downlink format without a position": 3, "ADS-B message without a position": 1}

    @pytest.mark.parametrize(
        ("line", "field"),
        [
            (b"nonsense", None),
            (b"[]", None),
            (b'{"timestamp": 1720248189.5}', None),
            (b'{"frame": "5d484ba2a3f2c4"}', None),
            (b'{"timestamp": "x", "frame": "5d484ba2a3f2c4"}', "timestamp"),
            (b'{"timestamp": 1.5, "frame": "5d484ba2a3f2c4"}', "timestamp"),
            (b'{"timestamp": 1720248189500, "frame": "5d484ba2a3f2c4"}', "timestamp"),
            (b'{"timestamp": 1720248189.5, "frame": 5}', "frame"),
            (b'{"timestamp": 1720248189.5, "frame": ""}', "frame"),
            (b'{"timestamp": 1720248189.5, "frame": "8d40621d58c382"}', "frame"),
            (b'{"timestamp": 1720248189.5, "frame": "8d40621d58c382d690c8ac2863a8"}', "frame"),
            (b'{"timestamp": 1720248189.5, "frame": "8d40621d58c382d690c8ac2863ag"}', "frame"),
            (b'{"timestamp": 1720248189.5, "frame": "8d40621d58c382d690c8ac2863a\\u0661"}', "frame"),
            (b'{"timestamp": 1720248189.5, "frame": "\xff"}', None),
            (b'{"timestamp": ' + b"[" * 50_000, None),
        ],
    )
    def test_bad_lines(self, line: bytes, field: str | None) -> None:
        (item,) = decode(ModeS, b"\n" + line + b"\n  \n")
        assert isinstance(item, Reject)
        assert item.line == 2
        assert item.is_record
        if field is not None:
            assert item.field == field or (item.field is None and field in item.reason)

    def test_checksum_or_contents(self) -> None:
        wrong, high = decode(ModeS, stream((0, EVEN[:-1] + "8"), (0, airborne(50.0, 8.0, False, altitude=0xFFE))))
        assert isinstance(wrong, Reject)
        assert isinstance(high, Reject)
        assert "checksum" in wrong.reason
        assert "contents" in high.reason


class TestPairing:
    def test_two_receivers_are_one_transmission(self) -> None:
        items = decode(ModeS, stream((0, EVEN), (0.5, ODD), (0.500_007, ODD), (0.9, EVEN), (0.95, EVEN)))
        assert [type(item) for item in items] == [Used, Look, Ignored, Look, Ignored]
        assert kinds(items)["heard by a second receiver"] == 2

    def test_halves_of_different_times_are_no_pair(self) -> None:
        assert kinds(decode(ModeS, stream((0, EVEN), (10.5, ODD)))) == {"Used": 2}
        assert kinds(decode(ModeS, stream((0, EVEN), (9.5, ODD)))) == {"Used": 1, "Look": 1}

    def test_one_half_is_enough_near_the_last_position(self) -> None:
        frames = [(0, airborne(50.0, 8.0, False)), (1, airborne(50.0, 8.0, True)), (200, airborne(50.3, 8.2, True))]
        detection = looks_of(decode(ModeS, stream(*frames)))[-1].detections[0]
        assert distance_m((detection.lat, detection.lon), (50.3, 8.2)) < 6.0
        late = [*frames[:2], (302, airborne(50.3, 8.2, True))]
        assert kinds(decode(ModeS, stream(*late))) == {"Used": 2, "Look": 1}

    def test_an_impossible_jump_starts_anew(self) -> None:
        frames = [
            (0, airborne(50.0, 8.0, False)), (1, airborne(50.0, 8.0, True)),
            (2, airborne(51.0, 8.0, False)), (3, airborne(51.0, 8.0, True)),
        ]  # fmt: skip
        items = decode(ModeS, stream(*frames))
        assert [type(item) for item in items] == [Used, Look, Used, Look]
        detection = looks_of(items)[-1].detections[0]
        assert distance_m((detection.lat, detection.lon), (51.0, 8.0)) < 6.0

    def test_halves_of_two_aircraft_with_one_address_make_no_position_between_them(self) -> None:
        places = ((50.0, 8.0), (31.7, -40.2), (12.3, 100.4), (-33.33, 151.2))
        for a in places:
            for b in places:
                if a == b:
                    continue
                looks = looks_of(decode(ModeS, stream((0, airborne(*a, False)), (0.1, airborne(*b, True)))))
                assert not looks

    @pytest.mark.parametrize(
        ("lat", "lon"), [(0.0, 179.999), (0.0, -179.999), (51.5, 0.0), (-45.0, 179.9999), (86.0, 5.0)]
    )
    def test_a_flight_across_any_meridian(self, lat: float, lon: float) -> None:
        frames = []
        for step in range(60):
            east = (lon + 0.002 * step + 180.0) % 360.0 - 180.0
            frames.append((0.5 * step, airborne(lat, east, step % 2 == 1)))
        looks = looks_of(decode(ModeS, stream(*frames)))
        assert len(looks) == 59
        for _, speed, _ in speeds(looks):
            assert speed < 500.0 + 60.0

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mode_s, "MAX_AIRCRAFT", 3)
        frames = [(n, airborne(50.0, 8.0, False, icao=f"{n + 1:06x}")) for n in range(10)]
        frames += [(9, airborne(50.0, 8.0, True, icao=f"{n + 1:06x}")) for n in range(10)]
        decoder = ModeS()
        # The first seven were forgotten, and each that is heard again drives out another.
        assert kinds(decode(decoder, stream(*frames))) == {"Used": 20}
        assert len(msgspec.msgpack.decode(decoder.state())) == 3
