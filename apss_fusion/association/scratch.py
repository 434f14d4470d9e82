"""Working arrays of one look: candidates, edges, clusters. Written before they are read, look by look, never kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.measurement import POSTERIOR

#: Kinematic row, as in the bank.
_STATE = np.dtype(
    [(k, "f8") for k in ("x", "y", "z", "a", "b", "ee", "en", "nn", "ea", "eb", "na", "nb", "aa", "ab", "bb", "t")]
)


class Scratch(NamedTuple):
    """By candidate track (c_), by edge (e_), by detection (d_). Edges of candidate i are c_edge[i] to c_edge[i + 1]."""

    c_slot: NDArray[np.int64]
    c_r: NDArray[np.float64]  # existence at the look's time
    c_seen: NDArray[np.float64]  # probability that the look would have detected it
    c_miss: NDArray[np.float64]  # weight of "missed"
    c_edge: NDArray[np.int64]
    c_up: NDArray[np.int64]  # union-find
    c_order: NDArray[np.int64]  # by cluster, by key inside
    c_start: NDArray[np.int64]  # where clusters start in it
    c_base: NDArray[np.int64]
    c_pred: NDArray[np.void]
    e_detection: NDArray[np.int64]
    e_weight: NDArray[np.float64]
    e_p: NDArray[np.float64]
    e_posterior: NDArray[np.void]
    d_log_ref: NDArray[np.float64]  # log of the density that weights are relative to
    d_new: NDArray[np.float64]  # weight of "new or clutter"
    d_birth: NDArray[np.float64]  # of that, the share of "new"
    d_best: NDArray[np.float64]  # best edge
    d_sum: NDArray[np.float64]
    d_p_new: NDArray[np.float64]
    d_cell: NDArray[np.uint64]  # finest H3 cell
    d_cid: NDArray[np.int64]
    d_next: NDArray[np.int64]  # (levels, detections): lists of the cells
    wide: NDArray[np.void]  # two rows: the prediction by the wide model, spare
    wide_posterior: NDArray[np.void]
    mix_id: NDArray[np.uint64]
    mix_p: NDArray[np.float64]
    missing: NDArray[np.int64]  # (n, 3): kind, a, b of pairs to be learned
    digits: NDArray[np.int64]


def new_scratch(candidates: int, edges: int, detections: int, levels: int) -> Scratch:
    """Room for so many of each in one look."""
    f, i = np.float64, np.int64
    return Scratch(
        np.zeros(candidates, i),
        np.zeros(candidates, f),
        np.zeros(candidates, f),
        np.zeros(candidates, f),
        np.zeros(candidates + 1, i),
        np.zeros(candidates, i),
        np.zeros(candidates, i),
        np.zeros(candidates + 1, i),
        np.zeros(candidates, i),
        np.zeros(candidates, _STATE),
        np.zeros(edges, i),
        np.zeros(edges, f),
        np.zeros(edges, f),
        np.zeros(edges, POSTERIOR),
        np.zeros(detections, f),
        np.zeros(detections, f),
        np.zeros(detections, f),
        np.zeros(detections, f),
        np.zeros(detections, f),
        np.zeros(detections, f),
        np.zeros(detections, np.uint64),
        np.zeros(detections, i),
        np.zeros((levels, detections), i),
        np.zeros(2, _STATE),
        np.zeros(2, POSTERIOR),
        np.zeros(64, np.uint64),
        np.zeros(64, f),
        np.zeros((256, 3), i),
        np.zeros(16, i),
    )
