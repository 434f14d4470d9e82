"""Footprints of a batch as the kernels want them: vertices, covered cells, and pages of the track index."""

from __future__ import annotations

from collections.abc import Sequence

import h3.api.numpy_int as h3
import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import EDGE_M, LEVELS
from apss_fusion.geodesy.footprint import Footprint, signed_distance_m
from apss_fusion.tracking.propose import CAP, COVERED, PAGE, Feet

#: A footprint of more edges than this from its centre is covered by pages of a coarser level.
_EDGES_TO_RIM = 8.0
#: A footprint wider than this, m, is asked for among all tracks.
_WIDEST_M = 3_000_000.0


Rows = tuple[NDArray[np.void], NDArray[np.void], NDArray[np.void]]


class FootprintRows:
    """Cover and pages of footprints, computed once each (they are kept for as long as their footprint lives)."""

    def __init__(self, resolution: int) -> None:
        self._resolution = resolution
        self._known: dict[int, tuple[Footprint, Rows]] = {}

    def feet(self, footprints: Sequence[Footprint]) -> Feet:
        """The rows of these footprints, one after the other."""
        parts = [self.rows(f) for f in footprints]
        vertices = [f.vertices for f in footprints]
        first = np.zeros((len(footprints) + 1, 4), np.int64)
        for k, (footprint, (cover, page, _)) in enumerate(zip(footprints, parts, strict=True)):
            first[k + 1] = first[k] + (len(footprint.ring_start), len(footprint.vertices), len(cover), len(page))
        return Feet(
            vertices=np.ascontiguousarray(np.concatenate(vertices)) if vertices else np.zeros((0, 3)),
            ring_start=np.concatenate([f.ring_start for f in footprints]) if parts else np.zeros(0, np.int64),
            edges=np.zeros((max((len(v) for v in vertices), default=0), 4)),
            cover=np.concatenate([p[0] for p in parts]) if parts else np.zeros(0, COVERED),
            cap=np.concatenate([p[2] for p in parts]) if parts else np.zeros(0, CAP),
            page=np.concatenate([p[1] for p in parts]) if parts else np.zeros(0, PAGE),
            first=first,
        )

    def rows(self, footprint: Footprint) -> Rows:
        """Covered cells, pages and cap of a footprint."""
        known = self._known.get(id(footprint))
        if known is None or known[0] is not footprint:
            if len(self._known) >= 256:
                del self._known[next(iter(self._known))]
            cells, share = footprint.share_of_cells(self._resolution)
            cover = np.zeros(len(cells), COVERED)
            cover["cell"], cover["share"] = cells, share
            known = footprint, (cover, _pages(footprint), _cap(footprint))
            self._known[id(footprint)] = known
        return known[1]


class FootprintStore:
    """Footprints under lasting numbers, as `Feet` that grow."""

    def __init__(self, rows: FootprintRows) -> None:
        self._rows = rows
        self.clear()

    def clear(self) -> None:
        """Forget all footprints."""
        self.footprints: list[Footprint] = []
        self._numbers: dict[int, int] = {}
        self._used = np.zeros(4, np.int64)
        self.feet = self._rows.feet([])

    def number(self, footprint: Footprint) -> int:
        """The number of a footprint, which is added where it is new."""
        known = self._numbers.get(id(footprint))
        if known is not None:
            return known
        number = len(self.footprints)
        one = self._rows.feet([footprint])
        start, stop = self._used, self._used + one.first[1]
        feet = self.feet
        first = _with(feet.first, number, np.stack([start, stop]))
        self.feet = Feet(
            vertices=_with(feet.vertices, start[1], one.vertices),
            ring_start=_with(feet.ring_start, start[0], one.ring_start),
            edges=feet.edges if len(feet.edges) >= len(one.edges) else one.edges,
            cover=_with(feet.cover, start[2], one.cover),
            cap=_with(feet.cap, number, one.cap),
            page=_with(feet.page, start[3], one.page),
            first=first,
        )
        self._used = stop
        self.footprints.append(footprint)
        self._numbers[id(footprint)] = number
        return number


def _with(rows: NDArray, at: int, more: NDArray) -> NDArray:
    """Rows with `more` written at a place, in an array that is grown by doubling where needed."""
    if at + len(more) > len(rows):
        larger = np.zeros((max(2 * len(rows), at + len(more), 16), *rows.shape[1:]), rows.dtype)
        larger[: len(rows)] = rows
        rows = larger
    rows[at : at + len(more)] = more
    return rows


def _pages(footprint: Footprint) -> NDArray[np.void]:
    """PAGE rows: where the tracks of a footprint may be filed.

    At the finest level with not too many cells: the covered cells and two rings about them, with all that lies below. At
    every coarser level: their ancestors and one ring. By `COVER`, a track filed elsewhere has its gate elsewhere.
    """
    if footprint.radius_m > _WIDEST_M:
        return np.zeros(0, PAGE)
    level = 0
    while level < len(LEVELS) - 1 and footprint.radius_m > _EDGES_TO_RIM * EDGE_M[LEVELS[level]]:
        level += 1
    cells, _ = footprint.share_of_cells(LEVELS[level])
    cells = _widened(cells, 2)
    pages = [_page_rows(cells, True)]
    for upper in LEVELS[level + 1 :]:
        above = np.unique(np.array([h3.cell_to_parent(c, upper) for c in cells.tolist()], np.uint64))
        cells = _widened(above, 1)
        pages.append(_page_rows(cells, False))
    return np.concatenate(pages)


def _cap(footprint: Footprint) -> NDArray[np.void]:
    """The CAP row of a footprint; its distances are shortened and lengthened by 1 % for the tangent plane."""
    x, y, z = footprint.center.tolist()
    inner_m = signed_distance_m(x, y, z, footprint.vertices, footprint.ring_start)
    return np.array([(x, y, z, 0.99 * max(inner_m, 0.0), 1.01 * footprint.radius_m)], CAP)


def _page_rows(cells: NDArray[np.uint64], deep: bool) -> NDArray[np.void]:
    rows = np.zeros(len(cells), PAGE)
    rows["cell"], rows["deep"] = cells, deep
    return rows


def _widened(cells: NDArray[np.uint64], rings: int) -> NDArray[np.uint64]:
    return np.unique(np.concatenate([np.asarray(h3.grid_disk(c, rings), np.uint64) for c in cells.tolist()]))
