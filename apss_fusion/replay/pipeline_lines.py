"""What the pipeline writes beside track updates, as lines of JSON: looks, pictures, dead letters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.reading import dead_letter
from apss_fusion.model import Look, Picture

_ENCODE = msgspec.json.Encoder().encode
_TIMES = ("time", "time_end", "time_received")
_DEAD_LETTER_KEYS = ("file", "line", "reason", "field", "record")


def utc_text(time: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def look_json(look: Look) -> bytes:
    """A look as one line of JSON, with its newline."""
    values: dict[str, Any] = msgspec.to_builtins(look, builtin_types=(datetime,))
    for name in _TIMES:
        if values[name] is not None:
            values[name] = utc_text(values[name])
    for detection in values["detections"]:
        if detection["time"] is not None:
            detection["time"] = utc_text(detection["time"])
    return orjson.dumps(values, option=orjson.OPT_APPEND_NEWLINE)


def picture_json(picture: Picture) -> bytes:
    """A picture as one line of JSON, with its newline."""
    return b'{"time":"%b","tracks":%b}\n' % (utc_text(picture.time).encode(), _ENCODE(picture.tracks))


def dead_letter_json(reject: Reject, file: str) -> bytes:
    """What could not be used of a file as one line of JSON, with its newline."""
    letter = dead_letter(reject, file)
    return _ENCODE({key: getattr(letter, key) for key in _DEAD_LETTER_KEYS}) + b"\n"
