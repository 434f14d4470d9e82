"""Would the check of late looks notice a fault? Each mutant breaks one thing in a copy of the package, and must be caught.

``python tests/mutants.py [NAME...]`` runs `check_late.py` on each mutant and prints how it was caught; status 1 if one was not.
Kernels are compiled for each copy, so it takes minutes: ``make mutants``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
_SCENARIOS = 25


class Mutant(NamedTuple):
    """What is broken: a text of a file of the package and what stands there instead."""

    file: str
    text: str
    instead: str


MUTANTS = {
    "no search for new touches": Mutant(
        "tracking/window/apply.py",
        "        stop = first_touched(w, v.state, v.altitude, v.belief, win.touch_history[k], q, stop, end)\n",
        "",
    ),
    "cells are not carried on": Mutant(
        "tracking/window/log.py",
        "            wait(w.window, whole(w.window.write[x].look), whole(-1), CELLS)\n",
        "            pass\n",
    ),
    "equal within a tolerance": Mutant(
        "tracking/window/apply.py",
        "if win.touch_words[k, x] != win.old_words[0, x]:",
        "if abs(win.touch[k].state.x - win.old[0].state.x) > 1e-7:",
    ),
    "a fallen bar is not searched again": Mutant(
        "tracking/window/visit.py", "if bar >= win.heard[look.first + win.picked[j]].bar:", "if bar >= 0.0:"
    ),
}


def source_of(mutant: Mutant) -> str:
    """The file as it is."""
    return (ROOT / "apss_fusion" / mutant.file).read_text(encoding="utf-8")


def caught(mutant: Mutant) -> tuple[bool, str]:
    """Whether the check fails on a mutant, and the first thing it says."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("apss_fusion", "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        path = folder / "apss_fusion" / mutant.file
        path.write_text(source_of(mutant).replace(mutant.text, mutant.instead), encoding="utf-8")
        run = subprocess.run(  # noqa: S603
            [sys.executable, "check_late.py", str(_SCENARIOS), "0"],
            cwd=folder / "tests",
            env={**os.environ, "PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
    said = (run.stdout or run.stderr).strip().splitlines()
    return run.returncode == 1 and "differing" in run.stdout, said[0] if said else "nothing"


def main(names: Sequence[str]) -> int:
    """Run the mutants that are named, or all; the exit status."""
    missed = 0
    for name in names or MUTANTS:
        ok, said = caught(MUTANTS[name])
        missed += not ok
        print(f"{'caught' if ok else 'MISSED'}: {name}: {said[:160]}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
