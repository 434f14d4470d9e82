"""The Faust app: agents that decode feeds and fuse looks, one lane a partition.

What a chunk gives, what it has changed and how far it reaches is safe before its input is acknowledged; any error ends
the process, and the supervisor starts another, which goes on from the state. Nothing is retried in the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

import faust
from aiokafka.producer import sender
from faust.types import TP

from apss_fusion.streaming import recovery, transport
from apss_fusion.streaming.batches import producer_options
from apss_fusion.streaming.changelog import replay
from apss_fusion.streaming.clients import aiokafka_options, faust_credentials
from apss_fusion.streaming.decode_lane import DecodeLane, lanes_readers
from apss_fusion.streaming.deployment import Deployment, formats_of
from apss_fusion.streaming.fail_points import fail_point
from apss_fusion.streaming.fuse_lane import FuseLane
from apss_fusion.streaming.lanes import Lane
from apss_fusion.streaming.metrics import Metrics
from apss_fusion.streaming.pace import Pace, arrival_ms
from apss_fusion.streaming.topic_data import DECODE_CHANGELOG, FEEDS, LOOKS
from apss_fusion.tracking.arrival import Lags
from apss_fusion.tracking.register import Register

_LOG = logging.getLogger(__name__)
#: aiokafka waits so long between two transactions of a producer, s; its own 0.02 is most of a transaction's time.
_TRANSACTION_BACKOFF_S = 0.002
#: A partition that gives nothing for so long, s, holds up no other.
_SILENT_S = 3.0
#: How often the watchdog looks, s.
WATCH_S = 1.0
#: Exit status of a process that ends itself because of an error.
FAILED = 70


class FusionApp(faust.App):  # type: ignore[misc]
    """A worker's app. `take_over` and `start_of` are called by the recovery and the transport."""

    deployment: Deployment
    metrics: Metrics

    def prepare(self, deployment: Deployment) -> None:
        """Say what this worker works with; before it is started."""
        self.deployment = deployment
        self.settings = deployment.settings
        self.metrics = Metrics()
        self.options = aiokafka_options(self.settings)
        self.lanes: dict[tuple[str, int], Lane] = {}
        self._pace = Pace(_step_s(deployment), self._oldest_ms)
        #: Whether all partitions are taken over.
        self.is_recovered = False
        self._healthy_s = time.monotonic()
        #: What each lane had done, and since when it has done no more.
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}

    def _create_directories(self) -> None:
        """Nothing is kept on the disk of a worker."""

    # ------------------------------------------------------------------ partitions

    def start_of(self, topic: str, partition: int) -> int | None:
        """The offset from which a partition is to be read; None: its beginning."""
        return self.lanes[topic, partition].work.start

    def is_full(self, topic: str, partition: int) -> bool:
        """Whether no more records of a partition are to be fetched for now."""
        lane = self.lanes.get((topic, partition))
        return lane is not None and lane.is_full

    async def take_over(self, partitions: Collection[Any]) -> None:
        """Give up what is no longer ours, and make the state of these partitions ours."""
        self.is_recovered = False
        self.note_progress()
        mine = {(tp.topic, tp.partition) for tp in partitions}
        for place in self.lanes.keys() - mine:
            await self.lanes.pop(place).close()
        looks = self.settings.topic(LOOKS)
        new = sorted(mine - self.lanes.keys())
        decoding = [self._decode_lane(*place) for place in new if place[0] != looks]
        fusing = [self._fuse_lane(partition) for topic, partition in new if topic == looks]
        fail_point("taking_over")
        await replay(self.options, self.settings.topic(DECODE_CHANGELOG), lanes_readers(decoding))
        works: list[DecodeLane | FuseLane] = [*decoding, *fusing]
        await asyncio.gather(*(work.take_over() for work in works))
        self.note_progress()
        for work in works:
            self.lanes[work.topic, work.partition] = self._lane(work)
        self._pace.go_on()
        for lane in self.lanes.values():
            lane.go_on()
        counts = Counter(topic for topic, _ in self.lanes)
        self.metrics.partitions.clear()
        for topic, count in counts.items():
            self.metrics.partitions.labels(topic).set(count)
        _LOG.info("has %d partitions, %d of them new, %d of looks", len(mine), len(new), counts[looks])
        self.is_recovered = True

    def _decode_lane(self, topic: str, partition: int) -> DecodeLane:
        return DecodeLane(
            self.settings, self.deployment.regions, self.producer._producer, self.metrics, self._pace, topic, partition
        )

    def _fuse_lane(self, partition: int) -> FuseLane:
        return FuseLane(self.deployment, self.options, self.metrics, partition, self.note_progress)

    def _lane(self, work: DecodeLane | FuseLane) -> Lane:
        return Lane(work, lambda: int(self.consumer_generation_id), self.settings.worker.most_records, self.die)

    def _oldest_ms(self, asking: DecodeLane) -> float | None:
        """The time stamp from which on the slowest of the other partitions of feeds is yet to be decoded; None: all are done."""
        fronts = [
            self._front_ms(lane)
            for lane in self.lanes.values()
            if isinstance(lane.work, DecodeLane) and lane.work is not asking
        ]
        return min((front for front in fronts if front is not None), default=None)

    def _front_ms(self, lane: Lane) -> float | None:
        if not lane.busy and lane.first_waiting is not None:
            return arrival_ms(lane.first_waiting)
        if not lane.busy:
            # Where only the marks of transactions are left, nothing comes any more although the end is not reached.
            since_s = asyncio.get_running_loop().time() - lane.empty_since_s
            if since_s > _SILENT_S or self._lag(lane.work.topic, lane.work.partition, lane) == 0:
                return None
        return lane.work.front_ms if isinstance(lane.work, DecodeLane) else None

    async def settle(self) -> None:
        """Let chunks under way end, and keep decoders' states, before partitions are given back."""
        lanes = list(self.lanes.values())
        self._pace.halt()
        await asyncio.gather(*(lane.rest() for lane in lanes))
        for lane in lanes:
            if isinstance(lane.work, DecodeLane):
                await lane.work.keep()

    # ------------------------------------------------------------------ health

    @property
    def has_partitions(self) -> bool:
        """Whether the group has given partitions to this worker."""
        return bool(self.lanes)

    @property
    def is_ready(self) -> bool:
        """Whether this worker has partitions, with their states, and gets on with them."""
        return self.is_recovered and self.has_partitions and not self.rebalancing

    @property
    def is_healthy(self) -> bool:
        """Whether this worker has been ready, or getting ready, not too long ago."""
        return time.monotonic() - self._healthy_s <= self.settings.worker.stuck_s

    def note_progress(self) -> None:
        """Something gets on that takes long."""
        self._healthy_s = time.monotonic()

    async def die(self, error: BaseException) -> None:
        """End the process: in order if that works, but end it. Faust's orderly stop can hang for ever."""
        deadline = threading.Timer(self.settings.worker.stop_s, os._exit, (FAILED,))
        deadline.daemon = True
        deadline.start()
        await self.crash(error)

    async def watch(self) -> None:
        """End a worker that is up and idle for the wrong reason, which is worse than a dead one.

        Seen: a broker just back from a crash names no topics for a moment; the group's leader then assigns nothing to
        anybody, for ever, and all say that they are ready.
        """
        for (topic, partition), lane in self.lanes.items():
            lag = self._lag(topic, partition, lane)
            if lag is not None:
                self.metrics.lag.labels(topic, str(partition)).set(lag)
        stuck = self._stuck_lane()
        if stuck is None and self.is_ready:
            self.note_progress()
        elif stuck is not None or not self.is_healthy:
            what = "there are no partitions for it" if stuck is None else f"{stuck[0]}/{stuck[1]} does not get on"
            _LOG.error("stuck for %g s: %s", self.settings.worker.stuck_s, what)
            await self.die(RuntimeError("stuck"))

    def _stuck_lane(self) -> tuple[str, int] | None:
        """A partition that has had something to do for too long without doing any of it."""
        now_s = time.monotonic()
        self._seen = {place: seen for place, seen in self._seen.items() if place in self.lanes}
        for place, lane in self.lanes.items():
            done = lane.done + (lane.work.steps if isinstance(lane.work, DecodeLane) else 0)
            before, since_s = self._seen.get(place, (-1, now_s))
            if done != before or not lane.waiting or not self.is_ready:
                self._seen[place] = done, now_s
            elif now_s - since_s > self.settings.worker.stuck_s:
                return place
        return None

    def _lag(self, topic: str, partition: int, lane: Lane) -> int | None:
        """Records between what is done and the end of a partition, None where the end is not known."""
        try:
            end = self.consumer.highwater(TP(topic, partition))
        except AssertionError:
            # By which aiokafka says that the partition has just been given back: the lane hears of it a moment later.
            return None
        start = lane.work.start
        return None if end is None else max(end - (start or 0), 0)


def _step_s(deployment: Deployment) -> float:
    """How far one feed may be decoded ahead of another while a worker catches up: half of the shortest lag, at most a minute."""
    register = Register(deployment.sources)
    lags = Lags(deployment.config, register, dict(deployment.sources))
    return min(max(min(lags.group_us) / 2e6, 0.1), 60.0)


def make_app(deployment: Deployment) -> FusionApp:
    """The app of a worker, to be started."""
    settings = deployment.settings
    transport.install()
    recovery.install()
    sender.BACKOFF_OVERRIDE = _TRANSACTION_BACKOFF_S
    options = producer_options()
    app = FusionApp(
        settings.topics.prefix + settings.worker.group,
        broker=";".join(f"{transport.SCHEME}://{server}" for server in settings.servers),
        broker_credentials=faust_credentials(settings),
        broker_client_id=aiokafka_options(settings)["client_id"],
        broker_session_timeout=settings.kafka.session_timeout_s,
        broker_heartbeat_interval=settings.kafka.session_timeout_s / 6.0,
        broker_request_timeout=max(settings.kafka.request_timeout_s, settings.kafka.session_timeout_s),
        broker_commit_interval=1.0,
        broker_max_poll_records=4 * transport.MOST_RECORDS,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=8 * 2**20,
        producer_max_batch_size=options["max_batch_size"],
        producer_max_request_size=options["max_request_size"],
        TableManager=recovery.LossSafeTableManager,
        # Topics are applied beforehand, by whoever may.
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        # Done by `settle`, which does not wait for what has not begun.
        stream_wait_empty=False,
        store="memory://",
        web_enabled=False,
    )
    app.prepare(deployment)
    names = [settings.topic(FEEDS + name) for name in formats_of(settings)]
    source = app.topic(*names, settings.topic(LOOKS), schema=transport.ChunkSchema())

    @app.agent(source, name="lanes")
    async def lanes(stream: Any) -> None:
        """Hand chunks to the lanes of their partitions."""
        # noack: an exception must not acknowledge the chunk.
        async for event in stream.noack().events():
            message = event.message
            event.lane_stream = stream
            lane = app.lanes.get((message.topic, message.partition))
            if lane is not None:
                lane.put(event)

    @app.on_partitions_revoked.connect
    async def settle(sender: Any, revoked: Any, **kwargs: Any) -> None:
        """Before partitions are given back."""
        await app.settle()

    return app
