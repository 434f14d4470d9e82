"""What can be told of an input by its name and its first bytes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

import msgspec
from msgspec import Struct
from xxhash import xxh3_128_digest

from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.feeds.registry import decoders

_TABLE_MAGICS = (b"PAR1", b"ARROW1")
_FINGERPRINT_BYTES = 2**16


class _SourceId(Struct):
    source_id: str


_SOURCE_ID = msgspec.json.Decoder(_SourceId)


def printable(name: str) -> str:
    """A file's name as text: it may hold bytes that are none, which no output could hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _mode(name: str) -> int:
    try:
        return os.stat(name).st_mode
    except (OSError, ValueError):
        return 0


def is_pipe(name: str) -> bool:
    """Whether reading may wait for another program."""
    mode = _mode(name)
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def fingerprint_of(name: str) -> tuple[int, bytes] | None:
    """Size and digest of the first 64 KiB of a regular file; None for anything else."""
    if not stat.S_ISREG(_mode(name)):
        return None
    try:
        with open(name, "rb") as file:
            return os.fstat(file.fileno()).st_size, xxh3_128_digest(file.read(_FINGERPRINT_BYTES))
    except OSError:
        return None


def is_table(name: str) -> bool:
    """Whether a regular file begins as Parquet or Arrow files do."""
    if not stat.S_ISREG(_mode(name)):
        return False
    try:
        with open(name, "rb") as file:
            return file.read(max(map(len, _TABLE_MAGICS))).startswith(_TABLE_MAGICS)
    except OSError:
        return False


def formats_of(source_ids: Iterable[str]) -> set[str]:
    """The formats whose built-in sources, or stations of those (``name/STATION``), have such ids."""
    names = {source_id.partition("/")[0] for source_id in source_ids}
    return {decoder.name for decoder in decoders() if decoder.name in names and decoder is not Looks}


def formats_of_lines(head: bytes) -> set[str]:
    """`formats_of` the sources of the first lines of looks, the last one of which may be cut off."""
    found = set()
    for line in head.splitlines():
        try:
            found.add(_SOURCE_ID.decode(line).source_id)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
    return formats_of(found)
