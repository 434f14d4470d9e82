"""VIIRS boat detections of the Earth Observation Group (VBD), nightly CSV.

``Date_Mscan`` is the time (UTC) of the middle of the scan that saw the light: every detection has its own.
``QF_Detect`` says what the light is; 1, 2, 3 and 10 (boat, weak, blurry, weak and blurry) are boats, as Global Fishing
Watch's noise filter takes them too. All else is not a moving thing or not a thing at all, and is ignored with its
reason.

One row is one record; the boats of one granule are one look. The granule stands in ``id_Key``
(``VBD_npp_d20140525_t1919547_...``); where that is missing, every 6 min of Universal Time are one. The files name no
footprint, so nothing is learned from what was not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import BinaryIO, ClassVar

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Decoder, Ignored, Item
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.imagery_common import (
    Scene,
    columns,
    number,
    position,
    table_items,
    utc_time,
)
from apss_fusion.model import Detection, Source

_COLUMNS = frozenset({"Date_Mscan", "Lat_DNB", "Lon_DNB", "Rad_DNB", "QF_Detect"})
_GRANULE = re.compile(r"(VBD_[A-Za-z0-9]+_d\d{8}_t\d{7})_\S+", re.ASCII)
_BOATS: frozenset[float | None] = frozenset({1, 2, 3, 10})
#: What the other quality flags mean (EOG's product page and Global Fishing Watch's documentation of the columns).
_NOT_BOATS: dict[float | None, str] = {
    4: "a gas flare",
    5: "a particle that hit the sensor",
    6: "lunar glint",
    7: "glow around a bright source",
    8: "a recurring light",
    9: "crosstalk around a bright source",
    11: "an offshore platform",
    999999: "no detection",
}


class ViirsVbd(Decoder):
    """VIIRS boat detections of the Earth Observation Group, CSV."""

    name: ClassVar[str] = "viirs-vbd"
    title: ClassVar[str] = "VIIRS boat detections of the Earth Observation Group (CSV)"
    source: ClassVar[Source] = Source(
        modality="VIIRS",
        provider="Earth Observation Group",
        domains=("SEA",),
        # Pixels of 742 m (214 m rms) with their geolocation and the spread of a light over its neighbours.
        position_sigma_m=300.0,
        # Only boats that fish by light are bright enough, and clouds hide half of those.
        p_detect=0.05,
        # Of the order of ten false lights in a granule of 3000 km by 2400 km.
        clutter_per_km2=2e-6,
        # Near real time processing follows the downlink by a few hours.
        max_latency_s=21600.0,
    )

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the first line names the columns of the nightly files."""
        return columns(head) >= _COLUMNS

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Dead letters as they come, the looks at the end: the rows of a granule may stand anywhere."""
        scenes: dict[str, Scene] = {}
        return table_items(stream, (_COLUMNS,), partial(_add, scenes), lambda: (s.decoded() for s in scenes.values()))


def _add(scenes: dict[str, Scene], cells: Mapping[str, str]) -> Ignored | None:
    flag = number(cells["QF_Detect"], "QF_Detect")
    if flag in _NOT_BOATS:
        return Ignored(f"QF_Detect {flag:.0f}: {_NOT_BOATS[flag]}")
    if flag not in _BOATS:
        raise BadValue("QF_Detect", "QF_Detect is none of the flags of the product")
    time = utc_time(cells["Date_Mscan"], "Date_Mscan")
    lat, lon = position(cells["Lat_DNB"], cells["Lon_DNB"], "Lat_DNB", "Lon_DNB")
    key = cells.get("id_Key", "")
    match = _GRANULE.fullmatch(key)
    granule = match.group(1) if match else _six_minutes(time)
    native = key or content_id(ViirsVbd.name, time.isoformat(), repr(lat), repr(lon))
    scene = scenes.get(granule) or Scene(ViirsVbd.name, granule, time)
    answer = scene.add_at(Detection(detection_id=native, lat=lat, lon=lon, domain="SEA"), time, "Date_Mscan")
    scenes[granule] = scene
    return answer


def _six_minutes(time: datetime) -> str:
    return time.replace(minute=time.minute - time.minute % 6, second=0, microsecond=0).isoformat()
