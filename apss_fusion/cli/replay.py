"""``apss-fusion replay``: recorded feeds into Kafka, with their own timing."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from apss_fusion.cli.errors import CommandError, say
from apss_fusion.cli.worker import Bootstrap, ConfigFile, read

if TYPE_CHECKING:
    from apss_fusion.streaming.publisher import Progress, Replayed

NAME = "replay"
HELP = (
    "Publish recorded feeds to Kafka with their own timing: each to the topic of its format, in the order of arrival, "
    "with its file's name as the key."
)
EXAMPLE = "Example: apss-fusion replay ais.nmea.gz --bootstrap localhost:9092 --speed 60"

_INTERRUPTED = 130
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def command(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help="Recorded feeds; - is standard input.")],
    bootstrap: Bootstrap = None,
    speed: Annotated[
        float,
        typer.Option("--speed", metavar="N", help="How many times as fast as it was received; 0: as fast as it goes."),
    ] = 1.0,
    config: ConfigFile = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="The format of all inputs (see apss-fusion formats)."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help="Leave out what arrived before (RFC 3339).")
    ] = None,
    stop_at: Annotated[
        str | None, typer.Option("--stop", metavar="TIME", help="End before what arrived then or later (RFC 3339).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after what the topics have already of each input.")
    ] = False,
) -> int:
    """Publish recorded feeds."""
    if not math.isfinite(speed) or speed < 0.0:
        raise CommandError(f"--speed {speed:g}: not a number from 0 on")
    start_us, stop_us = _time_us("--start", start), _time_us("--stop", stop_at)
    settings = read(config, bootstrap)
    from apss_fusion.cli.running import stoppable
    from apss_fusion.replay.pipeline_stop import Interrupted
    from apss_fusion.streaming.clients import ClusterError
    from apss_fusion.streaming.publisher import ReplayError, ReplayJob, replay
    from apss_fusion.streaming.settings import SettingsError

    job = ReplayJob(
        inputs=tuple(inputs), format=format_name, speed=speed, start_us=start_us, stop_us=stop_us, resume=resume
    )
    try:
        with stoppable() as stop, _shown() as progress:
            result = replay(job, settings, stop, say, progress)
    except (ReplayError, ClusterError, SettingsError) as error:
        raise CommandError(str(error)) from None
    except Interrupted:
        return _INTERRUPTED
    for line in result.errors:
        say(line)
    if result.errors:
        return 1
    say(_told(result))
    return _INTERRUPTED if result.stopped else 0


def _told(result: Replayed) -> str:
    """The line that ends a replay."""
    from apss_fusion.cli.words import count

    rate = f" ({result.records / result.seconds:,.0f} records/s)" if result.seconds > 0.0 else ""
    parts = [f"{count(result.records, 'record', 'records')} delivered in {result.seconds:.1f} s{rate}"]
    if result.too_large:
        parts.append(f"{result.too_large:,} too large")
    parts += [f"{key} went on after piece {number:,}" for key, number in result.resumed.items()]
    return ("stopped: " if result.stopped else "") + "; ".join(parts)


def _time_us(option: str, text: str | None) -> int | None:
    """A time of the command line as microseconds since 1970."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise CommandError(f"{option} {text}: not a time as 2026-01-01T00:10:00Z")
    return (time - _EPOCH) // timedelta(microseconds=1)


@contextmanager
def _shown() -> Iterator[Progress | None]:
    """Progress on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn
    from rich.progress import Progress as Display

    with Display(
        TextColumn("replaying"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[at]}"),
        console=Console(stderr=True),
        transient=True,
    ) as display:
        task = display.add_task("", total=None, rate="", at="")

        def update(done: int, total: int | None, records: int, arrival_us: int) -> None:
            seconds = display.tasks[0].elapsed or 0.0
            rate = f"{records / seconds:,.0f} records/s" if seconds > 0.5 else ""
            at = "" if arrival_us < 0 else f"at {_EPOCH + timedelta(microseconds=arrival_us):%Y-%m-%d %H:%M:%SZ}"
            display.update(task, completed=done, total=total, rate=rate, at=at)

        yield update
