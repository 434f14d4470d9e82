"""Looks in this project's own form: one JSON object a line, with the fields of `apss_fusion.model.Look`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, ClassVar, TypeVar

import msgspec
from msgspec import Struct

from apss_fusion.feeds.base import Decoder, Item, Reject, line_pieces, lines
from apss_fusion.feeds.whole_json import problem
from apss_fusion.model import Detection, Look, Source

_T = TypeVar("_T")
_BOM = b"\xef\xbb\xbf"


class _Names(Struct):
    """What the first lines must have at the top level to be looks."""

    look_id: str
    source_id: str
    time: str


#: A look whose line is longer than the head that is known of it: values without objects, then its id.
_LONG_LOOK = re.compile(
    rb'\s*\{\s*(?:"\w+"\s*:\s*(?:"(?:[^"\\]|\\.)*"|[-+.\w]+)\s*,\s*)*"(?:look_id"\s*:\s*"|detections"\s*:\s*\[\s*\{)'
)


class Looks(Decoder):
    """Looks, one a line. A bad detection of a good look is rejected alone, and the look is used without it."""

    name: ClassVar[str] = "looks"
    title: ClassVar[str] = "looks of this project, one JSON object a line"
    source: ClassVar[Source] = Source(modality="OTHER", max_latency_s=3_600.0)
    priority: ClassVar[int] = 10

    def __init__(self) -> None:
        self._look = msgspec.json.Decoder(Look)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether one of the first lines is a look, or the only line begins like one."""
        heads = head.removeprefix(_BOM).strip().splitlines()[:10]
        for line in heads:
            try:
                msgspec.json.decode(line, type=_Names)
                return True
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
        if len(heads) != 1 or _LONG_LOOK.match(heads[0]) is None:
            return False
        return b'"source_id"' in heads[0] and b'"track_id"' not in heads[0]

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """Lines."""
        return line_pieces(stream)

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """The look of each line, after its bad detections; blank lines are no records."""
        decode = self._look.decode
        for number, line in lines(stream):
            if line is None:
                yield Reject("the line is too long", None, number, None)
                continue
            if not line:
                continue
            try:
                look = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                yield from _lenient(number, line)
                continue
            if _is_plain(look):
                yield look
            else:
                yield from _accepted(look, enumerate(look.detections), number, line)


class _Defect(Struct, frozen=True):
    reason: str
    field: str | None


def _is_plain(look: Look) -> bool:
    """Whether nothing of a decoded look needs more than these quick checks, and they find no fault."""
    received = look.time_received
    if look.footprint is not None or look.time_end is not None or look.time.tzinfo is not UTC:
        return False
    if not look.look_id or not look.source_id or (received is not None and received.tzinfo is not UTC):
        return False
    detections = look.detections
    if len(detections) > 1 and len({d.detection_id for d in detections}) != len(detections):
        return False
    for d in detections:
        if d.time is not None or d.ellipse is not None or not d.detection_id:
            return False
        if d.cov_enu_m2 is not None and not _is_covariance(d.cov_enu_m2):
            return False
    return True


def _lenient(number: int, line: bytes) -> Iterator[Item]:
    """A line that is no look as a whole: without its bad detections it may be one."""
    line = line.removeprefix(_BOM)
    if not line.strip():
        return
    try:
        # What is no JSON number (NaN, 1e999) becomes a text, which fits no field of numbers.
        values = json.loads(line, parse_constant=str, parse_float=_finite, parse_int=_finite_int)
    except (ValueError, RecursionError) as error:
        yield Reject(f"not JSON: {error}", None, number, line)
        return
    if not isinstance(values, dict):
        yield Reject("not an object", None, number, line)
        return
    given = values.pop("detections", [])
    if not isinstance(given, list):
        yield Reject("not an array", "detections", number, line)
        return
    look = _decoded(values, Look)
    if isinstance(look, _Defect):
        yield Reject(look.reason, look.field, number, line)
    else:
        yield from _accepted(look, ((i, _decoded(value, Detection)) for i, value in enumerate(given)), number, line)


def _accepted(
    look: Look, candidates: Iterable[tuple[int, Detection | _Defect]], number: int, line: bytes
) -> Iterator[Item]:
    """The look with its sound detections, after the others; or nothing but the look's own defect."""
    sound = _sound(look)
    if isinstance(sound, _Defect):
        yield Reject(sound.reason, sound.field, number, line)
        return
    detections: dict[str, Detection] = {}
    for index, candidate in candidates:
        checked = candidate if isinstance(candidate, _Defect) else _sound_detection(candidate)
        if isinstance(checked, Detection) and checked.detection_id in detections:
            checked = _Defect("a detection of this look has this id already", "detection_id")
        if isinstance(checked, _Defect):
            field = f"detections[{index}]" + (f".{checked.field}" if checked.field else "")
            yield Reject(checked.reason, field, number, line, is_record=False)
        else:
            detections[checked.detection_id] = checked
    yield msgspec.structs.replace(sound, detections=tuple(detections.values()))


def _sound(look: Look) -> Look | _Defect:
    """The look in UTC, or what is wrong with it beside its detections."""
    if not look.look_id or not look.source_id:
        return _Defect("empty", "source_id" if look.look_id else "look_id")
    time, end, received = _in_utc(look.time), _in_utc(look.time_end), _in_utc(look.time_received)
    if time is None or (end is None and look.time_end) or (received is None and look.time_received):
        wrong = "time" if time is None else "time_end" if end is None and look.time_end else "time_received"
        return _Defect("out of range", wrong)
    if end is not None and end < time:
        return _Defect("before the time", "time_end")
    if look.footprint is not None and (reason := footprint_defect(look.footprint)):
        return _Defect(reason, "footprint")
    return msgspec.structs.replace(look, time=time, time_end=end, time_received=received)


def _sound_detection(detection: Detection) -> Detection | _Defect:
    """The detection in UTC, or what is wrong with it that the types of its fields do not say."""
    if not detection.detection_id:
        return _Defect("empty", "detection_id")
    if detection.cov_enu_m2 is not None and not _is_covariance(detection.cov_enu_m2):
        return _Defect("no covariance: not positive definite", "cov_enu_m2")
    if detection.ellipse is not None and detection.ellipse.semi_minor_m > detection.ellipse.semi_major_m:
        return _Defect("longer than the major axis", "ellipse.semi_minor_m")
    if detection.time is None or detection.time.tzinfo is UTC:
        return detection
    time = _in_utc(detection.time)
    return _Defect("out of range", "time") if time is None else msgspec.structs.replace(detection, time=time)


def footprint_defect(footprint: dict[str, Any]) -> str | None:
    """What keeps a GeoJSON object (RFC 7946) from being a footprint, or None."""
    kind, coordinates = footprint.get("type"), footprint.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        return "neither a Polygon nor a MultiPolygon"
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons:
        return "no coordinates"
    for polygon in polygons:
        if not isinstance(polygon, list) or not polygon:
            return "a polygon without rings"
        for ring in polygon:
            if not isinstance(ring, list) or len(ring) < 4:
                return "a ring of fewer than four positions"
            if not all(map(_is_position, ring)):
                return "a position that is not [longitude, latitude] in degrees"
            if ring[0] != ring[-1]:
                return "a ring that is not closed"
    return None


def _is_position(value: object) -> bool:
    if not isinstance(value, list) or not 2 <= len(value) <= 4:
        return False
    lon, lat = value[0], value[1]
    if type(lon) not in (int, float) or type(lat) not in (int, float):
        return False
    return -180.0 <= lon <= 180.0 and -90.0 <= lat <= 90.0


def _is_covariance(c: tuple[float, float, float]) -> bool:
    return c[0] > 0.0 and c[2] > 0.0 and c[1] * c[1] < c[0] * c[2]


def _in_utc(time: datetime | None) -> datetime | None:
    """The time in UTC; None where there is none, or where UTC has no such year."""
    try:
        return None if time is None else time.astimezone(UTC)
    except OverflowError:
        return None


def _decoded(value: object, kind: type[_T]) -> _T | _Defect:
    """A value of the lenient decoder, decoded strictly."""
    try:
        return msgspec.json.decode(msgspec.json.encode(value), type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _Defect(*problem(error))


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _finite_int(text: str) -> int | float | str:
    return int(text) if len(text) <= 19 else _finite(text)
