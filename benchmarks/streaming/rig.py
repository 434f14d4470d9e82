"""A broker, topics and workers to measure with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaProducer

from apss_fusion.streaming.batches import producer_options
from apss_fusion.streaming.clients import aiokafka_options
from apss_fusion.streaming.deployment import Deployment, read_deployment
from apss_fusion.streaming.settings import Settings, read_settings
from apss_fusion.streaming.topic_admin import apply_topics
from deploy.kafka import Cluster, free_ports

_T = TypeVar("_T")
_BATCH_BYTES = 800_000
#: Cells of resolution 0 that make regions of their own, beside the rest.
_CELLS = ("8019fffffffffff", "8075fffffffffff", "80a9fffffffffff")


def wait_for(condition: Callable[[], _T], seconds: float, what: str) -> _T:
    """Wait until a condition returns something true; TimeoutError that names what did not come."""
    until_s = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until_s:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)
    return found


class Worker:
    """A worker as a user starts it, with its HTTP port; optionally on one core."""

    def __init__(self, rig: Rig, core: int | None = None, log: str = "worker.log") -> None:
        self.port = free_ports(1)[0]
        environment = {**os.environ, "APSS_WORKER_HTTP_PORT": str(self.port)}
        command = [sys.executable, "-m", "apss_fusion.cli", "worker", "--config", str(rig.config)]
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        self.log = rig.folder / log
        self.began_s = time.monotonic()
        self.supervisor = subprocess.Popen(command, env=environment, stderr=self.log.open("ab"))

    def ask(self, page: str) -> str | None:
        """What a page says; None where it does not answer well."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=5) as answer:
                return str(answer.read().decode())
        except (OSError, urllib.error.URLError):
            return None

    def is_ready(self) -> bool:
        """Whether the worker says that it is ready."""
        return self.ask("readyz") is not None

    def figure(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = (self.ask("metrics") or "").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))

    def wait_for_looks(self, count: int, seconds: float) -> None:
        """Wait until so many looks are fused."""
        wait_for(lambda: self.figure("apss_looks_total") >= count, seconds, f"{count:,} looks fused")

    @property
    def process(self) -> int:
        """The number of the process under the supervisor."""
        children = Path(f"/proc/{self.supervisor.pid}/task/{self.supervisor.pid}/children")
        return int(wait_for(lambda: children.read_text().split(), 10.0, "a process of the worker")[0])

    def resident_bytes(self) -> int:
        """Memory of that process."""
        pages = int(Path(f"/proc/{self.process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_s(self) -> float:
        """CPU time of that process so far."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """Kill it all at once."""
        process = self.process
        self.supervisor.kill()
        os.kill(process, signal.SIGKILL)
        self.supervisor.wait()

    def stop(self) -> None:
        """End it in order."""
        self.supervisor.terminate()
        self.supervisor.wait(60)


class Rig:
    """A broker of its own in a folder, and the topics of one deployment on it.

    Parameters
    ----------
    folder
        Of data, settings and logs.
    regions
        One, or four.
    engine
        Keys of the engine's configuration.
    """

    _prefixes = 0

    def __init__(self, folder: Path, engine: dict[str, Any], regions: int = 1) -> None:
        self.folder = folder
        self.cluster = Cluster(folder / "kafka", tied=True)
        self.cluster.start()
        Rig._prefixes += 1
        lines = [
            f'bootstrap = "{self.cluster.bootstrap}"',
            'formats = ["ais-nmea", "looks"]',
            "[topics]",
            f'prefix = "b{Rig._prefixes}."',
            "feed_partitions = 1",
            "[worker]",
            f'group = "bench{Rig._prefixes}"',
            "[engine]",
            *(f"{key} = {_toml(value)}" for key, value in engine.items()),
        ]
        self.config = folder / f"deployment{Rig._prefixes}.toml"
        if regions > 1:
            names = folder / "regions.toml"
            cells = _CELLS[: regions - 1]
            tables = [f'[regions.r{k}]\npartition = {k}\ncells = ["{cell}"]' for k, cell in enumerate(cells, 1)]
            names.write_text("\n".join(["[regions.rest]\npartition = 0\nrest = true", *tables]))
            lines.insert(1, f'regions = "{names}"')
        self.config.write_text("\n".join(lines) + "\n")
        self.settings: Settings = read_settings(str(self.config), {})
        self.deployment: Deployment = read_deployment(self.settings)
        apply_topics(self.settings, len(self.deployment.regions), lambda line: None)

    def close(self) -> None:
        """End the broker."""
        self.cluster.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def producer(self) -> AIOKafkaProducer:
        """A producer that is started."""
        producer = AIOKafkaProducer(**aiokafka_options(self.settings), **producer_options(), linger_ms=2)
        await producer.start()
        return producer

    async def produce(self, lines: Sequence[bytes], partition: int = 0) -> None:
        """Put looks into a partition, as fast as it goes."""
        producer = await self.producer()
        try:
            batch = producer.create_batch()
            for line in lines:
                if batch.size() > _BATCH_BYTES:
                    await producer.send_batch(batch, self.settings.topic("looks"), partition=partition)
                    batch = producer.create_batch()
                if batch.append(key=b"ais", value=line, timestamp=None) is None:
                    raise ValueError("a look that is larger than a batch")
            await producer.send_batch(batch, self.settings.topic("looks"), partition=partition)
            await producer.flush()
        finally:
            await producer.stop()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
