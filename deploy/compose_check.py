"""Bring docker-compose.kafka.yml up for real, wait for the demo's tracks in the topic `tracks`, print counts, take it down.

Under a name and on ports of its own: a deployment of the same file that runs beside it keeps its data. Needs Docker and
its compose (either kind), and kafka-python. Exit status 2: they are missing; 1: something did not come in time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from deploy.kafka import free_ports

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docker-compose.kafka.yml"
PROJECT = "apss-fusion-check"
WORKERS = 2
#: Most seconds for: the image with its kernels; broker, topics and the demo's feed; all tracks; the way down.
BUILD_S, UP_S, TRACKS_S, DOWN_S = 2400.0, 600.0, 600.0, 120.0
#: The tracks have all come when the feed is replayed and there was no new one for so long.
_QUIET_S = 10.0
_TRACKS, _DEAD_LETTERS = "tracks", "deadletters"


class CheckError(Exception):
    """What did not come, in one line."""


class Compose:
    """The compose file under a project's name of its own."""

    def __init__(self, words: Sequence[str], port: int) -> None:
        self.words = [*words, "-f", str(FILE), "-p", PROJECT]
        self.environment = {**os.environ, "KAFKA_PORT": str(port), "DEMO_SPEED": "0"}

    def run(self, *words: str, seconds: float, quiet: bool = False) -> str:
        """Run a command of compose. Its output, where it is `quiet`; else that goes to standard error."""
        out = subprocess.PIPE if quiet else sys.stderr
        try:
            done = subprocess.run(  # noqa: S603
                [*self.words, *words], env=self.environment, stdout=out, text=True, check=False, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise CheckError(f"compose {' '.join(words)}: not within {seconds:.0f} s") from None
        if done.returncode:
            raise CheckError(f"compose {' '.join(words)}: exit status {done.returncode}")
        return done.stdout or ""

    def states(self, service: str) -> list[tuple[str, int, str]]:
        """Of each container of a service: its state, its exit status, its health (or none)."""
        found = self.run("ps", "-a", "-q", service, seconds=60.0, quiet=True).split()
        form = "{{.State.Status}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{else}}-{{end}}"
        states = []
        for container in found:
            told = _output(["docker", "inspect", "--format", form, container]).split()
            states.append((told[0], int(told[1]), told[2]))
        return states


def main() -> int:
    """Check, and say in one line what came of it."""
    words = _compose_words()
    if words is None:
        _say("needs a running Docker, and docker compose or docker-compose")
        return 2
    port = free_ports(1)[0]
    compose = Compose(words, port)
    try:
        _say("builds the image; its kernels take some minutes of processor time")
        # The services have one image in common.
        compose.run("build", "worker", seconds=BUILD_S)
        began_s = time.monotonic()
        _say("starts broker, topics, demo, workers and replay")
        compose.run("up", "-d", "--no-build", "--scale", f"worker={WORKERS}", seconds=UP_S)
        print(_counted(compose, f"localhost:{port}", began_s))
        return 0
    except (CheckError, OSError, KafkaError) as error:
        _say(str(error))
        _tell_logs(compose)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        compose.run("down", "-v", "--timeout", "20", seconds=DOWN_S)


def _counted(compose: Compose, bootstrap: str, began_s: float) -> str:
    """Wait until all tracks of the demo have come, and count them."""
    healthy = [("running", 0, "healthy")] * WORKERS
    _wait(lambda: compose.states("worker") == healthy, f"{WORKERS} healthy workers")
    updates = Counter[str]()
    picture: dict[bytes, dict[str, Any]] = {}
    last_s = time.monotonic()
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    partitions = [TopicPartition(_TRACKS, number) for number in sorted(consumer.partitions_for_topic(_TRACKS) or ())]
    if not partitions:
        raise CheckError(f"there is no topic {_TRACKS}")
    consumer.assign(partitions)
    until_s = time.monotonic() + TRACKS_S
    first_s = None
    while True:
        for messages in consumer.poll(timeout_ms=500).values():
            for message in messages:
                last_s = time.monotonic()
                first_s = first_s or last_s
                if message.value is None:
                    picture.pop(message.key, None)
                else:
                    picture[message.key] = json.loads(message.value)
                    updates[picture[message.key]["status"]] += 1
        replayed = compose.states("replay")
        if any(state == "exited" and status for state, status, _ in replayed):
            raise CheckError("the replay failed")
        over = [state for state, _, _ in replayed] == ["exited"]
        if updates and over and time.monotonic() > last_s + _QUIET_S:
            break
        if time.monotonic() > until_s:
            raise CheckError(f"after {TRACKS_S:.0f} s: {updates.total()} updates; replay over: {over}")
    dead = [TopicPartition(_DEAD_LETTERS, number) for number in consumer.partitions_for_topic(_DEAD_LETTERS) or ()]
    dead_letters = sum(consumer.end_offsets(dead).values()) if dead else 0
    consumer.close()
    if not updates["CONFIRMED"]:
        raise CheckError(f"no track was confirmed: {dict(updates)}")
    return (
        f"{updates.total():,} updates ({', '.join(f'{count:,} {status}' for status, count in sorted(updates.items()))}), "
        f"{len(picture):,} tracks at the end, {dead_letters:,} dead letters, {WORKERS} healthy workers; the first update "
        f"after {(first_s or last_s) - began_s:.0f} s, the last after {last_s - began_s:.0f} s"
    )


def _wait(condition: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + TRACKS_S
    while not condition():
        if time.monotonic() > until_s:
            raise CheckError(f"not within {TRACKS_S:.0f} s: {what}")
        time.sleep(1.0)


def _compose_words() -> list[str] | None:
    """How compose is called here; none where it, or Docker, is not there."""
    if shutil.which("docker") is None or not _output(["docker", "info", "--format", "{{.ServerVersion}}"]):
        return None
    return next((words for words in (["docker", "compose"], ["docker-compose"]) if _output([*words, "version"])), None)


def _output(words: list[str]) -> str:
    """What a command prints; nothing where it is not there or fails."""
    if shutil.which(words[0]) is None:
        return ""
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() if done.returncode == 0 else ""


def _tell_logs(compose: Compose) -> None:
    try:
        compose.run("logs", "--tail", "30", seconds=60.0)
    except CheckError as error:
        _say(str(error))


def _say(line: str) -> None:
    print(f"compose-check: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
