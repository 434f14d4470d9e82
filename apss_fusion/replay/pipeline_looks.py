"""Recorded feeds to files of looks, without fusing them: looks in the order of their arrival, whatever their times."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from apss_fusion.model import Look
from apss_fusion.outputs.line_file import LineFile
from apss_fusion.replay.merging import merge
from apss_fusion.replay.pipeline import (
    Outcome,
    Progress,
    bytes_of,
    check_records,
    chunk_limit,
    concluded,
    open_inputs,
    summary_of_inputs,
    tally_of,
)
from apss_fusion.replay.pipeline_inputs import InputReader
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.replay.pipeline_outputs import Closing, DeadLetters, RunError, check_outputs, naming
from apss_fusion.replay.pipeline_stop import Stop


class LooksJob(Struct, frozen=True, kw_only=True):
    """What to decode and where to write it; names of files, ``-`` for standard input and output."""

    inputs: tuple[str, ...]
    out: str
    #: Format of all inputs; told by their content where None.
    format: str | None = None
    deadletter: str | None = None
    summary: str | None = None


class LookWriter(Protocol):
    """Where looks are written to."""

    def write(self, looks: Iterable[Look]) -> None:
        """Write looks; `OSError` where the system cannot."""

    def close(self) -> None:
        """Write what is left and close."""


class LookLines:
    """Looks as lines of JSON; see `LineFile` for the names of files."""

    def __init__(self, path: str) -> None:
        self._file = LineFile(path)

    def write(self, looks: Iterable[Look]) -> None:
        """Write looks, a line each."""
        self._file.write(b"".join(map(look_json, looks)))

    def close(self) -> None:
        """Write what is left and close."""
        self._file.close()


def open_look_writer(path: str) -> LookWriter:
    """A writer by the name's ending: ``.parquet``, ``.arrow``, else JSON lines (``.gz``: compressed; ``-``: standard
    output). `OSError` where it cannot be opened, `ModuleNotFoundError` for tables without pyarrow.
    """
    if path.endswith((".parquet", ".arrow")):
        from apss_fusion.replay.look_file import LookFile

        return LookFile(path)
    return LookLines(path)


def decode(job: LooksJob, stop: Stop | None = None, progress: Progress | None = None) -> Outcome:
    """Decode inputs, merged by arrival, into one file of looks; raises as `pipeline.fuse`."""
    began_s = time.perf_counter()
    stop = stop or Stop()
    check_outputs({"--deadletter": job.deadletter, "--out": job.out, "--summary": job.summary}, job.inputs)
    readers = open_inputs(job.inputs, job.format, stop)
    fault: OSError | None = None
    try:
        with Closing() as files:
            writer, dead_letters = _open(job, files)
            _decode(readers, writer, dead_letters, job.out, stop, progress)
    except OSError as error:
        fault = error
    if fault is None:
        check_records(readers, at_end=not stop.requested)
    summary = _summary(readers, time.perf_counter() - began_s)
    return concluded(readers, stop, fault, job.summary, summary, warnings=[])


def _open(job: LooksJob, files: Closing) -> tuple[LookWriter, DeadLetters]:
    try:
        with naming(job.out):
            writer = files.add(job.out, open_look_writer(job.out))
        return writer, files.add(job.deadletter, DeadLetters(job.deadletter))
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror}", 2) from error
    except ModuleNotFoundError as error:
        raise RunError(f"{job.out}: {error}", 2) from error


def _decode(
    readers: list[InputReader],
    writer: LookWriter,
    dead_letters: DeadLetters,
    out: str,
    stop: Stop,
    progress: Progress | None,
) -> None:
    done = 0
    limit = chunk_limit(len(readers))
    for merged in merge([reader.chunks(dead_letters.put, None, limit) for reader in readers]):
        with naming(out):
            writer.write(merged.looks())
        for chunk, start, end in merged.parts:
            detections = sum(len(look.detections) for look in chunk.looks[start:end])
            chunk.input.take(chunk, start, end, detections)
            done += detections
        if progress is not None:
            progress(*bytes_of(readers), done)
        if stop.requested:
            return


def _summary(readers: list[InputReader], seconds: float) -> dict[str, Any]:
    tally = tally_of(readers)
    return {
        **msgspec.structs.asdict(tally),
        "seconds": round(seconds, 3),
        "detections_per_second": round(tally.detections / seconds, 1),
        "inputs": summary_of_inputs(readers),
    }
