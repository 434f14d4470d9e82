"""What could not be used of a partition, on its way to the topic of dead letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.reading import dead_letter
from apss_fusion.replay.pipeline_lines import utc_text
from apss_fusion.streaming.batches import Batches
from apss_fusion.streaming.headers import DEAD_LETTER, constant_headers, event_headers, event_source
from apss_fusion.streaming.metrics import Metrics
from apss_fusion.streaming.settings import Settings
from apss_fusion.streaming.topic_data import DEAD_LETTERS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Of a reason or a field's name, which may quote what somebody sent.
_MOST_REASON_CHARACTERS = 500
#: The last millisecond that RFC 3339 has a time for.
_MOST_MS = 253_402_300_799_999


class DeadLetterBox:
    """Makes the dead letters of one partition. Its id and key are the place of the record, so a repeat is known as one."""

    def __init__(self, settings: Settings, metrics: Metrics, topic: str, partition: int) -> None:
        self._to = settings.topic(DEAD_LETTERS)
        self._metrics = metrics
        self._topic, self._partition = topic, partition
        self._constant = constant_headers(DEAD_LETTER, event_source(settings.worker.group))

    def put(self, batches: Batches, record: Any, reject: Reject) -> None:
        """Add the dead letter of a record, or of a detection in it."""
        # Of a bad detection, the place is enough: a look may have thousands of them.
        text = record.value if reject.record is None and reject.is_record else reject.record
        letter = dead_letter(Reject(reject.reason, reject.field, reject.line, text, reject.is_record), "")
        value = orjson.dumps(
            {
                "topic": self._topic,
                "partition": self._partition,
                "offset": record.offset,
                "reason": _cut(letter.reason),
                "field": None if letter.field is None else _cut(letter.field),
                "record": letter.record,
            }
        )
        key = f"{self._topic}/{self._partition}/{record.offset}".encode()
        # Producers put there what they like, or nothing.
        time = utc_text(_EPOCH + timedelta(milliseconds=min(max(record.timestamp or 0, 0), _MOST_MS))).encode()
        batches.add(self._to, 0, key, value, event_headers(self._constant, key, key, time))
        self._metrics.count_dead_letter(self._topic, reject.reason)


def _cut(text: str) -> str:
    """A text that may quote what somebody sent."""
    return text if len(text) <= _MOST_REASON_CHARACTERS else text[:_MOST_REASON_CHARACTERS] + "..."
