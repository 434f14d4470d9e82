"""Points, distances and Gaussians against polygons on the globe, in compiled code.

A polygon is `vertices` and `ring_start`: ring r is the rows from ``ring_start[r]`` to ``ring_start[r + 1]`` (n-vectors,
the first not repeated). The last ring is one point, which is known to lie outside. A point is inside when the way from
it to that point crosses the edges an odd number of times (even-odd), so holes and several parts need no word of their
own, and neither size, poles, antimeridian nor the far side of the globe are special. The rows of several polygons may
stand one after the other, and a polygon be a slice of them.

Edges are great circles of the normals: straight in the tangent plane of a point near them.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import MEAN_RADIUS_M, east_of, radii
from apss_fusion.kernels import inline_kernel, kernel

#: The distance reported of an edge that is more than 60 degrees away.
FAR_M = 6.6e6

_COS_FAR = 0.5
_GRID = 8
#: Midpoints of eight equally probable intervals of a standard normal.
_QUANTILES = np.array([NormalDist().inv_cdf((2 * i + 1) / (2 * _GRID)) for i in range(_GRID)])


@kernel
def inside(x: float, y: float, z: float, vertices: NDArray[np.float64], ring_start: NDArray[np.int64]) -> bool:
    """Whether the n-vector lies inside the polygon (see the module); a point on an edge is on either side."""
    rings = len(ring_start) - 2
    ox, oy, oz = vertices[ring_start[rings], 0], vertices[ring_start[rings], 1], vertices[ring_start[rings], 2]
    # The way to the outside point: (op, od) in the plane of the point and d, the direction in which that way begins.
    op = x * ox + y * oy + z * oz
    dx, dy, dz = ox - op * x, oy - op * y, oz - op * z
    od = math.sqrt(dx * dx + dy * dy + dz * dz)
    if od < 1e-9:
        if op > 0.0:
            return False
        # The outside point is the antipode: every way leads there.
        dx, dy, _ = east_of(x, y)
        dz, od, op = 0.0, 0.0, -1.0
    else:
        dx, dy, dz = dx / od, dy / od, dz / od
    mx, my, mz = y * dz - z * dy, z * dx - x * dz, x * dy - y * dx
    within = False
    for ring in range(rings):
        a = ring_start[ring + 1] - 1
        wa = mx * vertices[a, 0] + my * vertices[a, 1] + mz * vertices[a, 2]
        for b in range(ring_start[ring], ring_start[ring + 1]):
            wb = mx * vertices[b, 0] + my * vertices[b, 1] + mz * vertices[b, 2]
            if (wa >= 0.0) != (wb >= 0.0):
                # Where the edge meets the plane: beyond the point (qd > 0) and before the outside point?
                sa, sb = (wb, -wa) if wb > wa else (-wb, wa)
                qx = sa * vertices[a, 0] + sb * vertices[b, 0]
                qy = sa * vertices[a, 1] + sb * vertices[b, 1]
                qz = sa * vertices[a, 2] + sb * vertices[b, 2]
                qd = qx * dx + qy * dy + qz * dz
                if qd > 0.0 and (qx * x + qy * y + qz * z) * od > qd * op:
                    within = not within
            a, wa = b, wb
    return within


@kernel
def signed_distance_m(
    x: float, y: float, z: float, vertices: NDArray[np.float64], ring_start: NDArray[np.int64]
) -> float:
    """Distance in m from the n-vector to the nearest edge: positive inside, negative outside.

    Taken in the tangent plane of the point with the arc put back: within 1e-3 of itself up to 500 km. From 60 degrees
    on it is `FAR_M`.
    """
    e_x, e_y, h = east_of(x, y)
    n, m = radii(z)
    least = np.inf
    for ring in range(len(ring_start) - 2):
        k = ring_start[ring + 1] - 1
        east, north, ac = _seen_from(x, y, z, e_x, e_y, h, vertices[k, 0], vertices[k, 1], vertices[k, 2])
        ae, an = east * n, north * m
        for k in range(ring_start[ring], ring_start[ring + 1]):
            east, north, bc = _seen_from(x, y, z, e_x, e_y, h, vertices[k, 0], vertices[k, 1], vertices[k, 2])
            be, bn = east * n, north * m
            if ac > _COS_FAR or bc > _COS_FAR:
                least = min(least, _to_segment_sq(ae, an, be, bn))
            ae, an, ac = be, bn, bc
    distance = FAR_M
    if least < np.inf:
        s = math.sqrt(least) / MEAN_RADIUS_M
        distance = MEAN_RADIUS_M * math.asin(min(s, 1.0))
    return distance if inside(x, y, z, vertices, ring_start) else -distance


@kernel
def chance_inside(
    x: float,
    y: float,
    z: float,
    ee: float,
    en: float,
    nn: float,
    vertices: NDArray[np.float64],
    ring_start: NDArray[np.int64],
) -> float:
    """Probability that a Gaussian about an n-vector lies inside: see `chance_inside_with`."""
    edges = np.empty((ring_start[len(ring_start) - 1], 4))
    return chance_inside_with(x, y, z, ee, en, nn, vertices, ring_start, edges)


@kernel
def chance_inside_with(
    x: float,
    y: float,
    z: float,
    ee: float,
    en: float,
    nn: float,
    vertices: NDArray[np.float64],
    ring_start: NDArray[np.int64],
    edges: NDArray[np.float64],
) -> float:
    """Probability that a Gaussian about the n-vector, covariance [ee, en, nn] in m^2 (east, north), lies inside.

    Exactly 0 or 1 where the nearest edge is further than 4 standard deviations (of the longer axis); else the share of
    64 points that are inside: the midpoints of 8 by 8 equally probable parts along the principal axes.
    edges: (n, 4) to work in, n at least the number of vertices.
    """
    distance = signed_distance_m(x, y, z, vertices, ring_start)
    half = 0.5 * math.sqrt((ee - nn) * (ee - nn) + 4.0 * en * en)
    major = 0.5 * (ee + nn) + half
    minor = max(0.5 * (ee + nn) - half, 0.0)
    if distance * distance > 16.0 * major:
        return 1.0 if distance > 0.0 else 0.0
    # Eigenvector of the larger eigenvalue, by the better conditioned of two rows.
    ue, un = (major - nn, en) if ee >= nn else (en, major - ee)
    length = math.sqrt(ue * ue + un * un)
    ue, un = (ue / length, un / length) if length > 0.0 else (1.0, 0.0)
    a, b = math.sqrt(max(major, 0.0)), math.sqrt(minor)
    reach = _QUANTILES[_GRID - 1] * math.sqrt(a * a + b * b)
    count = _near_edges(x, y, z, reach, vertices, ring_start, edges)
    # A point of the grid is on this point's side of the polygon unless the way to it crosses an odd number of edges.
    same = 0
    for i in range(_GRID):
        for j in range(_GRID):
            p, q = _QUANTILES[i] * a, _QUANTILES[j] * b
            te, tn = p * ue - q * un, p * un + q * ue
            crossed = False
            for k in range(count):
                ae, an, be, bn = edges[k, 0], edges[k, 1], edges[k, 2], edges[k, 3]
                if (te * an - tn * ae >= 0.0) != (te * bn - tn * be >= 0.0):
                    here = ae * bn - an * be
                    there = (ae - te) * (bn - tn) - (an - tn) * (be - te)
                    if (here >= 0.0) != (there >= 0.0):
                        crossed = not crossed
            same += not crossed
    share = same / (_GRID * _GRID)
    return share if distance > 0.0 else 1.0 - share


@inline_kernel
def _seen_from(
    x: float, y: float, z: float, e_x: float, e_y: float, h: float, vx: float, vy: float, vz: float
) -> tuple[float, float, float]:
    """East, north and outward component of the unit vector v in the frame of the n-vector."""
    return e_x * vx + e_y * vy, z * (e_x * vy - e_y * vx) + h * vz, x * vx + y * vy + z * vz


@kernel
def _to_segment_sq(ae: float, an: float, be: float, bn: float) -> float:
    """Squared distance from the origin to a segment of the plane."""
    de, dn = be - ae, bn - an
    length = de * de + dn * dn
    t = -(ae * de + an * dn) / length if length > 0.0 else 0.0
    t = min(max(t, 0.0), 1.0)
    pe, pn = ae + t * de, an + t * dn
    return pe * pe + pn * pn


@kernel
def _near_edges(
    x: float,
    y: float,
    z: float,
    reach_m: float,
    vertices: NDArray[np.float64],
    ring_start: NDArray[np.int64],
    edges: NDArray[np.float64],
) -> int:
    """Edges that come within reach of the point, as (east, north, east, north) in its tangent plane; how many."""
    e_x, e_y, h = east_of(x, y)
    n, m = radii(z)
    count = 0
    for ring in range(len(ring_start) - 2):
        k = ring_start[ring + 1] - 1
        east, north, ac = _seen_from(x, y, z, e_x, e_y, h, vertices[k, 0], vertices[k, 1], vertices[k, 2])
        ae, an = east * n, north * m
        for k in range(ring_start[ring], ring_start[ring + 1]):
            east, north, bc = _seen_from(x, y, z, e_x, e_y, h, vertices[k, 0], vertices[k, 1], vertices[k, 2])
            be, bn = east * n, north * m
            if (ac > 0.0 or bc > 0.0) and _to_segment_sq(ae, an, be, bn) <= reach_m * reach_m:
                edges[count, 0], edges[count, 1], edges[count, 2], edges[count, 3] = ae, an, be, bn
                count += 1
            ae, an, ac = be, bn, bc
    return count
