"""A worker's app without a broker: what it takes over and gives up, when it is well, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.consumer import Consumer
from faust.types import TP
from streaming_tools import FakeKafka, Record, deployment, in_memory, look_records, run
from streaming_tools import _replay as replay_in_memory
from test_streaming_fuse_lane import LOOKS

from apss_fusion.streaming import app as app_module
from apss_fusion.streaming.app import FAILED, FusionApp, make_app
from apss_fusion.streaming.transport import Chunk

__all__ = ["in_memory"]

FEED, LOOKS_TOPIC = "t.feeds.looks", "t.looks"


class Rig:
    """An app whose Kafka is in memory, at a time of the test's own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kafka = FakeKafka()
        self.now_s = 1000.0
        self.died: list[str] = []
        monkeypatch.setattr(app_module, "replay", replay_in_memory)
        monkeypatch.setattr(app_module, "time", SimpleNamespace(monotonic=lambda: self.now_s))
        self.app: FusionApp = make_app(deployment())
        self.app.options = {"kafka": self.kafka}
        self.app._producer = SimpleNamespace(_producer=self.kafka.producer())
        self.app.consumer_generation_id = 1
        self.app.rebalancing = False
        self.ends: dict[Any, int] = {}
        self.app._consumer = SimpleNamespace(highwater=self.ends.get)
        monkeypatch.setattr(self.app, "die", self._die)

    async def _die(self, error: BaseException) -> None:
        self.died.append(str(error))

    async def take_over(self, *places: tuple[str, int]) -> None:
        await self.app.take_over([TP(*place) for place in places])

    def put(self, topic: str, records: list[Record], after: int | None = None) -> None:
        """Hand a chunk to its lane, as the agent does."""
        first = records[0].offset
        chunk = Chunk(0, first - 1 if after is None else after, records)
        message = SimpleNamespace(topic=topic, partition=0, generation_id=self.app.consumer_generation_id)
        self.app.lanes[topic, 0].put(SimpleNamespace(message=message, value=chunk, lane_stream=self))

    async def ack(self, event: Any) -> None:
        pass

    def figure(self, name: str, **labels: str) -> float | None:
        return self.app.metrics.registry.get_sample_value(name, labels)

    async def idle(self) -> None:
        while any(lane.waiting for lane in self.app.lanes.values()):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for lane in self.app.lanes.values():
            await lane.close()


@pytest.fixture(autouse=True)
def stock_methods() -> Iterator[None]:
    """`make_app` puts a method of ours into Faust."""
    stock = Consumer._wait_next_records
    yield
    Consumer._wait_next_records = stock


def feed_records(count: int, first: int = 0) -> list[Record]:
    return [Record(FEED, 0, first + k, b"k", r.value) for k, r in enumerate(look_records(LOOKS[first : first + count]))]


# ---------------------------------------------------------------------------------------- partitions


def test_partitions_are_taken_over_kept_and_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        rig = Rig(monkeypatch)
        await rig.take_over((FEED, 0), (FEED, 1), (LOOKS_TOPIC, 0))
        lanes = dict(rig.app.lanes)
        assert sorted(lanes) == [(FEED, 0), (FEED, 1), (LOOKS_TOPIC, 0)]
        assert rig.figure("apss_assigned_partitions", topic=FEED) == 2
        assert rig.figure("apss_assigned_partitions", topic=LOOKS_TOPIC) == 1
        assert rig.app.start_of(FEED, 0) is None
        rig.put(FEED, feed_records(20))
        rig.put(LOOKS_TOPIC, look_records(LOOKS[:30]))
        await rig.idle()
        assert (rig.app.start_of(FEED, 0), rig.app.start_of(LOOKS_TOPIC, 0)) == (20, 30)
        await rig.app.settle()
        rig.app.consumer_generation_id = 2
        # What is still ours goes on where it is; what is not has gone.
        await rig.take_over((FEED, 0), (LOOKS_TOPIC, 1))
        assert rig.app.lanes[FEED, 0] is lanes[FEED, 0]
        assert sorted(rig.app.lanes) == [(FEED, 0), (LOOKS_TOPIC, 1)]
        assert rig.app.start_of(FEED, 0) == 20
        assert rig.figure("apss_assigned_partitions", topic=FEED) == 1
        assert rig.figure("apss_tracks", partition="0", status="CONFIRMED") is None
        # Back again: from the changelog.
        await rig.app.settle()
        await rig.take_over((LOOKS_TOPIC, 0))
        assert rig.app.lanes[LOOKS_TOPIC, 0] is not lanes[LOOKS_TOPIC, 0]
        assert rig.app.start_of(LOOKS_TOPIC, 0) == 30
        assert (rig.figure("apss_tracks", partition="0", status="CONFIRMED") or 0) > 0
        await rig.take_over((FEED, 0))
        assert rig.app.start_of(FEED, 0) == 20
        await rig.close()

    run(go())


def test_what_is_given_back_is_kept_first_and_begins_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        rig = Rig(monkeypatch)
        await rig.take_over((FEED, 0), (LOOKS_TOPIC, 0))
        rig.put(FEED, feed_records(5))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rig.app.lanes[FEED, 0].busy
        rig.put(FEED, feed_records(5, 5))
        await rig.app.settle()
        assert not rig.app.lanes[FEED, 0].busy
        (snapshot,) = rig.kafka.log("decode-changelog")
        assert snapshot.key == FEED.encode()
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(rig.kafka.log("looks")) == 5
        # Ours again: what was fetched before comes anew.
        rig.app.consumer_generation_id = 2
        await rig.take_over((FEED, 0), (LOOKS_TOPIC, 0))
        await rig.idle()
        assert rig.app.start_of(FEED, 0) == 5
        rig.put(FEED, feed_records(5, 5))
        await rig.idle()
        assert len(rig.kafka.log("looks")) == 10
        await rig.close()

    run(go())


def test_an_error_of_a_lane_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        rig = Rig(monkeypatch)
        await rig.take_over((FEED, 0))
        rig.put(FEED, feed_records(5, 5), after=4)
        while not rig.died:
            await asyncio.sleep(0)
        assert rig.died == ["records 0 to 4 were lost on the way"]
        await rig.close()

    run(go())


# ---------------------------------------------------------------------------------------- health


def test_ready_is_to_have_partitions_and_their_states(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        rig = Rig(monkeypatch)
        assert not rig.app.is_ready
        await rig.take_over()
        assert not rig.app.is_ready
        await rig.take_over((FEED, 0))
        assert rig.app.is_ready
        rig.app.rebalancing = True
        assert not rig.app.is_ready
        rig.app.rebalancing = False
        rig.kafka.append("t.fuse-changelog", 0, [(b"clock", b"\xc1", (), 0)])
        with pytest.raises(ValueError, match="engine state"):
            await rig.take_over((FEED, 0), (LOOKS_TOPIC, 0))
        assert not rig.app.is_ready
        await rig.close()

    run(go())


def test_a_worker_that_never_gets_partitions_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        rig = Rig(monkeypatch)
        limit_s = rig.app.settings.worker.stuck_s
        for step_s in (0.0, limit_s):
            rig.now_s += step_s
            await rig.app.watch()
            assert rig.app.is_healthy
        rig.now_s += 1.0
        assert not rig.app.is_healthy
        await rig.app.watch()
        assert rig.died == ["stuck"]

    run(go())
    assert "stuck for 60 s: there are no partitions for it" in caplog.text


def test_a_worker_with_nothing_to_do_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        rig = Rig(monkeypatch)
        await rig.take_over((FEED, 0))
        for _ in range(20):
            rig.now_s += 50.0
            await rig.app.watch()
            assert rig.app.is_healthy
        assert rig.died == []
        await rig.close()

    run(go())


def test_a_chunk_that_does_not_end_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def go() -> None:
        rig = Rig(monkeypatch)
        await rig.take_over((FEED, 0), (LOOKS_TOPIC, 0))
        lane = rig.app.lanes[LOOKS_TOPIC, 0]
        hangs = asyncio.Event()

        async def process(records: list[Any], generation: int) -> None:
            await hangs.wait()

        monkeypatch.setattr(lane.work, "process", process)
        rig.put(LOOKS_TOPIC, look_records(LOOKS[:5]))
        await rig.app.watch()
        # That others get on is no excuse.
        for k in range(2):
            assert rig.died == []
            rig.put(FEED, feed_records(1, k))
            while not rig.app.lanes[FEED, 0].done > k:
                await asyncio.sleep(0)
            rig.now_s += 50.0
            await rig.app.watch()
        assert rig.died == ["stuck"]
        hangs.set()
        await rig.close()

    run(go())
    assert "stuck for 60 s: t.looks/0 does not get on" in caplog.text


def test_the_lag_of_each_partition_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        rig = Rig(monkeypatch)
        await rig.take_over((FEED, 0), (LOOKS_TOPIC, 0))
        rig.ends[TP(FEED, 0)] = 12
        await rig.app.watch()
        assert rig.figure("apss_input_lag_records", topic=FEED, partition="0") == 12
        # The end is not known before the first fetch.
        assert rig.figure("apss_input_lag_records", topic=LOOKS_TOPIC, partition="0") is None
        rig.put(FEED, feed_records(10))
        await rig.idle()
        await rig.app.watch()
        assert rig.figure("apss_input_lag_records", topic=FEED, partition="0") == 2
        await rig.close()

    run(go())


def test_a_worker_ends_even_if_its_orderly_end_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Timer:
        def __init__(self, after_s: float, what: Any, arguments: Any) -> None:
            timers.append((after_s, what, arguments))

        def start(self) -> None:
            timers.append(("started", self.daemon))

    timers: list[Any] = []
    monkeypatch.setattr(app_module.threading, "Timer", Timer)

    async def go() -> None:
        app = make_app(deployment())
        crashed: list[BaseException] = []

        async def crash(error: BaseException) -> None:
            # The clock runs before.
            assert timers
            crashed.append(error)

        monkeypatch.setattr(app, "crash", crash)
        error = RuntimeError("no")
        await app.die(error)
        assert crashed == [error]

    run(go())
    assert timers == [(10.0, app_module.os._exit, (FAILED,)), ("started", True)]
