"""What the tests of the streaming room share: a Kafka in memory, records, deployments, and lanes that use them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from engine_tools import SOURCES

from apss_fusion.model import Look, Source
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.streaming import changelog, decode_lane, fuse_lane
from apss_fusion.streaming.decode_lane import DecodeLane, lanes_readers
from apss_fusion.streaming.deployment import Deployment
from apss_fusion.streaming.fuse_lane import FuseLane
from apss_fusion.streaming.headers import LOOK, Headers, constant_headers, event_headers, event_source, origin_header
from apss_fusion.streaming.metrics import Metrics
from apss_fusion.streaming.pace import Pace
from apss_fusion.streaming.regions import Regions
from apss_fusion.streaming.settings import Settings, Topics, Worker
from apss_fusion.tracking.config import Config

_T = TypeVar("_T")
#: Beside the topics, so that names without it are found to be wrong.
PREFIX = "t."
#: Time stamp of records, ms since 1970.
NOW_MS = 1_767_225_600_000


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end; what has not ended within a minute fails the test."""
    return asyncio.run(asyncio.wait_for(coroutine, 60.0))


class Record(NamedTuple):
    """A record as aiokafka gives it, as far as it is used."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int | None = NOW_MS


class _Batch(BatchBuilder):  # type: ignore[misc]
    """A batch of aiokafka that tells what is in it."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes, 0)
        self.rows: list[tuple[Any, ...]] = []

    def append(self, *, timestamp: Any, key: Any, value: Any, headers: Sequence[Any] = ()) -> Any:
        place = super().append(timestamp=timestamp, key=key, value=value, headers=list(headers))
        if place is not None:
            bytes_ = None if value is None else bytes(value)
            self.rows.append((key, bytes_, tuple(headers), NOW_MS if timestamp is None else timestamp))
        return place


class FakeKafka:
    """Topics in memory. Transactions become visible at their commit, and a mark of it takes an offset, as in Kafka."""

    def __init__(self) -> None:
        self._logs: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self._ends: dict[tuple[str, int], int] = defaultdict(int)
        #: Producers that started, by transactional id: the last one is not fenced.
        self.owners: dict[str, FakeProducer] = {}
        #: Called with the topic before a batch is taken: may raise.
        self.refuse: Callable[[str], None] = lambda topic: None
        #: Sizes of the batches that were taken, bytes.
        self.batch_bytes: list[int] = []

    def log(self, name: str, partition: int = 0) -> list[Record]:
        """The committed records of a topic (its name without the prefix)."""
        return self._logs[PREFIX + name, partition]

    def append(self, topic: str, partition: int, rows: Iterable[tuple[Any, ...]]) -> None:
        """Append rows of key, value, headers, time stamp."""
        place = topic, partition
        for key, value, headers, timestamp in rows:
            self._logs[place].append(Record(topic, partition, self._ends[place], key, value, headers, timestamp))
            self._ends[place] += 1

    def mark(self, topic: str, partition: int) -> None:
        """The mark of a transaction takes an offset."""
        self._ends[topic, partition] += 1

    def compact(self) -> None:
        """Leave of each changelog the last record of a key."""
        for (topic, partition), log in self._logs.items():
            if topic.endswith("-changelog"):
                last = {r.key: r for r in log}
                self._logs[topic, partition] = [r for r in log if last[r.key] is r and r.value is not None]

    def producer(self, **options: Any) -> FakeProducer:
        """A producer; `options` as those of aiokafka's."""
        return FakeProducer(kafka=self, **options)


class FencedError(Exception):
    """Another producer has the transactional id."""


class FakeProducer:
    """What is used of aiokafka's producer."""

    def __init__(
        self, kafka: FakeKafka, max_batch_size: int = 8 * 2**20, transactional_id: str | None = None, **options: Any
    ) -> None:
        self._kafka, self._most_bytes, self._id = kafka, max_batch_size, transactional_id
        self._pending: list[tuple[str, int, list[tuple[Any, ...]]]] | None = None
        self.options = options
        self.stopped = False

    async def start(self) -> None:
        if self._id is not None:
            self._kafka.owners[self._id] = self

    async def stop(self) -> None:
        self.stopped = True

    def create_batch(self) -> _Batch:
        return _Batch(self._most_bytes)

    async def send_batch(self, batch: _Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        assert batch.closed(), "a batch that is open may get records that others send"
        await asyncio.sleep(0)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            self._kafka.refuse(topic)
        except Exception as error:
            answer.set_exception(error)
            return answer
        self._kafka.batch_bytes.append(batch.size())
        if self._id is None:
            self._kafka.append(topic, partition, batch.rows)
        else:
            assert self._pending is not None, "no transaction was begun"
            self._pending.append((topic, partition, batch.rows))
        answer.set_result(None)
        return answer

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        assert self._pending is None, "a transaction is open already"
        self._pending = []
        try:
            yield
            if self._kafka.owners[self._id or ""] is not self:
                raise FencedError(self._id)
            for topic, partition, rows in self._pending:
                self._kafka.append(topic, partition, rows)
            for topic, partition in sorted({place[:2] for place in self._pending}):
                self._kafka.mark(topic, partition)
        finally:
            self._pending = None


async def _replay(options: Mapping[str, Any], topic: str, partitions: Mapping[int, Iterable[Any]]) -> int:
    """`changelog.replay` of a `FakeKafka`."""
    count = 0
    for partition, readers in partitions.items():
        log = options["kafka"]._logs[topic, partition]
        count += len(log)
        for apply in readers:
            apply(log)
    return count


@pytest.fixture(autouse=True, scope="module")
def in_memory() -> Any:
    """Lanes of this module work with a `FakeKafka`, the option `kafka`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuse_lane, "AIOKafkaProducer", FakeProducer)
        patch.setattr(fuse_lane, "replay", _replay)
        patch.setattr(changelog, "replay", _replay)
        yield


# ---------------------------------------------------------------------------------------- deployments and lanes


def deployment(sources: Mapping[str, Source] = SOURCES, regions: Regions | None = None, **engine: Any) -> Deployment:
    """A deployment with the quicker filter, whose topics have a prefix."""
    settings = Settings(topics=Topics(prefix=PREFIX), worker=Worker(group="g"))
    return Deployment(settings, regions or Regions(), Config.of({"filter": "fast"} | engine), sources)


async def fuser(kafka: FakeKafka, deployed: Deployment, partition: int = 0) -> FuseLane:
    """A lane that has taken over a partition of looks."""
    lane = FuseLane(deployed, {"kafka": kafka}, Metrics(), partition)
    await lane.take_over()
    return lane


async def decoder(
    kafka: FakeKafka, deployed: Deployment, format_: str, partition: int = 0, metrics: Metrics | None = None
) -> DecodeLane:
    """A lane that has taken over a partition of a feed."""
    topic = f"{PREFIX}feeds.{format_}"
    lane = decode_lane.DecodeLane(
        deployed.settings,
        deployed.regions,
        kafka.producer(),
        metrics or Metrics(),
        Pace(1.0, lambda asking: None),
        topic,
        partition,
    )
    await _replay({"kafka": kafka}, PREFIX + "decode-changelog", lanes_readers([lane]))
    await lane.take_over()
    return lane


def look_record(look: Look, offset: int, origin: tuple[str, int, int, int] | None = None, partition: int = 0) -> Record:
    """A record of the topic of looks, as the decode lanes write it where it has an origin."""
    headers: Headers = []
    if origin is not None:
        id_, subject = f"{look.source_id}:{look.look_id}".encode(), look.look_id.encode()
        headers = event_headers(constant_headers(LOOK, event_source("g")), id_, subject, b"2026-01-01T00:00:00.000000Z")
        headers.append(origin_header(*origin))
    value = look_json(look).rstrip()
    return Record(PREFIX + "looks", partition, offset, look.source_id.encode(), value, tuple(headers))


def look_records(looks: Iterable[Look], first: int = 0) -> list[Record]:
    """Records of looks, each of which the record of a feed with the same offset completed."""
    return [look_record(look, k, ("t.feeds.looks", 0, k, 0)) for k, look in enumerate(looks, first)]


def cut(values: Sequence[_T], cuts: Iterable[int]) -> list[Sequence[_T]]:
    """A sequence in parts that end before these numbers; none is empty."""
    ends = sorted({c for c in cuts if 0 < c < len(values)} | {len(values)})
    return [values[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]
