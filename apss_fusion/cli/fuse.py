"""``apss-fusion fuse``: recorded feeds to tracks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from apss_fusion.cli.errors import CommandError, problem

if TYPE_CHECKING:
    from apss_fusion.model import Source
    from apss_fusion.tracking.config import Config

NAME = "fuse"
HELP = (
    "Fuse recorded feeds into tracks, with the engine embedded and no broker. The format of each input is told by its "
    "content, gzip is read as it is, several inputs are merged by the time of arrival."
)
EXAMPLE = "Example: apss-fusion fuse ais.nmea.gz sar.csv --out tracks.ndjson --summary summary.json"
_DEFAULT_PICTURE_INTERVAL_S = 60.0

Inputs = Annotated[list[str], typer.Argument(metavar="INPUT", help="Recorded feeds; - is standard input.")]
FormatName = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="The format of all inputs (see apss-fusion formats)."),
]
DeadLetters = Annotated[
    str | None,
    typer.Option("--deadletter", metavar="FILE", help="What could not be used, with its place and the reason."),
]
Summary = Annotated[
    str | None, typer.Option("--summary", metavar="FILE", help="Where every record went, and how fast, as JSON.")
]


def command(
    inputs: Inputs,
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="TRACKS", help="Track updates: JSON lines (.gz), .parquet or .arrow; - is standard output."
        ),
    ],
    sources: Annotated[
        str | None,
        typer.Option("--sources", metavar="FILE.toml", help="The register; it overrides the built-in sources."),
    ] = None,
    format_name: FormatName = None,
    lag: Annotated[
        float | None,
        typer.Option(
            "--lag",
            metavar="SECONDS",
            help="How late a look may come after its time (default: the sources' worst latency).",
        ),
    ] = None,
    hold_back: Annotated[
        bool,
        typer.Option("--hold-back", help="Let looks wait until none earlier may come: no revisions, but older news."),
    ] = False,
    picture: Annotated[
        str | None, typer.Option("--picture", metavar="FILE", help="All tracks at regular times, a line each.")
    ] = None,
    picture_interval: Annotated[
        float | None, typer.Option("--picture-interval", metavar="SECONDS", help="Between two pictures (default: 60).")
    ] = None,
    deadletter: DeadLetters = None,
    summary: Summary = None,
    save: Annotated[
        str | None, typer.Option("--save", metavar="STATE", help="Keep the state instead of ending the feed.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="STATE", help="Continue from a state that was kept.")
    ] = None,
    tentative: Annotated[bool, typer.Option("--tentative", help="Write tentative tracks too.")] = False,
    filter_setting: Annotated[
        str | None,
        typer.Option("--filter", metavar="NAME", help="Setting of the filter: accurate (default) or fast."),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE.toml", help="Keys that override the engine's defaults.")
    ] = None,
) -> int:
    """Fuse recorded feeds into tracks."""
    if filter_setting not in (None, "accurate", "fast"):
        raise CommandError(f"--filter {filter_setting}: there is no such setting; accurate and fast are")
    if picture_interval is not None and picture is None:
        raise CommandError("--picture-interval: without --picture FILE there is nothing to write")
    from apss_fusion.cli import words
    from apss_fusion.cli.running import run
    from apss_fusion.replay.pipeline import FuseJob, fuse

    job = FuseJob(
        inputs=tuple(inputs),
        out=out,
        config=_config(config, filter_setting, lag, hold_back, tentative, picture is not None, picture_interval),
        sources=read_sources(sources),
        format=format_name,
        picture=picture,
        deadletter=deadletter,
        summary=summary,
        save=save,
        resume=resume,
        keep=tuple(path for path in (sources, config) if path is not None),
    )
    return run(
        "fusing",
        lambda stop, progress: fuse(job, stop, progress),
        lambda result: [words.fused(result, deadletter), *words.order_of_arrival(result)],
    )


def read_sources(path: str | None) -> dict[str, Source]:
    """The register in a file; none without one. `CommandError` where it is wrong."""
    from apss_fusion.tracking.register import load_sources

    if path is None:
        return {}
    try:
        return load_sources(path)
    except OSError as error:
        raise problem(path, error) from None
    except ValueError as error:
        raise CommandError(str(error)) from None


def _config(
    path: str | None,
    setting: str | None,
    lag_s: float | None,
    hold_back: bool,
    tentative: bool,
    with_pictures: bool,
    interval_s: float | None,
) -> Config:
    import msgspec

    from apss_fusion.tracking.config import Config

    try:
        config = Config.of() if path is None else Config.read(path)
    except OSError as error:
        raise problem(str(path), error) from None
    except ValueError as error:
        raise CommandError(str(error)) from None
    if lag_s is not None:
        config = msgspec.structs.replace(config, lag_s=_seconds("--lag", lag_s, 0.0))
    interval_s = interval_s if interval_s is not None else config.picture_interval_s or _DEFAULT_PICTURE_INTERVAL_S
    return msgspec.structs.replace(
        config,
        hold_back=hold_back or config.hold_back,
        picture_interval_s=_seconds("--picture-interval", interval_s, 1e-3) if with_pictures else None,
        tentative=tentative or config.tentative,
        filter=setting or config.filter,
    )


def _seconds(option: str, value: float, least: float) -> float:
    if not math.isfinite(value) or value < least:
        raise CommandError(f"{option} {value:g}: not a number of seconds from {least:g} on")
    return value
