"""Numbers of JSON text to the nearest float64, in compiled code: the same as a JSON library gives, or none."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import kernel
from apss_fusion.tracking.times import byte_at

#: Powers of ten that are exact as float64, and as unsigned integers up to 10^19.
_TEN_FLOAT = np.array([10.0**k for k in range(23)])
_TEN = np.array([10**k for k in range(20)], np.uint64)
_MAX_DIGITS = 19
_EXACT = np.uint64(1 << 53)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_ZERO, _DOT, _MINUS, _UPPER_E, _LOWER_E = (ord(c) for c in "0.-Ee")


@kernel
def _is_digit(c: int) -> bool:
    return 48 <= c <= 57


@kernel
def _product(x: np.uint64, y: np.uint64) -> tuple[np.uint64, np.uint64]:
    """High and low half of a product of 128 bits."""
    ll = (x & _LOW) * (y & _LOW)
    hl = (x >> _HALF) * (y & _LOW)
    lh = (x & _LOW) * (y >> _HALF)
    cross = (ll >> _HALF) + (hl & _LOW) + lh
    return (hl >> _HALF) + (cross >> _HALF) + (x >> _HALF) * (y >> _HALF), cross << _HALF | ll & _LOW


@kernel
def _compared(digits: np.uint64, shift: int, other: np.uint64, power: int) -> int:
    """Sign of digits * 2^shift - other * 10^power, with 1 <= shift <= 64 and both below 2^128."""
    high, low = _product(other, _TEN[power])
    if shift == 64:
        up, down = digits, np.uint64(0)
    else:
        up, down = digits >> np.uint64(64 - shift), digits << np.uint64(shift)
    if up != high:
        return 1 if up > high else -1
    if down != low:
        return 1 if down > low else -1
    return 0


@kernel
def nearest(digits: np.uint64, power: int) -> float:
    """The float64 nearest to digits / 10^power; NaN where this takes more than 128 bits.

    Up to 2^53 both parts are exact and one division rounds once (Clinger 1990, "How to read floating point numbers
    accurately"). Above that the quotient is at most a few steps off: it is moved until the decimal lies between the
    midpoints to its neighbours, compared exactly.
    """
    if digits <= _EXACT:
        return np.float64(digits) / _TEN_FLOAT[power]
    x = np.float64(digits) / _TEN_FLOAT[power]
    for _ in range(4):
        fraction, exponent = math.frexp(x)
        mantissa = np.uint64(math.ldexp(fraction, 53))
        shift = 54 - exponent
        # A power of two has its lower neighbour nearer; far from 1 the products are too long.
        if mantissa == np.uint64(1 << 52) or shift < 1 or shift > 64:
            return math.nan
        twice = mantissa << np.uint64(1)
        odd = mantissa & np.uint64(1) != np.uint64(0)
        above = _compared(digits, shift, twice + np.uint64(1), power)
        below = _compared(digits, shift, twice - np.uint64(1), power)
        if above > 0 or (above == 0 and odd):
            x = math.ldexp(np.float64(mantissa + np.uint64(1)), exponent - 53)
        elif below < 0 or (below == 0 and odd):
            x = math.ldexp(np.float64(mantissa - np.uint64(1)), exponent - 53)
        else:
            return x
    return math.nan


@kernel
def read_number(b: NDArray[np.uint8], p: int) -> tuple[float, int]:
    """The number that begins at byte p, and the byte after it; (NaN, -1) where it is none or not plain.

    Plain are numbers without exponent, of up to 19 significant digits.
    """
    negative = byte_at(b, p) == _MINUS
    if negative:
        p += 1
    if not _is_digit(byte_at(b, p)) or (byte_at(b, p) == _ZERO and _is_digit(byte_at(b, p + 1))):
        return math.nan, -1
    digits, count, power = np.uint64(0), 0, 0
    while _is_digit(byte_at(b, p)):
        digits = digits * np.uint64(10) + np.uint64(byte_at(b, p) - _ZERO)
        count += 1 if digits > np.uint64(0) else 0
        p += 1
        if count > _MAX_DIGITS:
            return math.nan, -1
    if byte_at(b, p) == _DOT:
        p += 1
        if not _is_digit(byte_at(b, p)):
            return math.nan, -1
        while _is_digit(byte_at(b, p)):
            digits = digits * np.uint64(10) + np.uint64(byte_at(b, p) - _ZERO)
            count += 1 if digits > np.uint64(0) else 0
            power += 1
            p += 1
            if count > _MAX_DIGITS or power > _MAX_DIGITS:
                return math.nan, -1
    if byte_at(b, p) == _LOWER_E or byte_at(b, p) == _UPPER_E:
        return math.nan, -1
    x = nearest(digits, power)
    if math.isnan(x):
        return math.nan, -1
    return (-x if negative else x), p
