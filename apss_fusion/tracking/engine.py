"""The engine as every other room sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from apss_fusion.model import Look, Picture, PictureTrack, Source, TrackUpdate
from apss_fusion.tracking.arrival import Agenda, Lags
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.filter import Filter
from apss_fusion.tracking.holdback import AHEAD, CONTRADICTORY, DUPLICATE, GOOD, LATE, REASONS, HoldBack
from apss_fusion.tracking.look_records import LookBlocks
from apss_fusion.tracking.records import (
    CELL,
    CLOCK,
    Clock,
    Record,
    StateError,
    as_pairs,
    check_header,
    header,
)
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import COASTING, CONFIRMED, TENTATIVE
from apss_fusion.tracking.snapshot import EngineState, snapshot
from apss_fusion.tracking.track_records import LoadedTracks
from apss_fusion.tracking.undetected import MixtureBirths
from apss_fusion.tracking.updates import UpdateBatch, utc
from apss_fusion.tracking.window.filter import WindowFilter
from apss_fusion.tracking.window.saved import take_up, unsettled

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


class LateWork(msgspec.Struct, frozen=True):
    """What one late look has cost."""

    time_us: int
    #: How far it lay behind the newest look.
    age_s: float
    detections: int
    #: Clusters weighed at its own place, and afterwards.
    clusters_first: int
    clusters_again: int
    #: Looks that were visited, tracks that were rewritten, updates that were published.
    places: int
    tracks: int
    updates: int


_END_US = np.iinfo(np.int64).max


class Engine:
    """Fuses looks into tracks: as they arrive, each at its own place in time, within the lag.

    Where the configuration says `hold_back`, looks wait until nothing earlier may come, and updates are never revised.

    Parameters
    ----------
    config
        The defaults where None.
    sources
        The register of sources by id. A look of a source that is not in it is fused with the defaults of OTHER.
    births
        Where undetected objects are and appear, in place of the cells of the globe. Such an engine holds looks back and has
        no records.

    Raises
    ------
    ValueError
        With `births`, where the configuration does not say `hold_back`.
    """

    def __init__(
        self,
        config: Config | None = None,
        sources: Mapping[str, Source] | None = None,
        births: MixtureBirths | None = None,
    ) -> None:
        self.config = config or Config.of()
        if births is not None and not self.config.hold_back:
            raise ValueError("a mixture of births couples all tracks: such an engine holds looks back (hold_back)")
        self._recorded = births is None
        self.register = Register(dict(sources or {}))
        self.attributes = Attributes()
        self._encoder = Encoder(self.register, self.attributes)
        self._lags = Lags(self.config, self.register, dict(sources or {}))
        interval = self.config.picture_interval_s
        self._agenda = Agenda(self._lags, round(interval * 1e6) if interval else 0)
        self._blocks = LookBlocks(self.register, self.attributes)
        self._filter = Filter(self.config, self.register, self.attributes, self._lags, births)
        self._window: WindowFilter | None = None
        if not self.config.hold_back:
            self._filter = self._window = WindowFilter(
                self.config, self.register, self.attributes, self._lags, self._blocks
            )
        self._hold_back = HoldBack(self._blocks)
        self.lag_us = self._lags.longest_us
        self._given = 0
        self._rejected: list[Rejected] = []
        self._pictures: list[Picture] = []
        #: Called with each picture as it is completed; they are kept for `pictures` where None.
        self.on_picture: Callable[[Picture], None] | None = None
        #: Whether the work of each late look is kept for `work`: for measuring.
        self.keep_work = False
        self._work: list[LateWork] = []
        self._fused_us = -1
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
        before_us = self._hold_back.clock_us
        codes = self._hold_back.admit(batch, self._lags.by_source(), self.lag_us, self._window is None)
        for i in np.flatnonzero(codes != GOOD).tolist():
            code = int(codes[i])
            kind = {LATE: "late", DUPLICATE: "duplicate"}.get(code, "bad")
            field = {CONTRADICTORY: "look_id", AHEAD: "time"}.get(code)
            self._rejected.append(Rejected(self._given + int(numbers[i]), -1, REASONS[code], field, kind))
        self._given += batch.given
        if self._window is None:
            return self._release(self._hold_back.clock_us - self.lag_us)
        clock_us = np.maximum(np.maximum.accumulate(batch.looks["received_us"]), before_us)
        return self._take_in(self._window, batch, np.flatnonzero(codes == GOOD), clock_us)

    def encode(self, looks: Iterable[Look]) -> LookBatch:
        """Looks as arrays, for `process_many`: belongs to this engine."""
        return self._encoder.encode(looks if isinstance(looks, Sequence) else list(looks))

    @property
    def encoder(self) -> Encoder:
        """What makes batches for this engine."""
        return self._encoder

    def flush(self) -> UpdateBatch:
        """The end of a feed: fuse what was held back, finish what is pending. What comes later from before that is late."""
        if self._window is None:
            updates = self._release(_END_US)
        else:
            nothing = LookBatch.empty()
            out = self._window.finish(nothing)
            self._complete_pictures(self._window, self._fused_us + 1)
            updates = UpdateBatch.concat(out) if out else self._window.no_updates(nothing)
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
        tracks = [
            PictureTrack(track_id, lat, lon, r, status, self.attributes.ids(n))
            for track_id, lat, lon, r, status, n in self._filter.tracks_at(time_us / 1e6, statuses)
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
        """(key, record) of all that changed since last asked; a key that is gone has no record.

        Raises ValueError where a mixture of births is in use.
        """
        if not self._recorded:
            raise ValueError("an engine with a mixture of births has no records")
        out: list[Record] = []
        if not self._header_reported:
            out.append(header())
            self._header_reported = True
        out += self._filter.records()
        if self._window is None:
            out += self._hold_back.records()
        clock = Clock(
            self._hold_back.clock_us,
            self._hold_back.floor_us,
            self._fused_us,
            self._agenda.picture_us,
            None if self._window is None else self._agenda.cut_us,
            0 if self._window is None else unsettled(self._window),
            self._blocks.last,
        )
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
        if (clock.cut_us is None) != (self._window is None):
            raise StateError("engine state: saved where looks were held back, or not; this engine does otherwise")
        tracks = LoadedTracks(pairs, self.register, self.attributes, self._filter.bank.history.shape[1])
        cells = [(k, v) for k, v in pairs.items() if k.startswith(CELL)]
        since_us = clock.fused_us if clock.cut_us is None else min(clock.cut_us)
        self._filter.load(tracks, cells, CELL, since_us / 1e6)
        looks, blocks = self._blocks.take_up(pairs, clock.block)
        if self._window is None:
            self._hold_back.take_up(looks, blocks, clock.arrival_us, clock.floor_us, clock.fused_us)
        else:
            self._agenda.take_up_cuts(clock.cut_us or [])
            self._hold_back.remember(looks.looks[blocks > 0], clock.arrival_us, clock.floor_us)
            now_s = clock.fused_us / 1e6 if clock.fused_us >= 0 else None
            take_up(self._window, tracks, looks, blocks, clock.pending, now_s)
        self._fused_us = clock.fused_us
        self._agenda.take_up(clock.picture_us, clock.fused_us if self._window is None else -1)
        self._header_reported = True

    def state(self) -> EngineState:
        """All that is fused, as bytes to compare: equal if and only if two engines hold the same."""
        return snapshot(self._filter)

    # ------------------------------------------------------------------ late looks

    @property
    def pending(self) -> int:
        """Places in time that are still to be visited; 0 where the state is exactly that of the looks in order."""
        return 0 if self._window is None else self._window.pending

    def counters(self) -> dict[str, int]:
        """Late looks, revisions and withdrawn tracks so far, what is pending, and what the window holds."""
        nothing = ("late_fused", "revised", "withdrawn", "pending", "window_looks", "window_bytes")
        return dict.fromkeys(nothing, 0) if self._window is None else self._window.figures()

    def work(self) -> list[LateWork]:
        """What each late look has cost, since last asked; kept only while `keep_work`."""
        out, self._work = self._work, []
        return out

    # ------------------------------------------------------------------ inside

    def _take_in(
        self, window: WindowFilter, batch: LookBatch, good: NDArray[np.int64], clock_us: NDArray[np.int64]
    ) -> UpdateBatch:
        """Fuse the good looks of a batch as they arrive; clock_us: of every look."""
        looks = batch if len(good) == len(batch) else batch.order(good)
        at_us = clock_us[good]
        joins = np.flatnonzero(self._lags.joins_groups(looks.looks["source"]))
        out: list[UpdateBatch] = []
        start = 0
        while start < len(looks):
            self._advance(window, int(at_us[start]), looks, out)
            stop = max(int(np.searchsorted(at_us, self._agenda.next_us(), "left")), start + 1)
            if len(joins) and joins[0] < stop:
                # From this look on, all domains share a source.
                if joins[0] == start:
                    self._agenda.join_groups()
                    joins = joins[:0]
                    continue
                stop = int(joins[0])
            if self.keep_work:
                stop = start + 1
            out += self._fuse(window, looks, start, stop)
            start = stop
        if len(clock_us):
            self._advance(window, int(clock_us[-1]), looks, out)
        return UpdateBatch.concat(out) if out else window.no_updates(looks)

    def _fuse(self, window: WindowFilter, looks: LookBatch, start: int, stop: int) -> list[UpdateBatch]:
        time_us = looks.looks["time_us"][start:stop]
        self._agenda.expect(int(time_us.min()))
        newest_us, self._fused_us = self._fused_us, max(self._fused_us, int(time_us.max()))
        if not self.keep_work:
            return window.fuse(looks, start, stop)
        before = window.figures()["late_fused"]
        out = window.fuse_one(looks, start)
        if window.figures()["late_fused"] > before:
            age_s = (newest_us - int(time_us[0])) / 1e6
            self._work.append(LateWork(int(time_us[0]), age_s, int(looks.looks["count"][start]), *window.work_done()))
        return out

    def _advance(self, window: WindowFilter, clock_us: int, looks: LookBatch, out: list[UpdateBatch]) -> None:
        """Let the clock of arrivals go on: pictures that are complete, then cuts."""
        if clock_us < self._agenda.next_us():
            return
        out += window.finish(looks)
        self._complete_pictures(window, clock_us - self.lag_us)
        for g, cut_us in self._agenda.cuts(clock_us):
            window.move_cut(g, cut_us / 1e6, min(self._agenda.cut_us) / 1e6)

    def _complete_pictures(self, window: WindowFilter, before_us: int) -> None:
        while (picture_us := self._agenda.picture_before(before_us)) is not None:
            self._show(self.picture(picture_us))

    def _show(self, picture: Picture) -> None:
        if self.on_picture is not None:
            self.on_picture(picture)
        else:
            self._pictures.append(picture)

    def _release(self, before_us: int) -> UpdateBatch:
        batch = self._hold_back.release(before_us, self.register.names)
        out: list[UpdateBatch] = []
        if self._agenda.interval_us:
            self._fuse_with_pictures(batch, before_us, out)
        elif len(batch):
            out += self._filter.fuse(batch, 0, len(batch))
        if len(batch):
            self._fused_us = int(batch.looks["time_us"][-1])
        return UpdateBatch.concat(out) if out else self._filter.no_updates(batch)

    def _fuse_with_pictures(self, batch: LookBatch, before_us: int, out: list[UpdateBatch]) -> None:
        time_us = batch.looks["time_us"]
        if self._agenda.picture_us < 0 and len(batch):
            self._agenda.expect(int(time_us[0]))
        # A picture is complete when no look up to its time can come any more; at the end, up to the last look.
        last = max(self._fused_us, int(time_us[-1]) if len(batch) else -1)
        until = before_us if before_us != _END_US else last + 1
        start = 0
        while (picture_us := self._agenda.picture_before(until)) is not None:
            stop = int(np.searchsorted(time_us, picture_us, "right"))
            if stop > start:
                out += self._filter.fuse(batch, start, stop)
                start = stop
            out += self._filter.live_until(picture_us / 1e6, batch)
            self._show(self.picture(picture_us))
        if start < len(batch):
            out += self._filter.fuse(batch, start, len(batch))

    def _numbers(self, batch: LookBatch) -> np.ndarray:
        """The number, among the looks given, of each look of a batch: those rejected whole are not in it."""
        whole = np.array([r.look for r in batch.rejected if r.detection < 0], np.int64)
        if not len(whole):
            return np.arange(len(batch))
        return np.delete(np.arange(batch.given), whole)
