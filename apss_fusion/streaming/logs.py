"""Logs of a worker on standard error: a line an event, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

#: What is told of the libraries: only what is wrong.
_QUIET = ("faust", "mode", "aiokafka", "kafka", "asyncio", "aiohttp", "numba")
#: Modules of ours whose classes are the framework's, and speak as it does.
_QUIET_OF_OURS = ("apss_fusion.streaming.transport", "apss_fusion.streaming.recovery")


class JsonLines(logging.Formatter):
    """A log record as one line of JSON: time, level, logger, message, and the error if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        values: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            values["error"] = self.formatException(record.exc_info)
        return json.dumps(values)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """RFC 3339, UTC."""
        return _utc(record)


class TextLines(logging.Formatter):
    """A log record as text for people, each line with its time in UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """RFC 3339, UTC."""
        return _utc(record)


def _utc(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def set_up_logs(kind: str, level: str) -> None:
    """Send all logs of this process to standard error; kind: ``json`` or ``text``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if kind == "json" else TextLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in (*_QUIET, *_QUIET_OF_OURS):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
