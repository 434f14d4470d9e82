"""Ours and Stone Soup on the same sea, in one run: ``python -m benchmarks.side_by_side [--ships N...] [--runs N]``.

One ship per (4 km)^2, 20 scans. ``--folder DIR`` takes a scenario that is already written (`params.json`, `detections.ndjson`,
`truth.ndjson`) instead. Each tracker is a process of its own with one thread. Its CPU seconds are those from detections in
memory, ours as arrays and Stone Soup's as objects, to the positions of all tracks after each scan; columns of their own have
the speed with making our arrays of look objects, and the start (imports, compiled kernels from their cache). OSPA: p = 2,
c = 500 m, mean over scans from the sixth. ``make rivals`` makes Stone Soup's environment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.evaluation import ospa
from benchmarks.measuring import cpu_of, machine, table
from benchmarks.published import REPORT, Plane, Variant, engine_of, looks, told, written
from benchmarks.published_scenarios import sea, write
from benchmarks.rivals.plots import peak_mib

#: The configuration's key for the setting of the filter, and its settings; the first is the default.
SETTING_KEY, SETTINGS = "filter", ("accurate", "fast")
#: Scans from this one on are scored.
FROM_SCAN = 6
ROOT = Path(__file__).parents[1]
RIVAL_PYTHON = ROOT / ".venv-rivals" / "bin" / "python"
#: Libraries must not start threads of their own.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
COLUMNS = (
    "tracker",
    "scenario",
    "detections a CPU second",
    "with encoding and telling",
    "CPU s",
    "start, CPU s",
    "peak MiB",
    "OSPA, m",
)
_WARM_SHIPS = 20


def rival_python() -> Path | None:
    """The interpreter that has Stone Soup, or None: `.venv-rivals`, or where APSS_FUSION_RIVALS says."""
    path = Path(os.environ.get("APSS_FUSION_RIVALS") or RIVAL_PYTHON)
    return path if path.exists() else None


def in_process(python: Path | str, module: str, arguments: Sequence[str]) -> None:
    """Run a module in a process of its own with one thread; RuntimeError with its last line where it fails."""
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(python), "-m", module, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RuntimeError(f"{module}: {last}")


def track_ours(folder: Path, setting: str) -> dict[str, Any]:
    """Track a scenario with the engine: CPU seconds, peak memory, and the positions of the tracks after every scan."""

    def tracked(params: dict[str, Any], scans: Sequence[NDArray[np.float64]]) -> tuple[float, float, list[Any]]:
        plane = Plane(params["area"])
        engine = engine_of(params, plane, Variant(setting))
        given = list(looks(params, scans, plane))
        encode_s, batch = cpu_of(lambda: engine.encode(given))
        spent: list[float] = []
        all_s, lines = cpu_of(lambda: list(told(engine, batch, params, plane, spent)))
        return sum(spent), encode_s + all_s - sum(spent), [line["xy"] for line in lines]

    # Loads the kernels.
    first = sea(_WARM_SHIPS, 0)
    tracked(first.params, first.scans)
    start_s = time.process_time()
    params, scans = written(folder)
    cpu_s, encode_s, estimates = tracked(params, scans)
    return {
        "cpu_s": cpu_s,
        "encode_s": encode_s,
        "import_s": start_s,
        "detections": sum(map(len, scans)),
        "peak_mib": peak_mib(),
        "estimates": estimates,
    }


def mean_ospa(folder: Path, estimates: list[list[list[float]]], from_scan: int = FROM_SCAN) -> float:
    """Mean OSPA in m of the estimates (one list of positions a scan) over the scans of a folder from one on."""
    params = json.loads((folder / "params.json").read_text())
    c, p = params["metric"]["gospa_c"], params["metric"]["gospa_p"]
    scans = [json.loads(text) for text in (folder / "truth.ndjson").read_text().splitlines()]
    if len(scans) != len(estimates):
        raise ValueError(f"{folder}: estimates of {len(estimates)} scans, truth of {len(scans)}")
    errors = [
        ospa(np.reshape(scan["xy"], (-1, 2)), np.reshape(found, (-1, 2)), c, p)
        for scan, found in zip(scans, estimates, strict=True)
        if scan["scan"] >= from_scan
    ]
    return float(np.mean(errors))


def measured(name: str, folder: Path, out: Path, python: Path | None) -> dict[str, Any]:
    """One tracker on one scenario: what its process wrote, and its OSPA."""
    if name.startswith("ours"):
        in_process(
            sys.executable,
            "benchmarks.side_by_side",
            ["--folder", str(folder), "--setting", name.split()[1], "--out", str(out)],
        )
    else:
        associator = name.rsplit(maxsplit=1)[1].lower()
        in_process(
            python or sys.executable,
            "benchmarks.rivals.stone_soup",
            [str(folder), str(out), "--associator", associator],
        )
    # Stone Soup is given its detections as the objects that it works on.
    result: dict[str, Any] = {"encode_s": 0.0} | json.loads(out.read_text())
    return result | {"ospa_m": mean_ospa(folder, result["estimates"])}


def compare(trackers: Sequence[str], title: str, folders: Sequence[Path], python: Path | None) -> Iterator[list[Any]]:
    """The rows of all trackers on the runs of a scenario: sums of CPU, the highest peak, the mean OSPA; then ratios."""
    totals: dict[str, tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in trackers:
            runs = [measured(name, folder, Path(scratch) / "out.json", python) for folder in folders]
            cpu_s, encode_s, detections = (sum(r[key] for r in runs) for key in ("cpu_s", "encode_s", "detections"))
            ospa_m, start_s = (sum(r[key] for r in runs) / len(runs) for key in ("ospa_m", "import_s"))
            totals[name] = detections / cpu_s, detections / (cpu_s + encode_s), ospa_m
            alone, encoded, _ = totals[name]
            yield [name, title, alone, encoded, cpu_s, start_s, max(r["peak_mib"] for r in runs), ospa_m]
    ours, theirs = ([k for k in totals if k.startswith("ours") is own] for own in (True, False))
    for mine in ours:
        for other in theirs:
            alone, encoded, ospa_share = (a / b for a, b in zip(totals[mine], totals[other], strict=True))
            speeds = (f"{alone:,.0f} times", f"{encoded:,.0f} times")
            yield [f"{mine} / {other}", title, *speeds, "", "", "", f"{ospa_share:.2f} times"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.side_by_side",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ships", type=int, action="append", help="ships of the sea: 100 where none is given")
    parser.add_argument("--runs", type=int, default=1, help="independent runs of each sea")
    parser.add_argument("--folder", type=Path, help="a scenario instead: params.json, detections.ndjson, truth.ndjson")
    parser.add_argument("--jpda", action="store_true", help="Stone Soup's JPDA with exact marginals (EHM2) too")
    parser.add_argument("--setting", choices=SETTINGS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.folder and not (options.folder / "params.json").is_file():
        parser.error(f"--folder {options.folder}: no params.json there")
    if options.runs < 1 or min(options.ships or [1]) < 1:
        parser.error("--ships and --runs: at least 1")
    if options.setting:
        options.out.write_text(json.dumps(track_ours(options.folder, options.setting)))
        return
    python = rival_python()
    trackers = [f"ours {name}" for name in SETTINGS]
    notes = [
        "OSPA from the sixth scan, p = 2, c = 500 m. Ratios: speed of fusing alone, and with encoding looks and telling tracks; "
        "OSPA (below 1: ours is nearer).",
        "Ours: the scenario's own noise, detection probability, clutter and births; tracks are told from an existence of "
        f"{REPORT} on, as in the published tables.",
    ]
    if python is None:
        notes.append("Stone Soup is left out: `make rivals` makes its environment, `.venv-rivals`.")
    else:
        trackers += ["Stone Soup GNN", *(["Stone Soup JPDA"] if options.jpda else [])]
        notes.append(
            "Stone Soup 1.9.1: k-d tree gating, the scenario's own noise, detection probability and clutter. Tuned by OSPA: "
            "gate 99.9 %, told from 3 detections on, deleted after 4 scans without one (3 before it is told)."
        )
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        if options.folder:
            title = json.loads((options.folder / "params.json").read_text()).get("name", options.folder.name)
            table("Side by side", COLUMNS, compare(trackers, title, [options.folder], python), notes)
            return
        for ships in options.ships or [100]:
            folders = [Path(name) / f"{ships}-{run}" for run in range(options.runs)]
            for run, folder in enumerate(folders):
                write(sea(ships, run), folder)
            rows = compare(trackers, f"sea of {ships:,} ships", folders, python)
            table(f"Side by side, {ships:,} ships", COLUMNS, rows, notes)


if __name__ == "__main__":
    main()
