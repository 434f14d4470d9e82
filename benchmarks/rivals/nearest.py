"""Nearest neighbour with a gate: a constant velocity Kalman filter a track, each detection to the nearest track, or new.

``python -m benchmarks.rivals.nearest PLOTS.npz OUT.json --q 0.01 --delete-s 600``. Needs numpy and scipy.

The state is (e, n, ve, vn, h, w) on the plane that touches the ellipsoid at the track; distances are squared Mahalanobis
distances of all that a detection measures. In a scan the nearest pair goes first, and a track takes one detection.
"""

from __future__ import annotations

import json
import math
import time
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from benchmarks.rivals.plots import Floats, Plots, options

#: WGS 84: semi-major axis, m, and square of the eccentricity.
_A_M, _E2 = 6_378_137.0, 6.69437999014e-3
#: Variance of a height or climb of which nothing is known, m^2 and m^2/s^2.
_NO_HEIGHT, _NO_CLIMB = 1e8, 1e3


class Nearest:
    """The tracker; `owner` is the track of each plot so far, by number."""

    def __init__(
        self, plots: Plots, q: float, birth_speed_mps: float, delete_s: float, gate: float, q_climb: float = 1.0
    ) -> None:
        self.plots = plots
        self.q, self.q_climb = q, q_climb
        self.birth_speed_mps = birth_speed_mps
        self.delete_s = delete_s
        self._gates = [0.0, *(float(chi2.ppf(gate, k)) for k in range(1, 7))]
        self.owner: list[int] = []
        self._n = 0
        self._x = np.zeros((256, 6))  # lat and lon in degrees, ve, vn, h, w
        self._p = np.zeros((256, 6, 6))
        self._t = np.zeros(256)
        self._number = np.zeros(256, np.int64)
        self._founded = 0

    def run(self) -> None:
        """Take all plots, scan by scan."""
        bounds = np.flatnonzero(np.diff(self.plots.scan, prepend=-1, append=-1)).tolist()
        for start, stop in pairwise(bounds):
            self._scan(range(start, stop))

    def _scan(self, scan: range) -> None:
        self._forget(self.plots.t_s[scan.start])
        pairs = [pair for k in scan for pair in self._near(k)]
        taken: dict[int, int] = {}
        used: set[int] = set()
        for _, k, i in sorted(pairs):
            if k not in taken and i not in used:
                taken[k] = i
                used.add(i)
        for k in scan:
            self.owner.append(int(self._number[self._update(k, taken[k])]) if k in taken else self._found(k))

    def _forget(self, t: float) -> None:
        old = self._t[: self._n] < t - self.delete_s
        if np.count_nonzero(old) * 4 > self._n:
            keep = np.flatnonzero(~old)
            for column in (self._x, self._p, self._t, self._number):
                column[: len(keep)] = column[keep]
            self._n = len(keep)

    def _near(self, k: int) -> list[tuple[float, int, int]]:
        """(distance, plot, row) of the tracks in whose gate plot k lies."""
        n, plots = self._n, self.plots
        dt = plots.t_s[k] - self._t[:n]
        per_lat, per_lon = _metres_per_degree(plots.lat_deg[k])
        x, p = self._x[:n], self._p[:n]
        east = ((x[:, 1] - plots.lon_deg[k] + 540.0) % 360.0 - 180.0) * per_lon + x[:, 2] * dt
        north = (x[:, 0] - plots.lat_deg[k]) * per_lat + x[:, 3] * dt
        spread = p[:, 0, 0] + p[:, 1, 1] + 2.0 * dt * (p[:, 0, 2] + p[:, 1, 3]) + dt**2 * (p[:, 2, 2] + p[:, 3, 3])
        spread += 2.0 / 3.0 * self.q * np.abs(dt) ** 3 + plots.ree[k] + plots.rnn[k]
        close = np.flatnonzero((east**2 + north**2 < self._gates[6] * spread) & (dt <= self.delete_s))
        if not len(close):
            return []
        which, z, r = plots.measurement(k)
        gate = self._gates[len(which)]
        out = []
        for i in close.tolist():
            s, y = self._innovation(i, k, which, z, r)[:2]
            distance = float(y @ np.linalg.solve(s, y))
            if distance < gate:
                out.append((distance, k, i))
        return out

    def _innovation(
        self, i: int, k: int, which: list[int], z: Floats, r: Floats
    ) -> tuple[Floats, Floats, Floats, Floats]:
        """S and the innovation (m,) of plot k for track i, and its predicted mean (6,) about the plot and covariance."""
        dt = self.plots.t_s[k] - self._t[i]
        per_lat, per_lon = _metres_per_degree(self.plots.lat_deg[k])
        lat, lon = self._x[i, :2]
        x = self._x[i].copy()
        x[0] = ((lon - self.plots.lon_deg[k] + 540.0) % 360.0 - 180.0) * per_lon + x[2] * dt
        x[1] = (lat - self.plots.lat_deg[k]) * per_lat + x[3] * dt
        x[4] += x[5] * dt
        f = np.eye(6)
        f[0, 2] = f[1, 3] = f[4, 5] = dt
        p = f @ self._p[i] @ f.T
        for position, velocity, q in ((0, 2, self.q), (1, 3, self.q), (4, 5, self.q_climb)):
            p[position, position] += q * dt**3 / 3.0
            p[position, velocity] += q * dt**2 / 2.0
            p[velocity, position] += q * dt**2 / 2.0
            p[velocity, velocity] += q * dt
        return p[np.ix_(which, which)] + r, z - x[which], x, p

    def _update(self, k: int, i: int) -> int:
        which, z, r = self.plots.measurement(k)
        s, y, x, p = self._innovation(i, k, which, z, r)
        gain = np.linalg.solve(s, p[which]).T
        self._put(i, k, x + gain @ y, p - gain @ p[which])
        return i

    def _found(self, k: int) -> int:
        if self._n == len(self._t):
            for name in ("_x", "_p", "_t", "_number"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate([column, np.zeros_like(column)]))
        which, z, r = self.plots.measurement(k)
        p = np.diag([1e12, 1e12, self.birth_speed_mps**2, self.birth_speed_mps**2, _NO_HEIGHT, _NO_CLIMB])
        gain = np.linalg.solve(p[np.ix_(which, which)] + r, p[which]).T
        i, self._n = self._n, self._n + 1
        self._put(i, k, gain @ z, p - gain @ p[which])
        self._number[i] = self._founded
        self._founded += 1
        return self._founded - 1

    def _put(self, i: int, k: int, x: Floats, p: Floats) -> None:
        """Write row i: mean about plot k, and covariance."""
        per_lat, per_lon = _metres_per_degree(self.plots.lat_deg[k])
        self._x[i] = x
        self._x[i, 0] = self.plots.lat_deg[k] + x[1] / per_lat
        self._x[i, 1] = self.plots.lon_deg[k] + x[0] / per_lon
        self._p[i] = 0.5 * (p + p.T)
        self._t[i] = self.plots.t_s[k]


def _metres_per_degree(lat_deg: float) -> tuple[float, float]:
    """North and east on the ellipsoid."""
    sine, cosine = math.sin(math.radians(lat_deg)), math.cos(math.radians(lat_deg))
    w = 1.0 - _E2 * sine * sine
    return math.radians(_A_M * (1.0 - _E2) / w**1.5), math.radians(_A_M / math.sqrt(w) * cosine)


def owners(plots: Plots, q: float, birth_speed_mps: float, delete_s: float, gate: float = 0.99) -> NDArray[np.int64]:
    """The track of each plot (n,)."""
    tracker = Nearest(plots, q, birth_speed_mps, delete_s, gate)
    tracker.run()
    return np.array(tracker.owner, np.int64)


def main() -> None:
    """The command line."""
    a = options(__doc__)
    plots = Plots.load(a.plots)
    start = time.process_time()
    found = owners(plots, a.q, a.birth_speed_mps, a.delete_s, a.gate)
    a.out.write_text(json.dumps({"cpu_s": time.process_time() - start, "owners": found.tolist()}))


if __name__ == "__main__":
    main()
