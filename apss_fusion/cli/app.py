"""The commands put together, and how their errors are told."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import apss_fusion
from apss_fusion.cli import (
    demo,
    demo_kafka,
    evaluate,
    formats,
    fuse,
    looks,
    replay,
    simulate,
    smooth,
    subscribe,
    topics,
    worker,
)
from apss_fusion.cli.errors import CommandError, say

PROGRAM = "apss-fusion"
#: What is wrong with a command line itself.
_UsageError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")

app = typer.Typer(
    name=PROGRAM,
    help="Fuses what many space sensors report into one picture of ground, sea and air tracks.",
    epilog="Example: apss-fusion fuse ais.nmea sar.csv --out tracks.ndjson",
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (fuse, looks, simulate, evaluate, smooth, demo, formats, worker, replay, subscribe, demo_kafka):
    app.command(module.NAME, help=module.HELP, epilog=module.EXAMPLE)(module.command)
app.add_typer(topics.app, name=topics.NAME)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {apss_fusion.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def invoke(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit status."""
    try:
        status = typer.main.get_command(app)(list(arguments), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except CommandError as error:
        say(str(error))
        return error.status
    except _UsageError as error:
        message = str(getattr(error, "message", "")) if not arguments else error.format_message()  # type: ignore[attr-defined]
        if not arguments:
            typer.echo(message, err=True)
        else:
            say(" ".join(message.split()))
        return 2
    except BrokenPipeError:
        # Nobody reads standard output any more; without this Python would say so at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status or 0
