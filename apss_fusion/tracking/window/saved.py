"""The window as keyed records: the fold before the cut, what readers were told, and the looks since; and a restart from them.

A restart takes up the base and fuses the looks again, in their order: as the result does not depend on the order of arrival,
nothing else needs to be kept. Where something was pending, the looks that have arrived since nothing was come last, as they
arrived, so that the same is pending then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.motion import STATE
from apss_fusion.kernels import kernel, whole
from apss_fusion.tracking.bank import take_entry
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.holdback import time_order
from apss_fusion.tracking.intensity import Intensity
from apss_fusion.tracking.records import CELL, TRACK, Record, StateError
from apss_fusion.tracking.rows import BELIEF
from apss_fusion.tracking.track_records import LoadedTracks, TrackRows, track_records
from apss_fusion.tracking.window.record import clear_tracked, keep_rows
from apss_fusion.tracking.window.rows import (
    BASE,
    CLEAN,
    LATE_LOOKS,
    LOOKS,
    RECORDED,
    REVISED,
    TOLD,
    VISITS,
    WITHDRAWN_TRACKS,
    WRITES,
    Window,
)
from apss_fusion.tracking.window.touches import new_touch, note_carrier
from apss_fusion.tracking.work import Work

if TYPE_CHECKING:
    from apss_fusion.tracking.window.filter import WindowFilter


def base_rows(filter: WindowFilter, slots: NDArray[np.int64]) -> TrackRows:
    """What is kept of tracks from before the window."""
    win, link = filter.work.window, filter.bank.link[slots]
    track = win.track[slots]
    first = track["first"]
    exists = (first >= 0) & (win.touch["look"][first] < 0)
    kept = first[exists]
    return TrackRows(
        filter.track_id[slots],
        exists,
        win.touch["state"][kept],
        win.touch["altitude"][kept],
        win.touch["belief"][kept],
        win.touch_history[kept],
        link["seq"],
        link["told"],
        track["told_us"],
        np.where(exists, track["base_detections"], 0).astype(np.int32),
        np.where(exists, track["base_contributor"], -1).astype(np.int64),
        np.where(exists, track["base_sources"], 0).astype(np.int32),
    )


def window_records(filter: WindowFilter) -> list[Record]:
    """Records of what changed since last asked; a key that is gone has none."""
    link, win = filter.bank.link, filter.work.window
    slots = np.flatnonzero(link["changed"])
    link["changed"][slots] = 0
    slots = slots[win.track["first"][slots] >= 0]
    exists = win.touch["look"][win.track["first"][slots]] < 0
    rows = base_rows(filter, filter.by_id(slots[exists | (link["seq"][slots] > 0)]))
    gone = sorted(set(filter.gone))
    filter.gone = []
    out: list[Record] = [(TRACK + track_id.hex(), None) for track_id in gone if track_id not in filter.remembered]
    gone = [track_id for track_id in gone if track_id in filter.remembered]
    out += track_records(rows, filter.bank.pool, filter.register, filter.attributes)
    if gone:
        out += track_records(_without_rows(filter, gone), filter.bank.pool, filter.register, filter.attributes)
    out += filter.changed_cells(CELL)
    start = int(win.n[RECORDED])
    new = start + np.flatnonzero(win.seen["alive"][start : win.n[LOOKS]])
    blocks, win.seen["block"][new] = filter.blocks.changes(filter.arena().order(new))
    win.n[RECORDED] = win.n[LOOKS]
    return out + blocks


def _without_rows(filter: WindowFilter, track_ids: list[bytes]) -> TrackRows:
    n = len(track_ids)
    known = [filter.remembered[track_id][0] for track_id in track_ids]
    return TrackRows(
        np.frombuffer(b"".join(track_ids), np.uint8).reshape(n, 16),
        np.zeros(n, np.bool_),
        np.zeros(0, STATE),
        np.zeros(0, ALTITUDE),
        np.zeros(0, BELIEF),
        np.zeros((0, filter.bank.history.shape[1])),
        np.array([k[0] for k in known], np.int32),
        np.array([k[1] for k in known], np.int8),
        np.array([k[2] for k in known], np.int64),
        np.zeros(n, np.int32),
        np.full(n, -1, np.int64),
        np.zeros(n, np.int32),
    )


def unsettled(filter: WindowFilter) -> int:
    """How many looks have arrived since nothing was pending; 0 where nothing is."""
    n = filter.work.window.n
    return int(n[LOOKS] - n[CLEAN]) if n[VISITS] else 0


def take_up(
    filter: WindowFilter,
    tracks: LoadedTracks,
    looks: LookBatch,
    blocks: NDArray[np.int64],
    late: int,
    now_s: float | None,
) -> None:
    """Continue from a base that the bank holds already, telling nobody.

    Parameters
    ----------
    looks, blocks
        Looks in the order of their arrival, and the number of the block of each; 0 for those that have left the window.
    late
        So many of them, the last ones, are fused as they arrived; the others before, in the order of their time.
    now_s
        Time of the newest look that had been fused, None for none.

    Raises
    ------
    StateError
        There are not so many looks.
    """
    order = np.flatnonzero(blocks)
    settled = len(order) - late
    if not 0 <= settled <= len(order):
        raise StateError("engine state: looks that are pending have no record")
    rows = LookBatch(looks.looks[order[:settled]], looks.detections, looks.text, looks.footprints)
    order[:settled] = order[time_order(rows, filter.register.names)]
    n = len(tracks)
    filter.make_room(n, len(tracks.contributors), len(order), len(looks.detections))
    _take_base(filter.work, n)
    _take_cells(filter.work.window, filter.work.intensity)
    filter.work.window.n[TOLD] = 0
    filter.fuse_untold(looks, order[:settled])
    filter.fuse_untold(looks, order[settled:])
    if now_s is not None:
        # Of the newest look, nothing may be left but what happened until then.
        filter.let_pass(now_s)
    win = filter.work.window
    win.n[TOLD] = 1
    for k in (LATE_LOOKS, REVISED, WITHDRAWN_TRACKS):
        win.n[k] = 0
    filter.remembered = {
        tracks.told_id[k : k + 1].tobytes(): (tuple(tracks.told[k].tolist()), now_s or 0.0)
        for k in filter.recall(tracks).tolist()
    }
    win.seen["block"][: win.n[LOOKS]] = blocks[order]
    win.n[RECORDED] = win.n[LOOKS]
    filter.blocks.keep(blocks[order])
    filter.bank.link["changed"] = 0
    filter.work.intensity.cells["changed"] = 0
    filter.gone = []


@kernel
def base_values(win: Window, rows: NDArray[np.void]) -> NDArray[np.float64]:
    """Value and time of cells of the intensity before the window, (n, 2), of rows that have such a base."""
    out = np.empty((len(rows), 2))
    for k in range(len(rows)):
        x = whole(rows[k].last)
        while win.write[x].before >= 0:
            x = whole(win.write[x].before)
        out[k, 0], out[k, 1] = win.write[x].value, win.write[x].t
    return out


@kernel
def _take_base(w: Work, n: int) -> None:
    """Make the rows and ledgers of the first n tracks of the bank what is kept of them from before the window."""
    win, bank = w.window, w.bank
    for i in range(n):
        track, link = win.track[i], bank.link[i]
        filed_from = track.filed_from
        clear_tracked(track)
        track.filed_from = filed_from
        track.base_sources, track.base_detections = link.sources, link.detections
        track.base_contributors = link.contributors
        entry, last = whole(link.contributor), whole(-1)
        while entry >= 0:
            p = bank.pool[entry]
            new = take_entry(bank.pool, bank.counters, whole(p.source), whole(p.n), p.last)
            if last < 0:
                track.base_contributor = new
            else:
                bank.pool[last].next = new
            last, entry = new, whole(bank.pool[entry].next)
        k = new_touch(win, i, whole(-1), whole(-1))
        keep_rows(w, k, i)
        note_carrier(win, i, bank.belief[i].id1)
        note_carrier(win, i, bank.belief[i].id2)


@kernel
def _take_cells(win: Window, table: Intensity) -> None:
    """Make the values of the cells their base."""
    for s in range(len(table.cells)):
        row = table.cells[s]
        if row.key == 0 or not row.written:
            continue
        x = win.n[WRITES]
        win.n[WRITES] += 1
        e = win.write[x]
        e.t, e.value, e.factor, e.add, e.key, e.order = row.t, row.value, 1.0, 0.0, row.key, np.uint64(0)
        e.look, e.kind, e.before, e.after = -1, BASE, -1, -1
        row.last = x
