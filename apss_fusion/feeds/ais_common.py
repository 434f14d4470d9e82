"""What the AIS formats share: sentinels, who may report, ship types, and the memory of static reports.

Field meanings, sentinels and units are those of ITU-R M.1371-5, Annex 8; identities those of ITU-R M.585-9.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from apss_fusion.feeds.base import Ignored, Item, Reject
from apss_fusion.model import Detection, Domain, Look
from apss_fusion.model.look import AltDatum

KNOT_MPS = 1852.0 / 3600.0

#: Most bytes of a record that a dead letter keeps.
RECORD_BYTES = 4096

#: Position covariances [ee, en, nn]. "High" accuracy promises an error below 10 m, "low" does not (M.1371-5 table 48).
#: One-sigma errors of 10 m and 30 m leave room for the antenna, which is not the centre of the ship.
HIGH_ACCURACY_M2 = (10.0**2, 0.0, 10.0**2)
LOW_ACCURACY_M2 = (30.0**2, 0.0, 30.0**2)
#: Message 27 counts tenths of a minute (185.2 m), rounded or cut by the sender: uniform within a step either way.
LONG_RANGE_M2 = (185.2**2 / 3.0, 0.0, 185.2**2 / 3.0)

NO_POSITION = Ignored("no position: latitude 91 or longitude 181")

StationKind = Literal["ship", "handheld", "craft of a ship", "distress", "aircraft", "coast", "aton", "invalid"]

#: Why a position of a station that is no craft is not used.
NO_CRAFT = {
    "coast": Ignored("a coast station, not a craft"),
    "aton": Ignored("an aid to navigation, not a craft"),
}

#: How much a reported ship type is believed: it is typed in by hand and often stale.
TYPE_BELIEF = 0.95

#: Ship type (M.1371-5 table 53) to class. What is absent tells nothing: not available, reserved, local use.
_CLASS_OF_TYPE: dict[int, str] = {
    **dict.fromkeys(range(20, 30), "other"),  # wing in ground
    30: "fishing",
    31: "tug",
    32: "tug",
    33: "other",  # dredging
    34: "other",  # diving
    35: "military",
    36: "sailing",
    37: "pleasure",
    **dict.fromkeys(range(40, 50), "highspeed"),
    50: "other",  # pilot
    51: "sar",
    52: "tug",
    53: "other",  # port tender
    54: "other",  # anti-pollution
    55: "law_enforcement",
    58: "other",  # medical
    59: "other",  # not party to a conflict
    **dict.fromkeys(range(60, 70), "passenger"),
    **dict.fromkeys(range(70, 80), "cargo"),
    **dict.fromkeys(range(80, 90), "tanker"),
    **dict.fromkeys(range(90, 100), "other"),
}


def class_of_type(ship_type: int) -> str | None:
    """The class of an AIS ship type code, ``None`` where the code tells none."""
    return _CLASS_OF_TYPE.get(ship_type)


#: Ship types in words, as archives write them.
_CLASS_OF_WORD = {
    "anti-pollution": "other",
    "cargo": "cargo",
    "diving": "other",
    "dredging": "other",
    "fishing": "fishing",
    "hsc": "highspeed",
    "law enforcement": "law_enforcement",
    "medical": "other",
    "military": "military",
    "not party to conflict": "other",
    "other": "other",
    "passenger": "passenger",
    "pilot": "other",
    "pleasure": "pleasure",
    "port tender": "other",
    "sailing": "sailing",
    "sar": "sar",
    "tanker": "tanker",
    "towing": "tug",
    "towing long/wide": "tug",
    "tug": "tug",
    "wig": "other",
}


def class_of_text(text: str) -> str | None:
    """The class of a ship type written as a code or a word, ``None`` where it tells none."""
    text = text.strip()
    code = text.removesuffix(".0")
    if code.isascii() and code.isdigit() and len(code) <= 3:
        return class_of_type(int(code))
    return _CLASS_OF_WORD.get(text.lower())


def _class_probs(name: str) -> dict[str, float]:
    if name == "other":
        return {"other": 1.0}
    return {name: TYPE_BELIEF, "other": round(1.0 - TYPE_BELIEF, 6)}


#: One map a class, shared by all detections that have it.
CLASS_PROBS = {name: _class_probs(name) for name in sorted(set(_CLASS_OF_TYPE.values()))}


def station_kind(mmsi: int) -> StationKind:
    """What sort of station has this identity, by its digits (ITU-R M.585): a ship's begins with 2 to 7, and so on."""
    if 200_000_000 <= mmsi < 800_000_000:
        return "ship"
    if 2_000_000 <= mmsi < 8_000_000:
        return "coast"
    if 111_200_000 <= mmsi < 111_800_000:
        return "aircraft"
    if 820_000_000 <= mmsi < 880_000_000:
        return "handheld"
    if 970_000_000 <= mmsi < 980_000_000:
        return "distress" if mmsi // 1_000_000 in (970, 972, 974) else "invalid"
    if 982_000_000 <= mmsi < 988_000_000:
        return "craft of a ship"
    if 992_000_000 <= mmsi < 998_000_000:
        return "aton"
    return "invalid"


def parse_mmsi(value: object) -> int | None:
    """An MMSI from a number or a string of at most nine digits; ``None`` where it is neither."""
    if isinstance(value, str):
        value = value.strip()
        return int(value) if len(value) <= 9 and value.isascii() and value.isdigit() else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return None


def valid_imo(number: int) -> bool:
    """Whether the last digit is the check digit of the six before it (IMO resolution A.1117(30))."""
    digits = [number // 10**power % 10 for power in range(7)]
    return (
        1_000_000 <= number <= 9_999_999
        and sum(d * w for d, w in zip(digits[1:], range(2, 8), strict=True)) % 10 == digits[0]
    )


def speed_from_knots(knots: float) -> float | None:
    """Metres a second; ``None`` for 102.3 (not available), 102.2 (a lower bound) and what is out of range."""
    return knots * KNOT_MPS if 0.0 <= knots < 102.15 else None


def angle_or_none(degrees: float) -> float | None:
    """An angle from 0 up to 360; ``None`` for 360 (no course), 511 (no heading) and what is out of range."""
    return degrees if 0.0 <= degrees < 360.0 else None


def dimensions(bow: int, stern: int, port: int, starboard: int) -> tuple[float | None, float | None]:
    """Length and width in metres from the distances to the antenna; 511 and 63 are lower bounds, a sum of 0 unknown."""
    length = bow + stern if bow < 511 and stern < 511 else 0
    width = port + starboard if port < 63 and starboard < 63 else 0
    return float(length) if length > 0 else None, float(width) if width > 0 else None


def no_position(
    lat: float, lon: float, line: int | None, record: bytes, lat_field: str = "lat", lon_field: str = "lon"
) -> Item:
    """What becomes of a record whose position is not on the globe: ignored by its sentinel, else a dead letter."""
    if lat == 91.0 or lon == 181.0:
        return NO_POSITION
    if -90.0 <= lat <= 90.0:
        return Reject("the longitude is out of range", lon_field, line, record[:RECORD_BYTES])
    return Reject("the latitude is out of range", lat_field, line, record[:RECORD_BYTES])


def bad_mmsi(line: int | None, record: bytes, field: str = "mmsi") -> Reject:
    """The dead letter of a record whose identity no station can have."""
    return Reject("no station can have this MMSI", field, line, record[:RECORD_BYTES])


class Static(Struct, frozen=True, array_like=True):
    """What static reports of one station have told so far."""

    imo: str | None = None
    callsign: str | None = None
    name: str | None = None
    class_name: str | None = None
    length_m: float | None = None
    width_m: float | None = None

    def merged(self, newer: Static) -> Static:
        """What both know; `newer` is right where both know something."""
        return Static(
            newer.imo or self.imo,
            newer.callsign or self.callsign,
            newer.name or self.name,
            newer.class_name or self.class_name,
            newer.length_m or self.length_m,
            newer.width_m or self.width_m,
        )


def _text(value: str | None) -> str | None:
    """A text without its padding; ``@`` ends it (M.1371-5, table 47), also where a transponder left rests behind."""
    return (value or "").partition("@")[0].strip() or None


def static_report(
    imo: int | None,
    callsign: str | None,
    name: str | None,
    class_name: str | None,
    length_m: float | None,
    width_m: float | None,
) -> Static:
    """What a static report tells, without its blanks, zeros and a wrong IMO number."""
    return Static(
        imo=str(imo) if imo is not None and valid_imo(imo) else None,
        callsign=_text(callsign),
        name=_text(name),
        class_name=class_name,
        length_m=length_m,
        width_m=width_m,
    )


class Craft(Struct, frozen=True):
    """What every detection of one station carries; the maps are shared by all its detections."""

    kind: StationKind
    domain: Domain
    ids: dict[str, str]
    class_probs: dict[str, float] | None = None
    length_m: float | None = None
    width_m: float | None = None


def make_craft(mmsi: int, static: Static | None) -> Craft:
    """The attributes of a station from its identity and its static reports."""
    kind = station_kind(mmsi)
    domain: Domain = "AIR" if kind == "aircraft" else "SEA"
    ids = {"mmsi": f"{mmsi:09d}"}
    if static is None:
        return Craft(kind, domain, ids)
    for key, value in (("imo", static.imo), ("callsign", static.callsign), ("name", static.name)):
        if value is not None:
            ids[key] = value
    probs = None if static.class_name is None else CLASS_PROBS[static.class_name]
    return Craft(kind, domain, ids, probs, static.length_m, static.width_m)


class StaticMemory:
    """The static reports of the last `limit` stations that sent one; the one that was silent longest goes first."""

    def __init__(self, limit: int = 200_000) -> None:
        self.limit = limit
        self._statics: dict[int, Static] = {}
        self._crafts: dict[int, Craft] = {}

    def craft(self, mmsi: int) -> Craft:
        """What is known of a station. Nothing is remembered by asking."""
        craft = self._crafts.get(mmsi)
        if craft is None:
            if len(self._crafts) >= self.limit:
                self._crafts.clear()
            craft = self._crafts[mmsi] = make_craft(mmsi, self._statics.get(mmsi))
        return craft

    def learn(self, mmsi: int, report: Static) -> None:
        """Put a static report over what is known of a station."""
        known = self._statics.pop(mmsi, None)
        static = report if known is None else known.merged(report)
        self._statics[mmsi] = static
        if static != known:
            self._crafts.pop(mmsi, None)
        if len(self._statics) > self.limit:
            oldest = next(iter(self._statics))
            del self._statics[oldest]
            self._crafts.pop(oldest, None)

    def records(self) -> dict[int, Static]:
        """All that is remembered, longest silent first."""
        return self._statics

    def restore(self, records: dict[int, Static]) -> None:
        """Take up what another memory had remembered."""
        self._statics = dict(records)
        self._crafts.clear()


def position_look(
    source_id: str,
    look_id: str,
    craft: Craft,
    time: datetime,
    time_received: datetime | None,
    lat: float,
    lon: float,
    cov_enu_m2: tuple[float, float, float] | None,
    speed_mps: float | None,
    course_deg: float | None,
    heading_deg: float | None,
    domain: Domain,
    alt_m: float | None = None,
    alt_datum: AltDatum | None = None,
) -> Look:
    """One position report as a look: a cooperative one, so without a footprint and a detection probability."""
    return Look(
        look_id=look_id,
        source_id=source_id,
        time=time,
        time_received=time_received,
        detections=(
            Detection(
                detection_id=look_id,
                lat=lat,
                lon=lon,
                cov_enu_m2=cov_enu_m2,
                alt_m=alt_m,
                alt_datum=alt_datum,
                speed_mps=speed_mps,
                course_deg=course_deg,
                heading_deg=heading_deg,
                domain=domain,
                ids=craft.ids,
                class_probs=craft.class_probs,
                length_m=craft.length_m,
                width_m=craft.width_m,
            ),
        ),
    )
