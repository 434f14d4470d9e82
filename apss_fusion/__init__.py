"""Streaming situational-awareness fusion: many space sensors, one picture."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apss_fusion.feeds.reading import read_looks as read_looks
    from apss_fusion.model import Detection as Detection
    from apss_fusion.model import Look as Look
    from apss_fusion.model import Source as Source
    from apss_fusion.tracking.config import Config as Config
    from apss_fusion.tracking.engine import Engine as Engine

__version__ = "0.1.0"
__all__ = ["Config", "Detection", "Engine", "Look", "Source", "read_looks"]

# Where each name comes from; imported when it is asked for, as the engine brings a compiler along.
_HOME = {
    "Config": "apss_fusion.tracking.config",
    "Detection": "apss_fusion.model",
    "Engine": "apss_fusion.tracking.engine",
    "Look": "apss_fusion.model",
    "Source": "apss_fusion.model",
    "read_looks": "apss_fusion.feeds.reading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
