"""Headers of records: CloudEvents 1.0 in binary mode, and the origin of a look.

In binary mode the value of a record stays what it is, and the attributes of the event stand in headers, in front of
their names ``ce_``. A tombstone has no headers: it is no event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

#: Headers as kafka-python and aiokafka take them, and hand them out.
Headers = list[tuple[str, bytes]]

#: Header of a record of a feed: when it arrived in its recording, RFC 3339; absent where that is not known.
ARRIVAL = "arrival"
#: Header of a look: ``TOPIC/PARTITION/OFFSET/INDEX`` of the record of a feed that completed it.
ORIGIN = "origin"

#: Headers by which a record says its kind and version.
KIND_HEADERS = ("ce_specversion", "ce_type", "ce_dataschema")

_SPECVERSION = b"1.0"
_CONTENT_TYPE = b"application/json"


class Kind(NamedTuple):
    """What an event is: its type, and the schema of its value."""

    type: str
    dataschema: str


LOOK = Kind("apss.look.v1", "urn:apss-fusion:Look:1")
TRACK = Kind("apss.track.v1", "urn:apss-fusion:TrackUpdate:1")
DEAD_LETTER = Kind("apss.deadletter.v1", "urn:apss-fusion:DeadLetter:1")


class Origin(NamedTuple):
    """Where a look comes from: the record of a feed that completed it, and which of that record's looks it is."""

    topic: str
    partition: int
    offset: int
    look_index: int


def event_source(group: str) -> str:
    """The attribute `source` of a deployment: a URN of its group of workers."""
    return f"urn:apss-fusion:{quote(group, safe='')}"


def constant_headers(kind: Kind, source: str) -> tuple[tuple[str, bytes], ...]:
    """The headers that all events of a kind from a source share; made once, for `event_headers`."""
    return (
        ("ce_specversion", _SPECVERSION),
        ("ce_type", kind.type.encode()),
        ("ce_source", source.encode()),
        ("ce_dataschema", kind.dataschema.encode()),
        ("content-type", _CONTENT_TYPE),
    )


def event_headers(constant: Iterable[tuple[str, bytes]], id_: bytes, subject: bytes, time: bytes) -> Headers:
    """The headers of one event: `constant` ones, its id, subject and time (RFC 3339), as bytes that are only put there.

    With one `source`, the same `id_` is the same event: for a track update it is ``TRACK_ID:SEQ``.
    """
    return [*constant, ("ce_id", id_), ("ce_subject", subject), ("ce_time", time)]


def origin_header(topic: str, partition: int, offset: int, look_index: int) -> tuple[str, bytes]:
    """The header that says where a look comes from."""
    return ORIGIN, b"%s/%d/%d/%d" % (topic.encode(), partition, offset, look_index)


def read_origin(headers: Iterable[tuple[str, bytes]]) -> Origin | None:
    """Where a look comes from; None where no header says so. ValueError where one says it in another form."""
    for name, value in headers:
        if name == ORIGIN:
            topic, *numbers = (value or b"").decode("ascii", "backslashreplace").split("/")
            if not topic or len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
                raise ValueError(f"header {ORIGIN}: {value!r} is not TOPIC/PARTITION/OFFSET/INDEX")
            return Origin(topic, *map(int, numbers))
    return None


def other_kind(headers: Iterable[tuple[str, bytes]], kind: Kind) -> str | None:
    """Why a record is not of `kind` or not of a version that is read here; None where it is, or says nothing of itself."""
    expected = dict(constant_headers(kind, ""))
    for name, value in headers:
        if name in KIND_HEADERS and value != expected[name]:
            text = (value or b"").decode("utf-8", "backslashreplace")
            return f"header {name}: {text!r} is not {expected[name].decode()!r}"
    return None
