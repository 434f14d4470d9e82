"""Learns, from the h3 library, the tables by which `h3cells` finds the cell of a point in compiled code.

H3 projects a point onto the nearest face of an icosahedron (gnomonic projection), finds the nearest point of a
triangular lattice there, and writes the way from a base cell down to it as digits 0 to 6, one a resolution (see
"Overview of the H3 Geospatial Indexing System", h3geo.org, and its ``faceijk.c``, ``h3Index.c``). What cannot be
computed are conventions: which base cell lies at which place of which face, and by how many sixths of a turn the digits
are turned there. At the twelve pentagons, which have a sixth missing, the turn depends on the first digit that is not
0. So a table over (face, place, first digit) holds it all, and points whose cells are known fill it.

Written in plain numpy, apart from the compiled code that reads the tables. ``python -m
apss_fusion.geodesy.h3_calibrate`` writes ``h3_tables.npz`` anew.
"""

from __future__ import annotations

import math
from pathlib import Path

import h3.api.numpy_int as h3
import numpy as np
from numpy.typing import NDArray

Tables = dict[str, NDArray]

PATH = Path(__file__).with_name("h3_tables.npz")

#: Gnomonic length of a lattice step at resolution 0 (H3: RES0_U_GNOMONIC), and the turn of odd resolutions' lattices.
RES0_U = 0.38196601125010500003
AP7_ROT_RAD = math.asin(math.sqrt(3.0 / 28.0))
#: H3's digit of a lattice step (di, dj) at [(di + 1) * 3 + (dj + 1)], the third coordinate eliminated.
DIGIT_OF_STEP = np.array([1, 3, 0, 5, 0, 2, 0, 4, 6])
#: The digits counter-clockwise, each a sixth of a turn on.
CIRCLE = np.array([4, 6, 2, 3, 1, 5])

_RES = 5
_SEED = 7


def icosahedron() -> Tables:
    """H3's icosahedron: 12 `vertices`, which are the pentagons' centres, and of 20 faces the `center` and two axes.

    Axis `u` of a face points towards one of its vertices, `w` is a quarter of a turn counter-clockwise of it.
    """
    lat, lon = np.radians([h3.cell_to_latlng(c) for c in h3.get_pentagons(0)]).T
    vertices = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    joined = np.abs(vertices @ vertices.T - 1.0 / math.sqrt(5.0)) < 0.01
    faces = [
        (a, b, c)
        for a in range(12)
        for b in range(a + 1, 12)
        for c in range(b + 1, 12)
        if joined[a, b] and joined[b, c] and joined[a, c]
    ]
    center = np.array([vertices[list(f)].sum(0) for f in faces])
    center /= np.linalg.norm(center, axis=1)[:, None]
    u = vertices[[f[0] for f in faces]]
    u -= (u * center).sum(1)[:, None] * center
    u /= np.linalg.norm(u, axis=1)[:, None]
    return {"vertices": vertices, "center": center, "u": u, "w": np.cross(center, u)}


def raw_digits(n: NDArray, res: int, ico: Tables) -> tuple[NDArray, NDArray]:
    """Place and digits before turning of unit vectors (m, 3): slots (m,), digits (m, res).

    A slot is face * 27 + 9 i + 3 j + k, the place's three coordinates as small as they go without a negative one.
    """
    rows = np.arange(len(n))
    dots = n @ ico["center"].T
    face = dots.argmax(1)
    scale = math.sqrt(7.0) ** res / (RES0_U * dots[rows, face])
    a, b = (n * ico["u"][face]).sum(1) * scale, (n * ico["w"][face]).sum(1) * scale
    if res % 2:
        c, s = math.cos(AP7_ROT_RAD), math.sin(AP7_ROT_RAD)
        a, b = a * c + b * s, b * c - a * s
    # The lattice's axes are 120 degrees apart; the nearest of the four corners of the rhomb that holds the point.
    fj = b / math.sqrt(0.75)
    fi = a + 0.5 * fj
    corners = [(np.floor(fi) + di, np.floor(fj) + dj) for di in (0, 1) for dj in (0, 1)]
    distance = [(fi - i) ** 2 - (fi - i) * (fj - j) + (fj - j) ** 2 for i, j in corners]
    nearest = np.argmin(distance, axis=0)
    i = np.choose(nearest, [c[0] for c in corners]).astype(np.int64)
    j = np.choose(nearest, [c[1] for c in corners]).astype(np.int64)
    digits = np.zeros((len(n), res), np.int64)
    for r in range(res, 0, -1):
        if r % 2:
            pi, pj = np.rint((3 * i - j) / 7), np.rint((i + 2 * j) / 7)
            ci, cj = 2 * pi + pj, 3 * pj - pi
        else:
            pi, pj = np.rint((2 * i + j) / 7), np.rint((3 * j - i) / 7)
            ci, cj = 3 * pi - pj, pi + 2 * pj
        digits[:, r - 1] = DIGIT_OF_STEP[((i - ci + 1) * 3 + (j - cj + 1)).astype(np.int64)]
        i, j = pi.astype(np.int64), pj.astype(np.int64)
    low = np.minimum(np.minimum(i, j), 0)
    return face * 27 + (i - low) * 9 + (j - low) * 3 - low, digits


def first_digits(digits: NDArray) -> NDArray:
    """The first digit that is not 0 of each row (m, res), or 0."""
    return digits[np.arange(len(digits)), (digits != 0).argmax(1)]


def h3_cells(n: NDArray, res: int) -> NDArray[np.uint64]:
    """Cells of unit vectors (m, 3), by the h3 library."""
    lat = np.degrees(np.arctan2(n[:, 2], np.hypot(n[:, 0], n[:, 1]))).tolist()
    lon = np.degrees(np.arctan2(n[:, 1], n[:, 0])).tolist()
    return np.array([h3.latlng_to_cell(a, b, res) for a, b in zip(lat, lon, strict=True)], np.uint64)


def calibrate() -> Tables:
    """All tables: the icosahedron, `base` cell (540,) by slot and `turns` (540, 7) by slot and first digit.

    `turns` counts sixths of a turn, counter-clockwise, of every digit. Places that no point of a face has are 0.
    """
    ico = icosahedron()
    rng = np.random.default_rng(_SEED)
    n = rng.standard_normal((150_000, 3))
    # About the pentagons at every scale down to the resolution used, because there the turn depends on the digit.
    about = ico["vertices"][np.arange(200_000) % 12]
    n = np.concatenate([n, about + rng.standard_normal(about.shape) * 10 ** rng.uniform(-3.0, -0.7, (len(about), 1))])
    n /= np.linalg.norm(n, axis=1)[:, None]
    slots, digits = raw_digits(n, _RES, ico)
    cells = h3_cells(n, _RES)
    known = np.stack([cells >> np.uint64(3 * (15 - r)) & np.uint64(7) for r in range(1, _RES + 1)], 1).astype(np.int64)
    base_count = np.zeros((540, 122), np.int64)
    np.add.at(base_count, (slots, ((cells >> np.uint64(45)) & np.uint64(127)).astype(np.int64)), 1)
    first, want = first_digits(digits), first_digits(known)
    seen = first > 0
    turn = np.zeros((540, 7, 6), np.int64)
    step = (_on_circle(want[seen]) - _on_circle(first[seen])) % 6
    np.add.at(turn, (slots[seen], first[seen], step), 1)
    base = base_count.argmax(1)
    pentagon = np.isin(base, [h3.get_base_cell_number(c) for c in h3.get_pentagons(0)])
    turns = np.where(pentagon[:, None], turn.argmax(2), turn.sum(1).argmax(1)[:, None])
    return ico | {"base": base, "turns": turns}


def _on_circle(digits: NDArray) -> NDArray:
    return np.argsort(CIRCLE)[digits - 1]


if __name__ == "__main__":
    np.savez_compressed(PATH, **calibrate())  # type: ignore[arg-type]
