"""The objects of one domain, and where each of them is at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.positions import offsets
from apss_fusion.model import Domain

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass
class Fleet:
    """The objects of one domain: positions at even steps of their own time, and what they say of themselves."""

    domain: Domain
    step_s: float
    #: n-vectors (n, k, 3), from `begin_s` on, each `step_s` after the last.
    path: FloatArray
    #: Pressure altitude (n, k), or None on the surface.
    alt_m: FloatArray | None
    #: When each appears and is gone, in s after the scenario's start; (n,).
    begin_s: FloatArray
    end_s: FloatArray
    #: Names in the truth file.
    names: list[str]
    ids: list[dict[str, str]]
    classes: list[str]
    length_m: FloatArray
    width_m: FloatArray
    #: Whether it sends messages at all, and when it is silent (n, 2); whether its radar can be heard.
    sends: BoolArray
    silent_s: FloatArray
    radar: BoolArray
    #: Static fields come with every `static_every`-th message.
    static_every: int = 1

    def __len__(self) -> int:
        return len(self.names)

    def alive(self, item: IntArray, seconds: FloatArray) -> BoolArray:
        """Whether objects (m,) exist at times (m,)."""
        return np.asarray((self.begin_s[item] <= seconds) & (seconds <= self.end_s[item]))

    def at(self, item: IntArray, seconds: FloatArray) -> FloatArray:
        """n-vectors (m, 3) of objects at times in s after the start."""
        k, share = self._knot(item, seconds)
        n = (1.0 - share[:, None]) * self.path[item, k] + share[:, None] * self.path[item, k + 1]
        return np.asarray(n / np.linalg.norm(n, axis=1)[:, None])

    def velocity(self, item: IntArray, seconds: FloatArray) -> FloatArray:
        """East and north in m/s (m, 2)."""
        k, _ = self._knot(item, seconds)
        return np.asarray(offsets(self.path[item, k], self.path[item, k + 1]) / self.step_s)

    def altitude(self, item: IntArray, seconds: FloatArray) -> tuple[FloatArray, FloatArray] | None:
        """Altitude in m and vertical rate in m/s, (m,) each; None on the surface."""
        if self.alt_m is None:
            return None
        k, share = self._knot(item, seconds)
        low, high = self.alt_m[item, k], self.alt_m[item, k + 1]
        return low + share * (high - low), (high - low) / self.step_s

    def _knot(self, item: IntArray, seconds: FloatArray) -> tuple[IntArray, FloatArray]:
        place = np.clip((seconds - self.begin_s[item]) / self.step_s, 0.0, self.path.shape[1] - 1.0)
        k = np.minimum(place.astype(np.int64), self.path.shape[1] - 2)
        return k, place - k
