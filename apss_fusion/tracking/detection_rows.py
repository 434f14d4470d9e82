"""From what a detection states to a row of the filter: checks, defaults and the equations of its covariances.

A position ellipse that holds the object with probability p has semi-axes of k sigma, k^2 = -2 ln(1 - p) (the chi-square
distribution of two degrees of freedom). With u = (sin, cos) of the major axis' azimuth, east and north,
R = a^2 u u' + b^2 u_perp u_perp'. The velocity's R has the sigma of the speed along the course and speed times the
sigma of the course across it. A report whose time may be off by sigma_t lies v sigma_t along its velocity from where it says.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import Row, inline_kernel, kernel
from apss_fusion.tracking.register import SourceDefaults
from apss_fusion.tracking.rows import DATUM_NAMES, UNKNOWN
from apss_fusion.tracking.times import BAD_TIME_US, NO_TIME_US

#: Columns of the matrix of numbers that a detection states, NaN for what it does not.
NUMBERS = (
    "lat",
    "lon",
    "alt_m",
    "alt_sigma_m",
    "speed_mps",
    "course_deg",
    "speed_sigma_mps",
    "course_sigma_deg",
    "heading_deg",
    "vertical_rate_mps",
    "range_rate_mps",
    "range_rate_sigma_mps",
    "los_az_deg",
    "los_el_deg",
    "length_m",
    "width_m",
    "detection_prob",
)
ELLIPSE = ("semi_major_m", "semi_minor_m", "orientation_deg", "probability")
#: After `NUMBERS`: the ellipse, then [ee, en, nn].
N_NUMBERS = len(NUMBERS) + len(ELLIPSE) + 3
(
    _LAT,
    _LON,
    _ALT,
    _ALT_SIGMA,
    _SPEED,
    _COURSE,
    _SPEED_SIGMA,
    _COURSE_SIGMA,
    _HEADING,
    _CLIMB,
    _RATE,
    _RATE_SIGMA,
    _LOS_AZ,
    _LOS_EL,
    _LENGTH,
    _WIDTH,
    _PROB,
    _MAJOR,
    _MINOR,
    _ORIENT,
    _INSIDE,
    _EE,
    _EN,
    _NN,
) = range(N_NUMBERS)

#: Least variance of a position, m^2; least sigmas of a speed or range rate and of an altitude: no sensor is better.
MIN_POSITION_VAR_M2 = 0.25
MIN_SPEED_SIGMA_MPS = 0.05
MIN_ALT_SIGMA_M = 0.5
#: Half the circumference of the Earth: no position is less certain.
MAX_POSITION_SIGMA_M = 2.0e7
#: Above escape velocity: nothing that stays near the Earth is as fast.
MAX_SPEED_MPS = 12_000.0
#: A detection is of its look: at most a day from the look's time.
MAX_TIME_OFFSET_US = 86_400_000_000
_MAX_SIGMA = 1e9
#: Of a correlation matrix: less is singular in double precision.
_LEAST_DETERMINANT = 1e-12
_RAD = math.pi / 180.0

#: Fault number of what was found wrong before: the reason is kept elsewhere.
FAULT_KNOWN = 255
#: Field and reason by fault number; 0 is none.
FAULTS: tuple[tuple[str, str], ...] = (
    ("", ""),
    ("lat", "not from -90 to 90"),
    ("lon", "not from -180 to 180"),
    ("time", "no time, or more than a day from the look's"),
    ("ellipse", "not 0 < semi_minor_m <= semi_major_m <= 20,000 km and a probability between 0 and 1"),
    ("cov_enu_m2", "not positive definite, or above 20,000 km"),
    ("alt_m", "not finite"),
    ("alt_sigma_m", "not positive"),
    ("speed_mps", "not from 0 to 12,000"),
    ("course_deg", "not finite"),
    ("speed_sigma_mps", "not positive"),
    ("course_sigma_deg", "not positive"),
    ("heading_deg", "not finite"),
    ("vertical_rate_mps", "not from -12,000 to 12,000"),
    ("range_rate_mps", "not from -12,000 to 12,000"),
    ("range_rate_sigma_mps", "not positive"),
    ("los_az_deg", "not finite"),
    ("los_el_deg", "not from -90 to 90"),
    ("length_m", "not positive"),
    ("width_m", "not positive"),
    ("detection_prob", "not from 0 to 1"),
    ("domain", "the source is registered without this domain"),
    ("detection_id", "met before in this look"),
)
(
    _OK,
    _BAD_LAT,
    _BAD_LON,
    _BAD_TIME,
    _BAD_ELLIPSE,
    _BAD_COV,
    _BAD_ALT,
    _BAD_ALT_SIGMA,
    _BAD_SPEED,
    _BAD_COURSE,
    _BAD_SPEED_SIGMA,
    _BAD_COURSE_SIGMA,
    _BAD_HEADING,
    _BAD_CLIMB,
    _BAD_RATE,
    _BAD_RATE_SIGMA,
    _BAD_LOS_AZ,
    _BAD_LOS_EL,
    _BAD_LENGTH,
    _BAD_WIDTH,
    _BAD_PROB,
    _BAD_DOMAIN,
    DUPLICATE,
) = range(len(FAULTS))


def default_sigmas(defaults: SourceDefaults) -> NDArray[np.float64]:
    """For `fill_detections`: range rate, climb, slow, then altitude by datum number (0: unstated)."""
    d = defaults.detection
    by_datum = [d.alt_sigma_m[name or "UNSTATED"] for name in DATUM_NAMES]
    return np.array([d.range_rate_sigma_mps, d.climb_sigma_mps, d.slow_mps, *by_datum])


@inline_kernel
def _not_finite(x: float) -> bool:
    return math.isinf(x)


@inline_kernel
def _outside(x: float, low: float, high: float) -> bool:
    """Known and not within [low, high]; NaN is unknown and within."""
    return x < low or x > high


@inline_kernel
def _no_sigma(x: float) -> bool:
    return x <= 0.0 or x > _MAX_SIGMA


@kernel
def _fault(v: NDArray[np.float64]) -> int:
    """The first fault of one detection's numbers."""
    if not (-90.0 <= v[_LAT] <= 90.0):
        return _BAD_LAT
    if not (-180.0 <= v[_LON] <= 180.0):
        return _BAD_LON
    if not (math.isnan(v[_MAJOR]) and math.isnan(v[_MINOR]) and math.isnan(v[_ORIENT]) and math.isnan(v[_INSIDE])):
        good = 0.0 < v[_MINOR] <= v[_MAJOR] <= MAX_POSITION_SIGMA_M
        if not (good and math.isfinite(v[_ORIENT]) and 0.0 < v[_INSIDE] < 1.0):
            return _BAD_ELLIPSE
    elif not (math.isnan(v[_EE]) and math.isnan(v[_EN]) and math.isnan(v[_NN])):
        ceiling = MAX_POSITION_SIGMA_M * MAX_POSITION_SIGMA_M
        if not (0.0 < v[_EE] <= ceiling and 0.0 < v[_NN] <= ceiling and v[_EN] * v[_EN] < v[_EE] * v[_NN]):
            return _BAD_COV
        ee, nn = max(v[_EE], MIN_POSITION_VAR_M2), max(v[_NN], MIN_POSITION_VAR_M2)
        if ee * nn - v[_EN] * v[_EN] <= _LEAST_DETERMINANT * ee * nn:
            return _BAD_COV
    if _not_finite(v[_ALT]):
        return _BAD_ALT
    if _no_sigma(v[_ALT_SIGMA]):
        return _BAD_ALT_SIGMA
    if _outside(v[_SPEED], 0.0, MAX_SPEED_MPS):
        return _BAD_SPEED
    if _not_finite(v[_COURSE]):
        return _BAD_COURSE
    if _no_sigma(v[_SPEED_SIGMA]):
        return _BAD_SPEED_SIGMA
    if _no_sigma(v[_COURSE_SIGMA]):
        return _BAD_COURSE_SIGMA
    if _not_finite(v[_HEADING]):
        return _BAD_HEADING
    if _outside(v[_CLIMB], -MAX_SPEED_MPS, MAX_SPEED_MPS):
        return _BAD_CLIMB
    if _outside(v[_RATE], -MAX_SPEED_MPS, MAX_SPEED_MPS):
        return _BAD_RATE
    if _no_sigma(v[_RATE_SIGMA]):
        return _BAD_RATE_SIGMA
    if _not_finite(v[_LOS_AZ]):
        return _BAD_LOS_AZ
    if _outside(v[_LOS_EL], -90.0, 90.0):
        return _BAD_LOS_EL
    if v[_LENGTH] <= 0.0 or _not_finite(v[_LENGTH]):
        return _BAD_LENGTH
    if v[_WIDTH] <= 0.0 or _not_finite(v[_WIDTH]):
        return _BAD_WIDTH
    if _outside(v[_PROB], 0.0, 1.0):
        return _BAD_PROB
    return _OK


@inline_kernel
def _turned(along_var: float, across_var: float, azimuth_rad: float) -> tuple[float, float, float]:
    """(ee, en, nn) of a covariance with principal axes along an azimuth and across it."""
    s, c = math.sin(azimuth_rad), math.cos(azimuth_rad)
    return (
        along_var * s * s + across_var * c * c,
        (along_var - across_var) * s * c,
        along_var * c * c + across_var * s * s,
    )


@kernel
def _fill(row: Row, v: NDArray[np.float64], source: Row, sigmas: NDArray[np.float64]) -> None:
    lat, lon = v[_LAT] * _RAD, v[_LON] * _RAD
    c = math.cos(lat)
    row.x, row.y, row.z = c * math.cos(lon) + 0.0, c * math.sin(lon) + 0.0, math.sin(lat) + 0.0

    if not math.isnan(v[_MAJOR]):
        k2 = -2.0 * math.log1p(-v[_INSIDE])
        major = max(v[_MAJOR] * v[_MAJOR] / k2, MIN_POSITION_VAR_M2)
        minor = max(v[_MINOR] * v[_MINOR] / k2, MIN_POSITION_VAR_M2)
        ee, en, nn = _turned(major, minor, v[_ORIENT] * _RAD)
    elif not math.isnan(v[_EE]):
        ee, en, nn = max(v[_EE], MIN_POSITION_VAR_M2), v[_EN], max(v[_NN], MIN_POSITION_VAR_M2)
    else:
        ee = nn = max(source.position_sigma_m * source.position_sigma_m, MIN_POSITION_VAR_M2)
        en = 0.0
    stated = not (math.isnan(v[_MAJOR]) and math.isnan(v[_EE]))
    row.va = row.vb = row.vaa = row.vab = row.vbb = math.nan
    speed, course = v[_SPEED], v[_COURSE]
    along = source.speed_sigma_mps if math.isnan(v[_SPEED_SIGMA]) else v[_SPEED_SIGMA]
    along = max(along, MIN_SPEED_SIGMA_MPS)
    if not math.isnan(speed):
        if not math.isnan(course):
            course_sigma = source.course_sigma_deg if math.isnan(v[_COURSE_SIGMA]) else v[_COURSE_SIGMA]
            across = max(along, speed * course_sigma * _RAD)
            row.va = speed * math.sin(course * _RAD) + 0.0
            row.vb = speed * math.cos(course * _RAD) + 0.0
            vaa, vab, vbb = _turned(along * along, across * across, course * _RAD)
            row.vaa, row.vab, row.vbb = vaa, vab + 0.0, vbb
        elif speed < sigmas[2]:
            along = max(along, sigmas[2])
            row.va = row.vb = row.vab = 0.0
            row.vaa = row.vbb = along * along

    if not stated and row.va == row.va:
        # Its time may be a little off: along the course that is speed times as much.
        var = source.time_sigma_s * source.time_sigma_s
        ee += var * row.va * row.va
        en += var * row.va * row.vb
        nn += var * row.vb * row.vb
    row.ree, row.ren, row.rnn = ee, en + 0.0, nn

    row.rate = row.rate_var = math.nan
    row.le = row.ln = 0.0
    if not math.isnan(v[_RATE]) and not math.isnan(v[_LOS_AZ]):
        sigma = max(sigmas[0] if math.isnan(v[_RATE_SIGMA]) else v[_RATE_SIGMA], MIN_SPEED_SIGMA_MPS)
        level = 1.0 if math.isnan(v[_LOS_EL]) else math.cos(v[_LOS_EL] * _RAD)
        row.rate, row.rate_var = v[_RATE] + 0.0, sigma * sigma
        row.le = math.sin(v[_LOS_AZ] * _RAD) * level + 0.0
        row.ln = math.cos(v[_LOS_AZ] * _RAD) * level + 0.0

    row.alt = row.alt_var = row.climb = row.climb_var = math.nan
    if not math.isnan(v[_ALT]):
        sigma = max(sigmas[3 + row.datum] if math.isnan(v[_ALT_SIGMA]) else v[_ALT_SIGMA], MIN_ALT_SIGMA_M)
        row.alt, row.alt_var = v[_ALT] + 0.0, sigma * sigma
    if not math.isnan(v[_CLIMB]):
        row.climb, row.climb_var = v[_CLIMB] + 0.0, sigmas[1] * sigmas[1]
    row.length_m = math.nan if math.isnan(v[_LENGTH]) else v[_LENGTH]
    row.width_m = math.nan if math.isnan(v[_WIDTH]) else v[_WIDTH]


@kernel
def fill_detections(
    numbers: NDArray[np.float64],
    time_us: NDArray[np.int64],
    domain: NDArray[np.int8],
    datum: NDArray[np.int8],
    first: NDArray[np.int64],
    look_time_us: NDArray[np.int64],
    look_source: NDArray[np.int32],
    sources: NDArray[np.void],
    sigmas: NDArray[np.float64],
    rows: NDArray[np.void],
    faults: NDArray[np.uint8],
) -> None:
    """Rows of `DETECTION` (all but hashes, attributes and text) and fault numbers, (m,) each.

    `numbers` is (m, N_NUMBERS); `first`, (n + 1,), says where each look's detections begin.
    """
    for i in range(len(first) - 1):
        source = sources[look_source[i]]
        for j in range(first[i], first[i + 1]):
            v, row = numbers[j], rows[j]
            faults[j] = _fault(v)
            if faults[j] != _OK:
                continue
            row.dt = 0.0
            if time_us[j] != NO_TIME_US:
                offset = time_us[j] - look_time_us[i]
                if time_us[j] == BAD_TIME_US or abs(offset) > MAX_TIME_OFFSET_US:
                    faults[j] = _BAD_TIME
                    continue
                row.dt = offset / 1e6
            row.domain = domain[j]
            if domain[j] == UNKNOWN:
                row.domain = source.domain
            elif (source.domains >> domain[j]) & 1 == 0:
                faults[j] = _BAD_DOMAIN
                continue
            row.datum = datum[j] if not math.isnan(v[_ALT]) else 0
            _fill(row, v, source, sigmas)
