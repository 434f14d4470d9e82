"""Where every record of a run went, and what each source gave."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from apss_fusion.kernels import inline_kernel, kernel
from apss_fusion.tracking.holdback import AHEAD_US
from apss_fusion.tracking.rows import COASTING, CONFIRMED, DOMAIN_NAMES, TERMINATED, WITHDRAWN
from apss_fusion.tracking.times import NO_TIME_US
from apss_fusion.tracking.updates import UpdateBatch

#: Times are counted in bins that are 2 ** (1 / 16) wide, from 1 ms on: a quantile is right to 2 %.
_BINS_AN_OCTAVE = 16
_BINS = 48 * _BINS_AN_OCTAVE
_LEAST_US = 1_000.0
#: What a track that is counted has its domain for: it never was, was and was withdrawn, or was in the run before.
_NEVER, _TAKEN_BACK, _BEFORE = -1, -2, -3
_GIVEN, _LOOKS, _DETECTIONS, _LATE, _LONGEST_US, _FURTHEST_US, _COLUMNS = range(7)


class AccountError(RuntimeError):
    """Records were lost or counted twice: a fault of this program, never of its input."""


class Tally(Struct):
    """Records by what became of them, as the summary names them."""

    records_in: int = 0
    records_used: int = 0
    records_ignored: int = 0
    duplicates: int = 0
    late: int = 0
    dead_letters: int = 0
    #: Looks that were used, and detections in them.
    looks: int = 0
    detections: int = 0
    detections_rejected: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        mine, theirs = structs.asdict(self), structs.asdict(other)
        return Tally(**{name: count + theirs[name] for name, count in mine.items()})

    def check(self) -> None:
        """Raise `AccountError` unless every record is accounted for once."""
        out = self.records_used + self.records_ignored + self.duplicates + self.late + self.dead_letters
        if out != self.records_in or min(self.records_used, self.looks, self.detections) < 0:
            raise AccountError(f"{self.records_in} records were read and {out} are accounted for: {self}")


@inline_kernel
def _bin(us: int, bins: int) -> int:
    """The bin of a time: 0 up to 1 ms, then the octaves' parts."""
    b = 0
    if us > 1_000:
        b = min(bins - 1, 1 + int(math.log(us / 1_000.0) / math.log(2.0) * _BINS_AN_OCTAVE))
    return b


@kernel
def _count(
    looks: NDArray[np.void],
    counts: NDArray[np.int64],
    latency: NDArray[np.int32],
    disorder: NDArray[np.int32],
    newest_us: int,
) -> int:
    """Count looks in the order of their arrival; returns the newest time so far."""
    for i in range(len(looks)):
        k = looks[i]
        row = counts[k.source]
        row[_GIVEN] += 1
        row[_LOOKS] += 1
        row[_DETECTIONS] += k.count
        if k.time_us > k.received_us + AHEAD_US:
            continue
        latency_us = max(k.received_us - k.time_us, 0)
        row[_LONGEST_US] = max(row[_LONGEST_US], latency_us)
        latency[k.source, _bin(latency_us, latency.shape[1])] += 1
        if k.time_us < newest_us:
            behind_us = newest_us - k.time_us
            row[_FURTHEST_US] = max(row[_FURTHEST_US], behind_us)
            disorder[k.source, _bin(behind_us, disorder.shape[1])] += 1
        newest_us = max(newest_us, k.time_us)
    return newest_us


class SourceTally:
    """What each source gave: looks and detections that were used, late looks, latencies, and how out of order it came.

    Latency and disorder are of all looks that arrived, also of those that the engine turned away as late, as duplicates
    or as contradictory; not of those that lie more than 60 s after their arrival, whose time is none.

    The latency of a look is its arrival minus its time, 0 where that is negative. A look is out of order when its time
    is before the newest time of all looks that arrived before it, of whatever source, and its disorder is how far
    before. A quantile is that of the nearest rank (the smallest latency or disorder that at least this share of the
    looks does not exceed), right to 2 %; up to 1 ms it is 0.

    Parameters
    ----------
    newest_us
        The newest time of the looks that arrived before the first one that is counted, microseconds since 1970: a run
        that is resumed goes on from that of the run before.

    Attributes
    ----------
    newest_us
        The same with the looks counted so far.
    """

    def __init__(self, newest_us: int = NO_TIME_US) -> None:
        self.newest_us = newest_us
        self._counts = np.zeros((0, _COLUMNS), np.int64)
        self._latency = np.zeros((0, _BINS), np.int32)
        self._disorder = np.zeros((0, _BINS), np.int32)

    def add(self, looks: NDArray[np.void], sources: int) -> None:
        """Count rows of `LOOK` in the order of their arrival, whose source numbers are below `sources`."""
        missing = sources - len(self._counts)
        if missing > 0:
            missing = max(missing, len(self._counts))
            self._counts, self._latency, self._disorder = (
                np.concatenate([table, np.zeros((missing, table.shape[1]), table.dtype)])
                for table in (self._counts, self._latency, self._disorder)
            )
        self.newest_us = int(_count(looks, self._counts, self._latency, self._disorder, self.newest_us))

    def take_back(self, look: np.void, late: bool) -> None:
        """A look that was counted was not used."""
        row = self._counts[look["source"]]
        row[_LOOKS] -= 1
        row[_DETECTIONS] -= look["count"]
        row[_LATE] += late

    def result(self, names: list[str]) -> dict[str, dict[str, Any]]:
        """By source id, those that gave anything, in the order of their ids."""
        out = {}
        for number, name in enumerate(names[: len(self._counts)]):
            counts, latency = self._counts[number].tolist(), self._latency[number]
            if counts[_GIVEN]:
                longest_us = counts[_LONGEST_US]
                out[name] = {
                    "looks": counts[_LOOKS],
                    "detections": counts[_DETECTIONS],
                    "late": counts[_LATE],
                    "latency_median_s": _quantile_s(latency, 50, longest_us),
                    "latency_p90_s": _quantile_s(latency, 90, longest_us),
                    "latency_max_s": _seconds(longest_us) if latency.any() else None,
                    **_disorder_of(latency, self._disorder[number], counts[_FURTHEST_US]),
                }
        return dict(sorted(out.items()))

    def disorder(self) -> dict[str, Any]:
        """How out of order the looks of all sources together came."""
        furthest_us = int(self._counts[:, _FURTHEST_US].max(initial=0))
        return _disorder_of(self._latency.sum(axis=0), self._disorder.sum(axis=0), furthest_us)


def _disorder_of(
    all_bins: NDArray[np.integer[Any]], bins: NDArray[np.integer[Any]], furthest_us: int
) -> dict[str, Any]:
    """Share of the looks that are out of order, and the median and greatest disorder of these; None: there are none."""
    looks, behind = int(all_bins.sum()), int(bins.sum())
    return {
        "out_of_order": round(behind / looks, 4) if looks else None,
        "disorder_median_s": _quantile_s(bins, 50, furthest_us),
        "disorder_max_s": _seconds(furthest_us) if behind else None,
    }


def _quantile_s(bins: NDArray[np.integer[Any]], percent: int, longest_us: int) -> float | None:
    """Of times in bins the one that has so much per cent of them up to it; None of nothing."""
    n = int(bins.sum())
    if n == 0:
        return None
    found = int(np.searchsorted(np.cumsum(bins), (n * percent + 99) // 100))
    if found == 0:
        return 0.0
    us = _LEAST_US * 2.0 ** ((found - 0.5) / _BINS_AN_OCTAVE)
    return float(f"{min(us, longest_us) / 1e6:.3g}")


def _seconds(us: int) -> float:
    return round(us / 1e6, 3)


@kernel
def _slot(keys: NDArray[np.uint64], key: np.uint64) -> int:
    mask = np.uint64(len(keys) - 1)
    s = key & mask
    while keys[s] != 0 and keys[s] != key:
        s = (s + np.uint64(1)) & mask
    return int(s)


@kernel
def _confirm(
    rows: NDArray[np.void],
    ids: NDArray[np.uint64],
    tentative: bool,
    keys: NDArray[np.uint64],
    counted: NDArray[np.int8],
    by_domain: NDArray[np.int64],
) -> int:
    """Count the confirmations among updates and take back the withdrawn; returns how many keys are new."""
    new = 0
    for i in range(len(rows)):
        row = rows[i]
        s = _slot(keys, ids[i])
        if row.status == TERMINATED:
            if row.reason == WITHDRAWN and counted[s] >= 0:
                by_domain[counted[s]] -= 1
                counted[s] = _TAKEN_BACK
        elif row.status == CONFIRMED or row.status == COASTING:
            if counted[s] == _TAKEN_BACK or (counted[s] == _NEVER and (tentative or row.seq == 1)):
                new += 1 if keys[s] == 0 else 0
                keys[s], counted[s] = ids[i], row.belief.domain
                by_domain[counted[s]] += 1
    return new


@kernel
def _move(
    keys: NDArray[np.uint64], counted: NDArray[np.int8], new_keys: NDArray[np.uint64], new_counted: NDArray[np.int8]
) -> None:
    for k in range(len(keys)):
        if keys[k] != 0:
            s = _slot(new_keys, keys[k])
            new_keys[s], new_counted[s] = keys[k], counted[k]


class ConfirmedTracks:
    """How many distinct tracks were confirmed and stand, by domain as it was at their confirmation.

    A track is counted once, at its first update as CONFIRMED or COASTING (a late look may show both at once), whatever
    becomes of it, with one exception: one that is withdrawn, because a late look showed that there never was such a
    track, is not counted any more; if it is confirmed again, it is. A run that is resumed counts what it confirms itself:
    it does not take back what the run before has counted.

    Tracks are told apart by 64 bits of their ids, which are digests; 18 to 36 bytes are kept of each.

    Parameters
    ----------
    tentative
        Whether updates of tentative tracks are published too: then the first update of a track is not its confirmation.
    known
        Ids of living tracks that were confirmed before, which count no more. Of use with `tentative` only: else the
        number of an update tells a confirmation.
    """

    def __init__(self, tentative: bool, known: Collection[bytes] = ()) -> None:
        self._tentative = tentative
        self._by_domain = np.zeros(len(DOMAIN_NAMES), np.int64)
        self._used = 0
        self._keys, self._counted = np.zeros(1024, np.uint64), np.full(1024, _NEVER, np.int8)
        self._make_room(len(known))
        for key in _keys_of(np.frombuffer(b"".join(known), np.uint8)):
            s = _slot(self._keys, key)
            self._keys[s], self._counted[s] = key, _BEFORE
        self._used = len(known)

    def add(self, updates: UpdateBatch) -> None:
        """Count the confirmations among these updates, in their order."""
        if len(updates):
            self._make_room(len(updates))
            self._used += _confirm(
                updates.rows, _keys_of(updates.track_ids), self._tentative, self._keys, self._counted, self._by_domain
            )

    def _make_room(self, more: int) -> None:
        if 2 * (self._used + more) > len(self._keys):
            keys, counted = self._keys, self._counted
            size = 1 << (2 * (self._used + more)).bit_length()
            self._keys, self._counted = np.zeros(size, np.uint64), np.full(size, _NEVER, np.int8)
            _move(keys, counted, self._keys, self._counted)

    @property
    def total(self) -> int:
        """All of them."""
        return int(self._by_domain.sum())

    def by_domain(self) -> dict[str, int]:
        """Domains that have any."""
        return {name: n for name, n in zip(DOMAIN_NAMES, self._by_domain.tolist(), strict=True) if n}


def _keys_of(track_ids: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """64 bits of each UUID of 16 bytes, never 0."""
    halves = track_ids.reshape(-1).view(np.uint64).reshape(-1, 2)
    return np.maximum(halves[:, 0] ^ halves[:, 1], np.uint64(1))
