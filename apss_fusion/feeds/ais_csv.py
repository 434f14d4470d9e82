"""AIS position reports as rows of CSV files: the archives of several authorities, told apart by their headers.

A dialect is a table of the columns that are used and a reader of its times; a new one is one more entry of `DIALECTS`.
A row is a record. Rows carry no time of arrival: they arrive at their own time.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import BinaryIO, ClassVar

import msgspec
from msgspec import Struct

from apss_fusion.feeds.ais_common import (
    NO_CRAFT,
    RECORD_BYTES,
    Craft,
    angle_or_none,
    bad_mmsi,
    class_of_name,
    class_of_type,
    dimensions,
    make_craft,
    no_position,
    parse_mmsi,
    position_look,
    speed_from_knots,
    static_report,
)
from apss_fusion.feeds.ais_times import Moment, day_first_moment, iso_moment, unix_moment
from apss_fusion.feeds.base import Decoder, Ignored, Item, Reject, lines
from apss_fusion.feeds.identity import content_id
from apss_fusion.model import Source

#: How many lines a quoted field may go over. A quote that is not closed by then was no quote: its line is a dead letter.
_MAX_QUOTED_LINES = 20
_CACHED = 200_000
_STATE_VERSION = 1

#: What stands for no value, in lower case.
_BLANKS = frozenset({"", "unknown", "undefined", "unknown value", "nan", "null", "none", "na", "n/a"})

#: By "Type of mobile": stations that are no craft. All others are.
_NO_CRAFT_MOBILES = {"base station": NO_CRAFT["coast"], "aton": NO_CRAFT["aton"]}
_AIRCRAFT_MOBILE = "sar airborne"


class Dialect(Struct, frozen=True, kw_only=True):
    """The columns of a kind of file, by their names in lower case without a leading ``#``; unknown where it has none."""

    time: str
    mmsi: str
    lat: str
    lon: str
    read_time: Callable[[str], Moment | None]
    sog: str | None = None
    cog: str | None = None
    heading: str | None = None
    imo: str | None = None
    callsign: str | None = None
    name: str | None = None
    #: A code of M.1371-5 or a word.
    ship_type: str | None = None
    length: str | None = None
    width: str | None = None
    #: Distances from the antenna to bow, stern, port and starboard.
    sides: tuple[str, str, str, str] | None = None
    #: Which sort of station reports.
    mobile: str | None = None


DIALECTS = (
    # NOAA MarineCadastre, to 2023.
    Dialect(
        time="basedatetime",
        mmsi="mmsi",
        lat="lat",
        lon="lon",
        read_time=iso_moment,
        sog="sog",
        cog="cog",
        heading="heading",
        imo="imo",
        callsign="callsign",
        name="vesselname",
        ship_type="vesseltype",
        length="length",
        width="width",
    ),
    # NOAA MarineCadastre, from 2024.
    Dialect(
        time="base_date_time",
        mmsi="mmsi",
        lat="latitude",
        lon="longitude",
        read_time=iso_moment,
        sog="sog",
        cog="cog",
        heading="heading",
        imo="imo",
        callsign="call_sign",
        name="vessel_name",
        ship_type="vessel_type",
        length="length",
        width="width",
    ),
    # Danish Maritime Authority.
    Dialect(
        time="timestamp",
        mmsi="mmsi",
        lat="latitude",
        lon="longitude",
        read_time=day_first_moment,
        sog="sog",
        cog="cog",
        heading="heading",
        imo="imo",
        callsign="callsign",
        name="name",
        ship_type="ship type",
        length="length",
        width="width",
        sides=("a", "b", "c", "d"),
        mobile="type of mobile",
    ),
    # Solent, as published with Stone Soup.
    Dialect(
        time="time",
        mmsi="mmsi",
        lat="latitude_degrees",
        lon="longitude_degrees",
        read_time=iso_moment,
        sog="sog_knots",
        cog="cog_degrees",
    ),
    # French Naval Academy, Brest (nari_dynamic).
    Dialect(
        time="t",
        mmsi="sourcemmsi",
        lat="lat",
        lon="lon",
        read_time=unix_moment,
        sog="speedoverground",
        cog="courseoverground",
        heading="trueheading",
    ),
)


class _Columns:
    """Where the columns of a dialect stand in a file with this header."""

    def __init__(self, dialect: Dialect, header: list[str]) -> None:
        names = [_column_name(cell) for cell in header]
        # The first of columns with one name.
        places = {name: place for place, name in reversed(list(enumerate(names)))}

        def place(name: str | None) -> int | None:
            return None if name is None else places.get(name)

        self.header = header
        self.count = len(header)
        self.read_time = dialect.read_time
        self.time, self.mmsi = places[dialect.time], places[dialect.mmsi]
        self.lat, self.lon = places[dialect.lat], places[dialect.lon]
        self.sog, self.cog, self.heading = place(dialect.sog), place(dialect.cog), place(dialect.heading)
        self.imo, self.callsign, self.name = place(dialect.imo), place(dialect.callsign), place(dialect.name)
        self.ship_type, self.length, self.width = place(dialect.ship_type), place(dialect.length), place(dialect.width)
        self.mobile = place(dialect.mobile)
        sides = [place(side) for side in dialect.sides or ()]
        self.sides = [side for side in sides if side is not None] if None not in sides else []
        self.needs_mobile = dialect.mobile is not None
        of_craft = [self.mmsi, self.imo, self.callsign, self.name, self.ship_type, self.length, self.width, *self.sides]
        # Two at least, so that it gives a tuple.
        self.of_craft = itemgetter(self.mmsi, *(place for place in of_craft if place is not None))


def _column_name(cell: str) -> str:
    return cell.strip("\ufeff# \t").lower()


def _columns_of(header: list[str]) -> _Columns | None:
    """The columns of a header, or ``None`` if no dialect has such a one."""
    names = {_column_name(cell) for cell in header}
    for dialect in DIALECTS:
        needed = {dialect.time, dialect.mmsi, dialect.lat, dialect.lon, dialect.mobile} - {None}
        if needed <= names:
            return _Columns(dialect, header)
    return None


class _State(Struct):
    version: int
    header: list[str] | None


class _BadValue(Exception):
    """A cell that holds no value of its column."""


class AisCsv(Decoder):
    """AIS position reports in the CSV archives of MarineCadastre, the Danish Maritime Authority and others."""

    name: ClassVar[str] = "ais-csv"
    title: ClassVar[str] = "AIS position reports as CSV: MarineCadastre, Danish Maritime Authority, Solent, Brest"
    source: ClassVar[Source] = Source(
        modality="AIS",
        # SAR aircraft report themselves by AIS too.
        domains=("SEA", "AIR"),
        # Between the 10 m and 30 m that stand for the two accuracies a report can claim; the archives leave out which.
        position_sigma_m=20.0,
        # Day files are not sorted: MarineCadastre writes rows of the last minute of a day between those of its first.
        max_latency_s=86_400.0,
    )
    priority: ClassVar[int] = 30

    def __init__(self) -> None:
        self._columns: _Columns | None = None
        self._crafts: dict[tuple[str, ...], Craft | None] = {}

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the first line that is not blank is the header of a dialect."""
        first = next(iter(head.lstrip(b"\xef\xbb\xbf\r\n \t").splitlines()), b"")
        return _columns_of(_cells(first) or []) is not None

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item a row."""
        for number, record, cells in _rows(stream):
            if cells is None:
                yield Reject("a quote that is not closed, or a line that is too long", None, number, record)
                continue
            item = self._row(number, record, cells)
            if item is not None:
                yield item

    def _row(self, number: int, record: bytes, cells: list[str]) -> Item | None:
        """What becomes of a row; ``None`` for blank and comment lines and headers."""
        columns = self._columns
        if columns is None or len(cells) != columns.count or not cells[columns.mmsi].isdigit():
            return self._odd_row(number, record, cells)
        key = columns.of_craft(cells)
        if key in self._crafts:
            craft = self._crafts[key]
        else:
            craft = self._new_craft(columns, key, cells)
        if craft is None or craft.kind == "invalid":
            return bad_mmsi(number, record, columns.header[columns.mmsi])
        aircraft = False
        if columns.mobile is not None:
            mobile = cells[columns.mobile].strip().lower()
            if mobile in _NO_CRAFT_MOBILES:
                return _NO_CRAFT_MOBILES[mobile]
            aircraft = mobile == _AIRCRAFT_MOBILE
        if craft.kind in NO_CRAFT:
            return NO_CRAFT[craft.kind]
        moment = columns.read_time(cells[columns.time])
        if moment is None:
            return self._reject("no time", columns.time, number, record)
        place = columns.lat
        try:
            lat = _number(cells[place])
            place = columns.lon
            lon = _number(cells[place])
            if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
                return no_position(lat, lon, number, record, columns.header[columns.lat], columns.header[columns.lon])
            speed = course = heading = None
            if columns.sog is not None and (cell := cells[place := columns.sog]):
                speed = _optional(cell, speed_from_knots)
            if columns.cog is not None and (cell := cells[place := columns.cog]):
                course = _optional(cell, angle_or_none)
            if columns.heading is not None and (cell := cells[place := columns.heading]):
                heading = _optional(cell, angle_or_none)
        except _BadValue:
            return self._reject("not a number", place, number, record)
        time, prefix = moment
        return position_look(
            self.name,
            content_id(b"ais-csv\0", prefix, record),
            craft,
            time,
            None,
            lat,
            lon,
            None,
            speed,
            course,
            heading,
            "AIR" if aircraft else craft.domain,
        )
