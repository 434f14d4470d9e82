"""A picture: tracks predicted to one moment."""

from __future__ import annotations

from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.motion import STATE, predict
from apss_fusion.kernels import kernel
from apss_fusion.model import TrackStatus
from apss_fusion.tracking.bank import Bank, alive
from apss_fusion.tracking.config import Params
from apss_fusion.tracking.filing import existence_at
from apss_fusion.tracking.rows import STATUS_NAMES


@kernel
def _predict_all(
    bank: Bank, params: Params, slots: NDArray[np.int64], t: float, rows: NDArray[np.void], r: NDArray[np.float64]
) -> None:
    for k in range(len(slots)):
        b = bank.belief[slots[k]]
        d = params.domain[b.domain]
        predict(bank.state[slots[k]], t, d.q, d.g, d.great_circle != 0, rows[k])
        r[k] = existence_at(b, d, max(t, b.tr))


def tracks_at(
    bank: Bank, ids: NDArray[np.uint8], params: Params, t: float, statuses: tuple[int, ...]
) -> list[tuple[str, float, float, float, TrackStatus, int]]:
    """(track_id, lat, lon, existence, status, number of the attributes) of the tracks with these statuses at t, s."""
    slots = alive(bank)
    slots = slots[np.isin(bank.belief["status"][slots], statuses)]
    rows, r = np.zeros(len(slots), STATE), np.zeros(len(slots))
    _predict_all(bank, params, slots, t, rows, r)
    lat = np.degrees(np.arctan2(rows["z"], np.hypot(rows["x"], rows["y"])))
    lon = np.degrees(np.arctan2(rows["y"], rows["x"]))
    return list(
        zip(
            [str(UUID(bytes=i.tobytes())) for i in ids[slots]],
            np.round(lat, 7).tolist(),
            np.round(lon, 7).tolist(),
            np.round(r, 6).tolist(),
            [STATUS_NAMES[s] for s in bank.belief["status"][slots].tolist()],
            bank.belief["attributes"][slots].tolist(),
            strict=True,
        )
    )
