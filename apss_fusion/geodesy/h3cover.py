"""Which H3 cells a polygon covers, and how many of each one's descendants: compiled.

Cells are walked from the coarsest down on the lattice of each face of the icosahedron, where parents and children are
integer arithmetic (see `h3cells`). A cell is passed over where it is wholly outside, and counted at once where it is
wholly inside, so the work follows the polygon's edge. A descendant counts on the face whose centre is nearest to its
own: so each counts once, also on the borders of faces and about the pentagons.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.h3cells import FACE_CENTERS, LATTICE_STEP, cell_of_lattice, lattice_child, lattice_point
from apss_fusion.geodesy.polygon import inside, signed_distance_m
from apss_fusion.geodesy.wgs84 import SEMI_MAJOR_M, SEMI_MINOR_M
from apss_fusion.kernels import kernel

# No descendant's centre is further from a cell's, in radians: the sum of the lattice steps of all finer resolutions.
_REACH_RAD = LATTICE_STEP / (math.sqrt(7.0) - 1.0)
# The same in m, by the largest radius of curvature, with a margin for what `signed_distance_m` neglects.
_REACH_M = 1.01 * _REACH_RAD * SEMI_MAJOR_M * SEMI_MAJOR_M / SEMI_MINOR_M + 1e-3
# Differences of dot products with two face centres, per radian from their faces' border.
_FACE_GAP = np.linalg.norm(FACE_CENTERS[:, None] - FACE_CENTERS[None], axis=2)
_RING_I = np.array([0, 1, 1, 0, -1, -1, 0])
_RING_J = np.array([0, 0, 1, 1, 0, -1, -1])
# Dot products that differ by less belong to a point on the border.
_TIE = 1e-12


@kernel
def cover(
    vertices: NDArray[np.float64],
    ring_start: NDArray[np.int64],
    res: int,
    leaf: int,
    keys: NDArray[np.uint64],
    counts: NDArray[np.int64],
) -> int:
    """Write cells at `res` and how many of their descendants at resolution `leaf` have their centre in the polygon.

    A cell on the border of faces may come more than once, with a part of its count each time. Returns how many rows
    there are, which may be more than there was room for.
    """
    # Of each cell that is opened, seven children wait at most.
    stack = np.empty((49 + 7 * (leaf + 1), 4), np.int64)
    rows = 0
    for face in range(20):
        top = 0
        for i in range(-3, 4):
            for j in range(-3, 4):
                stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = i, j, 0, 0
                top += 1
        cell_i, cell_j, count = 0, 0, 0
        while top > 0:
            top -= 1
            i, j, r, known = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            if r == res:
                rows = _written(face, cell_i, cell_j, res, count, keys, counts, rows)
                cell_i, cell_j, count = i, j, 0
            x, y, z = lattice_point(face, i, j, r)
            if r == leaf:
                if _owns(face, x, y, z) and (known or inside(x, y, z, vertices, ring_start)):
                    count += 1
                continue
            part = _part_of_face(face, x, y, z, _REACH_RAD[r])
            if part < 0:
                continue
            if not known:
                distance = signed_distance_m(x, y, z, vertices, ring_start)
                if distance < -_REACH_M[r]:
                    continue
                known = np.int64(distance > _REACH_M[r])
            if known and part > 0 and r >= res:
                count += 7 ** (leaf - r)
                continue
            ci, cj = lattice_child(i, j, r)
            for k in range(7):
                stack[top, 0], stack[top, 1] = ci + _RING_I[k], cj + _RING_J[k]
                stack[top, 2], stack[top, 3] = r + 1, known
                top += 1
        rows = _written(face, cell_i, cell_j, res, count, keys, counts, rows)
    return rows


@kernel
def _written(
    face: int,
    i: int,
    j: int,
    res: int,
    count: int,
    keys: NDArray[np.uint64],
    counts: NDArray[np.int64],
    rows: int,
) -> int:
    # A lattice point without a descendant on the face may be none of H3's.
    if count == 0:
        return rows
    if rows < len(keys):
        keys[rows], counts[rows] = cell_of_lattice(face, i, j, res, np.zeros(16, np.int64)), count
    return rows + 1


@kernel
def _owns(face: int, x: float, y: float, z: float) -> bool:
    """Whether the face's centre is the nearest; of several on a border, the first face."""
    own = FACE_CENTERS[face, 0] * x + FACE_CENTERS[face, 1] * y + FACE_CENTERS[face, 2] * z
    for k in range(20):
        d = FACE_CENTERS[k, 0] * x + FACE_CENTERS[k, 1] * y + FACE_CENTERS[k, 2] * z
        if d > own + _TIE or (k < face and d > own - _TIE):
            return False
    return True


@kernel
def _part_of_face(face: int, x: float, y: float, z: float, reach_rad: float) -> int:
    """1: all points within reach are of the face, -1: none is, 0: some may be."""
    own = FACE_CENTERS[face, 0] * x + FACE_CENTERS[face, 1] * y + FACE_CENTERS[face, 2] * z
    part = 1
    for k in range(20):
        if k != face:
            d = FACE_CENTERS[k, 0] * x + FACE_CENTERS[k, 1] * y + FACE_CENTERS[k, 2] * z
            border = (reach_rad + 1e-9) * _FACE_GAP[face, k]
            if own - d < -border:
                return -1
            if own - d < border:
                part = 0
    return part
