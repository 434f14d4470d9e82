"""``apss-fusion smooth``: archived tracks smoothed backwards."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING, Annotated

import typer

from apss_fusion.cli.errors import CommandError, problem, say

if TYPE_CHECKING:
    from apss_fusion.smoothing import SmoothingSummary
    from apss_fusion.tracking.config import Config

NAME = "smooth"
HELP = (
    "Smooth archived tracks backwards, for those who look back: each update gets the state that follows from all that "
    "came before and after it. The updates, their order and all other fields stay."
)
EXAMPLE = "Example: apss-fusion smooth tracks.ndjson --out smoothed.ndjson"


def command(
    tracks: Annotated[
        str,
        typer.Argument(
            metavar="TRACKS",
            help="Track updates as fuse writes them: JSON lines (.gz), .parquet or .arrow; - is standard input.",
        ),
    ],
    out: Annotated[
        str,
        typer.Option("--out", metavar="SMOOTHED", help="The same updates smoothed; - is standard output."),
    ],
    config: Annotated[
        str | None,
        typer.Option("--config", metavar="FILE.toml", help="The configuration that the tracks were fused with."),
    ] = None,
) -> int:
    """Smooth archived tracks backwards."""
    from apss_fusion.cli.words import count

    made = smooth(tracks, out, config)
    say(
        f"{count(made.updates, 'update', 'updates')} of {count(made.tracks, 'track', 'tracks')} -> "
        f"{made.smoothed:,} smoothed in {out}"
    )
    return 0


def smooth(tracks: str, out: str, config: str | None = None) -> SmoothingSummary:
    """Smooth a file into another; `CommandError` of status 2 where nothing was begun, of status 1 on a failure part way."""
    from apss_fusion.replay.pipeline_outputs import RunError, check_outputs
    from apss_fusion.smoothing import smooth_file

    keep = [tracks, *([config] if config is not None else [])]
    try:
        check_outputs({"--out": out}, keep)
        return smooth_file(tracks, out, _config(config))
    except RunError as error:
        raise CommandError(str(error), error.status) from None
    except BrokenPipeError:
        raise
    except gzip.BadGzipFile as error:
        raise CommandError(f"{tracks}: {error}") from None
    except (EOFError, zlib.error) as error:
        raise CommandError(f"{tracks}: {error}", 1) from None
    except FileNotFoundError as error:
        raise problem(str(error.filename or tracks), error) from None
    except OSError as error:
        status = 2 if error.filename == tracks else 1
        raise CommandError(f"{error.filename or out}: {error.strerror or error}", status) from None
    except (ValueError, ModuleNotFoundError) as error:
        raise CommandError(str(error)) from None


def _config(path: str | None) -> Config:
    from apss_fusion.tracking.config import Config

    return Config.of() if path is None else Config.read(path)
