"""Stone Soup's global nearest neighbour on plots, in its own environment.

``python -m benchmarks.rivals.stone_soup_plots PLOTS.npz OUT.json --q 0.1 --birth-speed-mps 7 --delete-s 300``

Predictor, updater, hypothesiser, associator (`GNNWith2DAssignment`) and initiator are Stone Soup's. The loop round them
hands over only the tracks that a scan can concern and keeps no predictions of the others, which changes no association:
`MultiTargetTracker` would predict every track at every report. The plane is a Mercator map, true to scale at the mean
latitude; velocities and covariances are scaled with it.
"""

# The libraries are in another environment than the type checker.
# mypy: allow-subclassing-any, allow-untyped-decorators, disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import chi2
from stonesoup.dataassociator.neighbour import GNNWith2DAssignment
from stonesoup.hypothesiser.distance import DistanceHypothesiser
from stonesoup.initiator.simple import SimpleMeasurementInitiator
from stonesoup.measures import Mahalanobis
from stonesoup.models.measurement.linear import LinearGaussian
from stonesoup.models.transition.linear import CombinedLinearGaussianTransitionModel, ConstantVelocity
from stonesoup.predictor.kalman import KalmanPredictor
from stonesoup.types.detection import Detection
from stonesoup.types.state import GaussianState
from stonesoup.updater.kalman import KalmanUpdater

from benchmarks.rivals.plots import Floats, Plots, options

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: WGS 84: semi-major axis, m, and eccentricity.
_A_M, _ECCENTRICITY = 6_378_137.0, 0.0818191908426
#: Places in the state (x, vx, y, vy, h, w) of what a plot measures: (e, n, ve, vn, h, w).
_PLACES = (0, 2, 1, 3, 4, 5)
#: Velocity noise density of the climb, m^2/s^3.
Q_CLIMB = 1.0
#: Variance of a height or climb of which nothing is known, m^2 and m^2/s^2.
_NO_HEIGHT, _NO_CLIMB = 1e8, 1e3


class GateDistance(Mahalanobis):
    """Mahalanobis distance as a share of the gate's, which depends on how much a detection measures."""

    gate = 0.99

    def __call__(self, state1: Any, state2: Any) -> float:
        """Below 1 inside the gate."""
        return float(super().__call__(state1, state2)) / _gate(self.gate, len(state2.state_vector))


@cache
def _gate(probability: float, dimensions: int) -> float:
    return math.sqrt(chi2.ppf(probability, dimensions))


class Mercator:
    """Positions (n,) in degrees on a map that is true to scale at their mean latitude."""

    def __init__(self, lat_deg: Floats, lon_deg: Floats) -> None:
        lat = np.radians(lat_deg)
        sine = np.sin(lat)
        scale = np.cos(lat) / np.sqrt(1.0 - (_ECCENTRICITY * sine) ** 2)
        true_here = float(np.cos(lat.mean()) / np.sqrt(1.0 - (_ECCENTRICITY * np.sin(lat.mean())) ** 2))
        size = _A_M * true_here
        self.x = size * np.radians((lon_deg - lon_deg[0] + 540.0) % 360.0 - 180.0)
        self.y = size * (np.arctanh(sine) - _ECCENTRICITY * np.arctanh(_ECCENTRICITY * sine))
        #: Metres on the map for a metre on the ground, (n,).
        self.scale = true_here / scale


class Tracker:
    """The loop; `owner` is the track of each plot so far, by number."""

    def __init__(self, plots: Plots, q: float, birth_speed_mps: float, delete_s: float, gate: float) -> None:
        self.plots, self.q, self.delete_s = plots, q, delete_s
        self.map = Mercator(plots.lat_deg, plots.lon_deg)
        model = CombinedLinearGaussianTransitionModel(
            [ConstantVelocity(q), ConstantVelocity(q), ConstantVelocity(Q_CLIMB)]
        )
        self.updater = KalmanUpdater(force_symmetric_covariance=True)
        GateDistance.gate = gate
        self._reach = _gate(gate, 6)
        hypothesiser = DistanceHypothesiser(
            KalmanPredictor(model), self.updater, GateDistance(state_covar_inv_cache_size=None), missed_distance=1.0
        )
        self.associator = GNNWith2DAssignment(hypothesiser)
        speed_var = birth_speed_mps**2
        prior = GaussianState(np.zeros((6, 1)), np.diag([1e12, speed_var, 1e12, speed_var, _NO_HEIGHT, _NO_CLIMB]))
        self.initiator = SimpleMeasurementInitiator(prior)
        self.owner: list[int] = []
        self.tracks: dict[Any, int] = {}
        self._founded = 0

    def run(self) -> None:
        """Take all plots, scan by scan."""
        bounds = np.flatnonzero(np.diff(self.plots.scan, prepend=-1, append=-1)).tolist()
        for start, stop in pairwise(bounds):
            self._scan(range(start, stop))

    def _scan(self, scan: range) -> None:
        at = _EPOCH + timedelta(seconds=float(self.plots.t_s[scan.start]))
        silent = at - timedelta(seconds=self.delete_s)
        self.tracks = {track: number for track, number in self.tracks.items() if track.timestamp >= silent}
        detections = {self._detection(k): k for k in scan}
        near = {track for track in self.tracks if any(self._concerns(track, k) for k in scan)}
        owners: dict[int, int] = {}
        free = set(detections)
        for track, hypothesis in self.associator.associate(near, free.copy(), at).items():
            if hypothesis:
                track.append(self.updater.update(hypothesis))
                # Earlier states are no more needed, and would fill the memory.
                del track.states[:-1]
                owners[detections[hypothesis.measurement]] = self.tracks[track]
                free.discard(hypothesis.measurement)
        for detection in sorted(free, key=detections.__getitem__):
            for track in self.initiator.initiate({detection}, at):
                self.tracks[track] = owners[detections[detection]] = self._founded
                self._founded += 1
        self.owner += [owners[k] for k in scan]

    def _detection(self, k: int) -> Any:
        which, values, covariance = self.plots.measurement(k)
        values = values.copy()
        size = np.array([self.map.scale[k] if i < 4 else 1.0 for i in which])
        values *= size
        values[:2] = self.map.x[k], self.map.y[k]
        model = LinearGaussian(6, tuple(_PLACES[i] for i in which), covariance * np.outer(size, size))
        at = _EPOCH + timedelta(seconds=float(self.plots.t_s[k]))
        return Detection(values.reshape(-1, 1), timestamp=at, measurement_model=model)

    def _concerns(self, track: Any, k: int) -> bool:
        """Whether plot k may be in the gate of a track: a bound on its predicted ellipse."""
        state = track.states[-1]
        x, p = state.state_vector, state.covar
        dt = self.plots.t_s[k] - (state.timestamp - _EPOCH).total_seconds()
        spread = 0.0
        distance_sq = 0.0
        for i, place in ((0, self.map.x[k]), (2, self.map.y[k])):
            distance_sq += (float(x[i, 0]) + float(x[i + 1, 0]) * dt - place) ** 2
            spread += p[i, i] + 2.0 * dt * p[i, i + 1] + dt * dt * p[i + 1, i + 1] + self.q * abs(dt) ** 3 / 3.0
        spread += (self.plots.ree[k] + self.plots.rnn[k]) * self.map.scale[k] ** 2
        return bool(distance_sq < self._reach**2 * spread)


def main() -> None:
    """The command line."""
    a = options(__doc__)
    tracker = Tracker(Plots.load(a.plots), a.q, a.birth_speed_mps, a.delete_s, a.gate)
    start = time.process_time()
    tracker.run()
    a.out.write_text(json.dumps({"cpu_s": time.process_time() - start, "owners": tracker.owner}))


if __name__ == "__main__":
    main()
