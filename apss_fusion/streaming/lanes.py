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
#: Events that wait in a lane before the framework has to.
_MOST_WAITING = 50


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
        self._queue: asyncio.Queue[Any] = asyncio.Queue(_MOST_WAITING)
        self._next: Any = None
        self.busy = False
        #: Chunks done so far.
        self.done = 0
        self._idle, self._may_go = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._may_go.set()
        self._task = asyncio.ensure_future(self._run())

    @property
    def waiting(self) -> bool:
        """Whether there is something to do."""
        return self.busy or self._next is not None or not self._queue.empty()

    async def put(self, event: Any) -> None:
        """Add an event of Faust, whose value is a chunk."""
        await self._queue.put(event)

    async def rest(self) -> None:
        """Begin no further chunk until `go_on`, and wait until none is under way."""
        self._may_go.clear()
        await self._idle.wait()

    def go_on(self) -> None:
        """Go on after a rest."""
        self._may_go.set()

    async def close(self) -> None:
        """End, and let go of the partition."""
        self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            pass
        # Whoever waits for a place would wait for ever.
        while not self._queue.empty():
            self._queue.get_nowait()
        await self.work.give_up()

    async def _run(self) -> None:
        try:
            while True:
                if self._next is None:
                    self._next = await self._queue.get()
                await self._may_go.wait()
                events, self._next = [self._next], None
                self._idle.clear()
                self.busy = True
                generation, count = events[0].message.generation_id, len(events[0].value.records)
                while count < self._most_records and not self._queue.empty():
                    event = self._queue.get_nowait()
                    if event.message.generation_id != generation:
                        self._next = event
                        break
                    events.append(event)
                    count += len(event.value.records)
                if await self._process(generation, [event.value for event in events]):
                    for event in events:
                        await event.lane_stream.ack(event)
                self.done += 1
                self.busy = False
                self._idle.set()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            _LOG.exception("%s/%d: %s", self.work.topic, self.work.partition, error)
            await self._failed(error)
        finally:
            self.busy = False
            self._idle.set()

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
