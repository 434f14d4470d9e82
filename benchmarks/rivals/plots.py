"""Plots: what every tracker is told of the same detections, as columns in a file. Needs numpy alone."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Plots(NamedTuple):
    """Detections in the order of time, (n,) each; NaN is unknown. Covariances are on the local plane, east then north."""

    #: Number of the scan; the detections of one scan are of different objects.
    scan: NDArray[np.int64]
    #: Seconds since 1970.
    t_s: Floats
    lat_deg: Floats
    lon_deg: Floats
    #: Of the position, m^2.
    ree: Floats
    ren: Floats
    rnn: Floats
    #: Velocity east and north, m/s, and its covariance.
    va: Floats
    vb: Floats
    vaa: Floats
    vab: Floats
    vbb: Floats
    #: Altitude in m and its variance, climb in m/s and its variance.
    alt: Floats
    alt_var: Floats
    climb: Floats
    climb_var: Floats

    def save(self, path: Path) -> None:
        """Write the columns to an ``.npz`` file."""
        np.savez(path, allow_pickle=False, **self._asdict())

    @classmethod
    def load(cls, path: Path) -> Plots:
        """Read such a file."""
        with np.load(path) as columns:
            return cls(*(columns[name] for name in cls._fields))

    def measurement(self, k: int) -> tuple[list[int], Floats, Floats]:
        """What plot k measures of (e, n, ve, vn, h, w): which, the values (m,) and their covariance (m, m).

        East and north are 0: the position of the plot is the origin of the local plane.
        """
        which, values = [0, 1], [0.0, 0.0]
        r = np.zeros((6, 6))
        r[0, 0], r[0, 1], r[1, 0], r[1, 1] = self.ree[k], self.ren[k], self.ren[k], self.rnn[k]
        if not np.isnan(self.va[k]):
            which += [2, 3]
            values += [self.va[k], self.vb[k]]
            r[2, 2], r[2, 3], r[3, 2], r[3, 3] = self.vaa[k], self.vab[k], self.vab[k], self.vbb[k]
        if not np.isnan(self.alt[k]):
            which.append(4)
            values.append(self.alt[k])
            r[4, 4] = self.alt_var[k]
        if not np.isnan(self.climb[k]):
            which.append(5)
            values.append(self.climb[k])
            r[5, 5] = self.climb_var[k]
        return which, np.array(values), r[np.ix_(which, which)]


def peak_mib() -> float:
    """The most memory that this process has had resident, without what its parent had when it was started."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def options(description: str | None) -> argparse.Namespace:
    """What the command line of a tracker of plots says."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plots", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--q", type=float, required=True, help="velocity noise density, m^2/s^3")
    parser.add_argument("--birth-speed-mps", type=float, required=True, help="sigma of the speed of a new object")
    parser.add_argument("--delete-s", type=float, required=True, help="silence after which a track ends")
    parser.add_argument("--gate", type=float, default=0.99, help="probability of the gate")
    return parser.parse_args()
