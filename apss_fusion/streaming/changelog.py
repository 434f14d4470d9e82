"""Reading a changelog to its end: by position, of committed records, whatever the last record is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

_WAIT_MS = 200
_FETCH_BYTES = 16 * 2**20

#: Called with the records of a partition, in their order.
Apply = Callable[[list[Any]], None]


async def replay(options: Mapping[str, Any], topic: str, partitions: Mapping[int, Collection[Apply]]) -> int:
    """Read partitions of a changelog from their beginning to their present end; how many records these were.

    The end is the last stable offset, so transactions that are still open are left out: the owner of a partition has to
    fence its predecessor before. A log that was compacted, is empty or ends in a mark of a transaction is read as well.
    """
    tps = [TopicPartition(topic, partition) for partition in partitions]
    if not tps:
        return 0
    consumer = AIOKafkaConsumer(
        **options,
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=_WAIT_MS,
        max_partition_fetch_bytes=_FETCH_BYTES,
        max_poll_records=None,
    )
    await consumer.start()
    count = 0
    try:
        consumer.assign(tps)
        first, end = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        for tp in tps:
            consumer.seek(tp, first[tp])
        todo = {tp for tp in tps if first[tp] < end[tp]}
        while todo:
            for tp, records in (await consumer.getmany(*todo, timeout_ms=_WAIT_MS)).items():
                count += len(records)
                for apply in partitions[tp.partition]:
                    apply(records)
            todo = {tp for tp in todo if await consumer.position(tp) < end[tp]}
    finally:
        await consumer.stop()
    return count
