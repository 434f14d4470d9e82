"""``apss-fusion looks``: recorded feeds to looks."""

from __future__ import annotations

from typing import Annotated

import typer

from apss_fusion.cli.fuse import DeadLetters, FormatName, Inputs, Summary

NAME = "looks"
HELP = "Decode recorded feeds into looks, merged by the time of arrival, and fuse nothing."
EXAMPLE = "Example: apss-fusion looks ais.nmea.gz --out looks.parquet --deadletter bad.ndjson"


def command(
    inputs: Inputs,
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="LOOKS", help="Looks: JSON lines (.gz), .parquet or .arrow; - is standard output."
        ),
    ],
    format_name: FormatName = None,
    deadletter: DeadLetters = None,
    summary: Summary = None,
) -> int:
    """Decode recorded feeds into looks."""
    from apss_fusion.cli import words
    from apss_fusion.cli.running import run
    from apss_fusion.replay.pipeline_looks import LooksJob, decode

    job = LooksJob(inputs=tuple(inputs), out=out, format=format_name, deadletter=deadletter, summary=summary)
    return run(
        "decoding",
        lambda stop, progress: decode(job, stop, progress),
        lambda result: [words.decoded(result, out, deadletter)],
    )
