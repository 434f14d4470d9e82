"""Compact position reporting: published examples, an encoder, the antimeridian, the poles, and rs1090."""

from __future__ import annotations

import math

import pytest
import rs1090
from hypothesis import given
from hypothesis import strategies as st
from test_feeds_air_common import distance_m

from apss_fusion.feeds import cpr


def encode(lat: float, lon: float, odd: bool, surface: bool = False) -> tuple[int, int]:
    """The 17 bits of latitude and longitude that an aircraft at this place sends (DO-260B A.1.7.3)."""
    full = 90.0 if surface else 360.0
    d_lat = full / (59 if odd else 60)
    y = math.floor(131_072 * (lat % d_lat) / d_lat + 0.5)
    sent_lat = d_lat * (y / 131_072 + math.floor(lat / d_lat))
    d_lon = full / max(cpr.longitude_zones(sent_lat) - int(odd), 1)
    x = math.floor(131_072 * (lon % d_lon) / d_lon + 0.5)
    return y % 131_072, x % 131_072


def bits(frame: str) -> tuple[int, int]:
    value = int(frame[8:22], 16)
    return value >> 17 & 0x1FFFF, value & 0x1FFFF


#: Junzi Sun, The 1090 Megahertz Riddle (2nd edition), sections 5 and 6.
EVEN, ODD = "8D40621D58C382D690C8AC2863A7", "8D40621D58C386435CC412692AD6"
SURFACE_EVEN, SURFACE_ODD = "8C4841753AAB238733C8CD4020B1", "8C4841753A8A35323FAEBDAC702D"


def test_published_pair() -> None:
    places = cpr.from_pair(*bits(EVEN), *bits(ODD))
    assert places is not None
    assert places[0] == pytest.approx((52.25720, 3.91937), abs=5e-6)


def test_published_reference_positions() -> None:
    assert cpr.from_reference(*bits(EVEN), False, False, 52.258, 3.918) == pytest.approx((52.25720, 3.91937), abs=5e-6)
    place = cpr.from_reference(*bits(SURFACE_ODD), True, True, 51.990, 4.375)
    assert place == pytest.approx((52.32061, 4.73473), abs=5e-6)


@pytest.mark.parametrize(
    ("lat", "above", "below"),
    [
        # DO-260B A.1.7.2 d
        (10.47047130, 59, 58),
        (14.82817437, 58, 57),
        (33.53993436, 50, 49),
        (59.95459277, 30, 29),
        (84.89166191, 5, 4),
        (86.53536998, 3, 2),
    ],
)
def test_longitude_zones(lat: float, above: int, below: int) -> None:
    for sign in (1.0, -1.0):
        assert cpr.longitude_zones(sign * (lat - 1e-7)) == above
        assert cpr.longitude_zones(sign * (lat + 1e-7)) == below


def test_longitude_zones_at_the_ends() -> None:
    assert [cpr.longitude_zones(lat) for lat in (0.0, -0.0, 1e-300, 87.0, -87.0, 87.1, 90.0, -90.0)] == [
        59, 59, 59, 2, 2, 1, 1, 1,
    ]  # fmt: skip


#: Half a step of both numbers, where it is largest: one longitude zone at 87 degrees, 180 degrees wide.
STEP_M = 9.0
LATITUDES = st.floats(-89.9, 89.9) | st.sampled_from((0.0, 86.9, -86.9, 87.0, 89.9, -89.9, 10.4704713))
LONGITUDES = st.floats(-180.0, 180.0) | st.sampled_from((-180.0, 180.0, 179.99999, -179.99999, 0.0))


@given(lat=LATITUDES, lon=LONGITUDES)
def test_pairs_give_the_place_everywhere(lat: float, lon: float) -> None:
    places = cpr.from_pair(*encode(lat, lon, False), *encode(lat, lon, True))
    if places is None:
        # Only within the rounding of a change of zones.
        assert cpr.longitude_zones(lat - 1e-4) != cpr.longitude_zones(lat + 1e-4)
        return
    for place in places:
        assert -180.0 <= place[1] < 180.0
        assert distance_m(place, (lat, lon)) < STEP_M


@given(
    lat=LATITUDES,
    lon=LONGITUDES,
    odd=st.booleans(),
    surface=st.booleans(),
    bearing=st.floats(0.0, 2 * math.pi),
    away=st.floats(0.0, 0.95),
)
def test_a_reference_nearby_gives_the_place(
    lat: float, lon: float, odd: bool, surface: bool, bearing: float, away: float
) -> None:
    # Half a zone is 180 NM in the air and 45 NM on the ground, less towards the poles.
    limit = (0.75 if surface else 3.0) * away
    ref_lat = max(-90.0, min(90.0, lat + limit * math.cos(bearing)))
    zones = max(cpr.longitude_zones(lat), 1)
    ref_lon = lon + (90.0 if surface else 360.0) / zones / 2 * away * math.sin(bearing)
    place = cpr.from_reference(*encode(lat, lon, odd, surface), odd, surface, ref_lat, ref_lon)
    assert place is not None
    assert distance_m(place, (lat, lon)) < STEP_M


def test_no_place_beyond_a_pole() -> None:
    found = [cpr.from_pair(y0, 0, y1, 0) for y0 in range(0, 131_072, 4096) for y1 in range(0, 131_072, 4096)]
    assert None in found
    assert all(abs(place[0]) <= 90 for places in found if places for place in places)


@given(
    y=st.integers(0, 131_071),
    x=st.integers(0, 131_071),
    odd=st.booleans(),
    surface=st.booleans(),
    lat=st.floats(-80.0, 80.0),
    lon=st.floats(-179.0, 179.0),
)
def test_references_agree_with_rs1090(y: int, x: int, odd: bool, surface: bool, lat: float, lon: float) -> None:
    message = (6 << 51 if surface else (11 << 51) | (0xC38 << 36)) | (int(odd) << 34) | (y << 17) | x
    frame = "8d40621d" + f"{message:014x}"
    frame += f"{parity(frame):06x}"
    other = rs1090.decode(frame, reference=(lat, lon))
    place = cpr.from_reference(y, x, odd, surface, lat, lon)
    if other is None or other.get("latitude") is None:
        return
    if place is None or distance_m(place, (lat, lon)) > 60_000.0:
        return  # rs1090 knows no poles and no antimeridian there
    theirs = (other["latitude"], other["longitude"])
    assert distance_m(place, theirs) < 0.01


def parity(frame: str) -> int:
    """The 24 bits that close a frame without them (ICAO annex 10 volume IV, 3.1.2.3.3)."""
    rest = int(frame, 16) << 24
    for bit in range(rest.bit_length() - 1, 23, -1):
        if rest >> bit & 1:
            rest ^= 0x1FFF409 << (bit - 24)
    return rest
