"""Recorded feeds in their own disorder: the state of fusing in order, at any moment and at the end, file to file too."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from check_late import LateRun, untrue
from conftest import recorded
from late_scenarios import LateScenario, Reader

from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.opensky_csv import OpenSky
from apss_fusion.feeds.reading import read_looks
from apss_fusion.model import TrackUpdate
from apss_fusion.replay.pipeline import FuseJob, fuse
from apss_fusion.replay.pipeline_stop import Stop
from apss_fusion.tracking.config import Config

pytestmark = pytest.mark.feeds

#: Feeds in the order in which they were received: looks that are read, and how many of them are earlier than another before.
NMEA = {
    "ais/exactearth_satellite_aug2.txt": (760, 600),
    "ais/exactearth_tag_block.txt": (177, 100),
    "ais/amsa_terrestrial_2012.nmea.gz": (743, 250),
    "ais/kystverket_Ais1000Lines.nm4": (742, 400),
}
STATES = 8


def feed(name: str, most: int, **overrides: Any) -> LateScenario:
    """The first looks of a feed, with the source that belongs to its format."""
    sources = {decoder.name: decoder.source for decoder in (AisNmea, OpenSky)}
    looks = list(islice(read_looks(recorded(name)), most))
    lag = max(source.max_latency_s or 0.0 for source in sources.values())
    return LateScenario(-1, "wide", 0.0, lag, looks, sources, overrides)


def check(s: LateScenario, **overrides: Any) -> LateRun:
    """One by one: exact at some moments and at the end, and a reader sees what the picture shows."""
    run = LateRun(s, **overrides)
    at = {(k + 1) * len(s.looks) // STATES - 1 for k in range(STATES)}
    for k, look in enumerate(s.looks):
        run.give(look)
        if k in at and run.engine.pending == 0:
            assert run.unlike() + run.misread() == [], k
    run.reader.read(run.engine.flush())
    assert run.unlike() + run.misread() == []
    assert untrue(run.reader.latest, run.taken, s) == []
    return run


@pytest.mark.parametrize("name", NMEA)
def test_recorded_reports_of_ships(name: str) -> None:
    """Orbital ones are up to half an hour out of order, terrestrial ones up to a minute."""
    count, late = NMEA[name]
    run = check(feed(name, count))
    assert len(run.taken) > 0.9 * count
    assert run.late >= late


@pytest.mark.parametrize("budget", [1, 20])
def test_recorded_reports_with_a_small_budget(budget: int) -> None:
    run = check(feed("ais/exactearth_satellite_aug2.txt", 760, tentative=True), budget_clusters=budget)
    assert run.late >= 600


def test_recorded_reports_while_the_lag_passes() -> None:
    """A lag that is short beside the feed: some looks are late, what is older is settled."""
    s = feed("ais/amsa_terrestrial_2012.nmea.gz", 743, lag_s=30.0)
    run = check(s)
    assert 600 < len(run.taken) < len(s.looks)
    assert run.engine.counters()["window_looks"] < len(run.taken) / 2


def test_recorded_reports_of_aircraft() -> None:
    """State vectors up to 12 s out of order."""
    run = check(feed("adsb/opensky_state_vectors_uk_2021-07-12.csv", 1500))
    assert run.late >= 1000


# ---------------------------------------------------------------------------------------- file to file


def latest_of(lines: Iterable[bytes]) -> dict[str, TrackUpdate]:
    reader = Reader()
    reader.read(msgspec.json.decode(line, type=TrackUpdate) for line in lines)
    return reader.latest


def outputs(folder: Path, name: str, **overrides: Any) -> tuple[dict[str, TrackUpdate], bytes, dict[str, Any]]:
    """(latest updates, pictures, summary) of a run of the pipeline."""
    folder.mkdir()
    tracks, pictures = folder / "tracks.ndjson", folder / "pictures.ndjson"
    job = FuseJob(
        inputs=(str(recorded(name)),),
        out=str(tracks),
        picture=str(pictures),
        config=Config.of({"picture_interval_s": 300.0, **overrides}),
    )
    outcome = fuse(job, Stop())
    assert outcome.status == 0
    return latest_of(tracks.read_bytes().splitlines()), pictures.read_bytes(), outcome.summary


@pytest.mark.parametrize("budget", [5, 5000])
def test_a_recorded_file_from_end_to_end(tmp_path: Path, budget: int) -> None:
    """The pictures of holding back byte for byte, the same records used, and the same tracks in the end."""
    name = "ais/exactearth_satellite_aug2.txt"
    held, pictures, summary = outputs(tmp_path / "held", name, hold_back=True)
    late, late_pictures, late_summary = outputs(tmp_path / "late", name, budget_clusters=budget)
    assert late_pictures == pictures
    assert len(json.loads(pictures.splitlines()[-1])["tracks"]) > 50
    for key in ("records_in", "records_used", "duplicates", "late", "dead_letters", "looks", "detections"):
        assert late_summary[key] == summary[key], key
    living = [{k: u for k, u in run.items() if u.status != "TERMINATED"} for run in (late, held)]
    assert living[0].keys() == living[1].keys()
    for track_id, u in living[0].items():
        other = living[1][track_id]
        assert (u.status, u.ids, u.n_detections, u.marking) == (
            other.status,
            other.ids,
            other.n_detections,
            other.marking,
        )
    assert any(u.revised_from for u in late.values())
    assert not any(u.revised_from for u in held.values())
