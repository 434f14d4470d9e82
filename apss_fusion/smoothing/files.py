"""A file of track updates smoothed into another: read for its states, smoothed, read again and written.

Between the two readings the states of the whole file are held, about 2 kB an update while they are smoothed; the lines
themselves are not.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from msgspec import Struct

from apss_fusion.evaluation.records import open_lines
from apss_fusion.outputs.line_file import LineFile
from apss_fusion.smoothing.lines import rewritten
from apss_fusion.smoothing.records import columns, decoded
from apss_fusion.smoothing.rts import smoothed
from apss_fusion.tracking.config import Config

STANDARD_INPUT = "-"
_TABLES = (".parquet", ".arrow")


class SmoothingSummary(Struct, frozen=True):
    """How many updates of how many tracks were read, and how many of them smoothing changed."""

    updates: int
    tracks: int
    smoothed: int


def smooth_file(tracks: str, out: str, config: Config) -> SmoothingSummary:
    """Write the updates of a file, smoothed, in their order.

    Parameters
    ----------
    tracks
        NDJSON (``.gz``: compressed), ``.parquet`` or ``.arrow``; ``-`` is NDJSON from standard input.
    out
        The same; ``-`` is standard output. It is opened once all of `tracks` was read and smoothed.
    config
        The configuration that the tracks were fused with.

    Raises
    ------
    ValueError
        On a line or row that is no track update, naming file, line and field. Nothing was written then.
    OSError, EOFError
        What the system says; the compressed data end too early.
    ModuleNotFoundError
        For ``.parquet`` and ``.arrow`` without pyarrow; the message says what to install.
    """
    if tracks.endswith(_TABLES) or out.endswith(_TABLES):
        return _smooth_table(tracks, out, config)
    with _lines(tracks) as lines:
        updates = columns(decoded(tracks, lines))
        result = smoothed(updates, config)
        lines.seek(0)
        _write_lines(out, rewritten(lines, result))
    return SmoothingSummary(len(updates.seq), updates.tracks, int(result.changed.sum()))


def _smooth_table(tracks: str, out: str, config: Config) -> SmoothingSummary:
    """As `smooth_file`, where one of the files or both are tables."""
    from apss_fusion.smoothing import tables

    if tracks.endswith(_TABLES):
        updates = columns(tables.read_updates(tracks))
        result = smoothed(updates, config)
        batches = tables.rewritten_batches(tables.read_batches(tracks), result)
        if out.endswith(_TABLES):
            tables.write_batches(out, batches)
        else:
            _write_lines(out, tables.lines_of(batches))
    else:
        with _lines(tracks) as lines:
            updates = columns(decoded(tracks, lines))
            result = smoothed(updates, config)
            lines.seek(0)
            tables.write_batches(out, tables.batches_of(rewritten(lines, result)))
    return SmoothingSummary(len(updates.seq), updates.tracks, int(result.changed.sum()))


def _write_lines(out: str, lines: Iterator[bytes]) -> None:
    with LineFile(out) as sink:
        for line in lines:
            sink.write(line)


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
