"""What the decoders of imagery detections (SAR, EO, night lights) share: tables, values, footprints, scenes.

A value that is not there is None; one that cannot be right raises `BadValue`, which becomes the record's dead letter.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, BinaryIO

import msgspec
from msgspec import Raw, Struct, structs

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Decoded, Ignored, Item, Reject, lines
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.feeds.whole_json import Document
from apss_fusion.model import Detection, Look

#: No imaging pass of a low orbit is longer (a Sentinel-1 data take lasts up to 25 minutes).
LONGEST_SCENE = timedelta(minutes=30)

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_TIME = re.compile(
    r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))? ?(Z|UTC|[-+]\d\d(?::?\d\d)?)?", re.ASCII
)
_WKT = re.compile(
    r"\s*(?:SRID=4326;)?\s*(POLYGON|MULTIPOLYGON)\s*Z?\s*(\([\s\d.,eE()+-]*\))\s*", re.ASCII | re.IGNORECASE
)
# Anchored at the start of a number, so that a long run of digits is looked at once.
_WKT_POSITION = re.compile(r"(?<![^\s,()])([^\s,()]+)\s+([^\s,()]+)(?:\s+[^\s,()]+)?", re.ASCII)


def number(value: object, field: str, low: float = -math.inf, high: float = math.inf) -> float | None:
    """A finite decimal number between `low` and `high`, or None where the cell is empty."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        if _NUMBER.fullmatch(value) is None:
            raise BadValue(field, f"{field} is not a finite decimal number")
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadValue(field, f"{field} is not a number")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise BadValue(field, f"{field} is not a finite decimal number")
    if not low <= result <= high:
        raise BadValue(field, f"{field} lies outside {low:g} to {high:g}")
    return result


def position(lat: object, lon: object, lat_field: str, lon_field: str) -> tuple[float, float]:
    """Latitude and longitude in degrees; both must be there."""
    lat_deg = number(lat, lat_field, -90.0, 90.0)
    lon_deg = number(lon, lon_field, -180.0, 180.0)
    if lat_deg is None or lon_deg is None:
        missing = lat_field if lat_deg is None else lon_field
        raise BadValue(missing, f"{missing} is missing")
    return lat_deg, lon_deg


def positive(value: object, field: str) -> float | None:
    """A number above zero; estimators write zero or less where they have found no size: None."""
    result = number(value, field)
    return result if result is not None and result > 0.0 else None


def needed_text(values: Mapping[str, str], field: str) -> str:
    """A cell that may not be empty."""
    if not (value := values.get(field)):
        raise BadValue(field, f"{field} is missing")
    return value


def utc_time(value: str | None, field: str) -> datetime:
    """A date and time of day to the second or better, of the years 1970 to 2199; without a zone it is UTC.

    All formats here define their times as UTC.
    """
    match = _TIME.fullmatch(value or "")
    if match is None:
        raise BadValue(field, f"{field} is not a date and time")
    year, month, day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in (None, "Z", "UTC") else zone
    try:
        time = datetime.fromisoformat(f"{year}-{month}-{day}T{clock}.{(fraction or '0')[:6]:0<6}{zone}")
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue(field, f"{field} is not a date and time") from None
    if not 1970 <= time.year < 2200:
        raise BadValue(field, f"{field} lies outside the years 1970 to 2199")
    return time


def footprint_of_rings(polygons: Sequence[Any], field: str) -> dict[str, Any]:
    """A GeoJSON Polygon, or MultiPolygon where there are several, of polygons given as rings of (lon, lat) positions.

    Open rings are closed. An edge is the shorter way between its ends, so a ring may cross the antimeridian.
    """
    try:
        result = [[_ring(ring, field) for ring in polygon] for polygon in polygons]
    except TypeError:
        raise BadValue(field, f"{field} is not a list of rings of positions") from None
    if not result or not all(result):
        raise BadValue(field, f"{field} has no ring")
    if len(result) == 1:
        return {"type": "Polygon", "coordinates": result[0]}
    return {"type": "MultiPolygon", "coordinates": result}


def _ring(ring: Sequence[Any], field: str) -> list[list[float]]:
    positions = []
    for place in ring:
        if isinstance(place, str) or len(place) < 2 or isinstance(place[0], str) or isinstance(place[1], str):
            raise BadValue(field, f"{field} has a position that is not a pair of numbers")
        lat, lon = position(place[1], place[0], field, field)
        positions.append([lon, lat])
    if positions and positions[0] != positions[-1]:
        positions.append(list(positions[0]))
    if len({tuple(place) for place in positions}) < 3:
        raise BadValue(field, f"{field} has a ring of fewer than three corners")
    return positions


@lru_cache(maxsize=64)
def footprint_of_wkt(text: str, field: str) -> dict[str, Any]:
    """A GeoJSON geometry of a WKT POLYGON or MULTIPOLYGON in degrees, longitude first.

    The rows of a scene repeat its footprint, so the last ones are remembered: the result is shared, not to be changed.
    """
    match = _WKT.fullmatch(text)
    if match is None:
        raise BadValue(field, f"{field} is not a WKT polygon")
    kind, body = match.group(1).upper(), match.group(2)
    try:
        nested = json.loads(_WKT_POSITION.sub(_pair, body).replace("(", "[").replace(")", "]"))
    except (ValueError, RecursionError):
        raise BadValue(field, f"{field} is not a WKT polygon") from None
    return footprint_of_rings([nested] if kind == "POLYGON" else nested, field)


def _pair(match: re.Match[str]) -> str:
    return f"[{float(match.group(1))!r},{float(match.group(2))!r}]"


def footprint_of_geojson(geometry: Mapping[str, Any], field: str) -> dict[str, Any]:
    """A checked copy of a GeoJSON Polygon or MultiPolygon."""
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon") or not isinstance(coordinates, list):
        raise BadValue(field, f"{field} is not a polygon")
    return footprint_of_rings([coordinates] if kind == "Polygon" else coordinates, field)


class Row(Struct, frozen=True):
    """One data row of a table: its line number from 1, its cells by column (stripped), and the line."""

    number: int
    cells: dict[str, str]
    line: bytes


def table_items(
    stream: BinaryIO,
    layouts: Sequence[frozenset[str]],
    add: Callable[[dict[str, str]], Ignored | None],
    looks: Callable[[], Iterable[Decoded]],
) -> Iterator[Item]:
    """All items of a table: `add` takes the cells of each row, and at the end `looks` gives what has come together.

    A row that `add` refuses with `BadValue` is a dead letter; so is one that cannot be read. See `csv_rows`.
    """
    source = UntilFault(stream)
    for row in csv_rows(source, *layouts):
        if isinstance(row, Reject):
            yield row
            continue
        try:
            ignored = add(row.cells)
        except BadValue as error:
            yield Reject(error.reason, error.field, row.number, row.line)
        else:
            if ignored is not None:
                yield ignored
    yield from looks()
    source.check()


def csv_rows(stream: BinaryIO, *layouts: frozenset[str]) -> Iterator[Row | Reject]:
    """Data rows of a comma separated table whose first line names the columns, or dead letters in their place.

    A row is a line: a line end inside quotes is not a thing of these formats, so that a stray quote costs one row only.
    Where the header has none of the `layouts` (sets of columns that must be there), every row is a dead letter.
    """
    header: list[str] | None = None
    fault: BadValue | None = None
    for line_number, line in lines(stream):
        if line is None:
            yield Reject("the line is too long", None, line_number, None)
            continue
        if not line.strip():
            continue
        cells = _cells(line)
        if header is None:
            header = cells or []
            missing = [min(layout.difference(header)) for layout in layouts if not layout <= set(header)]
            if len(missing) == len(layouts):
                fault = BadValue(missing[0], f"the header has no column {missing[0]}")
        elif fault is not None:
            yield Reject(fault.reason, fault.field, line_number, line)
        elif cells is None:
            yield Reject("the line is not comma separated UTF-8", None, line_number, line)
        elif len(cells) != len(header):
            yield Reject(f"{len(cells)} cells where the header has {len(header)}", None, line_number, line)
        else:
            yield Row(line_number, dict(zip(header, cells, strict=True)), line)


def _cells(line: bytes) -> list[str] | None:
    try:
        return [cell.strip() for cell in next(csv.reader([line.decode("utf-8-sig")]), [])]
    except (UnicodeDecodeError, csv.Error):
        return None


def columns(head: bytes) -> frozenset[str]:
    """Column names of the first line of a table, empty where it is not text."""
    first = next((line for line in head.splitlines() if line.strip()), b"")
    return frozenset(_cells(first) or ())


def element_items(document: Document, add: Callable[[Any], Ignored | None]) -> Iterator[Item]:
    """All items, before the looks, of the elements of a JSON array: `add` takes each, or refuses it with `BadValue`."""
    for count, element in enumerate(document.elements, 1):
        try:
            ignored = add(json_value(element, None))
        except BadValue as error:
            yield Reject(error.reason, error.field, count, bytes(element))
        else:
            if ignored is not None:
                yield ignored
    if document.broken is not None:
        yield document.broken


def json_value(raw: Raw | None, field: str | None) -> Any:
    """A JSON value as Python has it; None where it is not there."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadValue(field, str(error)) from None


@dataclass
class Scene:
    """A look in the making: one image, whose detections come one by one."""

    source_id: str
    scene_id: str
    time: datetime
    time_end: datetime | None = None
    footprint: dict[str, Any] | None = None
    records: int = 0
    detections: dict[str, Detection] = field(default_factory=dict)

    def add(self, detection: Detection, footprint: dict[str, Any] | None = None) -> Ignored | None:
        """Take one more detection, and the footprint that its row names.

        The very same detection again is ignored; another one with its id, or another footprint, raises `BadValue`.
        """
        known = self.detections.get(detection.detection_id)
        if known is not None and known != detection:
            raise BadValue("detection_id", "another detection of the scene has this id")
        if footprint is not None:
            if self.footprint not in (None, footprint):
                raise BadValue("footprint", "the footprint differs from that of the scene so far")
            self.footprint = footprint
        if known is not None:
            return Ignored("the same detection of the scene again")
        self.detections[detection.detection_id] = detection
        self.records += 1
        return None

    def add_at(
        self, detection: Detection, time: datetime, field: str, footprint: dict[str, Any] | None = None
    ) -> Ignored | None:
        """`add` one that has a time of its own: the scene's time span widens to hold it."""
        first, last = min(self.time, time), max(self.time_end or self.time, time)
        if last - first > LONGEST_SCENE:
            raise BadValue(field, f"{field} is more than 30 min from the other times of the scene")
        answer = self.add(structs.replace(detection, time=time), footprint)
        self.time, self.time_end = first, last if last > first else None
        return answer

    def decoded(self) -> Decoded:
        """The look, with all that it was made of."""
        look = Look(
            look_id=content_id(self.source_id, self.scene_id),
            source_id=self.source_id,
            time=self.time,
            time_end=self.time_end,
            footprint=self.footprint,
            detections=tuple(self.detections.values()),
        )
        return Decoded(look, self.records)
