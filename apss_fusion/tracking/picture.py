"""A picture: tracks predicted to one moment."""

from __future__ import annotations

from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.motion import STATE, predict
from apss_fusion.kernels import kernel, whole
from apss_fusion.model import TrackStatus
from apss_fusion.tracking.filing import existence_at, settle_row
from apss_fusion.tracking.rows import BELIEF, STATUS_NAMES
from apss_fusion.tracking.window.rows import KEPT
from apss_fusion.tracking.window.touches import load_version
from apss_fusion.tracking.work import Work


@kernel
def _rows_at(
    w: Work,
    t: float,
    slots: NDArray[np.int64],
    state: NDArray[np.void],
    belief: NDArray[np.void],
    alive: NDArray[np.bool_],
) -> None:
    """Rows of the tracks in some slots as of time t, and whether each lives then; states are predicted to t."""
    bank, win = w.bank, w.window
    s, a = w.scratch.spare[1].state, w.scratch.spare[1].altitude
    for row in range(len(slots)):
        i, b = slots[row], belief[row]
        if not win.n[KEPT]:
            s = bank.state[i]
            belief[row] = bank.belief[i]
            alive[row] = settle_row(s, b, w.params.domain[b.domain], w.params.filter[0], t)
        else:
            k = whole(win.track[i].last)
            while k >= 0 and win.touch[k].look >= 0 and win.look[win.touch[k].look].t > t:
                k = whole(win.touch[k].before)
            if k < 0:
                continue
            alive[row] = load_version(w, k, t, s, a, b)
        if alive[row]:
            d = w.params.domain[b.domain]
            predict(s, t, d.q * b.factor, d.g, d.great_circle != 0, state[row])
            b.r = existence_at(b, d, max(t, b.tr))


def tracks_at(
    w: Work, ids: NDArray[np.uint8], t: float, statuses: tuple[int, ...]
) -> list[tuple[str, float, float, float, TrackStatus, int]]:
    """(track_id, lat, lon, existence, status, number of the attributes) of the tracks with these statuses at t, s."""
    known = w.window.track["first"] >= 0 if w.window.n[KEPT] else w.bank.link["alive"]
    slots = np.flatnonzero(known)
    count = len(slots)
    rows, belief, living = np.zeros(count, STATE), np.zeros(count, BELIEF), np.zeros(count, np.bool_)
    _rows_at(w, t, slots, rows, belief, living)
    wanted = np.zeros(len(STATUS_NAMES), np.bool_)
    wanted[list(statuses)] = True
    chosen = np.flatnonzero(living & wanted[belief["status"]])
    slots, rows, belief = slots[chosen], rows[chosen], belief[chosen]
    lat = np.degrees(np.arctan2(rows["z"], np.hypot(rows["x"], rows["y"])))
    lon = np.degrees(np.arctan2(rows["y"], rows["x"]))
    return list(
        zip(
            [str(UUID(bytes=i.tobytes())) for i in ids[slots]],
            np.round(lat, 7).tolist(),
            np.round(lon, 7).tolist(),
            np.round(belief["r"], 6).tolist(),
            [STATUS_NAMES[s] for s in belief["status"].tolist()],
            belief["attributes"].tolist(),
            strict=True,
        )
    )
