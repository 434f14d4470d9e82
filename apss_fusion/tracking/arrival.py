"""When pictures are due and the window moves on, as the clock of arrivals goes: a function of the sequence of looks alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from apss_fusion.model import Source
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import UNKNOWN

#: The window moves on by an eighth of the lag, and at least by this.
_LEAST_STEP_US = 60_000_000
_NEVER = np.iinfo(np.int64).max


class Lags:
    """How late looks may come: by source, by domain, and by group of domains that share sources.

    Attributes
    ----------
    longest_us
        The longest of all.
    group_of_domain
        The number of the group of SEA, GROUND, AIR and UNKNOWN, (4,).
    group_us
        The longest lag of each group.
    """

    def __init__(self, config: Config, register: Register, sources: Mapping[str, Source]) -> None:
        self._register = register
        self._by_source: NDArray[np.int64] = np.zeros(0, np.int64)
        numbers = [register.number(name) for name in sources]
        rows = register.parameters[numbers]
        domains = rows["domains"].astype(np.int64)
        if config.lag_s is not None:
            self._of_domain = [round(config.lag_s * 1e6)] * 3
        elif not sources:
            self._of_domain = [int(register.defaults.modality["OTHER"].max_latency_s * 1e6)] * 3
        else:
            lag = rows["max_latency_us"].astype(np.int64)
            self._of_domain = [int(lag[(domains >> d) & 1 == 1].max(initial=0)) for d in range(3)]
        self.longest_us = max(self._of_domain)
        self.group_of_domain = _groups(domains, self._of_domain)
        # As it is registered; groups may be joined later.
        self._group_of_registered = self.group_of_domain.copy()
        several = any(m & (m - 1) for m in domains.tolist())
        self._group_of_unknown = int(self.group_of_domain[UNKNOWN]) if several else -1
        count = int(self.group_of_domain.max()) + 1
        self.group_us = [
            max(self._of_domain[d] for d in range(3) if self.group_of_domain[d] == g) for g in range(count)
        ]
        self._shortest_us = min(self.group_us)

    def domain_masks(self) -> NDArray[np.int64]:
        """The domains of tracks that a source may touch, by number: bit d is domain d.

        What is of unknown domain was reported by a source of several domains: only the sources of their group touch it.
        """
        mask = self._register.parameters["domains"].astype(np.int64)
        unknown = 1 << UNKNOWN
        for number in range(len(mask)):
            first = int(mask[number] & -mask[number]).bit_length() - 1
            shares = not self._is_registered(number) or self._group_of_registered[first] == self._group_of_unknown
            if shares or self._group_of_unknown < 0:
                mask[number] |= unknown
        return mask

    def group_of_source(self) -> NDArray[np.int64]:
        """The group of each source: that of the domains that it may touch."""
        domains = self._register.parameters["domains"].astype(np.int64)
        out = np.zeros(len(domains), np.int64)
        for d in range(3):
            out[(domains >> d) & 1 == 1] = self.group_of_domain[d]
        return out

    def joins_groups(self, source: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of source numbers, those that touch domains of several groups: sources that are not registered."""
        if len(self.group_us) == 1:
            return np.zeros(len(source), np.bool_)
        known = np.array([self._is_registered(number) for number in range(len(self._register))], np.bool_)
        return ~known[source]

    def join_groups(self) -> None:
        """Make all domains one group."""
        self.group_of_domain[:] = 0
        self.group_us[:] = [self.longest_us]

    def _is_registered(self, number: int) -> bool:
        return self._register.is_registered(self._register.names[number])

    def by_source(self) -> NDArray[np.int64]:
        """How late a look of each source may come, microseconds, by number.

        A source that is not registered may touch everything; its looks come no later than the shortest lag of any group.
        """
        rows = self._register.parameters
        if len(rows) != len(self._by_source):
            touches = (rows["domains"].astype(np.int64)[:, None] >> np.arange(3)) & 1
            lags = np.max(np.where(touches == 1, np.array(self._of_domain, np.int64), 0), axis=1)
            unknown = [n for n in range(len(rows)) if not self._is_registered(n)]
            lags[unknown] = np.minimum(lags[unknown], self._shortest_us)
            self._by_source = lags
        return self._by_source


def _groups(domains: NDArray[np.int64], lag_us: list[int]) -> NDArray[np.int64]:
    """Groups of SEA, GROUND, AIR and UNKNOWN: domains of one source are in one group.

    domains: by source, a bit a domain. An object of unknown domain can only be reported by sources of several domains, so it
    belongs to their group; without any, to the group of the longest lag.
    """
    group = np.arange(4)
    several = False
    for mask in domains.tolist():
        bits = [d for d in range(3) if mask >> d & 1]
        if len(bits) > 1:
            # What is unknown to one source of several domains may be known to another: they are one group.
            for d in [*bits, 3]:
                group[group == group[d]] = group[bits[0]]
            several = True
    if not several:
        group[3] = group[int(np.argmax(lag_us))]
    _, numbers = np.unique(group, return_inverse=True)
    return numbers.astype(np.int64)


class Agenda:
    """What is due as the clock of arrivals goes on: pictures, and cuts of each group on a grid of event time."""

    def __init__(self, lags: Lags, interval_us: int) -> None:
        self._lags = lags
        self.interval_us = interval_us
        self._step_us = [max(lag // 8, _LEAST_STEP_US) for lag in lags.group_us]
        #: Where the cut of each group is, microseconds; -1 before the first.
        self.cut_us = [-1] * len(lags.group_us)
        #: Time of the next picture; -1 before the first look.
        self.picture_us = -1

    def join_groups(self) -> None:
        """Make all domains one group."""
        self._lags.join_groups()
        self._step_us = [max(self._lags.longest_us // 8, _LEAST_STEP_US)]
        self.cut_us[:] = [min(self.cut_us)]

    def expect(self, time_us: int) -> None:
        """A look of this time is fused: the first picture is not after it."""
        if self.interval_us:
            first = -(-time_us // self.interval_us) * self.interval_us
            self.picture_us = first if self.picture_us < 0 else min(self.picture_us, first)

    def take_up(self, picture_us: int, fused_us: int) -> None:
        """Go on with pictures as before a restart; the interval may be another one than before."""
        self.picture_us = picture_us
        if self.interval_us and picture_us >= 0:
            self.picture_us = -(-max(picture_us, fused_us) // self.interval_us) * self.interval_us

    def take_up_cuts(self, cut_us: list[int]) -> None:
        """Go on with cuts as before a restart."""
        if len(cut_us) < len(self.cut_us):
            self.join_groups()
        self.cut_us[:] = cut_us if len(cut_us) == len(self.cut_us) else [min(cut_us)] * len(self.cut_us)

    def next_us(self) -> int:
        """The clock from which on something is due."""
        pictures = self.interval_us > 0 and self.picture_us >= 0
        due = self.picture_us + self._lags.longest_us + 1 if pictures else _NEVER
        for cut, step, lag in zip(self.cut_us, self._step_us, self._lags.group_us, strict=True):
            # A picture is of what the window holds, so it comes before the cut.
            if cut < 0 or not pictures or cut + step <= self.picture_us:
                due = min(due, cut + step + lag if cut >= 0 else 0)
        return due

    def picture_before(self, before_us: int) -> int | None:
        """The next picture, if it lies before a time; it is then done."""
        if not self.interval_us or self.picture_us < 0 or self.picture_us >= before_us:
            return None
        self.picture_us += self.interval_us
        return self.picture_us - self.interval_us

    def cuts(self, clock_us: int) -> list[tuple[int, int]]:
        """(group, time) of the cuts that are due."""
        due = []
        for g, (step, lag) in enumerate(zip(self._step_us, self._lags.group_us, strict=True)):
            until = clock_us - lag
            if self.interval_us and self.picture_us >= 0:
                until = min(until, self.picture_us)
            cut = max(until // step * step, 0)
            if cut > self.cut_us[g]:
                self.cut_us[g] = cut
                due.append((g, cut))
        return due
