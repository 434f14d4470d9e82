"""Lines of looks to columns in compiled code.

A line is taken only where it is plain: known fields once each, or others with plain values; strings of ASCII without
escapes; numbers that `json_numbers` reads; no white space but blanks. Nothing is guessed: any other line is left to the
decoder of the format. What a JSON library must judge (ids, classes, footprints) is only delimited here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import kernel
from apss_fusion.replay.json_numbers import read_number
from apss_fusion.tracking.detection_rows import ELLIPSE, N_NUMBERS, NUMBERS
from apss_fusion.tracking.look_rows import LOOK_NUMBERS
from apss_fusion.tracking.rows import DATUM_NAMES, DOMAIN_NAMES, UNKNOWN
from apss_fusion.tracking.times import BAD_TIME_US, NO_TIME_US, rfc3339_us

#: Bytes that must follow the last line, so that no test of the next byte leaves the array.
PADDING = 8

#: A look as it stands in its line. Places are bytes of the block; a length of 0 is "not there".
LINE = np.dtype(
    [
        ("line", "i8"),
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
        ("numbers", "f8", (len(LOOK_NUMBERS),)),
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
        ("numbers", "f8", (N_NUMBERS,)),
    ]
)

# Kinds of fields: a number has those from 100 on.
_LOOK_ID, _SOURCE_ID, _TIME, _TIME_END, _TIME_RECEIVED, _FOOTPRINT, _DETECTIONS = range(1, 8)
_DETECTION_ID, _OWN_TIME, _OWN_ELLIPSE, _COVARIANCE, _DATUM, _DOMAIN, _IDS, _CLASSES = range(1, 9)
_NUMBER = 100
_LAT, _LON = NUMBERS.index("lat"), NUMBERS.index("lon")
_N_NUMBERS = len(NUMBERS)
_COVARIANCE_AT = len(NUMBERS) + len(ELLIPSE)

_LOOK_FIELDS = {
    "look_id": _LOOK_ID,
    "source_id": _SOURCE_ID,
    "time": _TIME,
    "time_end": _TIME_END,
    "time_received": _TIME_RECEIVED,
    "footprint": _FOOTPRINT,
    "detections": _DETECTIONS,
} | {name: _NUMBER + k for k, name in enumerate(LOOK_NUMBERS)}
_DETECTION_FIELDS = {
    "detection_id": _DETECTION_ID,
    "time": _OWN_TIME,
    "ellipse": _OWN_ELLIPSE,
    "cov_enu_m2": _COVARIANCE,
    "alt_datum": _DATUM,
    "domain": _DOMAIN,
    "ids": _IDS,
    "class_probs": _CLASSES,
} | {name: _NUMBER + k for k, name in enumerate(NUMBERS)}
_ELLIPSE_FIELDS = {name: _NUMBER + k for k, name in enumerate(ELLIPSE)}


def _table(names: dict[str, int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Names one after the other, and for each (begin, end, what it stands for)."""
    text = "".join(names).encode()
    ends = np.cumsum([len(n) for n in names])
    rows = [(end - len(n), end, kind) for (n, kind), end in zip(names.items(), ends.tolist(), strict=True)]
    # By length: where those of each length begin.
    rows.sort(key=lambda row: row[1] - row[0])
    return np.frombuffer(text, np.uint8), np.array(rows, np.int64)


_LOOK_TEXT, _LOOK_TABLE = _table(_LOOK_FIELDS)
_DETECTION_TEXT, _DETECTION_TABLE = _table(_DETECTION_FIELDS)
_ELLIPSE_TEXT, _ELLIPSE_TABLE = _table(_ELLIPSE_FIELDS)
_DOMAIN_TEXT, _DOMAIN_TABLE = _table({name: k for k, name in enumerate(DOMAIN_NAMES)})
_DATUM_TEXT, _DATUM_TABLE = _table({name: k for k, name in enumerate(DATUM_NAMES) if name})

_QUOTE, _BACKSLASH, _COMMA, _COLON, _BLANK, _NEWLINE = (ord(c) for c in '"\\,: \n')
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = (ord(c) for c in "{}[]")
_N, _T, _F = (ord(c) for c in "ntf")
_NO = -1
