"""The engine's state as keyed records: what they are called, and where time stands.

Tracks are in `track_records`, looks in `look_records`. Numbers that belong to one process (of sources, of attributes) do not
leave it: records say names and contents. Rows are their bytes, so that a restart continues to the last bit; all else is
MessagePack.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

#: Name and version of the format; a state with another one is refused.
FORMAT = "apss-fusion engine state"
VERSION = 4
HEADER, CLOCK, CUTS = "format", "clock", "cuts"
TRACK, CELL, LOOKS = "track:", "cell:", "looks:"

Record = tuple[str, bytes | None]
#: What readers were told of a track: seq of the last update, whether they hold the track, time of that update, microseconds.
Told = tuple[int, int, int]


class Clock(msgspec.Struct, frozen=True, array_like=True):
    """Where time stands."""

    arrival_us: int
    floor_us: int
    #: Time of the last look that was fused, microseconds; -1 before the first.
    fused_us: int
    #: Time of the next picture, microseconds; -1 before the first look.
    picture_us: int
    #: Where the window begins, microseconds, a group of domains each; -1 for no cut so far. None where looks are held back.
    cut_us: list[int] | None
    #: How many looks have arrived since nothing was pending: the last ones of the blocks. 0 where nothing is.
    pending: int
    #: The number of the last block of looks.
    block: int


class StateError(ValueError):
    """Records that are of another format or version, or damaged; the message names which."""


def header() -> Record:
    """The record that names the format."""
    return HEADER, msgspec.msgpack.encode((FORMAT, VERSION, sys.byteorder))


def check_header(records: dict[str, bytes]) -> None:
    """Raise `StateError` where the records are not of this format and version."""
    if HEADER not in records:
        raise StateError("not an engine state: it has no record 'format'")
    try:
        found = msgspec.msgpack.decode(records[HEADER], type=tuple[str, int, str])
    except msgspec.MsgspecError as error:
        raise StateError(f"not an engine state: record 'format': {error}") from None
    if found[0] != FORMAT:
        raise StateError(f"not an engine state but {found[0]!r}")
    if found[1:] != (VERSION, sys.byteorder):
        raise StateError(f"engine state of version {found[1]} ({found[2]}-endian); this is version {VERSION}")


def as_pairs(records: Any) -> dict[str, bytes]:
    """Records as a dictionary: the last of a key wins, a key whose last has no record is gone."""
    out: dict[str, bytes] = {}
    for key, value in records:
        if value is None:
            out.pop(key, None)
        else:
            out[key] = value
    return out
