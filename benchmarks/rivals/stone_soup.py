"""Stone Soup on a scenario of the plane: ``python -m benchmarks.rivals.stone_soup FOLDER OUT.json [--associator jpda]``.

FOLDER holds ``params.json`` and ``detections.ndjson``. OUT gets the CPU seconds of importing and of tracking, the peak of
resident memory, and the positions of the tracks at every scan. Runs in Stone Soup's own environment.

The tracker is `MultiTargetTracker` from Stone Soup's own parts: their k-d tree gates, a hypothesis is weighed with the
scenario's detection probability and clutter density, and a track is told from its second or third detection on.
"""

# The libraries are in another environment than the type checker.
# mypy: allow-subclassing-any, allow-untyped-decorators, disable-error-code="import-untyped,import-not-found"

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

_STARTED = time.process_time()

import numpy as np  # noqa: E402
from stonesoup.base import Property  # noqa: E402
from stonesoup.buffered_generator import BufferedGenerator  # noqa: E402
from stonesoup.dataassociator.tree import DetectionKDTreeGNN2D, DetectionKDTreeMixIn  # noqa: E402
from stonesoup.deleter.time import UpdateTimeStepsDeleter  # noqa: E402
from stonesoup.hypothesiser.probability import PDAHypothesiser  # noqa: E402
from stonesoup.initiator.simple import MultiMeasurementInitiator  # noqa: E402
from stonesoup.models.measurement.linear import LinearGaussian  # noqa: E402
from stonesoup.models.transition.linear import CombinedLinearGaussianTransitionModel, ConstantVelocity  # noqa: E402
from stonesoup.predictor.kalman import KalmanPredictor  # noqa: E402
from stonesoup.reader.base import DetectionReader  # noqa: E402
from stonesoup.tracker.simple import MultiTargetMixtureTracker, MultiTargetTracker  # noqa: E402
from stonesoup.types.detection import Detection  # noqa: E402
from stonesoup.types.state import GaussianState  # noqa: E402
from stonesoup.updater.kalman import KalmanUpdater  # noqa: E402

from benchmarks.rivals.plots import peak_mib  # noqa: E402

_START = datetime(2026, 1, 1, tzinfo=UTC)


class Tuning(NamedTuple):
    """What was tuned on the sea of 100 ships, by OSPA; the rest is what the scenario says."""

    #: Probability that a detection is inside the gate.
    gate: float = 0.999
    #: The k-d tree's radius: as many sigmas of a new track's position after a scan.
    reach_sigmas: float = 4.0
    #: Detections until a track is told.
    min_points: int = 3
    #: Scans without a detection until a track is deleted, of tracks that are told and of those that are not.
    delete_scans: int = 4
    drop_scans: int = 3


class Scans(DetectionReader):
    """The detections that were made beforehand, scan by scan."""

    scans: list[tuple[datetime, set[Any]]] = Property(doc="Time and detections of each scan")

    @BufferedGenerator.generator_method
    def detections_gen(self) -> Iterator[tuple[datetime, set[Any]]]:
        """Yield them."""
        yield from self.scans


def mixture_associator() -> Any:
    """JPDA with exact marginals by efficient hypothesis management (EHM2), gated by the k-d tree."""
    from pyehm.plugins.stonesoup import JPDAWithEHM2

    class KDTreeJPDAWithEHM2(DetectionKDTreeMixIn, JPDAWithEHM2):
        def associate(self, tracks: Any, detections: Any, timestamp: datetime, **kwargs: Any) -> Any:
            hypotheses = self.generate_hypotheses(tracks, detections, timestamp, **kwargs)
            return self._compute_multi_hypotheses(tracks, detections, hypotheses, timestamp)

    return KDTreeJPDAWithEHM2


def tracker_of(params: dict[str, Any], scans: list[tuple[datetime, set[Any]]], associator: str, tuning: Tuning) -> Any:
    """The tracker for a scenario's parameters."""
    step_s, variance = float(params["T"]), float(params["R"])
    q = params["Q"][1][1] / step_s
    area_m2 = float(np.prod([high - low for low, high in params["area"]]))
    speed_var = params["birth"][0]["P"][1]
    model = CombinedLinearGaussianTransitionModel([ConstantVelocity(q), ConstantVelocity(q)])
    measurement = LinearGaussian(4, (0, 2), np.diag([variance, variance]))
    predictor, updater = KalmanPredictor(model), KalmanUpdater(measurement)
    hypothesiser = PDAHypothesiser(
        predictor,
        updater,
        clutter_spatial_density=params["lambda_c"] / area_m2,
        prob_detect=params["pd"],
        prob_gate=tuning.gate,
    )
    reach = tuning.reach_sigmas * float(np.sqrt(2.0 * variance + step_s**2 * speed_var))
    parts: dict[str, Any] = {
        "hypothesiser": hypothesiser,
        "predictor": predictor,
        "updater": updater,
        "max_distance": reach,
    }
    gnn = DetectionKDTreeGNN2D(**parts)
    chosen = mixture_associator()(**parts) if associator == "jpda" else gnn
    initiator = MultiMeasurementInitiator(
        GaussianState([[0], [0], [0], [0]], np.diag([variance, speed_var, variance, speed_var]), _START),
        UpdateTimeStepsDeleter(tuning.drop_scans),
        gnn,
        updater,
        measurement,
        min_points=tuning.min_points,
    )
    kind = MultiTargetMixtureTracker if associator == "jpda" else MultiTargetTracker
    return kind(initiator, UpdateTimeStepsDeleter(tuning.delete_scans), Scans(scans), chosen, updater)


def scans_of(folder: Path, params: dict[str, Any]) -> list[tuple[datetime, set[Any]]]:
    """The detections of every scan as Stone Soup's."""
    out = []
    for text in (folder / "detections.ndjson").read_text().splitlines():
        scan = json.loads(text)
        at = _START + timedelta(seconds=scan["scan"] * params["T"])
        out.append((at, {Detection([[x], [y]], timestamp=at) for x, y in scan["xy"]}))
    return out


def run(folder: Path, associator: str, tuning: Tuning) -> dict[str, Any]:
    """Track a scenario; what OUT holds, without the import's CPU seconds."""
    params = json.loads((folder / "params.json").read_text())
    scans = scans_of(folder, params)
    tracker = tracker_of(params, scans, associator, tuning)
    start = time.process_time()
    estimates = []
    for _, tracks in tracker:
        estimates.append([[float(track.state_vector[0]), float(track.state_vector[2])] for track in tracks])
    return {
        "cpu_s": time.process_time() - start,
        "detections": sum(len(detections) for _, detections in scans),
        "estimates": estimates,
        "peak_mib": peak_mib(),
    }


def main() -> None:
    """The command line."""
    import_s = time.process_time() - _STARTED
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--associator", choices=("gnn", "jpda"), default="gnn")
    for name, value in Tuning()._asdict().items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    a = parser.parse_args()
    tuning = Tuning(*(getattr(a, name) for name in Tuning._fields))
    a.out.write_text(json.dumps(run(a.folder, a.associator, tuning) | {"import_s": import_s}))


if __name__ == "__main__":
    main()
