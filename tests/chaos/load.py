"""The load: what arrives in the world, produced as it arrives, whatever becomes of workers and brokers."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaProducer

from apss_fusion.streaming.regions import Regions
from apss_fusion.streaming.settings import Settings

from . import world

_MOST_BYTES = 8 * 2**20
#: How long a producer may take to end where a run has failed.
_ABANDON_S = 5.0


class Load:
    """Produces in a thread of its own, from `start` to `stop`.

    Parameters
    ----------
    settings, regions
        Of the deployment.
    seed, vessels
        Of the world; so many vessels at a time in each area.
    speed
        Seconds of the world in one second.
    """

    def __init__(self, settings: Settings, regions: Regions, seed: int, vessels: int, speed: float) -> None:
        self._settings, self._regions, self._speed = settings, regions, speed
        self._arrivals = world.arrivals(seed, vessels)
        self._ending = threading.Event()
        self._connected = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._produce())
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.sent = 0
        #: Seconds of the world that have arrived.
        self.arrived_s = 0.0
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin; returns when there is a connection."""
        self._thread.start()
        self._connected.wait()

    def stop(self) -> None:
        """End; what has arrived is with the brokers."""
        self._ending.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def abandon(self) -> None:
        """End, whatever has become of the brokers."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(_ABANDON_S)
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except BaseException as error:
            self.error = error
        finally:
            self._connected.set()

    def partition_of(self, area: int) -> int:
        """The partition of an area's feeds."""
        return area % self._settings.topics.feed_partitions

    async def _produce(self) -> None:
        producer = new_producer(self._settings.bootstrap)
        await producer.start()
        self._connected.set()
        try:
            began_s = time.monotonic()
            for event in self._arrivals:
                while (early_s := event.arrival_s / self._speed - (time.monotonic() - began_s)) > 0:
                    if self._ending.is_set():
                        return
                    await asyncio.sleep(min(early_s, 0.1))
                if self._ending.is_set():
                    return
                await self._give(producer, event)
                self.arrived_s = event.arrival_s
        finally:
            await producer.stop()

    async def _give(self, producer: AIOKafkaProducer, event: world.Event) -> None:
        if event.format:
            topic, partition = self._settings.topic(f"feeds.{event.format}"), self.partition_of(event.area)
            arrived = world.T0 + timedelta(seconds=event.arrival_s)
            headers = [("arrival", arrived.isoformat().encode())]
            for value in event.values:
                key = b"area%d" % event.area
                await producer.send(topic, value, key=key, partition=partition, headers=headers)
                self.sent += 1
        elif event.look is not None:
            for partition, part in self._regions.route(event.look):
                value, key = world.look_json(part).rstrip(), part.source_id.encode()
                await producer.send(self._settings.topic("looks"), value, key=key, partition=partition)
                self.sent += 1


def new_producer(bootstrap: str) -> AIOKafkaProducer:
    """A producer that tries again for ever, and says nothing twice."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        linger_ms=20,
        max_request_size=4 * _MOST_BYTES,
        max_batch_size=_MOST_BYTES - 4096,
        request_timeout_ms=120_000,
    )


def produce(
    bootstrap: str, *records: tuple[str, int, bytes | None, bytes | None, list[tuple[str, bytes]]]
) -> list[Any]:
    """Produce (topic, partition, key, value, headers) in their order; what the brokers say of each."""

    async def run() -> list[Any]:
        producer = new_producer(bootstrap)
        await producer.start()
        try:
            sent = [await producer.send(t, v, key=k, partition=p, headers=h) for t, p, k, v, h in records]
            return [await one for one in sent]
        finally:
            await producer.stop()

    return asyncio.run(run())
