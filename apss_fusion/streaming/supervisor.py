"""Keeps one worker going: another process after each that ends by itself, sooner or later by how long it lived.

A worker's only answer to an error is to end, so something must start it again. Under systemd or Kubernetes that may do
it instead: then `apss-fusion worker --once`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

import msgspec

from apss_fusion.streaming.settings import Settings

#: Where the process finds the settings, and the supervisor's process number.
SETTINGS, PARENT = "APSS_PROCESS_SETTINGS", "APSS_PROCESS_PARENT"
#: Exit status of a process that would find the same wrong again: it is not started anew.
UNUSABLE = 2
_INTERRUPTED = 130
_FIRST_WAIT_S, _LONGEST_WAIT_S, _HEALTHY_S = 0.5, 15.0, 30.0
#: More than the process gives itself to stop.
_STOP_MARGIN_S = 5.0


def supervise(settings: Settings, once: bool = False) -> int:
    """Run a worker until SIGTERM or SIGINT, or `once`: until its first process ends.

    Returns 0, after SIGINT 130, 1 if the one process failed, 2 if what was asked for cannot be.
    """
    return _Supervisor(settings).run(once)


class _Supervisor:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopping = threading.Event()
        self._interrupted = False
        self._process: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._interrupted = number == signal.SIGINT
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def run(self, once: bool) -> int:
        wait_s = _FIRST_WAIT_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            status = self._run_one()
            lived_s = time.monotonic() - began_s
            if self._stopping.is_set():
                break
            if status == UNUSABLE:
                return UNUSABLE
            if once:
                return 1 if status else 0
            if lived_s > _HEALTHY_S:
                wait_s = _FIRST_WAIT_S
            print(f"worker ended with {_told(status)} after {lived_s:.1f} s; starts again", file=sys.stderr, flush=True)
            self._stopping.wait(wait_s)
            wait_s = min(2.0 * wait_s, _LONGEST_WAIT_S)
        return _INTERRUPTED if self._interrupted else 0

    def _run_one(self) -> int:
        environment = {
            **os.environ,
            SETTINGS: msgspec.json.encode(self._settings).decode(),
            PARENT: str(os.getpid()),
        }
        command = [sys.executable, "-m", "apss_fusion.streaming.process"]
        # In a session of its own: Ctrl-C comes to the supervisor alone, which stops it in order.
        self._process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603
        if self._stopping.is_set():
            self._process.terminate()
        until_s = None
        while True:
            try:
                return self._process.wait(0.2)
            except subprocess.TimeoutExpired:
                if self._stopping.is_set():
                    until_s = until_s or time.monotonic() + self._settings.worker.stop_s + _STOP_MARGIN_S
                    if time.monotonic() > until_s:
                        self._process.kill()


def _told(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
