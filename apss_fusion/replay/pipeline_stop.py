"""How a run is asked to end early, and does so between two chunks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast


class Interrupted(BaseException):
    """Raised by whoever asks a run to stop while it waits for input that may never come."""


class Stop:
    """A wish to stop, and whether the run waits for input."""

    def __init__(self) -> None:
        self.requested = False
        self.waiting = False

    @contextmanager
    def waits(self) -> Iterator[None]:
        """While within, :meth:`request` raises instead of being noticed at the next chunk."""
        self.waiting = True
        try:
            if self.requested:
                raise Interrupted
            yield
        finally:
            self.waiting = False

    def request(self) -> None:
        """Ask for the end; raises :class:`Interrupted` where the run waits. Made to be called by a signal's handler."""
        self.requested = True
        if self.waiting:
            self.waiting = False
            raise Interrupted


class _Waiting:
    """A stream whose reads wait for another program: each gives what there is, and can be interrupted without loss."""

    def __init__(self, stream: BinaryIO, stop: Stop) -> None:
        self._stream = stream
        self._stop = stop

    def read(self, size: int = -1) -> bytes:
        with self._stop.waits():
            if size is None or size < 0:
                return self._stream.read()
            return self._stream.read1(size)  # type: ignore[attr-defined]

    read1 = read


def interruptible(stream: BinaryIO, stop: Stop) -> BinaryIO:
    """The stream with reads that `stop` can interrupt. Of the methods of a stream it has `read` and `read1`."""
    return cast(BinaryIO, _Waiting(stream, stop))
