"""What STANAG 4607 target reports and job definitions say, as detections and the values of a look."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from stanag4607 import DwellSegment, JobDefinitionSegment, TargetReport

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
    dwell: DwellSegment, job: JobDefinitionSegment | None, dwell_id: str, packet: int
) -> tuple[tuple[Detection, ...], list[Reject]]:
    """The detections of a dwell, and dead letters of targets without a position."""
    targets, lat, lon = [], [], []
    problems: list[Reject] = []
    for index, target in enumerate(dwell.targets):
        try:
            place = dwell.target_location(index)
        except ValueError as error:
            problems.append(Reject(str(error), "D32.4", packet, target.to_bytes(), is_record=False))
            continue
        if place is None:
            problems.append(Reject("the target has no position", "D32.2", packet, target.to_bytes(), is_record=False))
            continue
        targets.append(target)
        lat.append(float(place.latitude.degrees))
        lon.append(longitude(float(place.longitude.degrees)))
    if not targets:
        return (), problems
    sensor = (
        float(dwell.sensor_latitude.degrees),
        longitude(float(dwell.sensor_longitude.degrees)),
        dwell.sensor_altitude_centimeters / 100.0,
    )
    # Where no height is given, the target lies on the earth model: near enough the ellipsoid for a direction.
    heights = [float(target.geodetic_height_meters or 0) for target in targets]
    sight = line_of_sight(sensor, lat, lon, heights)
    seen: Counter[bytes] = Counter()
    found = []
    for target, *place in zip(targets, lat, lon, *sight, strict=True):
        content = target.to_bytes()
        seen[content] += 1
        detection_id = content_id(dwell_id, content, str(seen[content]))
        found.append(_detection(target, job, detection_id, *(float(x) for x in place)))
    return tuple(found), problems


def _detection(
    target: TargetReport,
    job: JobDefinitionSegment | None,
    detection_id: str,
    lat: float,
    lon: float,
    az_deg: float,
    el_deg: float,
    slant_range_m: float,
) -> Detection:
    seen_from_afar = slant_range_m > 1.0
    name = CLASSES.get(target.classification or 0)
    percent = target.classification_probability_percent
    share = percent / 100.0 if name is not None and percent is not None and percent <= 100 else None
    height_m = target.geodetic_height_meters
    rate_mps = _range_rate_mps(target)
    return Detection(
        detection_id=detection_id,
        lat=lat,
        lon=lon,
        cov_enu_m2=_covariance(target, job, az_deg, el_deg, slant_range_m) if seen_from_afar else None,
        alt_m=height_m,
        alt_datum=None if height_m is None else "HAE",
        alt_sigma_m=None if height_m is None else _above_zero(target.height_uncertainty_meters, 1.0),
        range_rate_mps=rate_mps,
        range_rate_sigma_mps=None if rate_mps is None else _range_rate_sigma_mps(target, job),
        los_az_deg=az_deg if seen_from_afar else None,
        los_el_deg=el_deg if seen_from_afar else None,
        domain=_DOMAINS.get(name, "UNKNOWN"),
        class_probs=None if name is None or share is None else {name: share},
        detection_prob=1.0 - share if name in _NO_OBJECTS and share is not None else None,
    )


def _range_rate_mps(target: TargetReport) -> float | None:
    rate, wrap = target.radial_velocity_centimeters_per_second, target.wrap_velocity_centimeters_per_second
    if rate is None or (wrap and wrap / 100.0 < MIN_WRAP_MPS):
        return None
    return rate / 100.0


def _range_rate_sigma_mps(target: TargetReport, job: JobDefinitionSegment | None) -> float | None:
    sigma = _above_zero(target.radial_velocity_uncertainty_centimeters_per_second, 0.01)
    if sigma is None and job is not None:
        sigma = _above_zero(job.nominal_radial_velocity_standard_deviation_centimeters_per_second, 0.01)
    return sigma


def _covariance(
    target: TargetReport, job: JobDefinitionSegment | None, az_deg: float, el_deg: float, slant_range_m: float
) -> tuple[float, float, float] | None:
    slant = _above_zero(target.slant_range_uncertainty_centimeters, 0.01)
    cross = _above_zero(target.cross_range_uncertainty_decimeters, 0.1)
    if job is not None:
        slant = slant or _above_zero(job.nominal_slant_range_standard_deviation_centimeters, 0.01)
        angle = job.nominal_cross_range_standard_deviation
        if cross is None and angle is not None:
            cross = _above_zero(math.radians(angle.degrees), slant_range_m)
    if slant is None or cross is None:
        return None
    height = _above_zero(target.height_uncertainty_meters, 1.0) or 0.0
    return ground_covariance(az_deg, el_deg, slant, cross, height)


def _above_zero(value: Any, unit: float) -> float | None:
    """A standard deviation in SI units; zero is no statement."""
    return value * unit if value else None
