"""Records for several partitions, put together as Kafka's record batches and sent in their order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from apss_fusion.streaming.headers import Headers

#: The largest record, and so the largest batch, that any topic of ours takes (`max.message.bytes`).
MOST_RECORD_BYTES = 8 * 2**20
#: Of more records than one, a batch is no larger than this. Batches of a partition go one after the other: of small ones, a
#: chunk would wait for many answers.
_BATCH_BYTES = 4 * 2**20
#: From this size on, a record is weighed before it is added.
_LARGE_BYTES = 900_000
#: What a batch has beside its records, and a record beside its key, value and headers.
_OVERHEAD_BYTES = 4096
_MOST_CONTENT_BYTES = MOST_RECORD_BYTES - 2 * _OVERHEAD_BYTES


class RecordTooLargeError(ValueError):
    """A record that no topic takes; the message says how large it is."""


def producer_options() -> dict[str, Any]:
    """What every producer of ours is told beside how to reach the cluster."""
    return {
        "acks": "all",
        "enable_idempotence": True,
        "max_batch_size": MOST_RECORD_BYTES - _OVERHEAD_BYTES,
        "max_request_size": 4 * MOST_RECORD_BYTES,
    }


class Batches:
    """Records on their way, by topic and partition. An instance is filled, sent once, and done with."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._batches: dict[tuple[str, int], list[Any]] = {}

    def add(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | memoryview | None,
        headers: Headers | None = None,
        timestamp_ms: int | None = None,
    ) -> None:
        """Add a record; a value of None is a tombstone. `RecordTooLargeError` where no topic takes it."""
        if value is not None and len(value) > _LARGE_BYTES:
            # A batch takes any record that is its first, and the broker then refuses it.
            count = len(key or b"") + len(value) + sum(len(name) + len(text) for name, text in headers or [])
            if count > _MOST_CONTENT_BYTES:
                raise RecordTooLargeError(f"{count:,} bytes are too many for a record")
        batches = self._batches.get((topic, partition))
        if batches is None:
            batches = self._batches[topic, partition] = [self._producer.create_batch()]
        batch = batches[-1]
        size = batch.size()
        room = size + (len(value) if value is not None else 0) < _BATCH_BYTES or batch.record_count() == 0
        if not room:
            batch = self._producer.create_batch()
        if batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers or []) is None:
            # append() drops what has no place without a word.
            raise RecordTooLargeError(f"{len(value or b''):,} bytes are too many for a record")
        if not room:
            batches.append(batch)

    @property
    def topics(self) -> list[str]:
        """The topics that there are records for."""
        return list(dict.fromkeys(topic for topic, _ in self._batches))

    async def begin(self, only: Sequence[str] | None = None) -> list[asyncio.Future[Any]]:
        """Hand all batches of these topics (None: all) to the producer; the brokers' answers, to be awaited.

        In a transaction: without one, what stands behind a batch that the brokers refuse may be there without it.
        """
        answers = []
        for (topic, partition), batches in self._batches.items():
            if only is None or topic in only:
                for batch in batches:
                    if batch.record_count():
                        batch.close()
                        answers.append(await self._producer.send_batch(batch, topic, partition=partition))
        return answers

    async def send(self) -> None:
        """Send all; returns when the brokers have them all, raises what went wrong with the first that they have not.

        No batch is sent before the brokers have those in front of it in its partition, so that none is there without them.
        """
        await asyncio.gather(*(self._send(*place, batches) for place, batches in self._batches.items()))

    async def _send(self, topic: str, partition: int, batches: list[Any]) -> None:
        for batch in batches:
            if batch.record_count():
                batch.close()
                await (await self._producer.send_batch(batch, topic, partition=partition))
