"""Spire's AIS messages as JSON: one object a line, an array of them, or pages ``{"data": [...]}`` of its Messages API.

``timestamp`` is when a message was sent, ``created_at`` when it could be had: for satellites, hours later. Values are
those of AIS with its sentinels, scaled to knots and degrees. An object is a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

import msgspec
from msgspec import Struct

from apss_fusion.feeds.ais_common import (
    HIGH_ACCURACY_M2,
    KNOT_MPS,
    LONG_RANGE_M2,
    LOW_ACCURACY_M2,
    NO_CRAFT,
    RECORD_BYTES,
    Static,
    StaticMemory,
    angle_or_none,
    bad_mmsi,
    class_of_type,
    dimensions,
    no_position,
    parse_mmsi,
    position_look,
    speed_from_knots,
    static_report,
    station_kind,
)
from apss_fusion.feeds.ais_payload import DISTRESS_ACTIVE, OTHER_TYPES, POSITION_TYPES, STATIC_TYPES
from apss_fusion.feeds.ais_times import iso_moment
from apss_fusion.feeds.base import MAX_LINE_BYTES, Decoder, Ignored, Item, Reject, Used, lines
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.whole_json import Rejoined, element_pieces, parse, problem, read_whole
from apss_fusion.model import Source

_STATE_VERSION = 1
#: How far into an input it is looked for what it is.
_HEAD = 2**16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_KEYS = tuple(re.compile(rb'"%s"\s*:' % key) for key in (b"msg_type", b"mmsi", b"timestamp"))
#: The array of a page, or the first key of a message, whichever comes first.
_PAGE = re.compile(rb'"(data)"\s*:\s*\[|"msg_type"\s*:')
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_OTHER = {kind: Ignored(f"{name} (message {kind})") for kind, name in OTHER_TYPES.items()}
_USED = Used()
_STATIC_OF_NO_CRAFT = Ignored("static report of a station that is no craft")
_TEST = Ignored("an AIS-SART, MOB or EPIRB under test")


class _Dimensions(Struct):
    a: float | None = None
    b: float | None = None
    c: float | None = None
    d: float | None = None


class _Message(Struct):
    """What is used of a message. Draught, destination and so on are not."""

    msg_type: int
    mmsi: int | str
    timestamp: str | None = None
    created_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    speed: float | None = None
    course: float | None = None
    heading: float | None = None
    accuracy: int | bool | None = None
    status: int | None = None
    altitude: float | None = None
    imo: int | str | None = None
    name: str | None = None
    call_sign: str | None = None
    callsign: str | None = None
    ship_and_cargo_type: int | None = None
    length: float | None = None
    width: float | None = None
    dimensions: _Dimensions | None = None


class _State(Struct):
    version: int
    statics: dict[int, Static]


class SpireAis(Decoder):
    """AIS messages of Spire's Messages API."""

    name: ClassVar[str] = "spire-ais"
    title: ClassVar[str] = "Spire AIS messages as JSON (lines, an array, or pages of the Messages API)"
    source: ClassVar[Source] = Source(
        modality="AIS",
        provider="Spire",
        # SAR aircraft report themselves by AIS too.
        domains=("SEA", "AIR"),
        # Between the 10 m and 30 m that stand for the two accuracies a report can claim.
        position_sigma_m=20.0,
        # Their own example of a satellite's message could be had 3 h 27 min after it was sent.
        max_latency_s=14_400.0,
    )
    priority: ClassVar[int] = 30

    def __init__(self) -> None:
        self._memory = StaticMemory()
        self._decoder = msgspec.json.Decoder(_Message)

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether it begins as JSON does and its first object or page names the fields of a message."""
        head = head[:_HEAD].removeprefix(_BYTE_ORDER_MARK).lstrip()
        return head.startswith((b"{", b"[")) and all(key.search(head) for key in _KEYS)

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """Arrays of one message each, of a document or of pages; else lines."""
        head = stream.read(_HEAD)
        rejoined = Rejoined(head, stream)
        page = _page_is_first(head)
        if _is_document(head, page):
            yield from _document_pieces(read_whole(rejoined), page)
            return
        for _, line in lines(rejoined, cut=True):
            text = (line or b"").removeprefix(_BYTE_ORDER_MARK).strip()
            is_page = _page_is_first(text)
            if len(line or b"") > MAX_LINE_BYTES or text.startswith(b"[") or (is_page and not page):
                # Alone, what is no message here would be a document: it is to stay none.
                yield b"[," + text
            elif is_page:
                yield from _document_pieces(text, page)
            elif text:
                yield text

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item a message."""
        head = stream.read(_HEAD)
        rejoined = Rejoined(head, stream)
        page = _page_is_first(head)
        if _is_document(head, page):
            document = parse(read_whole(rejoined), ("data",) if page else ())
            for number, element in enumerate(document.elements, 1):
                yield self._message(bytes(element), number)
            if document.broken is not None:
                yield document.broken
            return
        for number, line in lines(rejoined):
            if line is None:
                yield Reject("the line is too long", None, number, None)
            elif line := line.removeprefix(_BYTE_ORDER_MARK).strip():
                if page and _page_is_first(line):
                    yield from self._page(line, number)
                else:
                    yield self._message(line, number)

    def _page(self, line: bytes, number: int) -> Iterator[Item]:
        document = parse(line, ("data",))
        for element in document.elements:
            yield self._message(bytes(element), number)
        if document.broken is not None:
            yield msgspec.structs.replace(document.broken, line=number)

    def _message(self, record: bytes, number: int) -> Item:
        """What becomes of a message; `number` is that of its line or element."""
        try:
            message = self._decoder.decode(record)
        except _UNREADABLE as error:
            return _reject(*problem(error), number, record)
        mmsi = parse_mmsi(message.mmsi)
        kind = "invalid" if mmsi is None else station_kind(mmsi)
        if mmsi is None or kind == "invalid":
            return bad_mmsi(number, record)
        if message.msg_type in STATIC_TYPES or message.msg_type == 19:
            if kind in NO_CRAFT:
                return _STATIC_OF_NO_CRAFT
            self._memory.learn(mmsi, _static_of(message))
        if message.msg_type in POSITION_TYPES:
            return self._position(message, mmsi, record, number)
        if message.msg_type in STATIC_TYPES:
            return _USED
        if message.msg_type in _OTHER:
            return _OTHER[message.msg_type]
        return _reject("no such message type", "msg_type", number, record)

    def _position(self, message: _Message, mmsi: int, record: bytes, number: int) -> Item:
        craft = self._memory.craft(mmsi)
        if craft.kind in NO_CRAFT:
            return NO_CRAFT[craft.kind]
        if craft.kind == "distress" and message.status not in (None, DISTRESS_ACTIVE):
            return _TEST
        lat, lon = message.latitude, message.longitude
        if lat is None or lon is None:
            return _reject("no position", "latitude" if lat is None else "longitude", number, record)
        if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
            return no_position(lat, lon, number, record, "latitude", "longitude")
        moment = None if message.timestamp is None else iso_moment(message.timestamp)
        if moment is None:
            return _reject("no time", "timestamp", number, record)
        received = None if message.created_at is None else iso_moment(message.created_at)
        if message.created_at is not None and received is None:
            return _reject("no time", "created_at", number, record)
        time, time_iso = moment
        aircraft = message.msg_type == 9
        altitude = message.altitude if aircraft and message.altitude is not None and message.altitude < 4094 else None
        content = f"{mmsi} {message.msg_type} {lat} {lon} {message.speed} {message.course} {message.heading}"
        return position_look(
            self.name,
            content_id(self.name, time_iso, content),
            craft,
            time,
            None if received is None or received[0] == time else received[0],
            lat,
            lon,
            _covariance(message),
            _speed(message),
            None if message.course is None else angle_or_none(message.course),
            None if message.heading is None else angle_or_none(message.heading),
            "AIR" if aircraft else craft.domain,
            altitude,
            None if altitude is None else "MSL",
        )

    def state(self) -> bytes:
        """Static reports."""
        return msgspec.msgpack.encode(_State(_STATE_VERSION, self._memory.records()))

    def restore(self, state: bytes) -> None:
        """Take up the state of an earlier decoder; ValueError if it is of another version or none."""
        if not state:
            return
        found = msgspec.msgpack.decode(state, type=_State)
        if found.version != _STATE_VERSION:
            raise ValueError(f"the state of {self.name} is of version {found.version}, not {_STATE_VERSION}")
        self._memory.restore(found.statics)


def _page_is_first(head: bytes) -> bool:
    """Whether this begins with a page of messages, not with a message."""
    match = _PAGE.search(head)
    return match is not None and match[1] is not None


def _document_pieces(data: bytes, page: bool) -> Iterator[bytes]:
    """Arrays of one message each of a document or page."""
    return element_pieces(parse(data, ("data",) if page else ()), b"[", b"]")


def _is_document(head: bytes, page: bool) -> bool:
    """Whether the input is one JSON value, an array or a page, and not a value a line."""
    head = head.removeprefix(_BYTE_ORDER_MARK).lstrip()
    first, newline, _ = head.partition(b"\n")
    return head.startswith(b"[") or (page and not (newline and first.rstrip().endswith(b"}")))


def _static_of(message: _Message) -> Static:
    imo = str(message.imo or "").strip()
    length_m, width_m = message.length, message.width
    sides = message.dimensions
    if not length_m and not width_m and sides is not None:
        length_m, width_m = dimensions(*(int(side or 0) for side in (sides.a, sides.b, sides.c, sides.d)))
    return static_report(
        int(imo) if len(imo) == 7 and imo.isascii() and imo.isdigit() else None,
        message.call_sign or message.callsign,
        message.name,
        None if message.ship_and_cargo_type is None else class_of_type(message.ship_and_cargo_type),
        length_m if length_m and 0.0 < length_m < 1022.0 else None,
        width_m if width_m and 0.0 < width_m < 126.0 else None,
    )


def _covariance(message: _Message) -> tuple[float, float, float] | None:
    if message.msg_type == 27:
        return LONG_RANGE_M2
    if message.accuracy is None:
        return None
    return HIGH_ACCURACY_M2 if message.accuracy else LOW_ACCURACY_M2


def _speed(message: _Message) -> float | None:
    """Metres a second; message 27 has 63 for unknown, message 9 (whole knots) 1023 and the bound 1022."""
    knots = message.speed
    if knots is None or (message.msg_type == 27 and knots >= 63):
        return None
    if message.msg_type == 9:
        return knots * KNOT_MPS if 0.0 <= knots < 1022 else None
    return speed_from_knots(knots)


def _reject(reason: str, field: str | None, number: int, record: bytes) -> Reject:
    return Reject(reason, field, number, record[:RECORD_BYTES])
