"""Engine only: looks are encoded beforehand, updates are made but not written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from apss_fusion.model import Look
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from benchmarks.measuring import Sizes, cpu_of, median, table
from benchmarks.scenes import SOURCES, reports, sea, sea_config

#: Settings of the filter, each a row.
SETTINGS = ("accurate", "fast")
#: Reports that are handed over at once.
CHUNK = 8192
#: Scans until the ships of a sea are known.
SETTLED = 6

#: (CPU seconds, (detections fused in them, updates made in them, tracks at the end)).
Measured = tuple[float, tuple[int, int, int]]
Change = Callable[[Look], Look]


def scans(n: int, count: int, change: Change = lambda look: look, setting: str = "accurate") -> Measured:
    """A sea of n ships, scan by scan, from the seventh scan on."""
    engine = Engine(Config.of({**sea_config(n), "filter": setting}), SOURCES)
    cpu_s, detections, updates = 0.0, 0, 0
    before = 0
    for k, look in enumerate(sea(n, count)):
        batch = engine.encode([change(look)])
        # The look fused in this call is the one before: with no lag, a later one must have arrived.
        took_s, out = cpu_of(lambda batch=batch: engine.process_many(batch))  # type: ignore[misc]
        if k >= SETTLED:
            cpu_s, detections, updates = cpu_s + took_s, detections + before, updates + len(out)
        before = len(batch.detections)
    return cpu_s, (detections, updates, sum(engine.counts().values()))


def one_by_one(objects: int, total: int, change: Change = lambda look: look, setting: str = "accurate") -> Measured:
    """Looks of one report each, from when there were as many reports as objects."""
    engine = Engine(Config.of({"lag_s": 0.0, "hold_back": True, "filter": setting}), SOURCES)
    cpu_s, done, counted, updates = 0.0, 0, 0, 0
    for chunk in chunks(map(change, reports(objects, total)), min(CHUNK, objects)):
        batch = engine.encode(chunk)
        took_s, out = cpu_of(lambda batch=batch: engine.process_many(batch))  # type: ignore[misc]
        if done >= objects:
            cpu_s, counted, updates = cpu_s + took_s, counted + len(chunk), updates + len(out)
        done += len(chunk)
    return cpu_s, (counted, updates, sum(engine.counts().values()))


def chunks(looks: Iterable[Look], size: int = CHUNK) -> Iterator[list[Look]]:
    """Looks as they are handed over."""
    source = iter(looks)
    while chunk := list(islice(source, size)):
        yield chunk


def warm_up() -> None:
    """Compile or load all kernels of the engine."""
    scans(200, 8)
    one_by_one(200, 20_000)


def tables(sizes: Sizes) -> None:
    """Print the table."""
    warm_up()

    def rows() -> Iterator[list[Any]]:
        for n, count in sizes.sea:
            for setting in SETTINGS:
                measured = median(partial(scans, n, count, setting=setting))
                yield _row(f"scans of a sea, {n:,} ships, {setting}", *measured)
        for objects, total in sizes.reports:
            for setting in SETTINGS:
                measured = median(partial(one_by_one, objects, total, setting=setting))
                yield _row(f"reports one by one, {objects:,} objects, {setting}", *measured)

    table(
        "Engine only",
        ("scene", "detections a CPU second", "CPU us a detection", "updates a detection", "detections", "tracks"),
        rows(),
    )


def _row(name: str, cpu_s: float, counts: tuple[int, int, int]) -> list[Any]:
    detections, updates, tracks = counts
    return [name, detections / cpu_s, cpu_s / detections * 1e6, updates / detections, detections, tracks]
