"""A changelog is read to its end on a real broker, whatever it ends in; and the largest record goes there and back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced
from kafka import KafkaAdminClient
from kafka_tools import fresh_prefix

from apss_fusion.streaming.batches import MOST_RECORD_BYTES, Batches, RecordTooLargeError, producer_options
from apss_fusion.streaming.changelog import replay

_T = TypeVar("_T")


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(asyncio.wait_for(coroutine, 60.0))


@pytest.fixture
def topic(kafka: str) -> str:
    """A topic of three partitions whose old segments are compacted soon."""
    name = fresh_prefix() + "changelog"
    configs = {
        "cleanup.policy": "compact",
        "max.message.bytes": str(MOST_RECORD_BYTES),
        "min.cleanable.dirty.ratio": "0.01",
        "segment.ms": "100",
        "max.compaction.lag.ms": "100",
        "delete.retention.ms": "100",
    }
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    admin.create_topics({name: {"num_partitions": 3, "replication_factor": 1, "configs": configs}})
    admin.close()
    return name


async def producer(kafka: str, **options: Any) -> AIOKafkaProducer:
    made = AIOKafkaProducer(bootstrap_servers=kafka, **producer_options(), **options)
    await made.start()
    return made


async def read(kafka: str, topic: str, *partitions: int) -> tuple[int, list[list[tuple[bytes, bytes | None]]]]:
    """How many records there were, and each partition's in their order."""
    found: list[list[tuple[bytes, bytes | None]]] = [[] for _ in partitions]
    again: list[list[tuple[bytes, bytes | None]]] = [[] for _ in partitions]
    readers = {
        p: [lambda rs, to=to: to.extend((r.key, r.value) for r in rs) for to in (found[k], again[k])]
        for k, p in enumerate(partitions)
    }
    count = await replay({"bootstrap_servers": kafka}, topic, readers)
    # Each reader of a partition gets them all.
    assert found == again
    return count, found


def test_an_empty_changelog_has_an_end(kafka: str, topic: str) -> None:
    assert run(read(kafka, topic, 0, 2)) == (0, [[], []])
    assert run(read(kafka, topic)) == (0, [])


def test_partitions_are_read_side_by_side(kafka: str, topic: str) -> None:
    async def go() -> tuple[int, list[Any]]:
        made = await producer(kafka)
        for k in range(1000):
            await made.send(topic, b"%d" % k, key=b"%d" % (k // 3), partition=k % 3 and 1)
        await made.stop()
        return await read(kafka, topic, 0, 1, 2)

    count, (zero, one, two) = run(go())
    assert count == 1000
    assert [value for _, value in zero] == [b"%d" % k for k in range(1000) if k % 3 == 0]
    assert [value for _, value in one] == [b"%d" % k for k in range(1000) if k % 3]
    assert two == []


@pytest.mark.parametrize("ends", ["committed", "aborted", "open"])
def test_only_what_was_committed_is_read_whatever_is_at_the_end(kafka: str, topic: str, ends: str) -> None:
    async def go() -> tuple[int, list[Any]]:
        made = await producer(kafka, transactional_id=uuid.uuid4().hex)
        async with made.transaction():
            await made.send_and_wait(topic, b"1", key=b"a", partition=0)
        await made.begin_transaction()
        await made.send_and_wait(topic, b"2", key=b"a", partition=0)
        if ends != "open":
            await (made.commit_transaction() if ends == "committed" else made.abort_transaction())
        if ends == "committed":
            # The mark comes a moment after the answer to the commit.
            async with asyncio.timeout(30.0):
                while (await read(kafka, topic, 0))[0] < 2:
                    await asyncio.sleep(0.05)
        found = await read(kafka, topic, 0)
        await made.stop()
        return found

    expected = [(b"a", b"1"), (b"a", b"2")] if ends == "committed" else [(b"a", b"1")]
    assert run(go()) == (len(expected), [expected])


def test_whoever_starts_the_next_producer_ends_what_the_last_one_left_open(kafka: str, topic: str) -> None:
    """A lane starts its producer, then reads: nothing can come after the end that it sees, and nothing before is missing."""

    async def go() -> list[Any]:
        asleep = await producer(kafka, transactional_id=topic)
        await asleep.begin_transaction()
        await asleep.send_and_wait(topic, b"lost", key=b"a", partition=0)
        owner = await producer(kafka, transactional_id=topic)
        before = await read(kafka, topic, 0)
        with pytest.raises(ProducerFenced):
            await asleep.commit_transaction()
        async with owner.transaction():
            await owner.send_and_wait(topic, b"kept", key=b"a", partition=0)
        # The mark of a commit comes a moment after the answer; the next owner's producer waits for it.
        heir = await producer(kafka, transactional_id=topic)
        after = await read(kafka, topic, 0)
        for one in (asleep, owner, heir):
            await one.stop()
        return [before, after]

    assert run(go()) == [(0, [[]]), (1, [[(b"a", b"kept")]])]


def test_a_compacted_changelog_with_tombstones_is_read(kafka: str, topic: str) -> None:
    """Its last record may be gone, and most of those before."""

    async def go() -> tuple[int, list[Any]]:
        last: dict[bytes, bytes | None] = {}
        async with asyncio.timeout(50.0):
            for number in range(10_000):
                made = await producer(kafka, transactional_id=topic)
                async with made.transaction():
                    for key in (b"a", b"b", b"%d" % (number % 7)):
                        last[key] = None if key == b"3" else b"%d" % number
                        await made.send(topic, last[key], key=key, partition=0)
                await made.stop()
                heir = await producer(kafka, transactional_id=topic)
                count, (found,) = await read(kafka, topic, 0)
                await heir.stop()
                assert {k: v for k, v in dict(found).items() if v is not None} == {
                    k: v for k, v in last.items() if v is not None
                }
                if count < 3 * number and number > 10:
                    break
                # A segment is left when one is written to after its time.
                await asyncio.sleep(0.1)
        return number, found

    number, found = run(go())
    assert len(found) < 3 * number


def test_the_largest_record_goes_there_and_back(kafka: str, topic: str) -> None:
    headers = [("h", b"x" * 100)]

    async def go() -> tuple[int, list[list[tuple[bytes, bytes | None]]]]:
        made = await producer(kafka)
        least, most = MOST_RECORD_BYTES // 2, MOST_RECORD_BYTES
        while most - least > 1:
            # Nothing is sent: only added.
            middle = (least + most) // 2
            try:
                Batches(made).add(topic, 0, b"k", b"x" * middle, headers)
                least = middle
            except RecordTooLargeError:
                most = middle
        batches = Batches(made)
        for partition in (0, 1):
            batches.add(topic, partition, b"k", b"x" * least, headers)
        await batches.send()
        await made.stop()
        return least, (await read(kafka, topic, 0, 1))[1]

    size, found = run(go())
    assert size > 0.99 * MOST_RECORD_BYTES
    assert [[len(value or b"") for _, value in records] for records in found] == [[size], [size]]
