"""How far each partition is done, seen from outside while a run goes on: for how long a fault can be felt."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from .records import Place

_EVERY_S = 0.2
#: What arrived longer ago than this has to be done, or a fault is still felt; s.
BEHIND_S = 2.0


class Mark(msgspec.Struct):
    """What a changelog says of how far its partition is done."""

    offset: int
    origins: dict[str, tuple[int, int]]


class _Sample(NamedTuple):
    time_s: float
    ends: dict[Place, int]
    done: dict[Place, int]


class Watch:
    """Reads marks and ends of partitions in a thread of its own, from `start` to `stop`."""

    def __init__(self, bootstrap: str, looks: str, changelog: str, regions: int, feeds: dict[str, int]) -> None:
        self._bootstrap, self._looks, self._changelog = bootstrap, looks, changelog
        self._inputs = [TopicPartition(looks, n) for n in range(regions)]
        self._inputs += [TopicPartition(topic, n) for topic, count in feeds.items() for n in range(count)]
        self._logs = [TopicPartition(changelog, n) for n in range(regions)]
        self._ending = threading.Event()
        self._samples: list[_Sample] = []
        #: Offset after the last one that is done, by partition.
        self._done: dict[Place, int] = {}
        self._faults: list[float] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def fault(self) -> None:
        """Something is done to workers or brokers now."""
        self._faults.append(time.monotonic())

    @property
    def faults(self) -> int:
        """How many faults there were."""
        return len(self._faults)

    @property
    def done(self) -> dict[Place, int]:
        """Offset after the last record that is done, by partition of the looks and of the feeds."""
        return dict(self._done)

    @property
    def ends(self) -> dict[Place, int]:
        """Offset after the last record of each partition, as last asked."""
        return self._samples[-1].ends if self._samples else {}

    def behind(self) -> bool:
        """Whether something that arrived a while ago is not done."""
        samples, now = self._samples, time.monotonic()
        if not self._done or not samples or samples[-1].time_s < now - BEHIND_S:
            return True
        return any(_lags(then, samples[-1]) for then in samples if BEHIND_S < now - then.time_s < BEHIND_S + 2.0)

    def settled_s(self, until_s: float) -> float | None:
        """The longest time from a fault until nothing was behind any more; None without faults."""
        faults = [*self._faults, until_s]
        longest = None
        for start, end in itertools.pairwise(faults):
            late = [
                now.time_s for k, now in enumerate(self._samples) if start < now.time_s <= end and self._late(k, now)
            ]
            longest = max(longest or 0.0, late[-1] - start if late else 0.0)
        return longest

    def _late(self, k: int, now: _Sample) -> bool:
        then = next((s for s in reversed(self._samples[:k]) if s.time_s <= now.time_s - BEHIND_S), None)
        return then is not None and _lags(then, now)

    async def _run(self) -> None:
        while not self._ending.is_set():
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=100,
            )
            with contextlib.suppress(KafkaError, TimeoutError):
                await consumer.start()
                consumer.assign(self._logs)
                await self._follow(consumer)
            with contextlib.suppress(asyncio.CancelledError, KafkaError):
                # It cancels what it waits for, without a broker.
                await consumer.stop()
            await asyncio.sleep(_EVERY_S)

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        next_s = time.monotonic()
        while not self._ending.is_set():
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                for r in records:
                    if r.key == b"watermark":
                        self._note(tp.partition, msgspec.json.decode(r.value, type=Mark))
            if time.monotonic() < next_s:
                continue
            next_s = time.monotonic() + _EVERY_S
            ends = await asyncio.wait_for(consumer.end_offsets(self._inputs), 5.0)
            found = {(tp.topic, tp.partition): end for tp, end in ends.items()}
            self._samples.append(_Sample(time.monotonic(), found, dict(self._done)))

    def _note(self, partition: int, mark: Mark) -> None:
        self._done[self._looks, partition] = mark.offset + 1
        for origin, (offset, _) in mark.origins.items():
            topic, _, number = origin.rpartition("/")
            place = topic, int(number)
            self._done[place] = max(self._done.get(place, 0), offset + 1)


def _lags(then: _Sample, now: _Sample) -> bool:
    return any(now.done.get(place, 0) < end for place, end in then.ends.items())
