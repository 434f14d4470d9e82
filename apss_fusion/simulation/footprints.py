"""Where a sensor looks: convex polygons on the ground, their contents and their GeoJSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import geodetic
from apss_fusion.simulation.motion import around, seen_from

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

#: Longest edge of a GeoJSON polygon: straight in longitude and latitude, it is then within some 50 m of the true edge.
_EDGE_M = 50_000.0


@dataclass(frozen=True)
class Footprint:
    """A convex polygon in the azimuthal equidistant plane about its centre."""

    #: n-vector (3,).
    centre: FloatArray
    #: East and north in m (k, 2), counter-clockwise.
    corners: FloatArray

    @property
    def area_km2(self) -> float:
        """Area in the plane (0.1 % more than on the globe at 400 km from the centre)."""
        x, y = self.corners.T
        return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2e6

    def contains(self, points: FloatArray) -> BoolArray:
        """Whether n-vectors (m, 3) lie inside."""
        return self._inside(seen_from(self.centre, points))

    def draw(self, rng: np.random.Generator, count: int) -> FloatArray:
        """n-vectors (count, 3) spread evenly over the polygon."""
        low, high = self.corners.min(axis=0), self.corners.max(axis=0)
        found = np.empty((0, 2))
        while len(found) < count:
            tried = rng.uniform(low, high, (2 * count + 8, 2))
            found = np.concatenate([found, tried[self._inside(tried)]])
        return around(self.centre, found[:count])

    def touches(self, centre: FloatArray, radius_m: float) -> bool:
        """Whether it overlaps a disc about an n-vector."""
        point = seen_from(self.centre, centre[None])[0]
        if self._inside(point[None])[0]:
            return True
        edges = np.roll(self.corners, -1, axis=0) - self.corners
        along = np.einsum("kd,kd->k", point - self.corners, edges) / np.einsum("kd,kd->k", edges, edges)
        nearest = self.corners + np.clip(along, 0.0, 1.0)[:, None] * edges
        return bool((np.hypot(*(nearest - point).T) < radius_m).any())

    def geojson(self) -> dict[str, Any]:
        """A Polygon, or a MultiPolygon cut at the antimeridian (RFC 7946, 3.1.9); exterior rings counter-clockwise."""
        ring = []
        for a, b in zip(self.corners, np.roll(self.corners, -1, axis=0), strict=True):
            pieces = max(1, math.ceil(float(np.hypot(*(b - a))) / _EDGE_M))
            ring.append(a + np.arange(pieces)[:, None] / pieces * (b - a))
        lat, lon = geodetic(around(self.centre, np.concatenate(ring)))
        return _cut(lat, lon)

    def _inside(self, points: FloatArray) -> BoolArray:
        edges = np.roll(self.corners, -1, axis=0) - self.corners
        side = edges[:, 0] * (points[:, None, 1] - self.corners[:, 1]) - edges[:, 1] * (
            points[:, None, 0] - self.corners[:, 0]
        )
        return np.asarray((side >= 0.0).all(axis=1))


def disc(centre: FloatArray, radius_m: float, sides: int = 48) -> Footprint:
    """A regular polygon inscribed in the circle about an n-vector."""
    angle = 2.0 * math.pi * np.arange(sides) / sides
    return Footprint(centre, radius_m * np.column_stack([np.cos(angle), np.sin(angle)]))


def rectangle(centre: FloatArray, length_m: float, width_m: float, azimuth_rad: float) -> Footprint:
    """A rectangle about an n-vector, its length along the azimuth."""
    ahead = np.array([math.sin(azimuth_rad), math.cos(azimuth_rad)]) * length_m / 2.0
    right = np.array([math.cos(azimuth_rad), -math.sin(azimuth_rad)]) * width_m / 2.0
    return Footprint(centre, np.array([ahead + right, ahead - right, -ahead - right, -ahead + right]))


def _cut(lat: FloatArray, lon: FloatArray) -> dict[str, Any]:
    """GeoJSON of a ring on the globe, which may cross the antimeridian or hold a pole."""
    steps = (np.diff(lon, append=lon[0]) + 180.0) % 360.0 - 180.0
    unrolled = np.append(lon[0], lon[0] + np.cumsum(steps))
    turn = unrolled[-1] - unrolled[0]
    if abs(turn) > 180.0:
        # The ring goes once round a pole (eastwards the north one): close it along the pole's edge of the map.
        pole = math.copysign(90.0, turn)
        unrolled = np.concatenate([unrolled, unrolled[[-1, 0]]])
        lat = np.concatenate([lat, [lat[0], pole, pole]])
    else:
        unrolled = unrolled[:-1]
    middle = 360.0 * round(float(unrolled.mean()) / 360.0)
    parts = []
    for shift in (middle - 360.0, middle, middle + 360.0):
        part = _between(np.column_stack([unrolled - shift, lat]), -180.0, 180.0)
        if len(part) >= 3:
            closed = np.round(np.concatenate([part, part[:1]]), 6) + 0.0
            parts.append([closed.tolist()])
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _between(ring: FloatArray, low: float, high: float) -> FloatArray:
    """The part of a ring (k, 2) whose first coordinate lies in a range (Sutherland and Hodgman 1974)."""
    if low <= ring[:, 0].min() and ring[:, 0].max() <= high:
        return ring
    for sign, limit in ((1.0, low), (-1.0, -high)):
        kept: list[FloatArray] = []
        for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            a_in, b_in = sign * a[0] > limit, sign * b[0] > limit
            if a_in:
                kept.append(a)
            if a_in != b_in:
                crossing = a + (sign * limit - a[0]) / (b[0] - a[0]) * (b - a)
                crossing[0] = sign * limit
                kept.append(crossing)
        ring = np.array(kept).reshape(-1, 2)
    return ring
