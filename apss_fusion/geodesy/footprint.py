"""The footprint of a look: which part of the globe it saw, for points, Gaussians and H3 cells.

GeoJSON's edges are straight in longitude and latitude. Here an edge is straight in the tangent plane of the point
asked (a great circle). For an edge of 10 km that differs by 2 m at 45 degrees of latitude and 12 m at 80. Edges of more
than a degree are divided along GeoJSON's line, which then differs by 0.3 km at most (0.5 km next to the poles): so big
footprints keep its meaning, and a box from (0, 60) to (40, 70) has parallels for its edges. See `geojson` for the
antimeridian and the poles.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import h3.api.numpy_int as h3
import numpy as np
import orjson
from numpy.typing import NDArray

from apss_fusion.geodesy.geojson import Ring, area_of, contains, loops_of, rings_of
from apss_fusion.geodesy.h3cells import cells_of
from apss_fusion.geodesy.h3cover import cover
from apss_fusion.geodesy.polygon import chance_inside, inside, signed_distance_m
from apss_fusion.geodesy.wgs84 import SEMI_MAJOR_M, SEMI_MINOR_M, geodetic, nvectors

__all__ = ["Footprint", "chance_inside", "inside", "signed_distance_m"]

# Footprints kept; a source's next look often has the last one's.
_CACHED = 256
# Shares are counted in descendants: of two resolutions below, and of at least so many in the whole footprint.
_DEPTH = 2
_LEAVES = 5_000
_FINEST = 15
# A cap wider than this, in radians, is no use: it is taken for the globe.
_WIDEST = math.radians(80.0)
# No distance on the ellipsoid is longer than the angle of the normals times the largest radius of curvature.
_LARGEST_RADIUS_M = SEMI_MAJOR_M * SEMI_MAJOR_M / SEMI_MINOR_M
_GLOBE_SR = 4.0 * math.pi


class Footprint:
    """A GeoJSON Polygon or MultiPolygon on the globe; made by `of`, not changed afterwards.

    Attributes
    ----------
    vertices : (n, 3) float64
        n-vectors of all rings, the first of a ring not repeated. The last ring is one point, which is known to lie
        outside: the kernels `inside`, `signed_distance_m` and `chance_inside` go by it.
    ring_start : (rings + 1,) int64
        Where each ring begins in `vertices`, and the end of the last. Even-odd over all rings gives holes and parts.
    center : (3,) float64
        n-vector of the middle of a cap that holds the footprint.
    radius_m : float
        Geodesic radius of that cap, rounded up; half the globe's circumference where it is over 80 degrees.
    geojson : bytes
        The geometry that it was made of, as JSON.
    area_km2 : float
        Area on the ellipsoid within GeoJSON's edges.
    """

    __slots__ = ("_shares", "_steradians", "area_km2", "center", "geojson", "radius_m", "ring_start", "vertices")

    @staticmethod
    def of(geojson: dict[str, Any]) -> Footprint:
        """The footprint of a GeoJSON geometry, the same object for the same content while it is among the last 256.

        ValueError, with the reason, for anything that is no Polygon or MultiPolygon with an area.
        """
        try:
            content = orjson.dumps(geojson)
        except orjson.JSONEncodeError as error:
            raise ValueError(f"a footprint must be GeoJSON: {error}") from error
        return _footprint(content)

    def __init__(self, content: bytes) -> None:
        self.geojson = content
        polygons = rings_of(orjson.loads(content))
        rings = [ring for polygon in polygons for ring in polygon]
        loops = [nvectors([lat for _, lat in loop], [lon for lon, _ in loop]) for loop in loops_of(rings)]
        corners = np.concatenate([*loops, np.empty((0, 3))])
        self.center, angle = _cap(corners)
        outside = _outside(rings, self.center if angle <= _WIDEST else None, corners)
        if outside is None:
            # All of the globe. A pinhole of some metres gives the way from each point something to cross.
            outside = np.array([0.0, 0.0, -1.0])
            pinhole = nvectors([-89.9999] * 3, [0.0, 120.0, 240.0])
            loops, corners = [*loops, pinhole], np.concatenate([corners, pinhole])
        if angle > _WIDEST or outside @ self.center > -1.0 + 1e-9:
            angle = math.pi
        self.vertices: NDArray[np.float64] = np.concatenate([corners, outside[None]])
        self.ring_start: NDArray[np.int64] = np.cumsum([0, *map(len, loops), 1], dtype=np.int64)
        self.radius_m = angle * _LARGEST_RADIUS_M
        self.area_km2 = area_of(polygons) * 1e-6
        self._steradians = area_of(polygons, ellipsoid=False)
        self._shares: dict[int, tuple[NDArray[np.uint64], NDArray[np.float64]]] = {}

    def share_of_cells(self, res: int) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
        """The H3 cells at `res` that it covers, ascending, and the covered share, in (0, 1], of each; (m,) both.

        Shares are counted in descendants at least two resolutions finer, by their centres (up to the finest there
        are). Where the footprint fills no cell they are scaled so that they add up to its area.
        """
        if res not in self._shares:
            self._shares[res] = self._counted(res)
        return self._shares[res]

    def _counted(self, res: int) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
        leaf = min(res + _DEPTH, _FINEST)
        while leaf < _FINEST and self._steradians < _LEAVES * _GLOBE_SR / h3.get_num_cells(leaf):
            leaf += 1
        room = 1_024
        while True:
            keys, counts = np.empty(room, np.uint64), np.empty(room, np.int64)
            rows = cover(self.vertices, self.ring_start, res, leaf, keys, counts)
            if rows <= room:
                break
            room = rows
        cells, which = np.unique(keys[:rows], return_inverse=True)
        share = np.bincount(which, counts[:rows], len(cells)) / _descendants(cells, res, leaf - res)
        if not len(cells):
            # A sliver between the centres of the finest cells.
            cells, share = cells_of(self.center, res), np.ones(1)
        if share.max() < 1.0 or counts[:rows].sum() < _LEAVES:
            areas = np.array([h3.cell_area(int(cell), unit="rads^2") for cell in cells])
            share *= self._steradians / float(share @ areas)
        share = np.minimum(share, 1.0)
        cells.flags.writeable = share.flags.writeable = False
        return cells, share


@lru_cache(maxsize=_CACHED)
def _footprint(content: bytes) -> Footprint:
    return Footprint(content)


def _cap(corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The middle and angular radius of a cap about the corners: nearly the smallest (Badoiu and Clarkson 2003)."""
    middle = corners.sum(0)
    for k in range(1, 33):
        length = float(np.linalg.norm(middle))
        if length < 1e-6:
            return np.array([0.0, 0.0, 1.0]), math.pi
        middle /= length
        if k < 32:
            middle += (corners[(corners @ middle).argmin()] - middle) / (k + 1)
    chord = float(np.sqrt(((corners - middle) ** 2).sum(1).max()))
    return middle, 2.0 * math.asin(min(0.5 * chord, 1.0)) * (1.0 + 1e-9) + 1e-12


def _outside(
    rings: list[Ring], center: NDArray[np.float64] | None, corners: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """A point outside, far from the edges: the antipode of the middle, else the best of many; None if all is inside."""
    if center is not None:
        lat, lon = geodetic(-center)
        if not contains(rings, lon, lat)[0]:
            return -center
    # Points all over the globe (a Fibonacci lattice), then points beside the edges.
    k = np.arange(300)
    tries: list[tuple[NDArray, NDArray]] = []
    tries.append((k * 137.50776405003785 % 360.0, np.degrees(np.arcsin((2.0 * k + 1.0) / len(k) - 1.0))))
    for ring in rings:
        lon, lat = 0.5 * (ring.lon[:-1] + ring.lon[1:]), 0.5 * (ring.lat[:-1] + ring.lat[1:])
        tries += [(lon + d, lat) for d in (-0.01, 0.01)] + [(lon, lat + d) for d in (-0.01, 0.01)]
    for lon, lat in tries:
        free = (np.abs(lat) < 90.0) & ~contains(rings, lon, lat)
        if free.any():
            points = nvectors(lat[free], lon[free])
            nearest = (points @ corners.T).max(1, initial=-1.0)
            return points[int(nearest.argmin())].copy()
    return None


def _descendants(cells: NDArray[np.uint64], res: int, depth: int) -> NDArray[np.float64]:
    """How many descendants cells have: seven at each step, but a pentagon six, one of them a pentagon."""
    pentagon = np.isin(cells, np.array(h3.get_pentagons(res), np.uint64))
    return np.where(pentagon, 1.0 + 5.0 * (7.0**depth - 1.0) / 6.0, 7.0**depth)
