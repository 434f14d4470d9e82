"""What a worker works with, read and checked: settings, engine configuration, register, regions, cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from apss_fusion.feeds.base import Decoder
from apss_fusion.feeds.registry import decoder_named, decoders
from apss_fusion.model import Source
from apss_fusion.streaming.regions import Regions, RegionsError
from apss_fusion.streaming.settings import Settings, SettingsError
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.register import load_sources

#: The format of this project's own looks, which name sources of their own.
LOOKS = "looks"


class Deployment(NamedTuple):
    """Settings, and what they name."""

    settings: Settings
    regions: Regions
    config: Config
    sources: Mapping[str, Source]


def read_deployment(settings: Settings) -> Deployment:
    """Read the files that settings name.

    Raises
    ------
    SettingsError
        A file or a key of it cannot be used; the message says which.
    """
    try:
        regions = Regions.read(settings.regions)
    except RegionsError as error:
        raise SettingsError(str(error)) from None
    values: dict[str, Any] = settings.engine
    for name in ("hold_back", "picture_interval_s"):
        if name in values:
            raise SettingsError(f"engine: {name}: of no use in a worker")
    try:
        config = Config.of(values)
    except ValueError as error:
        raise SettingsError(f"engine: {error}") from None
    sources = {name: _live(decoder_named(name)) for name in formats_of(settings) if name != LOOKS}
    if settings.sources is not None:
        try:
            sources |= load_sources(settings.sources)
        except OSError as error:
            raise SettingsError(f"{settings.sources}: {error.strerror}") from None
        except ValueError as error:
            raise SettingsError(str(error)) from None
    return Deployment(settings, regions, config, sources)


def formats_of(settings: Settings) -> list[str]:
    """The formats whose feeds a deployment reads; `SettingsError` for one that there is not."""
    known = [decoder.name for decoder in decoders()]
    for name in settings.formats or ():
        if name not in known:
            raise SettingsError(f"formats: there is no {name!r}; there are {', '.join(sorted(known))}")
    return sorted(known if settings.formats is None else set(settings.formats))


def _live(decoder: type[Decoder]) -> Source:
    """The built-in source of a format. How late an archive's looks come in their file says nothing of a live feed."""
    if not decoder.archive:
        return decoder.source
    return msgspec.structs.replace(decoder.source, max_latency_s=None)
