"""From a replayed feed to a subscriber, on a real broker, beside `apss-fusion fuse` of the same files."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import recorded
from kafka import KafkaConsumer, TopicPartition
from kafka_tools import fresh_prefix, wait_until
from simulated import START, WGS84, Made, small

from apss_fusion.cli import run
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.streaming.deployment import read_deployment
from apss_fusion.streaming.fuse_lane import WATERMARK
from apss_fusion.streaming.settings import Settings, read_settings
from apss_fusion.streaming.subscriber import TrackSubscriber
from apss_fusion.tracking.engine import Engine

PROGRAM = [sys.executable, "-m", "apss_fusion.cli"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Path]:
    """Looks of every kind, late ones among them, and their register."""
    folder = tmp_path_factory.mktemp("made")
    return Made(small(), folder), folder


def deployment(folder: Path, bootstrap: str, formats: list[str], more: str = "") -> tuple[Path, Settings]:
    path = folder / "deployment.toml"
    path.write_text(
        f'bootstrap = "{bootstrap}"\nformats = {json.dumps(formats)}\n{more}\n'
        f'[topics]\nprefix = "{fresh_prefix()}"\nfeed_partitions = 3\n[worker]\nhttp_port = 0\n'
        "[kafka]\nrequest_timeout_s = 10\n"
    )
    settings = read_settings(str(path), {})
    assert run(["topics", "apply", "--config", str(path)]) == 0
    return path, settings


@contextmanager
def worker(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([*PROGRAM, "worker", "--config", str(config)])  # noqa: S603
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(40) == 0


def fused(folder: Path, *arguments: str) -> list[bytes]:
    """The updates of the embedded engine, the feed not ended: what it would publish at the end is not among them."""
    out = folder / "embedded.ndjson"
    assert run(["fuse", *arguments, "--out", str(out), "--save", str(folder / "state")]) == 0
    return out.read_bytes().splitlines()


def updates_of(settings: Settings, count: int) -> tuple[list[bytes], dict[str, bytes]]:
    """So many updates of the topic, and no more within a second after; and the picture."""
    found: list[bytes] = []
    with TrackSubscriber(settings) as subscriber:

        def enough() -> bool:
            found.extend(subscriber.poll())
            return len(found) >= count

        wait_until(enough, 120.0, f"{count} updates")
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            found.extend(subscriber.poll())
        return found, dict(subscriber.picture)


def live(updates: list[bytes]) -> dict[str, bytes]:
    """The last update of each track that has not ended."""
    last = {json.loads(line)["track_id"]: line for line in updates}
    return {track_id: line for track_id, line in last.items() if json.loads(line)["status"] != "TERMINATED"}


def test_looks_of_one_file_give_the_bytes_of_fuse(kafka: str, tmp_path: Path, made: tuple[Made, Path]) -> None:
    _, folder = made
    looks, sources = str(folder / "looks.ndjson"), str(folder / "sources.toml")
    expected = fused(tmp_path, looks, "--sources", sources)
    assert len(expected) > 500
    config, settings = deployment(tmp_path, kafka, ["looks"], f'sources = "{sources}"')
    with worker(config):
        assert run(["replay", looks, "--config", str(config), "--speed", "0"]) == 0
        found, picture = updates_of(settings, len(expected))
    assert found == expected
    assert picture == live(expected)


def test_a_recorded_nmea_file_gives_the_bytes_of_fuse(kafka: str, tmp_path: Path) -> None:
    feed = str(recorded("ais/exactearth_satellite_aug2.txt"))
    expected = fused(tmp_path, feed)
    assert len(expected) > 500
    config, settings = deployment(tmp_path, kafka, ["ais-nmea"])
    with worker(config):
        assert run(["replay", feed, "--config", str(config), "--speed", "0"]) == 0
        found, _ = updates_of(settings, len(expected))
    assert found == expected


def test_several_partitions_give_the_same_final_picture(kafka: str, tmp_path: Path, made: tuple[Made, Path]) -> None:
    simulation, folder = made
    parts: dict[str, list[bytes]] = {}
    for look in simulation.looks:
        parts.setdefault(look.source_id, []).append(look_json(look))
    names = []
    for name, lines in parts.items():
        path = tmp_path / f"{name}.ndjson"
        path.write_bytes(b"".join(lines))
        names.append(str(path))
    sources = str(folder / "sources.toml")
    # As fast as it goes, one partition may be done before another begins: the lag is longer than the recording.
    expected = live(fused(tmp_path, *names, "--sources", sources, "--lag", "3600"))
    more = f'sources = "{sources}"\n[engine]\nlag_s = 3600'
    config, settings = deployment(tmp_path, kafka, ["looks"], more)
    assert run(["replay", *names, "--config", str(config), "--speed", "0"]) == 0
    with worker(config), TrackSubscriber(settings) as subscriber:
        changelog = Changelog(settings)
        wait_until(lambda: changelog.looks() >= len(simulation.looks), 120.0, "all looks in the state")
        picture = dict(subscriber.read_picture())
    # The state is that of the looks in order, to the last bit. Readers were told of the tracks at other moments.
    deployed = read_deployment(settings)
    recovered, embedded = (Engine(deployed.config, deployed.sources) for _ in range(2))
    recovered.load((key.decode(), value) for key, value in changelog.records.items() if key != WATERMARK)
    embedded.process_many(simulation.looks)
    assert recovered.state() == embedded.state()
    assert picture.keys() == expected.keys()
    for track_id, line in picture.items():
        here, there = at_the_end(line), at_the_end(expected[track_id])
        assert distance_m(*here, *there) < 5.0


def at_the_end(line: bytes) -> tuple[float, float]:
    """Where an update says that its track is at the end of the simulation, at constant velocity; degrees."""
    update = json.loads(line)
    dt_s = (START + timedelta(seconds=1200) - datetime.fromisoformat(update["time"])).total_seconds()
    east, north, _ = update["v_enu_mps"]
    lon, lat, _ = WGS84.fwd(
        update["lon"], update["lat"], math.degrees(math.atan2(east, north)), math.hypot(east, north) * dt_s
    )
    return lat, lon


def distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    return float(WGS84.inv(lon1, lat1, lon2, lat2)[2])


class Changelog:
    """The state of partition 0, as far as it has been read."""

    def __init__(self, settings: Settings) -> None:
        self._place = TopicPartition(settings.topic("fuse-changelog"), 0)
        self._consumer = KafkaConsumer(
            bootstrap_servers=settings.servers, auto_offset_reset="earliest", isolation_level="read_committed"
        )
        self._consumer.assign([self._place])
        self.records: dict[bytes, bytes] = {}

    def looks(self) -> int:
        """How many looks the state covers."""
        for records in self._consumer.poll(timeout_ms=200).values():
            for r in records:
                if r.value is None:
                    self.records.pop(r.key, None)
                else:
                    self.records[r.key] = r.value
        mark = self.records.get(WATERMARK)
        return 0 if mark is None else int(json.loads(mark)["offset"]) + 1


def test_a_worker_takes_its_settings_from_the_environment_too(kafka: str, tmp_path: Path) -> None:
    config, _ = deployment(tmp_path, kafka, ["looks"])
    environment = {**os.environ, "APSS_WORKER_LOG_FORMAT": "json"}
    process = subprocess.Popen(  # noqa: S603
        [*PROGRAM, "worker", "--config", str(config)],
        env=environment,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    line = json.loads(process.stderr.readline())
    process.terminate()
    assert process.wait(40) == 0
    assert {"time", "level", "logger", "message"} <= line.keys()
