"""What the ADS-B formats share: units, times, identities and accuracy categories.

Quality categories are those of RTCA DO-260B (ADS-B version 2; DO-260A and DO-260 for versions 1 and 0). They bound an
error with probability 0.95; for a circular normal error that radius is 2.4477 standard deviations of one axis.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

FOOT_M = 0.3048
KNOT_MPS = 1852.0 / 3600.0
FOOT_PER_MINUTE_MPS = FOOT_M / 60.0

#: Radius that holds 95 % of a circular normal error, in standard deviations of one axis: sqrt(2 ln 20).
SIGMAS_PER_R95 = math.sqrt(2.0 * math.log(20.0))
#: The same for a containment radius that is left once in 100,000: sqrt(2 ln 1e5).
SIGMAS_PER_CONTAINMENT = math.sqrt(2.0 * math.log(1e5))

#: Where a category says that the accuracy is unknown: 1 nautical mile, what an inertial platform drifts in an hour.
_UNKNOWN_R95_M = 1852.0
#: Navigation accuracy category for position to the 95 % horizontal radius in m (DO-260B table 2-70).
NAC_P_R95_M = {
    0: _UNKNOWN_R95_M, 1: 18_520.0, 2: 7_408.0, 3: 3_704.0, 4: 1_852.0, 5: 926.0,
    6: 555.6, 7: 185.2, 8: 92.6, 9: 30.0, 10: 10.0, 11: 3.0,
}  # fmt: skip
#: Navigation uncertainty category for position, version 0, to the 95 % horizontal radius in m (DO-260 table 2-11).
NUC_P_R95_M = {
    0: _UNKNOWN_R95_M, 1: 18_520.0, 2: 9_260.0, 3: 1_852.0, 4: 926.0, 5: 463.0,
    6: 185.2, 7: 92.6, 8: 10.0, 9: 3.0,
}  # fmt: skip
#: Navigation accuracy category for velocity to the 95 % horizontal error in m/s (DO-260B table 2-22); 0 is unknown.
NAC_V_R95_MPS = {1: 10.0, 2: 3.0, 3: 1.0, 4: 0.3}
#: Geometric vertical accuracy to the 95 % vertical error in m (DO-260B table 2-71); 0 and 3 are unknown.
GVA_95_M = {1: 150.0, 2: 45.0}
#: 95 % of a normal error on one axis, in standard deviations.
_SIGMAS_PER_95 = 1.959964

#: One-sigma error of the time of a position: 0.05 s are seen along the track in recorded feeds (a least-squares fit
#: through four neighbours), and DO-260B allows an aircraft 0.6 s of latency that nobody compensates.
TIME_SIGMA_S = 0.1

#: Greatest speed over ground and climb that a report may state (10 and 3 times what airliners do).
MAX_SPEED_MPS = 2_500.0
MAX_VERTICAL_RATE_MPS = 200.0
#: Altitudes that a report may state.
MIN_ALTITUDE_M, MAX_ALTITUDE_M = -1_500.0, 60_000.0

_ICAO24 = re.compile(r"[0-9a-fA-F]{6}")
_FIRST, _LAST = 631_152_000.0, 4_102_444_800.0  # 1990 and 2100


def utc(seconds: float) -> datetime | None:
    """The time of seconds since 1970, or None where no feed can be from (before 1990, after 2100, NaN)."""
    if not _FIRST <= seconds < _LAST:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def is_position(lat_deg: float, lon_deg: float) -> bool:
    """Whether these are degrees on the globe. False for NaN."""
    return -90.0 <= lat_deg <= 90.0 and -180.0 <= lon_deg <= 180.0


def identity(address: str, callsign: str | None = None) -> dict[str, str] | None:
    """The `ids` of an address of 6 hex digits, or None if it is none.

    A leading ``~`` marks an address that ICAO did not assign (TIS-B tracks, anonymous aircraft): its key is "address".
    The addresses of all zeros and all ones are assigned to nobody; such a report has no address.
    """
    key = "icao24"
    if address.startswith("~"):
        key, address = "address", address[1:]
    if _ICAO24.fullmatch(address) is None:
        return None
    address = address.lower()
    ids = {} if key == "icao24" and address in ("000000", "ffffff") else {key: address}
    if callsign and (callsign := callsign.strip()):
        ids["callsign"] = callsign
    return ids


def position_sigma_m(nac_p: int | None, containment_m: float | None = None) -> float | None:
    """One-sigma position error on each axis from NACp, or else from the radius of containment."""
    r95 = NAC_P_R95_M.get(nac_p) if nac_p is not None else None
    if r95 is not None:
        return r95 / SIGMAS_PER_R95
    if containment_m is not None and containment_m > 0.0:
        return containment_m / SIGMAS_PER_CONTAINMENT
    return None


def speed_sigma_mps(nac_v: int | None) -> float | None:
    """One-sigma velocity error on each axis from NACv."""
    r95 = NAC_V_R95_MPS.get(nac_v) if nac_v is not None else None
    return None if r95 is None else r95 / SIGMAS_PER_R95


def course_sigma_deg(sigma_mps: float | None, speed_mps: float | None) -> float | None:
    """One-sigma course error of a velocity of this speed and this error on each axis."""
    if sigma_mps is None or speed_mps is None:
        return None
    return math.degrees(math.atan2(sigma_mps, speed_mps))


def altitude_sigma_m(gva: int | None) -> float | None:
    """One-sigma error of a geometric altitude from GVA."""
    bound = GVA_95_M.get(gva) if gva is not None else None
    return None if bound is None else bound / _SIGMAS_PER_95


def position_covariance(
    sigma_m: float, speed_mps: float | None, course_deg: float | None, time_sigma_s: float = TIME_SIGMA_S
) -> tuple[float, float, float]:
    """[ee, en, nn] in m2 of a position of this error on each axis whose time is in error, too.

    The error of time moves the position along the velocity: ``P = sigma^2 I + time_sigma^2 v v'``. Of a velocity
    without a direction, the error may be in any.
    """
    variance = sigma_m * sigma_m
    if speed_mps is None:
        return variance, 0.0, variance
    along = (speed_mps * time_sigma_s) ** 2
    if course_deg is None:
        return variance + along, 0.0, variance + along
    east, north = math.sin(math.radians(course_deg)), math.cos(math.radians(course_deg))
    return variance + along * east * east, along * east * north, variance + along * north * north
