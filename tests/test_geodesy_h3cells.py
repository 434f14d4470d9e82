"""The compiled cell of a point is the h3 library's, everywhere."""

from __future__ import annotations

import h3.api.numpy_int as h3
import numpy as np
import pytest
from numpy.typing import NDArray

from apss_fusion.geodesy import h3_calibrate, h3cells
from apss_fusion.geodesy.wgs84 import geodetic, nvectors


def points() -> NDArray[np.float64]:
    """200 000 points: half all over, a quarter about pentagons at every scale, the rest at poles and antimeridian."""
    rng = np.random.default_rng(11)
    globe = rng.standard_normal((100_000, 3))
    scale = 10.0 ** rng.uniform(-6.0, -0.7, (50_000, 1))
    pentagons = h3cells.VERTICES[np.arange(50_000) % 12] + scale * rng.standard_normal((50_000, 3))
    scale = 10.0 ** rng.uniform(-6.0, -1.0, (25_000, 1))
    poles = np.array([0.0, 0.0, 1.0]) * rng.choice([-1.0, 1.0], (25_000, 1)) + scale * rng.standard_normal((25_000, 3))
    lon = np.where(rng.random(25_000) < 0.5, 180.0, -180.0) + 10.0 ** rng.uniform(-9, 0, 25_000) * rng.choice(
        [-1.0, 0.0, 1.0], 25_000
    )
    antimeridian = nvectors(np.degrees(np.arcsin(rng.uniform(-1, 1, 25_000))), lon)
    n = np.concatenate([globe, pentagons, poles, antimeridian])
    n /= np.linalg.norm(n, axis=1)[:, None]
    # As the library is asked in degrees: the normals of exactly those.
    return nvectors(*geodetic(n))


POINTS = points()


@pytest.mark.parametrize("res", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15])
def test_cells_equal_the_library_s(res: int) -> None:
    n = POINTS if 2 <= res <= 9 else POINTS[::10]
    lat, lon = geodetic(n)
    expected = [h3.latlng_to_cell(a, b, res) for a, b in zip(lat.tolist(), lon.tolist(), strict=True)]
    assert np.count_nonzero(h3cells.cells_of(n, res) != np.array(expected, np.uint64)) == 0


def test_the_stored_tables_are_what_the_library_teaches() -> None:
    stored = np.load(h3_calibrate.PATH)
    learned = h3_calibrate.calibrate()
    assert set(stored.files) == set(learned)
    for name, table in learned.items():
        np.testing.assert_allclose(stored[name], table, rtol=0, atol=1e-14, err_msg=name)


def test_parents_equal_the_library_s() -> None:
    for cell in h3cells.cells_of(POINTS[::1_000], 9):
        for res in range(9):
            assert h3cells.parent_of(cell, res) == h3.cell_to_parent(int(cell), res)


def test_lattice_points_are_the_centres_of_their_cells() -> None:
    digits = np.zeros(16, np.int64)
    for x, y, z in POINTS[:200]:
        for res in (2, 5, 7):
            # Of a cell on a border the centre may be on the next face: go there.
            center = h3cells.lattice_point(*h3cells.lattice(x, y, z, res), res)
            face, i, j = h3cells.lattice(*center, res)
            center = h3cells.lattice_point(face, i, j, res)
            assert h3cells.lattice(*center, res) == (face, i, j)
            cell = h3cells.cell_of_lattice(face, i, j, res, digits)
            assert cell == h3cells.nvec_to_cell(x, y, z, res, digits)
            assert nvectors(*h3.cell_to_latlng(int(cell)))[0] == pytest.approx(center, abs=1e-12)
            assert h3cells.lattice_parent(*h3cells.lattice_child(i, j, res), res + 1) == (i, j)


def test_a_point_has_the_same_cell_in_any_batch_and_form() -> None:
    whole = h3cells.cells_of(POINTS[:99], 7)
    assert whole.dtype == np.uint64
    assert h3cells.cells_of(POINTS[50].tolist(), 7).tolist() == [whole[50]]
    assert h3cells.cells_of(POINTS[:99][::3], 7).tolist() == whole[::3].tolist()
