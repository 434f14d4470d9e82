"""Working arrays of one look: candidates, edges, clusters. Written before they are read, look by look, never kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.measurement import POSTERIOR
from apss_fusion.estimation.motion import STATE

#: A candidate track of the look. Its edges are `edge` to the `edge` of the next row. Clusters are slices of `order`, from
#: `start` to the next `start`.
CANDIDATE = np.dtype(
    [
        ("pred", STATE),  # prediction to the look's time
        ("slot", "i8"),
        ("key", "u8"),
        ("r", "f8"),  # existence at the look's time
        ("seen", "f8"),  # probability that the look would have detected it
        ("miss", "f8"),  # weight of "missed"
        ("edge", "i8"),
        ("up", "i8"),  # union-find
        ("base", "i8"),
        ("order", "i8"),
        ("start", "i8"),
    ]
)

#: A candidate and a detection that it may have caused.
EDGE = np.dtype([("posterior", POSTERIOR), ("detection", "i8"), ("weight", "f8"), ("p", "f8")])

#: What is worked out about a detection.
WORKED = np.dtype(
    [
        ("log_ref", "f8"),  # log of the density that weights are relative to
        ("new", "f8"),  # weight of "new or clutter"
        ("birth", "f8"),  # of that, the share of "new"
        ("expected", "f8"),  # density of undetected objects that was read, 1/m^2
        ("best", "f8"),  # best edge
        ("sum", "f8"),
        ("p_new", "f8"),
        ("cell", "u8"),  # H3 cell of the undetected intensity
        ("cid", "i8"),
    ]
)

#: Spare rows.
SPARE = np.dtype([("state", STATE), ("posterior", POSTERIOR), ("altitude", ALTITUDE)])
MIXTURE = np.dtype([("identity", "u8"), ("p", "f8")])


class Scratch(NamedTuple):
    """By candidate (c), by edge (e), by detection (d)."""

    c: NDArray[np.void]
    e: NDArray[np.void]
    d: NDArray[np.void]
    d_n: NDArray[np.float64]  # (detections, 3): n-vectors, close together for the gate
    d_next: NDArray[np.int64]  # (levels, detections): lists of the cells
    spare: NDArray[np.void]
    mixture: NDArray[np.void]
    missing: NDArray[np.int64]  # (n, 3): kind, a, b of pairs to be learned; row 0 counts them
    digits: NDArray[np.int64]


def new_scratch(candidates: int, edges: int, detections: int, levels: int) -> Scratch:
    """Room for so many of each in one look."""
    return Scratch(
        np.zeros(candidates + 1, CANDIDATE),
        np.zeros(edges, EDGE),
        np.zeros(detections, WORKED),
        np.zeros((detections, 3)),
        np.zeros((levels, detections), np.int64),
        np.zeros(2, SPARE),
        np.zeros(64, MIXTURE),
        np.zeros((256, 3), np.int64),
        np.zeros(16, np.int64),
    )
