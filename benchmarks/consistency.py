"""Is the engine as good as it says? ``python -m benchmarks.consistency [--feed PATH...]``.

Without a feed: normalised estimation errors squared (NEES) of the whole engine on objects whose truth is known and moves
by the engine's own model. With feeds: normalised innovations squared (NIS) of each source, by the length of the gap.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.stats import chi2

from apss_fusion.geodesy.positions import offsets
from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.model import TrackUpdate
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from benchmarks.consistency_scenes import SETTINGS, SOURCES, Scene, reports, scans
from benchmarks.measuring import machine, table

FloatArray = NDArray[np.float64]


class Errors(NamedTuple):
    """Error (n, 4) of (e, n, ve, vn), truth minus estimate, and its stated covariance (n, 4, 4)."""

    error: FloatArray
    covariance: FloatArray

    def nees(self, dims: int) -> FloatArray:
        """Normalised estimation error squared of the position (2) or the whole state (4), (n,)."""
        e, p = self.error[:, :dims], self.covariance[:, :dims, :dims]
        out: FloatArray = (e[:, None, :] @ np.linalg.solve(p, e[:, :, None]))[:, 0, 0]
        return out


def interval(n: int, dims: int, probability: float = 0.95) -> tuple[float, float]:
    """Where the mean of n independent NEES of so many dimensions lies for a consistent filter, divided by the dimensions.

    chi2inv([(1 - p) / 2, (1 + p) / 2], n dims) / (n dims) (Bar-Shalom, Li and Kirubarajan 2001, 5.4).
    """
    tail = 0.5 * (1.0 - probability)
    low, high = chi2.ppf([tail, 1.0 - tail], n * dims) / (n * dims)
    return float(low), float(high)


def errors(updates: Sequence[TrackUpdate], scene: Scene) -> Errors:
    """Of each object the error of the last update that used a detection of it: one time an object, so all independent."""
    last: dict[str, tuple[TrackUpdate, str]] = {}
    for u in updates:
        own = max(u.evidence, key=lambda e: e.weight, default=None)
        if own is not None and own.weight > 0.5 and own.detection_id in scene.truth:
            last[own.detection_id.partition("/")[0]] = u, own.detection_id
    told = [u for u, _ in last.values()]
    truth = np.concatenate([scene.truth[name] for _, name in last.values()])
    here = nvectors([u.lat for u in told], [u.lon for u in told])
    off = offsets(here, np.stack([truth["x"], truth["y"], truth["z"]], 1))
    velocity = np.array([u.v_enu_mps[:2] for u in told], np.float64)
    p = np.zeros((len(told), 4, 4))
    i, j = np.triu_indices(4)
    p[:, i, j] = p[:, j, i] = [u.cov_enu for u in told]
    return Errors(np.column_stack([off, truth["a"] - velocity[:, 0], truth["b"] - velocity[:, 1]]), p)


class Runs(Struct, frozen=True):
    """How much is simulated: so many independent runs of so many objects each."""

    runs: int = 8
    objects: int = 49


def run(scene: Scene, config: Config) -> Sequence[TrackUpdate]:
    """What the engine publishes."""
    engine = Engine(config, SOURCES)
    return [*engine.process_many(scene.looks), *engine.flush()]


def simulated(size: Runs, seed: int = 1) -> Iterator[list[Any]]:
    """The rows of the table."""
    config = Config.of({"lag_s": 0.0, "hold_back": True})
    for domain, setting in SETTINGS.items():
        kinds = {
            "reports of place": lambda k, s=setting: reports(k, size.objects, s, config, False),
            "reports of place, speed, course": lambda k, s=setting: reports(k, size.objects, s, config, True),
            "scans": lambda k, s=setting: scans(k, size.objects, s, config, 0.0),
            "scans with clutter": lambda k, s=setting: scans(k, size.objects, s, config, 0.3),
        }
        for kind, make in kinds.items():
            parts = []
            for k in range(size.runs):
                scene = make(1_000 * seed + k)  # type: ignore[no-untyped-call]
                parts.append(errors(run(scene, config), scene))
            both = Errors(np.concatenate([p.error for p in parts]), np.concatenate([p.covariance for p in parts]))
            yield [f"{domain}, {kind}", len(both.error), *_cells(both, 2), *_cells(both, 4)]


def _cells(e: Errors, dims: int) -> list[str]:
    nees = e.nees(dims)
    low, high = interval(len(nees), dims)
    mean = float(np.mean(nees)) / dims
    where = "" if low <= mean <= high else " (!)"
    outside = float(np.mean(nees > chi2.ppf(0.99, dims)))
    return [f"{mean:.3f}{where}", f"{low:.3f} to {high:.3f}", f"{outside:.1%}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consistency", description="NEES and NIS as markdown.")
    parser.add_argument("--feed", nargs="+", default=[], type=Path, help="recorded files: NIS by source instead of NEES")
    parser.add_argument("--runs", type=int, default=Runs().runs, help="independent runs of each scene")
    options = parser.parse_args(arguments)
    print(machine(), flush=True)
    table(
        "NEES of the whole engine on objects that move as it believes",
        ("scene", "objects", "position", "95 % interval", "over 99 %", "full state", "95 % interval", "over 99 %"),
        simulated(Runs(runs=options.runs)),
        notes=("Mean of NEES by degrees of freedom: 1 is consistent, more is too sure. (!): outside of the interval.",),
    )


if __name__ == "__main__":
    main()
