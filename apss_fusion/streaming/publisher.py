"""Recorded feeds to the topics of a cluster, with their own timing, by kafka-python.

The key of a record is the name of its input, so that an input is in one partition, in its own order. Its header ``piece``
is its number in the input, by which a later run goes on where this one ended; its header ``arrival`` and its time stamp
say when it arrived. (Topics should keep the time of writing as time stamps: a broker that is started again forgets the
producers whose last records are older than a day by their time stamps, and takes a repeated record for a new one.)
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.partitioner import murmur2
from kafka.producer.future import FutureRecordMetadata
from msgspec import Struct

from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.reading import InputError
from apss_fusion.replay.pipeline_lines import utc_text
from apss_fusion.replay.pipeline_stop import Interrupted, Stop
from apss_fusion.replay.timed_pieces import NO_ARRIVAL_US, STANDARD_INPUT, Pace, Piece, PieceInput, merged, time_of
from apss_fusion.streaming.clients import (
    CONNECT_TIMEOUT_S,
    ClusterError,
    admin_client,
    client_options,
    cluster_error,
    cluster_errors,
)
from apss_fusion.streaming.headers import ARRIVAL
from apss_fusion.streaming.settings import Settings
from apss_fusion.streaming.topic_admin import find_topics
from apss_fusion.streaming.topic_data import FEEDS

#: Header of a record: which piece of its input it is, from 1, in decimal digits.
PIECE = "piece"
#: Records and bytes that may be under way: kafka-python itself would take any number.
_MOST_RECORDS, _MOST_BYTES = 20_000, 2**25
#: Deliveries are looked at each time that so many were given.
_LOOK_EVERY = 64
#: Most bytes of a record beside key and value.
_OVERHEAD_BYTES = 192
_BATCH_BYTES = 2**18
_LINGER_MS = 5
#: Shortest and longest sleep: what has become due by then goes out together.
_SHORTEST_SLEEP_S, _LONGEST_SLEEP_S = 0.01, 0.25
_PROGRESS_S = 0.25
#: By how much a delivery may take longer than one answer of the cluster.
_DELIVERY_MARGIN_S = 5.0
#: Records that are read at first, from the end of a partition, to find the last one of a key.
_STEP, _MOST_STEP = 1000, 100_000

#: Called with bytes read, bytes of all inputs (None: not known), records given, and the arrival of the last one.
Progress = Callable[[int, int | None, int, int], None]


class ReplayJob(Struct, frozen=True, kw_only=True):
    """What to publish, and when."""

    inputs: tuple[str, ...]
    #: Format of all inputs; told by their content where None.
    format: str | None = None
    #: How many times as fast as it was received; 0: as fast as it goes.
    speed: float = 1.0
    #: Only what arrived from the first to before the second, microseconds since 1970.
    start_us: int | None = None
    stop_us: int | None = None
    #: Go on after what each input's topic has of it.
    resume: bool = False


class Replayed(Struct, kw_only=True):
    """How a replay ended."""

    #: Delivered.
    records: int = 0
    #: Left out, as they have no place in their topic.
    too_large: int = 0
    seconds: float = 0.0
    #: Pieces that the topics had already, by the name of the input.
    resumed: dict[str, int] = {}
    #: What failed, a line each.
    errors: list[str] = []
    stopped: bool = False


class ReplayError(Exception):
    """Why a replay cannot begin, in one line."""


class _Topic(Struct, frozen=True):
    """A topic of feeds on the cluster: its full name, its partitions, and the bytes of its largest batch."""

    name: str
    partitions: int
    largest: int

    def partition_of(self, key: bytes) -> int:
        """The partition of a key, as clients find it by default."""
        return int(murmur2(key) & 0x7FFFFFFF) % self.partitions


def replay(
    job: ReplayJob, settings: Settings, stop: Stop, tell: Callable[[str], None], progress: Progress | None = None
) -> Replayed:
    """Publish inputs until they end, `stop` is asked or a delivery fails; every delivery is awaited.

    `tell` gets a line for each piece that is left out.

    Raises
    ------
    ReplayError
        An input cannot be used. Nothing was published, as with all errors here.
    ClusterError, SettingsError
        The cluster cannot be used, or has not the topics.
    Interrupted
        `stop` was asked.
    """
    inputs: list[PieceInput] = []
    try:
        _open(job, stop, inputs)
        topics = _topics(settings, {one.format for one in inputs if one.format})
        known: dict[str, int] = {}
        if job.resume:
            known = last_pieces(settings, {one.key: topics[one.format] for one in inputs if one.format})
        return _Replay(job, settings, inputs, topics, known, stop, tell, progress).run()
    finally:
        for one in inputs:
            one.close()


def last_pieces(settings: Settings, topics: Mapping[str, _Topic]) -> dict[str, int]:
    """The number of the last piece of each key that is in its topic; 0 where there is none. Raises as `replay`."""
    options = {**client_options(settings), "enable_auto_commit": False, "max_poll_records": 10_000}
    with cluster_errors(settings):
        consumer = KafkaConsumer(**options, bootstrap_timeout_ms=round(1000 * CONNECT_TIMEOUT_S))
        try:
            return {
                key: _last_piece(consumer, TopicPartition(topic.name, topic.partition_of(key.encode())), key.encode())
                for key, topic in topics.items()
            }
        finally:
            consumer.close()


def _last_piece(consumer: KafkaConsumer, partition: TopicPartition, key: bytes) -> int:
    consumer.assign([partition])
    first, end = consumer.beginning_offsets([partition])[partition], consumer.end_offsets([partition])[partition]
    step = _STEP
    while end > first:
        start = max(first, end - step)
        found = 0
        consumer.seek(partition, start)
        while consumer.position(partition) < end:
            for record in consumer.poll(timeout_ms=1000).get(partition, ()):
                if record.offset < end and record.key == key:
                    found = _number_of(record) or found
        if found:
            return found
        end, step = start, min(2 * step, _MOST_STEP)
    return 0


def _number_of(record: ConsumerRecord) -> int:
    """The number of a record's piece; 0 for one that another program published."""
    text = next((value for name, value in record.headers if name == PIECE), b"")
    return int(text) if text.isdigit() else 0


def _open(job: ReplayJob, stop: Stop, inputs: list[PieceInput]) -> None:
    if job.inputs.count(STANDARD_INPUT) > 1:
        raise ReplayError("-: standard input can be read only once")
    names: dict[str, str] = {}
    for name in job.inputs:
        try:
            inputs.append(PieceInput(name, job.format, stop))
        except InputError as error:
            raise ReplayError(str(error)) from None
        one = inputs[-1]
        if one.key in names:
            raise ReplayError(
                f"{one.name}: {names[one.key]} has the same name, which is the key of the records of each"
            )
        names[one.key] = one.name


def _topics(settings: Settings, formats: Iterable[str]) -> dict[str, _Topic]:
    """The topics of formats; `ClusterError` where one is not there."""
    names = {name: settings.topic(FEEDS + name) for name in sorted(formats)}
    with admin_client(settings) as client:
        found = find_topics(client, settings, names.values()) if names else {}
    for name in names.values():
        if name not in found:
            raise ClusterError(
                f"cluster {settings.bootstrap}: topic {name}: missing; `apss-fusion topics apply` makes it"
            )
    return {
        format_name: _Topic(name, found[name].partitions, int(found[name].configs["max.message.bytes"] or 0))
        for format_name, name in names.items()
    }


class _FailedError(Exception):
    """A record that was not delivered, in one line."""


class _UnderWay(Struct, frozen=True):
    """A record that was given to the producer."""

    future: FutureRecordMetadata
    size: int
    name: str
    number: int


class _Replay:
    """One replay, ready to begin."""

    def __init__(
        self,
        job: ReplayJob,
        settings: Settings,
        inputs: list[PieceInput],
        topics: Mapping[str, _Topic],
        known: dict[str, int],
        stop: Stop,
        tell: Callable[[str], None],
        progress: Progress | None,
    ) -> None:
        self._job, self._settings, self._inputs, self._stop = job, settings, inputs, stop
        self._topics = {
            one.key: (topics[one.format], topics[one.format].partition_of(one.key.encode()))
            for one in inputs
            if one.format
        }
        self._known = known
        self._tell, self._progress = tell, progress
        self._pace = Pace(job.speed)
        self._result = Replayed(resumed={key: number for key, number in known.items() if number})
        self._under_way: deque[_UnderWay] = deque()
        self._bytes_under_way = 0
        self._given = 0
        self._told_s = 0.0
        self._delivery_s = settings.kafka.request_timeout_s + _DELIVERY_MARGIN_S
        with cluster_errors(settings):
            self._producer = self._new_producer([topic.largest for topic in topics.values()])

    def _new_producer(self, largest: list[int]) -> KafkaProducer:
        delivery_ms = round(1000 * self._delivery_s)
        return KafkaProducer(
            **client_options(self._settings),
            bootstrap_timeout_ms=round(1000 * CONNECT_TIMEOUT_S),
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
            linger_ms=_LINGER_MS,
            batch_size=min([_BATCH_BYTES, *largest]),
            max_request_size=max([_BATCH_BYTES, *largest]) + _BATCH_BYTES,
            max_block_ms=delivery_ms,
            delivery_timeout_ms=delivery_ms,
            metrics_enabled=False,
        )

    def run(self) -> Replayed:
        began_s = time.monotonic()
        result = self._result
        try:
            self._publish()
            result.stopped = self._stop.requested
            self._await(0, 0)
        except _FailedError as error:
            result.errors.append(str(error))
        finally:
            self._close()
        result.seconds = time.monotonic() - began_s
        result.errors += [str(one.error) for one in self._inputs if one.error is not None]
        return result

    def _publish(self) -> None:
        start_us, stop_us = self._job.start_us, self._job.stop_us
        # Asked to stop while it waits for what is due, or for input.
        with suppress(Interrupted):
            for piece in merged(self._inputs, self._left_out):
                if self._stop.requested or (stop_us is not None and piece.arrival_us >= stop_us):
                    return
                if start_us is not None and piece.arrival_us < start_us:
                    continue
                if piece.number <= self._known.get(piece.input.key, 0):
                    continue
                self._wait(piece)
                self._send(piece)

    def _wait(self, piece: Piece) -> None:
        while (wait_s := self._pace.wait_s(piece.arrival_us)) > 0.0:
            self._await(_MOST_RECORDS, _MOST_BYTES)
            self._tell_progress(piece.arrival_us)
            with self._stop.waits():
                time.sleep(min(max(wait_s, _SHORTEST_SLEEP_S), _LONGEST_SLEEP_S))

    def _send(self, piece: Piece) -> None:
        key = piece.input.key
        topic, partition = self._topics[key]
        size = len(piece.data) + len(key.encode()) + _OVERHEAD_BYTES
        if size > topic.largest:
            self._result.too_large += 1
            self._tell(
                f"{piece.input.name}: piece {piece.number}: left out, as it has {len(piece.data):,} bytes and topic "
                f"{topic.name} takes {topic.largest:,} (max.message.bytes)"
            )
            return
        headers = [(PIECE, b"%d" % piece.number)]
        timestamp_ms = None
        if piece.arrival_us != NO_ARRIVAL_US:
            timestamp_ms = piece.arrival_us // 1000
            headers.append((ARRIVAL, utc_text(time_of(piece.arrival_us)).encode()))
        try:
            future = self._producer.send(
                topic.name,
                value=piece.data,
                key=key.encode(),
                headers=headers,
                partition=partition,
                timestamp_ms=timestamp_ms,
            )
        except KafkaError as error:
            raise self._failed(piece.input.name, piece.number, error) from None
        self._under_way.append(_UnderWay(future, size, piece.input.name, piece.number))
        self._bytes_under_way += size
        self._given += 1
        if self._given % _LOOK_EVERY == 0 or self._bytes_under_way > _MOST_BYTES:
            self._await(_MOST_RECORDS, _MOST_BYTES)
            self._tell_progress(piece.arrival_us)

    def _await(self, records: int, size: int) -> None:
        """See to what was delivered; wait while more records or bytes are under way. `_FailedError` where one was not."""
        while self._under_way:
            oldest = self._under_way[0]
            too_many = len(self._under_way) > records or self._bytes_under_way > size
            if not too_many and not oldest.future.is_done:
                return
            try:
                oldest.future.get(2.0 * self._delivery_s)
            except KafkaError as error:
                raise self._failed(oldest.name, oldest.number, error) from None
            self._under_way.popleft()
            self._bytes_under_way -= oldest.size
            self._result.records += 1

    def _failed(self, name: str, number: int, error: KafkaError) -> _FailedError:
        return _FailedError(f"{cluster_error(self._settings, error)}; piece {number} of {name} was not delivered")

    def _left_out(self, name: str, reject: Reject) -> None:
        self._tell(
            f"{name}: row {reject.line}: left out: {reject.reason}{f' ({reject.field})' if reject.field else ''}"
        )

    def _tell_progress(self, arrival_us: int) -> None:
        if self._progress is None or time.monotonic() < self._told_s + _PROGRESS_S:
            return
        self._told_s = time.monotonic()
        sizes = [one.size for one in self._inputs]
        known = [size for size in sizes if size is not None]
        total = sum(known) if len(known) == len(sizes) else None
        self._progress(sum(one.bytes_read() for one in self._inputs), total, self._given, arrival_us)

    def _close(self) -> None:
        """Close the producer; what is still under way after a failure is given up."""
        if self._under_way:
            # `close` would wait for it, and so would the producer's end as an object.
            self._producer._sender.force_close()
            self._producer._sender.join(self._delivery_s)
        with suppress(KafkaError):
            self._producer.close(timeout=self._delivery_s)
