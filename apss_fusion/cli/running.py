"""What commands that read feeds share: stopping, progress, and how they end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from apss_fusion.cli.errors import CommandError, say
from apss_fusion.replay.pipeline import INTERRUPTED, Outcome, Progress
from apss_fusion.replay.pipeline_outputs import RunError
from apss_fusion.replay.pipeline_stop import Interrupted, Stop

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """A stop that Ctrl-C asks for; a second one ends the process at once."""
    stop = Stop()

    def ask(number: int, frame: object) -> None:
        for signal_number in _SIGNALS:
            signal.signal(signal_number, signal.SIG_DFL)
        stop.request()

    before = {number: signal.signal(number, ask) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shown(what: str) -> Iterator[Progress | None]:
    """Progress on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Display

    with Display(
        TextColumn(what),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as display:
        task = display.add_task(what, total=None, rate="")

        def update(done: int, total: int | None, detections: int) -> None:
            seconds = display.tasks[0].elapsed or 0.0
            rate = f"{detections / seconds:,.0f} detections/s" if seconds > 0.5 else ""
            display.update(task, completed=done, total=total, rate=rate)

        yield update


def run(
    what: str, job: Callable[[Stop, Progress | None], Outcome], lines: Callable[[dict[str, Any]], list[str]]
) -> int:
    """Run a job of the pipeline, tell how it went in `lines` of its summary, and return the exit status."""
    try:
        with stoppable() as stop, shown(what) as progress:
            outcome = job(stop, progress)
    except RunError as error:
        raise CommandError(str(error), error.status) from None
    except Interrupted:
        return INTERRUPTED
    for warning in outcome.warnings:
        say(f"warning: {warning}")
    for error_line in outcome.errors:
        say(error_line)
    if outcome.status in (0, INTERRUPTED):
        first, *more = lines(outcome.summary)
        say(("stopped: " if outcome.status else "") + first)
        for line in more:
            say(line)
    return outcome.status
