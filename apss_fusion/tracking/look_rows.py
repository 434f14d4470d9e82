"""From what a look states to a row of the filter; the ids and the hashes of looks and detections."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import Row, inline_kernel, kernel
from apss_fusion.tracking.detection_rows import DUPLICATE, N_NUMBERS
from apss_fusion.tracking.hashing import copy_bytes, xxh3_64
from apss_fusion.tracking.times import NO_TIME_US

#: A look's time lies from 1970 to before 2250, where seconds as float64 still tell microseconds apart.
MAX_TIME_US = 8_835_955_200_000_000

#: Columns of the matrix of numbers that a look states, NaN for what it does not.
LOOK_NUMBERS = ("p_detect", "clutter_per_km2", "min_detectable_speed_mps")
_P_DETECT, _CLUTTER, _MIN_SPEED = range(3)

#: Field and reason by fault number; 0 is none.
LOOK_FAULTS: tuple[tuple[str, str], ...] = (
    ("", ""),
    ("time", "not a time from 1970 to 2250"),
    ("time_end", "not a time from the look's time to 2250"),
    ("time_received", "not a time from 1970 to 2250"),
    ("p_detect", "not from 0 to 1"),
    ("clutter_per_km2", "negative or not finite"),
    ("min_detectable_speed_mps", "negative or not finite"),
)
_OK, _BAD_TIME, _BAD_END, _BAD_RECEIVED, _BAD_P_DETECT, _BAD_CLUTTER, _BAD_MIN_SPEED = range(len(LOOK_FAULTS))

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_ZERO = np.uint64(0)


@inline_kernel
def _sane(time_us: int) -> bool:
    return 0 <= time_us < MAX_TIME_US


@inline_kernel
def _negative(x: float) -> bool:
    """Known, and negative or not finite."""
    return x < 0.0 or x == np.inf


@kernel
def fill_looks(
    time_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    received_us: NDArray[np.int64],
    numbers: NDArray[np.float64],
    footprint: NDArray[np.int32],
    source: NDArray[np.int32],
    sources: NDArray[np.void],
    first: NDArray[np.int64],
    rows: NDArray[np.void],
    faults: NDArray[np.uint8],
) -> None:
    """Rows of `LOOK`, all but hashes and text, and fault numbers, (n,) each; `first` is (n + 1,)."""
    for i in range(len(time_us)):
        row, own = rows[i], sources[source[i]]
        p_detect, clutter, min_speed = numbers[i, _P_DETECT], numbers[i, _CLUTTER], numbers[i, _MIN_SPEED]
        end = time_us[i] if end_us[i] == NO_TIME_US else end_us[i]
        received = time_us[i] if received_us[i] == NO_TIME_US else received_us[i]
        if not _sane(time_us[i]):
            faults[i] = _BAD_TIME
        elif not _sane(end) or end < time_us[i]:
            faults[i] = _BAD_END
        elif not _sane(received):
            faults[i] = _BAD_RECEIVED
        elif p_detect < 0.0 or p_detect > 1.0:
            faults[i] = _BAD_P_DETECT
        elif _negative(clutter):
            faults[i] = _BAD_CLUTTER
        elif _negative(min_speed):
            faults[i] = _BAD_MIN_SPEED
        row.time_us, row.end_us, row.received_us = time_us[i], end, received
        row.t = time_us[i] / 1e6
        row.first, row.count = first[i], first[i + 1] - first[i]
        row.source, row.footprint = source[i], footprint[i]
        row.cooperative, row.may_initiate = own.cooperative, own.may_initiate
        row.p_detect = (own.p_detect if np.isnan(p_detect) else p_detect) + 0.0
        row.clutter_per_m2 = (own.clutter_per_m2 if np.isnan(clutter) else clutter / 1e6) + 0.0
        row.min_speed_mps = np.nan if np.isnan(min_speed) else min_speed + 0.0


@kernel
def place_ids(
    text: NDArray[np.uint8],
    look_at: NDArray[np.int64],
    look_length: NDArray[np.int64],
    detection_at: NDArray[np.int64],
    detection_length: NDArray[np.int64],
    looks: NDArray[np.void],
    detections: NDArray[np.void],
    out: NDArray[np.uint8],
) -> None:
    """Lay the ids out in `out`: each look's, then those of its detections."""
    p = 0
    for i in range(len(looks)):
        looks[i].id_at, looks[i].id_length = p, look_length[i]
        p = copy_bytes(text, look_at[i], look_length[i], out, p)
        for j in range(looks[i].first, looks[i].first + looks[i].count):
            detections[j].id_at, detections[j].id_length = p, detection_length[j]
            p = copy_bytes(text, detection_at[j], detection_length[j], out, p)


@kernel
def hash_ids(
    text: NDArray[np.uint8],
    source_text: NDArray[np.uint8],
    source_at: NDArray[np.int64],
    ids_text: NDArray[np.uint8],
    ids_at: NDArray[np.int64],
    class_text: NDArray[np.uint8],
    class_at: NDArray[np.int64],
    looks: NDArray[np.void],
    detections: NDArray[np.void],
) -> None:
    """Set `id_hash` of looks, `key` and `texts` of detections, whose attributes are set."""
    longest = 0
    for i in range(len(looks)):
        source = looks[i].source
        head = source_at[source + 1] - source_at[source] + looks[i].id_length
        longest = max(longest, head)
        for j in range(looks[i].first, looks[i].first + looks[i].count):
            a = detections[j].attributes
            tail = ids_at[a + 1] - ids_at[a] + class_at[a + 1] - class_at[a]
            longest = max(longest, detections[j].id_length + max(head, tail))
    scratch = np.zeros(longest + 2, np.uint8)
    for i in range(len(looks)):
        look = looks[i]
        look.id_hash = xxh3_64(text, look.id_at, look.id_length)
        start = source_at[look.source]
        head = copy_bytes(source_text, start, source_at[look.source + 1] - start, scratch, 0)
        scratch[head] = 0
        head = copy_bytes(text, look.id_at, look.id_length, scratch, head + 1)
        scratch[head] = 0
        for j in range(look.first, look.first + look.count):
            row = detections[j]
            row.key = xxh3_64(scratch, 0, copy_bytes(text, row.id_at, row.id_length, scratch, head + 1))
        for j in range(look.first, look.first + look.count):
            row = detections[j]
            a = row.attributes
            p = copy_bytes(text, row.id_at, row.id_length, scratch, 0)
            scratch[p] = 0
            p = copy_bytes(ids_text, ids_at[a], ids_at[a + 1] - ids_at[a], scratch, p + 1)
            scratch[p] = 0
            p = copy_bytes(class_text, class_at[a], class_at[a + 1] - class_at[a], scratch, p + 1)
            row.texts = xxh3_64(scratch, 0, p)


@kernel
def _same_id(text: NDArray[np.uint8], a: Row, b: Row) -> bool:
    if a.id_length != b.id_length:
        return False
    for k in range(a.id_length):
        if text[a.id_at + k] != text[b.id_at + k]:
            return False
    return True


@kernel
def find_duplicates(
    text: NDArray[np.uint8], looks: NDArray[np.void], detections: NDArray[np.void], faults: NDArray[np.uint8]
) -> None:
    """Give detections whose id was met before in the same look, in one without fault, the fault `DUPLICATE`."""
    most = 0
    for i in range(len(looks)):
        most = max(most, looks[i].count)
    if most < 2:
        return
    size = 4
    while size < 2 * most:
        size *= 2
    table = np.zeros(size, np.int64)
    mask = np.uint64(size - 1)
    for i in range(len(looks)):
        if looks[i].count < 2:
            continue
        table[:] = 0
        for j in range(looks[i].first, looks[i].first + looks[i].count):
            if faults[j] != _OK:
                continue
            slot = detections[j].key & mask
            while table[slot] != 0 and not _same_id(text, detections[table[slot] - 1], detections[j]):
                slot = (slot + np.uint64(1)) & mask
            if table[slot] != 0:
                faults[j] = DUPLICATE
            else:
                table[slot] = j + 1


@inline_kernel
def _fold(h: np.uint64, word: np.uint64) -> np.uint64:
    """One step of a multiplicative hash over words (as FNV-1a, and a shift that brings high bits down)."""
    h = (h ^ word) * _MULTIPLIER
    return h ^ (h >> np.uint64(29))


@kernel
def _bits(x: float, cell: NDArray[np.float64], bits: NDArray[np.uint64]) -> np.uint64:
    """The bits of a number; all NaN alike, and both zeros."""
    cell[0] = np.nan if np.isnan(x) else x + 0.0
    return bits[0]


@kernel
def hash_contents(
    look_numbers: NDArray[np.float64],
    footprint_hash: NDArray[np.uint64],
    sources: NDArray[np.void],
    numbers: NDArray[np.float64],
    time_us: NDArray[np.int64],
    domain: NDArray[np.int8],
    datum: NDArray[np.int8],
    looks: NDArray[np.void],
    detections: NDArray[np.void],
) -> None:
    """Set `content` of looks: a hash of all that a look says, but for when it arrived."""
    cell = np.zeros(1)
    bits = cell.view(np.uint64)
    for i in range(len(looks)):
        look = looks[i]
        h = _fold(np.uint64(look.count), look.id_hash)
        h = _fold(h, np.uint64(look.time_us))
        h = _fold(h, np.uint64(look.end_us))
        h = _fold(h, sources[look.source].name_hash)
        h = _fold(h, footprint_hash[i])
        for k in range(len(LOOK_NUMBERS)):
            h = _fold(h, _bits(look_numbers[i, k], cell, bits))
        for j in range(look.first, look.first + look.count):
            h = _fold(h, detections[j].texts)
            h = _fold(h, np.uint64(time_us[j]))
            h = _fold(h, np.uint64(domain[j]) << np.uint64(8) | np.uint64(datum[j]))
            for k in range(N_NUMBERS):
                h = _fold(h, _bits(numbers[j, k], cell, bits))
        look.content = h
