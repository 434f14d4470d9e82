"""What STANAG 4607 target reports and job definitions say, as detections and the values of a look."""

from __future__ import annotations

import math
from collections import Counter
from struct import Struct

from stanag4607 import DwellSegment, JobDefinitionSegment

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.gmti_common import ground_covariance, line_of_sight
from apss_fusion.feeds.identity import content_id
from apss_fusion.model import Detection
from apss_fusion.model.look import Domain

#: Below this wrap velocity a range rate may be folded, in m/s.
MIN_WRAP_MPS = 50.0

_FIRST_CLASSES = {
    1: "tracked vehicle",
    2: "wheeled vehicle",
    3: "rotary wing aircraft",
    4: "fixed wing aircraft",
    5: "stationary rotator",
    6: "maritime",
    7: "beacon",
    8: "amphibious",
    9: "person",
    10: "vehicle",
    11: "animal",
    12: "large land target",
    13: "large maritime target",
}
_LATER_CLASSES = {0: "clutter", 1: "phantom", 2: "ground rotator", 3: "small vehicle", 4: "low slow flyer"}
#: D32.10 of live (1 to 18) and simulated targets (129 to 148).
CLASSES = (
    _FIRST_CLASSES
    | {code + 14: name for code, name in _LATER_CLASSES.items()}
    | {code + 128: name for code, name in _FIRST_CLASSES.items()}
    | {code + 144: name for code, name in _LATER_CLASSES.items()}
)
_DOMAINS: dict[str | None, Domain] = {
    "rotary wing aircraft": "AIR",
    "fixed wing aircraft": "AIR",
    "low slow flyer": "AIR",
    "maritime": "SEA",
    "large maritime target": "SEA",
    "tracked vehicle": "GROUND",
    "wheeled vehicle": "GROUND",
    "stationary rotator": "GROUND",
    "person": "GROUND",
    "vehicle": "GROUND",
    "animal": "GROUND",
    "large land target": "GROUND",
    "ground rotator": "GROUND",
    "small vehicle": "GROUND",
}
_NO_OBJECTS = ("clutter", "phantom")

#: Values of a target report as they were written, by field: 7 is D32.7.
_Target = dict[int, int]
_FORMATS = dict(enumerate("HiIhhhhHbBBHHBHBIb", 1))
#: Degrees a step of SA32 and BA32.
_LAT_STEP, _LON_STEP = 180.0 / 2**32, 360.0 / 2**32


def p_detect(job: JobDefinitionSegment | None) -> float | None:
    """J25 as a probability."""
    percent = None if job is None else job.nominal_detection_probability_percent
    return percent / 100.0 if percent is not None and percent <= 100 else None


def clutter_per_km2(job: JobDefinitionSegment | None) -> float | None:
    """J26, decibels below one false alarm per square metre, as false alarms per square kilometre."""
    decibels = None if job is None else job.nominal_false_alarm_density_negative_decibels
    return None if decibels is None else 10.0 ** (6.0 - decibels / 10.0)


def min_detectable_speed_mps(dwell: DwellSegment, job: JobDefinitionSegment | None) -> float | None:
    """D31, or J24 where the dwell does not say."""
    speed = dwell.minimum_detectable_velocity_decimeters_per_second
    if speed is None and job is not None:
        speed = job.nominal_minimum_detectable_velocity_decimeters_per_second
    return None if speed is None else speed / 10.0


def longitude(degrees: float) -> float:
    """A longitude of 0 to 360 degrees as one of -180 to 180."""
    return degrees - 360.0 if degrees > 180.0 else degrees


def detections(
    dwell: DwellSegment, job: JobDefinitionSegment | None, segment_id: str, packet: int
) -> tuple[tuple[Detection, ...], list[Reject]]:
    """The detections of a dwell segment, and dead letters of targets without a position."""
    if not dwell.targets:
        return (), []
    present = dwell.mask.present_target_fields
    layout = Struct(">" + "".join(_FORMATS[field] for field in present))
    places = _Places(dwell)
    targets: list[_Target] = []
    lat: list[float] = []
    lon: list[float] = []
    ids: list[str] = []
    problems: list[Reject] = []
    seen: Counter[bytes] = Counter()
    for report in dwell.targets:
        content = report.to_bytes()
        target = dict(zip(present, layout.unpack(content), strict=True))
        try:
            place = places.of(target)
        except BadValue as error:
            problems.append(Reject(error.reason, error.field, packet, content, is_record=False))
            continue
        seen[content] += 1
        ids.append(content_id(segment_id, content, str(seen[content])))
        targets.append(target)
        lat.append(place[0])
        lon.append(place[1])
    if not targets:
        return (), problems
    sensor_lon = longitude(float(dwell.sensor_longitude.degrees))
    sensor = (float(dwell.sensor_latitude.degrees), sensor_lon, dwell.sensor_altitude_centimeters / 100.0)
    # Where no height is given, the target lies on the earth model: near enough the ellipsoid for a direction.
    sight = line_of_sight(sensor, lat, lon, [float(target.get(6, 0)) for target in targets])
    rows = zip(targets, ids, lat, lon, *(column.tolist() for column in sight), strict=True)
    return tuple(_detection(job, *row) for row in rows), problems


class _Places:
    """Positions of the targets of a dwell, exact to the step of the format."""

    def __init__(self, dwell: DwellSegment) -> None:
        self._lat, self._lon = dwell.center_latitude.raw, dwell.center_longitude.raw
        self._lat_scale, self._lon_scale = dwell.latitude_scale, dwell.longitude_scale

    def of(self, target: _Target) -> tuple[float, float]:
        """Latitude and longitude in degrees; `BadValue` where there is none."""
        if 2 in target and 3 in target:
            lat, lon = target[2], target[3]
        elif 4 in target and 5 in target and self._lat_scale is not None and self._lon_scale is not None:
            lat = self._lat + target[4] * self._lat_scale.raw
            lon = (self._lon + target[5] * self._lon_scale.raw) % 2**32
        else:
            raise BadValue("D32.2", "the target has no position")
        if abs(lat) > 2**31:
            raise BadValue("D32.4", "the latitude lies beyond a pole")
        return lat * _LAT_STEP, longitude(lon * _LON_STEP)


def _detection(
    job: JobDefinitionSegment | None,
    target: _Target,
    detection_id: str,
    lat: float,
    lon: float,
    az_deg: float,
    el_deg: float,
    slant_range_m: float,
) -> Detection:
    seen_from_afar = slant_range_m > 1.0
    name, percent = CLASSES.get(target.get(10, 0)), target.get(11)
    share = percent / 100.0 if name is not None and percent is not None and percent <= 100 else None
    height_m = target.get(6)
    rate_mps = _range_rate_mps(target)
    return Detection(
        detection_id=detection_id,
        lat=lat,
        lon=lon,
        cov_enu_m2=_covariance(target, job, az_deg, el_deg, slant_range_m) if seen_from_afar else None,
        alt_m=None if height_m is None else float(height_m),
        alt_datum=None if height_m is None else "HAE",
        alt_sigma_m=None if height_m is None else _sigma(target.get(14), 1.0),
        range_rate_mps=rate_mps,
        range_rate_sigma_mps=None if rate_mps is None else _range_rate_sigma_mps(target, job),
        los_az_deg=az_deg if seen_from_afar else None,
        los_el_deg=el_deg if seen_from_afar else None,
        domain=_DOMAINS.get(name, "UNKNOWN"),
        class_probs=None if name is None or share is None else {name: share},
        detection_prob=1.0 - share if name in _NO_OBJECTS and share is not None else None,
    )


def _range_rate_mps(target: _Target) -> float | None:
    rate, wrap = target.get(7), target.get(8)
    if rate is None or (wrap and wrap / 100.0 < MIN_WRAP_MPS):
        return None
    return rate / 100.0


def _range_rate_sigma_mps(target: _Target, job: JobDefinitionSegment | None) -> float | None:
    sigma = _sigma(target.get(15), 0.01)
    if sigma is None and job is not None:
        sigma = _sigma(job.nominal_radial_velocity_standard_deviation_centimeters_per_second, 0.01)
    return sigma


def _covariance(
    target: _Target, job: JobDefinitionSegment | None, az_deg: float, el_deg: float, slant_range_m: float
) -> tuple[float, float, float] | None:
    slant, cross = _sigma(target.get(12), 0.01), _sigma(target.get(13), 0.1)
    if slant is None and job is not None:
        slant = _sigma(job.nominal_slant_range_standard_deviation_centimeters, 0.01)
    if cross is None and job is not None and (angle := job.nominal_cross_range_standard_deviation) is not None:
        cross = _sigma(math.radians(angle.degrees), slant_range_m)
    if slant is None or cross is None:
        return None
    return ground_covariance(az_deg, el_deg, slant, cross, _sigma(target.get(14), 1.0) or 0.0)


def _sigma(value: float | None, unit: float) -> float | None:
    """A standard deviation in SI units; zero is no statement."""
    return value * unit if value else None
