"""The filter as the engine drives it: the arrays of one bank, their growth, and the loop around the compiled step."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha1
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association import cell_table
from apss_fusion.association.cell_table import GLOBE_LEVEL, N_CELLS
from apss_fusion.association.scratch import new_scratch
from apss_fusion.association.weights import Pairs
from apss_fusion.kernels import kernel
from apss_fusion.model import TrackStatus
from apss_fusion.tracking import bank as banks
from apss_fusion.tracking import intensity as intensities
from apss_fusion.tracking.arrival import Lags
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.bank import Bank
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.feet import FootprintRows
from apss_fusion.tracking.filing import file_track, start_calendar
from apss_fusion.tracking.loading import load_contributors, load_intensity, take_slots
from apss_fusion.tracking.picture import tracks_at
from apss_fusion.tracking.publish import CONTRIBUTORS, EVIDENCES, ROWS, new_output
from apss_fusion.tracking.records import CELL, TRACK, Record, StateError
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import STATUS_NAMES
from apss_fusion.tracking.step import live_until, run
from apss_fusion.tracking.track_records import LoadedTracks, bank_rows, track_records
from apss_fusion.tracking.undetected import ON, MixtureBirths, grown_undetected, holds_more, new_undetected
from apss_fusion.tracking.updates import UpdateBatch
from apss_fusion.tracking.window.rows import new_window
from apss_fusion.tracking.work import (
    DONE,
    MASS,
    NEED_BANK,
    NEED_CELLS,
    NEED_EDGES,
    NEED_INTENSITY,
    NEED_OUTPUT,
    NEED_PAIRS,
    NEED_SCRATCH,
    Work,
)

#: Namespace of track ids: UUIDv5 of "source_id/look_id/detection_id" of the founding detection.
TRACK_NAMESPACE = UUID("5e0b4a4e-9a5d-5c0e-8f0a-9f1f1c1a7a11")
#: Cells that no track needs any more are let go when there are this many to a living track, and at least so many.
_CELLS_A_TRACK, _CELLS_MIN = 16, 65536


class Filter:
    """A bank of tracks and the undetected intensity, driven look by look in their order."""

    def __init__(
        self,
        config: Config,
        register: Register,
        attributes: Attributes,
        lags: Lags,
        births: MixtureBirths | None = None,
    ) -> None:
        self.register = register
        self.attributes = attributes
        self._lags = lags
        self._histories = config.histories
        #: The configuration as the kernels read it.
        self.params = config.params()
        self._footprints = FootprintRows(config.tracking.intensity_resolution)
        self._has_class = np.zeros(256, np.int8)
        self._classes_known = 0
        #: The UUID of the track in each slot.
        self.track_id = np.zeros((1024, 16), np.uint8)
        #: Track ids of tracks that ended since last asked.
        self.gone: list[bytes] = []
        cells = cell_table.new_cells(4096)
        self.work = Work(
            bank=banks.new_bank(1024, config.histories),
            cells=cells,
            intensity=intensities.new_intensity(256),
            params=self.params,
            pairs=self._pairs(),
            feet=self._footprints.feet([]),
            scratch=new_scratch(1024, 4096, 1024, GLOBE_LEVEL + 1, config.histories),
            heads=np.zeros(len(cells.row), np.int32),
            out=new_output(8192, 16384, 32768),
            domain_mask=np.zeros(0, np.int64),
            born=np.zeros((4096, 2), np.int64),
            mass=np.zeros(2048, MASS),
            window=new_window(0),
            undetected=new_undetected(births),
        )

    @property
    def bank(self) -> Bank:
        """The bank of tracks."""
        return self.work.bank

    def fuse(self, batch: LookBatch, start: int, stop: int) -> list[UpdateBatch]:
        """Fuse looks start to stop of a batch, in this order; returns what they publish."""
        self._begin(batch)
        out: list[UpdateBatch] = []
        first = start
        while start < stop:
            start, need = run(self.work, batch.looks, batch.detections, start, stop)
            if need != DONE:
                self._provide(need, batch, out)
        if stop > first:
            # The last look may leave tracks that end at that very moment, as the others did before the next one.
            self._live_until(float(batch.looks["t"][stop - 1]), batch, out)
        self._end(batch, out)
        return out

    def _live_until(self, t: float, batch: LookBatch, out: list[UpdateBatch]) -> None:
        while (need := live_until(self.work, t)) != DONE:
            self._provide(need, batch, out)

    def live_until(self, t: float, batch: LookBatch) -> list[UpdateBatch]:
        """Let happen what tracks have by themselves up to time t, in s."""
        self._begin(batch)
        out: list[UpdateBatch] = []
        self._live_until(t, batch, out)
        self._end(batch, out)
        return out

    def _begin(self, batch: LookBatch) -> None:
        self._know_sources()
        self.work = self.work._replace(pairs=self._pairs(), feet=self._footprints.feet(batch.footprints))

    def _know_sources(self) -> None:
        """Let the kernels know all sources that are registered by now."""
        count = len(self.register.names)
        if count == len(self.work.domain_mask):
            return
        rank = np.empty(count, np.int64)
        rank[sorted(range(count), key=self.register.names.__getitem__)] = np.arange(count)
        mask = self._lags.domain_masks()
        self.work = self.work._replace(domain_mask=mask, window=self.work.window._replace(rank=rank))

    def _end(self, batch: LookBatch, out: list[UpdateBatch]) -> None:
        self._collect(batch, out)
        bank = self.work.bank
        freed = banks.freed(bank)
        if len(freed):
            self.gone += [row.tobytes() for row in self.track_id[freed]]
        banks.settle(bank)
        used, living = int(self.work.cells.scalars[N_CELLS]), len(bank.link) - int(bank.counters[banks.N_FREE])
        if used > max(_CELLS_MIN, _CELLS_A_TRACK * living):
            self._file_afresh()

    def _collect(self, batch: LookBatch, out: list[UpdateBatch]) -> None:
        """Name the tracks that were founded, and hand over what was published."""
        w = self.work
        if born := int(w.born[0, 0]):
            self._name(batch, w.born[1 : born + 1])
            w.born[0, 0] = 0
        if n := int(w.out.n[ROWS]):
            rows = w.out.rows[:n].copy()
            out.append(
                UpdateBatch(
                    rows,
                    w.out.evidence[: w.out.n[EVIDENCES]].copy(),
                    w.out.contributors[: w.out.n[CONTRIBUTORS]].copy(),
                    self.track_id[rows["track"]],
                    batch,
                    self.attributes,
                    self.register,
                )
            )
        w.out.n[:] = 0

    def _name(self, batch: LookBatch, born: NDArray[np.int64]) -> None:
        slots, detections = born[:, 0], born[:, 1]
        text = batch.text
        looks = np.searchsorted(batch.looks["first"] + batch.looks["count"], detections, "right")
        names = [name.encode() + b"/" for name in self.register.names]
        rows, of = batch.looks[looks], batch.detections[detections]
        digests = [
            sha1(
                TRACK_NAMESPACE.bytes + names[s] + text[a : a + n].tobytes() + b"/" + text[d : d + m].tobytes(),
                usedforsecurity=False,
            ).digest()
            for s, a, n, d, m in zip(
                rows["source"].tolist(),
                rows["id_at"].tolist(),
                rows["id_length"].tolist(),
                of["id_at"].tolist(),
                of["id_length"].tolist(),
                strict=True,
            )
        ]
        ids = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 20)[:, :16].copy()
        ids[:, 6] = (ids[:, 6] & 0x0F) | 0x50
        ids[:, 8] = (ids[:, 8] & 0x3F) | 0x80
        self.track_id[slots] = ids

    def _provide(self, need: int, batch: LookBatch, out: list[UpdateBatch]) -> None:
        """Make room for, or learn, what the step asked for."""
        w = self.work
        if need == NEED_BANK:
            self.work = w._replace(bank=banks.grown(w.bank, 2 * len(w.bank.link)))
            self.track_id = np.concatenate([self.track_id, np.zeros_like(self.track_id)])
        elif need == NEED_CELLS:
            cells = cell_table.grown(w.cells, 2 * len(w.cells.row))
            self.work = w._replace(cells=cells, heads=np.zeros(len(cells.row), np.int32))
        elif need == NEED_INTENSITY and self._mixture_is_full(batch):
            self.work = w._replace(undetected=grown_undetected(w.undetected))
        elif need == NEED_INTENSITY:
            self.work = w._replace(intensity=intensities.grown(w.intensity, 2 * len(w.intensity.cells)))
        elif need == NEED_PAIRS:
            self._learn_pairs()
        elif need in (NEED_SCRATCH, NEED_EDGES):
            self._widen_scratch(need, batch)
        elif need == NEED_OUTPUT:
            empty = w.out.n[ROWS] == 0 and w.born[0, 0] == 0
            self._collect(batch, out)
            if empty:
                n = 2 * len(w.out.rows)
                self.work = w._replace(out=new_output(n, 2 * n, 4 * n), born=np.zeros((n, 2), np.int64))

    def _mixture_is_full(self, batch: LookBatch) -> bool:
        """Whether it is the mixture of births, and not the table of cells, that lacks room for a look of this batch."""
        tracks = len(self.work.scratch.c) + int(batch.looks["count"].max())
        return bool(self.work.undetected.n[ON]) and not holds_more(self.work.undetected, tracks)

    def _widen_scratch(self, need: int, batch: LookBatch) -> None:
        s = self.work.scratch
        candidates, edges, detections = len(s.c) - 1, len(s.e), len(s.d)
        largest = int(batch.looks["count"].max())
        if need == NEED_EDGES:
            edges *= 2
        elif largest > detections:
            detections = max(largest, 2 * detections)
        else:
            candidates *= 2
        n = candidates + detections
        self.work = self.work._replace(
            scratch=new_scratch(candidates, edges, detections, GLOBE_LEVEL + 1, self._histories),
            mass=np.zeros(n, MASS),
        )

    def _learn_pairs(self) -> None:
        missing = self.work.scratch.missing
        for kind, a, b in missing[1 : missing[0, 0] + 1].tolist():
            (self.register.sets if kind else self.attributes.pairs).learn(a, b)
        self.work = self.work._replace(pairs=self._pairs())

    def _pairs(self) -> Pairs:
        known = len(self.attributes)
        if known > self._classes_known:
            _, offsets = self.attributes.class_json.arrays()
            if known > len(self._has_class):
                self._has_class = np.concatenate([self._has_class, np.zeros(max(known, len(self._has_class)), np.int8)])
            lengths = np.diff(offsets[self._classes_known : known + 1])
            self._has_class[self._classes_known : known] = lengths > len(b"{}")
            self._classes_known = known
        merged, sets = self.attributes.pairs, self.register.sets
        return Pairs(merged.rows, sets.rows, self._has_class)

    def _file_afresh(self) -> None:
        """File all tracks in a new table of cells: the old one knows every cell that was ever looked at."""
        bank = self.work.bank
        slots = banks.alive(bank)
        cells = cell_table.new_cells(max(4096, (GLOBE_LEVEL + 1) * len(slots)))
        self.work = self.work._replace(cells=cells, heads=np.zeros(len(cells.row), np.int32))
        # All living tracks are entered again: the calendar and the cells start empty.
        bank.link["cid"], bank.link["tick"] = -1, -1
        bank.wheel[:] = -1
        bank.counters[banks.HEAP] = 0
        _file_all(self.work, slots)

    def no_updates(self, batch: LookBatch) -> UpdateBatch:
        """An empty batch of updates."""
        out = self.work.out
        return UpdateBatch(
            out.rows[:0].copy(),
            out.evidence[:0].copy(),
            out.contributors[:0].copy(),
            np.zeros((0, 16), np.uint8),
            batch,
            self.attributes,
            self.register,
        )

    def tracks_at(self, t: float, statuses: tuple[int, ...]) -> list[tuple[str, float, float, float, TrackStatus, int]]:
        """See `picture.tracks_at`."""
        return tracks_at(self.work, self.track_id, t, statuses)

    def counts(self) -> dict[str, int]:
        """How many living tracks there are, by status name."""
        status = self.bank.belief["status"][banks.alive(self.bank)]
        return {name: int(np.count_nonzero(status == k)) for k, name in enumerate(STATUS_NAMES[:3])}

    def changed_slots(self) -> NDArray[np.int64]:
        """Slots of the living tracks that changed since last asked, in the order of their ids."""
        link = self.bank.link
        slots = np.flatnonzero(link["changed"])
        link["changed"][slots] = 0
        return self.by_id(slots[link["alive"][slots] != 0])

    def by_id(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Slots in the order of the ids of their tracks."""
        return slots[np.argsort(self.track_id[slots].view("S16").ravel(), kind="stable")]

    def changed_cells(self, prefix: str) -> list[Record]:
        """Records of the intensity cells that changed since last asked, in the order of their keys."""
        table = self.work.intensity
        rows = table.cells[table.cells["changed"] != 0]
        rows = rows[np.argsort(rows["key"])]
        table.cells["changed"] = 0
        values = self._cell_values(rows)
        return [(f"{prefix}{key:016x}", row.tobytes()) for key, row in zip(rows["key"].tolist(), values, strict=True)]

    def _cell_values(self, rows: NDArray[np.void]) -> NDArray[np.float64]:
        """What is kept of cells of the intensity: value and time of each, (n, 2)."""
        return np.stack([rows["value"], rows["t"]], 1)

    def load(self, tracks: LoadedTracks, cells: Sequence[tuple[str, bytes]], prefix: str, t: float) -> None:
        """Take up tracks and records of intensity cells (keys with a prefix) of a saved state, at time t in s.

        Raises
        ------
        StateError
            A cell's record is damaged.
        """
        try:
            cell_keys = np.array([int(key.removeprefix(prefix), 16) for key, _ in cells], np.uint64)
            cell_rows = np.frombuffer(b"".join([row for _, row in cells])).reshape(len(cells), 2)
        except ValueError as error:
            raise StateError(f"engine state: the record of a cell is damaged: {error}") from None
        n = len(tracks)
        rows, counts = tracks.contributors, tracks.contributor_counts
        bank = banks.new_bank(max(1024, n + n // 4, len(rows) // 2 + 64), self._histories)
        # Slots come in their order: 0 to n.
        take_slots(bank, n)
        bank.state[:n], bank.altitude[:n], bank.belief[:n] = tracks.state, tracks.altitude, tracks.belief
        bank.history[:n] = tracks.history
        self._sized(len(bank.link))
        self.track_id = np.zeros((len(bank.link), 16), np.uint8)
        self.track_id[:n] = tracks.track_id
        link = bank.link[:n]
        link["alive"], link["detections"], link["sources"] = 1, tracks.detections, tracks.sources
        load_contributors(bank, counts, rows)
        banks.rebuild_identities(bank)
        start_calendar(bank, t)
        table = intensities.new_intensity(2 * len(cells) + 256)
        load_intensity(table, cell_keys, cell_rows)
        grid = cell_table.new_cells(max(4096, (GLOBE_LEVEL + 1) * n + 64))
        self.work = self.work._replace(bank=bank, cells=grid, heads=np.zeros(len(grid.row), np.int32), intensity=table)
        _file_all(self.work, np.arange(n))
        self.recall(tracks)
        bank.link["changed"] = 0

    def _sized(self, slots: int) -> None:
        """The bank has so many slots now."""

    def recall(self, tracks: LoadedTracks) -> NDArray[np.int64]:
        """Let tracks go on from what was last published of them; the places in `told` of those that do not exist."""
        return self._recall_all(banks.alive(self.bank), tracks)

    def _recall_all(self, slots: NDArray[np.int64], tracks: LoadedTracks) -> NDArray[np.int64]:
        which, place = tracks.told_of(self.track_id[slots])
        self._recall(slots[which], tracks.told[place])
        return np.setdiff1d(np.arange(len(tracks.told)), place)

    def _recall(self, slots: NDArray[np.int64], told: NDArray[np.int64]) -> None:
        self.bank.link["seq"][slots], self.bank.link["told"][slots] = told[:, 0], told[:, 1]

    def records(self) -> list[Record]:
        """Records of the tracks and cells that changed since last asked; a key that is gone has none."""
        out: list[Record] = [(TRACK + track_id.hex(), None) for track_id in sorted(self.gone)]
        self.gone = []
        rows = bank_rows(self.bank, self.track_id, self.changed_slots())
        out += track_records(rows, self.bank.pool, self.register, self.attributes)
        return out + self.changed_cells(CELL)


@kernel
def _file_all(w: Work, slots: NDArray[np.int64]) -> None:
    """File tracks from where they are in their own rows; what they have by themselves stays where it was in time."""
    for i in slots:
        file_track(w, i, w.bank.state[i], w.bank.belief[i].tr)
