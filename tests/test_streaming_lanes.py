"""Lanes: the records of one partition in order, merged, none lost in silence, none worked off after a rest began."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming_tools import Record, cut, run

from apss_fusion.streaming.lanes import MOST_WAITING, Lane, LostRecordsError
from apss_fusion.streaming.transport import Chunk


class Work:
    """Keeps what it is given; a chunk ends when `go` is set."""

    topic, partition = "t", 0

    def __init__(self, start: int | None = None) -> None:
        self.start = start
        self.chunks: list[tuple[int, ...]] = []
        self.generations: list[int] = []
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()
        self.error: Exception | None = None
        self.given_up = False

    async def process(self, records: list[Any], generation: int) -> None:
        self.begun.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.chunks.append(tuple(r.offset for r in records))
        self.generations.append(generation)
        self.start = records[-1].offset + 1

    async def give_up(self) -> None:
        self.given_up = True


class Rig:
    """A lane with its work; events of it, and which of them were acknowledged."""

    def __init__(self, start: int | None = None, most_records: int = 1000) -> None:
        self.work = Work(start)
        self.generation = 1
        self.acknowledged: list[int] = []
        self.errors: list[Exception] = []
        self.lane = Lane(self.work, lambda: self.generation, most_records, self._failed)

    async def _failed(self, error: Exception) -> None:
        self.errors.append(error)

    async def ack(self, event: Any) -> None:
        self.acknowledged.append(event.value.records[-1].offset)

    def event(self, *offsets: int, after: int | None = None, began: int = 0, generation: int | None = None) -> Any:
        records = [Record("t", 0, offset, None, b"") for offset in offsets]
        chunk = Chunk(began, offsets[0] - 1 if after is None else after, records)
        message = SimpleNamespace(topic="t", partition=0, generation_id=generation or self.generation)
        return SimpleNamespace(message=message, value=chunk, lane_stream=self)

    async def put(self, *events: Any) -> None:
        for event in events:
            self.lane.put(event)

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await asyncio.sleep(0)

    async def all_done(self) -> None:
        await self.until(lambda: not self.lane.waiting or self.errors)


def test_chunks_are_worked_off_in_order_and_acknowledged() -> None:
    async def go() -> None:
        rig = Rig()
        for event in (rig.event(0, 1), rig.event(2), rig.event(3, 4, 5)):
            await rig.put(event)
            await rig.all_done()
        assert rig.work.chunks == [(0, 1), (2,), (3, 4, 5)]
        assert rig.acknowledged == [1, 2, 5]
        assert rig.lane.done == 3
        await rig.lane.close()
        assert rig.work.given_up

    run(go())


def test_what_queues_up_during_a_chunk_is_the_next_chunk() -> None:
    async def go() -> None:
        rig = Rig(most_records=5)
        rig.work.go.clear()
        await rig.put(rig.event(0))
        await rig.work.begun.wait()
        await rig.put(*(rig.event(2 * k + 1, 2 * k + 2) for k in range(4)))
        assert rig.lane.busy
        rig.work.go.set()
        await rig.all_done()
        # Whole events, until there are five records.
        assert rig.work.chunks == [(0,), (1, 2, 3, 4, 5, 6), (7, 8)]
        assert rig.acknowledged == [0, 2, 4, 6, 8]
        await rig.lane.close()

    run(go())


def test_nothing_is_acknowledged_before_it_is_safe() -> None:
    async def go() -> None:
        rig = Rig()
        rig.work.go.clear()
        await rig.put(rig.event(0))
        await rig.work.begun.wait()
        assert rig.acknowledged == []
        rig.work.go.set()
        await rig.all_done()
        assert rig.acknowledged == [0]
        await rig.lane.close()

    run(go())


def test_what_an_earlier_generation_fetched_is_left() -> None:
    async def go() -> None:
        rig = Rig()
        await rig.put(rig.event(0))
        await rig.all_done()
        rig.generation = 2
        await rig.put(rig.event(1, 2, generation=1), rig.event(1, generation=2), rig.event(2, generation=2))
        await rig.all_done()
        assert rig.work.chunks == [(0,), (1, 2)]
        assert rig.work.generations == [1, 2]
        assert rig.acknowledged == [0, 1, 2]
        await rig.lane.close()

    run(go())


def test_a_generation_that_changes_during_a_chunk_leaves_it_safe_and_unacknowledged() -> None:
    async def go() -> None:
        rig = Rig()
        rig.work.go.clear()
        await rig.put(rig.event(0, 1))
        await rig.work.begun.wait()
        rig.generation = 2
        rig.work.go.set()
        await rig.all_done()
        assert rig.work.chunks == [(0, 1)]
        assert rig.acknowledged == []
        # The next owner's, or ours again, from the state.
        await rig.put(rig.event(0, 1, 2))
        await rig.all_done()
        assert rig.work.chunks == [(0, 1), (2,)]
        await rig.lane.close()

    run(go())


def test_records_that_are_there_twice_are_taken_once() -> None:
    async def go() -> None:
        rig = Rig(start=3)
        await rig.put(rig.event(2, 3, 4), rig.event(4, 5, after=3), rig.event(3, 4, after=2))
        await rig.all_done()
        await rig.put(rig.event(4, 5, 6))
        await rig.all_done()
        assert rig.work.chunks == [(3, 4, 5), (6,)]
        assert rig.acknowledged == [4, 5, 4, 6]
        await rig.lane.close()

    run(go())


def test_marks_of_transactions_are_no_loss() -> None:
    async def go() -> None:
        rig = Rig()
        await rig.put(rig.event(0, 3), rig.event(7, after=3))
        await rig.all_done()
        assert rig.work.chunks == [(0, 3, 7)]
        assert rig.errors == []
        await rig.lane.close()

    run(go())


@given(st.integers(1, 12), st.lists(st.integers(1, 11), max_size=6), st.data())
def test_a_lost_event_is_noticed_wherever_it_was(count: int, cuts: list[int], data: st.DataObject) -> None:
    """Also where it was the first after the state's end, or between two that are merged."""
    parts = cut(range(count), cuts)
    lost = data.draw(st.integers(0, len(parts) - 1))
    merged = data.draw(st.booleans())
    state_ends = data.draw(st.none() | st.integers(0, parts[lost][-1]))

    async def go() -> None:
        rig = Rig(start=state_ends)
        rig.work.go.clear() if merged else None
        for number, part in enumerate(parts):
            if number != lost:
                await rig.put(rig.event(*part))
                if not merged:
                    await rig.all_done()
        rig.work.go.set()
        await rig.all_done()
        done = [offset for chunk in rig.work.chunks for offset in chunk]
        # Up to the loss all is as it should be, and nothing behind it.
        assert done == list(range(state_ends or 0, len(done) + (state_ends or 0)))
        assert not done or done[-1] < parts[lost][0]
        if lost < len(parts) - 1:
            assert [type(error) for error in rig.errors] == [LostRecordsError]
            assert str(parts[lost][-1]) in str(rig.errors[0])
        else:
            # The end of a partition shows nothing yet.
            assert rig.errors == []
        await rig.lane.close()

    run(go())


def test_an_error_ends_the_lane_and_is_told_once() -> None:
    async def go() -> None:
        rig = Rig()
        rig.work.error = error = RuntimeError("no broker")
        await rig.put(rig.event(0))
        await rig.until(lambda: rig.errors)
        assert rig.errors == [error]
        assert rig.acknowledged == []
        rig.work.error = None
        await rig.put(rig.event(1))
        await rig.lane.rest()
        assert rig.work.chunks == []
        await rig.lane.close()

    run(go())


@pytest.mark.parametrize("queued", [0, 1, 3])
def test_in_a_rest_no_chunk_begins(queued: int) -> None:
    """A decoder's state is kept in a rest: a chunk that is half done would be in it."""

    async def go() -> None:
        rig = Rig(most_records=1)
        rig.work.go.clear()
        await rig.put(rig.event(0))
        await rig.work.begun.wait()
        await rig.put(*(rig.event(1 + k) for k in range(queued)))
        rest = asyncio.ensure_future(rig.lane.rest())
        await asyncio.sleep(0)
        assert not rest.done()
        rig.work.go.set()
        await rest
        await rig.put(rig.event(1 + queued))
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.work.chunks == [(0,)]
        assert not rig.lane.busy
        assert rig.lane.waiting
        rig.lane.go_on()
        await rig.all_done()
        assert rig.work.chunks == [(k,) for k in range(queued + 2)]
        await rig.lane.close()

    run(go())


def test_a_full_lane_says_so_and_holds_up_nobody() -> None:
    """Else one partition that waits would stop the reading of all."""

    async def go() -> None:
        rig = Rig(most_records=1)
        rig.work.go.clear()
        await rig.put(rig.event(0))
        await rig.work.begun.wait()
        assert not rig.lane.is_full
        await rig.put(rig.event(*range(1, MOST_WAITING)), rig.event(MOST_WAITING))
        assert rig.lane.is_full
        assert rig.lane.first_waiting.offset == 1
        rig.work.go.set()
        await rig.all_done()
        assert not rig.lane.is_full
        assert rig.lane.first_waiting is None
        await rig.lane.close()

    run(go())


def test_a_chunk_under_way_ends_with_its_lane() -> None:
    async def go() -> None:
        rig = Rig()
        rig.work.go.clear()
        await rig.put(rig.event(0))
        await rig.work.begun.wait()
        await rig.lane.close()
        assert rig.work.given_up
        assert rig.errors == []
        assert not rig.lane.busy

    run(go())
