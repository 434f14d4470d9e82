"""Where compiled kernels are kept: found by the next process, made anew after a change, done without if need be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import apss_fusion.kernels

RUN = """
import json
from apss_fusion.room.double import doubled
print(json.dumps({"value": doubled(2.0), "hits": sum(doubled.stats.cache_hits.values())}))
"""

MODULES = {
    "__init__.py": "",
    "room/__init__.py": "",
    "room/double.py": """
from apss_fusion.kernels import kernel
from apss_fusion.room import factor
from apss_fusion.room.times import (
    times,
)

@kernel
def doubled(x):
    return times(x, factor.FACTOR)
""",
    "room/times.py": """
from apss_fusion.kernels import inline_kernel

@inline_kernel
def times(x, y):
    return x * y
""",
    "room/factor.py": "from apss_fusion.constant import FACTOR\n",
    "constant.py": "FACTOR = 2.0\n",
    "unrelated.py": "",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package of the same name with the real decorators and one small kernel."""
    folder = tmp_path / "checkout" / "apss_fusion"
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(apss_fusion.kernels.__file__, folder)
    return folder


def run(package: Path, home: Path) -> dict[str, Any]:
    """What a new process computes, which has that home folder."""
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    environment |= {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_CACHE_DIR": ""}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", RUN], cwd=package.parent, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def folders(base: Path) -> dict[str, Path]:
    """The kernels' folders by the module that they belong to."""
    return {path.name.rpartition("-")[0]: path for path in base.iterdir()}


def test_kernels_are_kept_beside_the_package_until_what_they_use_changes(package: Path, tmp_path: Path) -> None:
    kept = package / "__pycache__" / "kernels"
    assert run(package, tmp_path) == {"value": 4.0, "hits": 0}
    first = folders(kept)
    assert sorted(first) == ["room.double", "room.times"]
    assert list(first["room.double"].rglob("*.nbi"))
    assert run(package, tmp_path) == {"value": 4.0, "hits": 1}

    (package / "unrelated.py").write_text("CHANGED = True\n")
    (package / "constant.py").write_text("FACTOR = 3.0\n")  # two imports away
    assert run(package, tmp_path) == {"value": 6.0, "hits": 0}
    second = folders(kept)
    assert second["room.double"] != first["room.double"]
    assert second["room.times"] == first["room.times"]
    assert not first["room.double"].exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkout"]


def test_kernels_of_a_package_that_cannot_be_written_are_kept_in_the_users_cache(package: Path, tmp_path: Path) -> None:
    (package / "__pycache__").write_text("a file, so that nothing can be made in it\n")
    assert run(package, tmp_path / "home") == {"value": 4.0, "hits": 0}
    assert sorted(folders(tmp_path / "home" / ".cache" / "apss-fusion" / "kernels")) == ["room.double", "room.times"]
    assert run(package, tmp_path / "home") == {"value": 4.0, "hits": 1}


def test_kernels_work_where_nothing_can_be_written(package: Path) -> None:
    (package / "__pycache__").write_text("a file, so that nothing can be made in it\n")
    before = sorted(package.rglob("*"))
    assert run(package, Path(os.devnull)) == {"value": 4.0, "hits": 0}
    assert sorted(package.rglob("*")) == before
