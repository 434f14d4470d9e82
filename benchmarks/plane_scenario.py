"""The dense sea on a plane, drawn and written as `benchmarks.published` and other trackers read it.

One ship per (4 km)^2, 20 scans a minute apart, positions with a sigma of 50 m, seen with probability 0.9, a tenth as many
false detections as ships. The state is [x, vx, y, vy] in m and m/s; scan k (from 1) is at k minutes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.evaluation import ospa

SCANS, STEP_S, SIGMA_M, P_DETECT, NOISE = 20, 60.0, 50.0, 0.9, 0.01
#: Share of ships that stay from one scan to the next, as far as a filter is told; in truth all do.
SURVIVAL = 0.999
#: Scans from this one on are scored; OSPA's cut-off in m and its order.
FROM_SCAN, CUT_OFF_M, ORDER = 6, 500.0, 2.0

Floats = NDArray[np.float64]


def sea(n: int, run: int) -> tuple[dict[str, Any], list[Floats], list[Floats]]:
    """What a filter may know (params.json), the true positions (n, 2) and the detections (m, 2) of every scan."""
    rng = np.random.default_rng([run, n])
    side = 4000.0 * float(np.sqrt(n))
    speed, course = rng.uniform(5, 15, n), rng.uniform(0, 2 * np.pi, n)
    velocity = np.stack([speed * np.cos(course), speed * np.sin(course)], 1)
    # In the middle of the run all ships are inside.
    position = rng.uniform(0, side, (n, 2)) - velocity * STEP_S * (SCANS - 1) / 2
    step = np.array([[STEP_S**3 / 3, STEP_S**2 / 2], [STEP_S**2 / 2, STEP_S]])
    root = np.linalg.cholesky(NOISE * step)
    truth = [position]
    for _ in range(SCANS - 1):
        w = rng.standard_normal((n, 2, 2)) @ root.T
        position, velocity = position + velocity * STEP_S + w[:, :, 0], velocity + w[:, :, 1]
        truth.append(position)
    detections = []
    for position in truth:
        seen = position[rng.random(n) <= P_DETECT]
        seen = seen + SIGMA_M * rng.standard_normal(seen.shape)
        false = side * rng.random((rng.poisson(0.1 * n), 2))
        both = np.vstack([seen, false])
        detections.append(both[rng.permutation(len(both))])
    return _params(n, side, step), truth, detections


def _params(n: int, side: float, step: Floats) -> dict[str, Any]:
    middle, spread = [side / 2, 0.0, side / 2, 0.0], [side**2 / 12, 50.0, side**2 / 12, 50.0]
    return {
        "name": f"sea_{n}",
        "scans": SCANS,
        "T": STEP_S,
        "pd": P_DETECT,
        "ps": SURVIVAL,
        "lambda_c": 0.1 * n,
        "R": SIGMA_M**2,
        "area": [[0.0, side], [0.0, side]],
        "F": np.kron(np.eye(2), [[1.0, STEP_S], [0.0, 1.0]]).tolist(),
        "Q": (NOISE * np.kron(np.eye(2), step)).tolist(),
        "birth": [{"w": (1.0 - SURVIVAL) * n, "m": middle, "P": spread}],
        "init": [{"w": float(n), "m": middle, "P": spread}],
        "uniform_birth": True,
        "predict_before_first_scan": False,
        "metric": {"gospa_p": ORDER, "gospa_c": CUT_OFF_M},
    }


def write_sea(folder: Path, n: int, run: int) -> None:
    """Write ``params.json``, ``detections.ndjson`` and ``truth.ndjson`` of a run into a folder."""
    params, truth, detections = sea(n, run)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(params, indent=1))
    for name, scans in (("detections", detections), ("truth", truth)):
        with (folder / f"{name}.ndjson").open("w") as lines:
            for k, xy in enumerate(scans, 1):
                line: dict[str, Any] = {"scan": k, "time_s": k * STEP_S, "xy": xy.tolist()}
                if name == "truth":
                    line["ids"] = list(range(n))
                lines.write(json.dumps(line) + "\n")


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
