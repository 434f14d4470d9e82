"""The cells of the undetected intensity that a look reads and thins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from apss_fusion.kernels import Row, lean_kernel
from apss_fusion.tracking.intensity import cell_key, write
from apss_fusion.tracking.propose import COVERS
from apss_fusion.tracking.window.log import put_read, put_write
from apss_fusion.tracking.window.rows import KEPT, THIN

if TYPE_CHECKING:
    from apss_fusion.tracking.work import Work


@lean_kernel
def note_reads(w: Work, look: Row, z: NDArray[np.void], q: int, m: int) -> None:
    """Note in the window the cells that look q has read for its m detections in `scratch.d`."""
    if look.cooperative:
        return
    for j in range(m):
        put_read(w, cell_key(w.scratch.d[j].cell, z[j].domain), look.t, q)


@lean_kernel
def thin_cover(w: Work, look: Row, q: int) -> None:
    """Thin the cells that the look covered."""
    f = look.footprint
    if f < 0 or look.cooperative:
        return
    mask = w.domain_mask[look.source]
    for k in range(w.feet.first[f, COVERS], w.feet.first[f + 1, COVERS]):
        cell = w.feet.cover[k].cell
        for d in range(len(w.params.domain)):
            if (mask >> d) & 1:
                thin = 1.0 - look.p_detect * w.feet.cover[k].share
                if w.window.n[KEPT]:
                    put_write(w, cell_key(cell, d), look.t, thin, 0.0, q, THIN, np.uint64(0))
                else:
                    write(w.intensity, w.params, cell, d, look.t, thin, 0.0)
