"""Arrow columns from the engine's arrays, without a Python object per value."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from apss_fusion.kernels import inline_kernel, kernel
from apss_fusion.outputs.json_text import put_hex, put_uuid
from apss_fusion.tracking.attributes import FragmentTable

#: Times of all columns.
TIME = pa.timestamp("us", tz="UTC")


@kernel
def _uuid_texts(track_ids: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    for i in range(len(track_ids)):
        put_uuid(out, 36 * i, track_ids[i])


@kernel
def _hex_texts(values: NDArray[np.uint64], digits: int, out: NDArray[np.uint8]) -> None:
    for i in range(len(values)):
        put_hex(out, digits * i, values[i], digits)


@kernel
def _gather(
    text: NDArray[np.uint8],
    first: NDArray[np.int64],
    length: NDArray[np.int64],
    offsets: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    p = 0
    for i in range(len(first)):
        for k in range(length[i]):
            out[p + k] = text[first[i] + k]
        p += length[i]
        offsets[i + 1] = p


@kernel
def _spread(first: NDArray[np.int64], count: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    p = 0
    for i in range(len(first)):
        for k in range(count[i]):
            out[p + k] = first[i] + k
        p += count[i]


@inline_kernel
def _hex_value(text: NDArray[np.uint8], first: int) -> int:
    v = 0
    for k in range(4):
        c = int(text[first + k])
        v = 16 * v + (c - 48 if c < 58 else (c | 32) - 87)
    return v


@kernel
def _unescaped(text: NDArray[np.uint8], s: int, out: NDArray[np.uint8], p: int) -> tuple[int, int]:
    """Copy the JSON string that opens at text[s], its escapes (of ASCII only) undone; (s, p) after it."""
    s += 1
    while text[s] != 34:
        c = text[s]
        if c == 92:
            s += 1
            c = text[s]
            if c == 98:
                c = np.uint8(8)
            elif c == 116:
                c = np.uint8(9)
            elif c == 110:
                c = np.uint8(10)
            elif c == 102:
                c = np.uint8(12)
            elif c == 114:
                c = np.uint8(13)
            elif c == 117:
                c = np.uint8(_hex_value(text, s + 1))
                s += 4
        out[p] = c
        p += 1
        s += 1
    return s + 1, p


@kernel
def _split_maps(
    text: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    which: NDArray[np.int64],
    map_offsets: NDArray[np.int32],
    key_offsets: NDArray[np.int32],
    keys: NDArray[np.uint8],
    value_offsets: NDArray[np.int32],
    values: NDArray[np.uint8],
) -> int:
    """Keys and values (strings without escapes, else their text) of flat, compact JSON objects; how many pairs."""
    n = p = q = 0
    for i in range(len(which)):
        s, end = offsets[which[i]] + 1, offsets[which[i] + 1] - 1
        while s < end:
            s, p = _unescaped(text, s, keys, p)
            s += 1  # the colon
            if text[s] == 34:
                s, q = _unescaped(text, s, values, q)
            else:
                while s < end and text[s] != 44:
                    values[q] = text[s]
                    q += 1
                    s += 1
            s += 1  # the comma
            n += 1
            key_offsets[n], value_offsets[n] = p, q
        map_offsets[i + 1] = n
    return n


def floats(values: NDArray[np.float64]) -> Any:
    """Numbers; NaN is null."""
    return pa.array(np.ascontiguousarray(values), from_pandas=True)


def times(us: NDArray[np.int64], unknown: NDArray[np.bool_] | None = None) -> Any:
    """Times of microseconds since 1970, null where `unknown`."""
    return pa.array(np.ascontiguousarray(us).view("datetime64[us]"), type=TIME, mask=unknown)


def named(names: Any, codes: NDArray[Any], kind: Any = None) -> Any:
    """``names[code]`` of each code: texts, or values of another type."""
    return pa.array(names, type=kind or pa.string()).take(pa.array(np.ascontiguousarray(codes)))


def strings(starts: NDArray[np.int32], text: NDArray[np.uint8]) -> Any:
    """Texts of UTF-8 bytes: text i is ``text[starts[i] : starts[i + 1]]``."""
    return pa.StringArray.from_buffers(len(starts) - 1, pa.py_buffer(starts), pa.py_buffer(text))


def uuids(track_ids: NDArray[np.uint8]) -> Any:
    """Texts of UUIDs, (n, 16)."""
    n = len(track_ids)
    out = np.empty(36 * n, np.uint8)
    _uuid_texts(track_ids, out)
    return strings(36 * np.arange(n + 1, dtype=np.int32), out)


def cells(h3: NDArray[np.uint64]) -> Any:
    """Texts of H3 cells."""
    out = np.empty(15 * len(h3), np.uint8)
    _hex_texts(h3, 15, out)
    return strings(15 * np.arange(len(h3) + 1, dtype=np.int32), out)


def offsets(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where lists of so many items begin, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def spans(first: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from first[i] to before first[i] + count[i], of all i one after the other."""
    out = np.empty(int(count.sum()), np.int64)
    _spread(np.ascontiguousarray(first), np.ascontiguousarray(count), out)
    return out


def maps(table: FragmentTable, which: NDArray[np.int64], value_type: Any) -> Any:
    """Maps of the JSON objects of a table (compact, flat, escapes of ASCII only): texts or numbers by `value_type`."""
    text, at = table.arrays()
    size = int((at[which + 1] - at[which]).sum())
    # The shortest pair is '"":0,'.
    pairs = size // 5 + 1
    map_offsets = np.zeros(len(which) + 1, np.int32)
    key_offsets, value_offsets = np.zeros(pairs + 1, np.int32), np.zeros(pairs + 1, np.int32)
    keys, values = np.empty(size, np.uint8), np.empty(size, np.uint8)
    n = _split_maps(text, at, which, map_offsets, key_offsets, keys, value_offsets, values)
    key, value = strings(key_offsets[: n + 1], keys), strings(value_offsets[: n + 1], values)
    return pa.MapArray.from_arrays(map_offsets, key, value.cast(value_type))


def decoded(table: FragmentTable, which: NDArray[Any], ending: str, kind: Any) -> Any:
    """The JSON of a table, each with an ending, as structs: each different one is decoded once."""
    unique, place = np.unique(which, return_inverse=True)
    structs = pa.array([json.loads(table.get(int(k)) + ending.encode()) for k in unique], type=kind)
    return structs.take(pa.array(place))


def texts(text: NDArray[np.uint8], first: NDArray[np.int64], length: NDArray[np.int64]) -> Any:
    """Texts of length[i] bytes from text[first[i]]."""
    starts, out = np.zeros(len(first) + 1, np.int32), np.empty(int(length.sum()), np.uint8)
    _gather(text, first, length, starts, out)
    return strings(starts, out)
