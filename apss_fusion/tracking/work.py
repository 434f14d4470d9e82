"""What a step works on, and what it may need before it can go on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.association.cell_table import GLOBE_LEVEL, Cells
from apss_fusion.association.scratch import Scratch
from apss_fusion.association.weights import Pairs
from apss_fusion.kernels import lean_kernel
from apss_fusion.tracking.bank import Bank
from apss_fusion.tracking.config import Params
from apss_fusion.tracking.intensity import Intensity
from apss_fusion.tracking.propose import Feet
from apss_fusion.tracking.publish import Output
from apss_fusion.tracking.undetected import Undetected
from apss_fusion.tracking.window.rows import Window

#: What a call needs before it can go on.
(
    DONE,
    NEED_BANK,
    NEED_CELLS,
    NEED_SCRATCH,
    NEED_EDGES,
    NEED_OUTPUT,
    NEED_INTENSITY,
    NEED_PAIRS,
    NEED_WINDOW,
    NEED_NAMES,
) = range(10)
#: An edge that is told as evidence has at least this probability.
EVIDENCE_MIN = 1e-3
#: Cells that filing one track may intern.
CELLS_A_TRACK = GLOBE_LEVEL + 1
#: Existence that goes back to the intensity of a cell.
MASS = np.dtype([("r", "f8"), ("cell", "u8"), ("order", "u8"), ("domain", "i4"), ("birth", "i4")])


class Work(NamedTuple):
    """Everything a step works on."""

    bank: Bank
    cells: Cells
    intensity: Intensity
    params: Params
    pairs: Pairs
    feet: Feet
    scratch: Scratch
    heads: NDArray[np.int32]  # lists of detections by cell, empty between looks
    out: Output
    domain_mask: NDArray[np.int64]  # by source: bit d is domain d
    born: NDArray[np.int64]  # (slot, detection) of the tracks founded in this call, and in row 0 their number
    mass: NDArray[np.void]  # MASS rows
    window: Window
    undetected: Undetected


@lean_kernel
def cell_area_m2(res: int) -> float:
    """Mean area of an H3 cell (the sphere in 2 + 120 * 7^res cells)."""
    return 5.100656e14 / (2.0 + 120.0 * 7.0**res)
