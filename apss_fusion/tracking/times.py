"""Times of a whole batch as integer microseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import inline_kernel, kernel

#: Stands for "no time" in arrays of microseconds.
NO_TIME_US = np.iinfo(np.int64).min
#: Stands for a time that cannot be read.
BAD_TIME_US = NO_TIME_US + 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ENCODE = msgspec.json.Encoder().encode
_ZONE = attrgetter("tzinfo")
_QUOTE = ord('"')
_PLUS, _MINUS, _DOT, _COLON, _T, _Z = (ord(c) for c in "+-.:TZ")


def times_us(times: Sequence[datetime | None]) -> NDArray[np.int64]:
    """Microseconds since 1970 UTC, (n,), of aware datetimes.

    ``None`` gives `NO_TIME_US`, a datetime without zone `BAD_TIME_US`; ``AttributeError`` for what is no datetime.
    """
    known = [t for t in times if t is not None]
    out = np.full(len(known), BAD_TIME_US, np.int64)
    if list(map(_ZONE, known)).count(UTC) == len(known):
        # msgspec writes them as RFC 3339 in compiled code.
        _parse(np.frombuffer(_ENCODE(known), np.uint8), out)
    else:
        out[:] = [time_us(t) for t in known]
    if len(known) == len(times):
        return out
    all_times = np.full(len(times), NO_TIME_US, np.int64)
    all_times[[i for i, t in enumerate(times) if t is not None]] = out
    return all_times


def time_us(time: datetime) -> int:
    """As `times_us`, of one datetime."""
    try:
        return (time - _EPOCH) // _MICROSECOND
    except TypeError:
        return BAD_TIME_US


def from_us(values: Iterable[int]) -> list[datetime]:
    """Aware datetimes in UTC of microseconds since 1970."""
    return [_EPOCH + timedelta(microseconds=us) for us in values]


@kernel
def byte_at(text: NDArray[np.uint8], p: int) -> int:
    """One byte: an unsigned place needs no test for being negative."""
    return np.int64(text[np.uint64(p)])  # type: ignore[return-value]


@inline_kernel
def _two(text: NDArray[np.uint8], p: int) -> int:
    """Two digits as a number, -100 or less where they are none."""
    a, b = byte_at(text, p) - 48, byte_at(text, p + 1) - 48
    return a * 10 + b if 0 <= a <= 9 and 0 <= b <= 9 else -10000


@kernel
def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a Gregorian date (Hinnant, "chrono-compatible low-level date algorithms")."""
    y = year - (1 if month <= 2 else 0)
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


@kernel
def _month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


@kernel
def rfc3339_us(text: NDArray[np.uint8], start: int, stop: int) -> int:
    """``YYYY-MM-DDTHH:MM:SS[.f to .ffffff](Z|+HH:MM|-HH:MM)`` between two bytes to microseconds, else `BAD_TIME_US`."""
    if stop - start < 20:
        return BAD_TIME_US
    if byte_at(text, start + 4) != _MINUS or byte_at(text, start + 7) != _MINUS or byte_at(text, start + 10) != _T:
        return BAD_TIME_US
    if byte_at(text, start + 13) != _COLON or byte_at(text, start + 16) != _COLON:
        return BAD_TIME_US
    year = 100 * _two(text, start) + _two(text, start + 2)
    month, day = _two(text, start + 5), _two(text, start + 8)
    hour, minute, second = _two(text, start + 11), _two(text, start + 14), _two(text, start + 17)
    # At the ends of the calendar a zone may lead beyond it.
    if year < 2 or year > 9998 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
        return BAD_TIME_US
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return BAD_TIME_US
    p = start + 19
    micro, digits = 0, 0
    if byte_at(text, p) == _DOT:
        p += 1
        while p < stop and 48 <= byte_at(text, p) <= 57:
            micro = micro * 10 + byte_at(text, p) - 48
            digits += 1
            p += 1
            if digits > 6:
                return BAD_TIME_US
        if digits == 0:
            return BAD_TIME_US
        for _ in range(digits, 6):
            micro *= 10
    shift = 0
    if p == stop - 1 and byte_at(text, p) == _Z:
        shift = 0
    elif p == stop - 6 and (byte_at(text, p) == _PLUS or byte_at(text, p) == _MINUS) and byte_at(text, p + 3) == _COLON:
        off_hour, off_minute = _two(text, p + 1), _two(text, p + 4)
        if off_hour < 0 or off_hour > 23 or off_minute < 0 or off_minute > 59:
            return BAD_TIME_US
        shift = (off_hour * 60 + off_minute) * (-1 if byte_at(text, p) == _MINUS else 1)
    else:
        return BAD_TIME_US
    minutes = (_days(year, month, day) * 24 + hour) * 60 + minute - shift
    return (minutes * 60 + second) * 1_000_000 + micro


@kernel
def _parse(text: NDArray[np.uint8], out: NDArray[np.int64]) -> None:
    """The times of a JSON list of plain strings."""
    p = 0
    for i in range(len(out)):
        p += 2
        start = p
        while byte_at(text, p) != _QUOTE:
            p += 1
        out[i] = rfc3339_us(text, start, p)
        p += 1
