"""What is wrapped around AIS payloads in NMEA files: checksums, times, tag blocks.

Times are integers of microseconds since 1970 here; what is no time of the AIS era is ``None``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache, reduce
from operator import xor

from msgspec import Struct

from apss_fusion.feeds.ais_times import EARLIEST, EPOCH, LATEST

_MICROSECOND = timedelta(microseconds=1)
_EARLIEST_US = (EARLIEST - EPOCH) // _MICROSECOND
_LATEST_US = (LATEST - EPOCH) // _MICROSECOND
_DIGITS = re.compile(rb"[0-9]{9,14}(?:\.[0-9]{1,9})?", re.ASCII)
_TAG_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d)[.:](\d\d)[.:](\d\d)", re.ASCII)
_STATION = re.compile(rb"[\x21-\x7e]{1,64}")


def xor_of(text: bytes) -> int:
    """The exclusive or of all bytes, which is the NMEA checksum of what stands between ``!`` and ``*``."""
    if len(text) > 64:
        return reduce(xor, text)
    # Folded as one number, which takes seven steps for up to 64 bytes.
    value = int.from_bytes(text, "little")
    value ^= value >> 256
    value ^= value >> 128
    value ^= value >> 64
    value ^= value >> 32
    value ^= value >> 16
    return (value ^ value >> 8) & 255


_DIGITS_16 = b"0123456789ABCDEFabcdef"
#: The value of two hexadecimal digits.
HEX_BYTES = {bytes((a, b)): int(bytes((a, b)), 16) for a in _DIGITS_16 for b in _DIGITS_16}
#: Fill bits and checksum by the last field of a sentence, ``0*5C``; no fill bits are 0.
CHECK_FIELDS = {
    b"%s*%s" % (fill, digits): (int(fill or b"0"), value)
    for fill in (b"0", b"1", b"2", b"3", b"4", b"5", b"")
    for digits, value in HEX_BYTES.items()
}
#: A sentence with its tag block, where several were written into one line.
_PIECE = re.compile(rb"(?:\\[^\\]*\\)?[!$]..VD[MO],[^!$\\*]*\*[0-9A-Fa-f]{2}[^!$\\]*", re.DOTALL)


def fault_of(line: bytes) -> str | None:
    """Why a line is no NMEA sentence, whatever it tells; ``None`` if it is one."""
    if not line.startswith((b"!", b"$")):
        return "not an NMEA sentence"
    body, _, rest = line[1:].partition(b"*")
    checksum = HEX_BYTES.get(rest[:2])
    if checksum is None:
        return "no checksum"
    return None if xor_of(body) == checksum else "the checksum does not match"


def pieces(line: bytes) -> list[bytes]:
    """The sentences, each with its tag block, of a line into which several were written."""
    return _PIECE.findall(line)


def epoch_us(text: bytes) -> int | None:
    """Microseconds since 1970 of a number of seconds or (above 1e11) milliseconds; ``None`` if it is not one."""
    if not _DIGITS.fullmatch(text):
        return None
    whole, _, fraction = text.partition(b".")
    scale = 1_000_000 if int(whole) < 100_000_000_000 else 1000
    value = (
        int(whole) * scale + int(fraction.ljust(9, b"0")) * scale // 1_000_000_000 if fraction else int(whole) * scale
    )
    return value if _EARLIEST_US <= value < _LATEST_US else None


def first_time(fields: list[bytes]) -> int | None:
    """The first of the fields behind a sentence that is a time. (Coast guards log slot and signal before it.)"""
    for field in fields:
        time_us = epoch_us(field.strip())
        if time_us is not None:
            return time_us
    return None


@lru_cache(maxsize=8192)
def datetime_of(time_us: int) -> datetime:
    """The UTC time of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=time_us)


def at_second(stamp_us: int, second: int) -> int:
    """The latest instant with this UTC second that is no more than 5 s after a stamp.

    The second of a report is the time of the position. A receiver's stamp comes later, by the wait for a slot (4 s at
    most), the way to the receiver and on to whoever stamps it; but its clock may be behind by some seconds.
    """
    limit = stamp_us // 1_000_000 + 5
    return (limit - (limit - second) % 60) * 1_000_000


class Tag(Struct, frozen=True):
    """What a tag block tells: the time (``c:`` or ``T:``), the station (``s:``), the group of sentences (``g:``)."""

    time_us: int | None = None
    station: str | None = None
    group: bytes | None = None


NO_TAG = Tag()


@lru_cache(maxsize=8192)
def parse_tag(block: bytes) -> Tag:
    """What a tag block, without its backslashes, tells; what is no field or has no value is passed over.

    Of a block whose checksum is wrong only the group is taken. Two wrong ones are in use: some feeds carry ``*00``, and
    the Norwegian network adds the group without computing the checksum anew.
    """
    body, star, digits = block.partition(b"*")
    fields: dict[bytes, bytes] = {}
    for field in body.split(b","):
        key, colon, value = field.partition(b":")
        if colon and value:
            fields.setdefault(key, value)
    group = fields.get(b"g", b"").split(b"-", 2)
    code = group[2] if len(group) == 3 else None
    without_group = b",".join(field for field in body.split(b",") if not field.startswith(b"g:"))
    if star and HEX_BYTES.get(digits.strip()) not in (0, xor_of(body), xor_of(without_group)):
        return Tag(group=code)
    time_us = epoch_us(fields.get(b"c", b""))
    if time_us is None and b"T" in fields:
        time_us = _text_time_us(fields[b"T"])
    return Tag(time_us, station_of(fields.get(b"s", b"")), code)


def _text_time_us(text: bytes) -> int | None:
    match = _TAG_TIME.fullmatch(text.decode("ascii", "replace"))
    if match is None:
        return None
    return time_us_of([int(part) for part in match.groups()], 0)


def time_us_of(parts: list[int], microsecond: int) -> int | None:
    """Microseconds since 1970 of year, month, day, hour, minute and second; ``None`` if that is no time."""
    try:
        time = datetime(*parts[:6], microsecond, tzinfo=UTC)  # type: ignore[arg-type, misc]
    except (ValueError, OverflowError):
        return None
    time_us = (time - EPOCH) // _MICROSECOND
    return time_us if _EARLIEST_US <= time_us < _LATEST_US else None


def station_of(text: bytes) -> str | None:
    """A station's name as it goes into a source id: printable, without blanks; ``None`` if it is empty or neither."""
    return text.decode("ascii") if _STATION.fullmatch(text) else None


class Groups:
    """Times and stations of the last groups of sentences: one sentence tells them for its group (IEC 61162-450)."""

    #: How many groups, and for how many lines: their codes are used again.
    LIMIT = 256
    LINES = 200

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[int, int | None, str | None]] = {}

    def complete(self, tag: Tag, count: int) -> Tag:
        """The tag of line `count`, with what an earlier one of its group told if it tells nothing itself."""
        if tag.group is None:
            return tag
        since, time_us, station = self._known.get(tag.group, (count, None, None))
        if count - since > self.LINES:
            time_us = station = None
        if tag.time_us is not None or tag.station is not None:
            self._known.pop(tag.group, None)
            self._known[tag.group] = (count, tag.time_us, tag.station)
            if len(self._known) > self.LIMIT:
                del self._known[next(iter(self._known))]
        elif time_us is not None or station is not None:
            return Tag(time_us, station, tag.group)
        return tag

    def records(self) -> list[tuple[bytes, int, int | None, str | None]]:
        """All that is remembered, oldest first."""
        return [(group, *known) for group, known in self._known.items()]

    def restore(self, records: list[tuple[bytes, int, int | None, str | None]]) -> None:
        """Take up what another one remembered."""
        self._known = {group: (count, time_us, station) for group, count, time_us, station in records}
