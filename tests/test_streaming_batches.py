"""Record batches: everything in its order, none larger than topics take; and replaying a changelog to its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming_tools import FakeKafka, run

from apss_fusion.streaming.batches import (
    _BATCH_BYTES,
    MOST_RECORD_BYTES,
    Batches,
    RecordTooLargeError,
    producer_options,
)

#: As sizes of records: tiny ones, and such as fill a batch or are larger.
SIZES = st.sampled_from([0, 1, 100, 300_000, 899_000, 900_001, 2_000_000])


@given(st.lists(st.tuples(st.sampled_from(["t.a", "t.b"]), st.integers(0, 1), SIZES), max_size=12))
def test_records_of_a_partition_arrive_in_their_order_in_batches_of_bounded_size(
    records: list[tuple[str, int, int]],
) -> None:
    kafka = FakeKafka()

    async def go() -> None:
        batches = Batches(kafka.producer())
        for number, (topic, partition, size) in enumerate(records):
            batches.add(topic, partition, b"%d" % number, b"x" * size, [("h", b"%d" % number)], 7)
        assert batches.topics == list(dict.fromkeys(topic for topic, _, _ in records))
        await batches.send()

    run(go())
    for topic in "ab":
        for partition in (0, 1):
            mine = [(k, s) for k, (t, p, s) in enumerate(records) if (t, p) == (f"t.{topic}", partition)]
            log = kafka.log(topic, partition)
            assert [(r.key, len(r.value or b"")) for r in log] == [(b"%d" % k, size) for k, size in mine]
            assert [r.headers for r in log] == [(("h", b"%d" % k),) for k, _ in mine]
            assert {r.timestamp for r in log} <= {7}
    # A larger one is the only record of its batch.
    most = max([_BATCH_BYTES, *(size for _, _, size in records)])
    assert all(size < most + 1000 for size in kafka.batch_bytes)


def test_small_records_share_a_batch() -> None:
    kafka = FakeKafka()

    async def go() -> None:
        batches = Batches(kafka.producer())
        for k in range(1000):
            batches.add("t.a", 0, b"k", b"x" * 100 if k % 2 else None)
        await batches.send()

    run(go())
    assert len(kafka.log("a")) == 1000
    assert kafka.log("a")[0].value is None
    assert len(kafka.batch_bytes) == 1


def test_topics_are_begun_one_after_the_other() -> None:
    kafka = FakeKafka()

    async def go() -> None:
        batches = Batches(kafka.producer())
        batches.add("t.a", 0, b"k", b"1")
        batches.add("t.b", 0, b"k", b"2")
        answers = await batches.begin(["t.b"])
        assert (len(kafka.log("a")), len(kafka.log("b"))) == (0, 1)
        answers += await batches.begin(["t.a", "t.none"])
        assert (len(kafka.log("a")), len(kafka.log("b"))) == (1, 1)
        await asyncio.gather(*answers)

    run(go())


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("where", ["value", "headers"])
def test_a_record_that_is_too_large_is_refused_and_leaves_the_others(others: int, where: str) -> None:
    kafka = FakeKafka()
    large: dict[str, Any] = {"value": b"x" * MOST_RECORD_BYTES}
    if where == "headers":
        large = {"value": b"x" * 2**20, "headers": [("h", b"x" * (7 * 2**20))]}

    async def go() -> None:
        batches = Batches(kafka.producer())
        for k in range(others):
            batches.add("t.a", 0, b"k", b"%d" % k)
        with pytest.raises(RecordTooLargeError, match=r"8,\d{3},\d{3} bytes are too many for a record"):
            batches.add("t.a", 0, b"k", **large)
        batches.add("t.a", 0, b"k", b"last")
        await batches.send()

    run(go())
    assert [r.value for r in kafka.log("a")] == [*(b"%d" % k for k in range(others)), b"last"]


def test_a_batch_that_is_refused_is_an_error() -> None:
    kafka = FakeKafka()

    def refuse(topic: str) -> None:
        if topic == "t.b":
            raise ConnectionError("no leader")

    kafka.refuse = refuse

    async def go() -> None:
        batches = Batches(kafka.producer())
        for topic in ("t.a", "t.b"):
            batches.add(topic, 0, b"k", b"v")
        with pytest.raises(ConnectionError):
            await batches.send()

    run(go())


def test_producers_are_told_to_repeat_nothing() -> None:
    options = producer_options()
    assert options["enable_idempotence"] is True
    assert options["acks"] == "all"
    assert _BATCH_BYTES < options["max_batch_size"] < MOST_RECORD_BYTES < options["max_request_size"]
