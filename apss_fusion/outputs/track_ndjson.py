"""Track updates as newline-delimited JSON: one object a line, written without a Python object per update."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import kernel
from apss_fusion.outputs.json_text import (
    ESCAPED_MOST,
    fragment,
    fragments,
    put,
    put_decimal,
    put_escaped,
    put_hex,
    put_integer,
    put_one,
    put_time,
    put_uuid,
)
from apss_fusion.outputs.line_file import LineFile
from apss_fusion.tracking.rows import DATUM_NAMES, DOMAIN_NAMES, REASON_NAMES, STATUS_NAMES
from apss_fusion.tracking.updates import (
    ALT,
    ALT_SIGMA,
    COURSE,
    COV,
    EXISTENCE,
    FLAGS_MASK,
    LAT,
    LENGTH,
    LON,
    MAJOR,
    MINOR,
    NULL,
    ORIENTATION,
    SPEED,
    V_EAST,
    V_NORTH,
    V_UP,
    WEIGHT_DECIMALS,
    WIDTH,
    UpdateBatch,
    flag_names,
    microseconds,
    scaled,
)


def _names(names: tuple[str | None, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return fragments(["null" if name is None else f'"{name}"' for name in names])


_STATUS, _STATUS_AT = _names(STATUS_NAMES)
_REASON, _REASON_AT = _names(REASON_NAMES)
_DOMAIN, _DOMAIN_AT = _names(DOMAIN_NAMES)
_DATUM, _DATUM_AT = _names(DATUM_NAMES)
_FLAGS, _FLAGS_AT = fragments(
    ["[" + ",".join(f'"{name}"' for name in flag_names(k)) + "]" for k in range(FLAGS_MASK + 1)]
)

_NULL = fragment("null")
_COMMA = fragment(",")
_TRACK_ID, _SEQ, _STATUS_KEY = fragment('{"track_id":"'), fragment('","seq":'), fragment(',"status":')
_REASON_KEY, _REVISED, _TIME = fragment(',"end_reason":'), fragment(',"revised_from":'), fragment(',"time":')
_SEEN, _DOMAIN_KEY = fragment(',"time_last_detection":'), fragment(',"domain":')
_LAT, _LON, _ALT, _ALT_SIGMA = map(fragment, (',"lat":', ',"lon":', ',"alt_m":', ',"alt_sigma_m":'))
_DATUM_KEY, _SPEED, _COURSE = fragment(',"alt_datum":'), fragment(',"speed_mps":'), fragment(',"course_deg":')
_VELOCITY, _COV, _ELLIPSE = (
    fragment(',"v_enu_mps":['),
    fragment('],"cov_enu":['),
    fragment('],"ellipse95":{"semi_major_m":'),
)
_MINOR, _ORIENTATION, _EXISTENCE = (
    fragment(',"semi_minor_m":'),
    fragment(',"orientation_deg":'),
    fragment('},"existence_prob":'),
)
_IDS, _CLASSES, _LENGTH, _WIDTH = map(fragment, (',"ids":', ',"class_probs":', ',"length_m":', ',"width_m":'))
_DETECTIONS, _CONTRIBUTORS, _LAST = fragment(',"n_detections":'), fragment(',"contributors":['), fragment(',"last":')
_EVIDENCE, _LOOK_ID, _DETECTION_ID = (
    fragment('],"evidence":['),
    fragment('{"look_id":"'),
    fragment('","detection_id":"'),
)
_WEIGHT, _H3, _FLAGS_KEY, _MARKING = map(fragment, ('","weight":', '],"h3":"', '","flags":', ',"marking":'))
_END, _CLOSE = fragment("}\n"), fragment("}")

# Fields of all widths become one type of integer: kernels are compiled once for each.
_wide: Any = np.int64

# More than the longest line without its fragments, contributors and evidence; and of one of these without its texts.
_LINE_MOST, _PART_MOST = 1536, 128

# Updates for which a writer asks room at once.
_AT_ONCE = 4096


@kernel
def _room(
    rows: NDArray[np.void],
    evidence: NDArray[np.void],
    contributors: NDArray[np.void],
    looks: NDArray[np.void],
    detections: NDArray[np.void],
    ids_at: NDArray[np.int64],
    classes_at: NDArray[np.int64],
    heads_at: NDArray[np.int64],
    markings_at: NDArray[np.int64],
) -> int:
    """Bytes that the lines cannot exceed."""
    n = 0
    for i in range(len(rows)):
        r = rows[i]
        a, m = r.belief.attributes, _wide(r.sources)
        n += (
            _LINE_MOST
            + ids_at[a + 1]
            - ids_at[a]
            + classes_at[a + 1]
            - classes_at[a]
            + markings_at[m + 1]
            - markings_at[m]
        )
        for k in range(r.contributors, r.contributors + r.contributors_n):
            source = _wide(contributors[k].source)
            n += _PART_MOST + heads_at[source + 1] - heads_at[source]
        if r.look >= 0:
            for k in range(r.evidence, r.evidence + r.evidence_n):
                texts = looks[r.look].id_length + detections[evidence[k].detection].id_length
                n += _PART_MOST + ESCAPED_MOST * texts
    return n


@kernel
def _lines(
    out: NDArray[np.uint8],
    rows: NDArray[np.void],
    number: NDArray[np.int64],
    decimals: NDArray[np.uint8],
    seen_us: NDArray[np.int64],
    h3: NDArray[np.uint64],
    track_ids: NDArray[np.uint8],
    evidence: NDArray[np.void],
    contributors: NDArray[np.void],
    looks: NDArray[np.void],
    detections: NDArray[np.void],
    text: NDArray[np.uint8],
    ids: NDArray[np.uint8],
    ids_at: NDArray[np.int64],
    classes: NDArray[np.uint8],
    classes_at: NDArray[np.int64],
    heads: NDArray[np.uint8],
    heads_at: NDArray[np.int64],
    markings: NDArray[np.uint8],
    markings_at: NDArray[np.int64],
) -> int:
    """Write the lines of all rows; how many bytes they are."""
    p = 0
    for i in range(len(rows)):
        r, x, d = rows[i], number[i], decimals[i]
        p = put_uuid(out, put(out, p, _TRACK_ID), track_ids[i])
        p = put_integer(out, put(out, p, _SEQ), _wide(r.seq))
        p = put_one(out, put(out, p, _STATUS_KEY), _STATUS, _STATUS_AT, _wide(r.status))
        p = put_one(out, put(out, p, _REASON_KEY), _REASON, _REASON_AT, _wide(r.reason))
        p = put(out, p, _REVISED)
        p = put(out, p, _NULL) if r.revised_us < 0 else put_time(out, p, r.revised_us)
        p = put_time(out, put(out, p, _TIME), r.time_us)
        p = put_time(out, put(out, p, _SEEN), seen_us[i])
        p = put_one(out, put(out, p, _DOMAIN_KEY), _DOMAIN, _DOMAIN_AT, _wide(r.belief.domain))
        p = put_decimal(out, put(out, p, _LAT), x[LAT], d[LAT])
        p = put_decimal(out, put(out, p, _LON), x[LON], d[LON])
        p = put_decimal(out, put(out, p, _ALT), x[ALT], d[ALT])
        p = put_decimal(out, put(out, p, _ALT_SIGMA), x[ALT_SIGMA], d[ALT_SIGMA])
        datum = _wide(r.belief.datum) if x[ALT] != NULL else 0
        p = put_one(out, put(out, p, _DATUM_KEY), _DATUM, _DATUM_AT, datum)
        p = put_decimal(out, put(out, p, _SPEED), x[SPEED], d[SPEED])
        p = put_decimal(out, put(out, p, _COURSE), x[COURSE], d[COURSE])
        p = put_decimal(out, put(out, p, _VELOCITY), x[V_EAST], d[V_EAST])
        p = put_decimal(out, put(out, p, _COMMA), x[V_NORTH], d[V_NORTH])
        p = put_decimal(out, put(out, p, _COMMA), x[V_UP], d[V_UP])
        p = put_decimal(out, put(out, p, _COV), x[COV], d[COV])
        for k in range(COV + 1, COV + 10):
            p = put_decimal(out, put(out, p, _COMMA), x[k], d[k])
        p = put_decimal(out, put(out, p, _ELLIPSE), x[MAJOR], d[MAJOR])
        p = put_decimal(out, put(out, p, _MINOR), x[MINOR], d[MINOR])
        p = put_decimal(out, put(out, p, _ORIENTATION), x[ORIENTATION], d[ORIENTATION])
        p = put_decimal(out, put(out, p, _EXISTENCE), x[EXISTENCE], d[EXISTENCE])
        p = put_one(out, put(out, p, _IDS), ids, ids_at, r.belief.attributes)
        p = put_one(out, put(out, p, _CLASSES), classes, classes_at, r.belief.attributes)
        p = put_decimal(out, put(out, p, _LENGTH), x[LENGTH], d[LENGTH])
        p = put_decimal(out, put(out, p, _WIDTH), x[WIDTH], d[WIDTH])
        p = put_integer(out, put(out, p, _DETECTIONS), _wide(r.detections))
        p = put(out, p, _CONTRIBUTORS)
        for k in range(r.contributors, r.contributors + r.contributors_n):
            if k > r.contributors:
                p = put(out, p, _COMMA)
            c = contributors[k]
            p = put_integer(out, put_one(out, p, heads, heads_at, _wide(c.source)), _wide(c.n))
            p = put(out, put_time(out, put(out, p, _LAST), microseconds(c.last)), _CLOSE)
        p = put(out, p, _EVIDENCE)
        if r.look >= 0:
            look = looks[r.look]
            for k in range(r.evidence, r.evidence + r.evidence_n):
                if k > r.evidence:
                    p = put(out, p, _COMMA)
                p = put_escaped(out, put(out, p, _LOOK_ID), text, look.id_at, _wide(look.id_length))
                detection = detections[evidence[k].detection]
                p = put_escaped(out, put(out, p, _DETECTION_ID), text, detection.id_at, _wide(detection.id_length))
                weight = scaled(evidence[k].weight, WEIGHT_DECIMALS)
                p = put(out, put_decimal(out, put(out, p, _WEIGHT), weight, WEIGHT_DECIMALS), _CLOSE)
        p = put_hex(out, put(out, p, _H3), h3[i], 15)
        p = put_one(out, put(out, p, _FLAGS_KEY), _FLAGS, _FLAGS_AT, _wide(r.flags) & FLAGS_MASK)
        p = put_one(out, put(out, p, _MARKING), markings, markings_at, _wide(r.sources))
        p = put(out, p, _END)
    return p


def encode(updates: UpdateBatch) -> memoryview:
    """The updates as lines of compact JSON, keys in the order of `TrackUpdate`'s fields; empty for no updates."""
    looks, detections, text = updates.batch.looks, updates.batch.detections, updates.batch.text
    if not text.flags.writeable:
        # Another type to numba, for which it would compile all again.
        text = text.copy()
    ids, ids_at = updates.attributes.ids_json.arrays()
    classes, classes_at = updates.attributes.class_json.arrays()
    heads, heads_at = updates.register.heads.arrays()
    markings, markings_at = updates.register.markings.arrays()
    rows, evidence, contributors = updates.rows, updates.evidence, updates.contributors
    room = _room(rows, evidence, contributors, looks, detections, ids_at, classes_at, heads_at, markings_at)
    out = np.empty(room, np.uint8)
    end = _lines(
        out,
        rows,
        *updates.numbers,
        updates.track_ids,
        evidence,
        contributors,
        looks,
        detections,
        text,
        ids,
        ids_at,
        classes,
        classes_at,
        heads,
        heads_at,
        markings,
        markings_at,
    )
    return out[:end].data


class TrackLines:
    """A `TrackWriter` of newline-delimited JSON to a path (``.gz``: compressed) or, for ``-``, to standard output.

    A line is one update; `msgspec.json.decode(line, type=TrackUpdate)`, `pandas.read_json(path, lines=True)` or
    DuckDB's `read_json_auto` reads it.
    """

    def __init__(self, path: str) -> None:
        self._file = LineFile(path)

    def write(self, updates: UpdateBatch) -> None:
        """Write the updates as whole lines."""
        for start in range(0, len(updates), _AT_ONCE):
            self._file.write(encode(updates[start : start + _AT_ONCE]))

    def flush(self) -> None:
        """Hand all that was written to the system."""
        self._file.flush()

    def close(self) -> None:
        """Flush and close; a second time does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
