"""Is the engine as good as it says? ``python -m benchmarks.consistency [--feed PATH...]``.

Without a feed: normalised estimation errors squared (NEES) of the whole engine on objects whose truth is known and moves
by the engine's own model. With feeds: normalised innovations squared (NIS) of each source, by the length of the gap.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.stats import chi2

from apss_fusion.estimation.motion import predict
from apss_fusion.geodesy.positions import offsets
from apss_fusion.smoothing.records import COV_FIELDS, UPPER
from apss_fusion.tracking import bank as banks
from apss_fusion.tracking.config import Config, DomainConfig
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.updates import UpdateBatch
from benchmarks.consistency_scenes import SETTINGS, SOURCES, START_S, Scene, object_of, reports, scans
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


def errors(scene: Scene, config: Config) -> Errors:
    """Of each object the error of its track at one time, so that all are independent: how the engine has it then.

    An object's track is the one that used most detections of it.
    """
    engine = Engine(config, SOURCES)
    published = UpdateBatch.concat([engine.process_many(scene.looks), engine.flush()])
    used: dict[str, list[int]] = {}
    last: dict[str, NDArray[np.void]] = {}
    for k, u in enumerate(published):
        seen = [object_of(e.detection_id) for e in u.evidence if e.weight > 0.5]
        used.setdefault(u.track_id, []).extend(seen)
        if seen:
            last[u.track_id] = published.rows["state"][k : k + 1]
    found: dict[int, tuple[int, NDArray[np.void]]] = {}
    for track_id, row in (last | states(engine)).items():
        own, count = Counter(used.get(track_id, [-1])).most_common(1)[0]
        if own >= 0 and count > found.get(own, (0, row))[0]:
            found[own] = count, row
    at = sorted(found)
    truth = np.concatenate([scene.truth[n] for n in at])
    told = predicted(np.concatenate([found[n][1] for n in at]), truth["t"] + START_S, config.domain[scene.domain])
    off = offsets(*(np.stack([r["x"], r["y"], r["z"]], 1) for r in (told, truth)))
    p = np.zeros((len(told), 4, 4))
    for name, i, j in zip(COV_FIELDS, *UPPER, strict=True):
        p[:, i, j] = p[:, j, i] = told[name]
    return Errors(np.column_stack([off, truth["a"] - told["a"], truth["b"] - told["b"]]), p)


def states(engine: Engine) -> dict[str, NDArray[np.void]]:
    """The row (1,) of dtype STATE of every living track of an engine that holds back, as its last look left it."""
    own = engine._filter
    slots = banks.alive(own.bank)
    ids = [str(UUID(bytes=own.track_id[i].tobytes())) for i in slots]
    return {name: own.bank.state[i : i + 1].copy() for name, i in zip(ids, slots.tolist(), strict=True)}


def predicted(rows: NDArray[np.void], t: FloatArray, d: DomainConfig) -> NDArray[np.void]:
    """Rows of dtype STATE at times t (n,), in one step each, as the engine predicts them."""
    out = rows.copy()
    for i in np.flatnonzero(rows["t"] < t):
        predict(rows[i], t[i], d.q, 1.0 / d.return_s if d.return_s else 0.0, d.great_circle, out[i])
    return out


class Runs(Struct, frozen=True):
    """How much is simulated: so many independent runs of so many objects each."""

    runs: int = 8
    objects: int = 49


def simulated(size: Runs, seed: int = 1) -> Iterator[list[Any]]:
    """The rows of the table."""
    config = Config.of({"lag_s": 0.0, "hold_back": True})
    for domain, setting in SETTINGS.items():
        kinds: dict[str, Callable[[int], Scene]] = {
            "reports of place": partial(reports, count=size.objects, setting=setting, config=config, tells=False),
            "reports of place, speed, course": partial(
                reports, count=size.objects, setting=setting, config=config, tells=True
            ),
            "scans": partial(scans, count=size.objects, setting=setting, config=config, clutter_each=0.0),
            "scans with clutter": partial(scans, count=size.objects, setting=setting, config=config, clutter_each=0.3),
        }
        for number, (kind, make) in enumerate(kinds.items()):
            parts = [errors(make(_seed(seed, domain, number, k)), config) for k in range(size.runs)]
            both = Errors(np.concatenate([p.error for p in parts]), np.concatenate([p.covariance for p in parts]))
            yield [f"{domain}, {kind}", len(both.error), *_cells(both, 2), *_cells(both, 4)]


def _seed(seed: int, domain: str, kind: int, run: int) -> int:
    """Another one for every scene: rows that shared their noise would confirm each other."""
    return int(np.random.SeedSequence((seed, list(SETTINGS).index(domain), kind, run)).generate_state(1)[0])


def _cells(e: Errors, dims: int) -> list[str]:
    nees = e.nees(dims)
    low, high = interval(len(nees), dims)
    mean = float(np.mean(nees)) / dims
    where = "" if low <= mean <= high else " (!)"
    middle = float(np.median(nees)) / float(chi2.median(dims))
    outside = float(np.mean(nees > chi2.ppf(0.99, dims)))
    return [f"{mean:.3f}{where}", f"{low:.3f} to {high:.3f}", f"{middle:.2f}", f"{outside:.1%}"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.consistency", description="NEES and NIS as markdown.")
    parser.add_argument(
        "--feed", nargs="+", default=[], type=Path, help="recorded files: NIS by source instead of NEES"
    )
    parser.add_argument("--runs", type=int, default=Runs().runs, help="independent runs of each scene")
    options = parser.parse_args(arguments)
    print(machine(), flush=True)
    columns = ("95 % interval", "median", "over 99 %")
    table(
        "NEES of the whole engine on objects that move as it believes",
        ("scene", "objects", *("position", *columns), *("full state", *columns)),
        simulated(Runs(runs=options.runs)),
        notes=(
            "Mean of NEES by degrees of freedom: 1 is consistent, more is too sure. (!): outside of the interval. Median: by that of "
            "chi-square. With scans a state is the moments of several hypotheses (which detection, or a new object?): mostly "
            "a little too modest, and far off when the wrong one was taken, so the median says more there than the mean.",
        ),
    )


if __name__ == "__main__":
    main()
