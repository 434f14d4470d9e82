"""Workers as a user starts them, each a supervisor and the process that it keeps going."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

_COMMAND = [sys.executable, "-m", "apss_fusion.cli", "worker"]
_STOP_S = 30.0
_HAS = re.compile(r"has (\d+) partitions, (\d+) of them new")


class Worker:
    """One worker, whose log is a file. It runs in the folder `home`, or here; `environment` stands above ours."""

    def __init__(self, config: Path, log: Path, home: Path | None = None, **environment: str) -> None:
        self.log_path = log
        if home is not None:
            home.mkdir(exist_ok=True)
            environment |= {"HOME": str(home), "TMPDIR": str(home)}
        with log.open("ab") as out:
            self._supervisor = subprocess.Popen(  # noqa: S603
                [*_COMMAND, "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **environment},
                cwd=home,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def starts(self) -> int:
        """How many processes it has begun."""
        return 1 + self.log.count("; starts again")

    @property
    def status(self) -> int | None:
        """Exit status of the supervisor; None while it runs."""
        return self._supervisor.poll()

    @property
    def takeovers(self) -> int:
        """How often it has had its partitions."""
        return len(_HAS.findall(self.log))

    def process(self) -> int | None:
        """The number of the process that works; None between two."""
        listed = subprocess.run(  # noqa: S603
            ["pgrep", "-P", str(self._supervisor.pid)],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        return int(listed[0]) if listed else None

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to the process that works; whether there was one."""
        pid = self.process()
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def kill(self) -> bool:
        """Kill the process that works; its supervisor starts another."""
        return self.signal(signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """Kill the supervisor alone; its process ends by itself."""
        self._supervisor.kill()
        self._supervisor.wait()

    def stop(self) -> int:
        """End it in order, as a service manager does; its exit status."""
        self._supervisor.terminate()
        try:
            return self._supervisor.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.end()
            return self._supervisor.wait()

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; the exit status, None where it goes on."""
        try:
            return self._supervisor.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Kill both."""
        pid = self.process()
        self._supervisor.kill()
        self._supervisor.wait()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                os.kill(pid, signal.SIGCONT)

    def await_partitions(self, seconds: float, after: int = 0) -> None:
        """Wait until it has taken over partitions more often than `after`."""
        until_s = time.monotonic() + seconds
        while self.takeovers <= after:
            if self.status is not None:
                raise AssertionError(f"the worker ended with status {self.status}: {self.log[-2000:]}")
            if time.monotonic() > until_s:
                raise AssertionError(f"the worker has no partitions within {seconds:g} s: {self.log[-2000:]}")
            time.sleep(0.05)
