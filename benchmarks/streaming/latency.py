"""From producing a look to its track update at a subscriber, under a steady load on four partitions."""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from apss_fusion.streaming.clients import aiokafka_options
from benchmarks.measuring import table as print_table
from benchmarks.streaming.feeds import place, report
from benchmarks.streaming.rig import Rig, Worker, wait_for

_RATE = 1000
_PARTITIONS = 4
_SHIPS = 2000
_WARM_UP_S = 10.0
_TICK_S = 0.005


def table(folder: Path, options: argparse.Namespace) -> None:
    """Print the percentiles."""
    rows = []
    for setting in ("fast", "accurate"):
        with Rig(folder, {"filter": setting}, regions=_PARTITIONS) as rig:
            worker = Worker(rig)
            try:
                wait_for(worker.is_ready, 60.0, "a worker that is ready")
                waits_ms, sent = asyncio.run(_measure(rig, options.seconds))
            finally:
                worker.stop()
        p50, p99, most = np.percentile(waits_ms, [50, 99, 100]).tolist()
        rows.append([setting, f"{sent:,}", f"{len(waits_ms):,}", f"{p50:.0f}", f"{p99:.0f}", f"{most:.0f}"])
    print_table(
        f"Produce to subscriber, {_RATE:,} looks/s on {_PARTITIONS} partitions, one worker",
        ["filter", "looks", "updates", "p50, ms", "p99, ms", "longest, ms"],
        rows,
    )


async def _measure(rig: Rig, seconds: float) -> tuple[np.ndarray, int]:
    sent_s: dict[str, float] = {}
    waits: list[float] = []
    done = asyncio.Event()
    reading = asyncio.create_task(_read(rig, sent_s, waits, done))
    producer = await rig.producer()
    topic = rig.settings.topic("looks")
    began = time.perf_counter()
    count = 0
    answers = []
    while (now := time.perf_counter() - began) < seconds + _WARM_UP_S:
        while count < now * _RATE:
            ship, number = count % _SHIPS, count // _SHIPS
            lat, lon = place(ship)
            value = report(ship, number, datetime.now(UTC), lat + 1e-5 * number, lon, 0.5)
            if now > _WARM_UP_S:
                sent_s[f"{ship}-{number}"] = time.perf_counter()
            answers.append(await producer.send(topic, value, key=b"ais", partition=ship % _PARTITIONS))
            count += 1
        await asyncio.sleep(_TICK_S)
    for answer in answers:
        await answer
    until = time.perf_counter() + 5.0
    while sent_s and time.perf_counter() < until:
        await asyncio.sleep(0.1)
    done.set()
    await reading
    await producer.stop()
    return np.array(waits) * 1e3, count


async def _read(rig: Rig, sent_s: dict[str, float], waits: list[float], done: asyncio.Event) -> None:
    options = aiokafka_options(rig.settings)
    consumer = AIOKafkaConsumer(**options, isolation_level="read_committed", auto_offset_reset="earliest")
    await consumer.start()
    topic = rig.settings.topic("tracks")
    consumer.assign([TopicPartition(topic, k) for k in range(_PARTITIONS)])
    while not done.is_set():
        for records in (await consumer.getmany(timeout_ms=100)).values():
            now = time.perf_counter()
            for r in records:
                for used in orjson.loads(r.value)["evidence"] if r.value else ():
                    began = sent_s.pop(used["look_id"], None)
                    if began is not None:
                        waits.append(now - began)
    await consumer.stop()
