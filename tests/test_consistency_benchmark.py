"""The measurement of consistency measures right: made objects are consistent, and what is not is seen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from scipy.stats import chi2, kstest

from apss_fusion.geodesy.positions import offsets
from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.tracking.config import Config
from benchmarks.consistency import GAP_NAMES, Errors, errors, feed_looks, innovations, interval, main
from benchmarks.consistency_scenes import P_DETECT, SETTINGS, SOURCES, START_S, TIMES, Scene, object_of, reports, scans
from benchmarks.scenes import write_looks

DOMAINS = tuple(SETTINGS)


def config(**domain: Any) -> Config:
    """The engine's defaults, held back."""
    # Objects move by the noise of their domain: a bank of noises would look for others.
    one_noise = {"noise_factors": [1.0]}
    return Config.of({"lag_s": 0.0, "hold_back": True, "accurate": one_noise, "domain": domain})


def told(domain: str, seed: int, count: int = 64, *, tells: bool = False) -> Scene:
    return reports(seed, count, SETTINGS[domain], config(), tells)


def joined(parts: list[Errors]) -> Errors:
    return Errors(np.concatenate([p.error for p in parts]), np.concatenate([p.covariance for p in parts]))


def test_the_interval_is_that_of_the_tables() -> None:
    """Chi-square with 100 degrees of freedom at 2.5 and 97.5 %: 74.22 and 129.56 (Abramowitz and Stegun, table 26.8)."""
    assert np.allclose(interval(50, 2), (0.7422, 1.2956), atol=1e-4)
    assert np.allclose(interval(25, 4), interval(50, 2))
    assert interval(50, 2, 0.99)[0] < interval(50, 2)[0]


def test_nees_of_hand_made_errors() -> None:
    p = np.diag([4.0, 1.0, 1.0, 0.25])[None]
    e = Errors(np.array([[2.0, 1.0, 0.0, 1.0]]), p)
    assert e.nees(2).tolist() == [2.0] and e.nees(4).tolist() == [6.0]


# ---------------------------------------------------------------------------------------- simulated


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("tells", [False, True])
def test_the_engine_is_consistent_about_objects_that_report(domain: str, tells: bool) -> None:
    """NEES within the 99.8 % interval, position and full state; its distribution is chi-square too."""
    e = joined([errors(told(domain, seed, tells=tells), config()) for seed in (1, 2, 3)])
    assert len(e.error) == 192
    for dims in (2, 4):
        low, high = interval(len(e.error), dims, 0.998)
        assert low <= e.nees(dims).mean() / dims <= high
        assert kstest(e.nees(dims), chi2(dims).cdf).pvalue > 1e-3


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_engine_is_consistent_about_objects_that_are_scanned(domain: str) -> None:
    """By the median, which an exchange of two objects does not move."""
    e = joined([errors(scans(seed, 49, SETTINGS[domain], config(), 0.0), config()) for seed in (1, 2)])
    assert len(e.error) == 98
    for dims in (2, 4):
        # The median of n has a deviation of 1 / (2 f sqrt(n)), f the density there.
        middle = float(chi2.median(dims))
        sigma = 0.5 / (float(chi2.pdf(middle, dims)) * math.sqrt(len(e.error)))
        assert abs(float(np.median(e.nees(dims))) - middle) < 3.5 * sigma


@pytest.mark.parametrize(("factor", "too_sure"), [(0.05, True), (20.0, False)])
def test_wrong_noise_is_seen(factor: float, too_sure: bool) -> None:
    wrong = config(SEA={"q": factor * config().domain["SEA"].q})
    nees = errors(told("SEA", 5), wrong).nees(4) / 4.0
    low, high = interval(len(nees), 4)
    assert (nees.mean() > high) if too_sure else (nees.mean() < low)


def test_reports_are_as_noisy_as_they_say() -> None:
    setting = SETTINGS["SEA"]
    scene = told("SEA", 9, 100, tells=True)
    last = {object_of(look.look_id): look for look in scene.looks}
    away, along = [], []
    for n, truth in enumerate(scene.truth):
        (d,) = last[n].detections
        assert last[n].time.timestamp() - START_S == pytest.approx(float(truth["t"][0]), abs=1e-6)
        place = np.stack([truth["x"], truth["y"], truth["z"]], 1)
        away += (offsets(place, nvectors(d.lat, d.lon))[0] / setting.report_m).tolist()
        assert d.speed_mps is not None
        along.append((d.speed_mps - math.hypot(float(truth["a"][0]), float(truth["b"][0]))) / setting.speed_mps)
    assert 0.75 < np.var(away) < 1.3 and 0.6 < np.var(along) < 1.5
    assert len(scene.looks) == 100 * TIMES


def test_scans_see_as_often_as_they_say() -> None:
    scene = scans(3, 49, SETTINGS["GROUND"], config(), 0.5)
    real = [object_of(d.detection_id) >= 0 for look in scene.looks for d in look.detections]
    assert abs(sum(real) / (49 * TIMES) - P_DETECT) < 0.04
    assert 300 < real.count(False) < 500
    assert all(look.footprint is not None and look.p_detect == P_DETECT for look in scene.looks)
    assert scans(3, 49, SETTINGS["GROUND"], config(), 0.5).looks == scene.looks


# ---------------------------------------------------------------------------------------- feeds


@pytest.mark.parametrize("domain", DOMAINS)
def test_innovations_of_consistent_reports_are_chi_square(domain: str) -> None:
    scene = told(domain, 11)
    found = innovations(scene.looks, SOURCES, config())
    settled = found.nis()
    assert len(settled) == 64 * (TIMES - 1) and found.same.all() and set(found.source) == {f"report-{domain}"}
    low, high = interval(len(settled), 2, 0.998)
    assert low <= settled.mean() / 2.0 <= high
    gaps = SETTINGS[domain].report_s
    assert gaps[0] - 1e-3 <= found.gap_s.min() and found.gap_s.max() <= gaps[1] + 1e-3
    # More noise than there is: likelier innovations are rarer.
    vague = innovations(scene.looks, SOURCES, config(**{domain: {"q": 30.0 * config().domain[domain].q}}))
    assert vague.nis().mean() / 2.0 < low
    assert vague.log_likelihood(0.05).mean() < found.log_likelihood(0.05).mean()


def test_what_another_track_took_counts_for_its_identity() -> None:
    """A ship that appears 300 km further on within a minute: no track takes it, but its innovation is there."""
    scene = told("SEA", 13, 4)
    own = [look for look in scene.looks if object_of(look.look_id) == 0]
    far = [
        msgspec.structs.replace(look, detections=(msgspec.structs.replace(look.detections[0], lat=look.detections[0].lat + 3.0),))
        for look in own[8:]
    ]  # fmt: skip
    found = innovations([*own[:8], *far], SOURCES, config())
    assert found.same.tolist() == [True] * 7 + [False] + [True] * 7
    assert found.nis()[7] > 1e3
    assert found.log_likelihood(0.05)[7] == pytest.approx(math.log(1e-3 / (math.pi * 1e8)), abs=0.1)


def test_nothing_to_pair() -> None:
    assert len(innovations([], SOURCES, config()).nis()) == 0
    assert len(innovations(told("AIR", 1, 1).looks[:1], SOURCES, config()).nis()) == 0


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[list[str]]:
    main(arguments)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_table_of_a_feed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    feed = tmp_path / "feed.ndjson"
    write_looks(feed, told("AIR", 17, 12).looks)
    looks, sources = feed_looks(feed)
    assert len(looks) == 12 * TIMES and set(sources) <= {"looks"}
    (tmp_path / "c.toml").write_text("[domain.AIR]\nq = 10.0\n")
    _, *rows = printed(capsys, "--feed", str(feed), "--config", str(tmp_path / "c.toml"))
    assert sum(int(row[1].replace(",", "")) for row in rows) == 12 * (TIMES - 1)
    assert {row[0].rpartition(", ")[2] for row in rows} <= set(GAP_NAMES[:2])
    with pytest.raises(SystemExit):
        main(["--feed", str(tmp_path / "none")])


def test_the_table_of_scenes(capsys: pytest.CaptureFixture[str]) -> None:
    header, *rows = printed(capsys, "--runs", "1")
    assert len(rows) == 12 and all(len(row) == len(header) for row in rows)
    assert {row[0].partition(",")[0] for row in rows} == set(DOMAINS)
