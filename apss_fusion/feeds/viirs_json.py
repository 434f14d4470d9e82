"""Lights of boats in one VIIRS day/night band granule, as Skylight's service answers (allenai/vessel-detection-viirs).

One answer is one granule and one look; each element of ``predictions`` is one record (an answer without a time is one
dead letter). ``acquisition_time`` is the start of the granule, which lasts 6 min (NASA's L1B definition), and a
detection has no time of its own: it is put at the middle. ``frame_extents`` is the outline, positions as (lon, lat).
Brightness and moonlight are no part of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, BinaryIO, ClassVar

from msgspec import Raw

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Decoder, Item, Reject
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.imagery_common import (
    Scene,
    element_items,
    footprint_of_rings,
    json_value,
    position,
    utc_time,
)
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.feeds.whole_json import Document, parse, read_whole
from apss_fusion.model import Detection, Source

_GRANULE = timedelta(minutes=6)


class ViirsJson(Decoder):
    """Skylight VIIRS boat lights, JSON."""

    name: ClassVar[str] = "viirs"
    title: ClassVar[str] = "Skylight boat lights in VIIRS granules (JSON)"
    source: ClassVar[Source] = Source(
        modality="VIIRS",
        provider="Skylight",
        domains=("SEA",),
        # Pixels of 742 m with their geolocation: 300 m. A boat of 10 knots (5.1 m/s) within 6 min, 104 s rms: 375 m.
        position_sigma_m=480.0,
        # Only boats that fish by light are bright enough, and clouds hide half of those.
        p_detect=0.05,
        # Of the order of ten false lights (particles, clouds by moonlight, flares) in a granule of 3000 km by 2400 km.
        clutter_per_km2=2e-6,
        # The published example was processed 4.6 h after it was taken.
        max_latency_s=21600.0,
    )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether an object has the names of an answer."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        framed = b'"acquisition_time"' in start and b'"frame_extents"' in start
        return start.startswith(b"{") and (framed or (b'"predictions"' in start and b'"nanowatts"' in start))

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Dead letters as they come, and the look."""
        source = UntilFault(stream)
        document = parse(read_whole(source), ("predictions",))
        if document.broken is not None and not document.beside:
            yield document.broken
        elif document.elements or document.beside:
            yield from _granule(document)
        source.check()


def _granule(document: Document) -> Iterator[Item]:
    try:
        scene = _scene(document.beside)
    except BadValue as error:
        # Without a time no element is of use: the document is one dead letter.
        yield Reject(error.reason, error.field, 1, None)
        return
    try:
        frame = json_value(document.beside.get("frame_extents"), "frame_extents")
        if frame is not None:
            scene.footprint = footprint_of_rings([[frame]], "frame_extents")
    except BadValue as error:
        yield Reject(error.reason, error.field, 1, bytes(document.beside["frame_extents"]), is_record=False)
    yield from element_items(document, lambda prediction: scene.add(_detection(prediction, scene)))
    yield scene.decoded()


def _scene(beside: Mapping[str, Raw]) -> Scene:
    start, satellite, granule = (
        json_value(beside.get(name), name) for name in ("acquisition_time", "satellite_name", "filename")
    )
    time = utc_time(start if isinstance(start, str) else None, "acquisition_time")
    return Scene(ViirsJson.name, f"{time.isoformat()} {satellite} {granule}", time, time + _GRANULE)


def _detection(prediction: Any, scene: Scene) -> Detection:
    if not isinstance(prediction, dict):
        raise BadValue(None, "the prediction is not an object")
    for field in ("latitude", "longitude"):
        if isinstance(prediction.get(field), str):
            raise BadValue(field, f"{field} is not a number")
    lat, lon = position(prediction.get("latitude"), prediction.get("longitude"), "latitude", "longitude")
    return Detection(
        detection_id=content_id(scene.source_id, scene.scene_id, repr(lat), repr(lon)),
        lat=lat,
        lon=lon,
        time=scene.time + _GRANULE / 2,
        domain="SEA",
    )
