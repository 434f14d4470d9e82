"""Times as AIS formats write them. What is no time, or none of the AIS era, is ``None``; nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: From 1990, before there was AIS, to 2100: a time outside is none.
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

#: A time, and the same as it goes into the ids of looks.
Moment = tuple[datetime, bytes]


def moment_of(time: datetime) -> Moment | None:
    """A time of the AIS era with its text; without a zone it is UTC."""
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return (time, time.isoformat().encode()) if EARLIEST <= time < LATEST else None


def _remembered(read: Callable[[str], Moment | None]) -> Callable[[str], Moment | None]:
    """Many reports have the same time: each text is read once."""
    return lru_cache(maxsize=8192)(read)


@_remembered
def iso_moment(text: str) -> Moment | None:
    """``2022-01-03T00:00:00``, or with a blank, a fraction or a zone. A date alone is no time."""
    text = text.strip()
    if len(text) < 16 or text[10] not in "T ":
        return None
    try:
        return moment_of(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


@_remembered
def day_first_moment(text: str) -> Moment | None:
    """``31/12/2015 23:59:59``."""
    try:
        return moment_of(datetime.strptime(text.strip(), "%d/%m/%Y %H:%M:%S").replace(tzinfo=UTC))
    except ValueError:
        return None


@_remembered
def unix_moment(text: str) -> Moment | None:
    """Seconds since 1970."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    if "_" in text or not isfinite(seconds) or not 0.0 <= seconds < LATEST.timestamp():
        return None
    return moment_of(EPOCH + timedelta(microseconds=round(seconds * 1e6)))
