"""Geometry of ground moving target indication: lines of sight, position errors on the ground, dwell areas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import ecef, geodetic, moved, nvectors, offset

#: Steeper than this (85 degrees), slant range says nothing about the place on the ground; the division stops here.
_MIN_COSINE = 0.087
#: Largest angle in degrees between corners along the arcs of a dwell area: the chord cuts 1.5e-4 of the distance.
_ARC_STEP_DEG = 2.0


def line_of_sight(
    sensor: tuple[float, float, float], lat: list[float], lon: list[float], alt_m: list[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Azimuth (0 to 360) and elevation in degrees and slant range in m from a sensor to objects, (m,) each.

    The direction is that of the way from the sensor to the object in the east, north, up frame of the object, where
    the range rate is its velocity times this direction: seen from above, the elevation is negative. `sensor` is (lat,
    lon, m above the ellipsoid).
    """
    ray = ecef(lat, lon, alt_m) - ecef(*sensor)
    phi, lam = np.radians(lat), np.radians(lon)
    east = -np.sin(lam) * ray[:, 0] + np.cos(lam) * ray[:, 1]
    outward = np.cos(lam) * ray[:, 0] + np.sin(lam) * ray[:, 1]
    north = -np.sin(phi) * outward + np.cos(phi) * ray[:, 2]
    up = np.cos(phi) * outward + np.sin(phi) * ray[:, 2]
    azimuth = np.degrees(np.arctan2(east, north)) % 360.0
    return azimuth, np.degrees(np.arctan2(up, np.hypot(east, north))), np.sqrt(east**2 + north**2 + up**2)


def ground_covariance(
    az_deg: float, el_deg: float, slant_range_sigma_m: float, cross_range_sigma_m: float, height_sigma_m: float
) -> tuple[float, float, float]:
    """[ee, en, nn] in m^2 on the ground of an error in slant range, cross range and height of the object.

    Along the line of sight's azimuth the error is that of slant range over cos(elevation) and that of height times
    tan(elevation): the point slides along the arc of its range; across it, the cross range error stands as it is.
    """
    cosine = max(math.cos(math.radians(el_deg)), _MIN_COSINE)
    sine = math.sin(math.radians(el_deg))
    along = (slant_range_sigma_m**2 + (height_sigma_m * sine) ** 2) / cosine**2
    cross = cross_range_sigma_m**2
    s, c = math.sin(math.radians(az_deg)), math.cos(math.radians(az_deg))
    return along * s * s + cross * c * c, (along - cross) * s * c, along * c * c + cross * s * s


def dwell_area(
    sensor: tuple[float, float], centre: tuple[float, float], range_half_m: float, angle_half_deg: float
) -> dict[str, Any] | None:
    """The part of the ground within a half extent in ground range and in angle of a centre, as a GeoJSON Polygon.

    A sector of a ring about the point below the sensor; all round (half extent of 180 degrees or more) a ring with a
    hole. None where it has no area or no direction. `sensor` and `centre` are (lat, lon) in degrees.
    """
    below = nvectors(sensor[0], sensor[1])[0]
    east, north = offset(*below, *nvectors(centre[0], centre[1])[0])
    distance = math.hypot(east, north)
    all_round = angle_half_deg >= 180.0
    if range_half_m <= 0.0 or angle_half_deg <= 0.0 or (distance < 1.0 and not all_round):
        return None
    azimuth = math.atan2(east, north)
    half = math.radians(min(angle_half_deg, 180.0))
    steps = math.ceil(2.0 * math.degrees(half) / _ARC_STEP_DEG)
    # From right to left, seen from the sensor: counter-clockwise.
    angles = [azimuth + half - 2.0 * half * i / steps for i in range(steps + 1)]
    near, far = max(distance - range_half_m, 0.0), distance + range_half_m
    if all_round:
        rings = [_arc(below, far, angles[:-1])]
        if near > 0.0:
            rings.append(_arc(below, near, angles[:0:-1]))
    elif near > 0.0:
        rings = [_arc(below, far, angles) + _arc(below, near, angles[::-1])]
    else:
        rings = [[*_arc(below, far, angles), [sensor[1], sensor[0]]]]
    return {"type": "Polygon", "coordinates": [[*ring, list(ring[0])] for ring in rings]}


def _arc(below: NDArray[np.float64], distance_m: float, angles: list[float]) -> list[list[float]]:
    x, y, z = below
    ends = [moved(x, y, z, distance_m * math.sin(angle), distance_m * math.cos(angle)) for angle in angles]
    lat, lon = geodetic(ends)
    return [[float(east), float(north)] for east, north in zip(lon, lat, strict=True)]


def lies_near(area: dict[str, Any], centre: tuple[float, float], lat: list[float], lon: list[float]) -> bool:
    """Whether all points lie within twice the reach of an area, from its centre.

    A beam sees a little beyond its nominal edge; points much further off say that the area is written wrongly.
    """
    middle = nvectors(centre[0], centre[1])[0]
    corners = np.array(area["coordinates"][0])
    reach = max(math.hypot(*offset(*middle, *corner)) for corner in nvectors(corners[:, 1], corners[:, 0]))
    return all(math.hypot(*offset(*middle, *point)) <= 2.0 * reach for point in nvectors(lat, lon))
