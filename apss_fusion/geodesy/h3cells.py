"""The H3 cell of a point, in compiled code.

The same cells as the h3 library's, from the n-vector that a track or detection has anyway: dot products instead of arc
functions, and callable from kernels. H3 takes the geodetic latitude for a latitude on a sphere, so the n-vector is its
unit vector. The conventions of base cells and digits come from ``h3_tables.npz``, which `h3_calibrate` learned from
the h3 library.

A lattice point is (face, i, j): the triangular lattice of a resolution on a face's gnomonic plane, its axes 120 degrees
apart.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apss_fusion.kernels import kernel

_TABLES = dict(np.load(Path(__file__).with_name("h3_tables.npz")))

#: The twelve vertices of H3's icosahedron, the centres of its pentagons: unit vectors (12, 3).
VERTICES: NDArray[np.float64] = _TABLES["vertices"]
#: The centres of its faces: unit vectors (20, 3).
FACE_CENTERS: NDArray[np.float64] = _TABLES["center"]
_AXIS_U: NDArray[np.float64] = _TABLES["u"]
_AXIS_W: NDArray[np.float64] = _TABLES["w"]
_BASE: NDArray[np.int64] = _TABLES["base"]
_TURNS: NDArray[np.int64] = _TABLES["turns"]

#: Gnomonic length of a lattice step by resolution, (16,).
LATTICE_STEP = 0.38196601125010500003 / np.sqrt(7.0) ** np.arange(16)
# Lattices of odd resolutions are turned by asin(sqrt(3 / 28)).
_ROT_COS, _ROT_SIN, _SIN60 = math.sqrt(25.0 / 28.0), math.sqrt(3.0 / 28.0), math.sqrt(0.75)
# H3's digit of a lattice step (di, dj) at [(di + 1) * 3 + (dj + 1)].
_DIGIT = np.array([1, 3, 0, 5, 0, 2, 0, 4, 6])
# _TURNED[t, digit]: the digit t sixths of a turn counter-clockwise of it.
_CIRCLE = [4, 6, 2, 3, 1, 5]
_TURNED = np.array([[0] + [_CIRCLE[(_CIRCLE.index(d) + t) % 6] for d in range(1, 7)] for t in range(6)])


@kernel
def lattice(x: float, y: float, z: float, res: int) -> tuple[int, int, int]:
    """The lattice point (face, i, j), of the nearest face, whose hexagon holds the unit vector."""
    face, best = 0, -2.0
    for k in range(20):
        d = x * FACE_CENTERS[k, 0] + y * FACE_CENTERS[k, 1] + z * FACE_CENTERS[k, 2]
        if d > best:
            best, face = d, k
    scale = 1.0 / (best * LATTICE_STEP[res])
    a = (x * _AXIS_U[face, 0] + y * _AXIS_U[face, 1] + z * _AXIS_U[face, 2]) * scale
    b = (x * _AXIS_W[face, 0] + y * _AXIS_W[face, 1] + z * _AXIS_W[face, 2]) * scale
    if res & 1:
        a, b = a * _ROT_COS + b * _ROT_SIN, b * _ROT_COS - a * _ROT_SIN
    fj = b / _SIN60
    fi = a + 0.5 * fj
    i, j = math.floor(fi), math.floor(fj)
    p, q = fi - i, fj - j
    # The nearest corner of the rhomb: squared distances less that of (0, 0), in the metric p^2 - p q + q^2.
    both, first, second = 1.0 - p - q, 1.0 + q - 2.0 * p, 1.0 + p - 2.0 * q
    if both < 0.0 and both <= first and both <= second:
        i, j = i + 1, j + 1
    elif first < 0.0 and first <= second:
        i = i + 1
    elif second < 0.0:
        j = j + 1
    return face, i, j


@kernel
def lattice_parent(i: int, j: int, res: int) -> tuple[int, int]:
    """The lattice point at res - 1 that is the parent of (i, j) at `res`, on the same face."""
    if res & 1:
        return _seventh(3 * i - j), _seventh(i + 2 * j)
    return _seventh(2 * i + j), _seventh(3 * j - i)


@kernel
def lattice_child(i: int, j: int, res: int) -> tuple[int, int]:
    """The lattice point at res + 1 at the centre of (i, j) at `res`; its six neighbours are the other children."""
    if res & 1:
        return 3 * i - j, i + 2 * j
    return 2 * i + j, 3 * j - i


@kernel
def lattice_point(face: int, i: int, j: int, res: int) -> tuple[float, float, float]:
    """The unit vector of a lattice point, which is its cell's centre while it lies on the face."""
    a, b = (i - 0.5 * j) * LATTICE_STEP[res], j * _SIN60 * LATTICE_STEP[res]
    if res & 1:
        a, b = a * _ROT_COS - b * _ROT_SIN, b * _ROT_COS + a * _ROT_SIN
    x = FACE_CENTERS[face, 0] + a * _AXIS_U[face, 0] + b * _AXIS_W[face, 0]
    y = FACE_CENTERS[face, 1] + a * _AXIS_U[face, 1] + b * _AXIS_W[face, 1]
    z = FACE_CENTERS[face, 2] + a * _AXIS_U[face, 2] + b * _AXIS_W[face, 2]
    q = 1.0 / math.sqrt(x * x + y * y + z * z)
    return x * q, y * q, z * q


@kernel
def _seventh(v: int) -> int:
    """Round v / 7 to the nearest; there is never a tie."""
    return (v + 3) // 7


@kernel
def cell_of_lattice(face: int, i: int, j: int, res: int, digits: NDArray[np.int64]) -> np.uint64:
    """The H3 cell of a lattice point of the face that its centre is nearest to. `digits`: scratch, int64 (16,)."""
    first = 0
    for r in range(res, 0, -1):
        pi, pj = lattice_parent(i, j, r)
        ci, cj = lattice_child(pi, pj, r - 1)
        digit = _DIGIT[(i - ci + 1) * 3 + (j - cj + 1)]
        digits[r] = digit
        if digit:
            first = digit
        i, j = pi, pj
    low = min(i, min(j, 0))
    slot = face * 27 + (i - low) * 9 + (j - low) * 3 - low
    turns = _TURNS[slot, first]
    # Bits: 1 at 59 (a cell), resolution at 52, base cell at 45, three a digit, and 7 for each digit it has not.
    h = (np.uint64(1) << np.uint64(59)) | (np.uint64(res) << np.uint64(52)) | (np.uint64(_BASE[slot]) << np.uint64(45))
    for r in range(1, res + 1):
        h |= np.uint64(_TURNED[turns, digits[r]]) << np.uint64((15 - r) * 3)
    return h | ((np.uint64(1) << np.uint64((15 - res) * 3)) - np.uint64(1))


@kernel
def nvec_to_cell(x: float, y: float, z: float, res: int, digits: NDArray[np.int64]) -> np.uint64:
    """The H3 cell, at resolution `res` from 0 to 15, of an n-vector. `digits`: scratch, int64 (16,)."""
    face, i, j = lattice(x, y, z, res)
    return cell_of_lattice(face, i, j, res, digits)


@kernel
def parent_of(h: np.uint64, res: int) -> np.uint64:
    """The ancestor of a cell at the coarser resolution `res`."""
    h = (h & ~(np.uint64(15) << np.uint64(52))) | (np.uint64(res) << np.uint64(52))
    return h | ((np.uint64(1) << np.uint64((15 - res) * 3)) - np.uint64(1))


@kernel
def _cells_of(n: NDArray[np.float64], res: int, out: NDArray[np.uint64]) -> None:
    digits = np.zeros(16, np.int64)
    for k in range(len(n)):
        out[k] = nvec_to_cell(n[k, 0], n[k, 1], n[k, 2], res, digits)


def cells_of(n: ArrayLike, res: int) -> NDArray[np.uint64]:
    """The H3 cells (m,), at resolution `res` from 0 to 15, of n-vectors (m, 3)."""
    rows = np.ascontiguousarray(n, dtype=np.float64).reshape(-1, 3)
    out = np.empty(len(rows), np.uint64)
    _cells_of(rows, res, out)
    return out
