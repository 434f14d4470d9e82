"""Golden values of metrics, computed by others' code for fixed random cases, into metrics.json beside this.

    pip install stonesoup==1.9.1 scikit-learn==1.9.1
    python tests/reference/make_metrics.py T-GOSPA-metric-python

The argument is a checkout of github.com/Agarciafernandez/T-GOSPA-metric-python, by the authors of trajectory GOSPA; its
linear programme over all trajectories is called, not its division into clusters, which numpy 2 does not run. Nothing of
this is needed to run the tests. What Stone Soup does otherwise is left out of the cases:

- its OSPA assigns by distances, not by their powers, which is the best pairing only for p = 1;
- it joins all associations of one track with one object into one, whose length is the sum;
- its count of tracks needed stops at an association that ends one time after the one before it.
"""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import stonesoup
from ordered_set import OrderedSet
from sklearn.metrics import adjusted_rand_score
from stonesoup.measures import Euclidean
from stonesoup.metricgenerator.manager import MultiManager
from stonesoup.metricgenerator.ospametric import GOSPAMetric, OSPAMetric
from stonesoup.metricgenerator.tracktotruthmetrics import SIAPMetrics
from stonesoup.types.association import AssociationSet, TimeRangeAssociation
from stonesoup.types.groundtruth import GroundTruthPath
from stonesoup.types.state import State
from stonesoup.types.time import TimeRange
from stonesoup.types.track import Track

START = datetime(2026, 1, 1, tzinfo=UTC)
SIAP_TITLES = {
    "completeness": "SIAP Completeness",
    "ambiguity": "SIAP Ambiguity",
    "spuriousness": "SIAP Spuriousness",
    "position_accuracy": "SIAP Position Accuracy",
    "velocity_accuracy": "SIAP Velocity Accuracy",
    "track_change_rate_hz": "SIAP Rate of Track Number Change",
    "longest_track_segment": "SIAP Longest Track Segment",
}


def states(points: np.ndarray) -> list[State]:
    return [State(point.reshape(-1, 1), timestamp=START) for point in points]


def points_case(rng: np.random.Generator) -> dict[str, Any]:
    n, m = rng.integers(0, 9, 2)
    if n + m == 0:
        n = 1
    dimension = int(rng.integers(1, 4))
    truth = rng.normal(scale=30.0, size=(n, dimension))
    estimate = np.concatenate([truth[:m], rng.normal(scale=30.0, size=(max(0, m - n), dimension))])
    estimate = rng.permutation(estimate + rng.normal(scale=8.0, size=estimate.shape))
    c = float(rng.uniform(5.0, 60.0))
    p = float(rng.choice([1.0, 2.0, 3.0]))
    metric, _ = GOSPAMetric(p=p, c=c).compute_gospa_metric(states(estimate), states(truth))
    ospa = OSPAMetric(p=1.0, c=c).compute_OSPA_distance(states(estimate), states(truth))
    return {
        "truth": truth.tolist(),
        "estimate": estimate.tolist(),
        "c": c,
        "p": p,
        # The distance is a root already, its parts are powers.
        "gospa": float(metric.value["distance"]),
        "gospa_powers": {name: float(metric.value[name]) for name in ("localisation", "missed", "false")},
        "ospa_p1": float(ospa.value),
    }


def segments(rng: np.random.Generator, first: int, last: int) -> list[tuple[int, int]]:
    """Associations of one object, each with a track of its own: some one after another, some at once."""
    found: list[tuple[int, int]] = []
    at = first + int(rng.integers(0, 4))
    while at + 1 <= last:
        end = min(last, at + int(rng.integers(1, 9)))
        found.append((at, end))
        at = end + 1 + int(rng.integers(0, 3))
    for _ in range(int(rng.integers(0, 4))):
        begin, end = sorted(rng.integers(first, last + 1, 2).tolist())
        if end > begin and all(abs(end - other) > 1 for _, other in found):
            found.append((begin, end))
    return found if rng.random() > 0.2 else []


def siap_case(rng: np.random.Generator) -> dict[str, Any]:
    times_s = np.cumsum(rng.integers(1, 20, 40)).astype(float)
    moments = [START + timedelta(seconds=t) for t in times_s]
    truth_rows, track_rows, paths, tracks, associations = [], [], [], [], set()
    for item in range(int(rng.integers(1, 9))):
        first, last = sorted(rng.integers(0, 40, 2).tolist())
        if last - first < 3:
            continue
        where = rng.normal(scale=100.0, size=(40, 4))
        path = GroundTruthPath([State(where[k].reshape(-1, 1), timestamp=moments[k]) for k in range(first, last + 1)])
        paths.append(path)
        truth_rows += [(k, item) for k in range(first, last + 1)]
        for begin, end in segments(rng, first, last):
            # A track may live on with no object before and after.
            alive = range(max(0, begin - int(rng.integers(0, 3))), min(40, end + 1 + int(rng.integers(0, 3))))
            seen = where + rng.normal(scale=5.0, size=(40, 4))
            track = Track([State(seen[k].reshape(-1, 1), timestamp=moments[k]) for k in alive])
            associations.add(TimeRangeAssociation(OrderedSet((path, track)), TimeRange(moments[begin], moments[end])))
            for k in alive:
                held = begin <= k <= end
                errors = [float(np.linalg.norm((seen - where)[k, part])) for part in (slice(0, 2), slice(2, 4))]
                track_rows.append((k, len(tracks), item if held else -1, *(errors if held else (None, None))))
            tracks.append(track)
    if not tracks:
        return siap_case(rng)
    generator = SIAPMetrics(position_measure=Euclidean([0, 1]), velocity_measure=Euclidean([2, 3]))
    manager = MultiManager([generator])
    manager.add_data({"tracks": tracks, "groundtruth_paths": paths})
    manager.association_set = AssociationSet(associations)
    metrics = manager.generate_metrics()["siap_generator"]
    return {
        "times_s": times_s.tolist(),
        "truth": truth_rows,
        "tracks": track_rows,
        "siap": {name: float(metrics[title].value) for name, title in SIAP_TITLES.items()},
    }


def labels_case(rng: np.random.Generator) -> dict[str, Any]:
    size = int(rng.integers(2, 200))
    a = rng.integers(0, rng.integers(1, 12), size)
    b = np.where(rng.random(size) < rng.random(), a, rng.integers(0, 12, size))
    return {"a": a.tolist(), "b": b.tolist(), "adjusted_rand": float(adjusted_rand_score(a, b))}


def tracked(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Tracks of objects (n, T, d): noisy, with gaps, some of them broken, some changed over, some false."""
    y = x + rng.normal(scale=1.0, size=x.shape)
    half = x.shape[1] // 2
    if len(y) > 1:
        y[:2, half:] = y[1::-1, half:].copy()
    again = y[-1:].copy()
    y[-1, half:] = np.nan
    again[:, : half + 1] = np.nan
    y = np.concatenate([y, again, rng.uniform(0, 20, (int(rng.integers(0, 2)), *x.shape[1:]))])
    y[rng.random(y.shape[:2]) < 0.1] = np.nan
    return y


def t_gospa_case(rng: np.random.Generator, published: Any) -> dict[str, Any]:
    times = int(rng.integers(3, 12))
    # Its distances are p-norms: with p = 1 they are Euclidean in one dimension only.
    p = int(rng.integers(1, 3))
    shape = (int(rng.integers(1, 5)), 1, p)
    x = rng.uniform(0, 20, shape) + rng.normal(size=shape) * np.arange(times)[:, None]
    x[rng.random(x.shape[:2]) < 0.05] = np.nan
    y = tracked(x, rng)
    c, gamma = float(rng.uniform(2, 10)), float(rng.uniform(0.2, 8))
    sets = []
    for z in (x, y):
        trajectories = published.Trajectory()
        trajectories.xState = z.transpose(2, 1, 0)
        trajectories.tVec, trajectories.iVec = np.ones(len(z), int), np.full(len(z), times)
        sets.append(trajectories)
    costs = published.locCostComp_V2(*sets, c, p)
    n, m = len(x), len(y)
    total, *parts = published.LP_metric_Cluster(*sets, costs, n, m, n * m, (n + 1) * (m + 1), times, c, p, gamma)
    names = ("localisation", "missed", "false", "switch")
    return {
        "truth": listed(x),
        "estimate": listed(y),
        "c": c,
        "p": p,
        "gamma": gamma,
        "total_power": float(total),
        "powers": {name: float(np.sum(part)) for name, part in zip(names, parts, strict=True)},
    }


def listed(trajectories: np.ndarray) -> list[Any]:
    """Nested lists, with null for a point that is not there."""
    return [[None if np.isnan(point).any() else point.tolist() for point in row] for row in trajectories]


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    published = importlib.import_module("TGOSPAMetric")
    rng = np.random.default_rng(20260101)
    golden = {
        "made_with": {
            "stonesoup": stonesoup.__version__,
            "scikit-learn": sklearn.__version__,
            "T-GOSPA-metric-python": "62b9f072bcd8e9cb06ece5ca7cff0bc8c78a32b6",
        },
        "points": [points_case(rng) for _ in range(60)],
        "siap": [siap_case(rng) for _ in range(8)],
        "labels": [labels_case(rng) for _ in range(30)],
        "t_gospa": [t_gospa_case(rng, published) for _ in range(40)],
    }
    path = Path(__file__).with_name("metrics.json")
    path.write_text(json.dumps(golden, separators=(",", ":")).replace("},{", "},\n{") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
