"""Metrics against brute force, scipy and cases worked by hand; the evaluation of files; the globe."""

from __future__ import annotations

import gzip
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from apss_fusion.evaluation import EvaluationOptions, assign, evaluate, gospa, ospa, table

WGS84 = Geod(ellps="WGS84")

# Small integers make ties and coincident points common.
points = st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), max_size=4).map(
    lambda rows: np.array(rows, float).reshape(-1, 2)
)
spread = st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), max_size=9).map(
    lambda rows: np.array(rows, float).reshape(-1, 2)
)
cutoffs = st.floats(0.5, 8.0)
orders = st.sampled_from([1.0, 2.0, 3.5])


def brute_gospa(x: np.ndarray, y: np.ndarray, c: float, p: float) -> float:
    """The definition of GOSPA, alpha = 2: the least over all sets of pairs."""
    small, large = (x, y) if len(x) <= len(y) else (y, x)
    best = math.inf
    for chosen in itertools.permutations(range(len(large)), len(small)):
        for paired in itertools.product([True, False], repeat=len(small)):
            k = sum(paired)
            cost = sum(
                math.dist(small[i], large[j]) ** p for i, (j, on) in enumerate(zip(chosen, paired, strict=True)) if on
            )
            best = min(best, cost + c**p / 2 * (len(x) + len(y) - 2 * k))
    return float(best ** (1 / p))


def dense(x: np.ndarray, y: np.ndarray, c: float, p: float) -> tuple[np.ndarray, float]:
    """Powers of GOSPA's total, localisation, missed, false, and OSPA, from the full matrix of cut-off distances."""
    n, m = len(x), len(y)
    cost = np.minimum(cdist(x, y), c) ** p if n and m else np.zeros((n, m))
    rows, columns = linear_sum_assignment(cost)
    near = cost[rows, columns] < c**p
    localisation, k = cost[rows, columns][near].sum(), near.sum()
    missed, false = (n - k) * c**p / 2, (m - k) * c**p / 2
    of_ospa = ((cost[rows, columns].sum() + c**p * abs(n - m)) / max(n, m, 1)) ** (1 / p)
    return np.array([localisation + missed + false, localisation, missed, false]), of_ospa


@given(points, points, cutoffs, orders)
def test_gospa_is_its_definition(x: np.ndarray, y: np.ndarray, c: float, p: float) -> None:
    assert gospa(x, y, c, p).total == pytest.approx(
        brute_gospa(x[:4], y, c, p) if len(x) <= 4 else gospa(x, y, c, p)[0]
    )


@given(spread, spread, cutoffs, orders)
def test_against_the_full_assignment_problem(x: np.ndarray, y: np.ndarray, c: float, p: float) -> None:
    powers, of_ospa = dense(x, y, c, p)
    ours = np.array(gospa(x, y, c, p)) ** p
    np.testing.assert_allclose(ours, powers, rtol=1e-9, atol=1e-9)
    assert ospa(x, y, c, p) == pytest.approx(of_ospa, abs=1e-9)


@given(spread, spread, spread, cutoffs, orders)
def test_they_are_metrics(x: np.ndarray, y: np.ndarray, z: np.ndarray, c: float, p: float) -> None:
    def total(a: np.ndarray, b: np.ndarray) -> float:
        return gospa(a, b, c, p).total

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return ospa(a, b, c, p)

    for metric in (total, mean):
        assert metric(x, x) == 0.0
        assert metric(x, y) >= 0.0
        assert metric(x, y) == pytest.approx(metric(y, x))
        assert metric(x, z) <= metric(x, y) + metric(y, z) + 1e-9
    assert ospa(x, y, c, p) <= c * (1 + 1e-12)


@given(spread, spread, cutoffs, orders, st.randoms(use_true_random=False))
def test_order_of_points_and_turns_of_the_frame_do_not_matter(
    x: np.ndarray, y: np.ndarray, c: float, p: float, random: Any
) -> None:
    def shuffled(a: np.ndarray) -> np.ndarray:
        return a[random.sample(range(len(a)), len(a))] if len(a) else a

    a = random.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    expected = gospa(x, y, c, p)
    assert gospa(shuffled(x), shuffled(y), c, p) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert gospa(x @ turn, y @ turn, c, p).total == pytest.approx(expected.total, rel=1e-6, abs=1e-6)
    assert ospa(shuffled(x), shuffled(y), c, p) == pytest.approx(ospa(x, y, c, p), abs=1e-9)


@given(spread, spread, cutoffs, orders)
def test_parts_add_up(x: np.ndarray, y: np.ndarray, c: float, p: float) -> None:
    value = gospa(x, y, c, p)
    assert value.total**p == pytest.approx(value.localisation**p + value.missed**p + value.false**p)
    pairs = assign(x, y, c, p)
    assert value.missed**p == pytest.approx((len(x) - len(pairs.truth)) * c**p / 2)
    assert value.false**p == pytest.approx((len(y) - len(pairs.truth)) * c**p / 2)
    assert len(set(pairs.truth)) == len(set(pairs.estimate)) == len(pairs.distance)
    assert (pairs.distance < c).all()
    np.testing.assert_allclose(pairs.distance, np.linalg.norm(x[pairs.truth] - y[pairs.estimate], axis=1))


def test_golden() -> None:
    truth = [[0.0, 0.0], [100.0, 0.0], [0.0, 200.0]]
    estimate = [[3.0, 4.0], [100.0, 12.0], [500.0, 500.0], [700.0, 0.0]]
    value = gospa(truth, estimate, c=50.0, p=2)
    assert value.localisation == pytest.approx(13.0)
    assert value.missed == pytest.approx(math.sqrt(50**2 / 2))
    assert value.false == pytest.approx(50.0)
    assert value.total == pytest.approx(math.sqrt(169 + 1250 + 2500))
    assert ospa(truth, estimate, c=50.0, p=2) == pytest.approx(math.sqrt((169 + 2 * 2500) / 4))
    assert gospa(truth, estimate, c=50.0, p=1) == pytest.approx((17 + 25 + 50, 17, 25, 50))
    # Nearest neighbours would pair 10 with 9 and leave 0 with 19, 19 away; together 0-9 and 10-19 is cheaper for p = 2.
    assert gospa([[0.0], [10.0]], [[9.0], [19.0]], c=20, p=2).localisation == pytest.approx(math.sqrt(81 + 81))


def test_nothing_and_refusals() -> None:
    assert gospa([], [], 5.0) == (0, 0, 0, 0)
    assert ospa([], [], 5.0) == 0.0
    assert ospa([], [[1.0, 1.0]], 5.0) == 5.0
    assert gospa([[1.0, 1.0]], [], 5.0).missed == pytest.approx(math.sqrt(12.5))
    assert gospa([[0.0, 0.0]], [[3.0, 4.0]], 5.0).localisation == 0.0  # at the cut-off: not a pair
    for bad in (
        lambda: gospa([[0.0, 0.0]], [[0.0]], 1.0),
        lambda: gospa([[0.0]], [[math.nan]], 1.0),
        lambda: gospa([[0.0]], [[0.0]], 0.0),
        lambda: ospa([[0.0]], [[0.0]], 1.0, 0.5),
        lambda: gospa([0.0, 1.0], [[0.0]], 1.0),
    ):
        with pytest.raises(ValueError, match=r"coordinate|finite|cut-off|points"):
            bad()


@pytest.mark.parametrize("side", [30.0, 300.0, 3000.0])
def test_a_thousand_points_against_scipy(side: float) -> None:
    rng = np.random.default_rng(5)
    x = rng.random((1000, 3)) * side
    y = np.concatenate([x[:800] + rng.normal(size=(800, 3)) * 5, rng.random((150, 3)) * side])
    powers, of_ospa = dense(x, y, 25.0, 2.0)
    np.testing.assert_allclose(np.array(gospa(x, y, 25.0)) ** 2, powers, rtol=1e-9)
    assert ospa(x, y, 25.0) == pytest.approx(of_ospa)


# Files


def at(seconds: float) -> str:
    return f"2026-01-01T00:{int(seconds) // 60:02d}:{seconds % 60:09.6f}Z"


def update(track: str, seconds: float, lat: float, lon: float, **more: Any) -> dict[str, Any]:
    return {
        "track_id": track,
        "seq": 1,
        "status": "CONFIRMED",
        "time": at(seconds),
        "domain": "SEA",
        "lat": lat,
        "lon": lon,
        "v_enu_mps": [0.0, 0.0, None],
        "cov_enu": [100.0, 0, 0, 0, 100.0, 0, 0, 0, 0, 0],
        "ids": {"mmsi": "1"},
        **more,
    }


def thing(name: str, lat: float, lon: float, domain: str = "SEA") -> dict[str, Any]:
    return {"id": name, "lat": lat, "lon": lon, "domain": domain}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def run(tmp_path: Path, truth: list[dict[str, Any]], tracks: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    files = write(tmp_path / "truth.ndjson", truth), write(tmp_path / "tracks.ndjson.gz", tracks)
    return evaluate(*files, EvaluationOptions(**options))


@pytest.mark.parametrize("lon", [2.0, 180.0, -180.0, 0.0])
@pytest.mark.parametrize("lat", [0.0, 50.0, -89.9])
def test_distance_is_the_geodesic_everywhere(tmp_path: Path, lat: float, lon: float) -> None:
    for azimuth in (0.0, 77.0, 200.0, -90.0):
        for metres in (1.0, 900.0, 4_900.0, 99_000.0):
            there_lon, there_lat, _ = WGS84.fwd(lon, lat, azimuth, metres)
            truth = [{"time": at(0), "objects": [thing("a", lat, lon)]}]
            result = run(tmp_path, truth, [update("t", 0, there_lat, there_lon)], sea_c_m=100_000.0)
            assert result["position_error_m"]["median"] == pytest.approx(metres, rel=2e-5)
            assert result["gospa"]["localisation"] == pytest.approx(metres, rel=2e-5)


def test_prediction_crosses_the_antimeridian(tmp_path: Path) -> None:
    lon, lat, _ = WGS84.fwd(179.999, 10.0, 60.0, 600.0)
    assert lon < 0
    v = [10.0 * math.sin(math.radians(60)), 10.0 * math.cos(math.radians(60)), None]
    truth = [{"time": at(60), "objects": [thing("a", lat, lon)]}]
    result = run(tmp_path, truth, [update("t", 0, 10.0, 179.999, v_enu_mps=v)])
    assert result["position_error_m"]["median"] < 0.01
    assert result["completeness"] == 1.0


def test_which_update_counts(tmp_path: Path) -> None:
    """None before the first, then the latest by time and the last written of equal times, none after the end."""
    truth = [{"time": at(t), "objects": [thing("a", 0.0, 0.0)]} for t in (50, 100, 200, 300, 400)]
    metre = math.degrees(1 / 6_378_137.0)
    tracks = [
        update("t", 300, 0.0, 30 * metre),
        update("t", 100, 0.0, 999 * metre),
        update("t", 100, 0.0, 10 * metre),
        update("t", 400, 0.0, 0.0, status="TERMINATED", end_reason="LOST"),
        update("t", 30, 0.0, 0.0, status="TENTATIVE"),
    ]
    result = run(tmp_path, truth, tracks)
    c_half = 1000 / math.sqrt(2)
    assert result["gospa"]["localisation"] == pytest.approx((0 + 10 + 10 + 30 + 0) / 5)
    assert result["gospa"]["missed"] == pytest.approx(2 * c_half / 5)
    assert result["gospa"]["false"] == 0.0
    assert result["gospa"]["total"] == pytest.approx((2 * c_half + 50) / 5)
    assert result["gospa_rms"]["localisation"] == pytest.approx(math.sqrt((100 + 100 + 900) / 5))
    assert result["ospa"] == pytest.approx((2 * 1000 + 50) / 5)
    assert result["completeness"] == pytest.approx(3 / 5)
    assert result["position_error_m"]["median"] == pytest.approx(10)
    assert (result["objects"], result["tracks"], result["times"]) == (1, 1, 5)
    assert result["mean_tracks"] == pytest.approx(3 / 5)


def test_domains_are_paired_apart_and_add_up(tmp_path: Path) -> None:
    truth = [
        {"time": at(0), "objects": [thing("s", 0, 0), thing("a", 0, 0, "AIR"), thing("g", 1, 1, "GROUND")]},
    ]
    metre = math.degrees(1 / 6_378_137.0)
    tracks = [
        update("1", 0, 0, 300 * metre, domain="SEA"),
        update("2", 0, 0, 4000 * metre, domain="AIR"),
        update("3", 0, 1, 1, domain="SEA"),
    ]
    result = run(tmp_path, truth, tracks)
    by = result["domains"]
    assert by["SEA"]["gospa"]["total"] == pytest.approx(math.sqrt(300**2 + 1000**2 / 2))
    assert by["AIR"]["gospa"]["total"] == pytest.approx(4000)
    assert by["GROUND"]["gospa"]["total"] == pytest.approx(300 / math.sqrt(2))
    assert result["gospa"]["total"] == pytest.approx(
        math.sqrt(sum(part["gospa"]["total"] ** 2 for part in by.values()))
    )
    assert result["ospa"] == pytest.approx(math.sqrt((300**2 + 1000**2 + 4000**2 + 300**2) / 4))
    assert by["SEA"]["ospa"] == pytest.approx(math.sqrt((300**2 + 1000**2) / 2))
    assert result["spurious"] == pytest.approx(1 / 3)
    assert result["objects_found"] == pytest.approx(2 / 3)


def test_a_track_of_unknown_domain_goes_to_the_nearest_object(tmp_path: Path) -> None:
    metre = math.degrees(1 / 6_378_137.0)
    truth = [{"time": at(0), "objects": [thing("s", 0, 0), thing("a", 0, 3000 * metre, "AIR")]}]
    near_both = update("u", 0, 0, 900 * metre, domain="UNKNOWN")  # .9 of the sea's cut-off, .42 of the air's
    result = run(tmp_path, truth, [near_both])
    assert result["domains"]["AIR"]["completeness"] == 1.0
    assert result["domains"]["SEA"]["completeness"] == 0.0
    lost = update("u", 0, 5, 5, domain="UNKNOWN")
    assert run(tmp_path, truth, [lost])["domains"]["SEA"]["spurious"] == 1.0


def test_consistency(tmp_path: Path) -> None:
    """Errors drawn from the stated covariance, predicted: NEES / 2 is 1 and 95 % lie inside the ellipse."""
    rng = np.random.default_rng(3)
    root = rng.normal(size=(4, 4)) * np.array([30, 20, 0.5, 0.4])[:, None]
    cov = root @ root.T
    upper = [cov[i, j] for i in range(4) for j in range(i, 4)]
    tracks: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for i in range(2000):
        lat, lon = -60 + 0.06 * i, (179 + 7.1 * i + 180) % 360 - 180
        e, n, ve, vn = rng.multivariate_normal(np.zeros(4), cov)
        tracks.append(update(str(i), 0, lat, lon, cov_enu=upper, v_enu_mps=[3.0, -4.0, None]))
        east, north = e + (3 + ve) * 20, n + (-4 + vn) * 20
        t_lon, t_lat, _ = WGS84.fwd(lon, lat, math.degrees(math.atan2(east, north)), math.hypot(east, north))
        objects.append(thing(str(i), t_lat, t_lon))
    result = run(tmp_path, [{"time": at(20), "objects": objects}], tracks)
    assert result["completeness"] == 1.0
    # Four standard deviations of the mean of 2000.
    assert result["anees"] == pytest.approx(1.0, abs=4 / math.sqrt(2000))
    assert result["inside_ellipse95"] == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2000))
    nothing_known: list[dict[str, Any]] = [{**t, "cov_enu": None} for t in tracks[:3]]
    assert run(tmp_path, [{"time": at(20), "objects": objects}], nothing_known)["anees"] is None


def test_changes_of_track(tmp_path: Path) -> None:
    truth = [{"time": at(t), "objects": [thing("a", 0, 0), thing("b", 1, 0)]} for t in (0, 10, 20, 30)]
    tracks = [
        update("1", 0, 0, 0),
        update("2", 0, 1, 0),
        update("1", 15, 1, 0),
        update("2", 15, 0, 0),
        update("1", 25, 1, 0, status="TERMINATED"),
        update("2", 25, 0, 0),
    ]
    assert run(tmp_path, truth, tracks)["track_changes"] == 2


def test_empty_files(tmp_path: Path) -> None:
    truth: list[dict[str, Any]] = [{"time": at(0), "objects": [thing("a", 0, 0)]}, {"time": at(1), "objects": []}]
    result = run(tmp_path, truth, [])
    assert result["gospa"]["missed"] == pytest.approx(1000 / math.sqrt(2) / 2)
    assert result["position_error_m"] == {"median": None, "p95": None, "rms": None}
    nothing = run(tmp_path, [], [update("t", 0, 0, 0)])
    assert nothing["gospa"]["total"] is None
    assert nothing["times"] == 0
    for made in (result, nothing):
        json.dumps(made, allow_nan=False)
        assert "GOSPA" in table(made)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "truncated"),
        ('{"time": "2026-01-01T00:00:00", "objects": []}', "time"),
        ('{"time": "2026-01-01T00:00:00Z", "objects": [{"id": "a", "lat": 95, "lon": 0, "domain": "SEA"}]}', "lat"),
        ('{"time": "2026-01-01T00:00:00Z"}', "objects"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    good = json.dumps({"time": at(0), "objects": []})
    path = tmp_path / "truth.ndjson"
    path.write_text(f"{good}\n\n{line}\n")
    with pytest.raises(ValueError, match=rf"truth\.ndjson:3: .*{says}"):
        evaluate(path, write(tmp_path / "tracks.ndjson", []))


def test_options_are_checked(tmp_path: Path) -> None:
    for bad in ({"sea_c_m": 0.0}, {"p": 0.5}, {"air_c_m": math.nan}):
        with pytest.raises(ValueError, match="positive"):
            run(tmp_path, [], [], **bad)


def test_the_table_shows_every_domain(tmp_path: Path) -> None:
    truth = [{"time": at(0), "objects": [thing("s", 0, 0), thing("a", 0, 0, "AIR")]}]
    text = table(run(tmp_path, truth, [update("1", 0, 0, 0)]))
    assert text.splitlines()[1].split() == ["all", "SEA", "AIR"]
    assert next(line for line in text.splitlines() if line.startswith("completeness")).split()[1:] == [
        "50.0%",
        "100.0%",
        "0.0%",
    ]
