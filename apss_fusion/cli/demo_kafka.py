"""``apss-fusion demo-kafka``: the demo's constellation through Kafka, with tracks that arrive live at a subscriber."""

from __future__ import annotations

import http.client
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apss_fusion.cli.errors import CommandError, say
from apss_fusion.cli.worker import Bootstrap, ConfigFile, read

if TYPE_CHECKING:
    from apss_fusion.streaming.live_picture import LivePicture
    from apss_fusion.streaming.settings import Settings

NAME = "demo-kafka"
HELP = (
    "Simulate the constellation that comes with the program, replay what it reports into a running Kafka, let a worker "
    "fuse it there, and show the tracks as they arrive at a subscriber. The topics of an earlier demo are deleted."
)
EXAMPLE = "Example: apss-fusion demo-kafka --bootstrap localhost:9092"

_PREFIX = "demo."
_INTERRUPTED = 130
_QUIET_S = 2.0
#: How long nothing may come once all is published.
_PATIENCE_S = 180.0
_LINE_S = 5.0
_STOP_MARGIN_S = 10.0
_KINDS = {"SEA": "ship", "AIR": "aircraft", "GROUND": "vehicle"}


def command(
    bootstrap: Bootstrap = None,
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="The folder for the feed and what the processes say.")
    ] = "demo",
    speed: Annotated[
        float, typer.Option("--speed", metavar="N", help="How many times as fast as it was received; 0: at once.")
    ] = 120.0,
    config: ConfigFile = None,
) -> int:
    """Run the demo against a running broker."""
    if not math.isfinite(speed) or speed < 0.0:
        raise CommandError(f"--speed {speed:g}: not a number from 0 on")
    folder = Path(out)
    settings = _of_the_demo(read(config, bootstrap), folder)
    from apss_fusion.cli.running import stoppable
    from apss_fusion.cli.simulate import simulate
    from apss_fusion.simulation import DEMO
    from apss_fusion.streaming.clients import ClusterError, check_cluster
    from apss_fusion.streaming.deployment import read_deployment
    from apss_fusion.streaming.settings import SettingsError

    try:
        check_cluster(settings)
        say("simulating two hours of traffic and the satellites above it")
        made = simulate(DEMO, folder)
        _make_topics(settings, len(read_deployment(settings).regions))
    except (ClusterError, SettingsError) as error:
        raise CommandError(str(error)) from None
    pace = f"{speed:g} times as fast as they came" if speed else "all at once"
    say(f"{made.looks:,} looks of {made.sources} satellites go to {settings.topic('feeds.looks')}, {pace}")
    demo = _Demo(settings, folder, speed, config)
    try:
        with stoppable() as stop:
            # A terminal that is closed ends the demo's processes too.
            signal.signal(signal.SIGHUP, lambda number, frame: stop.request())
            demo.run(lambda: stop.requested)
    except ClusterError as error:
        raise CommandError(str(error), 1) from None
    if stop.requested:
        return _INTERRUPTED
    typer.echo(_report(demo.picture, settings, folder, demo.seconds))
    return 0


class _Demo:
    """A worker and a replay in processes of their own, and a subscriber here."""

    def __init__(self, settings: Settings, folder: Path, speed: float, config: str | None) -> None:
        from apss_fusion.streaming.live_picture import LivePicture

        self.picture = LivePicture()
        self.seconds = 0.0
        self._settings, self._folder, self._speed = settings, folder, speed
        self._config = () if config is None else ("--config", config)

    def run(self, stopped: Callable[[], bool]) -> None:
        """Show what comes until all that was published is fused; `CommandError` where a process fails."""
        from apss_fusion.streaming.subscriber import TrackSubscriber

        feed = str(self._folder / "looks.ndjson")
        began_s = quiet_since_s = time.monotonic()
        with (
            self._process("worker") as worker,
            self._process("replay", feed, "--speed", f"{self._speed:g}") as replay,
            TrackSubscriber(self._settings) as subscriber,
            _display() as show,
        ):
            while not stopped():
                updates = subscriber.poll()
                self.picture.take(updates)
                show(self.picture)
                now_s = time.monotonic()
                if updates:
                    quiet_since_s = now_s
                self._check(worker, "worker")
                if replay.poll() is None:
                    quiet_since_s = max(quiet_since_s, now_s - _QUIET_S)
                    continue
                self._check(replay, "replay")
                if now_s - quiet_since_s > _QUIET_S and self.picture.updates and self._is_done():
                    break
                if now_s - quiet_since_s > _PATIENCE_S:
                    raise CommandError(f"no track has come for {_PATIENCE_S:.0f} s; see {self._log('worker')}", 1)
            self.seconds = time.monotonic() - began_s

    def _is_done(self) -> bool:
        """Whether the worker says that no record waits for it."""
        worker = self._settings.worker
        connection = http.client.HTTPConnection(worker.http_host, worker.http_port or 0, timeout=2.0)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            # It is being started again.
            return False
        finally:
            connection.close()
        waiting = re.findall(r"^apss_input_lag_records\{.*\} (\S+)$", text, re.MULTILINE)
        return bool(waiting) and not any(map(float, waiting))

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _check(self, process: subprocess.Popen[bytes], name: str) -> None:
        """`CommandError` if a process has failed."""
        status = process.poll()
        if status is None or (name == "replay" and status == 0):
            return
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = lines[-1].removeprefix("apss-fusion: ") if lines else f"status {status}"
        raise CommandError(f"the {name} has ended: {said} ({self._log(name)})", 1)

    @contextmanager
    def _process(self, name: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command of this program, which is ended in order at the end."""
        command = [sys.executable, "-m", "apss_fusion.cli", name, *words, *self._config]
        with self._log(name).open("wb") as log:
            # In a session of its own: Ctrl-C comes to this process alone, which ends the others.
            process = subprocess.Popen(  # noqa: S603
                command,
                env={**os.environ, **_environment(self._settings)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(self._settings.worker.stop_s + _STOP_MARGIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _of_the_demo(settings: Settings, folder: Path) -> Settings:
    """Settings of a deployment of its own in the same cluster."""
    from msgspec.structs import replace

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return replace(
        settings,
        sources=str((folder / "sources.toml").absolute()),
        formats=("looks",),
        topics=replace(settings.topics, prefix=settings.topics.prefix + _PREFIX, feed_partitions=1),
        worker=replace(settings.worker, group=f"{settings.worker.group}-demo", http_host="127.0.0.1", http_port=port),
    )


def _environment(settings: Settings) -> dict[str, str]:
    """What makes the settings of a process those of the demo; all else comes from the file and the environment."""
    return {
        "APSS_BOOTSTRAP": settings.bootstrap,
        "APSS_SOURCES": settings.sources or "",
        "APSS_FORMATS": "looks",
        "APSS_TOPICS_PREFIX": settings.topics.prefix,
        "APSS_TOPICS_FEED_PARTITIONS": str(settings.topics.feed_partitions),
        "APSS_WORKER_GROUP": settings.worker.group,
        "APSS_WORKER_HTTP_HOST": settings.worker.http_host,
        "APSS_WORKER_HTTP_PORT": str(settings.worker.http_port),
    }


def _make_topics(settings: Settings, regions: int) -> None:
    """Make the demo's topics, empty: those of an earlier demo are deleted, by their full names."""
    from apss_fusion.streaming.clients import admin_client
    from apss_fusion.streaming.topic_admin import apply_topics, find_topics
    from apss_fusion.streaming.topic_data import topic_specs

    names = [spec.name for spec in topic_specs(settings, regions)]
    with admin_client(settings) as client:
        old = sorted(find_topics(client, settings, names))
        if old:
            client.delete_topics(old)
            until_s = time.monotonic() + _STOP_MARGIN_S
            while find_topics(client, settings, old) and time.monotonic() < until_s:
                time.sleep(0.1)
    apply_topics(settings, regions, lambda line: None)


@contextmanager
def _display() -> Iterator[Callable[[LivePicture], None]]:
    """Shows the picture: a table where standard error is a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    from rich.console import Console
    from rich.live import Live as Display

    with Display(console=Console(stderr=True), refresh_per_second=4, transient=True) as display:
        yield lambda picture: display.update(_table(picture))


class _Lines:
    """A line when there is something new, at most every few seconds."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()
        self._updates = 0

    def show(self, picture: LivePicture) -> None:
        if picture.updates == self._updates or time.monotonic() < self._told_s + _LINE_S:
            return
        self._told_s, self._updates = time.monotonic(), picture.updates
        say(_state(picture))


def _state(picture: LivePicture) -> str:
    from apss_fusion.cli.words import count, kinds

    at = "" if picture.time is None else f"{picture.time:%H:%M:%SZ}: "
    domains = kinds(picture.by_domain())
    tracks = count(len(picture.tracks), "live track", "live tracks")
    return f"{at}{tracks}{f' ({domains})' if domains else ''}; {count(picture.updates, 'update', 'updates')} so far"


def _table(picture: LivePicture) -> Any:
    from rich import box
    from rich.table import Table

    title = _state(picture) if picture.updates else "waiting for the first track"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for name in ("time", "status", "", "name", "position", "knots", "sources", "nations"):
        table.add_column(name, justify="right" if name in ("knots", "sources", "nations") else "left", no_wrap=True)
    for status, track in picture.newest:
        table.add_row(
            f"{track.time:%H:%M:%S}",
            status.lower(),
            _KINDS.get(track.domain, ""),
            track.name,
            f"{track.lat:8.4f} {track.lon:9.4f}",
            f"{track.speed_mps * 3600 / 1852:.0f}",
            str(track.sources),
            str(track.nations),
        )
    return table


def _report(picture: LivePicture, settings: Settings, folder: Path, seconds: float) -> str:
    from apss_fusion.cli.words import kinds

    several = sum(track.nations > 1 for track in picture.tracks.values())
    prefix = settings.topics.prefix
    return "\n".join(
        [
            f"{picture.updates:,} updates of {picture.seen:,} tracks came in {seconds:.0f} s; {picture.ended:,} have ended.",
            f"Live at the end: {kinds(picture.by_domain()) or 'none'}; {several:,} of them are known from satellites of "
            "more than one nation.",
            "",
            "The picture stays in the cluster. A subscriber that comes now begins with it:",
            f"APSS_TOPICS_PREFIX={prefix} apss-fusion subscribe --bootstrap {settings.bootstrap} --picture",
            f"What the worker said is in {folder / 'worker.log'}.",
        ]
    )
