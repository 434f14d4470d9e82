"""The engine as every other room sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from apss_fusion.model import Look, Picture, PictureTrack, Source, TrackUpdate
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.filter import Filter
from apss_fusion.tracking.holdback import AHEAD, CONTRADICTORY, DUPLICATE, GOOD, LATE, REASONS, HoldBack
from apss_fusion.tracking.picture import tracks_at
from apss_fusion.tracking.records import (
    CELL,
    CLOCK,
    LOOK_KEY,
    TRACK,
    Clock,
    LoadedTracks,
    Record,
    StateError,
    as_pairs,
    check_header,
    header,
    held_batch,
    held_key,
    held_records,
    track_records,
)
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import COASTING, CONFIRMED, TENTATIVE
from apss_fusion.tracking.updates import UpdateBatch, utc

__all__ = ["AHEAD", "CONTRADICTORY", "DUPLICATE", "LATE", "Engine", "Rejected", "StateError"]


class Rejected(msgspec.Struct, frozen=True):
    """A look (by its number among all that were given) that was not fused, or a detection of one that was."""

    #: Number of the look since the engine was made, from 0.
    number: int
    #: Number of the detection in its look, or -1 for the look as a whole.
    detection: int
    reason: str
    field: str | None
    #: One of "late", "duplicate" and "bad".
    kind: str


class Engine:
    """Fuses looks into tracks, in order of event time within the lag.

    Parameters
    ----------
    config
        The defaults where None.
    sources
        The register of sources by id. A look of a source that is not in it is fused with the defaults of OTHER.
    """

    def __init__(self, config: Config | None = None, sources: Mapping[str, Source] | None = None) -> None:
        self.config = config or Config.of()
        self.register = Register(dict(sources or {}))
        self.attributes = Attributes()
        self._encoder = Encoder(self.register, self.attributes)
        self._filter = Filter(self.config, self.register, self.attributes)
        self._hold_back = HoldBack()
        self._lag_of_domain = self._domain_lags(dict(sources or {}))
        self.lag_us = max(self._lag_of_domain)
        self._lags = np.zeros(0, np.int64)
        self._given = 0
        self._rejected: list[Rejected] = []
        self._pictures: list[Picture] = []
        self._fused_us = -1
        self._picture_us = -1
        interval = self.config.picture_interval_s
        self._interval_us = round(interval * 1e6) if interval else 0
        self._reported_held: set[str] = set()
        self._header_reported = False

    # ------------------------------------------------------------------ looks in, updates out

    def process(self, look: Look) -> list[TrackUpdate]:
        """Take in one look; returns the updates of all looks that nothing earlier can precede any more."""
        return list(self.process_many([look]))

    def process_many(self, looks: Iterable[Look] | LookBatch) -> UpdateBatch:
        """Take in looks in order of arrival, faster; the updates are those of `process`, one look after the other."""
        batch = looks if isinstance(looks, LookBatch) else self.encode(looks)
        numbers = self._numbers(batch)
        for r in batch.rejected:
            self._rejected.append(Rejected(self._given + r.look, r.detection, r.reason, r.field, "bad"))
        codes = self._hold_back.admit(batch, self._lag_by_source(), self.lag_us)
        for i in np.flatnonzero(codes != GOOD).tolist():
            code = int(codes[i])
            kind = {LATE: "late", DUPLICATE: "duplicate"}.get(code, "bad")
            field = {CONTRADICTORY: "look_id", AHEAD: "time"}.get(code)
            self._rejected.append(Rejected(self._given + int(numbers[i]), -1, REASONS[code], field, kind))
        self._given += batch.given
        return self._release(self._hold_back.clock_us - self.lag_us)

    def encode(self, looks: Iterable[Look]) -> LookBatch:
        """Looks as arrays, for `process_many`: belongs to this engine."""
        return self._encoder.encode(looks if isinstance(looks, Sequence) else list(looks))

    @property
    def encoder(self) -> Encoder:
        """What makes batches for this engine."""
        return self._encoder

    def flush(self) -> UpdateBatch:
        """The end of a feed: fuse what was held back. What comes later from before that is late."""
        updates = self._release(np.iinfo(np.int64).max)
        self._hold_back.floor_us = max(self._hold_back.floor_us, self._fused_us)
        return updates

    def rejected(self) -> list[Rejected]:
        """What was not used since last asked: late, duplicate, contradictory or bad looks, and bad detections."""
        out, self._rejected = self._rejected, []
        return out

    # ------------------------------------------------------------------ the picture

    def picture(self, time_us: int) -> Picture:
        """All confirmed and coasting tracks predicted to a time, microseconds since 1970, from the looks fused so far."""
        return Picture(utc(time_us), tuple(self._tracks(time_us, (CONFIRMED, COASTING), 0.0)))

    def tracks_at(self, time_us: int, least_existence: float) -> list[PictureTrack]:
        """Tracks of any status with at least this probability of existence, predicted to a time, sorted by track_id."""
        return self._tracks(time_us, (TENTATIVE, CONFIRMED, COASTING), least_existence)

    def _tracks(self, time_us: int, statuses: tuple[int, ...], least_existence: float) -> list[PictureTrack]:
        columns = tracks_at(self._filter.bank, self._filter.track_id, self._filter.params, time_us / 1e6, statuses)
        tracks = [
            PictureTrack(track_id, lat, lon, r, status, self.attributes.ids(n))
            for track_id, lat, lon, r, status, n in columns
            if r >= least_existence
        ]
        return sorted(tracks, key=lambda t: t.track_id)

    def pictures(self) -> list[Picture]:
        """The pictures of `picture_interval_s` that were completed since last asked."""
        out, self._pictures = self._pictures, []
        return out

    def counts(self) -> dict[str, int]:
        """How many living tracks there are, by status name."""
        return self._filter.counts()

    # ------------------------------------------------------------------ state

    def changes(self) -> list[Record]:
        """(key, record) of all that changed since last asked; a key that is gone has no record."""
        out: list[Record] = []
        if not self._header_reported:
            out.append(header())
            self._header_reported = True
        out += [(TRACK + track_id.hex(), None) for track_id in self._filter.gone]
        self._filter.gone = []
        slots = self._filter.changed_slots()
        out += track_records(self._filter.bank, self._filter.track_id, slots, self.register, self.attributes)
        out += self._filter.changed_cells(CELL)
        held = {
            held_key(int(batch.looks["time_us"][i]), batch.look_id(i)): (batch, i)
            for batch in self._hold_back.waiting()
            for i in range(len(batch))
        }
        out += [(key, None) for key in sorted(self._reported_held - held.keys())]
        for key in sorted(held.keys() - self._reported_held):
            batch, i = held[key]
            out += held_records(batch.take(i, i + 1), self.register, self.attributes)
        self._reported_held = set(held)
        clock = Clock(self._hold_back.clock_us, self._hold_back.floor_us, self._fused_us, self._picture_us)
        out.append((CLOCK, msgspec.msgpack.encode(clock)))
        return out

    def load(self, records: Iterable[Record]) -> None:
        """Take up the whole state from such records, the last one of a key wins. Only for an engine that is new.

        Raises
        ------
        StateError
            Records of another format or version, or damaged ones; the message says which.
        """
        pairs = as_pairs(records)
        check_header(pairs)
        if CLOCK not in pairs:
            raise StateError("engine state: it has no record 'clock'")
        try:
            clock = msgspec.msgpack.decode(pairs[CLOCK], type=Clock)
        except msgspec.MsgspecError as error:
            raise StateError(f"engine state: record 'clock' is damaged: {error}") from None
        tracks = LoadedTracks(((k, v) for k, v in pairs.items() if k.startswith(TRACK)), self.register, self.attributes)
        cells = [(k, v) for k, v in pairs.items() if k.startswith(CELL)]
        self._filter.load(tracks, cells, CELL, clock.fused_us / 1e6)
        held = held_batch((pairs[k] for k in sorted(pairs) if k.startswith(LOOK_KEY)), self.register, self.attributes)
        self._hold_back = HoldBack()
        self._hold_back.take_up(held, clock.arrival_us, clock.floor_us)
        self._fused_us, self._picture_us = clock.fused_us, clock.picture_us
        if self._interval_us and self._picture_us >= 0:
            # The interval may be another one than before.
            since = max(self._picture_us, self._fused_us)
            self._picture_us = -(-since // self._interval_us) * self._interval_us
        self._reported_held = {k for k in pairs if k.startswith(LOOK_KEY)}
        self._header_reported = True

    # ------------------------------------------------------------------ inside

    def _release(self, before_us: int) -> UpdateBatch:
        batch = self._hold_back.release(before_us, self.register.names)
        out: list[UpdateBatch] = []
        if self._interval_us:
            self._fuse_with_pictures(batch, before_us, out)
        elif len(batch):
            out += self._filter.fuse(batch, 0, len(batch))
        if len(batch):
            self._fused_us = int(batch.looks["time_us"][-1])
        return UpdateBatch.concat(out) if out else self._filter.no_updates(batch)

    def _fuse_with_pictures(self, batch: LookBatch, before_us: int, out: list[UpdateBatch]) -> None:
        time_us = batch.looks["time_us"]
        if self._picture_us < 0 and len(batch):
            self._picture_us = -(-int(time_us[0]) // self._interval_us) * self._interval_us
        if self._picture_us < 0:
            return
        # A picture is complete when no look up to its time can come any more; at the end, up to the last look.
        last = max(self._fused_us, int(time_us[-1]) if len(batch) else -1)
        until = before_us if before_us != np.iinfo(np.int64).max else last + 1
        start = 0
        while self._picture_us < until:
            stop = int(np.searchsorted(time_us, self._picture_us, "right"))
            if stop > start:
                out += self._filter.fuse(batch, start, stop)
                start = stop
            out += self._filter.live_until(self._picture_us / 1e6, batch)
            self._pictures.append(self.picture(self._picture_us))
            self._picture_us += self._interval_us
        if start < len(batch):
            out += self._filter.fuse(batch, start, len(batch))

    def _domain_lags(self, sources: Mapping[str, Source]) -> list[int]:
        """The longest lag of the registered sources of each domain, microseconds."""
        if self.config.lag_s is not None:
            return [round(self.config.lag_s * 1e6)] * 3
        if not sources:
            return [int(self.register.defaults.modality["OTHER"].max_latency_s * 1e6)] * 3
        lags = [0, 0, 0]
        for name in sources:
            number = self.register.number(name)
            row = self.register.parameters[number]
            for domain in range(3):
                if (row["domains"] >> domain) & 1:
                    lags[domain] = max(lags[domain], int(row["max_latency_us"]))
        return lags

    def _lag_by_source(self) -> np.ndarray:
        rows = self.register.parameters
        if len(rows) != len(self._lags):
            lags = np.array(self._lag_of_domain, np.int64)
            touches = (rows["domains"].astype(np.int64)[:, None] >> np.arange(3)) & 1
            self._lags = np.max(np.where(touches == 1, lags, 0), axis=1)
        return self._lags

    def _numbers(self, batch: LookBatch) -> np.ndarray:
        """The number, among the looks given, of each look of a batch: those rejected whole are not in it."""
        whole = np.array([r.look for r in batch.rejected if r.detection < 0], np.int64)
        if not len(whole):
            return np.arange(len(batch))
        return np.delete(np.arange(batch.given), whole)
