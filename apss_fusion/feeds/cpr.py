"""Compact position reporting: the 17-bit latitudes and longitudes of ADS-B back to degrees (RTCA DO-260B, A.1.7).

A position is cut into zones, 60 of latitude in "even" and 59 in "odd" messages, and only the place within a zone is
sent. Two airborne messages of different parity, close in time, give the place on the globe; one message alone gives it
if a place nearby (within 180 NM in the air, 45 NM on the ground) is known.
"""

from __future__ import annotations

import math

#: Scale of the encoded latitudes and longitudes.
_SCALE = 1.0 / 131_072.0
_NZ = 15
_NL_RATIO = 1.0 - math.cos(math.pi / (2.0 * _NZ))


def longitude_zones(lat_deg: float) -> int:
    """NL: how many longitude zones there are at a latitude, 59 at the equator to 1 near the poles."""
    lat = abs(lat_deg)
    if lat < 1e-9:
        return 59
    if lat >= 87.0:
        return 2 if lat == 87.0 else 1
    ratio = 1.0 - _NL_RATIO / math.cos(math.radians(lat)) ** 2
    return math.floor(2.0 * math.pi / math.acos(max(ratio, -1.0)))


def from_pair(
    even_lat: int, even_lon: int, odd_lat: int, odd_lon: int
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """(lat, lon) in degrees of an even and an odd airborne message of one aircraft, in this order.

    None if they lie on two sides of a change of the number of longitude zones, or on no globe at all.
    """
    y0, x0, y1, x1 = even_lat * _SCALE, even_lon * _SCALE, odd_lat * _SCALE, odd_lon * _SCALE
    j = math.floor(59.0 * y0 - 60.0 * y1 + 0.5)
    lat0 = 6.0 * (j % 60 + y0)
    lat1 = 360.0 / 59.0 * (j % 59 + y1)
    lat0 -= 360.0 if lat0 >= 270.0 else 0.0
    lat1 -= 360.0 if lat1 >= 270.0 else 0.0
    if abs(lat0) > 90.0 or abs(lat1) > 90.0:
        return None
    zones = longitude_zones(lat0)
    if zones != longitude_zones(lat1):
        return None
    m = math.floor(x0 * (zones - 1) - x1 * zones + 0.5)
    n0, n1 = zones, max(zones - 1, 1)
    return (lat0, _turned(360.0 / n0 * (m % n0 + x0))), (lat1, _turned(360.0 / n1 * (m % n1 + x1)))


def from_reference(
    lat_cpr: int, lon_cpr: int, odd: bool, surface: bool, ref_lat_deg: float, ref_lon_deg: float
) -> tuple[float, float] | None:
    """(lat, lon) in degrees of one message, being the solution nearest to the reference; None if on no globe."""
    y, x = lat_cpr * _SCALE, lon_cpr * _SCALE
    full = 90.0 if surface else 360.0
    d_lat = full / (59.0 if odd else 60.0)
    lat = d_lat * (math.floor(0.5 + ref_lat_deg / d_lat - y) + y)
    if abs(lat) > 90.0:
        return None
    d_lon = full / max(longitude_zones(lat) - int(odd), 1)
    return lat, _turned(d_lon * (math.floor(0.5 + ref_lon_deg / d_lon - x) + x))


def _turned(lon_deg: float) -> float:
    """The longitude in [-180, 180)."""
    return (lon_deg + 180.0) % 360.0 - 180.0
