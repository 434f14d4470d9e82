"""The published scenarios: the same draws as their generator, the same metric as its score, and our figures on fixed runs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import FEEDS

from benchmarks import accuracy, published
from benchmarks.published import Variant
from benchmarks.published_scenarios import SCENARIOS, write

AUTHORITY = FEEDS.parent / "benchmarks"


def authority(name: str) -> ModuleType:
    path = AUTHORITY / f"{name}.py"
    if not path.is_file():
        pytest.skip(f"{name}.py of the scenarios is not beside this checkout")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "sea_10000"])
def test_the_draws_are_those_of_the_generator(name: str) -> None:
    theirs = authority("scenarios")
    params, states, ids, scans = theirs.scenario(name, 3)
    run = SCENARIOS[name](3)
    assert json.loads(json.dumps(run.params)) == json.loads(json.dumps(params))
    assert [list(i) for i in run.ids] == [list(i) for i in ids]
    for a, b in zip(run.states, states, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(run.scans, scans, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["x1_10_75", "x2_30_98", "w15_10_70"])
def test_the_metric_is_that_of_the_score(tmp_path: Path, name: str) -> None:
    theirs = authority("score")
    run = SCENARIOS[name](5)
    write(run, tmp_path)
    rng = np.random.default_rng(1)
    found = [x[rng.random(len(x)) < 0.8, ::2] + rng.normal(size=(1, 2)) for x in run.states]
    found = [np.vstack([y, rng.uniform(0, 100, (rng.poisson(1.0), 2))]) for y in found]
    lines = [{"scan": k, "ids": list(range(len(y))), "xy": y.tolist()} for k, y in enumerate(found, start=1)]
    (tmp_path / "est").write_text("".join(json.dumps(line) + "\n" for line in lines))
    want = theirs.score(tmp_path, tmp_path / "est")
    got = accuracy.metric(run, found)
    if name.startswith("w15"):
        assert np.sqrt(got) == pytest.approx(want["gospa_rms"]["total"], abs=1e-4)
    else:
        assert got == pytest.approx(want["gospa_half"]["total"], abs=1e-4)


#: Mean over runs 0 to 2 in either setting, and how far a change of the machine's arithmetic may move it.
FIGURES = {
    "x1_10_98": (64.13, 64.82),
    "x1_30_75": (89.77, 104.19),
    "x2_10_75": (18.90, 22.65),
    "w15_10_90": (2.93, 3.43),
}


@pytest.mark.parametrize("setting", ["accurate", "fast"])
@pytest.mark.parametrize("name", list(FIGURES))
def test_fixed_runs_keep_their_figures(name: str, setting: str) -> None:
    want = FIGURES[name][setting == "fast"]
    mean, _ = accuracy.measured(name, range(3), Variant(setting)).mean()
    assert mean == pytest.approx(want, rel=0.02)


def test_the_bank_pays_where_objects_hardly_manoeuvre() -> None:
    plain = accuracy.measured("x1_10_98", range(2)).mean()[0]
    assert accuracy.measured("x1_10_98", range(2), Variant(bank=accuracy.BANK)).mean()[0] < 0.75 * plain


def test_a_folder_gives_an_estimate_for_every_scan(tmp_path: Path) -> None:
    run = SCENARIOS["sea_10"](0)
    write(run, tmp_path)
    lines = list(published.estimates(tmp_path))
    assert [line["scan"] for line in lines] == list(range(1, 21))
    assert all(len(line["ids"]) == len(line["xy"]) for line in lines)
    assert 8 <= len(lines[-1]["xy"]) <= 12


def test_the_table_has_a_row_for_each_scenario() -> None:
    lines = list(accuracy.table(["w15_10_95"], range(2), "accurate", True, "fast"))
    assert len(lines) == 3
    assert lines[0].count("|") == lines[2].count("|")
    assert lines[2].startswith("| w15_10_95 | 2.783 |")
