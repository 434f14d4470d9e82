"""Topics read to their end, as records by partition."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

Place = tuple[str, int]
Records = dict[Place, list[Any]]


def read(bootstrap: str, partitions: dict[str, int], committed: bool = True) -> Records:
    """All records of topics with so many partitions each, in order; without `committed`, also of aborted transactions."""
    return asyncio.run(_read(bootstrap, partitions, committed))


async def _read(bootstrap: str, partitions: dict[str, int], committed: bool) -> Records:
    tps = [TopicPartition(topic, number) for topic, count in partitions.items() for number in range(count)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level="read_committed" if committed else "read_uncommitted",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=16 * 2**20,
        max_poll_records=None,
    )
    out: Records = {(tp.topic, tp.partition): [] for tp in tps}
    await consumer.start()
    try:
        consumer.assign(tps)
        first, end = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, first[tp])
        todo = [tp for tp in tps if first[tp] < end[tp]]
        while todo:
            for tp, records in (await consumer.getmany(*todo, timeout_ms=200)).items():
                out[tp.topic, tp.partition] += records
            todo = [tp for tp in todo if await consumer.position(tp) < end[tp]]
    finally:
        await consumer.stop()
    return out


def last_of_keys(records: Iterable[Any]) -> dict[bytes, bytes]:
    """What a compacted log says: the last value of each key that has not been removed since."""
    out: dict[bytes, bytes] = {}
    for r in records:
        if r.value is None:
            out.pop(r.key, None)
        else:
            out[r.key] = r.value
    return out
