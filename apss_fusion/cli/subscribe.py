"""``apss-fusion subscribe``: the tracks as a downstream system reads them."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from apss_fusion.cli.errors import CommandError, say
from apss_fusion.cli.worker import Bootstrap, ConfigFile, read

if TYPE_CHECKING:
    from apss_fusion.outputs.line_file import LineFile
    from apss_fusion.streaming.subscriber import TrackSubscriber

NAME = "subscribe"
HELP = (
    "Follow the tracks of a deployment as a downstream system would: the current picture first, the last update of each "
    "live track; then every update as it comes, until Ctrl-C."
)
EXAMPLE = "Example: apss-fusion subscribe --bootstrap localhost:9092 --out tracks.ndjson"

_INTERRUPTED = 130
_FLUSH_S = 1.0


def command(
    bootstrap: Bootstrap = None,
    out: Annotated[
        str, typer.Option("--out", metavar="TRACKS", help="Track updates: JSON lines (.gz); - is standard output.")
    ] = "-",
    config: ConfigFile = None,
    until_idle: Annotated[
        float | None,
        typer.Option("--until-idle", metavar="SECONDS", help="End once no update has come for so long."),
    ] = None,
    picture: Annotated[bool, typer.Option("--picture", help="Only the current picture, then end.")] = False,
) -> int:
    """Write the current picture, then updates as they come."""
    if until_idle is not None and not (math.isfinite(until_idle) and until_idle > 0.0):
        raise CommandError(f"--until-idle {until_idle:g}: not a number of seconds above 0")
    if out.endswith((".parquet", ".arrow")):
        raise CommandError(f"--out {out}: updates are written as JSON lines")
    settings = read(config, bootstrap)
    from apss_fusion.outputs.line_file import LineFile
    from apss_fusion.replay.pipeline_outputs import RunError, check_outputs
    from apss_fusion.streaming.clients import ClusterError
    from apss_fusion.streaming.settings import SettingsError
    from apss_fusion.streaming.subscriber import TrackSubscriber

    try:
        check_outputs({"--out": out}, [] if config is None else [config])
        subscriber = TrackSubscriber(settings, tell=say)
    except (RunError, SettingsError, ClusterError) as error:
        raise CommandError(str(error)) from None
    try:
        with subscriber, _ended_by_signal() as signals, LineFile(out) as file:
            _write(subscriber, file, signals, until_idle, picture)
    except ClusterError as error:
        raise CommandError(str(error), 1) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"{out}: {error.strerror or error}", 1) from None
    return _INTERRUPTED if signal.SIGINT in signals else 0


def _write(
    subscriber: TrackSubscriber, file: LineFile, signals: list[int], idle_s: float | None, only_picture: bool
) -> None:
    from apss_fusion.cli import words

    current = subscriber.read_picture(lambda: bool(signals))
    if signals:
        return
    file.write(b"".join(current[track_id] + b"\n" for track_id in sorted(current)))
    file.flush()
    say(f"picture: {words.count(len(current), 'track', 'tracks')}" + ("" if only_picture else "; following"))
    if only_picture:
        return
    count, last_s, flushed_s = 0, time.monotonic(), time.monotonic()
    while not signals:
        updates = subscriber.poll()
        now_s = time.monotonic()
        if updates:
            count, last_s = count + len(updates), now_s
            file.write(b"".join(update + b"\n" for update in updates))
        elif idle_s is not None and now_s - last_s > idle_s:
            break
        if now_s - flushed_s > _FLUSH_S:
            file.flush()
            flushed_s = now_s
    tracks = words.count(len(subscriber.picture), "track", "tracks")
    say(f"{words.count(count, 'update', 'updates')}; {tracks} at the end")


@contextmanager
def _ended_by_signal() -> Iterator[list[int]]:
    """The signals that asked for the end; a second one ends the process at once."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
