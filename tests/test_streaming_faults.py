"""What is left behind when something fails in the middle: nothing that is out of step."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from feeds_ais_tools import payload_of, sentence
from streaming_tools import FakeKafka, Record, decoder, deployment, in_memory, run

from apss_fusion.streaming.app import FAILED, FusionApp
from apss_fusion.streaming.batches import Batches

__all__ = ["in_memory"]

#: A position report in two sentences (message 19).
_PAYLOAD = payload_of(
    [
        *[(19, 6), (0, 2), (235_012_345, 30), (0, 8), (100, 10), (1, 1), (-600_000, 28), (30_000_000, 27)],
        *[(900, 12), (511, 9), (30, 6), (0, 4), *[(1, 6)] * 20, (70, 8), (0, 30), (1, 4), (0, 7)],
    ]
)
SENTENCES = [
    # After so many lines, the decoder waits for none that may explain this one.
    "\n" * 40 + sentence(_PAYLOAD[:26], 0, "2,1,1,A") + ",1767225600",
    sentence(_PAYLOAD[26:], 0, "2,2,1,A") + ",1767225600",
]


def test_a_state_is_not_kept_while_the_decoder_is_ahead_of_what_is_done() -> None:
    """Partitions may be given back while a chunk is under way, or has failed."""
    kafka, deployed = FakeKafka(), deployment()
    first, second = (Record("t.feeds.ais-nmea", 0, k, b"s", line.encode()) for k, line in enumerate(SENTENCES))

    def refuse(topic: str) -> None:
        raise ConnectionError(topic)

    async def go() -> None:
        lane = await decoder(kafka, deployed, "ais-nmea")
        await lane.process([first], 1)
        may, kafka.refuse = kafka.refuse, refuse
        with pytest.raises(ConnectionError):
            await lane.process([second], 1)
        kafka.refuse = may
        await lane.keep()
        after = await decoder(kafka, deployed, "ais-nmea")
        await after.process([first, second][after.start or 0 :], 2)

    run(go())
    assert len(kafka.log("looks")) == 1


def test_no_batch_of_a_partition_is_sent_before_the_one_in_front_of_it_is_taken() -> None:
    """The broker may refuse one, for its size, and take the next: what is between the two would be dropped as a repeat."""
    kafka = FakeKafka()
    refused = iter([True, False, False])

    def refuse(topic: str) -> None:
        if topic == "t.looks" and next(refused):
            raise ConnectionError(topic)

    async def go() -> None:
        batches = Batches(kafka.producer())
        for k in range(3):
            batches.add("t.looks", 0, b"%d" % k, bytes(600_000))
        batches.add("t.looks-2", 0, b"other", b"")
        kafka.refuse = refuse
        with pytest.raises(ConnectionError):
            await batches.send()
        await asyncio.sleep(0)

    run(go())
    assert kafka.log("looks") == []
    assert [r.key for r in kafka.log("looks-2")] == [b"other"]


def test_a_partition_that_is_given_back_at_this_moment_has_no_lag() -> None:
    """By an assertion aiokafka says that it is not assigned; the watchdog must not end the worker for that."""

    def highwater(tp: Any) -> int:
        raise AssertionError("Partition is not assigned")

    app: Any = SimpleNamespace(consumer=SimpleNamespace(highwater=highwater))
    lane: Any = SimpleNamespace(work=SimpleNamespace(start=7))
    assert FusionApp._lag(app, "looks", 0, lane) is None
    app.consumer.highwater = lambda tp: 9
    assert FusionApp._lag(app, "looks", 0, lane) == 2


_HANGS = """
import asyncio, sys
from types import SimpleNamespace as Some
from apss_fusion.streaming import process

async def hang():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def start():
    app.task = asyncio.ensure_future(hang())

async def wait_until_stopped():
    await asyncio.sleep(0)

worker = Some(http_port=0, stop_s=0.5)
app = Some(settings=Some(worker=worker), start=start, wait_until_stopped=wait_until_stopped, crash_reason="a crash")
sys.exit(asyncio.run(process._run(app)))
"""


def test_a_process_ends_after_a_crash_also_where_something_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", _HANGS], timeout=60, capture_output=True, check=False)  # noqa: S603
    assert done.returncode == FAILED, done.stderr
