"""Positions and short vectors on the WGS 84 ellipsoid.

A position is the unit normal of the ellipsoid (the n-vector of Gade 2010, "A non-singular horizontal position
representation", J. Navigation 63): x towards latitude 0, longitude 0; y towards longitude 90 degrees; z towards the
north pole. z is the sine of the geodetic latitude. No longitude appears in the kernels, so neither the antimeridian nor
the poles are special. At a pole (within 6 micrometres) "east" is the direction of longitude 90 degrees.

`offset` and `moved` use normal coordinates: (east, north) is the azimuth and length of the geodesic. The normals of a
geodesic nearly follow a great circle of the unit sphere; the terms of second order that say how nearly are kept.
Against GeographicLib (pyproj ``Geod``), over latitudes from 0 to 90 degrees, all azimuths and the antimeridian, the
largest error of `offset`, and of the end point of `moved`, is

    ======== ======= ======== ======== ======= ======== ========
    distance 1 km    10 km    50 km    100 km  500 km   1000 km
    error    0.1 um  0.1 mm   11 mm    84 mm   10.5 m   83 m
    ======== ======= ======== ======== ======= ======== ========

and grows with the cube of the distance (0.2 % at 5000 km, 4 % near the antipode, where it is still finite). `moved`
undoes `offset` within 4e-7 of the distance up to 500 km.

Compiled kernels use only sums, products, roots and, far away, scalar functions of the C library: a point gives the same
bytes alone and in any batch.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from apss_fusion.kernels import inline_kernel, kernel

#: WGS 84 (NGA.STND.0036, 2014): semi-major axis in m and flattening.
SEMI_MAJOR_M = 6_378_137.0
FLATTENING = 1.0 / 298.257223563
#: First eccentricity squared, and the semi-minor axis in m.
ECCENTRICITY_SQ = FLATTENING * (2.0 - FLATTENING)
SEMI_MINOR_M = SEMI_MAJOR_M * (1.0 - FLATTENING)
#: Mean radius (2a + b) / 3 in m, as H3 takes it for its cells.
MEAN_RADIUS_M = 6_371_008.771415059

_RAD = math.pi / 180.0
_DEG = 180.0 / math.pi
# Beyond 14 degrees the series of arc and sine give way to the functions.
_NEAR = 0.06
# As near a pole, in radians, as has no east.
_POLE = 1e-12


@inline_kernel
def radii(z: float) -> tuple[float, float]:
    """Radii of curvature (prime vertical N, meridional M) in m, at the sine z of the geodetic latitude."""
    w = 1.0 / (1.0 - ECCENTRICITY_SQ * z * z)
    n = SEMI_MAJOR_M * math.sqrt(w)
    return n, n * (1.0 - ECCENTRICITY_SQ) * w


@inline_kernel
def east_of(x: float, y: float) -> tuple[float, float, float]:
    """East at an n-vector as (e_x, e_y), its third component being 0, and the cosine of latitude.

    North is (-z e_y, z e_x, cosine) then.
    """
    h = math.sqrt(x * x + y * y)
    e_x, e_y = 0.0, 1.0
    if h < _POLE:
        h = 0.0
    else:
        e_x, e_y = -y / h, x / h
    return e_x, e_y, h


@inline_kernel
def offset(x: float, y: float, z: float, px: float, py: float, pz: float) -> tuple[float, float]:
    """East and north in m from the n-vector (x, y, z) to (px, py, pz), in the frame of the first.

    With (a, b) the great circle of the normals in radians and N, M the radii at the first point, the geodesic is, to
    second order, ``e = N a (1 + k b)`` and ``n = M b (1 + 3/2 k b) + N/2 k a^2``, where k = N'/N = M'/(3 M) is the
    relative change of N by latitude (the geodesic equations of ellipsoid and sphere in latitude and longitude, expanded
    and compared).
    """
    e_x, e_y, h = east_of(x, y)
    n, m = radii(z)
    k = ECCENTRICITY_SQ * z * h * (m / (n * (1.0 - ECCENTRICITY_SQ)))
    a = e_x * px + e_y * py
    b = z * (e_x * py - e_y * px) + h * pz
    s2 = a * a + b * b
    c = x * px + y * py + z * pz
    if c > 0.0 and s2 < _NEAR:
        arc = 1.0 + s2 * (1.0 / 6.0 + s2 * (3.0 / 40.0 + s2 * (15.0 / 336.0)))
    elif s2 > 0.0:
        s = math.sqrt(s2)
        arc = math.atan2(s, c) / s
    else:
        a = math.pi
        arc = 1.0
    a *= arc
    b *= arc
    return n * a * (1.0 + k * b), m * b * (1.0 + 1.5 * k * b) + 0.5 * n * k * a * a


@inline_kernel
def moved(x: float, y: float, z: float, east_m: float, north_m: float) -> tuple[float, float, float]:
    """The n-vector reached along the geodesic that begins with (east_m, north_m): the inverse of `offset`.

    Its length is 1 within the rounding of the numbers, however often it is moved.
    """
    e_x, e_y, h = east_of(x, y)
    n, m = radii(z)
    k = ECCENTRICITY_SQ * z * h * (m / (n * (1.0 - ECCENTRICITY_SQ)))
    a = east_m / n
    b = north_m / m
    b, a = b - k * (1.5 * b * b + 0.5 * (n / m) * a * a), a * (1.0 - k * b)
    d2 = a * a + b * b
    if d2 < _NEAR:
        c = 1.0 - d2 * (1.0 / 2.0 - d2 * (1.0 / 24.0 - d2 * (1.0 / 720.0)))
        s = 1.0 - d2 * (1.0 / 6.0 - d2 * (1.0 / 120.0 - d2 * (1.0 / 5040.0)))
    else:
        d = math.sqrt(d2)
        c = math.cos(d)
        s = math.sin(d) / d
    a *= s
    b *= s
    px = c * x + a * e_x - b * z * e_y
    py = c * y + a * e_y + b * z * e_x
    pz = c * z + b * h
    # One Newton step of 1 / sqrt: the length was 1 up to the cut of the series.
    q = 1.5 - 0.5 * (px * px + py * py + pz * pz)
    return px * q, py * q, pz * q


@inline_kernel
def frame_rotation(x: float, y: float, z: float, px: float, py: float, pz: float) -> tuple[float, float]:
    """Cosine and sine of `convergence_rad`, without a function of an angle: for the kernels that turn states."""
    e_x, e_y, _ = east_of(x, y)
    f_x, f_y, g = east_of(px, py)
    ep = e_x * px + e_y * py
    k = ep / (1.0 + x * px + y * py + z * pz)
    # East of the first point, turned as the normals are: e - (e.p) (n + p) / (1 + n.p), in the frame of the second.
    c = e_x * f_x + e_y * f_y - k * (x * f_x + y * f_y)
    s = pz * (e_y * f_x - e_x * f_y) - k * (pz * (y * f_x - x * f_y) + z * g)
    q = 1.0 / math.sqrt(c * c + s * s)
    return c * q, s * q


@inline_kernel
def convergence_rad(x: float, y: float, z: float, px: float, py: float, pz: float) -> float:
    """Angle, counter-clockwise, that keeps a vector's direction from the frame of (x, y, z) to that of (px, py, pz).

    Parallel transport along the geodesic: with angle g, components (e, n) at the first point read
    (e cos g - n sin g, e sin g + n cos g) in the east, north frame of the second, and a covariance P reads R P R'.
    It depends on the normals only, so the sphere's closed form holds on the ellipsoid. For short ways it is
    -dlon sin(lat) (a great circle that leaves to the east in the north turns right); near a pole it may be
    anything up to half a turn. Undefined for antipodes only.

    Aircraft (great circle): turn velocity and covariance by it whenever a track is anchored anew. Ships (rhumb line):
    constant course means that v_east and v_north stay as numbers, so they are not turned, nor is the covariance.
    What is then neglected is a shear by g of north errors into east ones; near the poles, where that is large and a
    rhumb line spirals, great circle motion is the one to use.
    """
    c, s = frame_rotation(x, y, z, px, py, pz)
    return math.atan2(s, c)


@kernel
def _nvectors(lat_deg: NDArray[np.float64], lon_deg: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(len(lat_deg)):
        lat, lon = lat_deg[i] * _RAD, lon_deg[i] * _RAD
        c = math.cos(lat)
        out[i, 0] = c * math.cos(lon)
        out[i, 1] = c * math.sin(lon)
        out[i, 2] = math.sin(lat)


@kernel
def _geodetic(n: NDArray[np.float64], lat_deg: NDArray[np.float64], lon_deg: NDArray[np.float64]) -> None:
    for i in range(len(n)):
        x, y = n[i, 0], n[i, 1]
        lat_deg[i] = math.atan2(n[i, 2], math.sqrt(x * x + y * y)) * _DEG
        lon = math.atan2(y, x) * _DEG
        lon_deg[i] = 180.0 if lon == -180.0 else lon + 0.0


def nvectors(lat_deg: ArrayLike, lon_deg: ArrayLike) -> NDArray[np.float64]:
    """The n-vectors, (m, 3), of geodetic positions in degrees, (m,) each; longitudes may be of any turn."""
    lat, lon = columns(lat_deg, lon_deg)
    out = np.empty((len(lat), 3))
    _nvectors(lat, lon, out)
    return out


def geodetic(n: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Geodetic latitude and longitude (in (-180, 180]) in degrees, (m,) each, of n-vectors (m, 3)."""
    rows = np.ascontiguousarray(n, dtype=np.float64).reshape(-1, 3)
    lat, lon = np.empty(len(rows)), np.empty(len(rows))
    _geodetic(rows, lat, lon)
    return lat, lon


@kernel
def _ecef(
    lat_deg: NDArray[np.float64], lon_deg: NDArray[np.float64], h_m: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    for i in range(len(lat_deg)):
        lat, lon = lat_deg[i] * _RAD, lon_deg[i] * _RAD
        z, c = math.sin(lat), math.cos(lat)
        n, _ = radii(z)
        out[i, 0] = (n + h_m[i]) * c * math.cos(lon)
        out[i, 1] = (n + h_m[i]) * c * math.sin(lon)
        out[i, 2] = (n * (1.0 - ECCENTRICITY_SQ) + h_m[i]) * z


@kernel
def _geodetic_of_ecef(
    xyz_m: NDArray[np.float64],
    lat_deg: NDArray[np.float64],
    lon_deg: NDArray[np.float64],
    h_m: NDArray[np.float64],
) -> None:
    ratio = SEMI_MINOR_M / SEMI_MAJOR_M
    second = ECCENTRICITY_SQ / (1.0 - ECCENTRICITY_SQ)
    for i in range(len(xyz_m)):
        x, y, z = xyz_m[i, 0], xyz_m[i, 1], xyz_m[i, 2]
        p = math.sqrt(x * x + y * y)
        # Bowring (1976): (c, s) is the reduced latitude. Three rounds hold from 5000 km below the surface to the Moon.
        c, s = p * ratio, z
        lat_c, lat_s = c, s
        for _ in range(3):
            q = math.sqrt(c * c + s * s)
            if q > 0.0:
                c, s = c / q, s / q
            lat_c = p - ECCENTRICITY_SQ * SEMI_MAJOR_M * c * c * c
            lat_s = z + second * SEMI_MINOR_M * s * s * s
            c, s = lat_c, ratio * lat_s
        q = math.sqrt(lat_c * lat_c + lat_s * lat_s)
        lat_c, lat_s = (lat_c / q, lat_s / q) if q > 0.0 else (1.0, 0.0)
        n, _ = radii(lat_s)
        lat_deg[i] = math.atan2(lat_s, lat_c) * _DEG
        lon = math.atan2(y, x) * _DEG
        lon_deg[i] = 180.0 if lon == -180.0 else lon + 0.0
        h_m[i] = p * lat_c + z * lat_s - SEMI_MAJOR_M * SEMI_MAJOR_M / n


def ecef(lat_deg: ArrayLike, lon_deg: ArrayLike, h_m: ArrayLike) -> NDArray[np.float64]:
    """Earth-centred, Earth-fixed coordinates in m, (m, 3), of geodetic positions (degrees, m above the ellipsoid)."""
    lat, lon, h = columns(lat_deg, lon_deg, h_m)
    out = np.empty((len(lat), 3))
    _ecef(lat, lon, h, out)
    return out


def geodetic_of_ecef(xyz_m: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Geodetic latitude, longitude in degrees and height above the ellipsoid in m, (m,) each, of ECEF (m, 3).

    Within 0.1 micrometres from 5000 km below the surface to 50 000 km above it (against PROJ).
    """
    rows = np.ascontiguousarray(xyz_m, dtype=np.float64).reshape(-1, 3)
    lat, lon, h = np.empty(len(rows)), np.empty(len(rows)), np.empty(len(rows))
    _geodetic_of_ecef(rows, lat, lon, h)
    return lat, lon, h


def columns(*values: ArrayLike) -> list[NDArray[np.float64]]:
    """The values as columns of one length, (m,) each, for kernels; numbers are repeated."""
    arrays = np.broadcast_arrays(*[np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in values])
    return [np.ascontiguousarray(a).ravel() for a in arrays]
