"""Brokers for tests: one that a whole session shares, and those that a test has for itself and may break.

``KAFKA_BOOTSTRAP`` names a broker that runs already. Without it one is started from Kafka's jars, where Java and Maven
are there; else the tests are skipped, or fail if ``APSS_TEST_KAFKA`` is ``required``. Brokers end with the processes
that use them, however these end.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from deploy.kafka import Cluster, Unavailable, jars, java

_T = TypeVar("_T")

#: What lives for seconds starts in half the time where Java compiles no more than it must.
_SHORT_LIVED = ("-Xmx384m", "-XX:TieredStopAtLevel=1")


class StartKafka(Protocol):
    """Start a broker of the test's own, or a cluster of three; settings by Kafka's names with _ for dots."""

    def __call__(self, nodes: int = 1, **settings: str) -> Cluster: ...


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker that all tests of a session share: topics need a :func:`fresh_prefix`."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
        return
    _needed()
    # The processes of one session have the folder above in common.
    folder = tmp_path_factory.getbasetemp()
    cluster = Cluster((folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "kafka", tied=True)
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[StartKafka]:
    """Start brokers that the test may stop, kill, pause and start again."""
    _needed()
    clusters: list[Cluster] = []

    def start(nodes: int = 1, **settings: str) -> Cluster:
        values = {name.replace("_", "."): value for name, value in settings.items()}
        folder = tmp_path / f"kafka{len(clusters) + 1}"
        cluster = Cluster(folder, nodes=nodes, settings=values, java_options=_SHORT_LIVED, tied=True)
        clusters.append(cluster)
        cluster.start()
        return cluster

    try:
        yield start
    finally:
        for cluster in clusters:
            cluster.close()


def fresh_prefix() -> str:
    """What no other test's topics begin with."""
    return f"test-{uuid.uuid4().hex[:12]}."


def wait_until(condition: Callable[[], _T], seconds: float, what: str) -> _T:
    """Wait until a condition returns something true, and return that. `what` says in a failure what did not come."""
    until_s = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until_s, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return found


def _needed() -> None:
    """Skip the test where no broker can run here, or fail it where that is not allowed."""
    try:
        java()
        jars()
    except Unavailable as error:
        if os.environ.get("APSS_TEST_KAFKA") == "required":
            pytest.fail(f"APSS_TEST_KAFKA=required, but no broker can run: {error}", pytrace=False)
        pytest.skip(f"no broker can run: {error}")
