"""What stock Faust does and ours does not: each defect is shown on the stock classes, and its repair on ours.

Where a defect is a race, the unlucky order is forced, for both alike.
"""

from __future__ import annotations

import asyncio
import selectors
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest
from faust.transport.consumer import Consumer
from faust.types import TP
from kafka import KafkaAdminClient
from mode.utils.queues import FlowControlEvent, FlowControlQueue

from apss_fusion.streaming import recovery, transport
from apss_fusion.streaming.changelog import replay
from apss_fusion.streaming.lanes import Lane

_T = TypeVar("_T")
#: As Faust has it; `recovery.install` replaces it.
STOCK_WAIT = Consumer._wait_next_records


@pytest.fixture(autouse=True)
def stock_methods() -> Iterator[None]:
    """Faust as it comes, before and after each test of this process."""
    Consumer._wait_next_records = STOCK_WAIT
    yield
    Consumer._wait_next_records = STOCK_WAIT


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(asyncio.wait_for(coroutine, 90.0))


async def until(condition: Callable[[], _T], seconds: float = 30.0) -> _T:
    """Wait until a condition holds, and return it; or what it is when the time is over."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + seconds
    while not (found := condition()) and loop.time() < end_s:
        await asyncio.sleep(0.02)
    return found


class StockApp(faust.App):  # type: ignore[misc]
    """Faust's, without folders in the one where the tests run."""

    def _create_directories(self) -> None:
        pass


class OurApp(StockApp):
    """What the transport and the recovery need of a worker's app."""

    #: Where the state of a partition ends, None: it has none.
    state_ends: int | None = None
    #: The partitions that are taken over.
    lanes: Any = ()

    async def take_over(self, partitions: Any) -> None:
        """There is no state to read."""
        self.lanes = {(tp.topic, tp.partition) for tp in partitions}

    def start_of(self, topic: str, partition: int) -> int | None:
        return self.state_ends

    def is_full(self, topic: str, partition: int) -> bool:
        return False

    async def die(self, error: BaseException) -> None:
        await self.crash(error)


def options(scheme: str, kafka: str, **more: Any) -> dict[str, Any]:
    return {
        "broker": f"{scheme}://{kafka}",
        "broker_client_id": "z",
        "broker_session_timeout": 6.0,
        "broker_heartbeat_interval": 0.2,
        "broker_commit_interval": 0.2,
        "consumer_auto_offset_reset": "earliest",
        "table_standby_replicas": 0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "stream_wait_empty": False,
        "store": "memory://",
        "web_enabled": False,
        **more,
    }


def stock_app(kafka: str, group: str, **more: Any) -> StockApp:
    return StockApp(group, **options("kafka", kafka, **more))


def our_app(kafka: str, group: str, scheme: str = transport.SCHEME, **more: Any) -> OurApp:
    transport.install()
    recovery.install()
    return OurApp(group, **options(scheme, kafka, TableManager=recovery.LossSafeTableManager, **more))


@asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[None]:
    """An app that runs, from its first assignment on; it has to end within some seconds."""
    await app.start()
    try:
        assert await until(lambda: app.tables.recovery.completed.is_set())
        yield
    finally:
        await asyncio.wait_for(app.stop(), 20.0)


def topic_with(kafka: str, *values: bytes, name: str | None = None, **configs: str) -> str:
    """A new topic of one partition with these records."""
    name = name or f"test-{uuid.uuid4().hex[:12]}"
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1, "configs": configs}})
    admin.close()

    async def produce() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        for value in values:
            await producer.send(name, value, key=b"k")
        await producer.stop()

    run(produce())
    return name


async def in_a_transaction(kafka: str, topic: str, *values: bytes, commit: bool = True) -> None:
    name = uuid.uuid4().hex
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name)
    await producer.start()
    await producer.begin_transaction()
    for value in values:
        await producer.send_and_wait(topic, value, key=b'"k"', partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()
    # The mark comes a moment after the answer; the next producer of the name waits for it.
    heir = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=name)
    await heir.start()
    await heir.stop()


async def records_of(kafka: str, topic: str) -> list[bytes]:
    found: list[bytes] = []
    await replay({"bootstrap_servers": kafka}, topic, {0: [lambda records: found.extend(r.value for r in records)]})
    return found


def numbers(count: int) -> list[bytes]:
    return [b"%d" % k for k in range(count)]


# ---------------------------------------------------------------------------------------- the end of a recovery


async def _seen_after_waiting_in_line(app: faust.App, kafka: str, topic: str, count: int) -> list[int]:
    """Offsets that an agent sees where its worker gets a partition from another one that ends.

    The worker was up and without partitions, so its flow runs. Forced: the fetches after the seek are quicker than the
    rest of the recovery, and the agent slower.
    """
    tp, seen, may_go = TP(topic, 0), [], asyncio.Event()
    owner = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka,
        group_id=app.conf.id,
        # Before "z" in the order by which partitions are given.
        client_id="a",
        heartbeat_interval_ms=200,
        partition_assignment_strategy=[RoundRobinPartitionAssignor],
        enable_auto_commit=False,
    )
    await owner.start()
    assert await until(owner.assignment)

    @app.agent(app.topic(topic, value_serializer="raw"))
    async def agent(stream: Any) -> None:
        async for event in stream.events():
            await may_go.wait()
            seen.append(event.message.offset)

    async with running(app):
        consumer = app.consumer
        assert not consumer.assignment()
        seek, resume = consumer.perform_seek, consumer.resume_flow

        async def seek_and_dawdle() -> None:
            await seek()
            consumer._read_offset[tp] = None
            await until(lambda: (consumer._read_offset[tp] or 0) >= count // 2, 1.5)

        def resume_and_go() -> None:
            resume()
            may_go.set()

        consumer.perform_seek, consumer.resume_flow = seek_and_dawdle, resume_and_go
        await owner.stop()
        await asyncio.wait_for(may_go.wait(), 30.0)
        # What is read now was not lost before.
        await in_a_transaction(kafka, topic, b"last")
        assert await until(lambda: seen[-1:] == [count])
    return seen


def test_a_backlog_survives_the_end_of_a_recovery(kafka: str) -> None:
    """faust#596: what was fetched before the flow is resumed is cleared from the queues of the streams."""
    count = 200
    topic = topic_with(kafka, *numbers(count))
    stock = run(_seen_after_waiting_in_line(stock_app(kafka, f"{topic}-stock"), kafka, topic, count))
    assert len(set(stock)) < count + 1
    topic = topic_with(kafka, *numbers(count))
    # With Faust's own transport: it is the recovery that makes the difference.
    ours = run(_seen_after_waiting_in_line(our_app(kafka, f"{topic}-ours", "kafka"), kafka, topic, count))
    assert ours == list(range(count + 1))


class _Fetching:
    """As much of a consumer as waits for a fetch, which ends when the test says so."""

    stop_flow, wait_for_stopped_flow = Consumer.stop_flow, Consumer.wait_for_stopped_flow

    def __init__(self) -> None:
        self.fetched: asyncio.Future[dict[Any, Any]] = asyncio.get_running_loop().create_future()
        self.not_waiting_next_records = asyncio.Event()
        self.not_waiting_next_records.set()
        self.can_resume_flow, self.suspend_flow = asyncio.Event(), asyncio.Event()
        self.flow_active = True
        self.app = SimpleNamespace(client_only=True)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:
        return await self.fetched


async def _stops_during_a_fetch() -> bool:
    """Whether the flow counts as stopped while a fetch is under way."""
    consumer = _Fetching()
    fetch = asyncio.ensure_future(Consumer._wait_next_records(consumer, 1.0))
    await asyncio.sleep(0)
    consumer.stop_flow()
    stopped = asyncio.ensure_future(consumer.wait_for_stopped_flow())
    for _ in range(5):
        await asyncio.sleep(0)
    too_early = stopped.done()
    consumer.fetched.set_result({})
    await fetch
    await stopped
    return too_early


def test_the_flow_has_stopped_when_no_fetch_is_under_way() -> None:
    """Faust 0.15 sets the event that says so and never clears it."""
    assert run(_stops_during_a_fetch()) is True
    recovery.install()
    assert run(_stops_during_a_fetch()) is False


class _Resumed:
    """What a recovery ends with: an app with a queue into which a fetcher puts records whenever the flow lets it."""

    def __init__(self, kind: type[Any]) -> None:
        self.steps: list[str] = []
        self.flow_control = FlowControlEvent()
        self.queue: FlowControlQueue[int] = FlowControlQueue(100, flow_control=self.flow_control, clear_on_resume=True)
        self.consumer, self.consumer_generation_id = self, 3
        self.flow_active = True
        self.flow_control.resume()
        self.position = 0
        self.conf = SimpleNamespace(broker_request_timeout=9.0, stream_recovery_delay=0.0)
        self.on_rebalance_complete, self._fetcher = (
            SimpleNamespace(send=self._step),
            SimpleNamespace(maybe_start=self._step),
        )
        self.tables = SimpleNamespace(changelog_topics=set(), on_actives_ready=self._note, on_standbys_ready=self._note)
        self.recovery = kind(self, self.tables)

    def _note(self, *arguments: Any) -> None:
        self.fetch()

    async def _step(self, *arguments: Any) -> None:
        self.fetch()

    on_rebalance_end = resume_partitions = _note
    wait_for_stopped_flow = _step

    def assignment(self) -> set[TP]:
        return {TP("t", 0)}

    def stop_flow(self) -> None:
        self.flow_active = False

    def resume_flow(self) -> None:
        self.flow_active = True

    def fetch(self) -> None:
        """What a fetcher may do at any time."""
        if self.flow_active and self.flow_control.is_active():
            self.queue.force_put_nowait(self.position)
            self.position += 1

    async def take_over(self, partitions: Any) -> None:
        self.steps.append("take over")
        assert not self.flow_active
        self.fetch()

    async def perform_seek(self) -> None:
        self.steps.append("seek")
        self.fetch()
        self.position = 0
        self.fetch()


@pytest.mark.parametrize("kind", [faust.tables.recovery.Recovery, recovery.LossSafeRecovery])
def test_a_fetcher_that_is_as_quick_as_may_be_loses_nothing(kind: type[Any]) -> None:
    async def go() -> list[int]:
        app = _Resumed(kind)
        await app.recovery._resume_streams(3)
        for _ in range(3):
            app.fetch()
        assert app.steps == (["seek"] if kind is not recovery.LossSafeRecovery else ["take over", "seek"])
        return [app.queue.get_nowait() for _ in range(app.queue.qsize())]

    first, *others = run(go())
    assert others
    assert (first == 0) == (kind is recovery.LossSafeRecovery)


def test_a_recovery_of_an_earlier_generation_does_nothing() -> None:
    async def go() -> None:
        app = _Resumed(recovery.LossSafeRecovery)
        await app.recovery._resume_streams(2)
        assert app.steps == []
        assert app.flow_active

    run(go())


def test_a_state_that_cannot_be_taken_over_ends_the_worker() -> None:
    async def go() -> None:
        app = _Resumed(recovery.LossSafeRecovery)
        died: list[BaseException] = []

        async def take_over(partitions: Any) -> None:
            raise ValueError("version 7")

        async def die(error: BaseException) -> None:
            died.append(error)

        app.take_over, app.die = take_over, die  # type: ignore[method-assign,attr-defined]
        with pytest.raises(ValueError, match="version 7"):
            await app.recovery._resume_streams(3)
        assert [str(error) for error in died] == ["version 7"]
        assert not app.flow_active
        assert app.steps == []

    run(go())


# ---------------------------------------------------------------------------------------- events and records


async def _events(app: faust.App, topic: str, schema: Any = None, records: int | None = None) -> list[Any]:
    """The messages of the events that an agent gets: at least of so many records, None: of all within two seconds."""
    found: list[Any] = []

    @app.agent(app.topic(topic, **({"value_serializer": "raw"} if schema is None else {"schema": schema})))
    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            found.append(event.message)

    async with running(app):
        if records is None:
            await until(lambda: False, 2.0)
        else:
            assert await until(lambda: sum(map(_count, found)) >= records)
    return found


def _count(message: Any) -> int:
    return len(message.value.records) if isinstance(message.value, transport.Chunk) else 1


def _values(messages: list[Any]) -> list[bytes]:
    """The values of all records."""
    found: list[bytes] = []
    for m in messages:
        found += [r.value for r in m.value.records] if isinstance(m.value, transport.Chunk) else [m.value]
    return found


def test_an_event_is_many_records(kafka: str) -> None:
    """Stock Faust spends its time by the event, whatever `take()` says."""
    values = numbers(3000)
    topic = topic_with(kafka, *values)
    stock = run(_events(stock_app(kafka, f"{topic}-stock"), topic, records=len(values)))
    assert len(stock) == len(values)
    app = our_app(kafka, f"{topic}-ours", broker_max_poll_records=2000)
    ours = run(_events(app, topic, transport.ChunkSchema(), len(values)))
    assert len(ours) < len(values) / 10
    assert _values(ours) == _values(stock) == values
    chunks = [m.value for m in ours]
    assert max(len(chunk.records) for chunk in chunks) <= transport.MOST_RECORDS
    # Each says what came before it.
    assert [chunk.after for chunk in chunks] == [-1, *(chunk.records[-1].offset for chunk in chunks[:-1])]
    assert {chunk.began for chunk in chunks} == {0}


async def _commit(kafka: str, group: str, topic: str, offset: int) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    tp = TopicPartition(topic, 0)
    consumer.assign([tp])
    await consumer.commit({tp: offset})
    await consumer.stop()


@pytest.mark.parametrize("state_ends", [None, 60])
def test_a_committed_offset_ahead_of_the_state_loses_nothing(
    kafka: str, state_ends: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """As defects of the framework leave it (faust#596, faust#606), or an operator."""
    values = numbers(100)
    topic = topic_with(kafka, *values)

    async def go() -> tuple[list[Any], list[Any]]:
        for group in ("stock", "ours"):
            await _commit(kafka, f"{topic}-{group}", topic, 80)
        stock = await _events(stock_app(kafka, f"{topic}-stock"), topic, records=20)
        app = our_app(kafka, f"{topic}-ours")
        app.state_ends = state_ends
        return stock, await _events(app, topic, transport.ChunkSchema(), records=100 - (state_ends or 0))

    stock, ours = run(go())
    assert _values(stock) == values[80:]
    assert _values(ours) == values[state_ends or 0 :]
    assert f"committed offset 80 of TP(topic='{topic}', partition=0) is ahead of its state" in caplog.text.replace(
        "TopicPartition(", "TP("
    )


def test_what_was_aborted_is_not_read(kafka: str) -> None:
    topic = topic_with(kafka, b"0")

    async def go() -> tuple[list[Any], list[Any]]:
        await in_a_transaction(kafka, topic, b"aborted", commit=False)
        await in_a_transaction(kafka, topic, b"1")
        stock = await _events(stock_app(kafka, f"{topic}-stock"), topic, records=3)
        return stock, await _events(our_app(kafka, f"{topic}-ours"), topic, transport.ChunkSchema(), records=2)

    stock, ours = run(go())
    assert _values(stock) == [b"0", b"aborted", b"1"]
    assert _values(ours) == [b"0", b"1"]


def test_fetches_do_not_wait_long(kafka: str) -> None:
    """A partition that was paused waits until the fetch of the others ends."""
    topic = topic_with(kafka, b"0")

    async def go(app: faust.App, schema: Any) -> tuple[int, str]:
        app.agent(app.topic(topic, **schema))(_nothing)
        async with running(app):
            fetcher = app.consumer._thread._consumer._fetcher
            return fetcher._fetch_max_wait_ms, fetcher._isolation_level

    stock = run(go(stock_app(kafka, f"{topic}-stock"), {"value_serializer": "raw"}))
    ours = run(go(our_app(kafka, f"{topic}-ours"), {"schema": transport.ChunkSchema()}))
    assert stock == (1500, 0)
    assert ours[0] <= 500
    assert ours[1] == 1


async def _nothing(stream: Any) -> None:
    async for _ in stream:
        pass


# ---------------------------------------------------------------------------------------- errors


async def _committed(kafka: str, group: str, topic: str) -> int | None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        offset = await consumer.committed(TopicPartition(topic, 0))
        return None if offset is None else int(offset)
    finally:
        await consumer.stop()


def test_what_ends_in_an_error_is_not_acknowledged(kafka: str) -> None:
    """Stock Faust says of the error in its log, and goes on behind the record."""
    values = numbers(10)
    topic = topic_with(kafka, *values)

    def work_on(value: bytes) -> None:
        if value == b"4":
            raise ValueError("four")

    async def stock() -> int | None:
        app = stock_app(kafka, f"{topic}-stock")
        done: list[bytes] = []

        @app.agent(app.topic(topic, value_serializer="raw"))
        async def agent(stream: Any) -> None:
            async for value in stream:
                done.append(value)
                work_on(value)

        async with running(app):
            await until(lambda: len(done) == 10)
        return await _committed(kafka, app.conf.id, topic)

    async def ours() -> tuple[int | None, list[Exception]]:
        app = our_app(kafka, f"{topic}-ours")
        errors: list[Exception] = []

        class Work:
            topic, partition, start = "t", 0, None

            async def process(self, records: list[Any], generation: int) -> None:
                for r in records:
                    work_on(r.value)

            async def give_up(self) -> None:
                pass

        async def failed(error: Exception) -> None:
            errors.append(error)

        lane = Lane(Work(), lambda: app.consumer_generation_id, 10, failed)

        @app.agent(app.topic(topic, schema=transport.ChunkSchema()))
        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                event.lane_stream = stream
                lane.put(event)

        async with running(app):
            assert await until(lambda: errors)
        await lane.close()
        return await _committed(kafka, app.conf.id, topic), errors

    assert (run(stock()) or 0) > 5
    committed, errors = run(ours())
    assert [str(error) for error in errors] == ["four"]
    assert committed is None


# ---------------------------------------------------------------------------------------- producing


async def _written_where_an_answer_is_lost(
    app: faust.App, kafka: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> list[bytes]:
    """What is in a topic after one record was produced, whose batch the broker took without being able to say so."""
    send, lost = AIOKafkaClient.send, []

    async def losing(self: Any, node_id: int, request: Any, **more: Any) -> Any:
        answer = await send(self, node_id, request, **more)
        if isinstance(request, ProduceRequest) and not lost:
            lost.append(answer)
            raise RequestTimedOutError
        return answer

    app.agent(app.topic(topic, value_serializer="raw"))(_nothing)
    async with running(app):
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaClient, "send", losing)
            sent = await app.producer.send(topic, b"k", b"once", 0, None, {})
            await asyncio.wait_for(sent, 20.0)
        assert lost
    return await records_of(kafka, topic)


def test_a_batch_whose_answer_is_lost_is_written_once(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a partition's leader dies. Faust has no setting for idempotence."""
    found = {}
    for name, make in (("stock", stock_app), ("ours", our_app)):
        topic = topic_with(kafka)
        found[name] = run(_written_where_an_answer_is_lost(make(kafka, topic), kafka, topic, monkeypatch))
    assert found == {"stock": [b"once", b"once"], "ours": [b"once"]}


# ---------------------------------------------------------------------------------------- changelogs


#: A stock worker with a table, which says when it has read its changelog. A process of its own: it may hang.
TABLE = """
import asyncio, sys
from test_stock_faust import stock_app

kafka, group = sys.argv[1:]
app = stock_app(kafka, group)
table = app.Table("state", partitions=1)

@app.agent(app.topic(group + "-input", value_serializer="raw"))
async def agent(stream):
    async for _ in stream:
        pass

async def main():
    # Where there are tables, this comes to its end with the recovery.
    await app.start()
    print(dict(table), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def _recovers(kafka: str, group: str, seconds: float) -> bool:
    """Whether a stock app with a table gets to the end of its changelog within so long."""
    words = [sys.executable, "-c", TABLE, kafka, group]
    process = subprocess.Popen(words, cwd=Path(__file__).parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            found = selector.select(seconds)
        line = process.stdout.readline() if found else b""
        assert line in (b"", b"{'k': 1}\n"), line + process.stderr.read()
        assert process.poll() is None
        return bool(line)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("marked", [False, True])
def test_a_changelog_that_ends_in_the_mark_of_a_transaction_is_read(kafka: str, marked: bool) -> None:
    """Stock Faust waits for the record before the end of the log; there is none."""
    group = f"test-{uuid.uuid4().hex[:12]}"
    topic_with(kafka, name=f"{group}-input")
    changelog = topic_with(kafka, name=f"{group}-state-changelog", **{"cleanup.policy": "compact"})

    async def go() -> list[bytes]:
        if marked:
            await in_a_transaction(kafka, changelog, b"1")
        else:
            producer = AIOKafkaProducer(bootstrap_servers=kafka)
            await producer.start()
            await producer.send_and_wait(changelog, b"1", key=b'"k"', partition=0)
            await producer.stop()
        return await records_of(kafka, changelog)

    assert run(go()) == [b"1"]
    assert _recovers(kafka, group, 8.0 if marked else 40.0) == (not marked)
