"""The embedded run: recorded feeds through one engine into files, with no broker.

Inputs are merged by arrival and fused chunk by chunk; every record that is read is accounted for. A run can be saved
(its updates and those of the run that resumes it are together those of one run) and be stopped between two chunks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from msgspec import Struct

from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.reading import InputError
from apss_fusion.feeds.registry import decoder_named
from apss_fusion.model import Picture, Source
from apss_fusion.outputs import TrackWriter, open_track_writer
from apss_fusion.replay import state_file
from apss_fusion.replay.merging import Merged, merge
from apss_fusion.replay.pipeline_chunk import Chunk
from apss_fusion.replay.pipeline_files import is_pipe, printable
from apss_fusion.replay.pipeline_inputs import CHUNK_ITEMS, STANDARD_INPUT, InputReader
from apss_fusion.replay.pipeline_lines import picture_json
from apss_fusion.replay.pipeline_outputs import (
    Closing,
    DeadLetters,
    Lines,
    RunError,
    check_outputs,
    naming,
    write_summary,
)
from apss_fusion.replay.pipeline_resume import Continued, expect_more, load_state, newest_time_us, saved_run
from apss_fusion.replay.pipeline_stop import Stop
from apss_fusion.replay.pipeline_tally import ConfirmedTracks, SourceTally, Tally
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine, Rejected, StateError
from apss_fusion.tracking.updates import UpdateBatch

#: Exit status of a run that was stopped.
INTERRUPTED = 130
_LEAST_CHUNK = 512
#: What the summary tells of late looks, of the engine's counters.
_LATE_LOOKS = ("late_fused", "revised", "withdrawn", "pending")

#: Called with the bytes read, all bytes (None: not known), and the detections fused so far.
Progress = Callable[[int, int | None, int], None]


class FuseJob(Struct, frozen=True, kw_only=True):
    """What to fuse and where to write it; names of files, ``-`` for standard input and output."""

    inputs: tuple[str, ...]
    out: str
    config: Config
    #: The register; the built-in sources of the inputs' formats are added where it lacks them.
    sources: Mapping[str, Source] = {}
    #: Format of all inputs; told by their content where None.
    format: str | None = None
    picture: str | None = None
    deadletter: str | None = None
    summary: str | None = None
    save: str | None = None
    resume: str | None = None
    #: Files that were read already and must not be overwritten: the register, the configuration.
    keep: tuple[str, ...] = ()


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended."""

    #: 0, 1 (failed part way) or 130 (stopped).
    status: int
    summary: dict[str, Any]
    warnings: list[str]
    #: What failed, a line each; none where a reader of standard output went away.
    errors: list[str]


def open_inputs(
    names: Sequence[str], format_name: str | None, stop: Stop, expected: str | None = None
) -> list[InputReader]:
    """Open and recognise all inputs; `RunError` of status 2 where one cannot be used.

    A file whose content tells no format is taken for one of the format `expected`, if that is given.
    """
    if names.count(STANDARD_INPUT) > 1:
        raise RunError("-: standard input can be read only once", 2)
    readers: list[InputReader] = []
    try:
        for name in names:
            readers.append(_open_input(name, format_name, stop, expected))
    except InputError as error:
        for reader in readers:
            reader.close()
        raise RunError(str(error), error.status) from None
    return readers


def _open_input(name: str, format_name: str | None, stop: Stop, expected: str | None) -> InputReader:
    try:
        return InputReader(name, format_name, stop)
    except InputError as error:
        if format_name is not None or expected is None or not error.reason.startswith("no known format"):
            raise
        if is_pipe(name) or name == STANDARD_INPUT:
            raise
    return InputReader(name, expected, stop)


def chunk_limit(inputs: int) -> int:
    """Items of a chunk, of which each input has one in memory."""
    return max(_LEAST_CHUNK, CHUNK_ITEMS // max(inputs, 1))


def bytes_of(readers: Sequence[InputReader]) -> tuple[int, int | None]:
    """Bytes read so far, and of all inputs."""
    sizes = [reader.size for reader in readers]
    known = [size for size in sizes if size is not None]
    return sum(reader.bytes_read() for reader in readers), sum(known) if len(known) == len(sizes) else None


def tally_of(readers: Sequence[InputReader]) -> Tally:
    """The records of all inputs."""
    return reduce(Tally.plus, (reader.tally for reader in readers), Tally())


def summary_of_inputs(readers: Sequence[InputReader]) -> list[dict[str, Any]]:
    """What became of each input's records."""
    return [
        {"name": reader.name, "format": reader.format or None, **msgspec.structs.asdict(reader.tally)}
        for reader in readers
    ]


def check_records(readers: Sequence[InputReader], at_end: bool) -> None:
    """Raise `AccountError` where a record is not accounted for; `at_end`: all inputs were read to their end."""
    for reader in readers:
        reader.check(at_end)


def concluded(
    readers: Sequence[InputReader],
    stop: Stop,
    fault: OSError | None,
    summary_path: str | None,
    summary: dict[str, Any],
    warnings: list[str],
) -> Outcome:
    """Write the summary, and tell how a run ended; `fault`: what could not be written."""
    faults = [] if fault is None else [fault]
    try:
        write_summary(summary_path, summary)
    except OSError as error:
        faults.append(error)
    errors = [str(reader.error) for reader in readers if reader.error is not None]
    failed = bool(faults or errors)
    # Who closes the pipe that we write to has seen enough: no error to speak of, but not the end of the run either.
    errors += [f"{f.filename}: {f.strerror}" for f in faults if not isinstance(f, BrokenPipeError)]
    status = 1 if failed else INTERRUPTED if stop.requested else 0
    return Outcome(status=status, summary=summary, warnings=warnings, errors=errors)


def fuse(job: FuseJob, stop: Stop | None = None, progress: Progress | None = None) -> Outcome:
    """Fuse inputs into track updates, until they end or `stop` is asked.

    Raises
    ------
    RunError
        Of status 2, before anything is written: an input, an output or the state cannot be used.
    Interrupted
        `stop` was asked before anything was written.
    """
    began_s = time.perf_counter()
    return _Run(job, stop or Stop(), progress).outcome(began_s)


class _Run:
    """One run, ready to begin: nothing is written before `outcome`."""

    def __init__(self, job: FuseJob, stop: Stop, progress: Progress | None) -> None:
        outputs = {
            "--deadletter": job.deadletter,
            "--out": job.out,
            "--picture": job.picture,
            "--summary": job.summary,
        }
        # A state may be replaced by the next one.
        check_outputs({**outputs, "--save": job.save}, [*job.inputs, *job.keep])
        check_outputs(outputs, [] if job.resume is None else [job.resume])
        self._job, self._stop, self._progress = job, stop, progress
        self._saved = load_state(job.resume)
        # The second part of a table may have no header.
        formats = set() if self._saved is None else {one.format for one in self._saved.inputs}
        self._readers = open_inputs(job.inputs, job.format, stop, formats.pop() if len(formats) == 1 else None)
        self._continued = Continued(self._saved, self._readers, job.resume or "")
        self._warnings = self._continued.warnings
        if job.save is not None:
            expect_more(self._readers)
        else:
            self._readers += self._continued.unfinished(stop)
        decoders = [decoder_named(name) for name in sorted(self._continued.formats)]
        sources = {decoder.name: decoder.source for decoder in decoders} | dict(job.sources)
        config = job.config
        if any(decoder.archive for decoder in decoders):
            # Its looks are not late, they are only in no order.
            config = msgspec.structs.replace(config, hold_back=True)
        self._engine = Engine(config, sources)
        self._settings = state_file.settings_digest((config, sources))
        self._take_up(job)
        self._sources = SourceTally(newest_time_us(self._saved))
        self._given = 0
        self._detections = 0

    def _take_up(self, job: FuseJob) -> None:
        """Load the saved state into the engine."""
        known: set[bytes] = set()
        if self._saved is not None:
            try:
                self._engine.load(self._saved.records)
            except StateError as error:
                raise RunError(f"{job.resume}: {error}", 2) from None
            if self._saved.settings != self._settings:
                self._warnings.append(
                    f"{printable(job.resume or '')}: saved with another configuration or other sources"
                )
            if job.config.tentative:
                # The tracks of the last moment; where looks wait, those of before anything can happen to them.
                time_us = 0 if job.config.hold_back else max(newest_time_us(self._saved), 0)
                known = {UUID(track.track_id).bytes for track in self._engine.picture(time_us).tracks}
        self._confirmed = ConfirmedTracks(job.config.tentative, known)

    def outcome(self, began_s: float) -> Outcome:
        """Run to the end, or to the first thing that fails."""
        fault: OSError | None = None
        try:
            with Closing() as files:
                self._open(files)
                self._fuse()
                if not self._stop.requested and self._job.save is None:
                    self._publish(self._engine.flush())
            self._save()
        except OSError as error:
            fault = error
        if fault is None:
            check_records(self._readers, at_end=not self._stop.requested)
        summary = self._summary(time.perf_counter() - began_s)
        return concluded(self._readers, self._stop, fault, self._job.summary, summary, self._all_warnings())

    def _open(self, files: Closing) -> None:
        job = self._job
        try:
            with naming(job.out):
                self._tracks: TrackWriter = files.add(job.out, open_track_writer(job.out))
            self._pictures = files.add(job.picture, Lines(job.picture))
            self._engine.on_picture = self._write_picture
            self._dead_letters = files.add(job.deadletter, DeadLetters(job.deadletter))
        except OSError as error:
            raise RunError(f"{error.filename}: {error.strerror}", 2) from error
        except ModuleNotFoundError as error:
            raise RunError(str(error), 2) from error

    # ------------------------------------------------------------------ looks in, updates out

    def _fuse(self) -> None:
        limit = chunk_limit(len(self._readers))
        chunks = [reader.chunks(self._dead_letters.put, self._engine.encoder, limit) for reader in self._readers]
        for merged in merge(chunks):
            if self._stop.requested and not self._is_live():
                break
            if len(merged):
                self._fuse_looks(merged)
            if self._progress is not None:
                self._progress(*bytes_of(self._readers), self._detections)
            if self._stop.requested:
                break

    def _is_live(self) -> bool:
        """Whether what has been read can never be read again."""
        return any(reader.fingerprint is None for reader in self._readers)

    def _fuse_looks(self, merged: Merged) -> None:
        batch = merged.batch()
        updates = self._engine.process_many(batch)
        self._sources.add(batch.looks, len(self._engine.register))
        counts = batch.looks["count"][np.argsort(merged.order, kind="stable")]
        at = 0
        for chunk, start, stop in merged.parts:
            chunk.input.take(chunk, start, stop, int(counts[at : at + stop - start].sum()))
            at += stop - start
        self._detections += int(counts.sum())
        letters: list[tuple[Reject, str]] = []
        for rejected in self._engine.rejected():
            i = rejected.number - self._given
            letter = self._not_used(merged.place(i), batch.looks[i], rejected)
            if letter is not None:
                letters.append(letter)
        self._given += len(batch)
        for reject, name in letters:
            self._dead_letters.put(reject, name)
        self._publish(updates)

    def _not_used(self, place: tuple[Chunk, int], look: np.void, rejected: Rejected) -> tuple[Reject, str] | None:
        """Count a look that the engine turned away; its dead letter, if it is one."""
        chunk, k = place
        records = chunk.records_between(k, k + 1)
        tally = chunk.input.tally
        tally.records_used -= records
        tally.looks -= 1
        tally.detections -= int(look["count"])
        self._sources.take_back(look, late=rejected.kind == "late")
        if rejected.kind == "duplicate":
            tally.duplicates += records
            return None
        if rejected.kind == "late":
            tally.late += records
        else:
            tally.dead_letters += records
        return chunk.reject(k, rejected.reason, rejected.field), chunk.input.name

    def _publish(self, updates: UpdateBatch) -> None:
        self._confirmed.add(updates)
        if len(updates):
            with naming(self._job.out):
                self._tracks.write(updates)

    def _write_picture(self, picture: Picture) -> None:
        # Written as each is complete: a long gap between two looks has more of them than memory could hold.
        self._pictures.write(picture_json(picture))

    # ------------------------------------------------------------------ the end

    def _save(self) -> None:
        if self._job.save is None:
            return
        run = saved_run(
            self._engine,
            self._saved,
            self._readers,
            self._continued,
            self._settings,
            self._sources.newest_us,
            interrupted=self._stop.requested,
        )
        with naming(self._job.save):
            state_file.save(self._job.save, run)

    def _all_warnings(self) -> list[str]:
        return [*self._warnings, *self._engine.register.warnings]

    def _summary(self, seconds: float) -> dict[str, Any]:
        tally, late_looks = tally_of(self._readers), self._engine.counters()
        return {
            **msgspec.structs.asdict(tally),
            "tracks_confirmed": self._confirmed.total,
            "seconds": round(seconds, 3),
            "detections_per_second": round(tally.detections / seconds, 1),
            "tracks_by_domain": self._confirmed.by_domain(),
            "late_looks": {name: late_looks[name] for name in _LATE_LOOKS},
            **self._sources.disorder(),
            "by_source": self._sources.result(self._engine.register.names),
            "inputs": summary_of_inputs(self._readers),
            "warnings": self._all_warnings(),
        }
