"""Inputs by name: opened, decompressed, their format told by content, read into items that are all accounted for.

An input that cannot be used is an :class:`InputError`. Its status tells what happened: 2, the input is not there or in
no known format, found before its first item; 1, reading failed part way, after all items before the fault were given.
"""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Iterator
from gzip import GzipFile
from types import TracebackType
from typing import BinaryIO, cast

from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.feeds.registry import HEAD_BYTES, decoder_named, decoders, recognise
from apss_fusion.model import DeadLetter, Look

#: Longest record that a dead letter quotes, in characters.
MAX_RECORD_CHARACTERS = 4096

_BLOCK_BYTES = 2**16
_GZIP_MAGIC = b"\x1f\x8b"
#: An archive that was compressed once more for its transport is read; one that holds itself is not read for ever.
_MAX_GZIP_LAYERS = 2
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class InputError(Exception):
    """An input that cannot be read: its name, the reason, and the exit status (1 part way, 2 before its first item)."""

    def __init__(self, name: str, reason: str, status: int) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason
        self.status = status


class Input:
    """An open input: its `name`, whether it `is_gzip`, its decompressed bytes as the buffered `stream`.

    Whatever goes wrong while the stream is read (a failing disk, a truncated or damaged gzip file) is raised from it as
    an :class:`InputError` of status 1, after all bytes before the fault have been read.
    """

    def __init__(self, name: str, file: io.BufferedReader, *, close_file: bool = True) -> None:
        self.name = name
        self._file = file
        self._close_file = close_file
        self._guard = _Guard(name, file)
        self.is_gzip = False
        for _ in range(_MAX_GZIP_LAYERS):
            if self._guard.head(len(_GZIP_MAGIC)) != _GZIP_MAGIC:
                break
            self._guard = _Guard(name, GzipFile(fileobj=_GuardedReader(self._guard)))
            self.is_gzip = True
        self.stream: BinaryIO = _GuardedReader(self._guard)

    def peek(self, size: int) -> bytes:
        """The first `size` bytes, fewer only where the input is shorter. To be called before the stream is read."""
        head = self._guard.head(size)
        if not head:
            self.check()
        return head

    def check(self) -> None:
        """Raise the :class:`InputError` that ended the stream, if one did."""
        self._guard.check()

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if self._close_file:
            self._file.close()

    def __enter__(self) -> Input:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_input(path: str | os.PathLike[str]) -> Input:
    """Open a file, or standard input for ``-``, decompressed where the content is gzip.

    Raises :class:`InputError` of status 2 where there is no such file, it is a directory, may not be read, or is named
    ``.gz`` and holds something else.
    """
    name = os.fspath(path)
    if name == "-":
        if sys.stdin is None:
            raise InputError(name, "standard input is closed", status=2)
        return Input(name, cast(io.BufferedReader, sys.stdin.buffer), close_file=False)
    try:
        file = open(name, "rb")
    except (OSError, ValueError) as error:
        raise InputError(name, _reason(error), status=2) from error
    source = Input(name, file)
    if name.lower().endswith(".gz") and not source.is_gzip and source.peek(1):
        source.close()
        raise InputError(name, "its name ends in .gz, but it holds no gzip data", status=2)
    return source


class FeedReader:
    """Reads one input: finds its format, gives its items once, counts its records.

    Parameters
    ----------
    path : the input, ``-`` for standard input.
    format_name : the format, if it is not to be told by content (which needs the first 64 KiB of the input).

    Attributes
    ----------
    decoder : the decoder that reads the input; None for an empty input whose format was not given.
    records_in : records read so far = `records_used` + `records_ignored` + `dead_letters`.
    detections_rejected : bad detections of good looks: dead letters too, but no records.

    Raises
    ------
    InputError : of status 2, if the input cannot be opened, its format is not known or `format_name` is none.
    """

    def __init__(self, path: str | os.PathLike[str], format_name: str | None = None) -> None:
        self.records_in = 0
        self.records_used = 0
        self.records_ignored = 0
        self.dead_letters = 0
        self.detections_rejected = 0
        self.input = open_input(path)
        try:
            self.decoder = _decoder_for(self.input, format_name)
        except BaseException:
            self.input.close()
            raise

    def items(self) -> Iterator[Item]:
        """All items, in the order of the input; :class:`InputError` of status 1 where reading it fails part way."""
        with self.input:
            if self.decoder is None:
                return
            for item in self.decoder.items(self.input.stream):
                self._count(item)
                yield item
            self.input.check()

    def _count(self, item: Item) -> None:
        match item:
            case Look():
                self.records_in += 1
                self.records_used += 1
            case Decoded() | Used():
                self.records_in += item.records
                self.records_used += item.records
            case Ignored():
                self.records_in += item.records
                self.records_ignored += item.records
            case Reject(is_record=True):
                self.records_in += 1
                self.dead_letters += 1
            case Reject():
                self.detections_rejected += 1


def read_looks(path: str | os.PathLike[str], format: str | None = None) -> Iterator[Look]:
    """The looks of a recorded feed, in its order; what is no look or cannot become one is passed over.

    Parameters
    ----------
    path : the file, also gzipped; ``-`` for standard input.
    format : a format's name (``ais-csv``, ``ksat``, ...); by default it is told by content.

    Raises
    ------
    InputError : the file is not there or in no known format; or, after the looks before the fault, is damaged.
    """
    for item in FeedReader(path, format).items():
        if isinstance(item, Look):
            yield item
        elif isinstance(item, Decoded):
            yield item.look


def dead_letter(reject: Reject, file: str) -> DeadLetter:
    r"""The dead letter of a reject: its record cut to 4,096 characters, bytes that are no UTF-8 as ``\\xNN``."""
    record = reject.record
    if isinstance(record, str):
        record = record.encode("utf-8", "backslashreplace")
    if record is not None:
        # A character has four bytes at most: enough for the cut, and a long record is not decoded as a whole.
        record = record[: 4 * MAX_RECORD_CHARACTERS].decode("utf-8", "backslashreplace")[:MAX_RECORD_CHARACTERS]
    return DeadLetter(reason=reject.reason, field=reject.field, record=record, file=file, line=reject.line)


def _decoder_for(source: Input, format_name: str | None) -> Decoder | None:
    if format_name is not None:
        try:
            return decoder_named(format_name)()
        except ValueError as error:
            raise InputError(source.name, str(error), status=2) from error
    head = source.peek(HEAD_BYTES)
    if not head.removeprefix(_BYTE_ORDER_MARK).strip() and len(head) < HEAD_BYTES:
        return None
    decoder = recognise(head)
    if decoder is None:
        names = ", ".join(sorted(known.name for known in decoders()))
        raise InputError(source.name, f"no known format; --format NAME takes one of {names}", status=2)
    return decoder()


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


class _Guard(io.RawIOBase):
    """The bytes of a source up to its end or its first fault, which is kept.

    A buffered reader would lose the bytes that it collected when its raw stream raises; so the fault looks like the end
    of the data here, and :class:`_GuardedReader` raises it once the bytes before it have been read.
    """

    def __init__(self, name: str, source: io.BufferedIOBase) -> None:
        self._name = name
        self._source = source
        self._head = b""
        self._failure: InputError | None = None

    def readable(self) -> bool:
        return True

    def head(self, size: int) -> bytes:
        while len(self._head) < size and (data := self._next(_BLOCK_BYTES)):
            self._head += data
        return self._head[:size]

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = len(buffer)
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._next(size)
        buffer[: len(data)] = data
        return len(data)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _next(self, size: int) -> bytes:
        if self._failure is not None:
            return b""
        try:
            return self._source.read1(size)
        except InputError as error:
            self._failure = error
        except (OSError, EOFError, zlib.error) as error:
            self._failure = InputError(self._name, _reason(error), status=1)
        return b""


class _GuardedReader(io.BufferedReader):
    """Buffered bytes of a guard; where they end with its fault, the read that would show a false end raises it."""

    def __init__(self, guard: _Guard) -> None:
        super().__init__(guard, _BLOCK_BYTES)
        self._guard = guard

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if size is None or size < 0 or (size > 0 and not data):
            self._guard.check()
        return data

    def read1(self, size: int = -1, /) -> bytes:
        data = super().read1(size)
        if size != 0 and not data:
            self._guard.check()
        return data

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        size = super().readinto(buffer)
        if size == 0 and len(buffer) > 0:
            self._guard.check()
        return size

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if size != 0 and not line.endswith(b"\n") and (size is None or size < 0 or len(line) < size):
            self._guard.check()
        return line
