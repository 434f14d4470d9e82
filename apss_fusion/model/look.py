"""Looks and their detections: what a source reports."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Modality = Literal["SAR", "EO", "IR", "RF", "AIS", "ADSB", "GMTI", "VIIRS", "RADAR", "OTHER"]
Domain = Literal["SEA", "GROUND", "AIR", "UNKNOWN"]
AltDatum = Literal["HAE", "MSL", "BARO", "AGL"]

#: Modalities whose objects report themselves: such a look carries no negative information.
COOPERATIVE = frozenset({"AIS", "ADSB"})

Latitude = Annotated[float, Meta(ge=-90.0, le=90.0)]
Longitude = Annotated[float, Meta(ge=-180.0, le=180.0)]
Positive = Annotated[float, Meta(gt=0.0)]
NotNegative = Annotated[float, Meta(ge=0.0)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
UtcTime = Annotated[datetime, Meta(tz=True)]


class Ellipse(Struct, frozen=True, forbid_unknown_fields=False):
    """A position ellipse on the local tangent plane that holds the object with a stated probability."""

    semi_major_m: Positive
    semi_minor_m: Positive
    #: Of the major axis, degrees clockwise from true north.
    orientation_deg: float
    #: That the object lies inside; 0.3935 is one sigma in two dimensions.
    probability: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.95


class Detection(Struct, frozen=True, kw_only=True):
    """One thing seen in a look. WGS 84, degrees true, metres, metres a second; ``None`` is unknown."""

    detection_id: str
    lat: Latitude
    lon: Longitude
    #: When this very thing was seen; the look's time where ``None``.
    time: UtcTime | None = None
    ellipse: Ellipse | None = None
    #: [ee, en, nn] of the position on the local tangent plane; used where there is no ellipse.
    cov_enu_m2: tuple[float, float, float] | None = None
    alt_m: float | None = None
    alt_datum: AltDatum | None = None
    alt_sigma_m: Positive | None = None
    speed_mps: NotNegative | None = None
    #: Over ground, clockwise from true north.
    course_deg: float | None = None
    speed_sigma_mps: Positive | None = None
    course_sigma_deg: Positive | None = None
    #: Where the bow or nose points; not the course.
    heading_deg: float | None = None
    vertical_rate_mps: float | None = None
    #: Along the line of sight, positive is receding.
    range_rate_mps: float | None = None
    range_rate_sigma_mps: Positive | None = None
    #: Line of sight from the sensor to the object: azimuth clockwise from true north, elevation above the horizontal.
    los_az_deg: float | None = None
    los_el_deg: float | None = None
    domain: Domain = "UNKNOWN"
    ids: dict[str, str] | None = None
    class_probs: dict[str, Probability] | None = None
    length_m: Positive | None = None
    width_m: Positive | None = None
    #: The detector's own belief that this is a real object.
    detection_prob: Probability | None = None


class Look(Struct, frozen=True, kw_only=True):
    """One collection by a source: where it looked, when, how well, and what it saw there, which may be nothing."""

    look_id: str
    source_id: str
    time: UtcTime
    time_end: UtcTime | None = None
    time_received: UtcTime | None = None
    #: GeoJSON Polygon or MultiPolygon, or ``None``: then nothing can be learned from what was not seen.
    footprint: dict[str, Any] | None = None
    p_detect: Probability | None = None
    clutter_per_km2: NotNegative | None = None
    min_detectable_speed_mps: NotNegative | None = None
    detections: tuple[Detection, ...] = ()
