"""A file of track updates smoothed into another: read for its states, smoothed, read again and written.

Between the two readings the states are held, about 300 bytes an update and some hundred more while they are smoothed; the
lines themselves are not.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
from msgspec import Raw, Struct
from numpy.typing import NDArray

from apss_fusion.evaluation.records import open_lines
from apss_fusion.outputs.line_file import LineFile
from apss_fusion.smoothing.records import UPPER, columns, decoded
from apss_fusion.smoothing.rts import Smoothed, smoothed
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.rows import UPDATE
from apss_fusion.tracking.updates import (
    COURSE,
    COV,
    LAT,
    LON,
    MAJOR,
    MINOR,
    ORIENTATION,
    SPEED,
    V_EAST,
    V_NORTH,
    Numbers,
    derive,
)

STANDARD_INPUT = "-"
_LINE = msgspec.json.Decoder(dict[str, Raw])
_VELOCITY = msgspec.json.Decoder(tuple[float, float, float | None])
_JSON = msgspec.json.Encoder()


class SmoothingSummary(Struct, frozen=True):
    """How many updates of how many tracks were read, and how many came out smoothed."""

    updates: int
    tracks: int
    smoothed: int


def smooth_file(tracks: str, out: str, config: Config) -> SmoothingSummary:
    """Write the updates of a file, smoothed, in their order.

    Parameters
    ----------
    tracks
        NDJSON (``.gz``: compressed), ``-`` for standard input.
    out
        The same, ``-`` for standard output; only written to once all of `tracks` was read and smoothed.
    config
        The configuration that the tracks were fused with.

    Raises
    ------
    ValueError
        On a line that is no track update, naming file, line and field.
    OSError
        What the system says.
    """
    with _lines(tracks) as lines:
        updates = columns(decoded(tracks, lines))
        result = smoothed(updates, config)
        lines.seek(0)
        with LineFile(out) as sink:
            for line in rewritten(lines, result):
                sink.write(line)
    return SmoothingSummary(len(updates.seq), updates.tracks, int(result.changed.sum()))


@contextmanager
def _lines(path: str) -> Iterator[BinaryIO]:
    """A stream of lines that can be read twice."""
    if path != STANDARD_INPUT:
        with open_lines(Path(path)) as stream:
            yield stream
        return
    with tempfile.TemporaryFile() as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.seek(0)
        yield cast(BinaryIO, kept)


def rewritten(lines: Iterable[bytes], result: Smoothed) -> Iterator[bytes]:
    """The lines with the smoothed fields in place of the filtered ones; every other byte is as it was."""
    numbers = published(result)
    values = numbers.values()
    row = 0
    for line in lines:
        if line.isspace():
            continue
        if result.changed[row]:
            yield _JSON.encode(_LINE.decode(line) | _fields(line, values[row].tolist(), int(numbers.h3[row]))) + b"\n"
        else:
            yield line if line.endswith(b"\n") else line + b"\n"
        row += 1


def published(result: Smoothed) -> Numbers:
    """The smoothed states as the engine publishes a state, rounded by its rules."""
    rows = np.zeros(len(result.changed), UPDATE)
    state: NDArray[Any] = rows["state"]
    state["x"], state["y"], state["z"] = result.position.T
    state["a"], state["b"] = result.velocity.T
    for name, i, j in zip(("ee", "en", "ea", "eb", "nn", "na", "nb", "aa", "ab", "bb"), *UPPER, strict=True):
        state[name] = result.covariance[:, i, j]
    return derive(rows)


def _fields(line: bytes, x: list[float], h3: int) -> dict[str, Any]:
    up = _VELOCITY.decode(_LINE.decode(line)["v_enu_mps"])[2]
    return {
        "lat": x[LAT],
        "lon": x[LON],
        "speed_mps": x[SPEED],
        "course_deg": x[COURSE],
        "v_enu_mps": [x[V_EAST], x[V_NORTH], up],
        "cov_enu": x[COV : COV + 10],
        "ellipse95": {"semi_major_m": x[MAJOR], "semi_minor_m": x[MINOR], "orientation_deg": x[ORIENTATION]},
        "h3": f"{h3:015x}",
    }
