"""What the three forms of KSAT's vessel detection service (CSV, GeoJSON, KML) share.

A scene is one look. Its detections carry no time of their own, only the start and stop of the product (74 s for a wide
ScanSAR scene): each is put at the middle. The service states no position error; the default of the source is
derived here for a ship of 10 knots (5.1 m/s) in a RADARSAT-2 scene (slant range R about 1000 km, V 7.5 km/s, incidence
38 degrees, pixels of 40 m):

- a moving ship appears shifted along the azimuth by R / V times its radial speed (Raney 1971), in the mean over
  directions 133 s * 5.1 m/s * sin(38 deg) / sqrt(2) = 300 m rms, on one axis;
- the unknown moment, uniform over 74 s, has 21 s rms: 77 m on each axis; the pixel adds 40 m.

Shared equally between the axes that is 230 m. ``Heading`` is the line of the hull, either way round, so no heading is
given. ``Probability`` is one of the classes 20, 50, 75 and 100 that the target is a vessel; 100 is read as 0.99.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Decoded, Ignored
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.imagery_common import LONGEST_SCENE, Scene, needed_text, number, positive, utc_time
from apss_fusion.model import Detection, Source

SOURCE = Source(
    modality="SAR",
    provider="KSAT",
    domains=("SEA",),
    position_sigma_m=230.0,
    # Ships beyond 60 m are rarely missed at 40 m pixels, longliners of 30 m about every second time.
    p_detect=0.8,
    # The service's own probabilities leave 1.7 doubtful detections a scene of 230 000 km2.
    clutter_per_km2=1e-5,
    max_latency_s=400 * 86_400.0,  # a delivery may list the scenes of a year in no order of time
)

_CELLS = re.compile(r"<td>([^<]*)</td>\s*<td>([^<]*)</td>")
_CERTAIN = 0.99


def attributes(description: object) -> dict[str, str]:
    """Names and values of the two-column HTML table that GeoJSON and KML carry as text."""
    if not isinstance(description, str):
        return {}
    # JSON can carry halves of characters that no output could write.
    pairs = _CELLS.findall(description.encode("utf-8", "replace").decode())
    return {html.unescape(name).strip(): html.unescape(value).strip() for name, value in pairs}


def detection(values: Mapping[str, str], source_id: str, lat: float, lon: float, time: datetime) -> Detection:
    """One detection of the service's attributes (names as in its CSV)."""
    percent = number(values.get("Probability"), "Probability", 0.0, 100.0)
    probability = None if percent is None else min(percent / 100.0, _CERTAIN)
    kind = values.get("Type", "").lower()
    native = values.get("DetectionId") or content_id(source_id, time.isoformat(), repr(lat), repr(lon))
    return Detection(
        detection_id=native,
        lat=lat,
        lon=lon,
        time=time,
        domain="SEA",
        class_probs=None if probability is None or not kind else {kind: probability},
        length_m=positive(values.get("Length"), "Length"),
        width_m=positive(values.get("Beam"), "Beam"),
        detection_prob=probability,
    )


class KsatScenes:
    """The looks of one delivery: detections and frames (footprints) by product, in any order."""

    def __init__(self, source_id: str) -> None:
        self._source_id = source_id
        self._scenes: dict[str, Scene] = {}

    def add_detection(
        self,
        values: Mapping[str, str],
        lat: float,
        lon: float,
        id_field: str = "ProductId",
        footprint: dict[str, Any] | None = None,
    ) -> Ignored | None:
        """Take one detection with its attributes; raises `BadValue`."""
        scene_id = needed_text(values, id_field)
        start = utc_time(values.get("ProductStartTime"), "ProductStartTime")
        stop = utc_time(values.get("ProductStopTime"), "ProductStopTime")
        _check_span(start, stop, "ProductStopTime")
        found = detection(values, self._source_id, lat, lon, start + (stop - start) / 2)
        scene = self._scenes.get(scene_id) or Scene(self._source_id, scene_id, start, stop)
        if (scene.time, scene.time_end) != (start, stop):
            raise BadValue("ProductStartTime", "the times differ from those of the scene so far")
        answer = scene.add(found, footprint)
        self._scenes[scene_id] = scene
        return answer

    def add_frame(self, values: Mapping[str, str], footprint: dict[str, Any]) -> None:
        """Take a frame: its polygon, name and times. A scene without detections is an empty look; raises `BadValue`."""
        scene_id = needed_text(values, "Name")
        start, stop = utc_time(values.get("StartTime"), "StartTime"), utc_time(values.get("StopTime"), "StopTime")
        _check_span(start, stop, "StopTime")
        scene = self._scenes.setdefault(scene_id, Scene(self._source_id, scene_id, start, stop))
        if (scene.time, scene.time_end) != (start, stop):
            raise BadValue("StartTime", "the times differ from those of the scene's detections")
        if scene.footprint is not None:
            raise BadValue("footprint", "the scene has a footprint already")
        scene.footprint = footprint
        scene.records += 1

    def looks(self) -> Iterator[Decoded]:
        """All looks, in the order in which their scenes first appeared."""
        for scene in self._scenes.values():
            yield scene.decoded()


def _check_span(start: datetime, stop: datetime, field: str) -> None:
    if not timedelta(0) <= stop - start <= LONGEST_SCENE:
        raise BadValue(field, f"{field} is before the start or more than 30 min after it")
