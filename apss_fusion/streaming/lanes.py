"""Partitions side by side: of each, chunks one after the other, and what has queued up meanwhile as one.

Without that merging (group commit), a slow broker makes the queue longer; with it, it makes the chunks larger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from apss_fusion.streaming.transport import Chunk

_LOG = logging.getLogger(__name__)
#: Records, and bytes of them, that wait in a lane before no more are fetched for it.
MOST_WAITING, MOST_WAITING_BYTES = 20_000, 64 * 2**20
#: Bytes of records that are merged into one chunk, give or take an event.
_CHUNK_BYTES = 16 * 2**20


class LostRecordsError(RuntimeError):
    """Records were lost between the broker and the lane: the process has to end, and read them again."""


class Work(Protocol):
    """What a lane does with its records."""

    topic: str
    partition: int

    @property
    def start(self) -> int | None:
        """The offset to go on from; None: the beginning."""

    async def process(self, records: list[Any], generation: int) -> None:
        """Take in records; when this returns, all that came of them is safe."""

    async def give_up(self) -> None:
        """Let go of the partition."""


class Lane:
    """The queue of one partition, and the task that empties it.

    Parameters
    ----------
    work
        What becomes of the records.
    generation
        The present generation of the group of workers: what was fetched in an earlier one is fetched again.
    most_records
        That are merged into one chunk.
    failed
        Called with the error that ended the lane.
    """

    def __init__(
        self,
        work: Work,
        generation: Callable[[], int],
        most_records: int,
        failed: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self.work = work
        self._generation, self._most_records, self._failed = generation, most_records, failed
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._queued = self._queued_bytes = 0
        self._next: Any = None
        self.busy = False
        #: Chunks done so far.
        self.done = 0
        self._idle, self._may_go = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._may_go.set()
        #: Since when there has been nothing to do, by the clock of the event loop.
        self.empty_since_s = asyncio.get_running_loop().time()
        self._task = asyncio.ensure_future(self._run())

    @property
    def waiting(self) -> bool:
        """Whether there is something to do."""
        return self.busy or self._next is not None or not self._queue.empty()

    @property
    def is_full(self) -> bool:
        """Whether no more is to be fetched for now. It is the fetching that waits: a lane holds up no other."""
        return self._queued >= MOST_WAITING or self._queued_bytes >= MOST_WAITING_BYTES

    @property
    def first_waiting(self) -> Any:
        """The first record that has not begun, None for none."""
        if self._next is not None:
            return self._next.value.records[0]
        return self._queue._queue[0].value.records[0] if not self._queue.empty() else None  # type: ignore[attr-defined]

    def put(self, event: Any) -> None:
        """Add an event of Faust, whose value is a chunk."""
        self._queue.put_nowait(event)
        self._queued += len(event.value.records)
        event.lane_bytes = sum(len(r.value) for r in event.value.records if r.value is not None)
        self._queued_bytes += event.lane_bytes

    async def rest(self) -> None:
        """Begin no further chunk until `go_on`, and wait until none is under way."""
        self._may_go.clear()
        await self._idle.wait()

    def go_on(self) -> None:
        """Go on after a rest."""
        self.empty_since_s = asyncio.get_running_loop().time()
        self._may_go.set()

    async def close(self) -> None:
        """End, and let go of the partition."""
        self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            pass
        await self.work.give_up()

    async def _run(self) -> None:
        try:
            while True:
                if self._next is None:
                    self._next = self._taken(await self._queue.get())
                await self._may_go.wait()
                events, self._next = [self._next], None
                self._idle.clear()
                self.busy = True
                generation, count = events[0].message.generation_id, len(events[0].value.records)
                size = events[0].lane_bytes
                while count < self._most_records and size < _CHUNK_BYTES and not self._queue.empty():
                    event = self._taken(self._queue.get_nowait())
                    if event.message.generation_id != generation:
                        self._next = event
                        break
                    events.append(event)
                    count += len(event.value.records)
                    size += event.lane_bytes
                if await self._process(generation, [event.value for event in events]):
                    for event in events:
                        # A decoder may stop within a chunk, before partitions are given back.
                        if event.value.records[-1].offset < (self.work.start or 0):
                            await event.lane_stream.ack(event)
                self.done += 1
                self.busy = False
                self.empty_since_s = asyncio.get_running_loop().time()
                self._idle.set()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _LOG.exception("%s/%d: %s", self.work.topic, self.work.partition, error)
            await self._failed(error)
        finally:
            self.busy = False
            self._idle.set()

    def _taken(self, event: Any) -> Any:
        self._queued -= len(event.value.records)
        self._queued_bytes -= event.lane_bytes
        return event

    async def _process(self, generation: int, chunks: list[Chunk]) -> bool:
        """Work off chunks; whether their input may be acknowledged."""
        if generation != self._generation():
            # From before the partitions changed: fetched again.
            return False
        after = (chunks[0].began if self.work.start is None else self.work.start) - 1
        records: list[Any] = []
        for chunk in chunks:
            # What is here twice is known by its offset; what is missing was lost.
            if chunk.after > after:
                raise LostRecordsError(f"records {after + 1} to {chunk.after} were lost on the way")
            records += [r for r in chunk.records if r.offset > after]
            after = max(after, chunk.records[-1].offset)
        if records:
            await self.work.process(records, generation)
        return generation == self._generation()
