"""The track topic as a downstream system reads it: the current picture first, then every update as it comes.

Committed records only, from the beginning, without a group: any number of subscribers, none of which disturbs another.
The topic is compacted, so that its beginning holds the last update of each live track and little else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from msgspec import Struct

from apss_fusion.streaming.clients import (
    CONNECT_TIMEOUT_S,
    ClusterError,
    admin_client,
    client_options,
    cluster_error,
    cluster_errors,
)
from apss_fusion.streaming.settings import Settings
from apss_fusion.streaming.topic_admin import find_topics
from apss_fusion.streaming.topic_data import TRACKS

#: How long the cluster may say nothing before it is gone.
GONE_S = 60.0
#: After this long without a record the cluster is asked whether it is there, and may take this long to say so.
_ASK_S, _ANSWER_S = 3.0, 2.0
_POLL_S = 0.25
_TERMINATED = "TERMINATED"


class _Update(Struct):
    """What is looked at of an update."""

    track_id: str
    status: str


_UPDATE = msgspec.json.Decoder(_Update)


class TrackSubscriber:
    """Reads the tracks of a deployment; iterating gives updates as JSON, for ever, after those that it has read before.

    Attributes
    ----------
    picture
        The last update of each live track as JSON, by track_id. It is changed by reading.

    Parameters
    ----------
    settings
        Of the deployment: its cluster, and the prefix of its topics.
    gone_s
        How long the cluster may be away.
    tell
        Gets a line for each record that is no track update; such a one is left out.

    Raises
    ------
    ClusterError
        Here: the cluster cannot be used, or has no such topic. While reading: it is gone, or refuses.
    SettingsError
        The security settings cannot be used.
    """

    def __init__(
        self, settings: Settings, gone_s: float = GONE_S, tell: Callable[[str], None] = lambda line: None
    ) -> None:
        self.picture: dict[str, bytes] = {}
        self._settings, self._gone_s, self._tell = settings, gone_s, tell
        topic = settings.topic(TRACKS)
        with admin_client(settings) as client:
            found = find_topics(client, settings, [topic])
        if topic not in found:
            raise ClusterError(
                f"cluster {settings.bootstrap}: topic {topic}: missing; `apss-fusion topics apply` makes it"
            )
        self._partitions = [TopicPartition(topic, number) for number in range(found[topic].partitions)]
        with cluster_errors(settings):
            self._consumer = KafkaConsumer(
                **client_options(settings),
                bootstrap_timeout_ms=round(1000 * CONNECT_TIMEOUT_S),
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                # A cluster that comes back is found soon.
                reconnect_backoff_max_ms=1000,
                max_poll_records=5000,
            )
        self._consumer.assign(self._partitions)
        self._heard_s = time.monotonic()

    def read_picture(self, ended: Callable[[], bool] = lambda: False) -> dict[str, bytes]:
        """Read up to where the topic ends now, or until `ended`; returns `picture`."""
        with cluster_errors(self._settings):
            ends = self._consumer.end_offsets(self._partitions)
            while not ended() and any(self._consumer.position(partition) < end for partition, end in ends.items()):
                self.poll()
        return self.picture

    def poll(self, seconds: float = _POLL_S) -> list[bytes]:
        """Updates that come within some seconds, in the order of each track; none where none came."""
        with cluster_errors(self._settings):
            batches = self._consumer.poll(timeout_ms=round(1000 * seconds))
        if batches:
            self._heard_s = time.monotonic()
        elif time.monotonic() > self._heard_s + _ASK_S:
            self._ask()
        return [value for records in batches.values() for record in records if (value := self._take(record))]

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield from self.poll()

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, record: ConsumerRecord) -> bytes | None:
        """Bring the picture up to date with a record; its update, if it is one."""
        value: bytes | None = record.value
        if value is None:
            self.picture.pop((record.key or b"").decode("utf-8", "replace"), None)
            return None
        try:
            update = _UPDATE.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._tell(f"{record.topic}/{record.partition}/{record.offset}: left out, no track update: {error}")
            return None
        if update.status == _TERMINATED:
            self.picture.pop(update.track_id, None)
        else:
            self.picture[update.track_id] = value
        return value

    def _ask(self) -> None:
        """See whether the cluster is there; kafka-python connects anew by itself, and never says that it cannot."""
        try:
            self._consumer.end_offsets(self._partitions, timeout_ms=round(1000 * _ANSWER_S))
        except KafkaError as error:
            silent_s = time.monotonic() - self._heard_s
            if not error.retriable:
                raise cluster_error(self._settings, error) from None
            if silent_s > self._gone_s:
                raise ClusterError(f"cluster {self._settings.bootstrap}: no answer for {silent_s:.0f} s") from None
        else:
            self._heard_s = time.monotonic()
