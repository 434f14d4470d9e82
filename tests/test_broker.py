"""The brokers of the tests themselves: data outlives a kill, a pause is felt, nothing is left running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka_tools import StartKafka, fresh_prefix, wait_until

from deploy import kafka as broker
from deploy.kafka import BrokerError, Cluster, Unavailable

ROOT = Path(__file__).resolve().parents[1]
MIB = 1024**2


def make_topic(bootstrap: str, name: str, copies: int = 1, **configs: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": copies, "configs": configs}})
    admin.close()


def produce(bootstrap: str, topic: str, *values: bytes, **options: Any) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", **options)
    try:
        for sent in [producer.send(topic, value) for value in values]:
            sent.get(30)
    finally:
        producer.close(timeout=0)


def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=30_000
    )
    values: list[bytes] = []
    for message in consumer:
        values.append(message.value)
        if len(values) == count:
            break
    consumer.close()
    return values


def test_a_large_record_goes_through_where_its_topic_says_so(kafka: str) -> None:
    topic = fresh_prefix() + "large"
    make_topic(kafka, topic, **{"max.message.bytes": str(8 * MIB)})
    large = os.urandom(7 * MIB)
    produce(kafka, topic, large, max_request_size=8 * MIB)
    assert consume(kafka, topic, 1) == [large]


def test_a_topic_is_not_made_by_writing_to_it(kafka: str) -> None:
    topic = fresh_prefix() + "nobody-made-me"
    with pytest.raises(KafkaTimeoutError):
        produce(kafka, topic, b"x", max_block_ms=1000)
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    assert topic not in admin.list_topics()
    admin.close()


def test_data_outlives_a_kill_and_a_stop(own_kafka: StartKafka) -> None:
    cluster = own_kafka()
    make_topic(cluster.bootstrap, "kept")
    produce(cluster.bootstrap, "kept", b"1")
    cluster.kill()
    assert not cluster.alive(1)
    cluster.start()
    produce(cluster.bootstrap, "kept", b"2")
    cluster.stop()
    assert not cluster.alive(1)
    cluster.start()
    assert consume(cluster.bootstrap, "kept", 2) == [b"1", b"2"]
    cluster.wipe()
    assert not cluster.alive(1)
    assert not (cluster.folder / "node1").exists()


def test_a_paused_broker_answers_when_it_goes_on(own_kafka: StartKafka) -> None:
    cluster = own_kafka()
    make_topic(cluster.bootstrap, "slow")
    producer = KafkaProducer(bootstrap_servers=cluster.bootstrap)
    producer.send("slow", b"1").get(30)
    cluster.pause()
    assert cluster.alive(1)
    sent = producer.send("slow", b"2")
    with pytest.raises(KafkaTimeoutError):
        sent.get(1.0)
    cluster.resume()
    sent.get(30)
    assert consume(cluster.bootstrap, "slow", 2) == [b"1", b"2"]
    # A paused one can be stopped.
    cluster.pause()
    cluster.stop()
    assert not cluster.alive(1)
    producer.close(timeout=0)


def test_three_nodes_go_on_without_one(own_kafka: StartKafka) -> None:
    cluster = own_kafka(3, num_partitions="2")
    assert len(cluster.bootstrap.split(",")) == 3
    assert "num.partitions=2\n" in (cluster.folder / "node2" / "server.properties").read_text(encoding="utf-8")
    make_topic(cluster.bootstrap, "copied", copies=3)
    produce(cluster.bootstrap, "copied", b"1")
    cluster.kill(2)
    assert [cluster.alive(node) for node in cluster.nodes] == [True, False, True]
    produce(cluster.bootstrap, "copied", b"2")
    cluster.start(2)
    cluster.kill(1)
    assert consume(cluster.bootstrap, "copied", 2) == [b"1", b"2"]


USER = """
import sys, time
from deploy.kafka import Cluster
cluster = Cluster(sys.argv[1], tied=True)
cluster.start()
print("ready", flush=True)
time.sleep(600)
"""


def test_a_tied_broker_ends_with_its_last_user(own_kafka: StartKafka, tmp_path: Path) -> None:
    """Also where the process that started it is killed and has no chance to stop it."""
    folder = tmp_path / "tied"

    def user() -> subprocess.Popen[str]:
        words = [sys.executable, "-c", USER, str(folder)]
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    first = user()
    second = user()
    seen = Cluster.found(folder)
    make_topic(seen.bootstrap, "used")
    first.kill()
    first.communicate()
    # The second goes on with the one broker that there is.
    assert seen.alive(1)
    produce(seen.bootstrap, "used", b"1")
    assert consume(seen.bootstrap, "used", 1) == [b"1"]
    second.send_signal(signal.SIGINT)
    second.communicate()
    wait_until(lambda: not seen.alive(1), 30, "the broker's end")
    wait_until(lambda: not (folder / "node1" / "data").exists(), 30, "the end of its data")


@pytest.mark.usefixtures("own_kafka")
def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(BrokerError, match=f"node 1 needs port {taken} of 127.0.0.1, which is taken"):
            Cluster(tmp_path, ports=(taken,)).start()


def test_a_wrong_setting_is_named(own_kafka: StartKafka) -> None:
    with pytest.raises(BrokerError, match=r"node 1.*min\.insync\.replicas"):
        own_kafka(min_insync_replicas="many")


# --- without a broker ---


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("APSS_BROKER_JARS", str(tmp_path / "jars"))
    with pytest.raises(Unavailable, match="no java on the PATH"):
        broker.java()
    with pytest.raises(Unavailable, match="no mvn on the PATH"):
        broker.jars()
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n", encoding="utf-8")
    old.chmod(0o755)
    with pytest.raises(Unavailable, match=r"needs Java 17 or later; .* is openjdk version .11\.0\.2"):
        broker.java()
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] no route'; exit 1\n", encoding="utf-8")
    maven.chmod(0o755)
    with pytest.raises(Unavailable, match=r"Maven cannot fetch Kafka 4\.1\.1: \[ERROR\] no route"):
        broker.jars()
    assert not (tmp_path / "jars").exists()


def test_a_folder_without_a_broker_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert broker.main(["stop", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"kafka.py: {tmp_path}: there is no broker here\n"
    cluster = Cluster(tmp_path)
    with pytest.raises(BrokerError, match="there is no node 2, only 1"):
        cluster.kill(2)
