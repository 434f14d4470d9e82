"""``apss-fusion formats``: what can be read."""

from __future__ import annotations

import typer

NAME = "formats"
HELP = "List the formats that are read, with the modality and the worst latency of each one's built-in source."
EXAMPLE = "Example: apss-fusion formats"


def command() -> int:
    """List the formats."""
    from apss_fusion.feeds.registry import decoders
    from apss_fusion.tracking.register import source_defaults

    known = sorted(decoders(), key=lambda decoder: decoder.name)
    width = max(len(decoder.name) for decoder in known)
    for decoder in known:
        source = decoder.source
        latency_s = source.max_latency_s
        if latency_s is None:
            latency_s = source_defaults().modality[source.modality].max_latency_s
        typer.echo(f"{decoder.name:<{width}}  {source.modality:<6}{latency_s:>10,.0f} s  {decoder.title}")
    return 0
