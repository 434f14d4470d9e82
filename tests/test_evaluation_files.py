"""The new figures of an evaluation of files, the command, and the picture."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import Geod
from scipy.optimize import OptimizeResult

import apss_fusion.evaluation
from apss_fusion.cli import run
from apss_fusion.evaluation import EvaluationOptions, anees_bounds, evaluate, gospa, ospa2, t_gospa, table
from apss_fusion.evaluation.evaluate import compare
from apss_fusion.evaluation.plot import plot_over_time
from apss_fusion.evaluation.records import read_truth
from apss_fusion.evaluation.velocities import truth_velocities

WGS84 = Geod(ellps="WGS84")
METRE = math.degrees(1 / 6_378_137.0)


def at(seconds: float) -> str:
    return f"2026-01-01T00:{int(seconds) // 60:02d}:{seconds % 60:09.6f}Z"


def update(track: str, seconds: float, lat: float, lon: float, **more: Any) -> dict[str, Any]:
    cov = [100.0, 0, 0, 0, 100.0, 0, 0, 0, 0, 0]
    base = {"track_id": track, "status": "CONFIRMED", "time": at(seconds), "domain": "SEA", "lat": lat, "lon": lon}
    return {**base, "v_enu_mps": [0.0, 0.0, None], "cov_enu": cov, **more}


def thing(name: str, lat: float, lon: float, domain: str = "SEA") -> dict[str, Any]:
    return {"id": name, "lat": lat, "lon": lon, "domain": domain}


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Scene:
    """Points on a plane of metres round 0 N 0 E, small enough that it is flat; NaN where there is nothing."""

    def __init__(self, seed: int, n: int = 6, times: int = 12) -> None:
        rng = np.random.default_rng(seed)
        self.truth = rng.uniform(0, 3000, (n, 1, 2)) + rng.normal(0, 20, (n, 1, 2)) * np.arange(times)[:, None]
        self.tracks = np.concatenate([self.truth, rng.uniform(0, 3000, (2, times, 2))])
        self.tracks += rng.normal(0, 60, self.tracks.shape)
        self.tracks[:2, times // 2 :] = self.tracks[1::-1, times // 2 :].copy()
        self.truth[0, :3] = np.nan
        self.tracks[rng.random(self.tracks.shape[:2]) < 0.2] = np.nan

    def files(self, folder: Path, domain: str = "SEA") -> tuple[Path, Path]:
        times = self.truth.shape[1]

        def degrees(point: np.ndarray) -> tuple[float, float]:
            # Along the equator's radius east, along the meridian's north.
            return float(point[1] / 6_335_439.327 * 180 / math.pi), float(point[0] * METRE)

        truth = [
            {
                "time": at(10 * k),
                "objects": [
                    thing(str(i), *degrees(p[k]), domain) for i, p in enumerate(self.truth) if not np.isnan(p[k, 0])
                ],
            }
            for k in range(times)
        ]
        updates = []
        for j, row in enumerate(self.tracks):
            for k in range(times):
                if np.isnan(row[k, 0]):
                    # Ended until its next update.
                    updates.append(update(str(j), 10 * k, 0.0, 0.0, status="TERMINATED", domain=domain))
                else:
                    updates.append(update(str(j), 10 * k, *degrees(row[k]), domain=domain))
        return write(folder / "truth.ndjson", truth), write(folder / "tracks.ndjson", updates)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_metrics_of_trajectories_are_those_of_the_arrays(tmp_path: Path, seed: int, p: float) -> None:
    scene = Scene(seed)
    options = EvaluationOptions(p=p, sea_c_m=400.0, ospa2_window=5, switch_share=0.5)
    result = evaluate(*scene.files(tmp_path), options)
    times = scene.truth.shape[1]
    windows = ospa2(scene.truth, scene.tracks, 400.0, p, p, 5)
    assert result["ospa2"] == pytest.approx(windows.mean(), rel=1e-5)
    whole = t_gospa(scene.truth, scene.tracks, 400.0, p, 200.0)
    for name, value in result["t_gospa"].items():
        assert value == pytest.approx(getattr(whole, name) / times ** (1 / p), rel=1e-5), name
    # Never less than GOSPA, which may choose anew at each time.
    assert result["t_gospa"]["total"] >= result["gospa_rms"]["total"] * (1 - 1e-9)
    over_time = compare(*scene.files(tmp_path), options).over_time()
    assert over_time.ospa2 is not None
    np.testing.assert_allclose(over_time.ospa2, windows, rtol=1e-5)
    for k in range(times):
        a, b = (z[:, k][~np.isnan(z[:, k, 0])] for z in (scene.truth, scene.tracks))
        value = gospa(a, b, 400.0, p)
        assert [over_time.gospa[name][k] for name in value._fields] == pytest.approx(list(value), rel=1e-5, abs=1e-3)
        assert (over_time.objects[k], over_time.tracks[k]) == (len(a), len(b))


def test_domains_add_up(tmp_path: Path) -> None:
    scene = Scene(9)
    sea = [path.read_text().splitlines() for path in scene.files(tmp_path)]
    air = [path.read_text().splitlines() for path in scene.files(tmp_path, "AIR")]
    renamed = [line.replace('"id": "', '"id": "a').replace('"track_id": "', '"track_id": "a') for line in air[0]]
    (tmp_path / "truth.ndjson").write_text(
        "\n".join(
            json.dumps({**json.loads(a), "objects": json.loads(a)["objects"] + json.loads(b)["objects"]})
            for a, b in zip(sea[0], renamed, strict=True)
        )
    )
    (tmp_path / "tracks.ndjson").write_text(
        "\n".join(sea[1] + [line.replace('"track_id": "', '"track_id": "a') for line in air[1]])
    )
    result = evaluate(tmp_path / "truth.ndjson", tmp_path / "tracks.ndjson", EvaluationOptions(air_c_m=800.0))
    by = result["domains"]
    for name, value in result["t_gospa"].items():
        assert value**2 == pytest.approx(sum(part["t_gospa"][name] ** 2 for part in by.values()))
    assert result["track_changes"] == sum(part["track_changes"] for part in by.values())
    assert result["ospa2"] is not None
    json.dumps(result, allow_nan=False)


def test_siap_and_association_by_hand(tmp_path: Path) -> None:
    """An object for a minute; track 1 has it until 20 s, 2 and 3 from 40 s on; 4 is elsewhere all the time."""
    truth = [{"time": at(10 * k), "objects": [thing("a", 0.0, 0.0)]} for k in range(7)]
    tracks = [
        update("1", 0, 0.0, 10 * METRE),
        update("1", 30, 0.0, 0.0, status="TERMINATED"),
        update("2", 40, 0.0, 20 * METRE),
        update("3", 40, 0.0, 30 * METRE),
        update("4", 0, 5.0, 5.0),
    ]
    result = evaluate(write(tmp_path / "t", truth), write(tmp_path / "u", tracks))
    assert result["siap"] == {
        "completeness": pytest.approx(6 / 7),
        "ambiguity": pytest.approx(9 / 6),
        "spuriousness": pytest.approx(7 / 16),
        "position_accuracy_m": pytest.approx((3 * 10 + 3 * 20 + 3 * 30) / 9),
        "velocity_accuracy_mps": pytest.approx(0.0, abs=1e-6),
        "track_changes_per_hour": pytest.approx(3600 / 40),
        "longest_track_segment": pytest.approx(20 / 60),
    }
    assert result["track_changes"] == 1
    assert result["tracks_per_object"] == 2
    assert result["purity"] == pytest.approx(6 / 16)
    assert result["anees_bounds95"] == pytest.approx(list(anees_bounds(6, 2)))
    text = table(result)
    assert next(line for line in text.splitlines() if line.startswith("  ambiguity")).split()[1:] == ["1.500"] * 2
    assert "not computed" not in text


def test_siap_takes_the_nearest_object(tmp_path: Path) -> None:
    """Two tracks within reach of both objects: both are nearer to the first, only one can be paired with it."""
    truth = [{"time": at(0), "objects": [thing("a", 0.0, 0.0), thing("b", 0.0, 500 * METRE)]}]
    tracks = [update("1", 0, 0.0, 10 * METRE), update("2", 0, 0.0, 30 * METRE)]
    result = evaluate(write(tmp_path / "t", truth), write(tmp_path / "u", tracks))
    assert result["completeness"] == 1.0
    assert result["siap"]["completeness"] == 0.5
    assert result["siap"]["ambiguity"] == 2.0
    assert result["siap"]["position_accuracy_m"] == pytest.approx(20.0)


def test_velocity_of_truth_is_the_chord_of_its_neighbours(tmp_path: Path) -> None:
    """East on the equator, 1 m/s^2: between the neighbours at 0, 10 and 20 s; one neighbour only beyond a gap."""
    moments = [0, 10, 20, 400, 410]
    truth = [{"time": at(t), "objects": [thing("a", 0.0, t * t / 2 * METRE)]} for t in moments]
    velocity = truth_velocities(read_truth(write(tmp_path / "t", truth)))
    speed = np.linalg.norm(velocity, axis=1)
    assert speed == pytest.approx([5.0, 10.0, 15.0, 405.0, 405.0], rel=1e-5)
    assert velocity[0] == pytest.approx([0, 5, 0], abs=1e-3)


@pytest.mark.parametrize("lat", [0.0, 60.0, 89.99, -89.99])
def test_velocity_accuracy_everywhere(tmp_path: Path, lat: float) -> None:
    """An object on a great circle at 100 m/s, past a pole too; its track has 3 m/s more to the right."""
    truth, tracks = [], []
    for k in range(9):
        lon_k, lat_k, back = WGS84.fwd(179.99, lat, 40.0, 1000.0 * k) if k else (179.99, lat, 40.0 - 180)
        ahead = math.radians(back + 180)
        truth.append({"time": at(10 * k), "objects": [thing("a", lat_k, lon_k, "AIR")]})
        v = [100 * math.sin(ahead) + 3 * math.cos(ahead), 100 * math.cos(ahead) - 3 * math.sin(ahead), None]
        if k % 4 == 0:
            tracks.append(update("1", 10 * k, lat_k, lon_k, domain="AIR", v_enu_mps=v))
    result = evaluate(write(tmp_path / "t", truth), write(tmp_path / "u", tracks))
    assert result["completeness"] == 1.0
    assert result["siap"]["velocity_accuracy_mps"] == pytest.approx(3.0, rel=0.01)


def test_positions_far_apart_in_time_tell_no_velocity(tmp_path: Path) -> None:
    truth = [{"time": at(t), "objects": [thing("a", 0.0, 0.0)]} for t in (0, 1000)]
    result = evaluate(write(tmp_path / "t", truth), write(tmp_path / "u", [update("1", 0, 0.0, 0.0)]))
    assert result["siap"]["position_accuracy_m"] == 0.0
    assert result["siap"]["velocity_accuracy_mps"] is None


def test_too_large_for_t_gospa_is_said(tmp_path: Path) -> None:
    result = evaluate(*Scene(1).files(tmp_path), EvaluationOptions(t_gospa_weights=10))
    assert result["t_gospa"] is None
    assert result["domains"]["SEA"]["t_gospa"] is None
    assert result["ospa2"] is not None
    (note,) = result["notes"]
    assert "T-GOSPA of SEA" in note
    assert "more than 10" in note
    assert table(result).splitlines()[-1] == f"not computed: {note}"


def test_too_many_encounters_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apss_fusion.evaluation.comparison.MOST_ENCOUNTERS", 20)
    figures = compare(*Scene(1).files(tmp_path))
    result = figures.everything()
    assert result["ospa2"] is None
    assert result["t_gospa"] is None
    assert result["siap"]["completeness"] is not None
    assert len(result["notes"]) == 1
    assert figures.over_time().ospa2 is None
    plot_over_time(figures.over_time(), tmp_path / "a.png")


def test_an_object_twice_at_a_time_is_refused(tmp_path: Path) -> None:
    truth = [{"time": at(1), "objects": [thing("b", 0, 0), thing("a", 0, 0)]}, {"time": at(1), "objects": []}]
    truth.append({"time": at(1), "objects": [thing("a", 0, 0)]})
    with pytest.raises(ValueError, match=r"t: the object 'a' is twice at 2026-01-01T00:00:01"):
        evaluate(write(tmp_path / "t", truth), write(tmp_path / "u", []))


@pytest.mark.parametrize("bad", [{"ospa2_window": 0}, {"switch_share": 0.0}, {"switch_share": math.nan}])
def test_options_are_checked(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"window|switch"):
        evaluate(*Scene(0).files(tmp_path), EvaluationOptions(**bad))


# --- the page ---

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_example_of_the_page_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code, said), *more = re.findall(r"^```python\n(.*?)^```\n\nprints (.*?)\.\n", PAGE, re.S | re.M)
    assert not more
    exec(compile(code, "example", "exec"), {"__name__": "example"})  # noqa: S102
    assert capsys.readouterr().out.split() == re.findall(r"[\d.]+", said)


def test_the_page_names_every_figure_and_function(tmp_path: Path) -> None:
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`\n]+`", PAGE))))
    counts = {"times", "p", "cutoff_m", "domains", "objects", "tracks", "mean_objects", "mean_tracks"}
    assert set(evaluate(*Scene(0).files(tmp_path))) - counts <= named
    functions = {name for name in apss_fusion.evaluation.__all__ if name.islower()}
    assert functions - {"assign", "compare", "table"} <= named


# --- the command ---


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    truth, tracks = Scene(3).files(tmp_path)
    return ["evaluate", "--truth", str(truth), "--tracks", str(tracks)]


def test_the_command_tells_all(pair: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run([*pair, "--json", "--ospa2-window", "3", "--switch-share", "0.1"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert {"total", "localisation", "missed", "false"} == set(result["gospa"])
    assert {"total", "localisation", "missed", "false", "switch"} == set(result["t_gospa"])
    options = EvaluationOptions(ospa2_window=3, switch_share=0.1)
    assert result == json.loads(json.dumps(evaluate(Path(pair[2]), Path(pair[4]), options)))
    assert run([*pair, "--t-gospa-weights", "0"]) == 0
    out = capfd.readouterr().out
    assert "not computed: T-GOSPA" in out
    assert "SIAP" in out


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_the_command_draws(pair: list[str], tmp_path: Path, name: str, begins: bytes) -> None:
    assert run([*pair, "--plot", str(tmp_path / name)]) == 0
    drawn = (tmp_path / name).read_bytes()
    assert drawn.startswith(begins)
    assert len(drawn) > 10_000


def test_no_other_kind_of_picture_is_drawn(tmp_path: Path) -> None:
    over_time = compare(*Scene(0).files(tmp_path)).over_time()
    with pytest.raises(ValueError, match=r"a\.pdf: the name of a picture ends in \.png or \.svg"):
        plot_over_time(over_time, tmp_path / "a.pdf")


def test_an_empty_truth_is_drawn_too(pair: list[str], tmp_path: Path) -> None:
    Path(pair[2]).write_text("")
    assert run([*pair, "--plot", str(tmp_path / "a.svg")]) == 0


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--plot", "a.pdf"], "--plot a.pdf: the name of a picture ends in .png or .svg"),
        (["--plot", "no/a.png"], "--plot no/a.png: there is no folder no"),
        (["--ospa2-window", "0"], "window"),
        (["--switch-share", "-1"], "switch"),
    ],
)
def test_bad_options_are_one_line(
    pair: list[str], more: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*pair, *more]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert says in err


def test_an_input_is_not_overwritten(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    truth, tracks = Scene(3).files(tmp_path)
    named = truth.rename(tmp_path / "truth.png")
    before = named.read_bytes()
    assert run(["evaluate", "--truth", str(named), "--tracks", str(tracks), "--plot", str(named)]) == 2
    assert "overwritten" in capfd.readouterr().err
    assert named.read_bytes() == before


def test_a_picture_that_cannot_be_written_is_one_line(
    pair: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").mkdir()
    assert run([*pair, "--plot", str(tmp_path / "a.png")]) == 1
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "a.png" in err


def test_a_solver_that_fails_is_one_line(
    pair: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> OptimizeResult:
        return OptimizeResult(status=4, message="numerical difficulties", x=None)

    monkeypatch.setattr("apss_fusion.evaluation.trajectory_gospa.linprog", fails)
    assert run(pair) == 1
    assert capfd.readouterr().err == (
        "apss-fusion: T-GOSPA: the linear programme was not solved: numerical difficulties\n"
    )


def test_without_matplotlib_it_says_so_at_once(
    pair: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run([*pair, "--plot", "a.png"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "apss-fusion: --plot: a picture needs matplotlib: install apss-fusion[plot]\n"
