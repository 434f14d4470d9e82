"""The topics as data: whole, true of what they show, and to be found in a wheel."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from apss_fusion.feeds.base import Decoded, Reject, Used
from apss_fusion.feeds.registry import decoder_named, decoders
from apss_fusion.model.schemas import FILES
from apss_fusion.streaming import topic_data
from apss_fusion.streaming.headers import read_origin
from apss_fusion.streaming.settings import Settings, SettingsError, Topics
from apss_fusion.streaming.topic_data import (
    DECODE_CHANGELOG,
    FEEDS,
    FUSE_CHANGELOG,
    LOOKS,
    TRACKS,
    Example,
    Topic,
    example_headers,
    folder,
    topic_files,
    topic_specs,
    topics,
)

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = [
    pytest.param(topic, example, id=f"{topic.name}-{number}")
    for topic in topics()
    for number, example in enumerate(topic.examples)
]


def specs(regions: int = 3, **values: Any) -> dict[str, topic_data.TopicSpec]:
    settings = Settings(topics=Topics(feed_partitions=5, **values))
    return {spec.topic.name: spec for spec in topic_specs(settings, regions)}


def test_there_is_one_topic_of_feeds_for_each_decoder() -> None:
    names = [topic.name for topic in topics()]
    assert len(names) == len(set(names))
    assert {name for name in names if name.startswith(FEEDS)} == {FEEDS + decoder.name for decoder in decoders()}
    assert len(names) == len(decoders()) + 5


def test_partitions_follow_the_settings_and_the_regions() -> None:
    for name, spec in specs().items():
        assert spec.partitions == (3 if name in (LOOKS, TRACKS, FUSE_CHANGELOG) else 5)


def test_only_the_last_record_of_a_key_is_kept_where_state_lives_and_nowhere_else() -> None:
    assert {topic.name for topic in topics() if topic.compacted} == {TRACKS, FUSE_CHANGELOG, DECODE_CHANGELOG}
    for topic in topics():
        assert topic.configs["cleanup.policy"] in ("compact", "delete")
        assert topic.tombstones == topic.compacted


def test_what_is_compacted_is_compacted_soon() -> None:
    for topic in topics():
        if topic.compacted:
            configs = {key: float(value) for key, value in topic.configs.items() if key[-2:] in ("ms", "es", "io")}
            assert configs["segment.ms"] + configs["max.compaction.lag.ms"] <= 1_800_000
            assert configs["min.cleanable.dirty.ratio"] < 0.5
            assert configs["max.message.bytes"] < configs["segment.bytes"] <= 2**27


def test_a_retention_by_time_counts_from_when_a_record_was_written() -> None:
    """Kafka would delete records of a recording of years ago minutes after they were replayed."""
    for topic in topics():
        assert topic.configs["message.timestamp.type"] == "LogAppendTime"
        assert int(topic.configs["message.timestamp.after.max.ms"]) == 2**63 - 1


def test_large_records_pass() -> None:
    assert {topic.configs["max.message.bytes"] for topic in topics()} == {8 * 2**20}


@pytest.mark.parametrize(("replication", "in_step"), [(1, "1"), (2, "2"), (3, "2")])
def test_a_record_is_on_two_brokers_where_there_are_two(replication: int, in_step: str) -> None:
    for spec in specs(replication_factor=replication).values():
        assert (spec.replication, spec.configs["min.insync.replicas"]) == (replication, in_step)


def test_a_prefix_stands_in_front() -> None:
    for name, spec in specs(prefix="site-1.").items():
        assert spec.name == f"site-1.{name}"


@pytest.mark.parametrize("prefix", ["a b", "a/", "ä", "x" * 249, "a\n"])
def test_a_prefix_that_kafka_does_not_take(prefix: str) -> None:
    with pytest.raises(SettingsError, match=r"^topics\.prefix [^\n]+$"):
        specs(prefix=prefix)


def test_all_configuration_reaches_the_cluster_as_text() -> None:
    for spec in specs().values():
        assert {key: str(value) for key, value in spec.topic.configs.items()}.items() <= spec.configs.items()


def test_files_are_named_after_their_topics() -> None:
    named = {path.stem for path in (ROOT / "topics").glob("*.toml")}
    assert named == {topic.name.split(".")[0] for topic in topic_files()}


# --- examples ---


def test_every_topic_for_others_has_an_example() -> None:
    for topic in topics():
        if topic.schema is not None:
            assert topic.examples
            assert topic.event is not None
    assert any(topic.examples for topic in topics() if topic.name.startswith(FEEDS))
    formats = {example.format for topic in topic_files() for example in topic.examples if example.format}
    assert formats <= {decoder.name for decoder in decoders()}


@pytest.mark.parametrize(("topic", "example"), EXAMPLES)
def test_an_example_is_what_its_topic_holds(topic: Topic, example: Example) -> None:
    if example.value is None:
        assert topic.tombstones
        assert example_headers(topic, example, "s") == []
    elif topic.schema is not None:
        assert topic.schema in FILES
        schema = json.loads((ROOT / "topics" / "schemas" / topic.schema).read_text(encoding="utf-8"))
        Draft202012Validator(schema).validate(json.loads(example.value))
        headers = dict(example_headers(topic, example, "s"))
        assert all(headers.values())
        assert set(topic.headers) <= headers.keys()
    else:
        assert topic.name.startswith(FEEDS)
        items = list(decoder_named(topic.name.removeprefix(FEEDS))().items(io.BytesIO(example.value.encode())))
        assert not [item for item in items if isinstance(item, Reject)]
        assert (
            sum(item.records for item in items if isinstance(item, Decoded | Used))
            + sum(not isinstance(item, Decoded | Used) for item in items)
            == 1
        )


def test_the_examples_tell_one_story() -> None:
    """The row of a feed becomes the look, and the look is the evidence of the track."""
    by_name = {topic.name: topic.examples[0] for topic in topics() if topic.examples}
    row, look, track = (by_name[name] for name in ("feeds.ais-csv", LOOKS, TRACKS))
    assert row.value is not None and look.value is not None and track.value is not None
    (item,) = decoder_named("ais-csv")().items(io.BytesIO(row.value.encode()))
    said = json.loads(look.value)
    made = item.look if isinstance(item, Decoded) else item
    assert getattr(made, "look_id", None) == said["look_id"] == look.id == look.subject
    update = json.loads(track.value)
    assert update["evidence"][0]["look_id"] == said["look_id"]
    assert track.key == track.subject == update["track_id"]
    assert track.id == f"{update['track_id']}:{update['seq']}"
    origin = read_origin(example_headers(next(t for t in topics() if t.name == LOOKS), look, "s"))
    assert origin is not None
    assert origin.topic == "feeds.ais-csv"


# --- bad data ---


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = 1", "looks.toml: Expected"),
        ("name = 'x'\nwhat = 1", "looks.toml: Object contains unknown field"),
        ("name =", "looks.toml: Invalid value"),
    ],
)
def test_a_file_that_is_no_topic_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    (tmp_path / "looks.toml").write_text(text)
    monkeypatch.setattr(topic_data, "folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=f"^topics/{reason}"):
        topic_files()


def test_a_topic_that_nothing_reads_or_writes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (ROOT / "topics").glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "more.toml").write_text((ROOT / "topics" / "looks.toml").read_text().replace('"looks"', '"more"', 1))
    monkeypatch.setattr(topic_data, "folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=r"^topics/: more: no part of the flow$"):
        topics.__wrapped__()


# --- the wheel ---


def test_an_installed_package_finds_its_topics(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    program = "from apss_fusion.streaming.topic_data import folder, topic_files; print(folder(), len(topic_files()))"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(site / "apss_fusion" / "topics"), str(len(topic_files()))]


def test_a_checkout_finds_its_topics() -> None:
    assert (folder() / "feeds.toml").is_file()
