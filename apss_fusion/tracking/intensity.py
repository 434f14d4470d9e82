"""The Poisson intensity of objects that were never seen, on H3 cells, a domain each.

A cell that nobody wrote holds its domain's prior. Between writes a cell relaxes towards the prior in closed form,

    u(t) = u0 + (u(tw) - u0) exp(-(t - tw) / arrival),

so a value depends on the writes to that cell alone. A look thins it by (1 - p_detect x covered share); a track that is given
up returns its mass to it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import LEVELS
from apss_fusion.estimation.rounding import significant
from apss_fusion.geodesy.h3cells import nvec_to_cell, parent_of
from apss_fusion.kernels import Row, inline_kernel, lean_kernel, whole
from apss_fusion.tracking.config import Params

#: A written cell: key of (H3 cell, domain) or 0, value in 1/m^2, time of the last write, changed since last asked, whether it
#: is written at all (a write may be taken back), and its last write in the window.
CELL = np.dtype(
    [
        ("key", "u8"),
        ("value", "f8"),
        ("t", "f8"),
        ("changed", "i1"),
        ("written", "i1"),
        ("spare", "i2"),
        ("last", "i4"),
    ]
)


class Intensity(NamedTuple):
    """Open addressing over CELL rows, and how many are used."""

    cells: NDArray[np.void]
    used: NDArray[np.int64]


def new_intensity(capacity: int) -> Intensity:
    """An empty table for at least `capacity` written cells."""
    return Intensity(np.zeros(1 << max(6, (2 * capacity - 1).bit_length()), CELL), np.zeros(1, np.int64))


def grown(intensity: Intensity, capacity: int) -> Intensity:
    """A copy with room for `capacity` written cells."""
    new = new_intensity(max(capacity, int(intensity.used[0])))
    _refill(intensity, new)
    return new


@lean_kernel
def _refill(old: Intensity, new: Intensity) -> None:
    for k in range(len(old.cells)):
        if old.cells[k].key:
            new.cells[slot_of(new.cells, old.cells[k].key)] = old.cells[k]
            new.used[0] += 1


@lean_kernel
def cell_key(cell: np.uint64, domain: int) -> np.uint64:
    """Key of an H3 cell in a domain: the domain stands in bits 56 and 57, which H3 keeps zero."""
    return cell | (np.uint64(domain) << np.uint64(56))


@lean_kernel
def slot_of(cells: NDArray[np.void], key: np.uint64) -> int:
    """Place of a key, or the empty one where it belongs."""
    mask = np.uint64(len(cells) - 1)
    s = ((key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(30)
    s &= mask
    while cells[s].key != 0 and cells[s].key != key:
        s = (s + np.uint64(1)) & mask
    return whole(s)


@lean_kernel
def cell_of(x: float, y: float, z: float, params: Params, digits: NDArray[np.int64]) -> np.uint64:
    """The cell of the intensity that holds an n-vector (the ancestor of its finest cell). digits: int64 (16,) to work in."""
    return parent_of(nvec_to_cell(x, y, z, LEVELS[0], digits), params.filter[0].intensity_resolution)


@lean_kernel
def density(intensity: Intensity, params: Params, cell: np.uint64, domain: int, t: float) -> float:
    """Undetected objects of a domain per m^2 in an H3 cell at time t."""
    d = params.domain[domain]
    s = slot_of(intensity.cells, cell_key(cell, domain))
    if intensity.cells[s].key == 0 or not intensity.cells[s].written:
        return d.undetected
    return relaxed(d, intensity.cells[s].value, intensity.cells[s].t, t)


@inline_kernel
def relaxed(d: Row, value: float, since: float, t: float) -> float:
    """Density at time t of a cell of domain d that held `value` at time `since`."""
    return d.undetected + (value - d.undetected) * math.exp(-d.arrival * max(0.0, t - since))


@lean_kernel
def take_cell(intensity: Intensity, key: np.uint64) -> int:
    """Place of a key, made where there is none. The caller has seen to room."""
    s = slot_of(intensity.cells, key)
    if intensity.cells[s].key == 0:
        intensity.cells[s].key, intensity.cells[s].last = key, -1
        intensity.used[0] += 1
    return s


@lean_kernel
def write(
    intensity: Intensity, params: Params, cell: np.uint64, domain: int, t: float, factor: float, add: float
) -> None:
    """Set the cell to its density at t times `factor` plus `add` (1/m^2), rounded. The caller has seen to room."""
    v = significant(density(intensity, params, cell, domain, t) * factor + add)
    row = intensity.cells[take_cell(intensity, cell_key(cell, domain))]
    row.value, row.t, row.changed, row.written = v, t, 1, 1
