"""Which formats there are: every :class:`~apss_fusion.feeds.base.Decoder` that a module of this folder defines."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

import apss_fusion.feeds
from apss_fusion.feeds.base import Decoder

#: How many bytes of an input are shown to the decoders, so that they tell its format.
HEAD_BYTES = 2**16


@cache
def decoders() -> tuple[type[Decoder], ...]:
    """All decoders, those that are asked first in front (by `priority`, then by name)."""
    return _decoders_of(apss_fusion.feeds)


def decoder_named(name: str) -> type[Decoder]:
    """The decoder of the format `name`; ValueError, which lists the names that there are, if there is none."""
    by_name = {decoder.name: decoder for decoder in decoders()}
    if name not in by_name:
        raise ValueError(f"no format {name!r}: --format NAME takes one of {', '.join(sorted(by_name))}")
    return by_name[name]


def recognise(head: bytes) -> type[Decoder] | None:
    """The first decoder that recognises an input by its first `HEAD_BYTES` bytes, decompressed, or None."""
    return next((decoder for decoder in decoders() if decoder.recognises(head)), None)


def _decoders_of(package: ModuleType) -> tuple[type[Decoder], ...]:
    """Classes with a `name` of their own, of the modules of a package; those without one are bases of others."""
    found: dict[str, type[Decoder]] = {}
    for module_name in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        module = importlib.import_module(f"{package.__name__}.{module_name}")
        for value in vars(module).values():
            if not (isinstance(value, type) and issubclass(value, Decoder) and value.__module__ == module.__name__):
                continue
            if "name" not in vars(value):
                continue
            other = found.setdefault(value.name, value)
            if other is not value:
                raise TypeError(f"{value.__module__} and {other.__module__} both define the format {value.name!r}")
    return tuple(sorted(found.values(), key=lambda decoder: (decoder.priority, decoder.name)))
