"""Truth and track updates read from NDJSON files (also ``.gz``) into columns, in order of time."""

from __future__ import annotations

import gzip
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.model import Domain, TrackStatus
from apss_fusion.model.look import Latitude, Longitude, UtcTime

#: Domains by their codes in the columns.
DOMAINS: tuple[Domain, ...] = ("SEA", "AIR", "GROUND", "UNKNOWN")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_Record = TypeVar("_Record", bound=Struct)


class TruthObject(Struct, frozen=True):
    """Where one object really was."""

    id: str
    lat: Latitude
    lon: Longitude
    domain: Domain


class TruthLine(Struct, frozen=True):
    """All objects at one moment: a line of a truth file."""

    time: UtcTime
    objects: list[TruthObject]


class _Update(Struct, frozen=True):
    """What evaluation needs of a track update."""

    track_id: str
    status: TrackStatus
    time: UtcTime
    domain: Domain
    lat: Latitude
    lon: Longitude
    v_enu_mps: tuple[float, float, float | None]
    cov_enu: tuple[float, float, float, float, float, float, float, float, float, float] | None = None


class Truth(NamedTuple):
    """All truth positions, one a row, by time; times in microseconds since 1970."""

    #: Distinct times (t,), sorted, and where the rows of each begin, (t + 1,).
    times_us: NDArray[np.int64]
    start: NDArray[np.int64]
    #: Row by row: index of the object, code of its domain, n-vector (n, 3).
    item: NDArray[np.int64]
    domain: NDArray[np.int64]
    position: NDArray[np.float64]
    #: Ids of the objects by their index.
    ids: list[str]


class Tracks(NamedTuple):
    """All published states, one a row, by time; of those with the same track and time the last one written counts."""

    time_us: NDArray[np.int64]
    item: NDArray[np.int64]
    domain: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    #: n-vectors (n, 3), velocity east and north in m/s (n, 2), covariance triangle (n, 10), NaN where unknown.
    position: NDArray[np.float64]
    velocity: NDArray[np.float64]
    covariance: NDArray[np.float64]
    ids: list[str]


def open_lines(path: Path) -> BinaryIO:
    """A file to read lines from, decompressed if its name ends in ``.gz``."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def read_lines(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    """The records of an NDJSON file. Raises ValueError that names file, line and field; blank lines are skipped."""
    decoder = msgspec.json.Decoder(kind)
    with open_lines(path) as stream:
        for number, line in enumerate(stream, 1):
            if line.isspace():
                continue
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"{path}:{number}: {error}") from None


def microseconds(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def read_truth(path: Path) -> Truth:
    """Read a truth file; its lines may be in any order.

    Raises ValueError on a line that is no truth, and on an object that is twice at one time.
    """
    index: dict[str, int] = {}
    time, rows = array("q"), array("d")
    moments: set[int] = set()
    for line in read_lines(path, TruthLine):
        now = microseconds(line.time)
        moments.add(now)
        for o in line.objects:
            time.append(now)
            rows.extend((index.setdefault(o.id, len(index)), DOMAINS.index(o.domain), o.lat, o.lon))
    times = np.array(time, np.int64)
    order = np.argsort(times, kind="stable")
    table = np.array(rows, np.float64).reshape(-1, 4)[order]
    distinct = np.array(sorted(moments), np.int64)
    ids = list(index)
    twice = _twice(times[order], table[:, 0])
    if twice is not None:
        moment = (_EPOCH + int(times[order][twice]) * _MICROSECOND).isoformat()
        raise ValueError(f"{path}: the object {ids[int(table[twice, 0])]!r} is twice at {moment}")
    return Truth(
        times_us=distinct,
        start=np.append(np.searchsorted(times[order], distinct), len(times)),
        item=table[:, 0].astype(np.int64),
        domain=table[:, 1].astype(np.int64),
        position=nvectors(table[:, 2], table[:, 3]),
        ids=ids,
    )


def read_tracks(path: Path) -> Tracks:
    """Read track updates, in any order; tentative ones are left out. Raises ValueError on a line that is no update."""
    index: dict[str, int] = {}
    time, rows = array("q"), array("d")
    unknown = (float("nan"),) * 10
    for update in read_lines(path, _Update):
        if update.status == "TENTATIVE":
            continue
        item = index.setdefault(update.track_id, len(index))
        east, north, _ = update.v_enu_mps
        ended = update.status == "TERMINATED"
        time.append(microseconds(update.time))
        rows.extend((item, DOMAINS.index(update.domain), ended, update.lat, update.lon, east, north))
        rows.extend(update.cov_enu or unknown)
    times = np.array(time, np.int64)
    table = np.array(rows, np.float64).reshape(-1, 17)
    order = _last_written(times, table[:, 0])
    table = table[order]
    return Tracks(
        time_us=times[order],
        item=table[:, 0].astype(np.int64),
        domain=table[:, 1].astype(np.int64),
        terminated=table[:, 2].astype(np.bool_),
        position=nvectors(table[:, 3], table[:, 4]),
        velocity=table[:, 5:7],
        covariance=table[:, 7:],
        ids=list(index),
    )


def _twice(time: NDArray[np.int64], item: NDArray[np.float64]) -> int | None:
    """A row whose time and item another row has too."""
    order = np.lexsort((item, time))
    same = np.flatnonzero((np.diff(time[order]) == 0) & (np.diff(item[order]) == 0))
    return int(order[same[0] + 1]) if len(same) else None


def _last_written(time: NDArray[np.int64], item: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows by (time, item), of equal ones only the last of the file."""
    order = np.lexsort((item, time))
    last = np.ones(len(order), np.bool_)
    last[:-1] = (np.diff(time[order]) != 0) | (np.diff(item[order]) != 0)
    return order[last]
