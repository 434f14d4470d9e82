"""OpenSky Network state vectors: CSV of the historical archive, and the JSON of the REST API. SI units.

A state vector repeats an aircraft's last position for up to five minutes after it was received, with its time
(``lastposupdate``, ``time_position``): such a row holds no new observation and is ignored. Altitude 0 and empty are
unknown. An aircraft on the ground has no altitude that means anything.
"""

from __future__ import annotations

import contextlib
import csv
import math
import re
from collections.abc import Iterator, Sequence
from typing import BinaryIO, ClassVar

import msgspec

from apss_fusion.feeds.aviation import (
    MAX_ALTITUDE_M,
    MAX_SPEED_MPS,
    MAX_VERTICAL_RATE_MPS,
    MIN_ALTITUDE_M,
    identity,
    is_position,
    utc,
)
from apss_fusion.feeds.base import MAX_LINE_BYTES, Decoder, Ignored, Item, Reject, lines
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.feeds.whole_json import Rejoined, element_pieces, parse, problem, read_whole
from apss_fusion.model import AltDatum, Detection, Look, Source

#: Aircraft whose last position is remembered.
MAX_AIRCRAFT = 50_000

#: Columns of the archive, also of a file without a header.
_COLUMNS = (
    "time", "icao24", "lat", "lon", "velocity", "heading", "vertrate", "callsign", "onground", "alert", "spi",
    "squawk", "baroaltitude", "geoaltitude", "lastposupdate", "lastcontact",
)  # fmt: skip
_NEEDED = ("time", "icao24", "lat", "lon", "lastposupdate")
#: Values of the API's arrays that are used, by the archive's names, and their places.
_API_PLACES = {
    "icao24": 0, "callsign": 1, "lastposupdate": 3, "lon": 5, "lat": 6, "baroaltitude": 7, "onground": 8,
    "velocity": 9, "heading": 10, "vertrate": 11, "geoaltitude": 13,
}  # fmt: skip
_API_HEAD = re.compile(rb'\s*\{\s*"time"\s*:\s*\d+\s*,\s*"states"\s*:\s*(?:\[|null)')

_RANGES = {
    "velocity": (0.0, MAX_SPEED_MPS),
    "heading": (0.0, 360.0),
    "vertrate": (-MAX_VERTICAL_RATE_MPS, MAX_VERTICAL_RATE_MPS),
    "baroaltitude": (MIN_ALTITUDE_M, MAX_ALTITUDE_M),
    "geoaltitude": (MIN_ALTITUDE_M, MAX_ALTITUDE_M),
}
_TRUE, _FALSE = ("true", "1"), ("false", "0", "")


class OpenSky(Decoder):
    """State vectors to looks of one aircraft each."""

    name: ClassVar[str] = "opensky"
    title: ClassVar[str] = "OpenSky state vectors, CSV or API JSON"
    source: ClassVar[Source] = Source(
        modality="ADSB",
        domains=("AIR",),
        # Nothing states an accuracy. In a recorded file: 3 m across the track, 0.05 s along it; and the latency that
        # an aircraft may have at 240 m/s.
        position_sigma_m=25.0,
        max_latency_s=30.0,  # a new position is in the next vector, 10 s later; 12.4 s at most in a recorded file
    )

    def __init__(self) -> None:
        #: By aircraft: time, latitude and longitude of the last position.
        self._last: dict[str, tuple[float, float, float]] = {}
        #: The last header, as it was written and its columns: pieces repeat it.
        self._header: tuple[bytes, list[str]] = b"", []

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the header has the columns that make a state vector, or the object begins as the API's does."""
        head = head.removeprefix(b"\xef\xbb\xbf")
        if head.lstrip().startswith(b"{"):
            return _API_HEAD.match(head) is not None
        return set(_NEEDED) <= set(_fields((head.splitlines() or [b""])[0]))

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item a row or element; headers and blank lines are no records."""
        head = stream.read(2**16)
        whole = Rejoined(head, stream)
        yield from self._api(whole) if _is_api(head) else self._csv(whole)

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """A header and one row each, or the object of the API with one state."""
        head = stream.read(2**16)
        whole = Rejoined(head, stream)
        return _api_pieces(whole) if _is_api(head) else _csv_pieces(whole)

    def state(self) -> bytes:
        """The last position of each aircraft."""
        return msgspec.msgpack.encode(self._last)

    def restore(self, state: bytes) -> None:
        """Take up such a state."""
        self._last = msgspec.msgpack.decode(state, type=dict[str, tuple[float, float, float]]) if state else {}

    def _csv(self, stream: BinaryIO) -> Iterator[Item]:
        columns: Sequence[str] = ()
        for number, line in lines(stream):
            if line is None:
                yield Reject("the line is too long", None, number, None)
                continue
            if not line.strip():
                continue
            if line == self._header[0]:
                columns = self._header[1]
                continue
            fields = _fields(line.removeprefix(b"\xef\xbb\xbf"))
            if set(_NEEDED) <= set(fields):
                columns = fields
                self._header = line, fields
                continue
            if not columns:
                columns = _columns_of(len(fields))
            if len(fields) != len(columns):
                yield Reject(f"{len(columns)} columns expected, {len(fields)} found", None, number, line)
                continue
            yield self._vector(dict(zip(columns, fields, strict=True)), number, line)

    def _api(self, stream: BinaryIO) -> Iterator[Item]:
        source = UntilFault(stream)
        document = parse(read_whole(source), ("states",))
        try:
            time = msgspec.json.decode(document.beside.get("time", b"null"), type=float | None)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            time = None
        for number, raw in enumerate(document.elements, 1):
            try:
                values = msgspec.json.decode(raw, type=list[str | float | bool | list | None])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                yield Reject(*problem(error), number, bytes(raw))
                continue
            if len(values) <= max(_API_PLACES.values()):
                yield Reject("a state has 17 or 18 values", None, number, bytes(raw))
                continue
            vector: dict[str, object] = {name: values[place] for name, place in _API_PLACES.items()}
            vector["time"] = time
            yield self._vector(vector, number, bytes(raw))
        if document.broken:
            yield document.broken
        source.check()

    def _vector(self, values: dict[str, object], number: int, record: bytes) -> Item:
        try:
            return self._look(values)
        except _UnusableError as error:
            return Reject(error.reason, error.field, number, record)

    def _look(self, values: dict[str, object]) -> Look | Ignored:
        icao24 = str(values["icao24"]).strip()
        ids = identity(icao24, str(values.get("callsign") or "")) if not icao24.startswith("~") else None
        if ids is None:
            raise _UnusableError("no address of 6 hex digits", "icao24")
        received = utc(_required(values, "time"))
        if received is None:
            raise _UnusableError("no time that a vector can be from", "time")
        lat, lon = _number(values, "lat"), _number(values, "lon")
        if lat is None or lon is None:
            return Ignored("no position")
        if not is_position(lat, lon):
            raise _UnusableError("not on the globe", "lon" if -90.0 <= lat <= 90.0 else "lat")
        seconds = _required(values, "lastposupdate")
        time = utc(seconds)
        if time is None:
            raise _UnusableError("no time that a position can be from", "lastposupdate")
        speed, course = _number(values, "velocity"), _number(values, "heading")
        rate = _number(values, "vertrate")
        altitude, datum = _altitude(values)
        if self._is_known(icao24.lower(), (seconds, lat, lon)):
            return Ignored("position repeated")
        look_id = content_id(self.name, icao24.lower(), time.isoformat(), repr(lat), repr(lon))
        detection = Detection(
            detection_id=look_id,
            lat=lat,
            lon=lon,
            alt_m=altitude,
            alt_datum=datum,
            speed_mps=speed,
            course_deg=None if course is None else course % 360.0,
            vertical_rate_mps=rate,
            domain="AIR",
            ids=ids or None,
        )
        return Look(look_id=look_id, source_id=self.name, time=time, time_received=received, detections=(detection,))

    def _is_known(self, icao24: str, position: tuple[float, float, float]) -> bool:
        known = self._last.pop(icao24, None) == position
        self._last[icao24] = position
        if len(self._last) > MAX_AIRCRAFT:
            del self._last[next(iter(self._last))]
        return known


def _is_api(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _columns_of(count: int) -> tuple[str, ...]:
    """The columns of a file without a header, whose first row has so many."""
    return _COLUMNS + ("",) * (count - len(_COLUMNS))


def _csv_pieces(stream: BinaryIO) -> Iterator[bytes]:
    header = b""
    for _, line in lines(stream, cut=True):
        if line is None or not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            # Whatever it begins with, it stays a line.
            yield b"," + line
            continue
        text = line.removeprefix(b"\xef\xbb\xbf")
        if _NEEDED[-1].encode() in text and set(_NEEDED) <= set(_fields(text)):
            header = text
            continue
        if not header:
            header = ",".join(_columns_of(len(_fields(text)))).encode()
        yield b"%b\n%b" % (header, line)


def _api_pieces(stream: BinaryIO) -> Iterator[bytes]:
    source = UntilFault(stream)
    document = parse(read_whole(source), ("states",))
    time = document.beside.get("time", b"null")
    yield from element_pieces(document, b'{"time":%b,"states":[' % time, b"]}", ("states",))
    source.check()


class _UnusableError(ValueError):
    """A value that cannot be what its field says."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


def _fields(line: bytes) -> list[str]:
    text = line.decode("utf-8", errors="replace")
    fields = text.split(",")
    if '"' in text:
        # What is no CSV stays as it is.
        with contextlib.suppress(csv.Error):
            fields = next(csv.reader([text]), [])
    return [field.strip() for field in fields]


def _number(values: dict[str, object], name: str) -> float | None:
    """A field as a number in its range; empty, null and NaN are unknown."""
    value = values.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _UnusableError("not a number", name)
    try:
        number = float(value)
    except ValueError:
        if isinstance(value, str) and value.lower() in ("null", "none"):
            return None
        raise _UnusableError("not a number", name) from None
    if math.isnan(number):
        return None
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if not low <= number <= high or math.isinf(number):
        raise _UnusableError("out of range", name)
    return number


def _required(values: dict[str, object], name: str) -> float:
    number = _number(values, name)
    if number is None:
        raise _UnusableError("missing", name)
    return number


def _altitude(values: dict[str, object]) -> tuple[float | None, AltDatum | None]:
    """Barometric altitude, or else the geometric one (above the ellipsoid), of an aircraft in the air."""
    ground = str(values.get("onground", "")).lower()
    if ground not in _TRUE + _FALSE + ("none", "nan"):
        raise _UnusableError("neither true nor false", "onground")
    barometric, geometric = _number(values, "baroaltitude"), _number(values, "geoaltitude")
    if ground in _TRUE:
        return None, None
    if barometric:
        return barometric, "BARO"
    return (geometric, "HAE") if geometric else (None, None)
