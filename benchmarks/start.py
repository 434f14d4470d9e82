"""From the start of a process to its first result: with compiled kernels, and what compiling them takes once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

import apss_fusion
from benchmarks.measuring import Sizes, cpu_of_children, median, table
from benchmarks.scenes import START, roll_call, write_looks

_PACKAGE = Path(apss_fusion.__file__).parent


def tables(sizes: Sizes) -> None:
    """Print the table."""

    def rows() -> Iterator[list[Any]]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            two = _two_looks(folder / "two.ndjson")
            arguments = ["-m", "apss_fusion.cli", "fuse", str(two), "--out", str(folder / "tracks.ndjson")]
            _python(arguments)
            yield ["an interpreter alone", _median(["-c", "pass"])]
            yield ["apss-fusion fuse of two looks, kernels cached", _median(arguments)]
            yield ["all kernels compiled, once after an installation", compiling(folder / "site")]

    table("Start", ("a process", "CPU seconds"), rows())


def compiling(site: Path) -> float:
    """CPU seconds of compiling all kernels of a copy of the package that has none yet."""
    shutil.copytree(_PACKAGE, site / _PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return cpu_of_children(lambda: _python(["-m", "apss_fusion.warm"], site))


def _median(arguments: list[str]) -> float:
    return median(lambda: (cpu_of_children(lambda: _python(arguments)), None))[0]


def _python(arguments: list[str], site: Path = _PACKAGE.parent) -> None:
    """Run Python with the package of a folder, quietly."""
    environment = os.environ | {"PYTHONPATH": str(site)}
    if site != _PACKAGE.parent:
        environment["XDG_CACHE_HOME"] = str(site / "cache")
    done = subprocess.run([sys.executable, *arguments], cwd=site, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)}: {done.stderr}")


def _two_looks(path: Path) -> Path:
    first = next(roll_call(1))
    second = msgspec.structs.replace(first, look_id="second", time=START + timedelta(seconds=60))
    write_looks(path, [first, second])
    return path
