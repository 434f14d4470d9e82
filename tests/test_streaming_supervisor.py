"""The supervisor: another process after each that ends, signals passed on, nothing left running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka_tools import wait_until

from apss_fusion.streaming import supervisor
from apss_fusion.streaming.settings import Settings, Worker
from apss_fusion.streaming.supervisor import PARENT, SETTINGS

# ---------------------------------------------------------------------------------------- in this process


class Rig(supervisor._Supervisor):
    """A supervisor whose processes end as they are told to; the time between them is only noted."""

    def __init__(self, lives: list[tuple[int, float]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(supervisor.signal, "signal", lambda number, handler: None)
        super().__init__(Settings())
        self.lives, self.waits, self.now_s = lives, [], 0.0
        monkeypatch.setattr(supervisor.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(self._stopping, "wait", self.waits.append)

    def _run_one(self) -> int:
        status, lived_s = self.lives.pop(0)
        self.now_s += lived_s
        if not self.lives:
            self._stop(signal.SIGTERM, None)
        return status


def test_waits_grow_while_processes_die_young(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lives = [(1, 2.0)] * 7 + [(-9, 31.0), (70, 1.0), (0, 5.0)]
    rig = Rig(lives.copy(), monkeypatch)
    assert rig.run(once=False) == 0
    assert rig.waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 0.5, 1.0]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 9
    assert told[0] == "worker ended with status 1 after 2.0 s; starts again"
    assert told[7] == "worker ended with signal SIGKILL after 31.0 s; starts again"


@pytest.mark.parametrize(("status", "told"), [(0, 0), (70, 1), (-11, 1), (2, 2)])
def test_once_ends_with_the_first_process(status: int, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig([(status, 2.0), (0, 0.0)], monkeypatch)
    assert rig.run(once=True) == told
    assert rig.waits == []


# ---------------------------------------------------------------------------------------- in processes of their own

#: A supervisor whose worker is a script.
SUPERVISE = """
import sys
from apss_fusion.streaming import supervisor
from apss_fusion.streaming.settings import Settings, Worker
supervisor._FIRST_WAIT_S, supervisor._STOP_MARGIN_S = 0.05, 0.3
sys.executable = sys.argv[1]
sys.exit(supervisor.supervise(Settings(worker=Worker(group="gruß", stop_s=0.2)), once="once" in sys.argv))
"""
#: A worker's process.
WORKER = f"""#!{sys.executable}
import os, signal, sys, time
def note(text):
    with open({{notes!r}}, "a") as file:
        file.write(f"{{{{os.getpid()}}}} {{{{text}}}}\\n")
def term(number, frame):
    note("asked to end")
    if {{deed!r}} != "stubborn":
        sys.exit(0)
signal.signal(signal.SIGTERM, term)
note("began " + os.environ["{SETTINGS}"])
if {{deed!r}} == "fail":
    sys.exit(7)
if {{deed!r}} == "orphan":
    from apss_fusion.streaming.process import _end_without
    _end_without(int(os.environ["{PARENT}"]))
while True:
    time.sleep(60)
"""


class Supervised:
    """A supervisor of a scripted worker, and what the worker noted."""

    def __init__(self, folder: Path, deed: str, *words: str) -> None:
        self.notes = folder / "notes"
        self.notes.touch()
        script = folder / "worker"
        script.write_text(WORKER.format(notes=str(self.notes), deed=deed), encoding="utf-8")
        script.chmod(0o755)
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", SUPERVISE, str(script), *words], stderr=subprocess.PIPE, text=True
        )

    def noted(self, what: str) -> list[tuple[int, str]]:
        lines = [line.split(" ", 1) for line in self.notes.read_text(encoding="utf-8").splitlines()]
        return [(int(pid), text) for pid, text in lines if text.startswith(what)]


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Any]:
    made: list[Supervised] = []

    def make(deed: str, *words: str) -> Supervised:
        made.append(Supervised(tmp_path, deed, *words))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()
        for pid, _ in one.noted("began"):
            if running(pid):
                os.kill(pid, signal.SIGKILL)
        # The worker had its standard error too.
        one.process.communicate()


def running(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_fails_is_started_again(supervised: Any) -> None:
    one = supervised("fail")
    wait_until(lambda: len(one.noted("began")) >= 3, 30, "three processes")
    assert len({pid for pid, _ in one.noted("began")}) >= 3
    # All get the same settings.
    texts = {text.removeprefix("began ") for _, text in one.noted("began")}
    assert len(texts) == 1
    expected = Settings(worker=Worker(group="gruß", stop_s=0.2))
    assert msgspec.json.decode(texts.pop(), type=Settings) == expected
    one.process.terminate()
    _, err = one.process.communicate(timeout=30)
    assert one.process.returncode == 0
    assert err.splitlines()[0].startswith("worker ended with status 7 after ")


def test_once(supervised: Any) -> None:
    one = supervised("fail", "once")
    _, err = one.process.communicate(timeout=30)
    assert one.process.returncode == 1
    assert err == ""
    assert len(one.noted("began")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_waited_for(supervised: Any, number: int) -> None:
    one = supervised("wait")
    ((pid, _),) = wait_until(lambda: one.noted("began"), 30, "a process")
    one.process.send_signal(number)
    _, err = one.process.communicate(timeout=30)
    assert one.process.returncode == (130 if number == signal.SIGINT else 0)
    assert one.noted("asked to end") == [(pid, "asked to end")]
    assert not running(pid)
    assert err == ""


def test_a_process_that_does_not_stop_is_killed(supervised: Any) -> None:
    one = supervised("stubborn")
    ((pid, _),) = wait_until(lambda: one.noted("began"), 30, "a process")
    one.process.terminate()
    one.process.communicate(timeout=30)
    assert one.process.returncode == 0
    assert one.noted("asked to end")
    assert not running(pid)


def test_nothing_goes_on_without_its_supervisor(supervised: Any) -> None:
    one = supervised("orphan")
    ((pid, _),) = wait_until(lambda: one.noted("began"), 30, "a process")
    assert running(pid)
    one.process.kill()
    wait_until(lambda: not running(pid), 30, "the end of the process")
    # By itself.
    assert not one.noted("asked to end")


def test_ctrl_c_comes_to_the_supervisor_alone(supervised: Any) -> None:
    one = supervised("wait")
    ((pid, _),) = wait_until(lambda: one.noted("began"), 30, "a process")
    assert os.getsid(pid) != os.getsid(one.process.pid)


# ---------------------------------------------------------------------------------------- the process itself


def test_a_port_that_is_taken_ends_the_process_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        settings = Settings(bootstrap="127.0.0.1:1", worker=Worker(http_port=port), formats=("looks",))
        environment = {**os.environ, SETTINGS: msgspec.json.encode(settings).decode(), PARENT: str(os.getpid())}
        done = subprocess.run(
            [sys.executable, "-m", "apss_fusion.streaming.process"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"ERROR apss_fusion.streaming.process: ends: 127.0.0.1:{port}: " in line
