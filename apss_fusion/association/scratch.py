"""Working arrays of one look: candidates, edges, clusters. Written before they are read, look by look, never kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.projection import Projection, new_projection
from apss_fusion.association.transport import MOST_COLUMNS
from apss_fusion.estimation.altitude import ALTITUDE
from apss_fusion.estimation.history import WIDTH, row_width
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
        ("linked", "i8"),  # the first candidate that is projected with it
    ]
)

#: What a look leaves of a candidate in the setting `accurate`, before the row is written.
OUTCOME = np.dtype(
    [
        ("posterior", POSTERIOR),  # relative to its prediction
        ("altitude", ALTITUDE),  # of the track from whose hypothesis it takes most, where that is another
        ("r", "f8"),
        ("hit", "f8"),  # probability that it was detected
        ("id1", "u8"),
        ("p1", "f8"),
        ("id2", "u8"),
        ("p2", "f8"),
        ("attributes", "i8"),  # of that track too
        ("length_m", "f8"),
        ("length_var", "f8"),
        ("width_m", "f8"),
        ("datum", "i8"),
        ("source", "i8"),  # the candidate from whose hypothesis it takes most
        ("own", "i8"),  # edge of its own detection, -1 for none
        ("sources", "i8"),  # the set of those that shaped it
        ("up", "i8"),  # union-find of those that are projected together; of their lowest, the first of them, and a list
        ("first", "i8"),
        ("next", "i8"),
        ("shares", "i8"),
        ("moved", "i8"),  # whether it takes of the hypotheses of another
    ]
)
#: A detection with more than this is the track's own.
OWN = 0.5
#: A pair of sets of sources, in the table of a set and a source: the second is this much and its number.
UNION = 1 << 30

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
    projection: Projection
    outcome: NDArray[np.void]  # by candidate, and its histories
    o_h: NDArray[np.float64]
    c_h: NDArray[np.float64]  # histories of predictions, by candidate, and of posteriors, by edge
    e_h: NDArray[np.float64]
    mix: NDArray[np.float64]  # (n, WIDTH): the histories that a candidate is made of, and their groups
    group: NDArray[np.int64]
    member: NDArray[np.int64]  # candidates that are projected together


def new_scratch(candidates: int, edges: int, detections: int, levels: int, histories: int = 0) -> Scratch:
    """Room for so many of each in one look, and for so many histories a track (0: none are kept)."""
    width, on = row_width(histories), histories > 0
    parts = max(histories, 1) * (MOST_COLUMNS + detections + 2) + 4096
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
        new_projection(on),
        np.zeros((candidates + 1) * on, OUTCOME),
        np.zeros((candidates + 1, width)),
        np.zeros((candidates + 1, width)),
        np.zeros((edges + 1, width)),
        np.zeros((parts, WIDTH)),
        np.zeros(parts, np.int64),
        np.zeros((candidates + 1) * on, np.int64),
    )
