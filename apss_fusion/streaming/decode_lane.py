"""One partition of a feed: its decoder, whose looks go to the regions that they lie in.

Decoding is a pure function of the partition's records, but repeats some of them after a crash: it starts again from the
last state of the decoder that was kept. That is harmless. Each look carries its origin, whoever decodes sends the looks
of a partition in one gapless order, and fusing drops what is not above the highest origin that it has applied. So
neither transactions nor fences are needed here, and a worker that was put out and comes back does no harm either.
"""

from __future__ import annotations

import logging
import math
import time
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from apss_fusion.feeds.base import Decoded, Decoder, Reject
from apss_fusion.feeds.registry import decoder_named
from apss_fusion.model import Look
from apss_fusion.replay.pipeline_lines import look_json, utc_text
from apss_fusion.streaming.batches import MOST_RECORD_BYTES, Batches, RecordTooLargeError
from apss_fusion.streaming.changelog import Apply
from apss_fusion.streaming.dead_letters import DeadLetterBox
from apss_fusion.streaming.fail_points import fail_point
from apss_fusion.streaming.headers import LOOK, constant_headers, event_headers, event_source, origin_header
from apss_fusion.streaming.metrics import Metrics
from apss_fusion.streaming.pace import Pace, arrival_ms
from apss_fusion.streaming.regions import Regions
from apss_fusion.streaming.settings import Settings
from apss_fusion.streaming.topic_data import DECODE_CHANGELOG, FEEDS, LOOKS

_LOG = logging.getLogger(__name__)
_VERSION = 1
#: So many inputs of a partition have a decoder of their own; further ones share one.
_MOST_DECODERS = 64
_STATES = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])
_MOST_SNAPSHOT_BYTES = MOST_RECORD_BYTES - 65_536
#: A large state is kept more rarely, by so many bytes of it for each record: it takes a twentieth of the time then.
_SMALL_BYTES, _BYTES_A_RECORD = 65_536, 20


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """What a decoder remembered after a record."""

    version: int
    offset: int
    #: Of each decoder, by its number; MessagePack, compressed by zlib.
    state: bytes


class DecodeLane:
    """Decodes one partition of the topic ``feeds.FORMAT``."""

    def __init__(
        self,
        settings: Settings,
        regions: Regions,
        producer: AIOKafkaProducer,
        metrics: Metrics,
        pace: Pace,
        topic: str,
        partition: int,
    ) -> None:
        self.topic, self.partition = topic, partition
        self._looks, self._changelog = settings.topic(LOOKS), settings.topic(DECODE_CHANGELOG)
        self._key = topic.encode()
        self._regions, self._producer, self._metrics, self._pace = regions, producer, metrics, pace
        #: Arrival of the record that is decoded, or was last, ms.
        self.front_ms = -math.inf
        #: Parts of chunks done so far.
        self.steps = 0
        self._snapshot_records = settings.worker.snapshot_records
        self._kind = decoder_named(topic.removeprefix(settings.topic(FEEDS)))
        #: A decoder for each input, by the keys of the records, so that the halves of two inputs' messages do not meet.
        self._decoders: dict[bytes, Decoder] = {}
        self._headers = constant_headers(LOOK, event_source(settings.worker.group))
        self._dead_letters = DeadLetterBox(settings, metrics, topic, partition)
        self._kept = self._done = -1
        #: Whether the decoder has read records that are not done yet: then its state goes with no offset.
        self._is_ahead = False
        self._since_kept = 0
        self._kept_bytes = 0
        self._began_s = time.monotonic()
        self._snapshot: Snapshot | None = None

    @property
    def start(self) -> int | None:
        """The offset to go on from; None: the beginning."""
        return None if self._done < 0 else self._done + 1

    def reader(self) -> Apply:
        """What reads this lane's snapshots out of the records of the changelog."""

        def apply(records: list[Any]) -> None:
            for r in records:
                if r.key == self._key:
                    self._snapshot = None if r.value is None else msgspec.msgpack.decode(r.value, type=Snapshot)

        return apply

    async def take_over(self) -> None:
        """Go on with the decoder's state, after the changelog was read."""
        if self._snapshot is not None:
            if self._snapshot.version != _VERSION:
                raise ValueError(
                    f"decoder's state of {self.topic}/{self.partition}: version {self._snapshot.version}, not {_VERSION}"
                )
            for key, state in _STATES.decode(zlib.decompress(self._snapshot.state)):
                self._decoder(key).restore(state)
            self._kept = self._done = self._snapshot.offset
            self._snapshot = None
        self._metrics.recovery_seconds.labels(self.topic, str(self.partition)).set(time.monotonic() - self._began_s)

    async def give_up(self) -> None:
        """Let go of the partition."""
        self._metrics.forget(self.topic, str(self.partition))

    async def process(self, records: list[Any], generation: int) -> None:
        """Decode records that follow; when this returns, the brokers have their looks."""
        start = 0
        while start < len(records):
            self.front_ms = arrival_ms(records[start])
            stop = await self._pace.reach(self, records, start)
            if stop == start:
                # Partitions are given back: whoever has this one next goes on here.
                return
            await self._process(records[start:stop])
            self.front_ms = arrival_ms(records[stop - 1])
            self.steps += 1
            start = stop

    async def _process(self, records: list[Any]) -> None:
        batches = Batches(self._producer)
        looks = 0
        self._is_ahead = True
        for r in records:
            looks += self._decode(r, batches)
        fail_point("decoded")
        await batches.send()
        fail_point("looks_sent")
        self._done, self._is_ahead = records[-1].offset, False
        self._since_kept += len(records)
        if self._since_kept >= max(self._snapshot_records, (self._kept_bytes - _SMALL_BYTES) // _BYTES_A_RECORD):
            await self.keep()
        self._metrics.feed_records.labels(self.topic).inc(len(records))
        self._metrics.feed_looks.labels(self.topic).inc(looks)

    def _decoder(self, key: bytes) -> Decoder:
        found = self._decoders.get(key)
        if found is None and len(self._decoders) >= _MOST_DECODERS:
            key = b""
            found = self._decoders.get(key)
        if found is None:
            found = self._decoders[key] = self._kind()
            if hasattr(found, "more_follows"):
                found.more_follows = True
        return found

    def _state(self) -> bytes:
        # In the order in which they came: it says which inputs have one of their own.
        states = [(key, decoder.state()) for key, decoder in self._decoders.items()]
        return zlib.compress(msgspec.msgpack.encode(states), 1)

    async def keep(self) -> None:
        """Keep the decoder's state, so that whoever follows need not decode again what was decoded here."""
        done = self._done
        if done == self._kept or self._is_ahead:
            return
        value = msgspec.msgpack.encode(Snapshot(_VERSION, done, self._state()))
        self._since_kept, self._kept_bytes = 0, len(value)
        if len(value) > _MOST_SNAPSHOT_BYTES:
            # Then it is decoded from an older state after a restart, which is right too, and takes longer.
            _LOG.warning("%s/%d: the decoder's state, %d bytes, is too large to be kept", *self._place, len(value))
            return
        batches = Batches(self._producer)
        batches.add(self._changelog, self.partition, self._key, value)
        await batches.send()
        fail_point("snapshot_sent")
        self._kept = done

    @property
    def _place(self) -> tuple[str, int]:
        return self.topic, self.partition

    def _decode(self, record: Any, batches: Batches) -> int:
        """Add the looks of a record; how many it has."""
        if record.value is None:
            self._dead_letters.put(batches, record, Reject("the record has no value", None, None, None))
            return 0
        count = 0
        try:
            for item in self._decoder(record.key or b"").items(BytesIO(record.value)):
                if isinstance(item, Reject):
                    self._dead_letters.put(batches, record, item)
                elif isinstance(item, Look | Decoded):
                    look = item if isinstance(item, Look) else item.look
                    self._route(look, record, count, batches)
                    count += 1
        except Exception as error:
            # A defect of a decoder must not stop all that follows; the record is kept, and told of.
            _LOG.exception("%s/%d: offset %d: the decoder failed", *self._place, record.offset)
            self._dead_letters.put(batches, record, Reject(f"the decoder failed: {error!r}", None, None, None))
        return count

    def _route(self, look: Look, record: Any, number: int, batches: Batches) -> None:
        id_, subject = f"{look.source_id}:{look.look_id}".encode(), look.look_id.encode()
        time_text = utc_text(look.time).encode()
        for partition, part in self._regions.route(look):
            headers = event_headers(self._headers, id_, subject, time_text)
            headers.append(origin_header(self.topic, self.partition, record.offset, number))
            value = look_json(part).rstrip()
            try:
                batches.add(self._looks, partition, look.source_id.encode(), value, headers, record.timestamp)
            except RecordTooLargeError as error:
                reject = Reject(f"the look is too large: {error}", None, None, value[: MOST_RECORD_BYTES // 1024])
                self._dead_letters.put(batches, record, reject)


def lanes_readers(lanes: list[DecodeLane]) -> Mapping[int, list[Apply]]:
    """The readers of lanes, by partition of the changelog."""
    out: dict[int, list[Apply]] = {}
    for lane in lanes:
        out.setdefault(lane.partition, []).append(lane.reader())
    return out
