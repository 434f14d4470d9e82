"""The filter that fuses looks as they arrive, at their place in time, and keeps the window that this needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apss_fusion.tracking import bank as banks
from apss_fusion.tracking.arrival import Lags
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.look_records import LookBlocks
from apss_fusion.tracking.records import Record, Told
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.track_records import LoadedTracks
from apss_fusion.tracking.updates import UpdateBatch
from apss_fusion.tracking.window.carry import arrive, clear_work
from apss_fusion.tracking.window.cut import move_cut
from apss_fusion.tracking.window.room import WindowRoom
from apss_fusion.tracking.window.rows import (
    ALIVE,
    BATCH_DETECTION,
    BATCH_LOOK,
    DETECTIONS,
    LATE_LOOKS,
    LOOKS,
    REVISED,
    TEXT,
    VISITS,
    WITHDRAWN_TRACKS,
    WORK_AGAIN,
    WORK_FIRST,
    WORK_PLACES,
    WORK_TRACKS,
    WORK_UPDATES,
)
from apss_fusion.tracking.window.saved import base_values, window_records
from apss_fusion.tracking.work import DONE, NEED_BANK, NEED_CELLS, NEED_NAMES, NEED_SCRATCH, NEED_WINDOW, Work

_NO_LIMIT = 1 << 60
#: A window with this many looks that it has forgotten, and more of them than of the others, is packed.
_FORGOTTEN = 4096


class WindowFilter(WindowRoom):
    """A `Filter` for looks in the order of their arrival.

    Parameters
    ----------
    config, register, attributes, lags
        As of `Filter`.
    blocks
        Of no looks yet.
    """

    def __init__(
        self, config: Config, register: Register, attributes: Attributes, lags: Lags, blocks: LookBlocks
    ) -> None:
        super().__init__(config, register, attributes, lags)
        self._budget = config.budget_clusters
        #: Tracks that readers were told of and that do not exist at present, with the time of their last detection, by id.
        self.remembered: dict[bytes, tuple[Told, float]] = {}
        self._noted: set[int] = set()
        #: The looks of the window in records.
        self.blocks = blocks

    # ------------------------------------------------------------------ looks in, updates out

    def fuse(self, batch: LookBatch, start: int, stop: int) -> list[UpdateBatch]:
        """Fuse looks start to stop of a batch as they arrive in this order; returns what they publish."""
        out: list[UpdateBatch] = []
        if start < stop:
            at = self._take_in(batch, np.arange(start, stop))
            n = self.work.window.n
            n[BATCH_LOOK], n[BATCH_DETECTION] = (
                at - start,
                self.work.window.look["first"][at] - batch.looks["first"][start],
            )
            self._run(batch, at, at + stop - start, self._budget, out)
        return out

    def fuse_untold(self, batch: LookBatch, chosen: NDArray[np.int64]) -> None:
        """Fuse the looks with these numbers in a batch, as they arrive in this order, while nobody is told of anything."""
        at = self._take_in(batch, chosen)
        self._run(batch, at, at + len(chosen), self._budget, [])

    def fuse_one(self, batch: LookBatch, i: int) -> list[UpdateBatch]:
        """Fuse look i, with the counts of its work from zero."""
        clear_work(self.work.window)
        return self.fuse(batch, i, i + 1)

    def let_pass(self, t: float) -> None:
        """Let happen what tracks have by themselves up to time t, in s; nothing earlier is the newest any more."""
        batch = LookBatch.empty()
        out: list[UpdateBatch] = []
        self._begin(batch)
        self.work.window.now[0] = max(self.work.window.now[0], t)
        self._live_until(t, batch, out)
        self._end(batch, out)

    def finish(self, batch: LookBatch) -> list[UpdateBatch]:
        """Finish what is pending."""
        out: list[UpdateBatch] = []
        if self.pending:
            self._begin(batch)
            n = self.work.window.n
            n[BATCH_LOOK], n[BATCH_DETECTION] = n[LOOKS], n[DETECTIONS]
            self._run(batch, -1, 0, _NO_LIMIT, out)
        return out

    def _run(self, batch: LookBatch, at: int, stop: int, budget: int, out: list[UpdateBatch]) -> None:
        while at < stop:
            at, need = arrive(self.work, self._desk_work(), at, stop, budget)
            if need != DONE:
                self._provide(need, batch, out)
        self._end(batch, out)

    def _take_in(self, batch: LookBatch, chosen: NDArray[np.int64]) -> int:
        """Copy looks of a batch, those with these numbers, into the window; the number of the first there."""
        self._begin(batch)
        n = self.work.window.n
        at, first, text = int(n[LOOKS]), int(n[DETECTIONS]), int(n[TEXT])
        n_detections, n_text = batch.sizes(chosen)
        self._make_room(at + len(chosen), first + n_detections, text + n_text)
        win = self.work.window
        looks, detections = win.look[at : at + len(chosen)], win.detection[first : first + n_detections]
        batch.copy(chosen, looks, detections, win.text[text:])
        looks["first"] += first
        looks["id_at"] += text
        detections["id_at"] += text
        for i in np.flatnonzero(looks["footprint"] >= 0).tolist():
            looks["footprint"][i] = self._store.number(batch.footprints[looks["footprint"][i]])
        seen = win.seen[at : at + len(looks)]
        seen[:] = 0
        seen["touches"] = seen["same"] = -1
        n[LOOKS], n[DETECTIONS], n[TEXT] = at + len(looks), first + n_detections, text + n_text
        self.work = self.work._replace(feet=self._store.feet)
        return at

    def _begin(self, batch: LookBatch) -> None:
        self._know_sources()
        self.work = self.work._replace(pairs=self._pairs(), feet=self._store.feet)

    def _end(self, batch: LookBatch, out: list[UpdateBatch]) -> None:
        self._collect(batch, out)
        self._note_freed()
        self._noted.clear()
        banks.settle(self.work.bank)

    def _note_freed(self) -> None:
        """Remember what readers were told of the tracks whose slots have become free; each once."""
        bank = self.work.bank
        for i in banks.freed(bank).tolist():
            if i in self._noted:
                continue
            self._noted.add(i)
            track_id = self.track_id[i].tobytes()
            if bank.link["seq"][i]:
                told_us = int(self.work.window.track["told_us"][i])
                told = int(bank.link["seq"][i]), int(bank.link["told"][i]), told_us
                self.remembered[track_id] = told, float(bank.belief["seen"][i])
            self.gone.append(track_id)

    def _collect(self, batch: LookBatch, out: list[UpdateBatch]) -> None:
        """Name the tracks that were founded, recall what was told of them before, and hand over what was published."""
        w = self.work
        if born := int(w.born[0, 0]):
            rows = w.born[1 : born + 1]
            self._name(self.arena(), rows)
            w.born[0, 0] = 0
            self._note_freed()
            for i in rows[:, 0].tolist() if self.remembered else ():
                # One that is gone again is remembered as it was.
                if i not in self._noted:
                    known = self.remembered.pop(self.track_id[i].tobytes(), None)
                    if known is not None:
                        self._recall(np.array([i]), np.array([known[0]]))
        super()._collect(batch, out)

    def _desk_work(self) -> Work:
        return self.work._replace(bank=self._desk)

    def _provide(self, need: int, batch: LookBatch, out: list[UpdateBatch]) -> None:
        if need == NEED_NAMES:
            self._collect(batch, out)
        elif need == NEED_WINDOW:
            self._widen_window()
        elif need == NEED_CELLS and self._cells_wasted():
            self._file_afresh()
        else:
            super()._provide(need, batch, out)
            if need == NEED_BANK:
                self._sized(len(self.bank.link))
            if need == NEED_SCRATCH:
                self._size_desk(len(self.work.scratch.c) + len(self.work.scratch.d))

    def _widen_scratch(self, need: int, batch: LookBatch) -> None:
        super()._widen_scratch(need, self.arena())

    # ------------------------------------------------------------------ the window moves on

    @property
    def pending(self) -> int:
        """Places in time that wait to be visited."""
        return int(self.work.window.n[VISITS])

    def move_cut(self, g: int, t: float, earliest: float) -> None:
        """Forget what lies before time t, in s, of group g of domains; nothing may be pending.

        earliest: the earliest cut of any group.
        """
        self._know_sources()
        self.work = self.work._replace(pairs=self._pairs())
        of_source = self._lags.group_of_source()
        while (need := move_cut(self.work, self._lags.group_of_domain, of_source, g, t)) != DONE:
            self._provide(need, LookBatch.empty(), [])
        self._end(LookBatch.empty(), [])
        self._let_go(g, t)
        for track_id in [k for k, v in self.remembered.items() if v[1] < earliest]:
            # It cannot come to life again.
            del self.remembered[track_id]
            self.gone.append(track_id)
        n = self.work.window.n
        if n[LOOKS] > 2 * n[ALIVE] + _FORGOTTEN:
            self._pack()

    def _let_go(self, g: int, t: float) -> None:
        """Note in what is recorded of looks that those of group g before time t have left."""
        win = self.work.window
        seen = win.seen[: win.n[LOOKS]]
        gone = (seen["alive"] == 0) & (seen["block"] > 0)
        self.blocks.let_go(seen["block"][gone])
        seen["block"][gone] = 0
        names = self.register.names
        self.blocks.note_cut(t, [names[k] for k in np.flatnonzero(self._lags.group_of_source() == g).tolist()])

    def recall(self, tracks: LoadedTracks) -> NDArray[np.int64]:
        """As of `Filter`, also of tracks that have ended in the window."""
        return self._recall_all(np.flatnonzero(self.work.window.track["first"] >= 0), tracks)

    def _recall(self, slots: NDArray[np.int64], told: NDArray[np.int64]) -> None:
        super()._recall(slots, told)
        self.work.window.track["told_us"][slots] = told[:, 2]

    def _cell_values(self, rows: NDArray[np.void]) -> NDArray[np.float64]:
        return base_values(self.work.window, rows)

    def records(self) -> list[Record]:
        """As of `Filter`: the base before the window, and its looks."""
        return window_records(self)

    # ------------------------------------------------------------------ figures

    def work_done(self) -> tuple[int, int, int, int, int]:
        """Clusters at a look's own place and afterwards, places, tracks and updates, since `fuse_one`."""
        n = self.work.window.n
        first, again, places, tracks, updates = (
            int(n[k]) for k in (WORK_FIRST, WORK_AGAIN, WORK_PLACES, WORK_TRACKS, WORK_UPDATES)
        )
        return first, again, places, tracks, updates

    def figures(self) -> dict[str, int]:
        """What late looks have done, and what the window holds."""
        n = self.work.window.n
        return {
            "late_fused": int(n[LATE_LOOKS]),
            "revised": int(n[REVISED]),
            "withdrawn": int(n[WITHDRAWN_TRACKS]),
            "pending": self.pending,
            "window_looks": int(n[ALIVE]),
            "window_bytes": self.window_bytes(),
        }
