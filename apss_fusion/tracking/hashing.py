"""XXH3 with 64 bits, for kernels: the same numbers as ``xxhash.xxh3_64_intdigest``.

Written from the specification (Collet, "xxHash fast digest algorithm", XXH3, seed 0 and the default secret).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import kernel

_P32_1, _P32_2, _P32_3 = np.uint64(0x9E3779B1), np.uint64(0x85EBCA77), np.uint64(0xC2B2AE3D)
_P64_1, _P64_2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
_P64_3, _P64_4 = np.uint64(0x165667B19E3779F9), np.uint64(0x85EBCA77C2B2AE63)
_P64_5 = np.uint64(0x27D4EB2F165667C5)
_MX_1, _MX_2 = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)
_LOW = np.uint64(0xFFFFFFFF)

_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
        "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
        "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)


@kernel
def _u(x: int) -> np.uint64:
    return np.uint64(x)


@kernel
def _shift(x: np.uint64, bits: int) -> np.uint64:
    return x ^ (x >> np.uint64(bits))


@kernel
def _read64(b: NDArray[np.uint8], p: int) -> np.uint64:
    """Eight bytes, little-endian. An unsigned index needs no test for being negative, so this is one load."""
    q = _u(p)
    low = _u(b[q]) | _u(b[q + _u(1)]) << _u(8) | _u(b[q + _u(2)]) << _u(16) | _u(b[q + _u(3)]) << _u(24)
    high = _u(b[q + _u(4)]) | _u(b[q + _u(5)]) << _u(8) | _u(b[q + _u(6)]) << _u(16) | _u(b[q + _u(7)]) << _u(24)
    return low | high << _u(32)


@kernel
def _read32(b: NDArray[np.uint8], p: int) -> np.uint64:
    q = _u(p)
    return _u(b[q]) | _u(b[q + _u(1)]) << _u(8) | _u(b[q + _u(2)]) << _u(16) | _u(b[q + _u(3)]) << _u(24)


@kernel
def _rotated(x: np.uint64, bits: int) -> np.uint64:
    return x << np.uint64(bits) | x >> np.uint64(64 - bits)


@kernel
def _swapped(x: np.uint64) -> np.uint64:
    """The bytes in reverse order."""
    x = (x & _u(0x00FF00FF00FF00FF)) << _u(8) | (x >> _u(8)) & _u(0x00FF00FF00FF00FF)
    x = (x & _u(0x0000FFFF0000FFFF)) << _u(16) | (x >> _u(16)) & _u(0x0000FFFF0000FFFF)
    return x << _u(32) | x >> _u(32)


@kernel
def _folded(x: np.uint64, y: np.uint64) -> np.uint64:
    """Low and high half of the product of 128 bits, combined by exclusive or."""
    ll = (x & _LOW) * (y & _LOW)
    hl = (x >> _u(32)) * (y & _LOW)
    lh = (x & _LOW) * (y >> _u(32))
    cross = (ll >> _u(32)) + (hl & _LOW) + lh
    high = (hl >> _u(32)) + (cross >> _u(32)) + (x >> _u(32)) * (y >> _u(32))
    return high ^ (cross << _u(32) | ll & _LOW)


@kernel
def _mixed(b: NDArray[np.uint8], p: int, at: int) -> np.uint64:
    """Sixteen bytes of input with sixteen of the secret."""
    return _folded(_read64(b, p) ^ _read64(_SECRET, at), _read64(b, p + 8) ^ _read64(_SECRET, at + 8))


@kernel
def _avalanche(h: np.uint64) -> np.uint64:
    return _shift(_shift(h, 37) * _MX_1, 32)


@kernel
def _avalanche_64(h: np.uint64) -> np.uint64:
    return _shift(_shift(_shift(h, 33) * _P64_2, 29) * _P64_3, 32)


@kernel
def _up_to_16(b: NDArray[np.uint8], p: int, n: int) -> np.uint64:
    if n > 8:
        low = _read64(b, p) ^ (_read64(_SECRET, 24) ^ _read64(_SECRET, 32))
        high = _read64(b, p + n - 8) ^ (_read64(_SECRET, 40) ^ _read64(_SECRET, 48))
        return _avalanche(_u(n) + _swapped(low) + high + _folded(low, high))
    if n >= 4:
        h = _read32(b, p + n - 4) + (_read32(b, p) << _u(32))
        h ^= _read64(_SECRET, 8) ^ _read64(_SECRET, 16)
        h ^= _rotated(h, 49) ^ _rotated(h, 24)
        h *= _MX_2
        h ^= (h >> _u(35)) + _u(n)
        return _shift(h * _MX_2, 28)
    if n > 0:
        h = _u(b[p]) << _u(16) | _u(b[p + (n >> 1)]) << _u(24) | _u(b[p + n - 1]) | _u(n) << _u(8)
        return _avalanche_64(h ^ (_read32(_SECRET, 0) ^ _read32(_SECRET, 4)))
    return _avalanche_64(_read64(_SECRET, 56) ^ _read64(_SECRET, 64))


@kernel
def _up_to_240(b: NDArray[np.uint8], p: int, n: int) -> np.uint64:
    h = _u(n) * _P64_1
    if n <= 128:
        for i in range((n - 1) // 32, -1, -1):
            h += _mixed(b, p + 16 * i, 32 * i) + _mixed(b, p + n - 16 * (i + 1), 32 * i + 16)
        return _avalanche(h)
    for i in range(8):
        h += _mixed(b, p + 16 * i, 16 * i)
    h = _avalanche(h)
    for i in range(8, n // 16):
        h += _mixed(b, p + 16 * i, 16 * (i - 8) + 3)
    return _avalanche(h + _mixed(b, p + n - 16, 136 - 17))


@kernel
def _accumulate(acc: NDArray[np.uint64], b: NDArray[np.uint8], p: int, at: int) -> None:
    for i in range(8):
        value = _read64(b, p + 8 * i)
        key = value ^ _read64(_SECRET, at + 8 * i)
        acc[i ^ 1] += value
        acc[i] += (key & _LOW) * (key >> _u(32))


@kernel
def _long(b: NDArray[np.uint8], p: int, n: int) -> np.uint64:
    acc = np.array([_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1])
    stripes, last = (len(_SECRET) - 64) // 8, len(_SECRET) - 64
    for k in range((n - 1) // 64):
        _accumulate(acc, b, p + 64 * k, 8 * (k % stripes))
        if k % stripes == stripes - 1:
            for i in range(8):
                acc[i] = (_shift(acc[i], 47) ^ _read64(_SECRET, last + 8 * i)) * _P32_1
    _accumulate(acc, b, p + n - 64, last - 7)
    h = _u(n) * _P64_1
    for i in range(4):
        key, other = _read64(_SECRET, 11 + 16 * i), _read64(_SECRET, 19 + 16 * i)
        h += _folded(acc[2 * i] ^ key, acc[2 * i + 1] ^ other)
    return _avalanche(h)


@kernel
def copy_bytes(text: NDArray[np.uint8], at: int, length: int, out: NDArray[np.uint8], p: int) -> int:
    """Copy a part of a text to `out` from byte p on; the byte after it. (Unsigned places need no test each.)"""
    for k in range(length):
        out[_u(p + k)] = text[_u(at + k)]
    return p + length


@kernel
def xxh3_64(b: NDArray[np.uint8], start: int, length: int) -> np.uint64:
    """The hash of `length` bytes of `b` from `start`."""
    if length <= 16:
        return _up_to_16(b, start, length)
    if length <= 240:
        return _up_to_240(b, start, length)
    return _long(b, start, length)
