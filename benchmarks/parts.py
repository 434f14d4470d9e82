"""What the parts of a detection cost: scenes that differ in one thing, and the rounding of stored rows by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numba
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from apss_fusion.estimation.motion import STATE
from apss_fusion.estimation.rounding import round_state
from apss_fusion.model import Detection, Look
from apss_fusion.model.look import Ellipse
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.updates import derive
from benchmarks.engine import Measured, chunks, one_by_one, scans, warm_up
from benchmarks.measuring import Sizes, cpu_of, median, table
from benchmarks.scenes import SOURCES, roll_call

_CLASSES = {"cargo": 0.7, "tanker": 0.3}
_ELLIPSE = Ellipse(semi_major_m=150.0, semi_minor_m=90.0, orientation_deg=30.0)

Edit = Callable[[Detection], Detection]

#: What is given to each report, or taken from it.
REPORTS: dict[str, Edit] = {
    "without velocity": lambda d: replace(d, speed_mps=None, course_deg=None),
    "without identity": lambda d: replace(d, ids=None),
    "with an ellipse": lambda d: replace(d, ellipse=_ELLIPSE),
    "with altitude": lambda d: replace(d, alt_m=3000.0, alt_datum="BARO", alt_sigma_m=20.0),
    "with altitude and vertical rate": lambda d: replace(
        d, alt_m=3000.0, alt_datum="BARO", alt_sigma_m=20.0, vertical_rate_mps=0.0
    ),
    "with class, length and width": lambda d: replace(d, class_probs=_CLASSES, length_m=120.0, width_m=20.0),
}
SCANS: dict[str, Edit] = {
    "without length": lambda d: replace(d, length_m=None),
    "with an ellipse instead of a covariance": lambda d: replace(d, cov_enu_m2=None, ellipse=_ELLIPSE),
    "with altitude": lambda d: replace(d, alt_m=0.0, alt_datum="MSL", alt_sigma_m=20.0),
    "with class": lambda d: replace(d, class_probs=_CLASSES),
}


def tables(sizes: Sizes) -> None:
    """Print the tables."""
    warm_up()
    columns = ("detections of a scene", "CPU us a detection", "more", "updates a detection", "tracks")
    objects, total = sizes.part_reports
    n, count = sizes.part_sea
    table(
        f"Parts of a report, {objects:,} objects, engine only",
        columns,
        _rows(REPORTS, partial(one_by_one, objects, total)),
    )
    table(f"Parts of a scan, {n:,} ships, engine only", columns, _rows(SCANS, partial(scans, n, count)))
    table("Parts of an update", ("by itself", "CPU us a row"), _single(sizes.rows))


def _rows(edits: dict[str, Edit], measure: Callable[[Callable[[Look], Look]], Measured]) -> Iterator[list[Any]]:
    plain_us = None
    for name, edit in {"as they are": _same, **edits}.items():
        cpu_s, (detections, updates, tracks) = median(partial(measure, partial(_edited, edit)))
        us = 1e6 * cpu_s / detections
        plain_us = us if plain_us is None else plain_us
        yield [name, us, f"{us - plain_us:+.2f}", updates / detections, tracks]


def _same(detection: Detection) -> Detection:
    return detection


def _edited(edit: Edit, look: Look) -> Look:
    return replace(look, detections=tuple(map(edit, look.detections)))


def _single(n: int) -> Iterator[list[Any]]:
    states = _states(n)
    round_all: Any = numba.njit(error_model="numpy")(_round_all)
    copy_all: Any = numba.njit(error_model="numpy")(_copy_all)
    out = np.empty_like(states)
    for loop in (round_all, copy_all):
        loop(states, out)
    copied_s, _ = median(lambda: cpu_of(lambda: copy_all(states, out)))
    rounded_s, _ = median(lambda: cpu_of(lambda: round_all(states, out)))
    yield ["rounding of a stored state, less the copy of a row", 1e6 * (rounded_s - copied_s) / n]
    engine = Engine(Config.of({"lag_s": 0.0, "hold_back": True}), SOURCES)
    rows = np.concatenate([engine.process_many(chunk).rows for chunk in chunks(roll_call(max(n // 3, 1)))])
    derived_s, _ = median(lambda: cpu_of(lambda: derive(rows)))
    yield ["numbers that an update publishes: degrees, ellipse, H3 cell, decimals", 1e6 * derived_s / len(rows)]


def _states(n: int) -> NDArray[np.void]:
    """States with full covariances, between 10 m and 1 km, 0.1 and 10 m/s."""
    rng = np.random.default_rng(1)
    root = np.tril(rng.standard_normal((n, 4, 4))) + 2.0 * np.eye(4)
    root *= (10.0 ** rng.uniform(1, 3, (n, 1)) * np.array([1.0, 1.0, 0.01, 0.01]))[:, :, None]
    p = root @ root.transpose(0, 2, 1)
    states = np.zeros(n, STATE)
    axes = "enab"
    for i in range(4):
        for j in range(i, 4):
            states[axes[i] + axes[j]] = p[:, i, j]
    place = rng.standard_normal((n, 3))
    place /= np.linalg.norm(place, axis=1)[:, None]
    states["x"], states["y"], states["z"] = place.T
    states["a"], states["b"] = rng.uniform(-15, 15, (2, n))
    return states


def _round_all(states: NDArray[np.void], out: NDArray[np.void]) -> None:
    for i in range(len(states)):
        out[i] = states[i]
        round_state(out[i])


def _copy_all(states: NDArray[np.void], out: NDArray[np.void]) -> None:
    for i in range(len(states)):
        out[i] = states[i]
