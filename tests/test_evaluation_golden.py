"""Metrics against values that others' code gave (reference/make_metrics.py), and a scorer beside the feeds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import recorded

from apss_fusion.evaluation import TrackRows, adjusted_rand_index, gospa, ospa, siap, t_gospa

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "reference" / "metrics.json").read_text(encoding="utf-8"))


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("case", GOLDEN["points"])
def test_gospa_and_ospa_are_those_of_stone_soup(case: dict[str, Any]) -> None:
    truth, estimate, c, p = (case[name] for name in ("truth", "estimate", "c", "p"))
    value = gospa(truth, estimate, c, p)
    assert value.total == close(case["gospa"])
    for name, power in case["gospa_powers"].items():
        assert getattr(value, name) ** p == close(power)
    assert ospa(truth, estimate, c, 1.0) == close(case["ospa_p1"])


@pytest.mark.parametrize("case", GOLDEN["siap"])
def test_siap_is_that_of_stone_soup(case: dict[str, Any]) -> None:
    truth = np.array(case["truth"])
    time, track, item, position, velocity = (list(column) for column in zip(*case["tracks"], strict=True))
    tracks = TrackRows(
        np.array(time), np.array(track), np.array(item), np.array(position, float), np.array(velocity, float)
    )
    value = siap(case["times_s"], truth[:, 0], truth[:, 1], tracks)
    for name, expected in case["siap"].items():
        assert (getattr(value, name) or 0.0) == close(expected), name
    # In any order of rows.
    mixed = np.random.default_rng(1).permutation(len(truth)), np.random.default_rng(2).permutation(len(time))
    again = siap(case["times_s"], *truth[mixed[0]].T, TrackRows(*(column[mixed[1]] for column in tracks)))
    assert again == pytest.approx(value)


def test_the_golden_siap_cases_say_something() -> None:
    """Not all of them are trivial: each attribute takes several values."""
    for name in GOLDEN["siap"][0]["siap"]:
        assert len({round(case["siap"][name], 6) for case in GOLDEN["siap"]}) >= 4, name


@pytest.mark.parametrize("case", GOLDEN["labels"])
def test_the_adjusted_rand_index_is_that_of_scikit_learn(case: dict[str, Any]) -> None:
    assert adjusted_rand_index(case["a"], case["b"]) == close(case["adjusted_rand"])


@pytest.mark.parametrize("case", GOLDEN["t_gospa"])
def test_t_gospa_is_that_of_its_authors(case: dict[str, Any]) -> None:
    c, p = case["c"], case["p"]
    nothing = [float("nan")] * p
    truth, estimate = ([[point or nothing for point in row] for row in case[name]] for name in ("truth", "estimate"))
    value = t_gospa(truth, estimate, c, p, case["gamma"])
    # As good as the two solvers' tolerances.
    assert value.total**p == pytest.approx(case["total_power"], rel=1e-7)
    for name, power in case["powers"].items():
        assert getattr(value, name) ** p == pytest.approx(power, rel=1e-6, abs=1e-6 * c**p), name


@pytest.fixture(scope="module")
def scorer() -> ModuleType:
    path = recorded("../benchmarks/score.py")
    spec = importlib.util.spec_from_file_location("score", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(60))
def test_gospa_and_ospa_are_those_of_the_scorer_of_the_benchmarks(scorer: ModuleType, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(0, 40, 2)
    side, c, p = rng.uniform(20, 300), rng.uniform(5, 60), float(rng.choice([1.0, 2.0, 3.0]))
    truth, estimate = rng.uniform(0, side, (n, 2)), rng.uniform(0, side, (m, 2))
    value = np.array(gospa(truth, estimate, c, p)) ** p
    np.testing.assert_allclose(value, scorer.gospa(truth, estimate, c, p), rtol=1e-9, atol=1e-9)
    assert ospa(truth, estimate, c, p) == close(scorer.ospa(truth, estimate, c, p))
