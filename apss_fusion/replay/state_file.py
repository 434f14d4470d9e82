"""A run's state as a file: written whole or not at all, checked before it is used.

The file is a line that names what it is, one with the version, the size and a digest of the rest (xxh3, 128 bits), and
the rest in MessagePack.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct
from xxhash import xxh3_128_hexdigest

from apss_fusion.replay.pipeline_inputs import InputState
from apss_fusion.tracking.records import Record, StateError

VERSION = 1
_MAGIC = b"apss-fusion saved run\n"


class SavedRun(Struct, frozen=True, array_like=True):
    """All that a run needs to be continued."""

    #: The engine's state, as `Engine.load` takes it.
    records: list[tuple[str, bytes]]
    #: The inputs that were read, in their order.
    inputs: list[InputState]
    #: Formats whose built-in sources were registered.
    formats: list[str]
    #: Digest of configuration and sources.
    settings: str


def settings_digest(settings: object) -> str:
    """A digest of structs and maps of them, equal only for equal ones."""
    return xxh3_128_hexdigest(msgspec.json.encode(settings, order="deterministic"))


def merged_records(before: list[tuple[str, bytes]], changes: list[Record]) -> list[tuple[str, bytes]]:
    """All records of a state: those from which a run began, with what it changed."""
    if not before:
        return [(key, value) for key, value in changes if value is not None]
    records = dict(before)
    for key, value in changes:
        if value is None:
            records.pop(key, None)
        else:
            records[key] = value
    return list(records.items())


def save(path: str, run: SavedRun) -> None:
    """Write a state in the place of an older one; OSError where that fails, which leaves the older one as it was."""
    body = msgspec.msgpack.encode(run)
    head = b"%b%d %d %b\n" % (_MAGIC, VERSION, len(body), xxh3_128_hexdigest(body).encode())
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "xb") as file:
            file.write(head)
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def load(path: str) -> SavedRun:
    """Read a state.

    Raises
    ------
    StateError
        The file holds something else, or a state of another version, or it is truncated or damaged; one line that
        names the file.
    OSError
        It cannot be read.
    """
    data = Path(path).read_bytes()
    if not data.startswith(_MAGIC):
        raise StateError(f"{path}: not a saved run of apss-fusion")
    end = data.find(b"\n", len(_MAGIC), len(_MAGIC) + 100)
    fields = data[len(_MAGIC) : max(end, 0)].split()
    if len(fields) != 3 or not fields[0].isdigit() or not fields[1].isdigit():
        raise StateError(f"{path}: a saved run whose head is damaged")
    if int(fields[0]) != VERSION:
        raise StateError(f"{path}: a saved run of version {int(fields[0])}; this program reads version {VERSION}")
    body = memoryview(data)[end + 1 :]
    if len(body) != int(fields[1]):
        raise StateError(f"{path}: a saved run that is truncated: {len(body)} of {int(fields[1])} bytes")
    if xxh3_128_hexdigest(body).encode() != fields[2]:
        raise StateError(f"{path}: a saved run that is damaged")
    try:
        return msgspec.msgpack.decode(body, type=SavedRun)
    except msgspec.MsgspecError as error:
        raise StateError(f"{path}: a saved run that is damaged: {error}") from None
