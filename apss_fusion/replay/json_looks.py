"""Lines of looks to columns in compiled code.

A line is taken only where it is plain: known fields once each, or others with plain values; strings of ASCII without
escapes; numbers that `json_numbers` reads; no white space but blanks. Nothing is guessed: any other line is left to the
decoder of the format. What a JSON library must judge (ids, classes, footprints) is only delimited here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import Row, kernel
from apss_fusion.model import Ellipse
from apss_fusion.replay.json_numbers import read_number
from apss_fusion.replay.json_scan import (
    CLOSE,
    CLOSE_LIST,
    COLON,
    COMMA,
    NEWLINE,
    NO,
    OPEN,
    OPEN_LIST,
    after_blanks,
    after_null,
    after_object,
    after_plain_value,
    find_name,
    name_table,
    read_name,
    read_time,
    string_end,
)
from apss_fusion.tracking.detection_rows import ELLIPSE, NUMBERS
from apss_fusion.tracking.look_rows import LOOK_NUMBERS
from apss_fusion.tracking.rows import DATUM_NAMES, DOMAIN_NAMES, UNKNOWN
from apss_fusion.tracking.times import NO_TIME_US, byte_at

#: A look as it stands in its line. Places are bytes of the block; a length of 0 is "not there".
LINE = np.dtype(
    [
        ("line", "i8"),  # number in the block, from 0
        ("id_at", "i8"),
        ("id_length", "i8"),
        ("source_at", "i8"),
        ("source_length", "i8"),
        ("footprint_at", "i8"),
        ("footprint_length", "i8"),
        ("time_us", "i8"),
        ("end_us", "i8"),
        ("received_us", "i8"),
        ("count", "i8"),
    ]
)
#: A detection as it stands in its line.
SEEN = np.dtype(
    [
        ("id_at", "i8"),
        ("id_length", "i8"),
        ("ids_at", "i8"),
        ("ids_length", "i8"),
        ("class_at", "i8"),
        ("class_length", "i8"),
        ("time_us", "i8"),
        ("domain", "i8"),
        ("datum", "i8"),
    ]
)

# Kinds of fields of a look: its numbers first.
_LOOK_FIELDS = {
    name: kind
    for kind, name in enumerate(
        (*LOOK_NUMBERS, "time_end", "time_received", "footprint", "look_id", "source_id", "time", "detections")
    )
}
_TIME_END, _TIME_RECEIVED, _FOOTPRINT = (_LOOK_FIELDS[n] for n in ("time_end", "time_received", "footprint"))
_LOOK_ID, _SOURCE_ID, _TIME, _DETECTIONS = (_LOOK_FIELDS[n] for n in ("look_id", "source_id", "time", "detections"))
_LOOK_MUST_HAVE = 1 << _LOOK_ID | 1 << _SOURCE_ID | 1 << _TIME
# Kinds of fields of a detection: its numbers first, of which lat and lon are the first.
_DETECTION_FIELDS = {
    name: kind
    for kind, name in enumerate(
        (*NUMBERS, "time", "ellipse", "cov_enu_m2", "alt_datum", "ids", "class_probs", "detection_id", "domain")
    )
}
_OWN_TIME, _OWN_ELLIPSE, _COVARIANCE = (_DETECTION_FIELDS[n] for n in ("time", "ellipse", "cov_enu_m2"))
_DATUM, _IDS, _CLASSES = (_DETECTION_FIELDS[n] for n in ("alt_datum", "ids", "class_probs"))
_DETECTION_ID, _DOMAIN = _DETECTION_FIELDS["detection_id"], _DETECTION_FIELDS["domain"]
_LAT, _LON = _DETECTION_FIELDS["lat"], _DETECTION_FIELDS["lon"]
_MUST_HAVE = 1 << _LAT | 1 << _LON | 1 << _DETECTION_ID
_ELLIPSE_AT = len(NUMBERS)
_COVARIANCE_AT = len(NUMBERS) + len(ELLIPSE)
_PROBABILITY = Ellipse(1.0, 1.0, 0.0).probability

_LOOK_TEXT, _LOOK_TABLE = name_table(_LOOK_FIELDS)
_DETECTION_TEXT, _DETECTION_TABLE = name_table(_DETECTION_FIELDS)
_ELLIPSE_TEXT, _ELLIPSE_TABLE = name_table({name: k for k, name in enumerate(ELLIPSE)})
_DOMAIN_TEXT, _DOMAIN_TABLE = name_table({name: k for k, name in enumerate(DOMAIN_NAMES)})
_DATUM_TEXT, _DATUM_TABLE = name_table({name: k for k, name in enumerate(DATUM_NAMES) if name})


@kernel
def _ellipse(b: NDArray[np.uint8], p: int, numbers: NDArray[np.float64], j: int) -> int:
    """Read the ellipse that opens at p; what it lacks is NaN, and a fault when the row is checked."""
    if byte_at(b, p) != OPEN:
        return NO
    numbers[j, _ELLIPSE_AT + 3] = _PROBABILITY
    p = after_blanks(b, p + 1)
    while True:
        start = p + 1
        end = string_end(b, p)
        if end < 0:
            return NO
        kind = find_name(b, start, end, _ELLIPSE_TEXT, _ELLIPSE_TABLE)
        p = after_blanks(b, end + 1)
        if kind < 0 or byte_at(b, p) != COLON:
            return NO
        numbers[j, _ELLIPSE_AT + kind], p = read_number(b, after_blanks(b, p + 1))
        if p < 0:
            return NO
        p = after_blanks(b, p)
        if byte_at(b, p) == CLOSE:
            return p + 1
        if byte_at(b, p) != COMMA:
            return NO
        p = after_blanks(b, p + 1)


@kernel
def _covariance(b: NDArray[np.uint8], p: int, numbers: NDArray[np.float64], j: int) -> int:
    if byte_at(b, p) != OPEN_LIST:
        return NO
    for k in range(3):
        numbers[j, _COVARIANCE_AT + k], p = read_number(b, after_blanks(b, p + 1))
        if p < 0:
            return NO
        p = after_blanks(b, p)
        if byte_at(b, p) != (COMMA if k < 2 else CLOSE_LIST):
            return NO
    return p + 1


@kernel
def _key(
    b: NDArray[np.uint8], p: int, text: NDArray[np.uint8], table: NDArray[np.int64], have: int
) -> tuple[int, int, int]:
    """(what the key at p stands for, the bits of the keys met so far, where its value begins).

    The kind is `NO` for a key that is not known; the place is `NO` for none at all, and for a known one that comes twice.
    """
    end = string_end(b, p)
    if end < 0:
        return NO, have, NO
    kind = find_name(b, p + 1, end, text, table)
    p = after_blanks(b, end + 1)
    if byte_at(b, p) != COLON:
        return kind, have, NO
    if kind >= 0:
        if (have >> kind) & 1:
            return kind, have, NO
        have |= 1 << kind
    return kind, have, after_blanks(b, p + 1)


@kernel
def _detection(b: NDArray[np.uint8], p: int, row: Row, numbers: NDArray[np.float64], j: int) -> int:
    """Read the detection that opens at p into row j; the byte after it, or `NO`."""
    if byte_at(b, p) != OPEN:
        return NO
    numbers[j] = np.nan
    row.ids_at = row.ids_length = row.class_at = row.class_length = row.id_at = row.id_length = 0
    row.time_us, row.domain, row.datum = NO_TIME_US, UNKNOWN, 0
    have = 0
    p = after_blanks(b, p + 1)
    while True:
        kind, have, p = _key(b, p, _DETECTION_TEXT, _DETECTION_TABLE, have)
        if p < 0:
            return NO
        start = p
        end = after_null(b, p)
        if kind < 0:
            p = after_plain_value(b, p)
        elif end >= 0:
            p = NO if kind == _LAT or kind == _LON or kind >= _DETECTION_ID else end
        elif kind < len(NUMBERS):
            numbers[j, kind], p = read_number(b, p)
        elif kind == _DETECTION_ID:
            end = string_end(b, p)
            row.id_at, row.id_length = p + 1, end - p - 1
            p = end + 1 if end > p + 1 else NO
        elif kind == _DOMAIN:
            row.domain, p = read_name(b, p, _DOMAIN_TEXT, _DOMAIN_TABLE)
        elif kind == _OWN_TIME:
            row.time_us, p = read_time(b, p)
        elif kind == _OWN_ELLIPSE:
            p = _ellipse(b, p, numbers, j)
        elif kind == _COVARIANCE:
            p = _covariance(b, p, numbers, j)
        elif kind == _DATUM:
            row.datum, p = read_name(b, p, _DATUM_TEXT, _DATUM_TABLE)
        else:
            p = after_object(b, p)
            if kind == _IDS:
                row.ids_at, row.ids_length = start, p - start
            else:
                row.class_at, row.class_length = start, p - start
        if p < 0:
            return NO
        p = after_blanks(b, p)
        if byte_at(b, p) == CLOSE:
            return p + 1 if have & _MUST_HAVE == _MUST_HAVE else NO
        if byte_at(b, p) != COMMA:
            return NO
        p = after_blanks(b, p + 1)


@kernel
def _look(
    b: NDArray[np.uint8],
    p: int,
    look: Row,
    look_numbers: NDArray[np.float64],
    i: int,
    seen: NDArray[np.void],
    numbers: NDArray[np.float64],
    first: int,
) -> int:
    """Read the look that opens at p into row i, its detections from row `first` on; the byte after it, or `NO`."""
    look.count = look.footprint_at = look.footprint_length = 0
    look.end_us = look.received_us = NO_TIME_US
    look_numbers[i] = np.nan
    if byte_at(b, p) != OPEN:
        return NO
    have = 0
    p = after_blanks(b, p + 1)
    while True:
        kind, have, p = _key(b, p, _LOOK_TEXT, _LOOK_TABLE, have)
        if p < 0:
            return NO
        end = after_null(b, p)
        if kind < 0:
            p = after_plain_value(b, p)
        elif end >= 0:
            p = end if kind < _LOOK_ID else NO
        elif kind < len(LOOK_NUMBERS):
            look_numbers[i, kind], p = read_number(b, p)
        elif kind == _LOOK_ID:
            end = string_end(b, p)
            look.id_at, look.id_length = p + 1, end - p - 1
            p = end + 1 if end > p + 1 else NO
        elif kind == _SOURCE_ID:
            end = string_end(b, p)
            look.source_at, look.source_length = p + 1, end - p - 1
            p = end + 1 if end > p + 1 else NO
        elif kind == _TIME:
            look.time_us, p = read_time(b, p)
        elif kind == _TIME_END:
            look.end_us, p = read_time(b, p)
        elif kind == _TIME_RECEIVED:
            look.received_us, p = read_time(b, p)
        elif kind == _FOOTPRINT:
            start = p
            p = after_object(b, p)
            look.footprint_at, look.footprint_length = start, p - start
        else:
            if byte_at(b, p) != OPEN_LIST:
                return NO
            p = after_blanks(b, p + 1)
            while byte_at(b, p) != CLOSE_LIST:
                j = first + look.count
                if j >= len(seen):
                    return NO
                look.count += 1
                p = _detection(b, p, seen[j], numbers, j)
                if p < 0:
                    return NO
                p = after_blanks(b, p)
                if byte_at(b, p) == COMMA:
                    p = after_blanks(b, p + 1)
                    if byte_at(b, p) == CLOSE_LIST:
                        return NO
                elif byte_at(b, p) != CLOSE_LIST:
                    return NO
            p += 1
        if p < 0:
            return NO
        p = after_blanks(b, p)
        if byte_at(b, p) == CLOSE:
            return p + 1 if have & _LOOK_MUST_HAVE == _LOOK_MUST_HAVE else NO
        if byte_at(b, p) != COMMA:
            return NO
        p = after_blanks(b, p + 1)


@kernel
def read_lines(
    b: NDArray[np.uint8],
    size: int,
    looks: NDArray[np.void],
    look_numbers: NDArray[np.float64],
    seen: NDArray[np.void],
    numbers: NDArray[np.float64],
    others: NDArray[np.int64],
    starts: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Read the lines in the first `size` bytes, each with its newline; `PADDING` bytes must follow.

    Parameters
    ----------
    looks, look_numbers
        Rows of `LINE` and (lines, 3), for as many looks as there are lines.
    seen, numbers
        Rows of `SEEN` and (m, N_NUMBERS): m detections find room.
    others
        (lines,): the lines that are not taken.
    starts
        (lines + 1,): where each line begins, and the end of the last.

    Returns
    -------
    n_looks, n_detections, n_others
    """
    n = m = n_others = line = 0
    p = 0
    while p < size:
        starts[line] = start = p
        p = _look(b, start, looks[n], look_numbers, n, seen, numbers, m)
        if p >= 0:
            p = after_blanks(b, p)
        if p >= 0 and byte_at(b, p) == NEWLINE:
            looks[n].line = line
            m += looks[n].count
            n += 1
        else:
            p = start
            while byte_at(b, p) != NEWLINE:
                p += 1
            others[n_others] = line
            n_others += 1
        p += 1
        line += 1
    starts[line] = size
    return n, m, n_others
