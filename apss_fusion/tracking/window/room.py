"""Room for the window: its arrays grow, and are packed when most of what they hold has been forgotten."""

from __future__ import annotations

from typing import Any

import h3.api.numpy_int as h3
import numpy as np
from numpy.typing import NDArray

from apss_fusion.association import cell_table
from apss_fusion.association.cell_table import GLOBE_LEVEL, N_CELLS
from apss_fusion.estimation.motion import predict
from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.kernels import kernel, whole
from apss_fusion.tracking import bank as banks
from apss_fusion.tracking.arrival import Lags
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.feet import FootprintStore
from apss_fusion.tracking.filing import file_track, remember_filing
from apss_fusion.tracking.filter import Filter
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.window.cut import clear_lists, enter_all, enter_tracks
from apss_fusion.tracking.window.rows import (
    ALIVE,
    BUCKETS,
    CHANGES,
    DETECTIONS,
    FILINGS,
    LOOKS,
    NEWEST,
    NODES,
    RECORDED,
    TEXT,
    TOUCHES,
    TRACKED,
    VISITS,
    WANTED_DETECTIONS,
    WANTED_TOUCHES,
    WANTED_WRITES,
    WRITES,
    clear_tracks,
    new_window,
    words,
)
from apss_fusion.tracking.window.touches import nodes_for
from apss_fusion.tracking.work import CELLS_A_TRACK, NEED_BANK, NEED_CELLS, Work


class WindowRoom(Filter):
    """A `Filter` with the arrays of a window.

    Parameters
    ----------
    config, register, attributes, lags
        As of `Filter`.
    """

    def __init__(self, config: Config, register: Register, attributes: Attributes, lags: Lags) -> None:
        super().__init__(config, register, attributes, lags)
        self._store = FootprintStore(self._footprints)
        self._desk = banks.new_bank(1024, config.histories)
        self.work = self.work._replace(window=new_window(len(self.bank.link), 4096, config.histories))

    def arena(self) -> LookBatch:
        """The window's looks as a batch."""
        win = self.work.window
        n, d, t = (int(win.n[k]) for k in (LOOKS, DETECTIONS, TEXT))
        return LookBatch(win.look[:n], win.detection[:d], win.text[:t], self._store.footprints)

    def _make_room(self, looks: int, detections: int, text: int) -> None:
        win = self.work.window
        if looks > len(win.look):
            win = win._replace(look=longer(win.look, looks), seen=longer(win.seen, looks))
        if detections > len(win.detection):
            win = win._replace(detection=longer(win.detection, detections), heard=longer(win.heard, detections))
        if text > len(win.text):
            win = win._replace(text=longer(win.text, text))
        self.work = self.work._replace(window=win)

    def make_room(self, tracks: int, contributors: int, looks: int, detections: int) -> None:
        """Room for the base of so many tracks and their contributors, of the cells that there are, and for what so many looks
        and detections leave where each is of one track.
        """
        while self.bank.counters[banks.POOL_FREE] < contributors:
            self._provide(NEED_BANK, LookBatch.empty(), [])
        cells = int(self.work.intensity.used[0])
        win = self.work.window
        touch = longer(win.touch, tracks + detections + len(win.touch))
        win = win._replace(
            touch=touch,
            touch_words=words(touch),
            touch_history=longer(win.touch_history, len(touch)),
            node=longer(win.node, 2 * tracks + 6 * detections + len(win.node)),
            visit=longer(win.visit, looks + len(win.visit)),
            filed=longer(win.filed, 2 * tracks + len(win.filed)),
            write=longer(win.write, cells + len(win.write)),
        )
        self.work = self.work._replace(window=win)
        keys = 8 * (tracks + detections)
        if keys > len(win.bucket):
            self._hash_afresh(1 << (keys - 1).bit_length())

    def _widen_window(self) -> None:
        """Room for what the last call wanted: what is too small is doubled, or more."""
        win = self.work.window
        n = win.n
        touches, writes, detections = (int(n[k]) for k in (WANTED_TOUCHES, WANTED_WRITES, WANTED_DETECTIONS))
        nodes = nodes_for(touches, detections)
        wanted = {
            "touch": n[TOUCHES] + touches,
            "filed": n[FILINGS] + 2 * touches,
            "write": n[WRITES] + writes + touches,
            "node": n[NODES] + nodes,
            "visit": n[VISITS] + 2 * touches + n[LOOKS] + 8,
            "change": n[CHANGES] + touches,
            "differing": n[CHANGES] + n[VISITS] + touches + 1,
            "slot": touches + detections,
            "slot_touch": touches + detections,
            "marked": touches + detections,
            "desk": detections,
            "picked": detections,
        }
        new: dict[str, Any] = {
            name: longer(getattr(win, name), int(size))
            for name, size in wanted.items()
            if size > len(getattr(win, name))
        }
        for name in ("touch", "change"):
            if name in new:
                new[f"{name}_words"] = words(new[name])
                new[f"{name}_history"] = longer(getattr(win, f"{name}_history"), len(new[name]))
        self.work = self.work._replace(window=win._replace(**new))
        keys = 2 * int(n[BUCKETS] + nodes + 2 * touches)
        if keys > len(win.bucket):
            self._hash_afresh(1 << (2 * keys - 1).bit_length())

    def _size_desk(self, rows: int) -> None:
        """Room for so many tracks or detections on the desk."""
        if len(self._desk.state) < rows:
            self._desk = banks.new_bank(rows, self._histories)
        win = self.work.window
        names = ("slot", "slot_touch", "marked", "desk", "picked", "differing")
        small = [name for name in names if len(getattr(win, name)) < rows]
        self.work = self.work._replace(window=win._replace(**{k: longer(getattr(win, k), rows) for k in small}))

    def _hash_afresh(self, size: int) -> None:
        """Lists under a larger table of keys."""
        win = self.work.window
        self.work = self.work._replace(window=win._replace(bucket=_rehashed(win.bucket, size)))

    def _sized(self, slots: int) -> None:
        win = self.work.window
        track = np.zeros(slots, TRACKED)
        clear_tracks(track)
        track[: min(slots, len(win.track))] = win.track[:slots]
        self.work = self.work._replace(window=win._replace(track=track))

    def _pack(self) -> None:
        """Give the looks that are left new numbers, without gaps, and enter all afresh."""
        win = self.work.window
        used = int(win.n[LOOKS])
        alive = np.flatnonzero(win.seen["alive"][:used])
        number = np.full(used + 1, -1, np.int64)
        number[alive] = np.arange(len(alive))
        arena = self.arena()
        starts, counts = arena.looks["first"][alive], arena.looks["count"][alive]
        heard = win.heard[_ranges(starts, counts)].copy()
        packed = arena.order(alive)
        if len(self._store.footprints) > 2 * len(packed.footprints) + 64:
            self._store.clear()
        numbers = np.array([self._store.number(f) for f in packed.footprints], np.int32)
        has = packed.looks["footprint"] >= 0
        packed.looks["footprint"][has] = numbers[packed.looks["footprint"][has]]
        seen = win.seen[alive].copy()
        size = len(alive)
        win.look[:size], win.seen[:size] = packed.looks, seen
        win.detection[: len(packed.detections)] = packed.detections
        win.heard[: len(heard)] = heard
        win.text[: len(packed.text)] = packed.text
        n = win.n
        for rows, name in ((win.touch, "look"), (win.write, "look")):
            inside = rows[name] >= 0
            rows[name][inside] = number[np.minimum(rows[name][inside], used)]
        founded = win.track["look"] >= 0
        win.track["look"][founded] = number[win.track["look"][founded]]
        n[NEWEST] = number[n[NEWEST]]
        n[RECORDED] = np.searchsorted(alive, n[RECORDED])
        n[LOOKS], n[DETECTIONS], n[TEXT] = size, len(packed.detections), len(packed.text)
        self._keep_filings()
        self.work = self.work._replace(feet=self._store.feet)
        self._enter_afresh()

    def _keep_filings(self) -> None:
        """Forget filings that ended before the first look of the window."""
        win = self.work.window
        n, looks = win.n, win.look[: win.n[LOOKS]]
        earliest = looks["t"].min() if len(looks) else np.inf
        filed = win.filed[: n[FILINGS]]
        kept = filed[(filed["stop"] >= earliest) & (win.track["first"][filed["track"]] >= 0)].copy()
        win.filed[: len(kept)] = kept
        n[FILINGS] = len(kept)

    def _enter_afresh(self) -> None:
        win = self.work.window
        clear_lists(win)
        at = 0
        while (at := enter_all(self.work, at)) < self.work.window.n[LOOKS]:
            self._widen_window()
            cells = self.work.cells
            largest = int(win.look["count"][: win.n[LOOKS]].max())
            if int(cells.scalars[N_CELLS]) + CELLS_A_TRACK * (largest + 1) > len(cells.row):
                super()._provide(NEED_CELLS, LookBatch.empty(), [])
        win = self.work.window
        more = int(win.n[TOUCHES]) + int(win.n[FILINGS])
        while 2 * (win.n[BUCKETS] + 2 * more) > len(win.bucket) or win.n[NODES] + 2 * more > len(win.node):
            node = win.node if win.n[NODES] + 2 * more <= len(win.node) else longer(win.node, 0)
            self.work = self.work._replace(window=win._replace(node=node))
            self._hash_afresh(2 * len(win.bucket))
            win = self.work.window
        enter_tracks(win)

    def _cells_wasted(self) -> bool:
        used, living = (
            int(self.work.cells.scalars[N_CELLS]),
            len(self.bank.link) - int(self.bank.counters[banks.N_FREE]),
        )
        return used > max(65536, 64 * (living + int(self.work.window.n[ALIVE])))

    def _file_afresh(self) -> None:
        """File all that is in the window in a new table of cells: the old one knows every cell that was ever looked at."""
        bank = self.work.bank
        slots = banks.alive(bank)
        win = self.work.window
        while int(win.n[FILINGS]) + len(slots) > len(win.filed) or 2 * (win.n[BUCKETS] + len(slots)) > len(win.bucket):
            win = win._replace(filed=longer(win.filed, 0), bucket=_rehashed(win.bucket, 2 * len(win.bucket)))
        self.work = self.work._replace(window=win)
        now = float(win.now[0])
        _close_filings(self.work, slots, now)
        self._keep_filings()
        keys = np.unique(win.filed["key"][: win.n[FILINGS]])
        places = np.array([h3.cell_to_latlng(k) for k in keys.tolist() if k]).reshape(-1, 2)
        cells = cell_table.new_cells(max(4096, 2 * (GLOBE_LEVEL + 1) * (len(slots) + len(places))))
        cells, _ = cell_table.interned(cells, nvectors(places[:, 0], places[:, 1]))
        self.work = self.work._replace(cells=cells, heads=np.zeros(len(cells.row), np.int32))
        bank.link["cid"], bank.link["tick"] = -1, -1
        bank.wheel[:] = -1
        bank.counters[banks.HEAP] = 0
        _file_from(self.work, slots, now)
        self._enter_afresh()

    def window_bytes(self) -> int:
        """Bytes of all that the window holds now."""
        win = self.work.window
        n = win.n
        used = {
            "look": n[LOOKS],
            "seen": n[LOOKS],
            "detection": n[DETECTIONS],
            "heard": n[DETECTIONS],
            "text": n[TEXT],
            "touch": n[TOUCHES],
            "filed": n[FILINGS],
            "node": n[NODES],
            "bucket": 2 * n[BUCKETS],
            "write": n[WRITES],
        }
        sizes = {name: getattr(win, name).dtype.itemsize for name in used}
        sizes["touch"] += 8 * win.touch_history.shape[1]
        tracks = len(self.bank.link) - int(self.bank.counters[banks.N_FREE])
        return int(sum(count * sizes[name] for name, count in used.items())) + tracks * TRACKED.itemsize


def longer(rows: NDArray[Any], length: int) -> NDArray[Any]:
    """The rows in an array of twice the length, or of this one."""
    out = np.zeros((max(2 * len(rows), length), *rows.shape[1:]), rows.dtype)
    out[: len(rows)] = rows
    return out


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers from each start on, one range after the other."""
    ends = np.cumsum(counts)
    return np.repeat(starts - (ends - counts), counts) + np.arange(int(ends[-1]) if len(ends) else 0)


def _rehashed(bucket: NDArray[np.void], size: int) -> NDArray[np.void]:
    out = np.zeros(size, bucket.dtype)
    _refill(bucket, out)
    return out


@kernel
def _refill(old: NDArray[np.void], new: NDArray[np.void]) -> None:
    mask = np.uint64(len(new) - 1)
    for k in range(len(old)):
        if old[k].key != 0:
            at = old[k].key & mask
            while new[at].key != 0:
                at = (at + np.uint64(1)) & mask
            new[at].key, new[at].head = old[k].key, old[k].head


@kernel
def _close_filings(w: Work, slots: NDArray[np.int64], now: float) -> None:
    """Note where tracks are filed at present as filings up to now."""
    for i in slots:
        if w.bank.link[i].cid >= 0:
            remember_filing(w.window, w.cells, whole(w.bank.link[i].cid), i, w.window.track[i].filed_from, now)


@kernel
def _file_from(w: Work, slots: NDArray[np.int64], now: float) -> None:
    """File tracks where they are now."""
    row = w.scratch.spare[0].state
    for i in slots:
        d = w.params.domain[w.bank.belief[i].domain]
        predict(w.bank.state[i], now, d.q * w.bank.belief[i].factor, d.g, d.great_circle != 0, row)
        file_track(w, i, row, now)
