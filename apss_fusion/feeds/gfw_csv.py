"""Global Fishing Watch's Sentinel-1 detections as CSV.

The columns are those of its technical documentation ("SAR object detections"): ``detect_timestamp`` is the time of the
image, ``presence`` the probability that a vessel is there, ``footprint_wkt`` the part of the scene that was searched.
``ssvid`` is the identity of an AIS message that somebody else's matching put to the detection (with ``score`` and
``confidence`` of the match): an opinion, not something the radar saw. It is kept as ``ssvid``, never as ``mmsi``.

One row is one record, one scene one look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import BinaryIO, ClassVar

from apss_fusion.feeds.base import Decoder, Ignored, Item
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.imagery_common import (
    Scene,
    columns,
    footprint_of_wkt,
    needed_text,
    number,
    position,
    positive,
    table_items,
    utc_time,
)
from apss_fusion.model import Detection, Source

_COLUMNS = frozenset({"scene_id", "detect_id", "detect_lon", "detect_lat", "detect_timestamp"})


class GfwCsv(Decoder):
    """Global Fishing Watch SAR detections, CSV."""

    name: ClassVar[str] = "gfw"
    title: ClassVar[str] = "Global Fishing Watch Sentinel-1 detections (CSV)"
    source: ClassVar[Source] = Source(
        modality="SAR",
        provider="Global Fishing Watch",
        platform="Sentinel-1",
        domains=("SEA",),
        # As derived for KSAT, at a slant range of 880 km and 25 s: azimuth shift of a ship at 10 knots 260 m rms.
        position_sigma_m=200.0,
        # Nearly all vessels above 50 m and about four in five between 25 m and 50 m are found (Paolo et al. 2024).
        p_detect=0.85,
        # About one false detection in a scene of 250 km by 170 km after their filter of noise and fixed structures.
        clutter_per_km2=2e-5,
        # Near real time products take from one to two hours. (The published tables, an archive, follow in three days.)
        max_latency_s=7200.0,
    )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the first line names the columns of a detection table."""
        return columns(head) >= _COLUMNS

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Dead letters as they come, the looks at the end: the rows of a scene may stand anywhere."""
        scenes: dict[str, Scene] = {}
        return table_items(stream, (_COLUMNS,), partial(_add, scenes), lambda: (s.decoded() for s in scenes.values()))


def _add(scenes: dict[str, Scene], cells: Mapping[str, str]) -> Ignored | None:
    scene_id = needed_text(cells, "scene_id")
    time = utc_time(cells["detect_timestamp"], "detect_timestamp")
    lat, lon = position(cells["detect_lat"], cells["detect_lon"], "detect_lat", "detect_lon")
    wkt, ssvid = cells.get("footprint_wkt"), cells.get("ssvid")
    detection = Detection(
        detection_id=cells["detect_id"] or content_id(GfwCsv.name, scene_id, repr(lat), repr(lon)),
        lat=lat,
        lon=lon,
        domain="SEA",
        ids={"ssvid": ssvid} if ssvid else None,
        length_m=positive(cells.get("length_m"), "length_m"),
        detection_prob=number(cells.get("presence"), "presence", 0.0, 1.0),
    )
    footprint = footprint_of_wkt(wkt, "footprint_wkt") if wkt else None
    scene = scenes.get(scene_id) or Scene(GfwCsv.name, scene_id, time)
    answer = scene.add_at(detection, time, "detect_timestamp", footprint)
    scenes[scene_id] = scene
    return answer
