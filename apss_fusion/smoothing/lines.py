"""Lines of track updates with the smoothed fields in place of the filtered ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw
from numpy.typing import NDArray

from apss_fusion.smoothing.records import COV_FIELDS, UPPER
from apss_fusion.smoothing.rts import Smoothed
from apss_fusion.tracking.rows import UPDATE
from apss_fusion.tracking.updates import (
    COURSE,
    COV,
    LAT,
    LON,
    MAJOR,
    MINOR,
    ORIENTATION,
    SPEED,
    V_EAST,
    V_NORTH,
    Numbers,
    derive,
)

_LINE = msgspec.json.Decoder(dict[str, Raw])
_VELOCITY = msgspec.json.Decoder(tuple[float, float, float | None])
_JSON = msgspec.json.Encoder()


def published(result: Smoothed) -> Numbers:
    """The smoothed states as the engine publishes a state, rounded by its rules."""
    rows = np.zeros(len(result.changed), UPDATE)
    state: NDArray[Any] = rows["state"]
    state["x"], state["y"], state["z"] = result.position.T
    state["a"], state["b"] = result.velocity.T
    for name, i, j in zip(COV_FIELDS, *UPPER, strict=True):
        state[name] = result.covariance[:, i, j]
    return derive(rows)


def fields(x: list[float], h3: int, up_mps: float | None) -> dict[str, Any]:
    """The fields of an update that smoothing changes, from a row of `Numbers.values`; the climb is not smoothed."""
    return {
        "lat": x[LAT],
        "lon": x[LON],
        "speed_mps": x[SPEED],
        "course_deg": x[COURSE],
        "v_enu_mps": [x[V_EAST], x[V_NORTH], up_mps],
        "cov_enu": x[COV : COV + 10],
        "ellipse95": {"semi_major_m": x[MAJOR], "semi_minor_m": x[MINOR], "orientation_deg": x[ORIENTATION]},
        "h3": f"{h3:015x}",
    }


def rewritten(lines: Iterable[bytes], result: Smoothed) -> Iterator[bytes]:
    """The lines, smoothed; what is not smoothed keeps its bytes, and so does a line that did not change."""
    numbers = published(result)
    values = numbers.values()
    row = 0
    for line in lines:
        if line.isspace():
            continue
        if result.changed[row]:
            update = _LINE.decode(line)
            up_mps = _VELOCITY.decode(update["v_enu_mps"])[2]
            yield _JSON.encode(update | fields(values[row].tolist(), int(numbers.h3[row]), up_mps)) + b"\n"
        else:
            yield line if line.endswith(b"\n") else line + b"\n"
        row += 1
