"""Comparison with other trackers: scores, blind feeds, the rivals and the tables, on made-up data."""

from __future__ import annotations

import json
import math
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import recorded
from filterpy.common import Q_continuous_white_noise
from filterpy.kalman import KalmanFilter
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds.autoferry import ORIGIN
from apss_fusion.model import Detection, Look
from apss_fusion.tracking.config import Config
from benchmarks import blind, side_by_side
from benchmarks.blind_feeds import HARBOUR, RECORDINGS, sources_of
from benchmarks.blind_feeds import blind as stripped
from benchmarks.blind_scores import scores
from benchmarks.published import estimates
from benchmarks.published_scenarios import sea, write
from benchmarks.rivals.nearest import Nearest, owners
from benchmarks.rivals.plots import Plots
from benchmarks.side_by_side import SETTING_KEY, SETTINGS, mean_ospa

LABELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)
START = datetime(2026, 1, 1, tzinfo=UTC)
EQUATOR_DEG_PER_M = 1.0 / 111_319.49079327358


# --- scores ---


@pytest.mark.parametrize(
    ("objects", "tracks", "expected"),
    [
        # The examples of scikit-learn's adjusted_rand_score.
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 2], [0, 0, 1, 1], 4 / 7),
        ([0, 0, 1, 1], [0, 0, 1, 2], 4 / 7),
        ([0, 0, 0, 0], [0, 1, 2, 3], 0.0),
        # And of its tests.
        ([0, 0, 1, 1], [0, 1, 0, 1], -0.5),
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2], 0.24242424242424243),
    ],
)
def test_adjusted_rand_index(objects: list[int], tracks: list[int], expected: float) -> None:
    assert scores(objects, tracks).ari == pytest.approx(expected, abs=1e-12)


def test_scores_of_a_swap_and_of_lost_detections() -> None:
    objects = ["a", "b", "a", "b", "a", "b", "a", "b"]
    tracks = [1, 2, 1, 2, 2, 1, None, None]
    found = scores(objects, tracks)
    # a: 1 1 2 -, b: 2 2 1 -; a detection without a track is a track of its own.
    assert (found.switches, found.objects, found.tracks) == (4, 2, 4)
    assert found.purity == pytest.approx((2 + 2 + 1 + 1) / 8)
    assert found.completeness == pytest.approx((2 + 2) / 8)


def test_a_switch_is_from_the_last_track_not_from_the_first() -> None:
    assert scores(["a"] * 5, [1, 2, 2, 2, 1]).switches == 2


@given(LABELS)
def test_scores_do_not_depend_on_names(labels: list[tuple[int, int]]) -> None:
    objects, tracks = [a for a, _ in labels], [b for _, b in labels]
    found = scores(objects, tracks)
    assert found == scores([f"o{a}" for a in objects], [100 - b for b in tracks])
    assert scores(objects, objects) == (1.0, 0, 1.0, 1.0, len(set(objects)), len(set(objects)))
    assert 0.0 < found.purity <= 1.0 and 0.0 < found.completeness <= 1.0
    assert found.switches <= len(labels) - found.objects


# --- blind feeds ---


def _told(k: int, lat: float, lon: float, mmsi: str, t_s: float) -> Look:
    detection = Detection(
        detection_id=f"{mmsi}-{k}",
        lat=lat,
        lon=lon,
        speed_mps=5.0,
        course_deg=90.0,
        domain="SEA",
        ids={"mmsi": mmsi, "name": f"SHIP {mmsi}", "callsign": "XYZZY"},
        class_probs={"cargo": 0.9},
        length_m=123.0,
        width_m=21.0,
    )
    at = START + timedelta(seconds=t_s)
    return Look(
        look_id=f"{mmsi}/{k}", source_id="ais-csv", time=at, time_received=at, footprint=None, detections=(detection,)
    )


def test_nothing_that_tells_an_object_is_left_in_a_blind_look() -> None:
    feed = stripped(
        (_told(k, 50.0, k / 100, str(200_000_000 + k % 3), 60.0 * (9 - k)), [f"object {k % 3}"]) for k in range(9)
    )
    text = msgspec.json.encode(feed.looks).decode()
    for word in ("20000000", "SHIP", "XYZZY", "cargo", "123.0", "21.0", "mmsi"):
        assert word not in text
    assert [look.time for look in feed.looks] == sorted(look.time for look in feed.looks)
    assert all(d.speed_mps == 5.0 and d.course_deg == 90.0 for look in feed.looks for d in look.detections)
    names = [d.detection_id for look in feed.looks for d in look.detections]
    assert names == sorted(set(names)) and set(feed.objects) == set(names)
    assert [feed.objects[name] for name in names] == [f"object {k % 3}" for k in reversed(range(9))]


def _ais_csv(path: Path, ships: int, reports: int, lat: float = 50.7, lon: float = -1.1) -> None:
    """Ships 3 km apart in a column, all bound east at 5 m/s, a report each ten seconds in turn."""
    rows = ["Time,MMSI,Latitude_degrees,Longitude_degrees,COG_degrees,SOG_knots"]
    for k in range(reports):
        for ship in range(ships):
            t = 10.0 * k + ship
            at = (START + timedelta(seconds=t)).strftime("%Y-%m-%d %H:%M:%S.000")
            east = lon + 5.0 * t * EQUATOR_DEG_PER_M / math.cos(math.radians(lat))
            rows.append(f"{at},{235_000_000 + ship},{lat + 0.027 * ship:.6f},{east:.7f},90.0,9.72")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def test_objects_are_told_by_their_mmsi_and_an_excerpt_by_its_box(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside.csv", tmp_path / "outside.csv"
    _ais_csv(inside, 3, 4, (HARBOUR[0] + HARBOUR[1]) / 2, (HARBOUR[2] + HARBOUR[3]) / 2)
    _ais_csv(outside, 3, 4)
    for name, path, objects in (("solent", outside, 3), ("harbour", inside, 3), ("harbour", outside, 0)):
        feed = RECORDINGS[name].read([path])
        assert len(set(feed.objects.values())) == objects
        assert len(feed.objects) == len(feed.looks) == 4 * objects
    assert list(sources_of(RECORDINGS["solent"].read([outside]).looks)) == ["ais-csv"]


def test_an_aircraft_that_was_silent_for_an_hour_is_another_object(tmp_path: Path) -> None:
    at_ms = round(START.timestamp() * 1000)
    flight = {"altitude": 1000.0, "callsign": "N1", "groundspeed": 100.0, "icao24": "a3c6bd", "track": 90.0}
    place = {"latitude": 47.0, "longitude": -122.0, "vertical_rate": 0.0, "flight_id": "N1_0", "geoaltitude": 1000.0}
    times_s = [0, 60, 3_660, 7_261]
    path = tmp_path / "flights.json"
    path.write_text(json.dumps([{"timestamp": at_ms + 1000 * t} | flight | place for t in times_s]))
    feed = RECORDINGS["traffic"].read([path])
    assert list(feed.objects.values()) == ["a3c6bd/0"] * 3 + ["a3c6bd/1"]


def test_a_boat_has_the_nearest_detection_within_the_limit(tmp_path: Path) -> None:
    scans, truth = [], []
    for k in range(3):
        time = 1.62e9 + k
        scan = {"ownshipPosition": [0.0, 0.0], "time": time}
        # Radar: the boat at 100 m north, a second return 20 m behind it, and a mark at 300 m; lidar too far for its limit.
        scans.append({"sensorID": 2} | scan | {"measurement": [[100.0 + k, 120.0 + k, 300.0], [4.0, 4.0, 0.0]]})
        scans.append({"sensorID": 1} | scan | {"measurement": [[70.0 + k], [4.0]]})
        boats = [{"targetID": 1, "position": [101.0 + k, 0.0, 0.0], "time": time}]
        truth += [boats, boats]
    paths = [tmp_path / "s_detections.json", tmp_path / "s_groundTruth.json"]
    paths[0].write_text(json.dumps(scans))
    paths[1].write_text(json.dumps(truth))
    feed = RECORDINGS["autoferry"].read(paths)
    boat = [d for look in feed.looks for d in look.detections if d.detection_id in feed.objects]
    assert len(feed.looks) == 6 and set(feed.objects.values()) == {"s_detections/1"}
    north = [math.radians(d.lat - ORIGIN[0]) * 6.39e6 for d in boat]
    assert north == pytest.approx([100.0, 101.0, 102.0], abs=0.5)


def test_recorded_feeds_are_blind() -> None:
    path = recorded("ais/solent_2016-01-12.csv")
    feed = RECORDINGS["solent"].read([path])
    assert len(feed.objects) == 18_623 and len(set(feed.objects.values())) == 91
    assert "mmsi" not in msgspec.json.encode(feed.looks[:500]).decode()


# --- nearest neighbour ---


def _plots(rows: list[tuple[int, float, float, float]], sigma_m: float = 10.0, velocity: bool = False) -> Plots:
    """Plots (scan, time in s, lat, lon); with velocity: 5 m/s to the east."""
    scan, t_s, lat, lon = (np.array(column) for column in zip(*rows, strict=True))
    n, unknown = len(rows), np.full(len(rows), np.nan)
    variance, nothing = np.full(n, sigma_m**2), np.zeros(n)
    v = (np.full(n, 5.0), nothing, np.full(n, 0.1), nothing, np.full(n, 0.1)) if velocity else (unknown,) * 5
    return Plots(scan, t_s.astype(float), lat, lon, variance, nothing, variance, *v, *(unknown,) * 4)


def _eastward(lat: float, lon: float, times_s: list[float], scan: int = 0) -> list[tuple[int, float, float, float]]:
    wide = EQUATOR_DEG_PER_M / math.cos(math.radians(lat))
    return [(scan + k, t, lat, (lon + 5.0 * t * wide + 540.0) % 360.0 - 180.0) for k, t in enumerate(times_s)]


def test_nearest_neighbour_is_filterpy_on_one_object() -> None:
    rng = np.random.default_rng(4)
    t = np.cumsum(rng.uniform(5.0, 40.0, 12))
    east, north = 6.0 * t + 10.0 * rng.standard_normal(12), -3.0 * t + 10.0 * rng.standard_normal(12)
    # About the equator, where a degree of latitude is a (1 - e^2).
    lat = north * EQUATOR_DEG_PER_M / (1.0 - 6.69437999014e-3)
    plots = _plots([(k, t[k], lat[k], east[k] * EQUATOR_DEG_PER_M) for k in range(12)])
    tracker = Nearest(plots, 0.05, 7.0, 600.0, 0.9999)
    tracker.run()
    assert set(tracker.owner) == {0}

    oracle = KalmanFilter(4, 2)
    oracle.x = np.array([east[0], 0.0, north[0], 0.0])
    oracle.P = np.diag([100.0, 49.0, 100.0, 49.0])
    oracle.H = np.array([[1.0, 0, 0, 0], [0, 0, 1.0, 0]])
    oracle.R = np.eye(2) * 100.0
    for k in range(1, 12):
        dt = t[k] - t[k - 1]
        oracle.F = np.kron(np.eye(2), [[1.0, dt], [0.0, 1.0]])
        oracle.Q = Q_continuous_white_noise(2, dt, 0.05, block_size=2)
        oracle.predict()
        oracle.update(np.array([east[k], north[k]]))
    x, p = tracker._x[0], tracker._p[0]
    assert x[1] / EQUATOR_DEG_PER_M == pytest.approx(oracle.x[0], abs=1e-3)
    assert x[2:4] == pytest.approx(oracle.x[[1, 3]], abs=1e-5)
    order = [0, 2, 1, 3]
    assert p[:4, :4] == pytest.approx(oracle.P[np.ix_(order, order)], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("lon", [3.0, 179.999])
def test_two_ships_are_two_tracks_also_across_the_antimeridian(lon: float) -> None:
    times = [20.0 * k for k in range(30)]
    rows = sorted(_eastward(55.0, lon, times) + _eastward(55.02, lon, [t + 1 for t in times]), key=lambda row: row[1])
    rows = [(k, *row[1:]) for k, row in enumerate(rows)]
    found = owners(_plots(rows, velocity=True), 0.01, 7.0, 600.0)
    assert found.tolist() == [0, 1] * 30


def test_a_silence_ends_a_track_and_a_gate_begins_one() -> None:
    silent = _plots(_eastward(55.0, 3.0, [0.0, 20.0, 40.0, 701.0]), velocity=True)
    assert owners(silent, 0.01, 7.0, 660.0).tolist() == [0, 0, 0, 1]
    assert owners(silent, 0.01, 7.0, 662.0).tolist() == [0, 0, 0, 0]
    aside = _plots([*_eastward(55.0, 3.0, [0.0, 20.0, 40.0]), (3, 60.0, 55.005, 3.0)], velocity=True)
    assert owners(aside, 0.01, 7.0, 600.0).tolist() == [0, 0, 0, 1]


def test_a_track_takes_one_detection_of_a_scan_and_the_nearest_goes_first() -> None:
    first, second = _eastward(55.0, 3.0, [0.0, 20.0]), _eastward(55.0, 3.0, [40.0], scan=2)[0]
    nearer, farther = (2, 40.0, second[2] + 1e-5, second[3]), (2, 40.0, second[2] + 8e-5, second[3])
    for pair, expected in (([nearer, farther], [0, 1]), ([farther, nearer], [1, 0])):
        assert owners(_plots([*first, *pair], velocity=True), 0.01, 7.0, 600.0).tolist() == [0, 0, *expected]


# --- the sea on a plane ---


def test_the_sea_is_as_it_says() -> None:
    n, step_s = 2_000, 60.0
    run = sea(n, 5)
    assert all(np.array_equal(a, b) for a, b in zip(run.scans, sea(n, 5).scans, strict=True))
    assert len(run.states) == len(run.scans) == run.params["scans"] == 20
    truth = [x[:, ::2] for x in run.states]
    side = run.params["area"][0][1]
    assert side**2 / n == pytest.approx(16e6)
    # In the middle of the run all ships are in the area.
    middle = (truth[9] + truth[10]) / 2
    assert np.mean((middle > -2_000) & (middle < side + 2_000)) == 1.0
    assert np.mean((middle > 0) & (middle < side)) > 0.98
    expected = n * (run.params["pd"] + 0.1)
    assert np.mean([len(z) for z in run.scans]) == pytest.approx(expected, rel=0.01)
    speed = np.linalg.norm(truth[1] - truth[0], axis=1) / step_s
    assert 4.0 < np.quantile(speed, 0.01) < np.quantile(speed, 0.99) < 16.5
    noise = np.diff(truth, 2, axis=0)
    # Second differences of a velocity of density q: 2/3 q T^3.
    assert noise.var() == pytest.approx(2 / 3 * 0.01 * step_s**3, rel=0.02)
    near = min(np.linalg.norm(truth[9] - z, axis=1).min() for z in run.scans[9][:50])
    assert near < 3 * np.sqrt(run.params["R"])


def test_estimates_of_the_engine_are_near_the_truth(tmp_path: Path) -> None:
    write(sea(30, 1), tmp_path)
    found = [line["xy"] for line in estimates(tmp_path)]
    truth = [json.loads(line)["xy"] for line in (tmp_path / "truth.ndjson").read_text().splitlines()]
    assert mean_ospa(tmp_path, truth) == pytest.approx(0.0, abs=1e-9)
    assert mean_ospa(tmp_path, [[] for _ in truth]) == pytest.approx(500.0)
    assert 20.0 < mean_ospa(tmp_path, found) < 200.0
    with pytest.raises(ValueError, match="19 scans, truth of 20"):
        mean_ospa(tmp_path, truth[:19])


# --- tables ---


def _cells(text: str) -> list[list[str]]:
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    assert len({len(row) for row in rows}) == 1
    return rows


def test_side_by_side_without_stone_soup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APSS_FUSION_RIVALS", str(tmp_path / "nothing"))
    write(sea(25, 2), tmp_path)
    side_by_side.main(["--folder", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "make rivals" in printed
    head, *rows = _cells(printed)
    assert [row[0] for row in rows] == [f"ours {name}" for name in SETTINGS]
    for cells in rows:
        row = dict(zip(head, cells, strict=True))
        assert row["scenario"] == "sea_25" and 20.0 < float(row["OSPA, m"]) < 200.0
        alone, encoded = (
            float(row[key].replace(",", "")) for key in ("detections a CPU second", "with encoding and telling")
        )
        assert alone > encoded > 0.0
        assert float(row["peak MiB"].replace(",", "")) > 50.0


def test_the_first_setting_is_the_engines_default() -> None:
    known = [getattr(Config.of({SETTING_KEY: name}), SETTING_KEY) for name in SETTINGS]
    assert known == list(SETTINGS) and getattr(Config.of({}), SETTING_KEY) == SETTINGS[0]


def test_ours_is_tracked_as_in_the_published_tables(tmp_path: Path) -> None:
    write(sea(25, 2), tmp_path)
    for setting in SETTINGS:
        found = side_by_side.track_ours(tmp_path, setting)
        assert found["estimates"] == [line["xy"] for line in estimates(tmp_path, setting)]
        assert found["detections"] == sum(map(len, sea(25, 2).scans))


@pytest.mark.parametrize("arguments", [["--ships", "0"], ["--runs", "0"], ["--folder", "no such folder"]])
def test_side_by_side_refuses(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        side_by_side.main(arguments)
    assert refused.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_blind_association_of_ships_that_are_far_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _ais_csv(tmp_path / RECORDINGS["solent"].files[0], 4, 30)
    blind.main(["--data", str(tmp_path), "--without-stone-soup", "solent", "opensky"])
    printed = capsys.readouterr().out
    tuning = blind.TUNING["solent"]
    assert "Left out, opensky" in printed and f"q {tuning.q:g} m²/s³, deleted after {tuning.delete_s:g} s" in printed
    head, row = _cells(printed)
    cells = dict(zip(head, row, strict=True))
    assert (cells["detections"], cells["objects"]) == ("120", "4")
    for tracker in ("ours", "nearest"):
        assert [cells[f"{tracker}: {what}"] for what in ("ARI", "switches", "purity", "tracks")] == [
            "1.000",
            "0",
            "1.000",
            "4",
        ]
    assert cells["Stone Soup: ARI"] == "-"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["nowhere"], "no such feed"), (["--setting", "best"], "invalid choice: 'best'"), (["--data", "none"], "folder")],
)
def test_blind_refuses(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APSS_FUSION_FEEDS", raising=False)
    with pytest.raises(SystemExit) as refused:
        blind.main(arguments)
    assert refused.value.code == 2 and word in capsys.readouterr().err


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"benchmarks\.rivals\.nearest: .*required: --q"):
        side_by_side.in_process(sys.executable, "benchmarks.rivals.nearest", ["a", "b"])


# --- Stone Soup ---


@pytest.fixture
def stone_soup() -> Path:
    python = side_by_side.rival_python()
    if python is None:
        pytest.skip("needs .venv-rivals, which `make rivals` makes")
    return python


def test_stone_soup_and_the_nearest_neighbour_agree_where_all_is_clear(stone_soup: Path, tmp_path: Path) -> None:
    _ais_csv(tmp_path / "ships.csv", 3, 20)
    feed = RECORDINGS["solent"].read([tmp_path / "ships.csv"])
    tuning = blind.TUNING["solent"]
    mine, _ = blind.rival(sys.executable, "benchmarks.rivals.nearest", feed, tuning, "SEA")
    theirs, cpu_s = blind.rival(stone_soup, "benchmarks.rivals.stone_soup_plots", feed, tuning, "SEA")
    assert mine == theirs and len(set(theirs.values())) == 3 and cpu_s > 0.0


def test_stone_soup_on_a_small_sea(stone_soup: Path, tmp_path: Path) -> None:
    write(sea(15, 3), tmp_path)
    for name in ("Stone Soup GNN", "Stone Soup JPDA"):
        result = side_by_side.measured(name, tmp_path, tmp_path / "out.json", stone_soup)
        assert 20.0 < result["ospa_m"] < 200.0 and result["cpu_s"] > 0.0
