"""AIS position reports as rows of CSV files: the archives of several authorities, told apart by their headers.

The dialects are tables in :mod:`~apss_fusion.feeds.ais_csv_dialects`. A row is a record. Rows carry no time of arrival:
they arrive at their own time.
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
    class_of_text,
    dimensions,
    make_craft,
    no_position,
    parse_mmsi,
    position_look,
    speed_from_knots,
    static_report,
)
from apss_fusion.feeds.ais_csv_dialects import CRAFT_COLUMNS, DIALECTS, NEEDED_COLUMNS, REPORT_COLUMNS, Dialect
from apss_fusion.feeds.base import MAX_LINE_BYTES, Decoder, Item, Reject, lines
from apss_fusion.feeds.identity import content_id
from apss_fusion.model import Source

#: How many lines a quoted field may go over. A quote that is not closed by then is none: its line is a dead letter.
_MAX_QUOTED_LINES = 20
#: Longest line that can be a row.
_MAX_LINE = 2**16
_CACHED = 200_000
_STATE_VERSION = 1

#: What stands for no value, in lower case.
_BLANKS = frozenset({"", "unknown", "undefined", "nan", "null", "none", "na", "n/a"})

#: By "Type of mobile": stations that are no craft. All others are.
_NO_CRAFT = {"base station": NO_CRAFT["coast"], "aton": NO_CRAFT["aton"]}
_AIRCRAFT = "sar airborne"


class _Columns:
    """Where the columns of a dialect stand in rows with this header; those not there stand behind, at a blank."""

    def __init__(self, dialect: Dialect, header: list[str]) -> None:
        names = [_column_name(cell) for cell in header]

        def place(what: str) -> int:
            name = dialect.columns.get(what)
            return names.index(name) if name in names else len(header)

        self.header = header
        self.read_time = dialect.read_time
        self.mmsi = place("mmsi")
        self.report = itemgetter(*map(place, REPORT_COLUMNS))
        self.craft = itemgetter(*map(place, CRAFT_COLUMNS))
        self.has_mobile = "mobile" in dialect.columns
        self._dialect = dialect

    def title(self, what: str) -> str:
        """The name of a column as this file writes it."""
        name = self._dialect.columns[what]
        return next((cell.strip("\ufeff# ") for cell in self.header if _column_name(cell) == name), what)


def _column_name(cell: str) -> str:
    return cell.strip("\ufeff# \t").lower()


def _columns_of(header: list[str]) -> _Columns | None:
    """The columns of a header, or ``None`` if no dialect has such a one."""
    names = {_column_name(cell) for cell in header}
    for dialect in DIALECTS.values():
        needed = {dialect.columns[what] for what in NEEDED_COLUMNS if what in dialect.columns}
        if needed <= names:
            return _Columns(dialect, header)
    return None


class _State(Struct):
    version: int
    header: list[str] | None


class _BadValueError(Exception):
    """A cell that holds no value of its column, which is told by what it is (`REPORT_COLUMNS`)."""


class AisCsv(Decoder):
    """AIS position reports in the CSV archives of MarineCadastre, the Danish Maritime Authority and others."""

    name: ClassVar[str] = "ais-csv"
    title: ClassVar[str] = "AIS position reports as CSV: MarineCadastre, Danish Maritime Authority, Solent, Brest"
    source: ClassVar[Source] = Source(
        modality="AIS",
        # SAR aircraft report themselves by AIS too.
        domains=("SEA", "AIR"),
        # Of ships that lie still, reported positions scatter by 1 to 4 m each axis; what moves is displaced by stamps of whole
        # seconds and receivers' clocks.
        position_sigma_m=5.0,
        time_sigma_s=1.0,
        # Day files are not sorted: MarineCadastre has rows of the last minutes of a day among those of its first.
        max_latency_s=86_400.0,
    )
    archive: ClassVar[bool] = True
    priority: ClassVar[int] = 30

    def __init__(self) -> None:
        self._columns: _Columns | None = None
        #: By the cells that tell of a craft; ``None`` where they hold no identity.
        self._crafts: dict[tuple[str, ...], Craft | None] = {}

    @classmethod
    def recognises(cls, head: bytes) -> bool:
        """Whether the first line that is not blank is the header of a dialect."""
        first = next(iter(head.removeprefix(b"\xef\xbb\xbf").lstrip().splitlines()), b"")
        return _columns_of(_split(first)) is not None

    def items(self, stream: BinaryIO) -> Iterator[Item]:
        """One item a row."""
        for number, record, cells in _rows(stream):
            if cells is None:
                yield _reject("a quote that is not closed, or a line that is too long", None, number, record)
                continue
            item = self._row(number, record, cells)
            if item is not None:
                yield item

    @classmethod
    def pieces(cls, stream: BinaryIO) -> Iterator[bytes]:
        """A header and one row each; a row before any header stands alone."""
        decoder = cls()
        header: bytes | None = None
        for _, record, cells in _rows(stream, cut=True):
            if cells is not None and decoder._is_header(record, cells):
                decoder._columns = _columns_of(cells)
                header = record
            elif record.strip():
                yield record if header is None or len(record) > MAX_LINE_BYTES else b"%b\n%b" % (header, record)

    def _row(self, number: int, record: bytes, cells: list[str]) -> Item | None:
        """What becomes of a row; ``None`` for blank and comment lines and headers."""
        columns = self._columns
        if columns is None or len(cells) != len(columns.header):
            return self._odd_row(number, record, cells)
        cells.append("")
        key = columns.craft(cells)
        craft = self._crafts[key] if key in self._crafts else self._new_craft(key)
        if craft is None or craft.kind == "invalid":
            cells.pop()
            return self._odd_row(number, record, cells)
        time_text, _, lat_text, lon_text, sog, cog, heading, mobile = columns.report(cells)
        if columns.has_mobile:
            mobile = mobile.strip().lower()
            if mobile in _NO_CRAFT:
                return _NO_CRAFT[mobile]
        if craft.kind in NO_CRAFT:
            return NO_CRAFT[craft.kind]
        moment = columns.read_time(time_text)
        if moment is None:
            return _reject("no time", columns.title("time"), number, record)
        try:
            lat, lon = _needed(lat_text, "lat"), _needed(lon_text, "lon")
            if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
                return no_position(lat, lon, number, record, columns.title("lat"), columns.title("lon"))
            speed_mps = _optional(sog, "sog", speed_from_knots)
            course_deg = _optional(cog, "cog", angle_or_none)
            heading_deg = _optional(heading, "heading", angle_or_none)
        except _BadValueError as error:
            return _reject("not a number", columns.title(str(error)), number, record)
        time, time_iso = moment
        return position_look(
            self.name,
            content_id(b"ais-csv\0%b\0%b" % (time_iso, record)),
            craft,
            time,
            None,
            lat,
            lon,
            None,
            speed_mps,
            course_deg,
            heading_deg,
            "AIR" if mobile == _AIRCRAFT else craft.domain,
        )

    def _odd_row(self, number: int, record: bytes, cells: list[str]) -> Item | None:
        """What becomes of a row that has not the cells of the header, or not an identity."""
        if not record.strip():
            return None
        if self._columns is not None and cells == self._columns.header:
            return None
        columns = _columns_of(cells)
        if columns is not None:
            self._columns = columns
            return None
        if record.startswith(b"#"):
            return None
        known = self._columns
        if known is None:
            return _reject("before it there is no header that is known", None, number, record)
        count = len(known.header)
        if len(cells) > count and not any(cell.strip() for cell in cells[count:]):
            return self._row(number, record, cells[:count])
        if len(cells) != count:
            return _reject(f"{len(cells)} fields where the header has {count}", None, number, record)
        return bad_mmsi(number, record, known.title("mmsi"))

    def _is_header(self, record: bytes, cells: list[str]) -> bool:
        """Whether a row would be taken for a header."""
        if b"mmsi" not in record.lower() or _columns_of(cells) is None:
            return False
        known = self._columns
        if known is None or len(cells) != len(known.header):
            return True
        craft = _craft_of(*known.craft([*cells, ""]))
        return craft is None or craft.kind == "invalid"

    def _new_craft(self, key: tuple[str, ...]) -> Craft | None:
        if len(self._crafts) >= _CACHED:
            self._crafts.clear()
        craft = self._crafts[key] = _craft_of(*key)
        return craft

    def state(self) -> bytes:
        """The header: rows that follow in another input may have none."""
        return msgspec.msgpack.encode(_State(_STATE_VERSION, self._columns.header if self._columns else None))

    def restore(self, state: bytes) -> None:
        """Take up the header of an earlier decoder; ValueError if the state is of another version or none."""
        if not state:
            return
        found = msgspec.msgpack.decode(state, type=_State)
        if found.version != _STATE_VERSION:
            raise ValueError(f"the state of {self.name} is of version {found.version}, not {_STATE_VERSION}")
        self._columns = None if found.header is None else _columns_of(found.header)


def _craft_of(
    mmsi: str,
    imo: str,
    callsign: str,
    name: str,
    ship_type: str,
    length: str,
    width: str,
    bow: str,
    stern: str,
    port: str,
    starboard: str,
) -> Craft | None:
    number = parse_mmsi(mmsi)
    if number is None:
        return None
    length_m, width_m = _size(length, 1022.0), _size(width, 126.0)
    sides = [_size(side, 511.0) or 0.0 for side in (bow, stern, port, starboard)]
    if length_m is None and width_m is None and any(sides):
        length_m, width_m = dimensions(*map(int, sides))
    imo = imo.strip().upper().removeprefix("IMO")
    static = static_report(
        int(imo) if len(imo) == 7 and imo.isascii() and imo.isdigit() else None,
        _word(callsign),
        _word(name),
        class_of_text(ship_type),
        length_m,
        width_m,
    )
    return make_craft(number, static)


def _word(text: str) -> str | None:
    return None if text.strip().lower() in _BLANKS else text


def _size(text: str, limit: float) -> float | None:
    """A length in metres; ``None`` for what is none, 0, or at the limit, which is a lower bound or more."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 < value < limit else None


def _needed(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise _BadValueError(what) from None
    if "_" in text:
        raise _BadValueError(what)
    return value


def _optional(text: str, what: str, convert: Callable[[float], float | None]) -> float | None:
    """The value of a cell; a blank one is unknown, and so is one out of range."""
    if not text or text.strip().lower() in _BLANKS:
        return None
    return convert(_needed(text, what))


def _reject(reason: str, field: str | None, number: int, record: bytes) -> Reject:
    return Reject(reason, field, number, record[:RECORD_BYTES])


def _split(line: bytes) -> list[str]:
    """The cells of a line that is a row of its own; none if it is no row."""
    try:
        return next(csv.reader([line.decode("utf-8", "replace")]), [])
    except csv.Error:
        return []


def _rows(stream: BinaryIO, cut: bool = False) -> Iterator[tuple[int, bytes, list[str] | None]]:
    """Rows with the number of their first line, their bytes and their cells; ``None`` for what is no row.

    Lines that are too long are `cut`, or have no bytes.
    """
    source = lines(stream, cut)
    #: Lines that were read as parts of a quoted field that turned out to be none.
    again: deque[tuple[int, bytes | None]] = deque()
    while True:
        pair = again.popleft() if again else next(source, None)
        if pair is None:
            return
        number, line = pair
        if line is None or len(line) > _MAX_LINE:
            yield number, line or b"", None
        elif b'"' not in line:
            yield number, line, line.decode("utf-8", "replace").split(",")
        else:
            cells, more = _quoted(line, again, source)
            if cells is None:
                again.extendleft(reversed(more))
                more = []
            yield number, b"\n".join([line, *(part or b"" for _, part in more)]), cells


def _quoted(
    line: bytes, again: deque[tuple[int, bytes | None]], source: Iterator[tuple[int, bytes | None]]
) -> tuple[list[str] | None, list[tuple[int, bytes | None]]]:
    """The cells of a row that begins with a line with quotes, ``None`` if it does not end; and further lines taken."""
    more: list[tuple[int, bytes | None]] = []
    ended = True

    def parts() -> Iterator[str]:
        nonlocal ended
        yield line.decode("utf-8", "replace") + "\n"
        # The reader asks on while a quote is open.
        while len(more) < _MAX_QUOTED_LINES and (pair := again.popleft() if again else next(source, None)):
            more.append(pair)
            if pair[1] is None or len(pair[1]) > MAX_LINE_BYTES:
                break
            yield pair[1].decode("utf-8", "replace") + "\n"
        ended = False

    try:
        cells = next(csv.reader(parts()), None)
    except csv.Error:
        return None, more
    return cells if ended else None, more
