"""A worker's start with a large state, another's partitions after a kill, memory under load."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from apss_fusion.streaming.clients import aiokafka_options
from benchmarks.measuring import table as print_table
from benchmarks.streaming.feeds import place, report, reports
from benchmarks.streaming.rig import Rig, Worker, wait_for

#: Reports of each ship that are in the window when a worker starts.
_ROUNDS = 3
_PARTITIONS = 4
_SHIPS = 2000
_LOAD = 500
_MEGABYTE = 2**20


def start(folder: Path, options: argparse.Namespace) -> None:
    """Print how long a worker takes from its start until it is ready."""
    rows = []
    lines = list(reports(options.tracks, _ROUNDS, 600.0))
    for setting in ("fast", "accurate"):
        with Rig(folder, {"filter": setting}) as rig:
            asyncio.run(rig.produce(lines))
            worker = Worker(rig)
            wait_for(worker.is_ready, 60.0, "a worker that is ready")
            worker.wait_for_looks(len(lines), 900.0)
            worker.stop()
            worker = Worker(rig)
            wait_for(worker.is_ready, 300.0, "a worker that is ready again")
            ready_s = time.monotonic() - worker.began_s
            taken_s = worker.figure("apss_recovery_seconds")
            tracks = worker.figure("apss_tracks")
            worker.stop()
        rows.append([setting, f"{tracks:,.0f}", f"{len(lines):,}", f"{ready_s:.1f}", f"{taken_s:.1f}"])
    print_table(
        "A worker's start",
        ["filter", "live tracks", "looks in the window", "start to ready, s", "of it taking over the state, s"],
        rows,
    )


def takeover(folder: Path, options: argparse.Namespace) -> None:
    """Print how long it takes until all partitions go on after one of two workers was killed."""
    with Rig(folder, {"filter": "fast"}, regions=_PARTITIONS) as rig:
        workers = [Worker(rig, log=f"worker{k}.log") for k in range(2)]
        for worker in workers:
            wait_for(worker.is_ready, 60.0, "a worker that is ready")
        settled_s = asyncio.run(_settle(rig, workers[0]))
        workers[1].stop()
    session_s = rig.settings.kafka.session_timeout_s
    print_table(
        f"kill -9 of one of two workers, {_LOAD} looks/s on {_PARTITIONS} partitions, session timeout {session_s:g} s",
        ["until", "s"],
        [["all partitions publish again, and nothing is left behind", f"{settled_s:.1f}"]],
    )


async def _settle(rig: Rig, victim: Worker) -> float:
    """Seconds from the kill until updates of looks that were sent after it have come from each partition."""
    producer = await rig.producer()
    last = dict.fromkeys(range(_PARTITIONS), "")
    load = asyncio.create_task(_load(rig, producer, lambda: False))
    reading = asyncio.create_task(_newest(rig, last))
    await asyncio.sleep(10.0)
    victim.kill()
    killed_s, killed = time.monotonic(), datetime.now(UTC).isoformat()
    try:
        while not all(newest > killed for newest in last.values()):
            if time.monotonic() > killed_s + 120.0:
                raise TimeoutError(f"not settled: {last}")
            await asyncio.sleep(0.05)
        return time.monotonic() - killed_s
    finally:
        load.cancel()
        reading.cancel()
        await asyncio.gather(load, reading, return_exceptions=True)
        await producer.stop()


async def _load(rig: Rig, producer: AIOKafkaProducer, ended: Callable[[], bool]) -> None:
    """Ships that report in turn, steadily."""
    began, count, topic = time.monotonic(), 0, rig.settings.topic("looks")
    while not ended():
        while count < (time.monotonic() - began) * _LOAD:
            ship, number = count % _SHIPS, count // _SHIPS
            lat, lon = place(ship)
            value = report(ship, number, datetime.now(UTC), lat + 1e-5 * number, lon, 0.5)
            await producer.send(topic, value, key=b"ais", partition=ship % _PARTITIONS)
            count += 1
        await asyncio.sleep(0.01)


async def _newest(rig: Rig, last: dict[int, str]) -> None:
    """Note the time of the newest update of each partition."""
    options = aiokafka_options(rig.settings)
    consumer = AIOKafkaConsumer(**options, isolation_level="read_committed", auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(rig.settings.topic("tracks"), k) for k in last])
        while True:
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                times = [dict(r.headers)["ce_time"].decode() for r in records if r.value]
                last[tp.partition] = max([last[tp.partition], *times])
    finally:
        await consumer.stop()


def memory(folder: Path, options: argparse.Namespace) -> None:
    """Print the memory of a worker under load, minute by minute."""
    with Rig(folder, {"filter": "fast", "lag_s": 60}, regions=_PARTITIONS) as rig:
        worker = Worker(rig)
        wait_for(worker.is_ready, 60.0, "a worker that is ready")
        rows = asyncio.run(_watch(rig, worker, options.minutes))
        worker.stop()
    print_table(
        f"Memory of a worker, {_LOAD} looks/s of {_SHIPS:,} ships, a window of 60 s",
        ["minute", "MiB", "live tracks", "looks so far"],
        rows,
    )


async def _watch(rig: Rig, worker: Worker, minutes: float) -> list[list[str]]:
    producer = await rig.producer()
    load = asyncio.create_task(_load(rig, producer, lambda: False))
    began, rows = time.monotonic(), []
    step_s = max(minutes / 10.0, 0.5) * 60.0
    try:
        while time.monotonic() < began + minutes * 60.0:
            await asyncio.sleep(step_s)
            megabytes, minute = worker.resident_bytes() / _MEGABYTE, (time.monotonic() - began) / 60.0
            tracks, looks = await asyncio.to_thread(
                lambda: (worker.figure("apss_tracks"), worker.figure("apss_looks_total"))
            )
            rows.append([f"{minute:.0f}", f"{megabytes:,.0f}", f"{tracks:,.0f}", f"{looks:,.0f}"])
    finally:
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        await producer.stop()
    return rows
