"""The topics against a cluster: what differs, what `apply` does about it, what stops a worker, how commands end."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka_tools import StartKafka, fresh_prefix, wait_until

from apss_fusion.cli.app import invoke
from apss_fusion.streaming import clients
from apss_fusion.streaming.clients import ClusterError
from apss_fusion.streaming.settings import Settings, Topics
from apss_fusion.streaming.topic_admin import (
    Difference,
    Found,
    apply_topics,
    check_topics,
    diff_topics,
    differences,
    topic_table,
    unusable,
)
from apss_fusion.streaming.topic_data import TopicSpec, topic_specs, topics

COUNT = len(topics())


def specs(regions: int = 2, **values: Any) -> dict[str, TopicSpec]:
    made = topic_specs(Settings(topics=Topics(feed_partitions=2, **values)), regions)
    return {spec.topic.name: spec for spec in made}


def as_wanted(wanted: dict[str, TopicSpec]) -> dict[str, Found]:
    """A cluster that has everything as it should be, and defaults beside."""
    return {
        spec.name: Found(spec.partitions, spec.replication, {**spec.configs, "flush.ms": "9223372036854775807"})
        for spec in wanted.values()
    }


def having(found: Found, **configs: str) -> Found:
    return found._replace(configs={**found.configs, **{key.replace("_", "."): value for key, value in configs.items()}})


def lines(found: list[Difference]) -> list[tuple[str, bool]]:
    return [(difference.text, difference.mend is not None) for difference in found]


# --- what differs ---


def test_nothing_differs_where_all_is_as_it_should_be() -> None:
    wanted = specs()
    found = as_wanted(wanted)
    assert differences(wanted.values(), found) == []
    assert unusable(wanted.values(), found) == []
    # Numbers are compared as numbers, and lists in any order.
    found["tracks"] = having(found["tracks"], min_cleanable_dirty_ratio="0.20")
    assert differences(wanted.values(), found) == []


@pytest.mark.parametrize(
    ("name", "change", "text", "is_mended"),
    [
        ("tracks", None, "tracks: missing", True),
        ("looks", lambda f: f._replace(partitions=1), "looks: 1 partition, should be 2", True),
        (
            "looks",
            lambda f: f._replace(partitions=3),
            "looks: 3 partitions, should be 2; none is ever taken away",
            False,
        ),
        (
            "tracks",
            lambda f: having(f, cleanup_policy="delete"),
            "tracks: cleanup.policy = delete, should be compact",
            True,
        ),
        (
            "deadletters",
            lambda f: having(f, retention_ms="1000"),
            "deadletters: retention.ms = 1000, should be 2592000000",
            True,
        ),
        (
            "deadletters",
            lambda f: having(f, retention_ms="-1"),
            "deadletters: retention.ms = -1, should be 2592000000; what is kept is never shortened",
            False,
        ),
        (
            "feeds.looks",
            lambda f: having(f, retention_bytes="5368709120"),
            "feeds.looks: retention.bytes = 5368709120, should be 4294967296; what is kept is never shortened",
            False,
        ),
        (
            "feeds.looks",
            lambda f: having(f, retention_ms="86400000"),
            "feeds.looks: retention.ms = 86400000, should be 604800000",
            True,
        ),
        (
            "looks",
            lambda f: f._replace(configs={k: v for k, v in f.configs.items() if k != "message.timestamp.after.max.ms"}),
            "looks: message.timestamp.after.max.ms should be 9223372036854775807, but this broker does not know it",
            False,
        ),
    ],
)
def test_each_difference_is_one_line(name: str, change: Any, text: str, is_mended: bool) -> None:
    wanted = specs()
    found = as_wanted(wanted)
    if change is None:
        del found[name]
    else:
        found[name] = change(found[name])
    assert lines(differences(wanted.values(), found)) == [(text, is_mended)]


def test_few_replicas_are_told_but_writing_goes_on() -> None:
    """A topic with one replica that needs two in step could not be written at all."""
    wanted = specs(replication_factor=3)
    found = as_wanted(wanted)
    found["looks"] = having(found["looks"]._replace(replication=1), min_insync_replicas="1")
    (difference,) = differences(wanted.values(), found)
    assert difference.text.startswith("looks: replication factor 1, should be 3; ")
    assert difference.mend is None
    found["looks"] = found["looks"]._replace(replication=2)
    assert [d.mend for d in differences(wanted.values(), found)] == [None, "min.insync.replicas"]


# --- what stops a worker ---


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("feeds.looks", None, "topic feeds.looks: missing; `apss-fusion topics apply` makes it"),
        ("decode-changelog", None, "topic decode-changelog: missing; `apss-fusion topics apply` makes it"),
        ("deadletters", lambda f: f._replace(partitions=1), "topic deadletters: 1 partition, needs 2"),
        (
            "tracks",
            lambda f: f._replace(partitions=3),
            "same number of partitions: looks has 2, tracks has 3, fuse-changelog has 2",
        ),
        (
            "feeds.looks",
            lambda f: f._replace(partitions=9),
            "topic feeds.looks: 9 partitions, but decode-changelog has 2",
        ),
        ("looks", lambda f: having(f, cleanup_policy="compact"), "topic looks: cleanup.policy = compact, must not be"),
        (
            "feeds.looks",
            lambda f: having(f, cleanup_policy="delete,compact"),
            "= delete,compact, must not be compacted",
        ),
        ("deadletters", lambda f: having(f, cleanup_policy="compact"), "must not be compacted"),
        (
            "tracks",
            lambda f: having(f, cleanup_policy="delete"),
            "topic tracks: cleanup.policy = delete, must be compact",
        ),
        (
            "fuse-changelog",
            lambda f: having(f, cleanup_policy="compact,delete"),
            "must be compact: its state would be lost",
        ),
        ("decode-changelog", lambda f: having(f, cleanup_policy="delete"), "must be compact"),
    ],
)
def test_what_stops_a_worker_is_one_line(name: str, change: Any, part: str) -> None:
    wanted = specs()
    found = as_wanted(wanted)
    if change is None:
        del found[name]
    else:
        found[name] = change(found[name])
    (problem,) = unusable(wanted.values(), found)
    assert part in problem
    assert "\n" not in problem


def test_more_partitions_of_all_regions_together_stop_nobody() -> None:
    wanted = specs()
    found = as_wanted(wanted)
    for name in ("looks", "tracks", "fuse-changelog"):
        found[name] = found[name]._replace(partitions=8)
    assert unusable(wanted.values(), found) == []


# --- on a broker ---


def deployment(bootstrap: str, **values: Any) -> Settings:
    values = {"prefix": fresh_prefix(), "feed_partitions": 2, **values}
    return Settings(bootstrap=bootstrap, topics=Topics(**values))


def other(settings: Settings, **values: Any) -> Settings:
    return msgspec.structs.replace(settings, topics=msgspec.structs.replace(settings.topics, **values))


def admin(settings: Settings) -> KafkaAdminClient:
    return KafkaAdminClient(bootstrap_servers=settings.servers)


def configure(settings: Settings, name: str, **configs: str) -> None:
    values = {key.replace("_", "."): value for key, value in configs.items()}
    with admin(settings) as client:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic(name), values)])


def test_what_is_applied_is_there_and_differs_in_nothing(kafka: str) -> None:
    settings = deployment(kafka)
    assert [d.mend for d in diff_topics(settings, 3)] == ["make"] * COUNT
    assert len(check_topics(settings, 3)) == COUNT
    told: list[str] = []
    assert apply_topics(settings, 3, told.append) == []
    assert len(told) == COUNT
    assert f"{settings.topic('tracks')}: made, 3 partitions, compact" in told
    assert diff_topics(settings, 3) == []
    assert check_topics(settings, 3) == []
    # A second time there is nothing to do.
    assert apply_topics(settings, 3, told.append) == []
    assert len(told) == COUNT


def test_partitions_are_added_and_never_taken_away(kafka: str) -> None:
    settings = deployment(kafka)
    apply_topics(settings, 1, lambda line: None)
    told: list[str] = []
    assert apply_topics(settings, 2, told.append) == []
    assert sorted(told) == sorted(
        f"{settings.topic(name)}: now 2 partitions" for name in ("looks", "tracks", "fuse-changelog")
    )
    left = apply_topics(settings, 1, told.append)
    assert len(told) == 3
    assert {difference.spec.topic.name for difference in left} == {"looks", "tracks", "fuse-changelog"}
    assert all(difference.text.endswith("2 partitions, should be 1; none is ever taken away") for difference in left)
    # One region less is no reason for a worker not to run.
    assert check_topics(settings, 1) == []

    told.clear()
    assert apply_topics(other(settings, feed_partitions=3), 2, told.append) == []
    moved = "; an input's later records may come to another one than its earlier"
    assert f"{settings.topic('feeds.looks')}: now 3 partitions{moved}" in told


def test_configuration_is_set_back_and_what_is_kept_is_not_shortened(kafka: str) -> None:
    settings = deployment(kafka)
    apply_topics(settings, 1, lambda line: None)
    configure(settings, "tracks", cleanup_policy="delete", segment_bytes="1048576")
    configure(settings, "looks", retention_ms="-1", cleanup_policy="compact", flush_ms="1000")
    wait_until(lambda: len(diff_topics(settings, 1)) == 4, 10, "four changes of configuration")
    problems = sorted(line.split(";")[0] for line in check_topics(settings, 1))
    assert problems == [
        f"topic {settings.topic('looks')}: cleanup.policy = compact, must not be compacted: records would be lost",
        f"topic {settings.topic('tracks')}: cleanup.policy = delete, must be compact: its state would be lost",
    ]
    told: list[str] = []
    (left,) = apply_topics(settings, 1, told.append)
    assert left.text.endswith("retention.ms = -1, should be 604800000; what is kept is never shortened")
    assert sorted(told) == [
        f"{settings.topic('looks')}: cleanup.policy set to delete",
        f"{settings.topic('tracks')}: cleanup.policy set to compact",
        f"{settings.topic('tracks')}: segment.bytes set to 67108864",
    ]
    assert check_topics(settings, 1) == []
    # What the data does not name stays as the operator has set it.
    with admin(settings) as client:
        name = settings.topic("looks")
        has = client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])["topic"][name]
    assert has["flush.ms"]["value"] == "1000"


def test_apply_deletes_nothing(kafka: str) -> None:
    settings = deployment(kafka)
    stranger = settings.topics.prefix + "feeds.of-an-older-version"
    with admin(settings) as client:
        client.create_topics({stranger: {"num_partitions": 3, "replication_factor": 1}})
    apply_topics(settings, 1, lambda line: None)
    with admin(settings) as client:
        (topic,) = client.describe_topics([stranger])
    assert (topic["error_code"], len(topic["partitions"])) == (0, 3)


def test_two_that_apply_at_once(kafka: str) -> None:
    settings = deployment(kafka)
    left: list[Any] = []

    def apply() -> None:
        try:
            left.append(apply_topics(settings, 2, lambda line: None))
        except ClusterError as error:
            left.append(error)

    threads = [threading.Thread(target=apply) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert left == [[], [], []]
    assert diff_topics(settings, 2) == []


def test_topics_of_formats_that_are_left_out_are_not_needed(kafka: str) -> None:
    settings = deployment(kafka)
    few = msgspec.structs.replace(settings, formats=("ais-nmea",))
    assert len(check_topics(few, 1)) == 6
    assert {line.split(":")[0] for line in check_topics(few, 1)} == {
        f"topic {settings.topic(name)}"
        for name in ("feeds.ais-nmea", "looks", "tracks", "deadletters", "decode-changelog", "fuse-changelog")
    }


def test_records_of_long_ago_and_of_the_time_to_come_are_taken(kafka: str) -> None:
    settings = deployment(kafka)
    apply_topics(settings, 1, lambda line: None)
    year_ms = 365 * 86_400_000
    producer = KafkaProducer(bootstrap_servers=settings.servers)
    try:
        for name in ("feeds.looks", "looks", "tracks", "deadletters", "fuse-changelog"):
            for time_ms in (1, 100 * year_ms):
                sent = producer.send(settings.topic(name), key=b"k", value=b"v", partition=0, timestamp_ms=time_ms)
                # All say when the broker took them.
                assert sent.get(20).timestamp != time_ms, name
    finally:
        producer.close()


def test_a_recording_of_long_ago_outlives_the_retention_of_its_topic(own_kafka: StartKafka) -> None:
    """Kafka counts retention.ms from the records' own time stamps: by it, they would be gone at the first check."""
    cluster = own_kafka(log_retention_check_interval_ms="200", log_initial_task_delay_ms="100")
    settings = Settings(bootstrap=cluster.bootstrap)
    apply_topics(settings, 1, lambda line: None)
    with admin(settings) as client:
        client.create_topics({"by-time": {"num_partitions": 1, "configs": {"retention.ms": "604800000"}}})
        client.wait_for_topics(["by-time"])
    producer = KafkaProducer(bootstrap_servers=settings.servers)
    for name in ("by-time", "feeds.looks", "looks", "deadletters"):
        producer.send(name, value=b"v", partition=0, timestamp_ms=1_325_376_000_000).get(20)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=settings.servers)
    try:

        def first(name: str) -> int:
            partition = TopicPartition(name, 0)
            return int(consumer.beginning_offsets([partition])[partition])

        wait_until(lambda: first("by-time") == 1, 60, "a record of 2012 deleted by a retention of 7 days")
        assert [first(name) for name in ("feeds.looks", "looks", "deadletters")] == [0, 0, 0]
    finally:
        consumer.close()


# --- the commands ---


def written(settings: Settings, tmp_path: Path, **more: str) -> str:
    """A file of these settings, for --config."""
    path = tmp_path / "settings.toml"
    values = msgspec.to_builtins(settings.topics)
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in more.items())
    path.write_text(text + "[topics]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return str(path)


def test_list_needs_no_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["topics", "list"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == ["TOPIC", *(topic.name for topic in topics())]
    assert "CLUSTER" not in out


def test_diff_apply_and_list_of_a_cluster(kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = deployment(kafka, feed_partitions=1)
    cells = '[regions.rest]\npartition = 0\nrest = true\n[regions.north]\npartition = 1\ncells = ["8001fffffffffff"]\n'
    (tmp_path / "regions.toml").write_text(cells)
    words = ["--config", written(settings, tmp_path, regions="regions.toml"), "--bootstrap", kafka]
    assert invoke(["topics", "diff", *words]) == 1
    out, err = capsys.readouterr()
    assert (len(out.splitlines()), err) == (COUNT, "")
    assert f"{settings.topic('looks')}: missing" in out.splitlines()

    assert invoke(["topics", "apply", *words]) == 0
    out, err = capsys.readouterr()
    assert f"{settings.topic('looks')}: made, 2 partitions, delete" in out.splitlines()
    assert err == ""
    assert invoke(["topics", "apply", *words]) == 0
    assert capsys.readouterr() == ("", "apss-fusion: the cluster has all topics as they should be\n")
    assert invoke(["topics", "diff", *words]) == 0
    assert capsys.readouterr() == ("", "")

    configure(settings, "looks", retention_ms="-1")
    wait_until(lambda: diff_topics(settings, 2), 10, "a change of configuration")
    assert invoke(["topics", "list", *words]) == 0
    states = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert states[settings.topic("looks")].endswith("1 different")
    assert states[settings.topic("tracks")].endswith("as it should be")
    assert invoke(["topics", "apply", *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"apss-fusion: left as it is: {settings.topic('looks')}: retention.ms = -1")


def test_the_table_says_what_is_missing(kafka: str) -> None:
    table = topic_table(deployment(kafka), 1, on_cluster=True)
    assert all(line.endswith("missing") for line in table[1:])
    # Columns begin one under the other.
    assert {line[table[0].index("PARTITIONS") - 2 :][:2] for line in table} == {"  "}


@pytest.mark.parametrize("command", ["apply", "diff", "list"])
def test_a_cluster_that_is_not_there_ends_with_2_and_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clients, "CONNECT_TIMEOUT_S", 0.3)
    assert invoke(["topics", command, "--bootstrap", "localhost:1"]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err == "apss-fusion: cluster localhost:1: no answer within 0.3 s: Connection refused\n"


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        (["--bootstrap", "nowhere"], "", "bootstrap 'nowhere': not HOST:PORT"),
        ([], "more = 1", "settings.toml: Object contains unknown field `more`"),
        ([], "topics.prefix = 'a b'", "topics.prefix 'a b': "),
        ([], "regions = 'nowhere.toml'", "nowhere.toml: No such file"),
        ([], "kafka.security_protocol = 'SASL_SSL'", "kafka.sasl_mechanism: missing"),
    ],
)
def test_bad_settings_end_with_2_and_one_line(
    words: list[str], text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.toml").write_text(text)
    assert invoke(["topics", "diff", "--config", str(tmp_path / "settings.toml"), *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert said in err


def test_a_refused_change_is_one_line(kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = deployment(kafka, replication_factor=50)
    assert invoke(["topics", "apply", "--config", written(settings, tmp_path), "--bootstrap", kafka]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert f"cluster {kafka}: fewer brokers than the replication factor: " in err


def test_topics_alone_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["topics"]) == 2
    assert capsys.readouterr() == ("", "apss-fusion: Missing command.\n")
