"""KSAT vessel detections as KML: placemarks with a point each, and the frame of the scene as a polygon.

What the values mean, and the accuracy, stands in `ksat_common`. One placemark is one record; the frame is the footprint
of its scene and counts as a record of that look. A scene that has only a frame is an empty look.

The document is read as a stream. One that declares a document type is refused there: no entity is ever expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar
from xml.parsers import expat

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import MAX_LINE_BYTES, Decoder, Ignored, Item, Reject
from apss_fusion.feeds.imagery_common import footprint_of_rings, position
from apss_fusion.feeds.ksat_common import SOURCE, KsatScenes, attributes
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.model import Source

_KEPT = ("name", "description", "coordinates")


class KsatKml(Decoder):
    """KSAT vessel detections, KML."""

    name: ClassVar[str] = "ksat-kml"
    title: ClassVar[str] = "KSAT vessel detections in SAR scenes (KML)"
    source: ClassVar[Source] = SOURCE
    archive: ClassVar[bool] = True

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether KML has the service's table in a description."""
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        return start.startswith(b"<") and b"<kml" in start and b"<td>ProductId</td>" in start

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """Dead letters as they come, the looks at the end: the frame may stand anywhere."""
        reader = _Placemarks()
        scenes = KsatScenes(self.name)
        count = 0
        final = False
        source = UntilFault(stream)
        while not final and reader.error is None:
            block = source.read(2**16)
            final = not block
            reader.feed(block)
            for placemark in reader.take():
                count += 1
                try:
                    ignored = _add(scenes, placemark)
                except BadValue as error:
                    yield Reject(error.reason, error.field, count, placemark.description)
                else:
                    if ignored is not None:
                        yield ignored
        if reader.error is not None:
            yield Reject(reader.error, None, count + 1, None)
        yield from scenes.looks()
        source.check()


class _Placemark:
    """What is kept of one placemark: its description, its points and its polygons, as coordinate texts."""

    def __init__(self) -> None:
        self.description = ""
        self.points: list[str] = []
        self.polygons: list[list[str]] = []


class _Placemarks:
    """A streaming reader of KML that keeps the placemarks only."""

    def __init__(self) -> None:
        self.error: str | None = None
        self._done: list[_Placemark] = []
        self._open: _Placemark | None = None
        self._path: list[str] = []
        self._text: list[str] | None = None
        self._size = 0
        self._empty = True
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def feed(self, block: bytes) -> None:
        """Read on; an empty block is the end. What is wrong is kept in `error`, and nothing is read after it."""
        self._empty = self._empty and not block.strip()
        if self._empty:
            return
        try:
            self._parser.Parse(block, not block)
        except BadValue as error:
            self.error = error.reason
        except (expat.ExpatError, ValueError, LookupError) as error:
            self.error = f"the XML is broken: {error}"

    def take(self) -> list[_Placemark]:
        """The placemarks that were completed since last asked."""
        done, self._done = self._done, []
        return done

    def _refuse(self, *_: Any) -> None:
        raise BadValue(None, "the document declares a document type, which is refused")

    def _start(self, tag: str, _: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        self._path.append(name)
        if name == "Placemark":
            self._open = _Placemark()
        elif name == "Polygon" and self._open is not None:
            self._open.polygons.append([])
        self._text, self._size = ([], 0) if name in _KEPT else (None, 0)

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._size += len(text)
            if self._size > MAX_LINE_BYTES:
                raise BadValue(None, "an element is too long")
            self._text.append(text)

    def _end(self, tag: str) -> None:
        name = self._path.pop()
        text = "".join(self._text or ())
        self._text = None
        if self._open is None:
            return
        if name == "description":
            self._open.description = text
        elif name == "coordinates":
            if "Polygon" in self._path:
                self._open.polygons[-1].append(text)
            else:
                self._open.points.append(text)
        elif name == "Placemark":
            self._done.append(self._open)
            self._open = None


def _add(scenes: KsatScenes, placemark: _Placemark) -> Ignored | None:
    values = attributes(placemark.description)
    if placemark.polygons:
        rings = [[_positions(ring) for ring in polygon] for polygon in placemark.polygons]
        scenes.add_frame(values, footprint_of_rings(rings, "footprint"))
        return None
    if len(placemark.points) != 1:
        raise BadValue("coordinates", "the placemark has neither one point nor a polygon")
    places = _positions(placemark.points[0])
    if len(places) != 1:
        raise BadValue("coordinates", "the point is not one position")
    (place,) = places
    lat, lon = position(place[1], place[0], "coordinates", "coordinates")
    return scenes.add_detection(values, lat, lon)


def _positions(text: str) -> list[tuple[float, float]]:
    """Positions (lon, lat) of a KML coordinate list: ``lon,lat[,alt]`` separated by white space."""
    result = []
    for place in text.split():
        parts = place.split(",")
        if len(parts) < 2:
            raise BadValue("coordinates", "coordinates is not a list of lon,lat")
        lat, lon = position(parts[1], parts[0], "coordinates", "coordinates")
        result.append((lon, lat))
    return result
