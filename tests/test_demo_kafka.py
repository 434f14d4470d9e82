"""The demo beside Kafka: simulated looks replayed, fused by a worker, and counted by a subscriber."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka_tools import fresh_prefix
from made_updates import random_updates
from msgspec import structs
from replay_tools import written
from test_cli_commands import SCENARIO

from apss_fusion import simulation
from apss_fusion.cli import run
from apss_fusion.model import TrackUpdate
from apss_fusion.outputs import track_ndjson
from apss_fusion.streaming.live_picture import LivePicture
from apss_fusion.streaming.subscriber import TrackSubscriber


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in; the demo is a small scenario."""
    monkeypatch.setattr(simulation, "DEMO", Path(written(tmp_path / "scenario.toml", SCENARIO.encode())))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_tracks_arrive(
    kafka: str, small: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    prefix = fresh_prefix()
    monkeypatch.setenv("APSS_TOPICS_PREFIX", prefix)
    monkeypatch.setenv("APSS_WORKER_GROUP", prefix)
    counts = []
    # The second time, the topics of the first are deleted.
    for _ in range(2):
        assert run(["demo-kafka", "--bootstrap", kafka, "--speed", "0"]) == 0
        out, err = capfd.readouterr()
        assert f"looks of 4 satellites go to {prefix}demo.feeds.looks, all at once" in err
        assert "12 ships" in out
        assert f"APSS_TOPICS_PREFIX={prefix}demo. apss-fusion subscribe" in out
        counts.append(out.split(" came in ")[0])
    assert counts[0] == counts[1]
    assert "records delivered in" in (small / "demo" / "replay.log").read_text()


def test_no_cluster(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["demo-kafka", "--bootstrap", "127.0.0.1:1"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("apss-fusion: cluster 127.0.0.1:1: no answer within 5 s")
    assert not (small / "demo").exists()


def test_a_worker_that_cannot_run(
    kafka: str, small: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its own words are told, and where the rest of them is."""
    monkeypatch.setenv("APSS_TOPICS_PREFIX", fresh_prefix())

    def sources_lost(self: TrackSubscriber, *arguments: Any) -> list[bytes]:
        return []

    monkeypatch.setattr(TrackSubscriber, "poll", sources_lost)
    monkeypatch.setattr("apss_fusion.cli.demo_kafka._make_topics", lambda settings, regions: None)
    monkeypatch.setattr(TrackSubscriber, "__init__", lambda self, settings: None)
    monkeypatch.setattr(TrackSubscriber, "close", lambda self: None)
    assert run(["demo-kafka", "--bootstrap", kafka]) == 1
    line = capfd.readouterr().err.splitlines()[-1]
    assert line.startswith("apss-fusion: the ")
    assert "missing" in line
    assert line.endswith((f"({Path('demo') / 'worker.log'})", f"({Path('demo') / 'replay.log'})"))


def test_a_live_picture() -> None:
    (line, *_) = bytes(track_ndjson.encode(random_updates(4, 3))).splitlines()
    update = msgspec.json.decode(line, type=TrackUpdate)
    picture = LivePicture(last=2)
    for k, (track_id, status, domain) in enumerate(
        [
            ("a", "CONFIRMED", "SEA"),
            ("b", "CONFIRMED", "AIR"),
            ("a", "COASTING", "SEA"),
            ("b", "TERMINATED", "AIR"),
            ("c", "TERMINATED", "SEA"),
            ("d", "CONFIRMED", "SEA"),
        ]
    ):
        changed = structs.replace(
            update,
            track_id=track_id,
            status=status,
            domain=domain,
            ids={"mmsi": f"12{k}"},
            time=datetime(2026, 1, 1, 0, 0, 10 - k, tzinfo=UTC),
        )
        picture.take([msgspec.json.encode(changed)])
    assert set(picture.tracks) == {"a", "d"}
    assert picture.by_domain() == {"SEA": 2}
    assert (picture.updates, picture.seen, picture.ended) == (6, 4, 1)
    assert picture.time == datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)
    assert [(status, track.name) for status, track in picture.newest] == [("CONFIRMED", "125"), ("TERMINATED", "124")]
