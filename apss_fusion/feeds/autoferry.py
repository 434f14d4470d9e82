"""The Autoferry sensor fusion dataset: detections of a small ferry's lidar and radar near Trondheim, as a JSON array.

Helgesen et al. 2022, "Heterogeneous multi-sensor tracking for an autonomous surface vehicle in a littoral environment",
Ocean Engineering 252. An element is one scan: where the ferry was, in metres north and east of a fixed origin, and what
was seen, north and east of the ferry: ``[]``, ``[n, e]`` or ``[[n, ...], [e, ...]]``. The cameras give bearings only.

The figures of each sensor are estimates from scenarios 2 to 6 against the GNSS positions of the two boats in them (8 m
and 36 m long), with the nearest detection within 25 m (lidar) or 60 m (radar) as a boat's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, ClassVar, TypeGuard

import msgspec
from msgspec import Meta, Struct

from apss_fusion.feeds.aviation import utc
from apss_fusion.feeds.base import Decoder, Ignored, Item, Reject
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.feeds.whole_json import element_pieces, parse, problem, read_whole
from apss_fusion.geodesy.wgs84 import ECCENTRICITY_SQ, SEMI_MAJOR_M
from apss_fusion.model import Detection, Look, Source

#: Origin of the local frame: latitude, longitude in degrees, height above the ellipsoid in m (README of the dataset).
ORIGIN = (63.4389029083, 10.39908278, 39.923)
#: Detections and ships further than this from the origin are not in this frame.
MAX_DISTANCE_M = 20_000.0
#: Corners of a footprint.
_CORNERS = 24


class Sensor(Struct, frozen=True):
    """What one of the ferry's sensors can do."""

    name: str
    #: How far its farthest detections are (129.5 m and 499.2 m in the recordings).
    range_m: float
    #: Boat-scans in range that have a detection: 0.93 of 1,459 (lidar), 0.94 of 762 (radar).
    p_detect: float
    #: Detections of a scan that are no boat's, or a boat's second: 0.73 in 0.053 km2 and 3.9 in 0.785 km2.
    clutter_per_km2: float
    #: Root mean square of the error along the line of sight, which a boat's length dominates.
    range_sigma_m: float
    #: Error across it, root sum square of a part in metres and a part in degrees: 3.5 m at all lidar ranges; 8.1 m for
    #: the radar, 5 to 11 m with the range.
    cross_sigma_m: float
    bearing_sigma_deg: float


LIDAR = Sensor("lidar", 130.0, 0.93, 14.0, 4.4, 3.0, 1.0)
RADAR = Sensor("radar", 500.0, 0.94, 5.0, 7.1, 7.0, 1.5)
_SENSORS = {1: LIDAR, 2: RADAR}
_CAMERAS = (3, 4)

_Metres = Annotated[float, Meta(ge=-MAX_DISTANCE_M, le=MAX_DISTANCE_M)]


class _Scan(Struct, rename={"sensor_id": "sensorID", "ownship": "ownshipPosition"}):
    sensor_id: int
    ownship: tuple[_Metres, _Metres]
    time: float
    measurement: Any


_SCAN = msgspec.json.Decoder(_Scan)
_HEAD = re.compile(rb"\s*\[\s*\{")


class Autoferry(Decoder):
    """Scans of lidar and radar to looks with footprints."""

    name: ClassVar[str] = "autoferry"
    title: ClassVar[str] = "Autoferry sensor fusion dataset, detections of lidar and radar"
    source: ClassVar[Source] = Source(
        modality="RADAR",
        domains=("SEA",),
        position_sigma_m=8.0,
        max_latency_s=1.0,  # scans of different sensors are up to 0.21 s out of order
    )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether an array begins whose first element has a sensor, an own ship and a measurement."""
        head = head.removeprefix(b"\xef\xbb\xbf")
        if _HEAD.match(head) is None:
            return False
        keys = set(re.findall(rb'"(\w+)"\s*:', head.split(b"}", 1)[0]))
        return {b"sensorID", b"ownshipPosition", b"time", b"measurement"} <= keys

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """An array of one element each."""
        source = UntilFault(stream)
        yield from element_pieces(parse(read_whole(source)), b"[", b"]")
        source.check()

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item an element, after those of its bad detections."""
        source = UntilFault(stream)
        document = parse(read_whole(source))
        for number, raw in enumerate(document.elements, 1):
            try:
                scan = _SCAN.decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                yield Reject(*problem(error), number, bytes(raw))
                continue
            yield from self._scan(scan, number, bytes(raw))
        if document.broken:
            yield document.broken
        source.check()

    def _scan(self, scan: _Scan, number: int, raw: bytes) -> Iterator[Item]:
        time = utc(scan.time)
        sensor = _SENSORS.get(scan.sensor_id)
        if time is None:
            yield Reject("no time that a scan can be from", "time", number, raw)
        elif scan.sensor_id in _CAMERAS:
            yield Ignored("bearing without a position")
        elif sensor is None:
            yield Reject("no sensor of this number", "sensorID", number, raw)
        elif (places := _places(scan.measurement)) is None:
            yield Reject("neither [], [north, east] nor [[north, ...], [east, ...]]", "measurement", number, raw)
        else:
            source_id = f"{self.name}/{sensor.name}"
            look_id = content_id(source_id, time.isoformat(), raw)
            detections = []
            for index, (north, east) in enumerate(places):
                if not (_is_distance(north) and _is_distance(east)):
                    yield Reject("no distance in metres", f"measurement[{index}]", number, raw, is_record=False)
                    continue
                detections.append(_detection(f"{look_id}-{index}", scan.ownship, north, east, sensor))
            yield Look(
                look_id=look_id,
                source_id=source_id,
                time=time,
                footprint=_footprint(scan.ownship, sensor.range_m),
                p_detect=sensor.p_detect,
                clutter_per_km2=sensor.clutter_per_km2,
                detections=tuple(detections),
            )


def local_to_geodetic(north_m: float, east_m: float) -> tuple[float, float]:
    """(lat, lon) in degrees of a point on the tangent plane at `ORIGIN`, to the second order of the distance.

    Within 1 mm to 1 km and 5 mm to 2 km from the origin.
    """
    lat, lon = math.radians(ORIGIN[0]), math.radians(ORIGIN[1])
    w = math.sqrt(1.0 - ECCENTRICITY_SQ * math.sin(lat) ** 2)
    n = SEMI_MAJOR_M / w + ORIGIN[2]
    m = SEMI_MAJOR_M * (1.0 - ECCENTRICITY_SQ) / w**3 + ORIGIN[2]
    east, north = east_m / n, north_m / m
    # The parallel curves away from the tangent plane's east, and meridians converge.
    d_lat = north - 0.5 * east * east * math.tan(lat) * n / m
    d_lon = east / math.cos(lat) * (1.0 + north_m / n * math.tan(lat))
    return math.degrees(lat + d_lat), math.degrees(lon + d_lon)


def _detection(detection_id: str, ownship: tuple[float, float], north: float, east: float, sensor: Sensor) -> Detection:
    lat, lon = local_to_geodetic(ownship[0] + north, ownship[1] + east)
    distance = math.hypot(north, east)
    along = sensor.range_sigma_m**2
    across = sensor.cross_sigma_m**2 + (math.radians(sensor.bearing_sigma_deg) * distance) ** 2
    u_e, u_n = (east / distance, north / distance) if distance > 0.0 else (0.0, 1.0)
    covariance = (
        along * u_e * u_e + across * u_n * u_n,
        (along - across) * u_e * u_n,
        along * u_n * u_n + across * u_e * u_e,
    )
    return Detection(detection_id=detection_id, lat=lat, lon=lon, cov_enu_m2=covariance, domain="SEA")


def _footprint(ownship: tuple[float, float], range_m: float) -> dict[str, Any]:
    """A polygon, counter-clockwise, round the circle of the range."""
    radius = range_m / math.cos(math.pi / _CORNERS)
    ring = []
    for corner in range(_CORNERS):
        angle = 2.0 * math.pi * corner / _CORNERS
        lat, lon = local_to_geodetic(ownship[0] + radius * math.sin(angle), ownship[1] + radius * math.cos(angle))
        ring.append([round(lon, 7), round(lat, 7)])
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def _places(measurement: object) -> list[tuple[object, object]] | None:
    """The (north, east) of a measurement, unchecked; None if it has another shape."""
    if measurement == []:
        return []
    if not isinstance(measurement, list) or len(measurement) != 2:
        return None
    north, east = measurement
    if isinstance(north, list) and isinstance(east, list):
        return list(zip(north, east, strict=True)) if len(north) == len(east) else None
    return None if isinstance(north, list) or isinstance(east, list) else [(north, east)]


def _is_distance(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -MAX_DISTANCE_M <= value <= MAX_DISTANCE_M
