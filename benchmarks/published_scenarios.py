"""The scenarios of the published tables, drawn anew from their models: a plane, metres, states [x, vx, y, vy], scans T apart.

x1, x2: Xia, Granstrom, Svensson and Garcia-Fernandez 2017, "Performance evaluation of multi-Bernoulli conjugate priors for
multi-target filtering", FUSION. w15: Williams 2015, "Marginal multi-Bernoulli filters", IEEE Trans. AES 51. sea: ships at
one per (4 km)^2, a scan a minute.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_PLACE = [0, 2]


class Run(NamedTuple):
    """One run of a scenario: what a filter may know, and by scan true states (n, 4), their numbers and the detections (m, 2)."""

    params: dict[str, Any]
    states: list[FloatArray]
    ids: list[list[int]]
    scans: list[FloatArray]


def _transition(t: float) -> FloatArray:
    return np.kron(np.eye(2), np.array([[1.0, t], [0.0, 1.0]]))


def _continuous(t: float, q: float) -> FloatArray:
    return q * np.kron(np.eye(2), np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]]))


def _piecewise(sigma: float) -> tuple[FloatArray, FloatArray]:
    gain = sigma * np.kron(np.eye(2), np.array([[0.5], [1.0]]))
    return gain @ gain.T, gain


def _gaussian(weight: float, mean: Sequence[float], variances: Sequence[float]) -> dict[str, Any]:
    return {"w": weight, "m": [float(v) for v in mean], "P": [float(v) for v in variances]}


def _detections(rng: np.random.Generator, states: list[FloatArray], params: dict[str, Any]) -> list[FloatArray]:
    """Each object with probability pd, Poisson clutter, in any order."""
    low, high = np.array(params["area"], float).T
    out = []
    for x in states:
        seen = x[rng.random(len(x)) <= params["pd"]]
        z = seen[:, _PLACE] + np.sqrt(params["R"]) * rng.standard_normal((len(seen), 2))
        clutter = low + (high - low) * rng.random((rng.poisson(params["lambda_c"]), 2))
        z = np.vstack([z, clutter])
        out.append(z[rng.permutation(len(z))])
    return out


#: Objects of x1: first and last scan, state before the first.
_X1 = (
    (1, 50, (0, 0, 0, -10)),
    (1, 100, (-200, -3, 800, -15)),
    (1, 50, (-800, 20, -200, -5)),
    (20, 70, (400, -7, -600, -4)),
    (20, 100, (400, -2.5, -600, 10)),
    (20, 70, (400, -10, -600, 5)),
    (40, 100, (-200, 15, 800, -5)),
    (40, 100, (-200, 15, 800, -10)),
    (60, 100, (-800, 3, -200, 15)),
    (60, 100, (0, 7.5, 0, -5)),
    (80, 100, (0, -20, 0, -15)),
    (80, 100, (-800, 12, -200, 7)),
)


def x1(pd: float, clutter: int, run: int) -> Run:
    """Twelve objects born at four known places."""
    rng = np.random.default_rng([2017, round(pd * 100), clutter, run])
    births = [_gaussian(0.1, (x, 0, y, 0), [100] * 4) for x, y in ((0, 0), (400, -600), (-800, -200), (-200, 800))]
    f = _transition(1.0)
    params = {
        "name": f"x1_{clutter}_{round(pd * 100)}",
        "scans": 100,
        "T": 1.0,
        "pd": pd,
        "ps": 0.99,
        "lambda_c": clutter,
        "R": 100.0,
        "area": [[-1000, 1000], [-1000, 1000]],
        "F": f.tolist(),
        "Q": _piecewise(5.0)[0].tolist(),
        "birth": births,
        "init": births,
        "predict_before_first_scan": True,
        "metric": {"gospa_p": 1, "gospa_c": 100},
    }
    states: list[list[FloatArray]] = [[] for _ in range(100)]
    ids: list[list[int]] = [[] for _ in range(100)]
    for number, (first, last, start) in enumerate(_X1):
        s = np.array(start, float)
        s[_PLACE] += 10 * rng.standard_normal(2)
        for k in range(first, last + 1):
            s = f @ s
            states[k - 1].append(s)
            ids[k - 1].append(number)
    true = [np.array(s).reshape(-1, 4) for s in states]
    return Run(params, true, ids, _detections(rng, true, params))


def x2(pd: float, clutter: int, run: int) -> Run:
    """Six objects that meet half way and part again."""
    rng = np.random.default_rng([20172, round(pd * 100), clutter, run])
    scans, middle, f = 101, 51, _transition(1.0)
    q, gain = _piecewise(0.2)
    states = np.zeros((scans + 1, 6, 4))
    states[middle] = 1e-3 * rng.standard_normal((6, 4))
    back = np.linalg.inv(f)
    for k in range(1, middle):
        states[middle + k] = states[middle + k - 1] @ f.T + rng.standard_normal((6, 2)) @ gain.T
        states[middle - k] = (states[middle - k + 1] + rng.standard_normal((6, 2)) @ gain.T) @ back.T
    params = {
        "name": f"x2_{clutter}_{round(pd * 100)}",
        "scans": scans,
        "T": 1.0,
        "pd": pd,
        "ps": 0.99,
        "lambda_c": clutter,
        "R": 1.0,
        "area": [[-100, 100], [-100, 100]],
        "F": f.tolist(),
        "Q": q.tolist(),
        "birth": [_gaussian(0.1, [0] * 4, [1e4, 1, 1e4, 1])],
        "init": [_gaussian(10.0, [0] * 4, [1e4, 1, 1e4, 1])],
        "predict_before_first_scan": True,
        "metric": {"gospa_p": 1, "gospa_c": 100},
    }
    true = list(states[1:])
    return Run(params, true, [list(range(6))] * scans, _detections(rng, true, params))


def w15(pd: float, clutter: int, run: int) -> Run:
    """Four objects that meet half way, where one of them ends; always the same ones."""
    truth = np.random.default_rng(9)
    scans, middle, f, q = 81, 41, _transition(1.0), _continuous(1.0, 0.02)
    root, back = np.linalg.cholesky(q), np.linalg.inv(f)
    states = np.zeros((scans + 1, 4, 4))
    forward = np.sqrt(0.1) * truth.standard_normal((4, 4)) + np.array([[150.0], [0], [150], [0]])
    backward = forward
    states[middle] = forward.T
    for k in range(1, middle):
        forward = f @ forward + root @ truth.standard_normal((4, 4))
        backward = back @ (backward + root @ truth.standard_normal((4, 4)))
        states[middle - k], states[middle + k] = backward.T, forward.T
    alive = [[0, 1, 2, 3] if k < middle else [1, 2, 3] for k in range(1, scans + 1)]
    rng = np.random.default_rng([2015, round(pd * 100), clutter, 1, run])
    variances = [150.0**2, 1, 150.0**2, 1]
    params = {
        "name": f"w15_{clutter}_{round(pd * 100)}",
        "scans": scans,
        "T": 1.0,
        "pd": pd,
        "ps": 0.99,
        "lambda_c": clutter,
        "R": 1.0,
        "area": [[0, 300], [0, 300]],
        "F": f.tolist(),
        "Q": q.tolist(),
        "birth": [_gaussian(0.005, [100, 0, 100, 0], variances)],
        "init": [_gaussian(3.0, [100, 0, 100, 0], variances)],
        "predict_before_first_scan": False,
        "metric": {"gospa_p": 2, "gospa_c": 10},
    }
    true = [states[k][alive[k - 1]] for k in range(1, scans + 1)]
    return Run(params, true, alive, _detections(rng, true, params))


def sea(n: int, run: int) -> Run:
    """Ships at 5 to 15 m/s, twenty scans."""
    rng = np.random.default_rng([run, n])
    side, scans, t, q = 4000.0 * float(np.sqrt(n)), 20, 60.0, 0.01
    speed, course = rng.uniform(5, 15, n), rng.uniform(0, 2 * np.pi, n)
    velocity = np.stack([speed * np.cos(course), speed * np.sin(course)], 1)
    position = rng.uniform(0, side, (n, 2)) - velocity * t * (scans - 1) / 2
    root = np.linalg.cholesky(q * np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]]))
    states = []
    for k in range(scans):
        if k:
            w = rng.standard_normal((n, 2, 2)) @ root.T
            position, velocity = position + velocity * t + w[:, :, 0], velocity + w[:, :, 1]
        states.append(np.stack([position[:, 0], velocity[:, 0], position[:, 1], velocity[:, 1]], 1))
    mid, spread = [side / 2, 0, side / 2, 0], [side**2 / 12, 50.0, side**2 / 12, 50.0]
    params = {
        "name": f"sea_{n}",
        "scans": scans,
        "T": t,
        "pd": 0.9,
        "ps": 0.999,
        "lambda_c": 0.1 * n,
        "R": 2500.0,
        "area": [[0, side], [0, side]],
        "F": _transition(t).tolist(),
        "Q": _continuous(t, q).tolist(),
        "birth": [_gaussian(0.001 * n, mid, spread)],
        "init": [_gaussian(float(n), mid, spread)],
        "uniform_birth": True,
        "predict_before_first_scan": False,
        "metric": {"gospa_p": 2, "gospa_c": 500},
    }
    return Run(params, states, [list(range(n))] * scans, _detections(rng, states, params))


SCENARIOS: dict[str, Callable[[int], Run]] = {
    **{f"x1_{c}_{round(100 * p)}": partial(x1, p, c) for c, p in ((10, 0.98), (30, 0.98), (10, 0.75), (30, 0.75))},
    **{f"x2_{c}_{round(100 * p)}": partial(x2, p, c) for c, p in ((10, 0.98), (30, 0.98), (10, 0.75), (30, 0.75))},
    **{f"w15_{c}_{round(100 * p)}": partial(w15, p, c) for c, p in ((10, 0.9), (10, 0.95), (10, 0.7), (20, 0.9))},
    **{f"sea_{n}": partial(sea, n) for n in (10, 100, 1000, 10_000)},
}


def write(run: Run, folder: Path) -> None:
    """Write `params.json`, `detections.ndjson` and `truth.ndjson` of a run into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(run.params, indent=1))
    with (folder / "detections.ndjson").open("w") as found, (folder / "truth.ndjson").open("w") as truth:
        for k, (x, ids, z) in enumerate(zip(run.states, run.ids, run.scans, strict=True), start=1):
            at = {"scan": k, "time_s": k * run.params["T"]}
            found.write(json.dumps(at | {"xy": z.tolist()}) + "\n")
            truth.write(json.dumps(at | {"ids": list(ids), "xy": x[:, _PLACE].tolist()}) + "\n")
