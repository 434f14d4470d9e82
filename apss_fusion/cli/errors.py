"""What goes wrong, as one line on standard error and an exit status."""

from __future__ import annotations

import sys


class CommandError(Exception):
    """Why a command cannot begin (status 2) or has failed (status 1)."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def say(line: str) -> None:
    """One line on standard error, from this program."""
    # A name from the command line may hold bytes that are no text.
    text = line.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    sys.stderr.write(f"apss-fusion: {text}\n")
    sys.stderr.flush()


def problem(name: str, error: OSError) -> CommandError:
    """An error of the system about a file, found before anything was written."""
    return CommandError(f"{name}: {error.strerror or error}")
