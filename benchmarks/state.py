"""Saving and loading all tracks: the records of the engine, and the file that a run leaves."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from apss_fusion.replay import state_file
from apss_fusion.replay.state_file import SavedRun
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from benchmarks.engine import chunks
from benchmarks.measuring import Sizes, cpu_of, table
from benchmarks.scenes import SOURCES, roll_call

#: Reports of each ship before the state is saved, and ships of the scene that loads the kernels.
_ROUNDS, _WARM_UP = 3, 200
_T = TypeVar("_T")


def tables(sizes: Sizes) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        for _ in _rows(_WARM_UP, Path(name) / "state"):
            pass
        table(
            f"State of {sizes.saved:,} tracks",
            ("step", "CPU seconds", "seconds", "bytes a track"),
            _rows(sizes.saved, Path(name) / "state"),
        )


def _rows(objects: int, path: Path) -> Iterator[list[Any]]:
    config = Config.of({"lag_s": 0.0, "hold_back": True})
    engine = Engine(config, SOURCES)
    for chunk in chunks(roll_call(objects, _ROUNDS)):
        engine.process_many(chunk)
    engine.flush()
    tracks = sum(engine.counts().values())

    changes, cells = _timed("save: records of the engine", engine.changes)
    size = sum(len(key) + len(value or b"") for key, value in changes)
    yield [*cells, size / tracks]
    run = SavedRun(state_file.merged_records([], changes), [], [], "")
    _, cells = _timed("save: the file of them, synced to disk", lambda: state_file.save(str(path), run))
    yield [*cells, path.stat().st_size / tracks]
    loaded, cells = _timed("load: the file", lambda: state_file.load(str(path)))
    yield [*cells, path.stat().st_size / tracks]
    again = Engine(config, SOURCES)
    _, cells = _timed("load: records to an engine", lambda: again.load(loaded.records))
    yield [*cells, size / tracks]
    if again.counts() != engine.counts():
        raise AssertionError(f"{engine.counts()} were saved and {again.counts()} loaded")
    later = islice(roll_call(objects, _ROUNDS + 1), objects * _ROUNDS, objects * _ROUNDS + max(1, objects // 100))
    for chunk in chunks(later):
        engine.process_many(chunk)
    engine.flush()
    some, cells = _timed("save again: records of the 1 % that reported since", engine.changes)
    yield [*cells, sum(len(key) + len(value or b"") for key, value in some) / tracks]


def _timed(name: str, action: Callable[[], _T]) -> tuple[_T, list[Any]]:
    start = time.perf_counter()
    cpu_s, result = cpu_of(action)
    return result, [name, cpu_s, time.perf_counter() - start]
