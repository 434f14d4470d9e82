"""Steps over JSON text in compiled code: `NO` where it is not plain, and a JSON library must look at it.

Plain are strings of printable ASCII without escapes, and no white space but blanks. The text must end with a newline
and
`PADDING` bytes after it, so that no test of a next byte leaves the array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import kernel
from apss_fusion.replay.json_numbers import read_number
from apss_fusion.tracking.times import BAD_TIME_US, byte_at, rfc3339_us

PADDING = 8
NO = -1
QUOTE, BACKSLASH, COMMA, COLON, BLANK, NEWLINE = (ord(c) for c in '"\\,: \n')
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = (ord(c) for c in "{}[]")

_WORDS = np.frombuffer(b"nulltruefalse", np.uint8)
_SLOTS = 64


def name_table(names: dict[str, int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Names one after the other, and a hash table without collisions of (begin, end, what it stands for).

    The last row holds the multiplier of the hash.
    """
    text = "".join(names).encode()
    for multiplier in range(1, 10_000):
        table = np.full((_SLOTS + 1, 3), NO, np.int64)
        table[_SLOTS] = multiplier
        at = 0
        for name, kind in names.items():
            slot = _slot(np.frombuffer(name.encode(), np.uint8), 0, len(name), multiplier)
            if table[slot, 0] != NO:
                break
            table[slot] = at, at + len(name), kind
            at += len(name)
        else:
            return np.frombuffer(text, np.uint8), table
    raise ValueError("no hash without collisions")


@kernel
def _slot(b: NDArray[np.uint8], s: int, e: int, multiplier: int) -> int:
    h = (
        (e - s) * 1_000_003
        + int(byte_at(b, s)) * 8191
        + int(byte_at(b, (s + e) // 2)) * 131_071
        + int(byte_at(b, e - 1)) * 524_287
    )
    return ((h * multiplier) >> 7) & (_SLOTS - 1)


@kernel
def find_name(b: NDArray[np.uint8], s: int, e: int, text: NDArray[np.uint8], table: NDArray[np.int64]) -> int:
    """What the name between two bytes stands for, or `NO`."""
    if e <= s:
        return NO
    slot = _slot(b, s, e, table[_SLOTS, 0])
    begin, end = table[slot, 0], table[slot, 1]
    if begin < 0 or end - begin != e - s:
        return NO
    for k in range(e - s):
        if byte_at(b, s + k) != text[begin + k]:
            return NO
    return table[slot, 2]


@kernel
def after_blanks(b: NDArray[np.uint8], p: int) -> int:
    """The first byte from p on that is no blank."""
    while byte_at(b, p) == BLANK:
        p += 1
    return p


@kernel
def string_end(b: NDArray[np.uint8], p: int) -> int:
    """The place of the closing quote of a plain string that opens at p, or `NO`."""
    if byte_at(b, p) != QUOTE:
        return NO
    p += 1
    while byte_at(b, p) != QUOTE:
        if byte_at(b, p) < 32 or byte_at(b, p) > 126 or byte_at(b, p) == BACKSLASH:
            return NO
        p += 1
    return p


@kernel
def _word(b: NDArray[np.uint8], p: int, begin: int, length: int) -> int:
    """The byte after ``null``, ``true`` or ``false`` (a part of `_WORDS`) at p, or `NO`."""
    for k in range(length):
        if byte_at(b, p + k) != _WORDS[begin + k]:
            return NO
    return p + length


@kernel
def after_null(b: NDArray[np.uint8], p: int) -> int:
    """The byte after ``null``, or `NO`."""
    return _word(b, p, 0, 4)


@kernel
def after_plain_value(b: NDArray[np.uint8], p: int) -> int:
    """The byte after a string, number or word, or `NO`."""
    if byte_at(b, p) == QUOTE:
        end = string_end(b, p)
        return end + 1 if end >= 0 else NO
    for begin, length in ((0, 4), (4, 4), (8, 5)):
        end = _word(b, p, begin, length)
        if end >= 0:
            return end
    _, end = read_number(b, p)
    return end


@kernel
def after_object(b: NDArray[np.uint8], p: int) -> int:
    """The byte after an object whose brackets match, or `NO`: what is inside is not checked."""
    if byte_at(b, p) != OPEN:
        return NO
    depth = 0
    while True:
        c = byte_at(b, p)
        if c == QUOTE:
            p += 1
            while byte_at(b, p) != QUOTE:
                # After an escape stands a byte that ends nothing; which escapes there are is not for here to say.
                p += 1 if byte_at(b, p) == BACKSLASH else 0
                if byte_at(b, p) < 32:
                    return NO
                p += 1
        elif c == OPEN or c == OPEN_LIST:
            depth += 1
        elif c == CLOSE or c == CLOSE_LIST:
            depth -= 1
        elif c < 32:
            return NO
        p += 1
        if depth == 0:
            return p


@kernel
def read_time(b: NDArray[np.uint8], p: int) -> tuple[int, int]:
    """(microseconds, the byte after it), or (`BAD_TIME_US`, `NO`)."""
    end = string_end(b, p)
    if end < 0:
        return BAD_TIME_US, NO
    us = rfc3339_us(b, p + 1, end)
    return us, end + 1 if us != BAD_TIME_US else NO


@kernel
def read_name(b: NDArray[np.uint8], p: int, text: NDArray[np.uint8], table: NDArray[np.int64]) -> tuple[int, int]:
    """(which of some names a string is, the byte after it), or (0, `NO`)."""
    end = string_end(b, p)
    if end < 0:
        return 0, NO
    found = find_name(b, p + 1, end, text, table)
    return found, end + 1 if found >= 0 else NO
