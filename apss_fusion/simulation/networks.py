"""Lanes and roads: places joined by ways, along which ships and vehicles walk at random."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.simulation.motion import around, distances, in_disc, seen_from
from apss_fusion.simulation.scenario import Traffic

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass
class Network:
    """Places and the ways between them."""

    #: n-vectors (n, 3), and whether one stops there, (n,).
    places: FloatArray
    stops: BoolArray
    #: From each place: the places that a way leads to, and its inner points (k, 3) in that direction.
    ways: list[dict[int, FloatArray]]

    def walk(self, rng: np.random.Generator, length_m: float) -> tuple[FloatArray, BoolArray]:
        """A random walk of at least that length, from a random point of a way: points (k, 3), and which are stops.

        It turns back only where there is no other way.
        """
        # Long ways have more points, so walkers begin evenly along all ways.
        choices = [(a, b) for a, way in enumerate(self.ways) for b, inner in way.items() for _ in range(len(inner) + 1)]
        before, here = choices[rng.integers(len(choices))]
        along = np.concatenate([self.places[before][None], self.ways[before][here], self.places[here][None]])
        leg = int(rng.integers(len(along) - 1))
        start = around(along[leg], rng.random() * seen_from(along[leg], along[leg + 1][None]))
        points = [start, along[leg + 1 :]]
        stops = [np.zeros(len(along) - leg, np.bool_)]
        stops[0][-1] = self.stops[here]
        gone = 0.0
        while gone < length_m:
            onward = [place for place in self.ways[here] if place != before] or [before]
            before, here = here, onward[rng.integers(len(onward))]
            inner = self.ways[before][here]
            points += [inner, self.places[here][None]]
            stops += [np.zeros(len(inner), np.bool_), self.stops[here][None]]
            gone += float(distances(self.places[before], self.places[here][None])[0])
        return np.concatenate(points), np.concatenate(stops)


def named_network(traffic: Traffic) -> Network:
    """The network of a scenario's own ports, waypoints and lanes; ports that no lane joins are left out."""
    named = {**traffic.ports, **traffic.waypoints}
    used = sorted({place for lane in traffic.lanes for place in lane})
    index = {name: i for i, name in enumerate(used)}
    places = nvectors(*np.array([named[name] for name in used]).T)
    ways: list[dict[int, FloatArray]] = [{} for _ in used]
    for lane in traffic.lanes:
        for a, b in itertools.pairwise(lane):
            _join(ways, places, index[a], index[b], _pieces(places[index[a]], places[index[b]], 40_000.0))
    return Network(places, np.array([name in traffic.ports for name in used]), ways)


def made_network(
    rng: np.random.Generator,
    centre: FloatArray,
    radius_m: float,
    *,
    junctions: int,
    stops: float,
    bend: float = 0.03,
    piece_m: float = 40_000.0,
    keep_out: tuple[FloatArray, float] | None = None,
) -> Network:
    """Places spread over a disc, each joined to its three nearest and all joined somehow.

    `stops` is the share of places where one stops; a way is cut into pieces of about `piece_m` and swerves by `bend`
    times its length. No place lies in, and no way but a needed one crosses, the disc `keep_out` (centre, radius in m).
    """
    candidates = in_disc(rng, centre, radius_m, 40 * junctions)
    if keep_out is not None:
        outside = candidates[distances(keep_out[0], candidates) >= keep_out[1]]
        candidates = outside if len(outside) else candidates
    places = candidates[:1]
    gaps = distances(places[0], candidates)
    while len(places) < junctions:
        # Of a few candidates the one that is furthest from all places, for an even spread.
        few = rng.integers(len(candidates), size=8)
        best = few[int(np.argmax(gaps[few]))]
        places = np.concatenate([places, candidates[best][None]])
        gaps = np.minimum(gaps, distances(candidates[best], candidates))
    apart = np.array([distances(place, places) for place in places])
    ways: list[dict[int, FloatArray]] = [{} for _ in places]
    for a, b in _edges(apart):
        inner = _pieces(places[a], places[b], piece_m)
        blocked = keep_out is not None and bool((distances(keep_out[0], inner) < keep_out[1]).any())
        if len(inner):
            swerve = rng.normal(0.0, bend * apart[a, b] / np.sqrt(len(inner)), (len(inner), 2))
            inner = np.concatenate([around(point, shift[None]) for point, shift in zip(inner, swerve, strict=True)])
        if not blocked or not ways[a] or not ways[b]:
            _join(ways, places, a, b, inner)
    return Network(places, rng.random(len(places)) < stops, ways)


def _edges(apart: FloatArray) -> list[tuple[int, int]]:
    """Pairs of places: a tree of shortest ways (Prim), then each place's three nearest; sorted by kind and place."""
    edges: dict[tuple[int, int], None] = {}
    inside = [0]
    while len(inside) < len(apart):
        outside = [i for i in range(len(apart)) if i not in inside]
        part = apart[np.ix_(inside, outside)]
        i, j = np.unravel_index(int(np.argmin(part)), part.shape)
        edges[_pair(inside[int(i)], outside[int(j)])] = None
        inside.append(outside[int(j)])
    for a in range(len(apart)):
        for b in np.argsort(apart[a], kind="stable")[1:4]:
            edges[_pair(a, int(b))] = None
    return list(edges)


def _pair(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _pieces(a: FloatArray, b: FloatArray, piece_m: float) -> FloatArray:
    """Points on the geodesic from a to b, without its ends, about `piece_m` apart."""
    way = seen_from(a, b[None])[0]
    count = int(np.hypot(*way) / piece_m)
    return around(a, np.arange(1, count + 1)[:, None] / (count + 1) * way)


def _join(ways: list[dict[int, FloatArray]], places: FloatArray, a: int, b: int, inner: FloatArray) -> None:
    ways[a][b] = inner
    ways[b][a] = inner[::-1]
