"""The undetected intensity: prior, thinning, return to the prior in closed form, rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from engine_tools import config
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.tracking.intensity import density, grown, new_intensity, write

PARAMS = config().params()
SEA, AIR = 0, 2
T = 1.7e9
CELLS = [np.uint64(0x85283473FFFFFFF + (k << 20)) for k in range(200)]
PRIOR = float(PARAMS.domain[SEA]["undetected"])
ARRIVAL = float(PARAMS.domain[SEA]["arrival"])


def test_a_cell_that_nobody_wrote_has_the_prior_of_its_domain() -> None:
    table = new_intensity(10)
    for domain in range(4):
        assert density(table, PARAMS, CELLS[0], domain, T) == PARAMS.domain[domain]["undetected"]


@given(st.floats(0.0, 1.0), st.floats(0.0, 1e-8), st.floats(0.0, 1e6))
def test_a_written_cell_returns_to_the_prior(factor: float, add: float, dt: float) -> None:
    """u(t) = u0 + (u(tw) - u0) exp(-(t - tw) / arrival), from a value of eight significant bits."""
    table = new_intensity(10)
    write(table, PARAMS, CELLS[0], SEA, T, factor, add)
    now = density(table, PARAMS, CELLS[0], SEA, T)
    assert now == pytest.approx(PRIOR * factor + add, rel=2.0**-8)
    mantissa = math.frexp(now)[0] * 2.0**8
    assert mantissa == int(mantissa)
    t = T + dt
    want = PRIOR + (now - PRIOR) * math.exp(-(t - T) * ARRIVAL)
    assert density(table, PARAMS, CELLS[0], SEA, t) == pytest.approx(want, rel=1e-12)
    assert density(table, PARAMS, CELLS[0], AIR, t) == PARAMS.domain[AIR]["undetected"]
    assert density(table, PARAMS, CELLS[1], SEA, t) == PRIOR


@given(st.lists(st.tuples(st.integers(0, 199), st.sampled_from([SEA, AIR]), st.floats(0.0, 1.0)), max_size=60))
def test_cells_are_kept_apart_and_when_the_table_grows(writes: list[tuple[int, int, float]]) -> None:
    table, want = new_intensity(4), dict[tuple[int, int], float]()
    for k, (cell, domain, factor) in enumerate(writes):
        if 2 * (int(table.used[0]) + 1) > len(table.cells):
            table = grown(table, 2 * len(table.cells))
        before = density(table, PARAMS, CELLS[cell], domain, T + k)
        write(table, PARAMS, CELLS[cell], domain, T + k, factor, 0.0)
        want[cell, domain] = density(table, PARAMS, CELLS[cell], domain, T + k)
        assert want[cell, domain] == pytest.approx(before * factor, rel=2.0**-8)
        want = {key: density(table, PARAMS, CELLS[key[0]], key[1], T + k) for key in want}
    assert int(table.used[0]) == len(want)
    larger = grown(table, 5_000)
    assert int(larger.used[0]) == len(want)
    for (cell, domain), value in want.items():
        assert density(larger, PARAMS, CELLS[cell], domain, T + len(writes) - 1) == value
