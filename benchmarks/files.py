"""File to file: looks are read, fused and written as by ``apss-fusion fuse``, beside the floor of reading and writing.

The floor of a file is reading it to arrays and writing the same updates, with no engine between: what is left of the
whole run is the engine, and the pipeline that accounts for every record.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apss_fusion.model import Look
from apss_fusion.outputs import open_track_writer
from apss_fusion.replay.blocks import LookBlock
from apss_fusion.replay.looks_columns import read_look_blocks
from apss_fusion.replay.pipeline import FuseJob, Outcome, fuse
from apss_fusion.replay.pipeline_inputs import BLOCK_BYTES
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.updates import UpdateBatch
from benchmarks.measuring import Sizes, cpu_of, median, table
from benchmarks.scenes import SOURCES, reports, sea, sea_config, write_looks

COLUMNS = (
    "file to file",
    "detections a CPU second",
    "CPU us a detection",
    "read",
    "engine",
    "write",
    "the rest",
    "times the floor",
    "updates a detection",
    "bytes in / out a detection",
)


def tables(sizes: Sizes) -> None:
    """Print the table."""
    note = (
        "An update is written for each detection of a known object. CPU microseconds a detection; floor: read + write."
    )
    with tempfile.TemporaryDirectory() as name:
        table("File to file", COLUMNS, _rows(sizes, Path(name)), [note])


def _rows(sizes: Sizes, folder: Path) -> Iterator[list[Any]]:
    n, count = sizes.file_sea
    objects, total = sizes.file_reports
    one_by_one = Config.of({"lag_s": 0.0, "hold_back": True})
    scenes: list[tuple[str, Config, Callable[[], Iterator[Look]]]] = [
        (f"scans of a sea, {n:,} ships", Config.of(sea_config(n)), lambda: sea(n, count)),
        (f"reports, {objects:,} objects", one_by_one, lambda: reports(objects, total)),
    ]
    for ending in (".ndjson", ".parquet"):
        looks, tracks = folder / f"looks{ending}", folder / f"tracks{ending}"
        write_looks(looks, reports(200, 10_000))
        measured(looks, tracks, one_by_one)
        for title, config, scene in scenes:
            write_looks(looks, scene())
            yield [f"{ending[1:].upper()}: {title}", *measured(looks, tracks, config)]


def measured(path: Path, out: Path, config: Config) -> list[Any]:
    """The cells of a row after its name."""
    cpu_s, outcome = median(lambda: _run(path, out, config))
    detections, size = int(outcome.summary["detections"]), path.stat().st_size
    size_out = out.stat().st_size
    _, (read_s, engine_s, write_s, updates) = median(lambda: _in_steps(path, out, config))
    if out.stat().st_size != size_out:
        raise AssertionError(f"{path}: the run and its steps wrote different files")
    a_detection = [1e6 * x / detections for x in (cpu_s, read_s, engine_s, write_s)]
    rest = a_detection[0] - sum(a_detection[1:])
    return [
        detections / cpu_s,
        *a_detection,
        rest,
        cpu_s / (read_s + write_s),
        updates / detections,
        f"{size / detections:.0f} / {size_out / detections:.0f}",
    ]


def _run(path: Path, out: Path, config: Config) -> tuple[float, Outcome]:
    job = FuseJob(inputs=(str(path),), out=str(out), config=config, sources=SOURCES, format="looks")
    cpu_s, outcome = cpu_of(lambda: fuse(job))
    if outcome.status:
        raise RuntimeError("; ".join(outcome.errors))
    return cpu_s, outcome


def _in_steps(path: Path, out: Path, config: Config) -> tuple[float, tuple[float, float, float, int]]:
    """CPU seconds: all, and (of reading, of the engine, of writing, how many updates), one step after the other."""
    engine = Engine(config, SOURCES)
    read_s, blocks = cpu_of(lambda: list(_blocks(path, engine.encoder)))
    engine_s, updates = cpu_of(lambda: [*(engine.process_many(block.batch) for block in blocks), engine.flush()])
    write_s, _ = cpu_of(lambda: _write(updates, out))
    return read_s + engine_s + write_s, (read_s, engine_s, write_s, sum(map(len, updates)))


def _blocks(path: Path, encoder: Encoder) -> Iterator[LookBlock]:
    if path.suffix == ".parquet":
        from apss_fusion.replay.looks_arrow import read_look_table

        yield from read_look_table(path, encoder)
    else:
        with path.open("rb") as stream:
            yield from read_look_blocks(stream, encoder, BLOCK_BYTES)


def _write(updates: list[UpdateBatch], out: Path) -> None:
    with open_track_writer(out) as writer:
        for batch in updates:
            writer.write(batch)
