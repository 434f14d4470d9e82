"""Resident memory of a process that holds many living tracks: ``python -m benchmarks.memory LOOKS`` prints one measurement."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apss_fusion.replay.looks_columns import read_look_blocks
from apss_fusion.replay.pipeline_inputs import BLOCK_BYTES
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from benchmarks.measuring import Sizes, table
from benchmarks.scenes import SOURCES, roll_call, write_looks

#: Ships of the scene with which the process gets its kernels and libraries before it is measured.
_WARM_UP = 200


def tables(sizes: Sizes) -> None:
    """Print the table."""

    def rows() -> Iterator[list[Any]]:
        with tempfile.TemporaryDirectory() as name:
            for objects in sizes.memory:
                path = Path(name) / "looks.ndjson"
                write_looks(path, roll_call(objects))
                result = measured_apart(path)
                tracks, grown = result["tracks"], result["after"] - result["before"]
                yield [tracks, grown / tracks, grown / 2**20, result["before"] / 2**20]

    table(
        "Resident memory",
        ("living tracks", "bytes a track", "MiB more than before", "MiB before the first"),
        rows(),
        ["All that the process takes more than before it fused its first look, one source and one identity a track."],
    )


def measured_apart(path: Path) -> dict[str, int]:
    """A measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(path)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, int] = json.loads(done.stdout)
    return result


def resident_bytes() -> int:
    """What this process has in memory now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _fused(path: Path) -> Engine:
    engine = Engine(Config.of({"lag_s": 0.0, "hold_back": True}), SOURCES)
    with path.open("rb") as stream:
        for block in read_look_blocks(stream, engine.encoder, BLOCK_BYTES):
            engine.process_many(block.batch)
    engine.flush()
    return engine


def main() -> None:
    """Fuse a file of looks and print what that took, as JSON."""
    with tempfile.TemporaryDirectory() as name:
        small = Path(name) / "looks.ndjson"
        write_looks(small, roll_call(_WARM_UP))
        _fused(small)
    before = resident_bytes()
    engine = _fused(Path(sys.argv[1]))
    tracks = sum(engine.counts().values())
    print(json.dumps({"tracks": tracks, "before": before, "after": resident_bytes()}))


if __name__ == "__main__":
    main()
