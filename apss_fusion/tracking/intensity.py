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

from apss_fusion.estimation.rounding import significant
from apss_fusion.kernels import kernel
from apss_fusion.tracking.config import Params


class Intensity(NamedTuple):
    """Open addressing from (H3 cell, domain) to (value in 1/m^2, time of the last write)."""

    key: NDArray[np.uint64]
    value: NDArray[np.float64]
    t: NDArray[np.float64]
    changed: NDArray[np.int8]
    used: NDArray[np.int64]


def new_intensity(capacity: int) -> Intensity:
    """An empty table for at least `capacity` written cells."""
    size = 1 << max(6, (2 * capacity - 1).bit_length())
    return Intensity(np.zeros(size, np.uint64), np.zeros(size), np.zeros(size), np.zeros(size, np.int8), np.zeros(1, np.int64))


def grown(intensity: Intensity, capacity: int) -> Intensity:
    """A copy with room for `capacity` written cells."""
    new = new_intensity(max(capacity, int(intensity.used[0])))
    _refill(intensity, new)
    return new


@kernel
def _refill(old: Intensity, new: Intensity) -> None:
    for k in range(len(old.key)):
        if old.key[k]:
            s = slot_of(new.key, old.key[k])
            new.key[s], new.value[s], new.t[s], new.changed[s] = old.key[k], old.value[k], old.t[k], old.changed[k]
            new.used[0] += 1


@kernel
def cell_key(cell: np.uint64, domain: int) -> np.uint64:
    """Key of an H3 cell in a domain: the domain stands in bits 56 and 57, which H3 keeps zero."""
    return cell | (np.uint64(domain) << np.uint64(56))


@kernel
def slot_of(keys: NDArray[np.uint64], key: np.uint64) -> np.int64:
    """Place of a key, or the empty one where it belongs."""
    mask = np.uint64(len(keys) - 1)
    s = ((key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(30)
    s &= mask
    while keys[s] != 0 and keys[s] != key:
        s = (s + np.uint64(1)) & mask
    return np.int64(s)


@kernel
def density(intensity: Intensity, params: Params, cell: np.uint64, domain: int, t: float) -> float:
    """Undetected objects of a domain per m^2 in an H3 cell at time t."""
    d = params.domain[domain]
    s = slot_of(intensity.key, cell_key(cell, domain))
    if intensity.key[s] == 0:
        return d.undetected
    return d.undetected + (intensity.value[s] - d.undetected) * math.exp(-d.arrival * max(0.0, t - intensity.t[s]))


@kernel
def write(intensity: Intensity, params: Params, cell: np.uint64, domain: int, t: float, factor: float, add: float) -> None:
    """Set the cell to its density at t times `factor` plus `add` (1/m^2), rounded. The caller has seen to room."""
    v = significant(density(intensity, params, cell, domain, t) * factor + add)
    key = cell_key(cell, domain)
    s = slot_of(intensity.key, key)
    if intensity.key[s] == 0:
        intensity.key[s] = key
        intensity.used[0] += 1
    intensity.value[s], intensity.t[s], intensity.changed[s] = v, t, 1
