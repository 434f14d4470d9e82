"""AIS payloads: the fields of each message, against pyais, a reading bit by bit, and published examples."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest
from conftest import recorded
from feeds_ais_tools import bits_of, payload_of, ship, signed, text_of, unsigned
from hypothesis import given
from hypothesis import strategies as st
from pyais.bit_vector import bit_vector
from pyais.messages import MSG_CLASS

from apss_fusion.feeds.ais_common import (
    HIGH_ACCURACY_M2,
    KNOT_MPS,
    LONG_RANGE_M2,
    LOW_ACCURACY_M2,
    Static,
    class_of_type,
    dimensions,
    valid_imo,
)
from apss_fusion.feeds.ais_payload import (
    ARMOUR,
    OTHER_TYPES,
    POSITION_TYPES,
    STATIC_TYPES,
    TYPE_OF_CHARACTER,
    Position,
    mmsi_of,
    other_position,
    ship_position,
    static_message,
)

payloads = st.text(ARMOUR.decode(), min_size=1, max_size=90).map(str.encode)


def position_of(payload: str, fill: int = 0) -> Position:
    kind = TYPE_OF_CHARACTER[ord(payload[0])]
    found = (ship_position if kind in (1, 2, 3, 18) else other_position)(kind, payload.encode(), fill)
    assert isinstance(found, Position), found
    return found


def static_of(payload: str, fill: int = 0) -> tuple[int, Static]:
    found = static_message(TYPE_OF_CHARACTER[ord(payload[0])], payload.encode(), fill)
    assert not isinstance(found, str), found
    return found


# --- published examples (gpsd's AIVDM/AIVDO page, pyais) ---


def test_class_a_example() -> None:
    payload = "15M67FC000G?ufbE`FepT@3n00Sa"
    found = position_of(payload)
    bits = bits_of(payload)
    assert found.mmsi == unsigned(bits, 8, 30) == 366053209
    assert found.lon == pytest.approx(signed(bits, 61, 28) / 600_000, abs=1e-12) == pytest.approx(-122.341618, abs=1e-6)
    assert found.lat == pytest.approx(signed(bits, 89, 27) / 600_000, abs=1e-12) == pytest.approx(37.802118, abs=1e-6)
    assert (found.speed_mps, found.course_deg, found.heading_deg) == (0.0, 219.3, 1.0)
    assert (found.second, found.status, found.cov_enu_m2) == (59, 3, LOW_ACCURACY_M2)


def test_class_a_example_moored() -> None:
    found = position_of("177KQJ5000G?tO`K>RA1wUbN0TKH")
    assert (found.mmsi, found.status, found.second) == (477553000, 5, 15)
    assert (found.lat, found.lon) == pytest.approx((47.582833, -122.345833), abs=1e-6)
    assert (found.speed_mps, found.course_deg, found.heading_deg) == (0.0, 51.0, 181.0)


def test_class_b_example() -> None:
    payload = "B52K>;h00Fc>jpUlNV@ikwpUoP06"
    found = position_of(payload)
    bits = bits_of(payload)
    assert found.mmsi == unsigned(bits, 8, 30) == 338087471
    assert (found.lat, found.lon) == pytest.approx((40.684540, -74.072132), abs=1e-6)
    assert found.speed_mps == pytest.approx(0.1 * KNOT_MPS)
    assert (found.course_deg, found.heading_deg, found.second, found.status) == (79.6, None, 49, None)


def test_sar_aircraft_example() -> None:
    payload = "91b55wi;hbOS@OdQAC062Ch2089h"
    found = position_of(payload)
    bits = bits_of(payload)
    assert found.mmsi == unsigned(bits, 8, 30) == 111232511
    assert found.alt_m == unsigned(bits, 38, 12) == 303.0
    assert (found.lat, found.lon) == pytest.approx((58.144, -6.278843), abs=1e-6)
    assert found.speed_mps == pytest.approx(42 * KNOT_MPS)
    assert (found.course_deg, found.heading_deg, found.second) == (154.5, None, 15)


def test_long_range_example() -> None:
    payload = "KC5E2b@U19PFdLbMuc5=ROv62<7m"
    found = position_of(payload)
    bits = bits_of(payload)
    assert found.mmsi == unsigned(bits, 8, 30) == 206914217
    assert found.lon == pytest.approx(signed(bits, 44, 18) / 600, abs=1e-6) == pytest.approx(137.023333, abs=1e-6)
    assert found.lat == pytest.approx(signed(bits, 62, 17) / 600, abs=1e-6) == pytest.approx(4.84, abs=1e-6)
    assert found.speed_mps == pytest.approx(57 * KNOT_MPS)
    assert (found.course_deg, found.second, found.cov_enu_m2) == (167.0, None, LONG_RANGE_M2)


def test_extended_class_b_example() -> None:
    found = position_of("C5N3SRgPEnJGEBT>NhWAwwo862PaLELTBJ:V00000000S0D:R220")
    assert found.mmsi == 367059850
    assert (found.lat, found.lon) == pytest.approx((29.543695, -88.810393), abs=2e-6)
    assert found.speed_mps == pytest.approx(8.7 * KNOT_MPS)
    assert found.course_deg == 335.9
    assert found.static == Static(name="CAPT.J.RIMES", class_name="cargo", length_m=26.0, width_m=8.0)


def test_static_and_voyage_example() -> None:
    payload = "55?MbV02;H;s<HtKR20EHE:0@T4@Dn2222222216L961O5Gf0NSQEp6ClRp888888888880"
    mmsi, static = static_of(payload, 2)
    bits = bits_of(payload)
    assert mmsi == unsigned(bits, 8, 30) == 351759000
    assert static.imo == str(unsigned(bits, 40, 30)) == "9134270"
    assert static.callsign == text_of(bits, 70, 7) == "3FOF8"
    assert static.name == text_of(bits, 112, 20) == "EVER DIADEM"
    assert static.class_name == "cargo"
    assert (static.length_m, static.width_m) == (225.0 + 70.0, 1.0 + 31.0)


def test_static_class_b_examples() -> None:
    assert static_of("H42O55i18tMET00000000000000", 2) == (271041815, Static(name="PROGUY"))
    mmsi, static = static_of("H42O55lt0000000D3nink000?0500")
    assert mmsi == 271041815
    assert static == Static(callsign="TC6163", class_name="passenger", length_m=15.0, width_m=5.0)


# --- against pyais ---


def compare_position(kind: int, payload: bytes, fill: int) -> bool:
    """Whether pyais sees the same in a position report; False where it is none for us."""
    found = (ship_position if kind in (1, 2, 3, 18) else other_position)(kind, payload, fill)
    if isinstance(found, str):
        return False
    expected: Any = MSG_CLASS[kind].from_vector(bit_vector(payload, fill))
    assert found.mmsi == expected.mmsi
    assert found.lat == pytest.approx(expected.lat, abs=1e-6)
    assert found.lon == pytest.approx(expected.lon, abs=1e-6)
    top = {9: 1021.5, 27: 62.5}.get(kind, 102.15)
    assert found.speed_mps == (pytest.approx(expected.speed * KNOT_MPS) if expected.speed < top else None)
    assert found.course_deg == (pytest.approx(expected.course) if expected.course < 360 else None)
    if kind not in (9, 27):
        assert found.heading_deg == (expected.heading if expected.heading < 360 else None)
    if kind != 27:
        assert found.second == expected.second
        assert found.cov_enu_m2 == (HIGH_ACCURACY_M2 if expected.accuracy else LOW_ACCURACY_M2)
    if kind in (1, 2, 3):
        assert found.status == expected.status
    return True


@given(st.sampled_from(sorted(POSITION_TYPES)), payloads, st.integers(0, 2))
def test_positions_are_those_of_pyais(kind: int, payload: bytes, fill: int) -> None:
    whole = {19: 52, 27: 16}.get(kind, 28)
    payload = ARMOUR[kind : kind + 1] + (payload * whole)[1:whole]
    assert compare_position(kind, payload, fill)


@given(payloads)
def test_voyages_are_those_of_pyais(payload: bytes) -> None:
    payload = b"5" + (payload * 71)[1:71]
    mmsi, static = static_of(payload.decode(), 2)
    expected: Any = MSG_CLASS[5].from_vector(bit_vector(payload, 2))
    assert mmsi == expected.mmsi
    assert static.imo == (str(expected.imo) if valid_imo(expected.imo) else None)
    bits = bits_of(payload.decode())
    assert (static.callsign or "") == text_of(bits, 70, 7)
    assert (static.name or "") == text_of(bits, 112, 20)
    assert static.class_name == class_of_type(unsigned(bits, 232, 8))
    sides = (expected.to_bow, expected.to_stern, expected.to_port, expected.to_starboard)
    assert (static.length_m, static.width_m) == dimensions(*sides)


@given(st.sampled_from(sorted(POSITION_TYPES | STATIC_TYPES)), st.binary(min_size=1, max_size=210), st.integers(0, 5))
def test_no_payload_raises(kind: int, payload: bytes, fill: int) -> None:
    for content in (payload, payload.translate(bytes(ARMOUR[c % 64] for c in range(256)))):
        if kind in STATIC_TYPES:
            found: object = static_message(kind, content, fill)
        else:
            found = (ship_position if kind in (1, 2, 3, 18) else other_position)(kind, content, fill)
        if content.translate(None, ARMOUR):
            assert isinstance(found, str)


@given(payloads)
def test_the_sender_of_any_message(payload: bytes) -> None:
    expected = unsigned(bits_of(payload.decode()), 8, 30) if len(payload) >= 8 else None
    assert mmsi_of(payload) == expected
    assert mmsi_of(payload[:7] + b"~" + payload[8:]) is None


def test_every_recorded_position_is_that_of_pyais() -> None:
    data = gzip.decompress(recorded("ais/amsa_terrestrial_2012.nmea.gz").read_bytes())
    same = 0
    for match in re.finditer(rb"!..VD[MO],1,1,.?,.?,([0-W`-w]+),(\d)\*", data):
        kind = TYPE_OF_CHARACTER[match[1][0]]
        if kind in POSITION_TYPES:
            same += compare_position(kind, match[1], int(match[2]))
    assert same == 25843


# --- sentinels ---


@pytest.mark.parametrize("kind", [1, 2, 3, 18])
def test_sentinels_of_ships_are_unknown(kind: int) -> None:
    found = position_of(ship(kind, lat=91, lon=181, sog=1023, cog=3600, heading=511, second=60))
    assert (found.lat, found.lon) == (91.0, 181.0)
    assert (found.speed_mps, found.course_deg, found.heading_deg, found.second) == (None, None, None, 60)


@pytest.mark.parametrize("kind", [1, 18])
def test_bounds_and_reserved_values_are_unknown(kind: int) -> None:
    assert position_of(ship(kind, sog=1022)).speed_mps is None
    assert position_of(ship(kind, sog=1021)).speed_mps == pytest.approx(102.1 * KNOT_MPS)
    assert position_of(ship(kind, cog=3599)).course_deg == 359.9
    assert position_of(ship(kind, cog=4095)).course_deg is None
    assert position_of(ship(kind, heading=359)).heading_deg == 359.0
    assert position_of(ship(kind, heading=360)).heading_deg is None


@pytest.mark.parametrize("kind", [1, 18])
@pytest.mark.parametrize(("lat", "lon"), [(-90, -180), (90, 180), (-0.0000016, 0.0000016), (-33.9, 151.2)])
def test_signs_and_corners(kind: int, lat: float, lon: float) -> None:
    found = position_of(ship(kind, lat=lat, lon=lon, accuracy=1))
    assert (found.lat, found.lon) == pytest.approx((lat, lon), abs=1e-6)
    assert found.cov_enu_m2 == HIGH_ACCURACY_M2


def test_sentinels_of_aircraft_and_long_range() -> None:
    rest = [(0, 1), (181 * 600_000, 28), (91 * 600_000, 27), (3600, 12), (60, 6)]
    unknown = position_of(payload_of([(9, 6), (0, 2), (111232511, 30), (4095, 12), (1023, 10), *rest, (0, 34)]))
    assert (unknown.alt_m, unknown.alt_datum, unknown.speed_mps, unknown.course_deg) == (None, None, None, None)
    bound = position_of(payload_of([(9, 6), (0, 2), (111232511, 30), (4094, 12), (1022, 10), *rest, (0, 34)]))
    assert (bound.alt_m, bound.speed_mps) == (None, None)
    barometric = position_of(
        payload_of([(9, 6), (0, 2), (111232511, 30), (4093, 12), (1021, 10), *rest, (0x80, 8), (0, 26)])
    )
    assert (barometric.alt_m, barometric.alt_datum) == (4093.0, "BARO")
    assert barometric.speed_mps == pytest.approx(1021 * KNOT_MPS)
    far = position_of(
        payload_of(
            [(27, 6), (0, 2), (235012345, 30), (0, 2), (15, 4), (181 * 600, 18), (91 * 600, 17), (63, 6), (511, 9)]
        )
    )
    assert (far.lat, far.lon, far.speed_mps, far.course_deg) == (91.0, 181.0, None, None)


@pytest.mark.parametrize("kind", sorted(POSITION_TYPES | STATIC_TYPES))
def test_a_wrong_length_is_told(kind: int) -> None:
    for length in (1, 7, 15, 200):
        payload = ARMOUR[kind : kind + 1] + b"0" * (length - 1)
        if kind in STATIC_TYPES:
            assert isinstance(static_message(kind, payload, 0), str)
        elif kind in (1, 2, 3, 18):
            assert isinstance(ship_position(kind, payload, 0), str)
        else:
            assert isinstance(other_position(kind, payload, 0), str)


def test_static_class_b_variants() -> None:
    assert static_message(24, payload_of([(24, 6), (0, 2), (235012345, 30), (2, 2), (0, 128)]).encode(), 0) == (
        "message 24 has no such part"
    )
    # The boat of a ship has that ship's MMSI in place of its size.
    boat = payload_of([(24, 6), (0, 2), (982350123, 30), (1, 2), (37, 8), (0, 42), (0, 42), (235012345, 30), (0, 6)])
    assert static_of(boat) == (982350123, Static(class_name="pleasure"))


def test_every_type_has_one_fate() -> None:
    assert POSITION_TYPES | STATIC_TYPES | set(OTHER_TYPES) == set(range(1, 29))
    assert not POSITION_TYPES & STATIC_TYPES
    assert not set(OTHER_TYPES) & (POSITION_TYPES | STATIC_TYPES)
