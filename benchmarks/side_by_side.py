"""Ours and Stone Soup on the same sea, in one run: ``python -m benchmarks.side_by_side [--ships N...] [--runs N]``.

One ship per (4 km)^2, 20 scans. ``--folder DIR`` takes a scenario that is already written (`params.json`, `detections.ndjson`,
`truth.ndjson`) instead. Each tracker is a process of its own with one thread. Its CPU seconds are those from detections in
memory to the positions of all tracks after each scan; what it takes to start (imports, compiled kernels from their cache) is
a column of its own. OSPA: p = 2, c = 500 m, mean over scans from the sixth. ``make rivals`` makes Stone Soup's environment.
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

from benchmarks.measuring import machine, table
from benchmarks.plane_scenario import mean_ospa, write_sea
from benchmarks.rivals.plots import peak_mib

#: The configuration's key for the setting of the filter, and its settings.
SETTING_KEY, SETTINGS = "setting", ("fast", "accurate")
#: Ours is told from this existence on: the best by OSPA of 0.3, 0.5, 0.7, 0.9 and 0.97, as the rivals were tuned.
TOLD_FROM = 0.7
ROOT = Path(__file__).parents[1]
RIVAL_PYTHON = ROOT / ".venv-rivals" / "bin" / "python"
#: Libraries must not start threads of their own.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
COLUMNS = ("tracker", "scenario", "detections a CPU second", "CPU s", "start, CPU s", "peak MiB", "OSPA, m")
_WARM_SHIPS = 20


def accepted_settings() -> list[str]:
    """The settings that the engine knows."""
    from apss_fusion.tracking.config import Config

    known = []
    for name in SETTINGS:
        try:
            Config.of({SETTING_KEY: name})
        except ValueError:
            continue
        known.append(name)
    return known


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
    start = time.process_time()
    import numpy as np
    from msgspec.structs import replace

    from apss_fusion.model import Source
    from apss_fusion.tracking.config import Config
    from apss_fusion.tracking.engine import Engine
    from benchmarks.published import Plane, configuration, looks

    def tracked(place: Path) -> tuple[float, int, list[list[list[float]]]]:
        params = json.loads((place / "params.json").read_text())
        plane = Plane(params["area"])
        known = Config.of({SETTING_KEY: setting})
        config = replace(configuration(params), **{SETTING_KEY: getattr(known, SETTING_KEY)})
        engine = Engine(config, {"sensor": Source(modality="RADAR", domains=("SEA",))})
        scans = [look for _, look in looks(place, params, plane)]
        begin = time.process_time()
        estimates = []
        for look in scans:
            engine.process_many([look])
            engine.flush()
            tracks = engine.tracks_at(round(look.time.timestamp() * 1e6), least_existence=TOLD_FROM)
            xy = plane.xy(np.array([t.lat for t in tracks]), np.array([t.lon for t in tracks]))
            estimates.append(xy.tolist())
        return time.process_time() - begin, sum(len(look.detections) for look in scans), estimates

    with tempfile.TemporaryDirectory() as name:
        # Loads the kernels.
        write_sea(Path(name), _WARM_SHIPS, 0)
        tracked(Path(name))
    start_s = time.process_time() - start
    cpu_s, detections, estimates = tracked(folder)
    return {
        "cpu_s": cpu_s,
        "import_s": start_s,
        "detections": detections,
        "peak_mib": peak_mib(),
        "estimates": estimates,
    }


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
    result: dict[str, Any] = json.loads(out.read_text())
    return result | {"ospa_m": mean_ospa(folder, result["estimates"])}


def compare(trackers: Sequence[str], title: str, folders: Sequence[Path], python: Path | None) -> Iterator[list[Any]]:
    """The rows of all trackers on the runs of a scenario: sums of CPU, the highest peak, the mean OSPA; then ratios."""
    totals: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in trackers:
            runs = [measured(name, folder, Path(scratch) / "out.json", python) for folder in folders]
            cpu_s, detections = sum(r["cpu_s"] for r in runs), sum(r["detections"] for r in runs)
            ospa_m = sum(r["ospa_m"] for r in runs) / len(runs)
            totals[name] = detections / cpu_s, ospa_m
            start_s = sum(r["import_s"] for r in runs) / len(runs)
            yield [name, title, detections / cpu_s, cpu_s, start_s, max(r["peak_mib"] for r in runs), ospa_m]
    ours, theirs = ([k for k in totals if k.startswith("ours") is own] for own in (True, False))
    for mine in ours:
        for other in theirs:
            speed, ospa = (totals[mine][k] / totals[other][k] for k in (0, 1))
            yield [f"{mine} / {other}", title, f"{speed:,.0f} times", "", "", "", f"{ospa:.2f} times"]


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
    parser.add_argument("--setting", help=argparse.SUPPRESS)
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
    trackers = [f"ours {name}" for name in accepted_settings()]
    notes = [
        "OSPA from the sixth scan, p = 2, c = 500 m. Ratios: speed, OSPA (below 1: ours is nearer).",
        f"Ours: what is true of the scene; tracks are told from an existence of {TOLD_FROM} on, the best of five by OSPA.",
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
                write_sea(folder, ships, run)
            rows = compare(trackers, f"sea of {ships:,} ships", folders, python)
            table(f"Side by side, {ships:,} ships", COLUMNS, rows, notes)


if __name__ == "__main__":
    main()
