"""The files that a run writes: checked before anything is written, opened together, closed together."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import orjson

from apss_fusion.feeds.base import Reject
from apss_fusion.outputs.line_file import LineFile
from apss_fusion.replay.pipeline_lines import dead_letter_json

STANDARD_OUTPUT = "-"

_Closable = TypeVar("_Closable", bound="Closable")


class RunError(Exception):
    """Why a run cannot begin, or did not come to its end: one line, and the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Closable(Protocol):
    """What is closed at the end."""

    def close(self) -> None:
        """Write what is left and close; `OSError` where that fails."""


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Let an `OSError` name the file that it is about."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error


def check_outputs(outputs: Mapping[str, str | None], inputs: Sequence[str]) -> None:
    """Whether the files that options name can be written, none of them an input or the output of another option.

    Raises
    ------
    RunError
        Of status 2.
    """
    given = {option: path for option, path in outputs.items() if path is not None}
    for option, path in given.items():
        if not path:
            raise RunError(f"{option}: the name is empty", 2)
        if path != STANDARD_OUTPUT:
            _check_file(option, path)
        elif option == "--save":
            raise RunError("--save -: a state cannot go to standard output", 2)
    if sum(path == STANDARD_OUTPUT for path in given.values()) > 1:
        options = " and ".join(option for option, path in given.items() if path == STANDARD_OUTPUT)
        raise RunError(f"{options}: only one can go to standard output", 2)
    for option, path in given.items():
        for name in inputs:
            if _is_same_file(path, name):
                raise RunError(f"{option} {path}: this is an input, which would be overwritten", 2)
        for other, path_of_other in given.items():
            if other < option and _is_same_file(path, path_of_other):
                raise RunError(f"{option} {path}: this is the file of {other}", 2)


def _check_file(option: str, path: str) -> None:
    folder = os.path.dirname(path) or "."
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None
    except (OSError, ValueError) as error:
        raise RunError(f"{option} {path}: {getattr(error, 'strerror', None) or error}", 2) from None
    if mode is not None and stat.S_ISDIR(mode):
        raise RunError(f"{option} {path}: Is a directory", 2)
    if mode is None and not os.path.isdir(folder):
        raise RunError(f"{option} {path}: there is no folder {folder}", 2)
    if not os.access(folder if mode is None else path, os.W_OK):
        raise RunError(f"{option} {path}: Permission denied", 2)
    if mode is not None and option == "--save" and not stat.S_ISREG(mode):
        raise RunError(f"{option} {path}: not a regular file", 2)


def _is_same_file(a: str, b: str) -> bool:
    if STANDARD_OUTPUT in (a, b):
        return False
    try:
        return os.path.samefile(a, b) and stat.S_ISREG(os.stat(a).st_mode)
    except (OSError, ValueError):
        return os.path.abspath(a) == os.path.abspath(b)


class Lines:
    """A `LineFile` whose errors name it; for no path one that keeps nothing."""

    def __init__(self, path: str | None) -> None:
        self._path = path or ""
        self._file: LineFile | None = None
        self.written = 0
        if path is not None:
            with naming(path):
                self._file = LineFile(path)

    @property
    def is_kept(self) -> bool:
        """Whether lines go anywhere."""
        return self._file is not None

    def write(self, line: bytes) -> None:
        """Write a line, with its newline."""
        if self._file is not None:
            with naming(self._path):
                self._file.write(line)
            self.written += 1

    def close(self) -> None:
        """Write what is left and close."""
        if self._file is not None:
            self._file.close()


class DeadLetters(Lines):
    """What was not used of the inputs, a line each."""

    def put(self, reject: Reject, file: str) -> None:
        """Write what was not used of an input."""
        if self.is_kept:
            self.write(dead_letter_json(reject, file))


class Closing:
    """A context manager that closes what was added to it, all of it, in the order in which it was added."""

    def __init__(self) -> None:
        self._open: list[tuple[str, Closable]] = []

    def add(self, path: str | None, file: _Closable) -> _Closable:
        """Close this too, whose errors name its path; returns it."""
        self._open.append((path or "", file))
        return file

    def close(self) -> None:
        """Close everything; the first `OSError` is raised after all was tried."""
        failure: OSError | None = None
        while self._open:
            path, file = self._open.pop(0)
            try:
                with naming(path):
                    file.close()
            except OSError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:
                raise


def write_summary(path: str | None, summary: Mapping[str, Any]) -> None:
    """Write the summary of a run as JSON, for no path nowhere."""
    if path is not None:
        with naming(path), LineFile(path) as file:
            file.write(orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
