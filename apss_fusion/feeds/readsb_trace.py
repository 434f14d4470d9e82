"""readsb and its kin (tar1090, adsb.lol, ADS-B Exchange): ``trace_full`` of one aircraft, and ``aircraft.json``.

Fields as in the README-json of wiedehopf/readsb: feet, knots, feet a minute, degrees true; times in seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, BinaryIO, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct, structs

from apss_fusion.feeds.aviation import (
    FOOT_M,
    FOOT_PER_MINUTE_MPS,
    KNOT_MPS,
    MAX_ALTITUDE_M,
    MAX_SPEED_MPS,
    MAX_VERTICAL_RATE_MPS,
    MIN_ALTITUDE_M,
    TIME_SIGMA_S,
    altitude_sigma_m,
    course_sigma_deg,
    identity,
    position_covariance,
    position_sigma_m,
    speed_sigma_mps,
    utc,
)
from apss_fusion.feeds.base import Decoder, Ignored, Item, Reject
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.feeds.whole_json import Document, element_pieces, parse, problem, read_whole
from apss_fusion.model import AltDatum, Detection, Look, Source

#: Aircraft whose last position is remembered.
MAX_AIRCRAFT = 50_000
#: ``seen_pos`` and ``now`` are rounded, so that the time of one position differs from file to file by up to this.
_SAME_TIME_S = 0.25
#: The first position after a gap of reception ("stale") may have been delivered late: in a recorded trace, 3 of 50 were
#: behind by 0.5 to 5 s. (The flag says nothing else: the position is a new one.)
_STALE_TIME_SIGMA_S = 1.0
#: Multilateration states no accuracy and varies; of this order within a network of receivers.
_MLAT_SIGMA_M = 100.0

_Feet = Annotated[float, Meta(ge=MIN_ALTITUDE_M / FOOT_M, le=MAX_ALTITUDE_M / FOOT_M)]
_Knots = Annotated[float, Meta(ge=0.0, le=MAX_SPEED_MPS / KNOT_MPS)]
_FeetPerMinute = Annotated[
    float, Meta(ge=-MAX_VERTICAL_RATE_MPS / FOOT_PER_MINUTE_MPS, le=MAX_VERTICAL_RATE_MPS / FOOT_PER_MINUTE_MPS)
]
_Degrees = Annotated[float, Meta(ge=0.0, le=360.0)]
_Latitude = Annotated[float, Meta(ge=-90.0, le=90.0)]
_Longitude = Annotated[float, Meta(ge=-180.0, le=180.0)]
_NotNegative = Annotated[float, Meta(ge=0.0)]


class _Details(Struct):
    """Of an aircraft object, what a row of a trace has no place for."""

    flight: str | None = None
    nac_p: int | None = None
    nac_v: int | None = None
    rc: float | None = None
    gva: int | None = None
    true_heading: _Degrees | None = None


class _Row(Struct, array_like=True):
    """A row of a trace."""

    seconds: float
    lat: _Latitude
    lon: _Longitude
    altitude: _Feet | Literal["ground"] | None = None
    gs: _Knots | None = None
    track: _Degrees | None = None
    flags: int = 0
    vertical_rate: _FeetPerMinute | None = None
    details: _Details | None = None
    type: str | None = None
    alt_geom: _Feet | None = None
    geom_rate: _FeetPerMinute | None = None


class _Aircraft(_Details):
    """An element of ``aircraft.json``."""

    hex: str = ""
    type: str | None = None
    lat: _Latitude | None = None
    lon: _Longitude | None = None
    seen_pos: _NotNegative | None = None
    alt_baro: _Feet | Literal["ground"] | None = None
    alt_geom: _Feet | None = None
    gs: _Knots | None = None
    track: _Degrees | None = None
    baro_rate: _FeetPerMinute | None = None
    geom_rate: _FeetPerMinute | None = None


_T = TypeVar("_T")
_ARRAYS = ("trace", "aircraft")
_STALE, _NEW_LEG, _GEOMETRIC_ALTITUDE = 1, 2, 8
_ROW = msgspec.json.Decoder(_Row)
_AIRCRAFT = msgspec.json.Decoder(_Aircraft)
_INDEX = re.compile(r"\[(\d+)\]\.?(.*)")

_TRACE_HEAD = re.compile(rb'\s*\{\s*"icao"\s*:\s*"~?[0-9a-fA-F]{6}"')
_TRACE_ARRAY = re.compile(rb'"trace"\s*:\s*\[')
_NOW_HEAD = re.compile(rb'\s*\{\s*"now"\s*:\s*[0-9.]+\s*,')
_AIRCRAFT_ARRAY = re.compile(rb'"aircraft"\s*:\s*\[\s*(?:\{\s*"hex"|\]|\Z)')


class Readsb(Decoder):
    """A trace or a list of aircraft to looks of one aircraft each. A row or list element is a record."""

    name: ClassVar[str] = "readsb"
    title: ClassVar[str] = "readsb trace_full JSON of one aircraft, or aircraft.json"
    source: ClassVar[Source] = Source(
        modality="ADSB",
        domains=("AIR",),
        position_sigma_m=50.0,
        max_latency_s=60.0,  # aircraft.json keeps a position for 60 s
    )

    def __init__(self) -> None:
        #: By address: time, latitude and longitude of the last position of an aircraft.json.
        self._last: dict[str, tuple[float, float, float]] = {}

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the object begins as one of the two files does."""
        head = head.removeprefix(b"\xef\xbb\xbf")
        if _TRACE_HEAD.match(head):
            return _TRACE_ARRAY.search(head) is not None
        return _NOW_HEAD.match(head) is not None and _AIRCRAFT_ARRAY.search(head) is not None

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """The object with one row or aircraft each; a row gets what an earlier one has told of the flight."""
        source = UntilFault(stream)
        document = parse(read_whole(source), _ARRAYS)
        key = "trace" if "icao" in document.beside else "aircraft"
        kept = {name: document.beside[name] for name in ("icao", "timestamp", "now") if name in document.beside}
        before = msgspec.json.encode(kept)[:-1] + (b"," if kept else b"") + b'"%b":[' % key.encode()
        if key == "trace":
            document = structs.replace(document, elements=list(_told(document.elements)))
        yield from element_pieces(document, before, b"]}", _ARRAYS)
        source.check()

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item an element of the array."""
        source = UntilFault(stream)
        document = parse(read_whole(source), _ARRAYS)
        yield from self._trace(document) if "icao" in document.beside else self._list(document)
        if document.broken:
            yield document.broken
        source.check()

    def state(self) -> bytes:
        """The last position of each aircraft."""
        return msgspec.msgpack.encode(self._last)

    def restore(self, state: bytes) -> None:
        """Take up such a state."""
        self._last = msgspec.msgpack.decode(state, type=dict[str, tuple[float, float, float]]) if state else {}

    def _trace(self, document: Document) -> Iterator[Item]:
        address, base = _value(document, "icao", str), _value(document, "timestamp", float)
        if address is None or identity(address) is None:
            yield from _unusable(document, "no address of 6 hex digits", "icao")
        elif base is None or utc(base) is None:
            yield from _unusable(document, "no time that a trace can begin at", "timestamp")
        else:
            details = _Details()
            for number, raw in enumerate(document.elements, 1):
                try:
                    row = _ROW.decode(raw)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    yield _reject(error, number, raw)
                    continue
                if row.details:
                    details = row.details
                elif row.flags & _NEW_LEG:
                    details = _Details()  # the next flight has its own callsign
                time = utc(base + row.seconds)
                if time is None:
                    yield Reject("no time that a position can be from", "seconds", number, bytes(raw))
                else:
                    yield _row_look(address, time, row, details)

    def _list(self, document: Document) -> Iterator[Item]:
        now = _value(document, "now", float)
        received = None if now is None else utc(now)
        if now is None or received is None:
            yield from _unusable(document, "no time that a list can be from", "now")
            return
        for number, raw in enumerate(document.elements, 1):
            try:
                aircraft = _AIRCRAFT.decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                yield _reject(error, number, raw)
                continue
            if identity(aircraft.hex) is None:
                yield Reject("no address of 6 hex digits", "hex", number, bytes(raw))
            elif aircraft.lat is None or aircraft.lon is None:
                yield Ignored("no position")
            elif aircraft.seen_pos is None or utc(now - aircraft.seen_pos) is None:
                yield Reject("a position without its age", "seen_pos", number, bytes(raw))
            elif self._is_known(aircraft.hex, now - aircraft.seen_pos, aircraft.lat, aircraft.lon):
                yield Ignored("position repeated")
            else:
                time = datetime.fromtimestamp(now - aircraft.seen_pos, UTC)
                yield _aircraft_look(aircraft, time, received, aircraft.lat, aircraft.lon)

    def _is_known(self, address: str, seconds: float, lat: float, lon: float) -> bool:
        last = self._last.pop(address, None)
        known = last is not None and last[1:] == (lat, lon) and abs(seconds - last[0]) <= _SAME_TIME_S
        self._last[address] = (seconds, lat, lon)
        if len(self._last) > MAX_AIRCRAFT:
            del self._last[next(iter(self._last))]
        return known


def _told(rows: list[Raw]) -> Iterator[Raw]:
    """Rows of a trace, those without details with the ones that hold for them."""
    place = _Row.__struct_fields__.index("details")
    fill = [Raw(value) for value in (*(b"null",) * 6, b"0", b"null")]
    told = _Details()
    for raw in rows:
        try:
            row = _ROW.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            yield raw
            continue
        if row.details or row.flags & _NEW_LEG:
            told = row.details or _Details()
        elif told != _Details():
            values = msgspec.json.decode(raw, type=list[Raw])
            values += fill[len(values) :]
            # Where the nose points is told of its own row only.
            values[place : place + 1] = [Raw(msgspec.json.encode(structs.replace(told, true_heading=None)))]
            raw = Raw(msgspec.json.encode(values))
        yield raw


def _row_look(address: str, time: datetime, row: _Row, details: _Details) -> Look:
    ground = row.altitude == "ground"
    altitude = None if isinstance(row.altitude, str) else row.altitude
    geometric = bool(row.flags & _GEOMETRIC_ALTITUDE)
    # On the ground the direction is where the nose points.
    heading, course = (row.track, None) if ground else (row.details.true_heading if row.details else None, row.track)
    if not ground and altitude is None:
        altitude, geometric = row.alt_geom, True
    return _look(
        address,
        details,
        row.type,
        _Kinematics(row.lat, row.lon, altitude, geometric, row.gs, course, heading, row.vertical_rate, row.geom_rate),
        time,
        None,
        _STALE_TIME_SIGMA_S if row.flags & _STALE else TIME_SIGMA_S,
    )


def _aircraft_look(aircraft: _Aircraft, time: datetime, received: datetime, lat: float, lon: float) -> Look:
    altitude: float | None
    if isinstance(aircraft.alt_baro, str):
        altitude, geometric = None, False
    elif aircraft.alt_baro is None:
        altitude, geometric = aircraft.alt_geom, True
    else:
        altitude, geometric = aircraft.alt_baro, False
    return _look(
        aircraft.hex,
        aircraft,
        aircraft.type,
        _Kinematics(
            lat,
            lon,
            altitude,
            geometric,
            aircraft.gs,
            aircraft.track,
            aircraft.true_heading,
            aircraft.baro_rate,
            aircraft.geom_rate,
        ),
        time,
        received,
        TIME_SIGMA_S,
    )


class _Kinematics(Struct, frozen=True):
    """In the units of the format."""

    lat: float
    lon: float
    altitude: float | None
    geometric: bool
    gs: float | None
    course: float | None
    heading: float | None
    rate: float | None
    geom_rate: float | None


def _look(
    address: str,
    details: _Details,
    kind: str | None,
    k: _Kinematics,
    time: datetime,
    received: datetime | None,
    time_sigma_s: float,
) -> Look:
    speed = None if k.gs is None else k.gs * KNOT_MPS
    course = None if k.course is None else k.course % 360.0
    rate = k.rate if k.rate is not None else k.geom_rate
    measured = kind is None or not kind.startswith(("mlat", "mode_s", "other", "adsc"))
    sigma = position_sigma_m(details.nac_p, details.rc) if measured else _MLAT_SIGMA_M if kind == "mlat" else None
    velocity_sigma = speed_sigma_mps(details.nac_v) if measured else None
    datum: AltDatum = "HAE" if k.geometric else "BARO"
    look_id = content_id(
        Readsb.name, address, time.isoformat(), repr((k.lat, k.lon, k.altitude, k.gs, k.course, k.heading, rate))
    )
    detection = Detection(
        detection_id=look_id,
        lat=k.lat,
        lon=k.lon,
        cov_enu_m2=None if sigma is None else position_covariance(sigma, speed, course, time_sigma_s),
        alt_m=None if k.altitude is None else k.altitude * FOOT_M,
        alt_datum=None if k.altitude is None else datum,
        alt_sigma_m=altitude_sigma_m(details.gva) if k.geometric and k.altitude is not None else None,
        speed_mps=speed,
        course_deg=course,
        speed_sigma_mps=velocity_sigma if speed is not None else None,
        course_sigma_deg=course_sigma_deg(velocity_sigma, speed) if course is not None else None,
        heading_deg=None if k.heading is None else k.heading % 360.0,
        vertical_rate_mps=None if rate is None else rate * FOOT_PER_MINUTE_MPS,
        domain="AIR",
        ids=identity(address, details.flight) or None,
    )
    return Look(look_id=look_id, source_id=Readsb.name, time=time, time_received=received, detections=(detection,))


def _value(document: Document, key: str, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(document.beside[key], type=kind)
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _unusable(document: Document, reason: str, field: str) -> Iterator[Item]:
    for number, raw in enumerate(document.elements, 1):
        yield Reject(reason, field, number, bytes(raw))


def _reject(error: Exception, number: int, raw: Raw) -> Reject:
    """The dead letter of an element; places in a row get their names."""
    reason, field = problem(error)
    match = _INDEX.fullmatch(field or "")
    if match and int(match[1]) < len(_Row.__struct_fields__):
        field = _Row.__struct_fields__[int(match[1])] + ("." + match[2] if match[2] else "")
    return Reject(reason, field, number, bytes(raw))
