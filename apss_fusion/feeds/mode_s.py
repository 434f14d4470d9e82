"""Raw Mode S frames as JSON lines ``{"timestamp": ..., "frame": "8d..."}`` (jet1090 and others; other keys are unused).

rs1090 checks and splits the frames of ADS-B (downlink formats 17 and 18), in blocks and without memory. Pairing the
halves of positions, and what an aircraft said before (velocity, callsign, accuracy), is kept here for each address, so
that the looks do not depend on where blocks or inputs are cut.

Of velocities, two things are not taken from rs1090 0.7: it reads "no information" in a component as -1 kt, and leaves
out the factor 4 of supersonic ones. Frames above 50,000 ft it refuses as garbled; they become dead letters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO, ClassVar

import msgspec
import rs1090
from msgspec import Struct

from apss_fusion.feeds import cpr
from apss_fusion.feeds.aviation import (
    FOOT_M,
    FOOT_PER_MINUTE_MPS,
    KNOT_MPS,
    NUC_P_R95_M,
    SIGMAS_PER_R95,
    altitude_sigma_m,
    course_sigma_deg,
    identity,
    position_covariance,
    position_sigma_m,
    speed_sigma_mps,
    utc,
)
from apss_fusion.feeds.base import Decoder, Ignored, Item, Reject, Used, line_pieces, lines
from apss_fusion.feeds.identity import content_id
from apss_fusion.feeds.until_fault import UntilFault
from apss_fusion.feeds.whole_json import problem
from apss_fusion.model import AltDatum, Detection, Look, Source

#: Frames that are handed to rs1090 at once.
_BLOCK = 1_000
#: Aircraft that are remembered; the one that was not heard for longest is forgotten.
MAX_AIRCRAFT = 50_000
#: How far apart in time the two halves of a position may be (DO-260B A.1.7.9).
PAIR_S = 10.0
#: How old the last position may be to resolve one half alone: at 1,000 m/s still within the 180 NM of one zone.
REFERENCE_S = 300.0
#: The same frame within this time is one transmission, heard by two receivers.
ECHO_S = 0.2
#: How long a velocity belongs to later positions, and by how much it may have changed a second.
VELOCITY_S = 10.0
_ACCELERATION_MPS2 = 2.0
#: How long callsign, version and accuracy are believed without being heard again.
MEMORY_S = 3_600.0
#: No aircraft is faster, give or take some distance; positions that demand more contradict each other.
MAX_STEP_MPS = 600.0
STEP_SLACK_M = 2_000.0

_EARTH_M = 6_371_008.8


class _Line(Struct):
    timestamp: float
    frame: str


class _Half(Struct, array_like=True):
    time: float
    lat: int
    lon: int


class _Velocity(Struct, array_like=True):
    time: float
    speed_mps: float | None
    course_deg: float | None
    vertical_rate_mps: float | None
    sigma_mps: float | None


class _Status(Struct, array_like=True):
    """What the last operational or target status says; nothing in version 0, which grades each position by its type."""

    time: float
    nac_p: int | None
    gva: int | None
    #: Whether directions on the ground are magnetic.
    magnetic: bool


class _Aircraft(Struct):
    #: Last airborne messages of a position, even and odd.
    even: _Half | None = None
    odd: _Half | None = None
    #: Last surface message.
    surface: _Half | None = None
    #: Time, latitude and longitude of the last position.
    position: tuple[float, float, float] | None = None
    velocity: _Velocity | None = None
    callsign: tuple[float, str] | None = None
    status: _Status | None = None


class ModeS(Decoder):
    """Raw Mode S frames to looks of one aircraft each."""

    name: ClassVar[str] = "mode-s"
    title: ClassVar[str] = "raw Mode S frames as JSON lines (jet1090)"
    source: ClassVar[Source] = Source(
        modality="ADSB",
        domains=("AIR",),
        position_sigma_m=40.0,  # NUCp 7, the commonest
        max_latency_s=5.0,  # receivers stamp frames as they hear them; networks merge them within seconds
    )

    def __init__(self) -> None:
        self._line = msgspec.json.Decoder(_Line)
        self._aircraft: dict[str, _Aircraft] = {}

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether one of the first lines is an object with a time and a frame of 7 or 14 bytes."""
        for line in head.removeprefix(b"\xef\xbb\xbf").splitlines()[:10]:
            try:
                if _is_hex(msgspec.json.decode(line, type=_Line).frame):
                    return True
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
        return False

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """Lines."""
        return line_pieces(stream)

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item a line; blank lines are no records."""
        block: list[Item | tuple[float, str, int]] = []
        source = UntilFault(stream)
        for number, line in lines(source):
            if line is None or line.strip():
                block.append(self._read(number, line))
            if len(block) == _BLOCK:
                yield from self._block(block)
                block = []
        yield from self._block(block)
        source.check()

    def state(self) -> bytes:
        """What is known of each aircraft, least recently heard first."""
        return msgspec.msgpack.encode(self._aircraft)

    def restore(self, state: bytes) -> None:
        """Take up such a state."""
        self._aircraft = msgspec.msgpack.decode(state, type=dict[str, _Aircraft]) if state else {}

    def _read(self, number: int, line: bytes | None) -> Item | tuple[float, str, int]:
        """The time and frame of an extended squitter, or else what becomes of the line."""
        if line is None:
            return Reject("the line is too long", None, number, None)
        try:
            record = self._line.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            reason, field = problem(error)
            return Reject(reason, field, number, line)
        if utc(record.timestamp) is None:
            return Reject("no time that a frame can be from", "timestamp", number, line)
        frame = record.frame.lower()
        if not _is_hex(frame):
            return Reject("a frame has 14 or 28 hex digits", "frame", number, line)
        downlink_format = int(frame[:2], 16) >> 3
        if downlink_format not in (17, 18):
            return Ignored("downlink format without a position")
        if len(frame) != 28:
            return Reject("an extended squitter has 28 hex digits", "frame", number, line)
        if downlink_format == 18 and int(frame[:2], 16) & 7 in (3, 4, 7):
            return Ignored("TIS-B of a coarse or reserved format")
        return record.timestamp, frame, number

    def _block(self, block: list[Item | tuple[float, str, int]]) -> Iterator[Item]:
        frames = [entry[1] for entry in block if isinstance(entry, tuple)]
        messages = iter(rs1090.decode(frames)) if frames else iter(())
        for entry in block:
            yield self._message(*entry, next(messages)) if isinstance(entry, tuple) else entry

    def _message(self, time: float, frame: str, number: int, message: dict[str, Any] | None) -> Item:
        if message is None:
            reason = "checksum" if _checksum(frame) else "contents that no aircraft sends"
            return Reject(f"not a valid frame: {reason}", "frame", number, frame)
        kind = message.get("bds")
        if kind not in ("05", "06", "08", "09", "62", "65"):
            return Ignored("ADS-B message without a position")
        address = _address(frame, kind)
        aircraft = self._aircraft.pop(address, None) or _Aircraft()
        self._aircraft[address] = aircraft
        if len(self._aircraft) > MAX_AIRCRAFT:
            del self._aircraft[next(iter(self._aircraft))]
        if kind in ("05", "06"):
            return _position(aircraft, address, time, frame, message)
        if kind == "08":
            callsign = str(message.get("callsign") or "").strip(" #")
            aircraft.callsign = (time, callsign) if callsign else None
        elif kind == "09":
            aircraft.velocity = _velocity(time, frame, message)
        else:
            aircraft.status = _status(aircraft.status, time, message)
        return Used()


def _position(aircraft: _Aircraft, address: str, time: float, frame: str, message: dict[str, Any]) -> Item:
    surface = message["bds"] == "06"
    odd = message["parity"] == "odd"
    half = _Half(time, message["lat_cpr"], message["lon_cpr"])
    last = aircraft.surface if surface else aircraft.odd if odd else aircraft.even
    if last and (last.lat, last.lon) == (half.lat, half.lon) and abs(time - last.time) < ECHO_S:
        return Ignored("heard by a second receiver")
    if surface:
        aircraft.surface = half
    elif odd:
        aircraft.odd = half
    else:
        aircraft.even = half
    place = _resolve(aircraft, time, half, odd, surface)
    if place is None:
        return Ignored("surface position without one before it") if surface else Used()
    aircraft.position = (time, *place)
    return _look(aircraft, address, time, frame, message, place)


def _resolve(aircraft: _Aircraft, time: float, half: _Half, odd: bool, surface: bool) -> tuple[float, float] | None:
    """Degrees of a half, by its pair or the last position; None (and a new start) if they contradict each other."""
    reference = aircraft.position
    if reference and abs(time - reference[0]) > REFERENCE_S:
        reference = None
    place = None
    other = aircraft.even if odd else aircraft.odd
    if not surface and other and abs(time - other.time) <= PAIR_S:
        pair = (other, half) if odd else (half, other)
        places = cpr.from_pair(pair[0].lat, pair[0].lon, pair[1].lat, pair[1].lon)
        if places and _reachable(places[0], places[1], time - other.time):
            place = places[1] if odd else places[0]
    if place is None and reference:
        place = cpr.from_reference(half.lat, half.lon, odd, surface, reference[1], reference[2])
    if place and reference and not _reachable(place, reference[1:], time - reference[0]):
        place = None
        aircraft.position = None
        aircraft.even = half if not surface and not odd else None
        aircraft.odd = half if not surface and odd else None
    return place


def _reachable(a: tuple[float, float], b: tuple[float, float], seconds: float) -> bool:
    """Whether an aircraft gets from one to the other in this time."""
    lat, other = math.radians(a[0]), math.radians(b[0])
    h = math.sin((lat - other) / 2.0) ** 2
    h += math.cos(lat) * math.cos(other) * math.sin(math.radians(a[1] - b[1]) / 2.0) ** 2
    return 2.0 * _EARTH_M * math.asin(min(math.sqrt(h), 1.0)) <= MAX_STEP_MPS * abs(seconds) + STEP_SLACK_M


def _velocity(time: float, frame: str, message: dict[str, Any]) -> _Velocity:
    """The velocity of a type 19 message; airspeed and magnetic heading are not over ground and are left out."""
    bits = int(frame[8:22], 16)
    subtype = bits >> 48 & 7
    speed, course = message.get("groundspeed"), message.get("track")
    if subtype not in (1, 2) or not bits >> 32 & 0x3FF or not bits >> 21 & 0x3FF:
        speed = course = None
    elif speed is not None and subtype == 2:
        speed *= 4.0
    rate = message.get("vertical_rate")
    return _Velocity(
        time,
        None if speed is None else speed * KNOT_MPS,
        course,
        None if rate is None else rate * FOOT_PER_MINUTE_MPS,
        speed_sigma_mps(message.get("NACv")),
    )


def _status(old: _Status | None, time: float, message: dict[str, Any]) -> _Status:
    """The status after a type 31 message, or after a type 29 one, which has less in it."""
    if message["bds"] == "62":
        return _Status(time, message.get("NACp"), old.gva if old else None, old.magnetic if old else False)
    return _Status(time, message.get("NACp"), message.get("GVA"), message.get("HRD") == 1)


def _look(
    aircraft: _Aircraft, address: str, time: float, frame: str, message: dict[str, Any], place: tuple[float, float]
) -> Look:
    speed = course = vertical_rate = velocity_sigma = None
    status = aircraft.status
    if status and abs(time - status.time) > MEMORY_S:
        status = None
    if message["bds"] == "06":
        speed, course = message.get("groundspeed"), message.get("track")
        speed = None if speed is None else speed * KNOT_MPS
        course = None if status and status.magnetic else course
    elif aircraft.velocity and abs(time - aircraft.velocity.time) <= VELOCITY_S:
        velocity = aircraft.velocity
        speed, course, vertical_rate = velocity.speed_mps, velocity.course_deg, velocity.vertical_rate_mps
        if velocity.sigma_mps is not None and speed is not None:
            velocity_sigma = math.hypot(velocity.sigma_mps, _ACCELERATION_MPS2 * (time - velocity.time))
    sigma = position_sigma_m(status.nac_p) if status else None
    if sigma is None:
        sigma = NUC_P_R95_M.get(message.get("NUCp", 0), NUC_P_R95_M[0]) / SIGMAS_PER_R95
    callsign = aircraft.callsign[1] if aircraft.callsign and abs(time - aircraft.callsign[0]) <= MEMORY_S else None
    altitude = message.get("altitude")
    geometric = message.get("source") == "GNSS"
    datum: AltDatum = "HAE" if geometric else "BARO"
    look_id = content_id(ModeS.name, f"{time:.6f}", frame)
    detection = Detection(
        detection_id=look_id,
        lat=place[0],
        lon=place[1],
        cov_enu_m2=position_covariance(sigma, speed, course),
        alt_m=None if altitude is None else altitude * FOOT_M,
        alt_datum=None if altitude is None else datum,
        alt_sigma_m=altitude_sigma_m(status.gva) if status and geometric and altitude is not None else None,
        speed_mps=speed,
        course_deg=course,
        speed_sigma_mps=velocity_sigma,
        course_sigma_deg=course_sigma_deg(velocity_sigma, speed),
        vertical_rate_mps=vertical_rate,
        domain="AIR",
        ids=identity(address, callsign) or None,
    )
    return Look(look_id=look_id, source_id=ModeS.name, time=datetime.fromtimestamp(time, UTC), detections=(detection,))


def _address(frame: str, kind: str) -> str:
    """The address of a frame, with ``~`` before it where ICAO did not assign it (DO-260B 2.2.3.2.1.5, 2.2.17.2)."""
    first = int(frame[:2], 16)
    icao = True
    if first >> 3 == 18:
        control = first & 7
        if control in (1, 5):
            icao = False
        elif control in (2, 6):  # the IMF bit, which only positions (bit 8) and velocities (bit 9) have
            icao = kind in ("05", "06", "09") and not int(frame[8:12], 16) >> (7 if kind == "09" else 8) & 1
    return frame[2:8] if icao else "~" + frame[2:8]


def _is_hex(frame: str) -> bool:
    return len(frame) in (14, 28) and all(c in "0123456789abcdefABCDEF" for c in frame)


def _checksum(frame: str) -> int:
    """The remainder of a frame by the generator of Mode S (ICAO annex 10 volume IV, 3.1.2.3.3); 0 is right."""
    rest = int(frame, 16)
    for bit in range(len(frame) * 4 - 1, 23, -1):
        if rest >> bit & 1:
            rest ^= 0x1FFF409 << (bit - 24)
    return rest
