"""The payload of an AIS message: its six-bit characters to position and static reports.

pyais decodes the payloads, but for those that make up nearly all of a feed: ships' position reports (messages 1, 2, 3
and 18) and static reports (5). Their fields are taken by shifts from the payload as one integer, at the places of ITU-R
M.1371-5, Annex 8, tables 48, 67 and 52, which costs a third or less.
"""

from __future__ import annotations

from binascii import Error as BinasciiError
from binascii import a2b_base64, b2a_base64

from msgspec import Struct
from pyais.bit_vector import bit_vector
from pyais.exceptions import UnknownPartNoException
from pyais.messages import (
    MessageType9,
    MessageType19,
    MessageType24,
    MessageType24PartA,
    MessageType24PartB,
    MessageType27,
)

from apss_fusion.feeds.ais_common import (
    HIGH_ACCURACY_M2,
    KNOT_MPS,
    LONG_RANGE_M2,
    LOW_ACCURACY_M2,
    Static,
    angle_or_none,
    class_of_type,
    dimensions,
    speed_from_knots,
    static_report,
)
from apss_fusion.model.look import AltDatum

#: The characters of a payload, by the six bits they stand for.
ARMOUR = b"0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVW`abcdefghijklmnopqrstuvw"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#: To the alphabet of base64, whose decoder in C packs the bits; it leaves out what is no character of a payload.
_TO_BASE64 = bytes(_BASE64[ARMOUR.index(c)] if c in ARMOUR else ord(".") for c in range(256))

#: From the alphabet of base64 to that of texts in messages.
_TO_TEXT = bytes.maketrans(_BASE64, bytes(range(64, 96)) + bytes(range(32, 64)))
_NO_CHARACTER = "a character that no payload has"

#: Message type by the first character; -1 is no character of a payload.
TYPE_OF_CHARACTER = tuple(ARMOUR.find(c) for c in range(256))

#: Least and most bits of the messages that are decoded: up to the last field used here; with two characters of padding.
#: Bit errors that pass the checksum often give a message a type whose length is another.
_BITS = {
    1: (143, 180),
    2: (143, 180),
    3: (143, 180),
    5: (270, 436),
    9: (134, 180),
    18: (139, 180),
    19: (301, 324),
    24: (160, 180),
    # 96 in the recommendation; some transponders fill it up to a whole slot.
    27: (94, 180),
}
SHIP_TYPES = frozenset({1, 2, 3, 18})
POSITION_TYPES = frozenset({1, 2, 3, 9, 18, 19, 27})
STATIC_TYPES = frozenset({5, 24})

#: Valid messages with nothing for a picture in them (M.1371-5 table 44; 28 is of M.1371-6).
OTHER_TYPES = {
    4: "base station report",
    6: "addressed binary message",
    7: "binary acknowledgement",
    8: "binary broadcast message",
    10: "UTC inquiry",
    11: "UTC response",
    12: "addressed safety message",
    13: "safety acknowledgement",
    14: "safety broadcast message",
    15: "interrogation",
    16: "assignment command",
    17: "DGNSS broadcast",
    20: "data link management",
    21: "aid to navigation report",
    22: "channel management",
    23: "group assignment",
    25: "single slot binary message",
    26: "multiple slot binary message",
    28: "aid to navigation report",
}

#: Navigational status of an AIS-SART, MOB or EPIRB that is active; under test it sends another.
DISTRESS_ACTIVE = 14


class Position(Struct, frozen=True, gc=False):
    """A decoded position report in SI units; latitude and longitude may still be sentinels."""

    mmsi: int
    lat: float
    lon: float
    cov_enu_m2: tuple[float, float, float]
    speed_mps: float | None
    course_deg: float | None
    heading_deg: float | None
    #: UTC second of the position; 60 and more, or ``None``: unknown.
    second: int | None
    #: Navigational status; ``None`` where the message has none.
    status: int | None = None
    alt_m: float | None = None
    alt_datum: AltDatum | None = None
    #: What else the message tells of the ship (message 19).
    static: Static | None = None


def bad_payload(kind: int, payload: bytes, fill: int) -> str | None:
    """Why a payload cannot be one of message type `kind`, or ``None``."""
    if payload.translate(None, ARMOUR):
        return _NO_CHARACTER
    least, most = _BITS[kind]
    if not least <= 6 * len(payload) - fill <= most:
        return f"message {kind} has no such length"
    return None


def mmsi_of(payload: bytes) -> int | None:
    """The identity of the sender: bits 8 to 37 of any message. ``None`` where the payload is shorter or not one."""
    bits = _bits(payload[:8])
    return None if bits is None or len(payload) < 8 else bits >> 10 & 0x3FFFFFFF


def _bits(payload: bytes) -> int | None:
    """A payload of a multiple of four characters as one integer; ``None`` if it has a character that no payload has."""
    try:
        packed = a2b_base64(payload.translate(_TO_BASE64))
    except BinasciiError:
        return None
    return int.from_bytes(packed, "big") if 4 * len(packed) == 3 * len(payload) else None


def ship_position(kind: int, payload: bytes, fill: int) -> Position | str:
    """The position report of a ship (message 1, 2, 3 or 18), or why it is none."""
    if len(payload) != 28:
        reason = bad_payload(kind, payload, fill)
        if reason is not None:
            return reason
        payload = payload.ljust(28, b"0")[:28]
    bits = _bits(payload)
    if bits is None:
        return _NO_CHARACTER
    if kind == 18:
        sog, rest, status = bits >> 112 & 1023, bits >> 29, None
    else:
        sog, rest, status = bits >> 108 & 1023, bits >> 25, bits >> 126 & 15
    # From here on both have accuracy (1 bit), longitude (28), latitude (27), course (12), heading (9) and second (6).
    lon = rest >> 54 & 0xFFFFFFF
    lat = rest >> 27 & 0x7FFFFFF
    course = rest >> 15 & 4095
    heading = rest >> 6 & 511
    return Position(
        bits >> 130 & 0x3FFFFFFF,
        (lat - 0x8000000 if lat & 0x4000000 else lat) / 600_000.0,
        (lon - 0x10000000 if lon & 0x8000000 else lon) / 600_000.0,
        HIGH_ACCURACY_M2 if rest >> 82 & 1 else LOW_ACCURACY_M2,
        sog / 10.0 * KNOT_MPS if sog < 1022 else None,
        course / 10.0 if course < 3600 else None,
        float(heading) if heading < 360 else None,
        rest & 63,
        status,
    )


def other_position(kind: int, payload: bytes, fill: int) -> Position | str:
    """Any other position report (message 9, 19 or 27), or why it is none."""
    reason = bad_payload(kind, payload, fill)
    if reason is not None:
        return reason
    bits = bit_vector(payload, fill)
    if kind == 9:
        return _aircraft(MessageType9.from_vector(bits))  # type: ignore[arg-type]
    if kind == 19:
        return _extended(MessageType19.from_vector(bits))  # type: ignore[arg-type]
    return _long_range(MessageType27.from_vector(bits))  # type: ignore[arg-type]


def _aircraft(message: MessageType9) -> Position:
    """A search and rescue aircraft: whole knots, up to 1022 that are a bound; metres, up to 4094 that are a bound."""
    # The first bit of the regional field says barometric. A GNSS receiver gives height above mean sea level (NMEA GGA).
    datum: AltDatum = "BARO" if message.reserved_1 & 0x80 else "MSL"
    known = message.alt < 4094
    return Position(
        message.mmsi,
        message.lat,
        message.lon,
        HIGH_ACCURACY_M2 if message.accuracy else LOW_ACCURACY_M2,
        message.speed * KNOT_MPS if message.speed < 1022 else None,
        angle_or_none(message.course),
        None,
        message.second,
        alt_m=float(message.alt) if known else None,
        alt_datum=datum if known else None,
    )


def _extended(message: MessageType19) -> Position:
    length_m, width_m = dimensions(message.to_bow, message.to_stern, message.to_port, message.to_starboard)
    return Position(
        message.mmsi,
        message.lat,
        message.lon,
        HIGH_ACCURACY_M2 if message.accuracy else LOW_ACCURACY_M2,
        speed_from_knots(message.speed),
        angle_or_none(message.course),
        angle_or_none(float(message.heading)),
        message.second,
        static=static_report(None, None, message.shipname, class_of_type(int(message.ship_type)), length_m, width_m),
    )


def _long_range(message: MessageType27) -> Position:
    """Message 27, for satellites: whole knots, 63 unknown; whole degrees, 511 unknown; no second."""
    return Position(
        message.mmsi,
        message.lat,
        message.lon,
        LONG_RANGE_M2,
        message.speed * KNOT_MPS if message.speed < 63 else None,
        angle_or_none(message.course),
        None,
        None,
        int(message.status),
    )


def static_message(kind: int, payload: bytes, fill: int) -> tuple[int, Static] | str:
    """MMSI and content of a static report (message 5 or 24), or why it is none."""
    reason = bad_payload(kind, payload, fill)
    if reason is not None:
        return reason
    if kind == 5:
        return _voyage(payload)
    bits = bit_vector(payload, fill)
    try:
        message = MessageType24.from_vector(bits)
    except UnknownPartNoException:
        return "message 24 has no such part"
    if isinstance(message, MessageType24PartA):
        return message.mmsi, static_report(None, None, message.shipname, None, None, None)
    if len(bits) < 162:
        return "message 24 has no such length"
    if isinstance(message, MessageType24PartB):
        length_m, width_m = dimensions(message.to_bow, message.to_stern, message.to_port, message.to_starboard)
        return message.mmsi, static_report(
            None, message.callsign, None, class_of_type(message.ship_type), length_m, width_m
        )
    # A boat that belongs to a ship: in place of its size it names the ship.
    return message.mmsi, static_report(None, message.callsign, None, class_of_type(message.ship_type), None, None)  # type: ignore[union-attr]


def _voyage(payload: bytes) -> tuple[int, Static] | str:
    """Message 5: MMSI, IMO number (bit 40), callsign (70), name (112), ship type (232), four distances (240 to 269)."""
    bits = _bits(payload.ljust(48, b"0")[:48])
    if bits is None:
        return _NO_CHARACTER
    length_m, width_m = dimensions(bits >> 39 & 511, bits >> 30 & 511, bits >> 24 & 63, bits >> 18 & 63)
    static = static_report(
        bits >> 218 & 0x3FFFFFFF,
        _text(bits >> 176, 7),
        _text(bits >> 56, 20),
        class_of_type(bits >> 48 & 255),
        length_m,
        width_m,
    )
    return bits >> 250 & 0x3FFFFFFF, static


def _text(bits: int, length: int) -> str:
    """The last `length` characters of a number that holds six-bit characters (M.1371-5 table 47)."""
    size = -(-length // 4) * 3
    packed = (bits & (1 << 6 * length) - 1).to_bytes(size, "big")
    return b2a_base64(packed, newline=False).translate(_TO_TEXT)[-length:].decode("ascii")
