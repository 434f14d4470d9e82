"""Kernels that write JSON text: each puts one value into `out` at `p` and returns where it ends.

Copies count in unsigned integers: numba then need not ask whether an index is negative, and copies in blocks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import inline_kernel, kernel

_POW10 = 10 ** np.arange(16)
_QUOTE, _BACKSLASH, _MINUS, _DOT, _ZERO, _COLON = 34, 92, 45, 46, 48, 58
# A scaled number that is unknown.
_NULL = np.iinfo(np.int64).min
# The letter after the backslash of control characters that have one, else 0.
_SHORT = np.zeros(32, np.uint8)
_SHORT[[8, 9, 10, 12, 13]] = np.frombuffer(b"btnfr", np.uint8)

#: Most bytes that one byte of text becomes when it is escaped.
ESCAPED_MOST = 6


def fragment(text: str) -> NDArray[np.uint8]:
    """Constant text as bytes for `put`."""
    return np.frombuffer(text.encode(), np.uint8).copy()


def fragments(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Constant texts as bytes and offsets for `put_one`."""
    parts = [text.encode() for text in texts]
    return np.frombuffer(b"".join(parts), np.uint8).copy(), np.cumsum([0] + [len(part) for part in parts])


@inline_kernel
def put(out: NDArray[np.uint8], p: int, text: NDArray[np.uint8]) -> int:
    """Constant text."""
    to, n = np.uint64(p), np.uint64(len(text))
    for k in range(n):
        out[to + k] = text[k]
    return p + len(text)


@kernel
def put_one(out: NDArray[np.uint8], p: int, text: NDArray[np.uint8], offsets: NDArray[np.int64], which: int) -> int:
    """One text of a table: the bytes from offsets[which] to the next."""
    first, length = offsets[which], offsets[which + 1] - offsets[which]
    to, of, n = np.uint64(p), np.uint64(first), np.uint64(length)
    for k in range(n):
        out[to + k] = text[of + k]
    return p + length


@kernel
def put_integer(out: NDArray[np.uint8], p: int, v: int) -> int:
    """A whole number."""
    if v < 0:
        out[p] = _MINUS
        p += 1
        v = -v
    n, w = 1, v
    while w >= 10:
        w //= 10
        n += 1
    for k in range(n - 1, -1, -1):
        w = v // 10
        out[p + k] = _ZERO + (v - 10 * w)
        v = w
    return p + n


@kernel
def put_decimal(out: NDArray[np.uint8], p: int, scaled: int, decimals: int) -> int:
    """The number scaled / 10^decimals, trailing zeros cut but for one decimal; null for the least int64."""
    if scaled == _NULL:
        out[p], out[p + 1], out[p + 2], out[p + 3] = 110, 117, 108, 108
        return p + 4
    if scaled < 0:
        out[p] = _MINUS
        p += 1
        scaled = -scaled
    whole = scaled // _POW10[decimals]
    part = scaled - whole * _POW10[decimals]
    p = put_integer(out, p, whole)
    out[p] = _DOT
    p += 1
    if part == 0:
        out[p] = _ZERO
        return p + 1
    for k in range(decimals - 1, -1, -1):
        tens = part // 10
        out[p + k] = _ZERO + (part - 10 * tens)
        part = tens
    while out[p + decimals - 1] == _ZERO:
        decimals -= 1
    return p + decimals


@inline_kernel
def _two(out: NDArray[np.uint8], p: int, v: int) -> int:
    out[p], out[p + 1] = _ZERO + v // 10, _ZERO + v % 10
    return p + 2


@kernel
def put_time(out: NDArray[np.uint8], p: int, us: int) -> int:
    """Microseconds since 1970 as RFC 3339, UTC, in quotes; years 0 to 9999.

    Days to civil date after Hinnant (2013), "chrono-Compatible Low-Level Date Algorithms".
    """
    days = us // 86_400_000_000
    rest = us - days * 86_400_000_000
    z = days + 719_468
    era = z // 146_097
    day_of_era = z - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = march_month + 3 if march_month < 10 else march_month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    second, micro = rest // 1_000_000, rest % 1_000_000
    out[p] = _QUOTE
    p = _two(out, _two(out, p + 1, year // 100), year % 100)
    out[p] = _MINUS
    p = _two(out, p + 1, month)
    out[p] = _MINUS
    p = _two(out, p + 1, day)
    out[p] = 84  # T
    p = _two(out, p + 1, second // 3600)
    out[p] = _COLON
    p = _two(out, p + 1, second // 60 % 60)
    out[p] = _COLON
    p = _two(out, p + 1, second % 60)
    out[p] = _DOT
    p = _two(out, _two(out, _two(out, p + 1, micro // 10_000), micro // 100 % 100), micro % 100)
    out[p], out[p + 1] = 90, _QUOTE  # Z
    return p + 2


@kernel
def put_hex(out: NDArray[np.uint8], p: int, v: np.uint64, digits: int) -> int:
    """The low hexadecimal digits of v, lower case."""
    for k in range(digits):
        digit = np.int64((v >> np.uint64(4 * (digits - 1 - k))) & np.uint64(15))
        out[p + k] = _ZERO + digit if digit < 10 else 87 + digit
    return p + digits


@kernel
def put_uuid(out: NDArray[np.uint8], p: int, uuid: NDArray[np.uint8]) -> int:
    """The text of a UUID, (16,), without quotes."""
    for k in range(16):
        if k == 4 or k == 6 or k == 8 or k == 10:
            out[p] = _MINUS
            p += 1
        p = put_hex(out, p, np.uint64(uuid[k]), 2)
    return p


@kernel
def put_escaped(out: NDArray[np.uint8], p: int, text: NDArray[np.uint8], first: int, n: int) -> int:
    """The inside of a JSON string: n bytes of UTF-8 from text[first], escaped as RFC 8259 demands."""
    for k in range(n):
        c = np.int64(text[first + k])
        if c == _QUOTE or c == _BACKSLASH:
            out[p], out[p + 1] = _BACKSLASH, c
            p += 2
        elif c >= 32:
            out[p] = c
            p += 1
        elif _SHORT[c]:
            out[p], out[p + 1] = _BACKSLASH, _SHORT[c]
            p += 2
        else:
            out[p], out[p + 1] = _BACKSLASH, 117  # u
            p = put_hex(out, p + 2, np.uint64(c), 4)
    return p
