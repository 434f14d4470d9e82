"""GeoJSON polygons read as their longitudes and latitudes mean them, and made ready for the globe.

RFC 7946: an edge is a straight line in longitude and latitude, and a polygon that crosses the antimeridian should be
cut there. Others go on across it, with a step of more than 180 degrees of longitude; that is taken the shorter way. A
ring that goes round a pole (its steps add up to a full turn) holds the pole to which it is nearer on average. A step
of exactly 360 degrees is none, unless the ring would enclose nothing then (a box from -180 to 180).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import ECCENTRICITY_SQ, SEMI_MINOR_M

#: An edge is divided until no part of it spans more degrees of longitude or latitude. The great circle through a part's
#: ends leaves the line by at most 0.3 km then (0.5 km beyond 85 degrees of latitude).
LONGEST_EDGE_DEG = 1.0

_Node = tuple[float, float]


class Ring(NamedTuple):
    """One ring: its closed path, longitudes without jumps, and what its longitudes say about the poles."""

    #: (m + 1,) degrees; the last point is the first, a number of full turns on.
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    #: Full turns round the axis, to the east positive: -1, 0 or 1.
    turns: int

    @property
    def holds_north(self) -> bool:
        """Whether the ring goes round the north pole and holds it."""
        side = _integral(self, np.asarray)
        return self.turns != 0 and (side * self.turns > 0.0 or (side == 0.0 and self.turns > 0))


def rings_of(geometry: Any) -> list[list[Ring]]:
    """The rings of each polygon of a GeoJSON Polygon or MultiPolygon, the outer one first; ValueError if it is none."""
    if not isinstance(geometry, dict):
        raise ValueError("a footprint must be a GeoJSON object")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a footprint must be a Polygon or MultiPolygon, not {kind!r}")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons:
        raise ValueError(f"a {kind} needs coordinates")
    out = []
    for polygon in polygons:
        if not isinstance(polygon, list) or not polygon:
            raise ValueError("a polygon needs at least one ring")
        out.append([_ring(positions) for positions in polygon])
    return out


def area_of(polygons: list[list[Ring]], ellipsoid: bool = True) -> float:
    """Area in m^2 on the ellipsoid, or in steradians of the normals, of polygons that do not overlap."""
    primitive, scale = (_authalic, SEMI_MINOR_M * SEMI_MINOR_M) if ellipsoid else (_sine, 1.0)
    total = 0.0
    for outer, *holes in polygons:
        total += _ring_area(outer, primitive) - sum(_ring_area(hole, primitive) for hole in holes)
    return total * scale


def contains(rings: list[Ring], lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points, (m,) degrees, lie inside: even-odd in longitude and latitude, edges as RFC 7946 has them."""
    within = np.zeros(len(lon), np.bool_)
    for ring in rings:
        step = np.diff(ring.lon)
        # From a point northward along its meridian: which edges reach across it, and at which latitude.
        before = (ring.lon[:-1] - lon[:, None] + 180.0) % 360.0 - 180.0
        across = (before <= 0.0) != (before + step <= 0.0)
        at = ring.lat[:-1] - before * np.divide(np.diff(ring.lat), step, where=step != 0.0, out=np.zeros(len(step)))
        within ^= ((across & (at > lat[:, None])).sum(1) % 2 == 1) ^ ring.holds_north
    return within


def loops_of(rings: list[Ring]) -> list[list[_Node]]:
    """The rings as closed loops of (lon, lat) without repeated points, cuts along the antimeridian joined again.

    Parts that meet along longitude 180 (as RFC 7946 cuts them) have an edge there in common, which bounds nothing:
    even-odd leaves such edges out, and what remains is traced to loops anew. The way to a pole and back, by which a
    ring round it is closed in longitude and latitude, goes with them.
    """
    edges: list[tuple[_Node, _Node]] = []
    seams: list[_Node] = []
    for ring in rings:
        lon, lat = ring.lon.tolist(), ring.lat.tolist()
        nodes = [_node(*place) for place in zip(lon[:-1], lat[:-1], strict=True)]
        nodes.append(nodes[0])
        for k, edge in enumerate(pairwise(nodes)):
            if lon[k] % 360.0 == 180.0 and lon[k + 1] % 360.0 == 180.0:
                seams.append((min(lat[k], lat[k + 1]), max(lat[k], lat[k + 1])))
            else:
                edges.append(edge)
    cuts = sorted({lat for seam in seams for lat in seam})
    odd: dict[_Node, bool] = {}
    for low, high in seams:
        for piece in pairwise(cuts):
            if low <= piece[0] and piece[1] <= high:
                odd[piece] = not odd.get(piece, False)
    edges += [(_node(180.0, low), _node(180.0, high)) for (low, high), once in odd.items() if once]
    return _traced([edge for edge in edges if edge[0] != edge[1]])


def _ring(positions: Any) -> Ring:
    if not isinstance(positions, list) or len(positions) < 4:
        raise ValueError("a ring needs at least four positions")
    for position in positions:
        if not isinstance(position, list) or len(position) < 2:
            raise ValueError("a position needs a longitude and a latitude")
        lon, lat = position[:2]
        if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in (lon, lat)):
            raise ValueError(f"a position needs two numbers, not {position!r}")
        if abs(lat) > 90.0 or abs(lon) > 540.0:
            raise ValueError(f"longitude {lon}, latitude {lat} is no place")
    if positions[0][:2] != positions[-1][:2]:
        raise ValueError("a ring must end where it begins")
    points = np.array([position[:2] for position in positions], np.float64)
    step = np.diff(points[:, 0])
    # Full turns added to the longitudes from each step on, so that it goes the shorter way.
    turns = np.where(np.abs(step) > 180.0, -np.rint(step / 360.0), 0.0)
    for added in (turns, np.where(np.abs(step) == 360.0, 0.0, turns)):
        ring = _divided(points[:, 0] + 360.0 * np.append(0.0, np.cumsum(added)), points[:, 1])
        if abs(ring.turns) > 1:
            raise ValueError("a ring goes round a pole more than once")
        if _ring_area(ring, _sine) > 1e-16:
            return ring
    raise ValueError("a ring encloses no area")


def _divided(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Ring:
    """A ring of the closed path, its long edges divided evenly."""
    turns = round((lon[-1] - lon[0]) / 360.0)
    length = np.maximum(np.abs(np.diff(lon)), np.abs(np.diff(lat)))
    parts = np.maximum(np.ceil(length / LONGEST_EDGE_DEG), 1.0).astype(np.int64)
    edge = np.repeat(np.arange(len(parts)), parts)
    share = (np.arange(len(edge)) - np.repeat(np.cumsum(parts) - parts, parts)) / parts[edge]
    out_lon = np.append(lon[edge] + share * np.diff(lon)[edge], lon[-1])
    out_lat = np.append(lat[edge] + share * np.diff(lat)[edge], lat[-1])
    return Ring(out_lon, out_lat, turns)


def _sine(lat_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sin(lat_rad)


def _authalic(lat_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area from the equator to a latitude, per radian of longitude, in units of the semi-minor axis squared."""
    s, e = np.sin(lat_rad), math.sqrt(ECCENTRICITY_SQ)
    return 0.5 * (s / (1.0 - ECCENTRICITY_SQ * s * s) + np.arctanh(e * s) / e)


def _integral(ring: Ring, function: Any) -> float:
    """Simpson's rule for the integral of a function of latitude, in radians, over longitude along the ring."""
    lat, step = np.radians(ring.lat), np.radians(np.diff(ring.lon))
    middle = 0.5 * (lat[:-1] + lat[1:])
    return float(np.sum(step * (function(lat[:-1]) + 4.0 * function(middle) + function(lat[1:]))) / 6.0)


def _ring_area(ring: Ring, primitive: Any) -> float:
    below = _integral(ring, primitive)
    if ring.turns:
        # The part between the ring and its pole.
        pole = float(primitive(np.array([math.pi / 2.0]))[0]) * (1.0 if ring.holds_north else -1.0)
        below = 2.0 * math.pi * ring.turns * pole - below
    return abs(below)


def _node(lon: float, lat: float) -> _Node:
    """One name for a place: longitude in [-180, 180), 0 at the poles."""
    if abs(lat) == 90.0:
        return 0.0, lat
    return (lon + 180.0) % 360.0 - 180.0, lat


def _traced(edges: list[tuple[_Node, _Node]]) -> list[list[_Node]]:
    """Closed loops that use each edge once: every node has an even number of them, so a way ends only at its start."""
    at: dict[_Node, list[int]] = {}
    for number, (a, b) in enumerate(edges):
        at.setdefault(a, []).append(number)
        at.setdefault(b, []).append(number)
    used = [False] * len(edges)
    loops = []
    for number, (start, node) in enumerate(edges):
        if used[number]:
            continue
        used[number] = True
        loop = [start]
        while node != start:
            loop.append(node)
            following = next(n for n in at[node] if not used[n])
            used[following] = True
            a, b = edges[following]
            node = b if a == node else a
        if len(loop) > 2:
            loops.append(loop)
    return loops
