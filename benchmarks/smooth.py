"""Smoothed tracks beside filtered ones, against truth: ``python -m benchmarks.smooth [SCENARIO.toml]``.

The scenario (the one that comes with the program, where none is named) is simulated and fused twice, as looks arrive and
held back, and both archives are smoothed. Every update of a track is compared with where its object was at its time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.cli.fuse import read_sources
from apss_fusion.evaluation.records import DOMAINS, Truth, open_lines, read_truth
from apss_fusion.geodesy.positions import offsets
from apss_fusion.geodesy.wgs84 import SEMI_MAJOR_M
from apss_fusion.replay.pipeline import FuseJob, fuse
from apss_fusion.simulation import DEMO, Scenario, load, run
from apss_fusion.smoothing import smooth_file
from apss_fusion.smoothing.records import Updates, columns, decoded
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.rows import DOMAIN_NAMES
from benchmarks.measuring import cpu_of, machine, table

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
#: Between two lines of truth: an object that turns is off its chord by centimetres.
TRUTH_INTERVAL_S = 5.0
#: A track is of no object if half of its updates are further away than this, m.
_NO_OBJECT_M = {"SEA": 1_000.0, "AIR": 5_000.0, "GROUND": 300.0, "UNKNOWN": 1_000.0}
_CHI2_95 = 5.991464547107979


class Positions(NamedTuple):
    """Where objects were: n-vectors (objects, times, 3), NaN where there is none."""

    times_us: IntArray
    at: FloatArray
    domain: IntArray

    @classmethod
    def of(cls, truth: Truth) -> Positions:
        """As a grid."""
        at = np.full((len(truth.ids), len(truth.times_us), 3), np.nan)
        domain = np.zeros(len(truth.ids), np.int64)
        column = np.repeat(np.arange(len(truth.times_us)), np.diff(truth.start))
        at[truth.item, column] = truth.position
        domain[truth.item] = [DOMAIN_NAMES.index(DOMAINS[d]) for d in truth.domain]
        return cls(truth.times_us, at, domain)

    def then(self, time_us: IntArray) -> FloatArray:
        """All objects at times between two lines of truth, (objects, n, 3)."""
        k = np.clip(np.searchsorted(self.times_us, time_us, "right") - 1, 0, len(self.times_us) - 2)
        share = (time_us - self.times_us[k]) / (self.times_us[k + 1] - self.times_us[k])
        mixed = self.at[:, k] * (1.0 - share)[:, None] + self.at[:, k + 1] * share[:, None]
        out: FloatArray = mixed / np.linalg.norm(mixed, axis=2, keepdims=True)
        return out


def objects_of(u: Updates, truth: Positions) -> IntArray:
    """The object of each update (n,), -1 for none: the one that most of its track's updates are nearest to."""
    out = np.full(len(u.track), -1)
    by_track = np.argsort(u.track, kind="stable")
    for rows in np.split(by_track, np.flatnonzero(np.diff(u.track[by_track])) + 1):
        domain = int(u.domain[rows[-1]])
        own = np.flatnonzero(truth.domain == domain)
        if not len(own):
            continue
        there = truth.then(u.time_us[rows])[own]
        away_m = np.nan_to_num(np.linalg.norm(there - u.position[rows], axis=2) * SEMI_MAJOR_M, nan=np.inf)
        nearest = int(np.bincount(away_m.argmin(0), minlength=len(own)).argmax())
        if np.median(away_m[nearest]) < _NO_OBJECT_M[DOMAIN_NAMES[domain]]:
            out[rows] = np.where(np.isfinite(away_m[nearest]), own[nearest], -1)
    return out


def errors(u: Updates, of: IntArray, truth: Positions) -> tuple[FloatArray, FloatArray]:
    """Distance in m and NEES of the position (2 degrees of freedom) of each update from its object, NaN for none."""
    known = np.flatnonzero(of >= 0)
    there = np.empty((len(known), 3))
    for part in np.array_split(np.arange(len(known)), len(known) // 2_000 + 1):
        there[part] = truth.then(u.time_us[known[part]])[of[known[part]], np.arange(len(part))]
    e = offsets(np.ascontiguousarray(u.position[known]), there)
    distance, nees = np.full(len(of), np.nan), np.full(len(of), np.nan)
    distance[known] = np.hypot(*e.T)
    nees[known] = (e[:, None] @ np.linalg.solve(u.covariance[known, :2, :2], e[:, :, None]))[:, 0, 0]
    return distance, nees


def read(path: Path) -> Updates:
    """The updates of a file."""
    with open_lines(path) as lines:
        return columns(decoded(str(path), lines))


def archives(scenario: Scenario, folder: Path) -> Iterator[tuple[str, Path, Path, float]]:
    """(name, filtered, smoothed, CPU seconds of smoothing) of a scenario that is fused as it arrives and held back."""
    sources = read_sources(str(folder / "sources.toml"))
    for name, hold_back in (("as they arrive", False), ("held back", True)):
        filtered, out = folder / f"tracks-{hold_back}.ndjson", folder / f"smoothed-{hold_back}.ndjson"
        config = Config.of({"hold_back": hold_back})
        fuse(FuseJob(inputs=(str(folder / "looks.ndjson"),), out=str(filtered), config=config, sources=sources))
        cpu_s, _ = cpu_of(lambda f=filtered, o=out, c=config: smooth_file(str(f), str(o), c))  # type: ignore[misc]
        yield name, filtered, out, cpu_s


def rows(scenario: Scenario, folder: Path) -> Iterator[list[Any]]:
    """The rows of the table."""
    run(scenario, folder)
    truth = Positions.of(read_truth(folder / "truth.ndjson"))
    for name, filtered, out, cpu_s in archives(scenario, folder):
        before, after = read(filtered), read(out)
        of = objects_of(before, truth)
        both = [errors(before, of, truth), errors(after, of, truth)]
        for domain in ("SEA", "AIR", "GROUND"):
            mine = (before.domain == DOMAIN_NAMES.index(domain)) & np.isfinite(both[0][0]) & np.isfinite(both[1][0])
            groups = {"detected": mine & before.detected, "predicted": mine & ~before.detected}
            for kind, which in groups.items():
                if which.any():
                    yield [f"{domain}, {name}, {kind}", int(which.sum()), *_figures(both, which)]
        yield [f"CPU us an update, {name}", len(before.seq), cpu_s / len(before.seq) * 1e6, *["-"] * 4]


def _figures(both: list[tuple[FloatArray, FloatArray]], which: NDArray[np.bool_]) -> list[str]:
    def pair(of: Any) -> str:
        return " / ".join(of(distance[which], nees[which]) for distance, nees in both)

    return [
        pair(lambda d, n: f"{np.median(d):,.1f}"),
        pair(lambda d, n: f"{np.sqrt(np.mean(d * d)):,.1f}"),
        pair(lambda d, n: f"{np.percentile(d, 95):,.1f}"),
        pair(lambda d, n: f"{np.mean(n) / 2.0:.2f}"),
        pair(lambda d, n: f"{np.mean(n <= _CHI2_95):.1%}"),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.smooth", description="Smoothed beside filtered.")
    parser.add_argument("scenario", nargs="?", type=Path, default=DEMO, metavar="SCENARIO.toml")
    scenario = msgspec.structs.replace(load(parser.parse_args(arguments).scenario), truth_interval_s=TRUTH_INTERVAL_S)
    print(machine(), flush=True)
    with TemporaryDirectory() as folder:
        table(
            "Position error of updates against truth, filtered / smoothed",
            ("updates", "number", "median, m", "RMS, m", "95 %, m", "NEES / 2", "inside 95 % ellipse"),
            rows(scenario, Path(folder)),
        )


if __name__ == "__main__":
    main()
