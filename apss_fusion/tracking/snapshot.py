"""What an engine holds, as bytes: for comparing engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import numpy as np

from apss_fusion.estimation.history import SOURCES
from apss_fusion.tracking import bank as banks
from apss_fusion.tracking.track_records import bank_rows, contributors_of

if TYPE_CHECKING:
    from apss_fusion.tracking.filter import Filter


class EngineState(NamedTuple):
    """What an engine holds, as bytes to compare: living tracks by track_id, and written cells of the intensity."""

    tracks: dict[str, bytes]
    cells: dict[str, bytes]


def snapshot(filter: Filter) -> EngineState:
    """What a filter holds, for comparison."""
    slots = banks.alive(filter.bank)
    rows = bank_rows(filter.bank, filter.track_id, slots)
    belief = rows.belief.copy()
    belief["attributes"] = 0
    history = rows.history.copy()
    history[:, SOURCES : SOURCES + 1] = 0.0
    entries = contributors_of(rows, filter.bank.pool, filter.register)
    tracks = {}
    for k, track_id in enumerate(rows.track_id):
        beside = (
            filter.attributes.content(int(rows.belief["attributes"][k])),
            int(rows.detections[k]),
            entries[k],
            sorted(filter.register.set_members(int(rows.sources[k]))),
        )
        tracks[str(UUID(bytes=track_id.tobytes()))] = (
            rows.state[k].tobytes()
            + rows.altitude[k].tobytes()
            + belief[k].tobytes()
            + history[k].tobytes()
            + repr(beside).encode()
        )
    table = filter.work.intensity.cells
    written = table[(table["key"] != 0) & (table["written"] != 0)]
    cells = {
        f"{key:016x}": np.array(values).tobytes()
        for key, *values in zip(written["key"].tolist(), written["value"].tolist(), written["t"].tolist(), strict=True)
    }
    return EngineState(tracks, cells)
