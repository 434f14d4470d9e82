"""How things move along their ways on the ellipsoid, and the geometry of many positions at once."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.positions import moves, offsets
from apss_fusion.geodesy.wgs84 import moved, offset
from apss_fusion.kernels import kernel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Ways(NamedTuple):
    """Where n objects go: w points each (the last ones repeated where a way is shorter)."""

    #: n-vectors (n, w, 3); the first is where the object begins.
    points: FloatArray
    #: Speed in m/s on the way to each point, and how long in s the object rests there; (n, w).
    speed_mps: FloatArray
    rest_s: FloatArray


class Limits(NamedTuple):
    """How fast speed and course change."""

    acceleration_mps2: float
    turn_rad_s: float


@kernel
def follow(
    points: FloatArray,
    speed_mps: FloatArray,
    rest_s: FloatArray,
    acceleration_mps2: float,
    turn_rad_s: float,
    step_s: float,
    steps: int,
) -> tuple[FloatArray, IntArray]:
    """Positions (n, steps, 3) of objects that go their `Ways`, and the step at which each has arrived, (n,).

    An object turns towards its next point as fast as it may, brakes before a point where it rests, and takes the point
    as reached when it could only circle it.
    """
    n, w = speed_mps.shape
    path = np.empty((n, steps, 3))
    arrived = np.full(n, steps - 1)
    for i in range(n):
        x, y, z = points[i, 0, 0], points[i, 0, 1], points[i, 0, 2]
        goal, resting = 1, rest_s[i, 0]
        east, north = offset(x, y, z, points[i, 1, 0], points[i, 1, 1], points[i, 1, 2])
        course = math.atan2(east, north)
        speed = 0.0 if resting > 0.0 else speed_mps[i, 1]
        for k in range(steps):
            path[i, k, 0], path[i, k, 1], path[i, k, 2] = x, y, z
            if goal == w:
                arrived[i] = min(arrived[i], k)
                continue
            if resting > 0.0:
                resting -= step_s
                speed = 0.0
                continue
            east, north = offset(x, y, z, points[i, goal, 0], points[i, goal, 1], points[i, goal, 2])
            distance = math.sqrt(east * east + north * north)
            wanted = speed_mps[i, goal]
            if rest_s[i, goal] > 0.0:
                wanted = min(wanted, math.sqrt(2.0 * acceleration_mps2 * distance) + 0.2)
            change = acceleration_mps2 * step_s
            before = speed
            speed = min(max(wanted, speed - change), speed + change)
            turn = (math.atan2(east, north) - course + math.pi) % (2.0 * math.pi) - math.pi
            limit = math.pi if before == 0.0 else turn_rad_s * step_s
            course += min(max(turn, -limit), limit)
            x, y, z = moved(x, y, z, speed * step_s * math.sin(course), speed * step_s * math.cos(course))
            reach = speed * step_s if rest_s[i, goal] > 0.0 else max(speed * step_s, 1.2 * speed / turn_rad_s)
            if distance <= reach:
                resting = rest_s[i, goal]
                goal += 1
    return path, arrived


def around(centre: FloatArray, east_north_m: FloatArray) -> FloatArray:
    """n-vectors (m, 3) at (east, north) in m (m, 2) from one n-vector (3,)."""
    return moves(np.tile(centre, (len(east_north_m), 1)), east_north_m)


def seen_from(centre: FloatArray, points: FloatArray) -> FloatArray:
    """East and north in m (m, 2) of n-vectors (m, 3) from one n-vector (3,)."""
    return offsets(np.tile(centre, (len(points), 1)), points)


def distances(centre: FloatArray, points: FloatArray) -> FloatArray:
    """Metres along the ellipsoid (m,) from one n-vector (3,) to n-vectors (m, 3)."""
    return np.hypot(*seen_from(centre, points).T)


def in_disc(rng: np.random.Generator, centre: FloatArray, radius_m: float, count: int) -> FloatArray:
    """n-vectors (count, 3) spread evenly over a disc round an n-vector."""
    r, a = radius_m * np.sqrt(rng.random(count)), 2.0 * math.pi * rng.random(count)
    return around(centre, np.column_stack([r * np.sin(a), r * np.cos(a)]))
