"""KSAT vessel detections as GeoJSON: points whose attributes stand in an HTML table, and the frame of the scene.

What the values mean, and the accuracy, stands in `ksat_common`. One feature is one record; the frame (a polygon) is the
footprint of its scene and counts as a record of that look. A scene that has only a frame is an empty look.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, ClassVar

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Decoder, Ignored, Item
from apss_fusion.feeds.imagery_common import element_items, footprint_of_geojson, position
from apss_fusion.feeds.ksat_common import SOURCE, KsatScenes, attributes
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.feeds.whole_json import parse, read_whole
from apss_fusion.model import Source


class KsatGeoJson(Decoder):
    """KSAT vessel detections, GeoJSON."""

    name: ClassVar[str] = "ksat-geojson"
    title: ClassVar[str] = "KSAT vessel detections in SAR scenes (GeoJSON)"
    source: ClassVar[Source] = SOURCE
    archive: ClassVar[bool] = True

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether a feature collection has the service's table in a description."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        return start.startswith(b"{") and b'"FeatureCollection"' in start and b"<td>ProductId</td>" in start

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Dead letters as they come, the looks at the end: the frame may stand anywhere."""
        scenes = KsatScenes(self.name)
        source = UntilFault(stream)
        yield from element_items(parse(read_whole(source), ("features",)), partial(_add, scenes))
        yield from scenes.looks()
        source.check()


def _add(scenes: KsatScenes, feature: Any) -> Ignored | None:
    if not isinstance(feature, dict):
        raise BadValue(None, "the feature is not an object")
    properties, geometry = feature.get("properties"), feature.get("geometry")
    if not isinstance(properties, dict) or not isinstance(geometry, dict):
        raise BadValue("geometry", "the feature has no properties or no geometry")
    values = attributes(properties.get("description"))
    if geometry.get("type") == "Point":
        place = geometry.get("coordinates")
        if not isinstance(place, list) or len(place) < 2 or isinstance(place[0], str) or isinstance(place[1], str):
            raise BadValue("coordinates", "coordinates is not a pair of numbers")
        lat, lon = position(place[1], place[0], "coordinates", "coordinates")
        return scenes.add_detection(values, lat, lon)
    scenes.add_frame(values, footprint_of_geojson(geometry, "footprint"))
    return None
