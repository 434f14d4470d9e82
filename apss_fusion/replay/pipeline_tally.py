"""Where every record of a run went, and what each source gave."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from apss_fusion.kernels import kernel
from apss_fusion.tracking.rows import CONFIRMED, DOMAIN_NAMES, TERMINATED
from apss_fusion.tracking.updates import UpdateBatch

#: Latencies are counted in bins that are 2 ** (1 / 16) wide, from 1 ms on: a median is right to 2 %.
_BINS_AN_OCTAVE = 16
_BINS = 48 * _BINS_AN_OCTAVE
_LEAST_US = 1_000.0
_LOOKS, _DETECTIONS, _LATE, _LONGEST_US = range(4)


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


@kernel
def _count(looks: NDArray[np.void], counts: NDArray[np.int64], bins: NDArray[np.int32], scale: float) -> None:
    for i in range(len(looks)):
        k = looks[i]
        counts[k.source, 0] += 1
        counts[k.source, 1] += k.count
        latency_us = max(k.received_us - k.time_us, 0)
        counts[k.source, 3] = max(counts[k.source, 3], latency_us)
        b = 0
        if latency_us > 1_000:
            b = min(bins.shape[1] - 1, 1 + int(math.log(latency_us / 1_000.0) * scale))
        bins[k.source, b] += 1


class SourceTally:
    """What each source gave: looks and detections that were used, late looks, latencies of all looks."""

    def __init__(self) -> None:
        self._counts = np.zeros((0, 4), np.int64)
        self._bins = np.zeros((0, _BINS), np.int32)

    def add(self, looks: NDArray[np.void], sources: int) -> None:
        """Count rows of `LOOK`, whose source numbers are below `sources`."""
        missing = sources - len(self._counts)
        if missing > 0:
            missing = max(missing, len(self._counts))
            self._counts = np.concatenate([self._counts, np.zeros((missing, 4), np.int64)])
            self._bins = np.concatenate([self._bins, np.zeros((missing, _BINS), np.int32)])
        _count(looks, self._counts, self._bins, _BINS_AN_OCTAVE / math.log(2.0))

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
            bins = self._bins[number]
            if bins.any():
                looks, detections, late, longest_us = self._counts[number].tolist()
                out[name] = {
                    "looks": looks,
                    "detections": detections,
                    "late": late,
                    "latency_median_s": _median_s(bins, longest_us),
                    "latency_max_s": round(longest_us / 1e6, 3),
                }
        return dict(sorted(out.items()))


def _median_s(bins: NDArray[np.int32], longest_us: int) -> float:
    middle = int(np.searchsorted(np.cumsum(bins), (bins.sum() + 1) // 2))
    if middle == 0:
        return 0.0
    us = _LEAST_US * 2.0 ** ((middle - 0.5) / _BINS_AN_OCTAVE)
    return float(f"{min(us, longest_us) / 1e6:.3g}")


class ConfirmedTracks:
    """How many distinct tracks were confirmed, by domain as it was then.

    Parameters
    ----------
    tentative
        Whether updates of tentative tracks are published too: then the first update of a track is not its confirmation.
    known
        Ids of living tracks that were confirmed before.
    """

    def __init__(self, tentative: bool, known: set[bytes]) -> None:
        self._tentative = tentative
        self._known = known
        self._by_domain = np.zeros(len(DOMAIN_NAMES), np.int64)

    def add(self, updates: UpdateBatch) -> None:
        """Count the confirmations among these updates."""
        if not len(updates):
            return
        rows = updates.rows
        confirmed = rows["status"] == CONFIRMED
        if not self._tentative:
            self._count(rows["belief"]["domain"][confirmed & (rows["seq"] == 1)])
            return
        for i in np.flatnonzero(confirmed | (rows["status"] == TERMINATED)).tolist():
            track_id = updates.track_ids[i].tobytes()
            if not confirmed[i]:
                self._known.discard(track_id)
            elif track_id not in self._known:
                self._known.add(track_id)
                self._by_domain[rows["belief"]["domain"][i]] += 1

    def _count(self, domains: NDArray[np.int8]) -> None:
        self._by_domain += np.bincount(domains, minlength=len(DOMAIN_NAMES))

    @property
    def total(self) -> int:
        """All of them."""
        return int(self._by_domain.sum())

    def by_domain(self) -> dict[str, int]:
        """Domains that have any."""
        return {name: n for name, n in zip(DOMAIN_NAMES, self._by_domain.tolist(), strict=True) if n}
