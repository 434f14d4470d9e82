"""Footprints of a batch as the kernels want them: vertices, covered cells, and pages of the track index."""

from __future__ import annotations

from collections.abc import Sequence

import h3.api.numpy_int as h3
import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import EDGE_M, LEVELS
from apss_fusion.geodesy.footprint import Footprint
from apss_fusion.tracking.propose import Feet

#: A footprint of more edges than this from its centre is covered by pages of a coarser level.
_EDGES_TO_RIM = 8.0
#: A footprint wider than this, m, is asked for among all tracks.
_WIDEST_M = 3_000_000.0


class FootprintRows:
    """Cover and pages of footprints, computed once each (they are kept for as long as their footprint lives)."""

    def __init__(self, resolution: int) -> None:
        self._resolution = resolution
        self._known: dict[int, tuple[Footprint, tuple[NDArray, NDArray, NDArray, NDArray]]] = {}

    def feet(self, footprints: Sequence[Footprint]) -> Feet:
        """The rows of these footprints, one after the other."""
        parts = [self._rows(f) for f in footprints]
        vertices = [f.vertices for f in footprints]
        rings, at = [np.zeros(1, np.int64)], 0
        for f in footprints:
            rings.append(f.ring_start[1:] + at)
            at += len(f.vertices)
        return Feet(
            vertices=np.ascontiguousarray(np.concatenate(vertices)) if vertices else np.zeros((0, 3)),
            ring_start=np.concatenate(rings),
            first_ring=_firsts([len(f.ring_start) - 1 for f in footprints]),
            cover=_joined([p[0] for p in parts], np.uint64),
            share=_joined([p[1] for p in parts], np.float64),
            first_cover=_firsts([len(p[0]) for p in parts]),
            page=_joined([p[2] for p in parts], np.uint64),
            deep=_joined([p[3] for p in parts], np.int8),
            first_page=_firsts([len(p[2]) for p in parts]),
        )

    def _rows(self, footprint: Footprint) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        known = self._known.get(id(footprint))
        if known is None or known[0] is not footprint:
            if len(self._known) >= 256:
                del self._known[next(iter(self._known))]
            known = footprint, (*footprint.share_of_cells(self._resolution), *_pages(footprint))
            self._known[id(footprint)] = known
        return known[1]


def _pages(footprint: Footprint) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
    """(cells, deep): where the tracks of a footprint may be filed.

    At the finest level with not too many cells: the covered cells and two rings about them, with all that lies below. At
    every coarser level: their ancestors and one ring. By `COVER`, a track filed elsewhere has its gate elsewhere.
    """
    if footprint.radius_m > _WIDEST_M:
        return np.zeros(0, np.uint64), np.zeros(0, np.int8)
    level = 0
    while level < len(LEVELS) - 1 and footprint.radius_m > _EDGES_TO_RIM * EDGE_M[LEVELS[level]]:
        level += 1
    cells, _ = footprint.share_of_cells(LEVELS[level])
    cells = _widened(cells, 2)
    pages, deep = [cells], [np.ones(len(cells), np.int8)]
    for upper in LEVELS[level + 1 :]:
        above = np.unique(np.array([h3.cell_to_parent(c, upper) for c in cells.tolist()], np.uint64))
        cells = _widened(above, 1)
        pages.append(cells)
        deep.append(np.zeros(len(cells), np.int8))
    return np.concatenate(pages), np.concatenate(deep)


def _widened(cells: NDArray[np.uint64], rings: int) -> NDArray[np.uint64]:
    return np.unique(np.concatenate([np.asarray(h3.grid_disk(c, rings), np.uint64) for c in cells.tolist()]))


def _firsts(counts: list[int]) -> NDArray[np.int64]:
    return np.cumsum([0, *counts], dtype=np.int64)


def _joined(parts: list[NDArray], dtype: type) -> NDArray:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(0, dtype)
