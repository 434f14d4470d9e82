"""Where tests may let a worker die: ``APSS_FAIL_AT=POINT:N`` ends this process at the N-th pass of a point.

``APSS_FAIL_SIGNAL`` names the signal (KILL; STOP freezes the process), ``APSS_FAIL_ONCE`` a file that is made then:
while it is there, nothing happens, so that the next process goes on. Without the first, a pass costs one comparison.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_POINT, _, _COUNT = os.environ.get("APSS_FAIL_AT", "").partition(":")
_SIGNAL = signal.Signals["SIG" + os.environ.get("APSS_FAIL_SIGNAL", "KILL")]
_ONCE = os.environ.get("APSS_FAIL_ONCE")
_passes = 0


def fail_point(name: str) -> None:
    """Pass a point."""
    global _passes
    if name != _POINT:
        return
    _passes += 1
    if _passes == int(_COUNT) and not (_ONCE and Path(_ONCE).exists()):
        if _ONCE:
            Path(_ONCE).touch()
        os.kill(os.getpid(), _SIGNAL)
