"""KSAT vessel detections as CSV: the vendor's own, and the merged form with footprints (WKT, longitude first).

What the values mean, and the accuracy, stands in `ksat_common`. One row is one record, one product one look. Only the
merged form has a footprint; without one nothing can be learned from what was not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from apss_fusion.feeds.base import Decoder, Ignored, Item
from apss_fusion.feeds.imagery_common import columns, footprint_of_wkt, position, table_items
from apss_fusion.feeds.ksat_common import SOURCE, KsatScenes
from apss_fusion.model import Source

_SHARED = {"DetectionId", "ProductStartTime", "ProductStopTime"}
_VENDOR = frozenset(_SHARED | {"X", "Y", "ProductId"})
_MERGED = frozenset(_SHARED | {"lon", "lat", "scene_id"})


class KsatCsv(Decoder):
    """KSAT vessel detections, CSV."""

    name: ClassVar[str] = "ksat"
    title: ClassVar[str] = "KSAT vessel detections in SAR scenes (CSV)"
    source: ClassVar[Source] = SOURCE
    archive: ClassVar[bool] = True

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the first line names the columns of either form."""
        names = columns(head)
        return names >= _VENDOR or names >= _MERGED

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Dead letters as they come, the looks at the end: the rows of a scene may stand anywhere."""
        scenes = KsatScenes(self.name)

        def add(cells: dict[str, str]) -> Ignored | None:
            lat, lon, product = ("Y", "X", "ProductId") if "ProductId" in cells else ("lat", "lon", "scene_id")
            place = position(cells[lat], cells[lon], lat, lon)
            wkt = cells.get("footprint")
            return scenes.add_detection(cells, *place, product, footprint_of_wkt(wkt, "footprint") if wkt else None)

        return table_items(stream, (_VENDOR, _MERGED), add, scenes.looks)
