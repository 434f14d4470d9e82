"""What the tests of replay and subscriber share: topics of a deployment of its own, and what is in them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka_tools import fresh_prefix

from apss_fusion.streaming.settings import Kafka, Settings, Topics
from apss_fusion.streaming.topic_data import topic_specs

PROGRAM = (sys.executable, "-m", "apss_fusion.cli")


def deployment(bootstrap: str, *names: str, partitions: int = 1, timeout_s: float = 30.0, **configs: str) -> Settings:
    """Settings with a prefix of their own, and their topics of these names: as the data says but for `configs`."""
    settings = Settings(
        bootstrap=bootstrap,
        topics=Topics(prefix=fresh_prefix(), feed_partitions=partitions),
        kafka=Kafka(request_timeout_s=timeout_s),
    )
    specs = {spec.topic.name: spec for spec in topic_specs(settings, partitions)}
    changed = {name.replace("_", "."): value for name, value in configs.items()}
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics(
            {
                specs[name].name: {
                    "num_partitions": specs[name].partitions,
                    "replication_factor": 1,
                    "configs": specs[name].configs | changed,
                }
                for name in names
            }
        )
        admin.wait_for_topics([specs[name].name for name in names])
    finally:
        admin.close()
    return settings


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a command of its own process gets them."""
    return {
        **os.environ,
        "APSS_BOOTSTRAP": settings.bootstrap,
        "APSS_TOPICS_PREFIX": settings.topics.prefix,
        "APSS_KAFKA_REQUEST_TIMEOUT_S": str(settings.kafka.request_timeout_s),
    }


@contextmanager
def running(settings: Settings, *words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A command of the program in a process of its own, ended at the end."""
    process = subprocess.Popen(  # noqa: S603
        [*PROGRAM, *words], env=environment(settings), stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def records_of(settings: Settings, name: str) -> list[Any]:
    """All records of a topic, partition by partition."""
    consumer = KafkaConsumer(bootstrap_servers=settings.servers, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        topic = settings.topic(name)
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        found: dict[TopicPartition, list[Any]] = {partition: [] for partition in partitions}
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for partition, records in consumer.poll(timeout_ms=1000).items():
                found[partition] += records
        return [record for partition in partitions for record in found[partition]]
    finally:
        consumer.close()


def written(path: Path, content: bytes) -> str:
    """Write a file; its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return str(path)


def json_line(value: Any) -> bytes:
    return msgspec.json.encode(value) + b"\n"
