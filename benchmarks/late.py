"""Late looks: what fusing them at their own place in time costs, beside the same looks in order and held back."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from apss_fusion.model import Look
from apss_fusion.tracking.engine import Engine, LateWork
from benchmarks import late_scenes
from benchmarks.engine import chunks
from benchmarks.late_scenes import Feed, Kind
from benchmarks.measuring import SHORT_S, Sizes, cpu_of, table
from benchmarks.scenes import SOURCES, reports, sea, sea_config

#: The window counts as full after this many lags.
_FULL = 1.05
#: Runs of each kind, where they are short.
_ROUNDS = 3
_NONE = "-"


class Split(Struct):
    """CPU seconds and looks by kind, once the window is full."""

    cpu_s: dict[Kind, float]
    looks: dict[Kind, int]

    def each_s(self, kind: Kind) -> float | None:
        """CPU seconds a look, None where there was none."""
        return self.cpu_s[kind] / self.looks[kind] if self.looks.get(kind) else None


class Stops(Struct):
    """Late looks that were handed over one by one: what each did, and how long each took, once the window is full."""

    work: dict[Kind, list[LateWork]]
    cpu_s: dict[Kind, list[float]]
    pending: int
    counters: dict[str, int]
    tracks: int


def tables(sizes: Sizes, feeds: Sequence[Path] = ()) -> None:
    """Print the table: of scenes that are made here, and of recorded files."""
    warm_up()
    columns = [(feed.name, _measured(feed)) for feed in _feeds(sizes, feeds)]
    names = list(dict.fromkeys(name for _, cells in columns for name in cells))
    table(
        "Late looks",
        ("measured", *(name for name, _ in columns)),
        ([name, *(cells.get(name, _NONE) for _, cells in columns)] for name in names),
        [
            "Median / 90 % / most of the late looks that come once the window is full; of a recorded file, of all late ones.",
            "As they arrive: fused at once, at their own place in time. In order: the same looks, each arriving at its own "
            "time. Held back: fused when nothing earlier may come. Without a window: in order, with a lag of 0. All ways "
            "end with the same tracks, byte for byte.",
        ],
    )


def warm_up() -> None:
    """Compile or load all kernels, also those that run when the window has moved on by thousands of looks."""
    _measured(late_scenes.ocean(60, 1.2 * late_scenes.OCEAN_LAG_S))
    _measured(late_scenes.port(20, 10.0 * late_scenes.PORT_LAG_S))


def _feeds(sizes: Sizes, files: Sequence[Path]) -> Iterator[Feed]:
    yield late_scenes.ocean(*sizes.late_ocean)
    yield late_scenes.port(*sizes.late_port)
    for path in files:
        yield late_scenes.recorded(path)
    objects, total = sizes.part_reports
    yield late_scenes.already_in_order(
        f"in order: reports, {objects:,} objects", list(reports(objects, total)), SOURCES, {}
    )
    n, count = sizes.part_sea
    yield late_scenes.already_in_order(
        f"in order: scans, {n:,} ships", list(sea(n, count)), SOURCES, {**sea_config(n), "hold_back": False}, chunk=1
    )


def _measured(feed: Feed) -> dict[str, Any]:
    """The cells of a column by the name of their row."""
    any_late = any(kind != "in order" for kind, _ in feed.parts)
    # First, so that all that is compiled or loaded once does not count as a stop afterwards.
    cpu_s = totals(feed, any_late)
    stops = one_by_one(feed)
    cells: dict[str, Any] = {"looks": len(feed.looks)}
    if any_late:
        cells |= _work_cells(stops)
        if feed.timed:
            cells |= _cost_cells(apart(feed))
        cells |= _stop_cells(stops)
    window = stops.counters
    cells |= {
        "living tracks": stops.tracks,
        "looks in the window": window["window_looks"],
        "bytes of the window a look": _ratio(window["window_bytes"], window["window_looks"]),
        "bytes of the window a track": _ratio(window["window_bytes"], stops.tracks),
    }
    cells |= {f"CPU seconds, {name}": value for name, value in cpu_s.items()}
    if any_late:
        cells["as they arrive / in order"] = _ratio(cpu_s["as they arrive"], cpu_s["in order"])
        cells["as they arrive / held back"] = _ratio(cpu_s["as they arrive"], cpu_s["held back"])
    cells["in order / in order without a window"] = _ratio(cpu_s["in order"], cpu_s["in order without a window"])
    return cells


def _work_cells(stops: Stops) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for kind in ("late report", "late scene"):
        work = stops.work.get(kind, [])
        cells[f"{kind}s once the window is full"] = len(work) or _NONE
    for kind, work in sorted(stops.work.items()):
        if not work:
            continue
        cells |= {
            f"clusters weighed again for a {kind}": _spread([w.clusters_again for w in work]),
            f"looks visited for a {kind}": _spread([w.places for w in work]),
            f"tracks rewritten for a {kind}": _spread([w.tracks for w in work]),
            f"updates published for a {kind}, mean": statistics.fmean(w.updates for w in work),
        }
    return cells


def _cost_cells(split: Split) -> dict[str, Any]:
    in_order_s, report_s = split.each_s("in order"), split.each_s("late report")
    cells: dict[str, Any] = {}
    if in_order_s:
        cells["CPU us a report in order"] = 1e6 * in_order_s
    if report_s:
        cells["late reports a CPU second"] = 1.0 / report_s
    for kind in ("late report", "late scene"):
        each_s = split.each_s(kind)
        if in_order_s and each_s:
            cells[f"a {kind}, in reports in order"] = each_s / in_order_s
    return cells


def _stop_cells(stops: Stops) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for kind, cpu_s in sorted(stops.cpu_s.items()):
        cells[f"stop for a {kind} that comes alone, ms"] = _spread([1e3 * s for s in cpu_s])
    cells["places in time still to be visited, at most"] = stops.pending
    return cells


def apart(feed: Feed) -> Split:
    """CPU time of looks in order and of late ones, each part handed over as a whole."""
    engine = feed.engine()
    split = Split({}, {})
    for full, kind, looks in _from_full_window(feed):
        took_s = _took(engine, looks)
        if full:
            split.cpu_s[kind] = split.cpu_s.get(kind, 0.0) + took_s
            split.looks[kind] = split.looks.get(kind, 0) + len(looks)
    _check_nothing_late(engine)
    return split


def one_by_one(feed: Feed) -> Stops:
    """Each late look handed over alone: how long the engine stops for it, and what it does."""
    engine = feed.engine()
    # The looks themselves, made beforehand, are no matter of the engine's: the collector passes them over.
    gc.collect()
    gc.freeze()
    stops = Stops({}, {}, 0, {}, 0)
    for full, kind, looks in _from_full_window(feed):
        engine.keep_work = kind != "in order"
        for part in [looks] if kind == "in order" else [[look] for look in looks]:
            took_s = _took(engine, part)
            work = engine.work()
            stops.pending = max(stops.pending, engine.pending)
            if full and kind != "in order":
                stops.cpu_s.setdefault(kind, []).append(took_s)
                stops.work.setdefault(kind, []).extend(work)
    _check_nothing_late(engine)
    stops.counters = engine.counters()
    stops.tracks = sum(engine.counts().values())
    gc.unfreeze()
    return stops


def totals(feed: Feed, any_late: bool) -> dict[str, float]:
    """CPU seconds of all looks in each way; the ways in turns, and the median of each where all are short.

    Raises
    ------
    AssertionError
        The ways do not end with the same tracks.
    """
    in_order = feed.in_order()
    ways: dict[str, tuple[list[Look], dict[str, Any]]] = {}
    if any_late:
        ways["as they arrive"] = feed.looks, {}
    ways["in order"] = in_order, {}
    if any_late:
        ways["held back"] = feed.looks, {"hold_back": True}
    ways["in order without a window"] = in_order, {"hold_back": True, "lag_s": 0.0}
    rounds: list[list[float]] = []
    while len(rounds) < _ROUNDS and (not rounds or sum(rounds[0]) < len(ways) * SHORT_S):
        engines = [feed.engine(**settings) for _, settings in ways.values()]
        rounds.append([_whole(e, looks, feed.chunk) for e, (looks, _) in zip(engines, ways.values(), strict=True)])
    states = [engine.state() for engine in engines]
    for name, state in zip(ways, states, strict=True):
        if state != states[0]:
            raise AssertionError(f"{feed.name}: {name} ends with other tracks than {next(iter(ways))}")
    return {name: statistics.median(column) for name, column in zip(ways, zip(*rounds, strict=True), strict=True)}


def _whole(engine: Engine, looks: Sequence[Look], chunk: int) -> float:
    batches = [engine.encode(part) for part in chunks(looks, chunk)]

    def fuse() -> None:
        for batch in batches:
            engine.process_many(batch)
        engine.flush()

    cpu_s, _ = cpu_of(fuse)
    _check_nothing_late(engine)
    return cpu_s


def _took(engine: Engine, looks: Sequence[Look]) -> float:
    batch = engine.encode(looks)
    cpu_s, _ = cpu_of(lambda: engine.process_many(batch))
    return cpu_s


def _from_full_window(feed: Feed) -> Iterator[tuple[bool, Kind, list[Look]]]:
    """The parts, and whether the window is full when they come; of a recorded file it always counts as full."""
    full_at = min(look.time for look in feed.looks) + timedelta(seconds=_FULL * feed.lag_s)
    for kind, looks in feed.kinds():
        yield not feed.timed or (looks[0].time_received or looks[0].time) > full_at, kind, looks


def _check_nothing_late(engine: Engine) -> None:
    # A recorded file may hold bad detections.
    rejected = [r for r in engine.rejected() if r.kind != "bad"]
    if rejected:
        raise AssertionError(f"{len(rejected)} looks were not fused, the first: {rejected[0]}")


def _spread(values: Sequence[float]) -> str:
    return " / ".join(f"{x:,.3g}" for x in (*np.percentile(values, (50, 90)), max(values)))


def _ratio(a: float, b: float) -> float | str:
    return a / b if b else _NONE
