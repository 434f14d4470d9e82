"""One partition of looks, which is one region: its engine, its fenced producer, its changelog.

What is published of a chunk, what it has changed, and how far it reaches become visible together, in one transaction of
this partition's own producer. Whoever takes the partition over starts that producer first: the broker then refuses the
one before (which may only have been asleep), so the changelog cannot change while it is read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer

from apss_fusion.feeds.base import Reject
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.replay.blocks import LookBlock
from apss_fusion.replay.looks_columns import read_look_blocks
from apss_fusion.streaming.batches import Batches, producer_options
from apss_fusion.streaming.changelog import replay
from apss_fusion.streaming.dead_letters import DeadLetterBox
from apss_fusion.streaming.deployment import Deployment
from apss_fusion.streaming.fail_points import fail_point
from apss_fusion.streaming.headers import (
    KIND_HEADERS,
    LOOK,
    ORIGIN,
    TRACK,
    constant_headers,
    event_headers,
    event_source,
    other_kind,
)
from apss_fusion.streaming.metrics import Metrics
from apss_fusion.streaming.topic_data import FUSE_CHANGELOG, LOOKS, TRACKS
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.rows import STATUS_NAMES
from apss_fusion.tracking.updates import UpdateBatch

#: Key of the record of the changelog that says how far the state reaches.
WATERMARK = b"watermark"
#: Bytes of looks that are decoded at once, less than the longest line.
_BLOCK_BYTES = 4 * 2**20
_TERMINATED = STATUS_NAMES.index("TERMINATED")
# Where the track's id stands in the line of an update.
_ID_AT, _ID_END = len('{"track_id":"'), len('{"track_id":"') + 36
#: What makes a record one that has been applied already.
REPEAT = "repeat"
_NO_ORIGIN = (-1, -1)
#: Partitions of feeds whose looks a region may get: each is named in every watermark.
_MOST_PLACES = 5000
#: The form of that header: TOPIC/PARTITION, OFFSET, INDEX, of numbers that Kafka may have.
_match_origin = re.compile(rb"([\w.-]{1,249}/\d{1,6})/(\d{1,18})/(\d{1,18})").fullmatch
#: Of these bytes (the last three mark UTF-8), a reader of lines finds nothing to tell of.
_BLANK = b" \t\r\n\v\f\xef\xbb\xbf"
_GOOD_HEADERS = frozenset(h for h in constant_headers(LOOK, "") if h[0] in KIND_HEADERS)
_TIME_KEY, _TIME_LENGTH = b',"time":"', len("2026-01-01T00:00:00.000000Z")

#: Most detections of a look, and most bytes of what says who or what one is: these go on into the records of the state and
#: into every update of a track, which must fit.
MOST_DETECTIONS, MOST_ATTRIBUTE_BYTES = 20_000, 16_384
# Each string from its quote to its end, or to that of the value: one pass, whatever stands there.
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_LONG_ATTRIBUTES = re.compile(rb'"(?:ids|class_probs)"\s*:\s*\{[^{}]{%d}' % MOST_ATTRIBUTE_BYTES)


class Watermark(msgspec.Struct, frozen=True):
    """How far a state reaches."""

    #: Offset of the last look that is in it.
    offset: int
    #: Offset and index of the last look of each partition of the feeds (``TOPIC/PARTITION``), by which repeats are known.
    origins: dict[str, tuple[int, int]]
    #: Of the group of workers, when it was written: for whoever reads the log.
    generation: int


class FuseLane:
    """Fuses the looks of one partition.

    Parameters
    ----------
    deployment
        What this worker works with.
    options
        How aiokafka reaches the cluster.
    partition
        Of the topic `looks`, and of those that go with it.
    progress
        Called while the state is taken over, which may take long.
    """

    def __init__(
        self,
        deployment: Deployment,
        options: Mapping[str, Any],
        metrics: Metrics,
        partition: int,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        settings = deployment.settings
        self.topic = settings.topic(LOOKS)
        self.partition = partition
        self._tracks, self._changelog = settings.topic(TRACKS), settings.topic(FUSE_CHANGELOG)
        self._options, self._progress = options, progress
        self._metrics = metrics
        self._engine = Engine(deployment.config, deployment.sources)
        self._given = 0
        self._watermark = Watermark(-1, {}, 0)
        self._origins: dict[bytes, tuple[int, int]] = {}
        self._producer = AIOKafkaProducer(
            **options,
            **producer_options(),
            # By the changelog that it guards, whatever the group is called.
            transactional_id=f"{self._changelog}-{partition}",
        )
        source = event_source(settings.worker.group)
        self._track_headers = constant_headers(TRACK, source)
        self._dead_letters = DeadLetterBox(settings, metrics, self.topic, partition)
        self._region = str(partition)

    @property
    def start(self) -> int | None:
        """The offset to go on from; None: the beginning."""
        return None if self._watermark.offset < 0 else self._watermark.offset + 1

    # ------------------------------------------------------------------ taking over, giving up

    async def take_over(self) -> None:
        """Fence whoever had the partition, then make its state ours."""
        began_s = time.monotonic()
        await self._producer.start()
        records: dict[bytes, bytes] = {}

        def apply(batch: list[Any]) -> None:
            self._progress()
            for r in batch:
                if r.value is None:
                    records.pop(r.key, None)
                else:
                    records[r.key] = r.value

        await replay(self._options, self._changelog, {self.partition: [apply]})
        mark = records.pop(WATERMARK, None)
        if mark is not None:
            self._watermark = msgspec.json.decode(mark, type=Watermark)
            self._origins = {place.encode(): at for place, at in self._watermark.origins.items()}
        if records:
            self._engine.load((key.decode(), value) for key, value in records.items())
        self._metrics.recovery_seconds.labels(self.topic, self._region).set(time.monotonic() - began_s)
        self._show_counts()

    async def give_up(self) -> None:
        """Let go of the partition."""
        await self._producer.stop()
        self._metrics.forget(self.topic, self._region)
        self._metrics.forget_tracks(self._region)

    # ------------------------------------------------------------------ a chunk

    async def process(self, records: list[Any], generation: int) -> None:
        """Fuse records that follow the watermark; when this returns, what came of them is committed."""
        batches = Batches(self._producer)
        updates = self._fuse(records, batches)
        for update in updates:
            self._publish(update, batches)
        for key, value in self._engine.changes():
            batches.add(self._changelog, self.partition, key.encode(), value)
        origins = {place.decode(): at for place, at in self._origins.items()}
        mark = Watermark(records[-1].offset, origins, generation)
        batches.add(self._changelog, self.partition, WATERMARK, msgspec.json.encode(mark))
        fail_point("fused")
        async with self._producer.transaction():
            answers = await batches.begin([self._tracks])
            fail_point("outputs_sent")
            answers += await batches.begin([topic for topic in batches.topics if topic != self._tracks])
            fail_point("changes_sent")
            for answer in answers:
                await answer
            fail_point("before_commit")
        fail_point("committed")
        self._watermark = mark
        self._metrics.transactions.labels(self._region).inc()
        self._metrics.updates.labels(self._region).inc(sum(map(len, updates)))
        self._show_counts()

    def _fuse(self, records: list[Any], batches: Batches) -> list[UpdateBatch]:
        lines: list[bytes] = []
        places: list[Any] = []
        for r in records:
            wrong = self._fault_of(r)
            if wrong is REPEAT:
                self._metrics.repeats.labels(self._region).inc()
            elif wrong is not None:
                self._dead_letters.put(batches, r, Reject(wrong, None, None, r.value))
            else:
                value = r.value
                if b"\n" in value or b"\r" in value:
                    # White space of JSON; here a line is a record.
                    value = value.replace(b"\n", b" ").replace(b"\r", b" ")
                lines.append(value)
                places.append(r)
        out: list[UpdateBatch] = []
        stream = BytesIO(b"\n".join([*lines, b""]))
        for block in read_look_blocks(stream, self._engine.encoder, _BLOCK_BYTES):
            for reject in block.rejects:
                self._dead_letters.put(batches, places[(reject.line or 1) - 1], reject)
            self._fuse_block(block, places, batches, out)
        return out

    def _fuse_block(self, block: LookBlock, places: list[Any], batches: Batches, out: list[UpdateBatch]) -> None:
        batch, numbers = block.batch, block.numbers
        whole = []
        for r in batch.rejected:
            place = places[int(numbers[r.look]) - 1]
            self._dead_letters.put(batches, place, Reject(r.reason, r.field, None, None))
            if r.detection < 0:
                whole.append(r.look)
        numbers = np.delete(numbers, whole)
        # The new batch leaves the rejections behind.
        batch = batch.take(0, len(batch))
        out.append(self._engine.process_many(batch))
        self._count(batch)
        for turned_away in self._engine.rejected():
            place = places[int(numbers[turned_away.number - self._given]) - 1]
            if turned_away.kind == "duplicate":
                self._metrics.duplicates.labels(self._region).inc()
            else:
                self._dead_letters.put(batches, place, Reject(turned_away.reason, turned_away.field, None, None))
        self._given += len(batch)

    def _fault_of(self, record: Any) -> str | None:
        """Why a record is not to be fused, by its headers: `REPEAT`, or what is wrong; None where nothing is."""
        for header in record.headers:
            if header in _GOOD_HEADERS:
                continue
            name, value = header
            if name in KIND_HEADERS:
                return other_kind(record.headers, LOOK)
            if name == ORIGIN:
                if (match := _match_origin(value or b"")) is None:
                    return f"header {ORIGIN}: {value!r} is not TOPIC/PARTITION/OFFSET/INDEX"
                place, at = match[1], (int(match[2]), int(match[3]))
                if at <= self._origins.get(place, _NO_ORIGIN):
                    return REPEAT
                if place not in self._origins and len(self._origins) >= _MOST_PLACES:
                    return f"header {ORIGIN}: more than {_MOST_PLACES:,} partitions of feeds"
                self._origins[place] = at
        if not record.value or not record.value.strip(_BLANK):
            return "the record has no value"
        return _too_large(record.value) if len(record.value) > MOST_ATTRIBUTE_BYTES // 2 else None

    def _publish(self, updates: UpdateBatch, batches: Batches) -> None:
        if not len(updates):
            return
        constant = self._track_headers
        lines = bytes(encode(updates)).split(b"\n")
        for line, seq, status in zip(
            lines, updates.rows["seq"].tolist(), updates.rows["status"].tolist(), strict=False
        ):
            key = line[_ID_AT:_ID_END]
            at = line.index(_TIME_KEY) + len(_TIME_KEY)
            headers = event_headers(constant, b"%b:%d" % (key, seq), key, line[at : at + _TIME_LENGTH])
            batches.add(self._tracks, self.partition, key, line, headers)
            if status == _TERMINATED:
                # So that the compacted topic, and whoever reads it later, forgets the track.
                batches.add(self._tracks, self.partition, key, None)

    # ------------------------------------------------------------------ figures

    def _count(self, batch: Any) -> None:
        looks = batch.looks
        for number in np.unique(looks["source"]).tolist():
            mine = looks["source"] == number
            name = self._engine.register.names[number]
            self._metrics.looks.labels(self._region, name).inc(int(mine.sum()))
            self._metrics.detections.labels(self._region, name).inc(int(looks["count"][mine].sum()))
            self._metrics.note_look(name, int(looks["time_us"][mine].max()) / 1e6)

    def _show_counts(self) -> None:
        for status, count in self._engine.counts().items():
            self._metrics.tracks.labels(self._region, status).set(count)


def _too_large(value: bytes) -> str | None:
    """Why a look is too large to be fused here; None where it is not."""
    if value.count(b'"detection_id"') > MOST_DETECTIONS:
        return f"more than {MOST_DETECTIONS:,} detections"
    if any(found.end() - found.start() > MOST_ATTRIBUTE_BYTES // 2 for found in _TEXTS.finditer(value)):
        return f"a text of more than {MOST_ATTRIBUTE_BYTES // 2:,} bytes"
    return f"ids or classes of more than {MOST_ATTRIBUTE_BYTES:,} bytes" if _LONG_ATTRIBUTES.search(value) else None
