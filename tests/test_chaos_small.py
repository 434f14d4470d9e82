"""A few of the faults of ``python -m tests.chaos``, briefly: nothing is lost, doubled or different."""

from __future__ import annotations

from pathlib import Path

from chaos import scenarios
from chaos.scenarios import Bench
from kafka_tools import StartKafka


def test_workers_that_are_killed_lose_nothing_and_say_nothing_twice(own_kafka: StartKafka, tmp_path: Path) -> None:
    """Two workers over four regions, one or the other killed at random times; then some that die between two steps."""
    bench = Bench(own_kafka(), tmp_path, seconds=12.0, seed=7)
    killed = scenarios.kill(bench)
    assert killed.ok, killed.line()
    points = (("fused", 7), ("before_commit", 3), ("looks_sent", 5))
    failed = scenarios.fail_points(bench, points)
    assert failed.ok, failed.line()
    assert failed.starts >= 1 + len(points)


def test_poison_on_every_topic_harms_nothing_else(own_kafka: StartKafka, tmp_path: Path) -> None:
    result = scenarios.poison(Bench(own_kafka(), tmp_path, seconds=0.0, seed=7))
    assert result.ok, result.line()
    assert result.counts.dead_letters > 100
