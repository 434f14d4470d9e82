"""Whole lines to a file, a compressed file or standard output: also when the disk is full or the program is stopped."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
import zlib
from types import TracebackType
from typing import BinaryIO, Self, cast

#: A compressed file is a row of gzip members of about this many bytes of text each.
_MEMBER = 1 << 20
_GZIP_LEVEL = 1
_GZIP_WBITS = 31
_NEWLINE = b"\n"


class LineFile:
    """Lines to `path`; a name that ends in ``.gz`` is compressed, and ``-`` is standard output.

    Nothing but whole lines is left in a file: a write that fails part way (or is interrupted) is cut back to its last
    whole line. A pipe gets whole lines in portions that the system writes at once (PIPE_BUF), longer lines excepted.
    A compressed file is a valid one after each portion, as gzip members follow each other (RFC 1952).

    Raises
    ------
    OSError
        Here and from `write`, `flush` and `close`: what the system says (no such folder, disk full, broken pipe).
        After one of `write` or `flush`, what was not written yet is dropped.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._own = path != "-"
        self._stream: BinaryIO = open(path, "wb", buffering=0) if self._own else _standard_output()
        self._regular = _is_regular(self._stream)
        if self._regular and not self._own:
            self._stream.seek(0, io.SEEK_END)
        self._compressed = self._own and os.fspath(path).endswith(".gz")
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._empty = True
        self._closed = False

    def write(self, lines: bytes | bytearray | memoryview) -> None:
        """Write whole lines (each with its newline)."""
        if self._compressed:
            self._pending.append(bytes(lines))
            self._pending_size += len(lines)
            if self._pending_size >= _MEMBER:
                self.flush()
        elif self._regular:
            self._append(memoryview(lines))
        else:
            for portion in _portions(memoryview(lines)):
                self._append(portion)

    def flush(self) -> None:
        """Hand all that was written to the system."""
        if self._pending_size:
            text = b"".join(self._pending)
            self._pending.clear()
            self._pending_size = 0
            self._append(memoryview(_member(text)))

    def close(self) -> None:
        """Flush and close (standard output is left open); a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
            if self._compressed and self._empty:
                self._append(memoryview(_member(b"")))
        finally:
            if self._own:
                self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, data: memoryview) -> None:
        self._empty = False
        start = self._stream.tell() if self._regular else 0
        done = 0
        try:
            while done < len(data):
                n = self._stream.write(data[done:])
                if n is None:
                    raise BlockingIOError(errno.EAGAIN, "standard output does not take more now")
                done += n
        except BaseException:
            # The position, not `done`: an interrupt may come between the writing and the counting.
            if self._regular:
                with contextlib.suppress(OSError):
                    self._cut_back(start, data)
            raise

    def _cut_back(self, start: int, data: memoryview) -> None:
        written = bytes(data[: self._stream.tell() - start])
        whole = 0 if self._compressed else written.rfind(_NEWLINE) + 1
        self._stream.seek(start + whole)
        self._stream.truncate()


def _standard_output() -> BinaryIO:
    sys.stdout.flush()
    buffer = sys.stdout.buffer
    return cast(BinaryIO, getattr(buffer, "raw", buffer))


def _is_regular(stream: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def _member(text: bytes) -> bytes:
    return zlib.compress(text, _GZIP_LEVEL, _GZIP_WBITS)


def _portions(lines: memoryview) -> list[memoryview]:
    """Cut between lines, into portions of PIPE_BUF bytes at most where the lines are not longer."""
    text = bytes(lines)
    portions = []
    start = 0
    while start < len(text):
        end = text.rfind(_NEWLINE, start, start + select.PIPE_BUF) + 1 or text.find(_NEWLINE, start) + 1 or len(text)
        portions.append(lines[start:end])
        start = end
    return portions
