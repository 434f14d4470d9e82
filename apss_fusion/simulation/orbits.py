"""Satellites from element sets, and where they are over the turning Earth."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sgp4 import omm
from sgp4.api import WGS72, Satrec

from apss_fusion.geodesy.wgs84 import ECCENTRICITY_SQ, geodetic, nvectors
from apss_fusion.simulation.motion import around
from apss_fusion.simulation.scenario import Orbit

FloatArray = NDArray[np.float64]

#: WGS 72, as SGP4 takes it (Hoots and Roehrich 1980, Spacetrack Report 3).
_MU_KM3_S2 = 398_600.8
_EARTH_RADIUS_KM = 6_378.135
_J2 = 1.082616e-3
#: Of the Earth against the stars (Vallado 2013, eq. 3-40).
_EARTH_RATE_RAD_S = 7.292115e-5
_DAY_S = 86_400.0
_SGP4_EPOCH = datetime(1949, 12, 31, tzinfo=UTC)
_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)


def satellites(orbit: Orbit, start: datetime, over: tuple[float, float]) -> list[Satrec]:
    """The satellites of an orbit: of its element sets, or a train on the circular orbit that it describes.

    `over` is the place, in degrees, that a train passes over if its orbit names none. Raises ValueError on element sets
    that cannot be read.
    """
    if orbit.tle or orbit.omm_file:
        return _from_lines(orbit.tle) + (_from_messages(Path(orbit.omm_file)) if orbit.omm_file else [])
    return [_circular(orbit, start, orbit.over or over, k * orbit.interval_s) for k in range(orbit.count)]


def positions(satellite: Satrec, start: datetime, seconds: FloatArray) -> FloatArray:
    """Earth-fixed positions in m, (k, 3), that many seconds (k,) after the start.

    SGP4's frame (TEME) is turned by mean sidereal time, UT1 taken as UTC, without polar motion: within 500 m.
    Raises ValueError where the element set is no longer valid.
    """
    whole = _julian_date(start)
    fraction = seconds / _DAY_S
    error, place, _ = satellite.sgp4_array(np.full(len(seconds), whole[0]), whole[1] + fraction)
    if error.any():
        raise ValueError(f"satellite {satellite.satnum_str}: SGP4 gives error {int(error.max())} in this scenario")
    angle = _sidereal_rad(start, seconds)
    x, y, z = place.T * 1000.0
    c, s = np.cos(angle), np.sin(angle)
    return np.column_stack([c * x + s * y, c * y - s * x, z])


def _julian_date(time: datetime) -> tuple[float, float]:
    days = (time - _J2000) / timedelta(days=1)
    return 2_451_545.0 + math.floor(days), days - math.floor(days)


def _sidereal_rad(start: datetime, seconds: FloatArray) -> FloatArray:
    """Greenwich mean sidereal time (IAU 1982; Vallado 2013, eq. 3-47), UT1 taken as UTC."""
    t = ((start - _J2000).total_seconds() + seconds) / (36_525.0 * _DAY_S)
    sidereal_s = 67_310.54841 + t * (876_600.0 * 3600.0 + 8_640_184.812866 + t * (0.093104 - t * 6.2e-6))
    return np.asarray(np.mod(sidereal_s, _DAY_S) * (2.0 * math.pi / _DAY_S))


def _circular(orbit: Orbit, start: datetime, over: tuple[float, float], behind_s: float) -> Satrec:
    """A circular orbit's satellite that flies `behind_s` behind the first of its train, on the same ground track."""
    inclination = math.radians(orbit.inclination_deg)
    radius_km = _EARTH_RADIUS_KM + orbit.altitude_km
    mean_motion = math.sqrt(_MU_KM3_S2 / radius_km**3)
    drift = 1.5 * _J2 * mean_motion * (_EARTH_RADIUS_KM / radius_km) ** 2
    # Secular rates of the node and the perigee by J2 (Vallado 2013, eq. 9-37 and 9-39), e = 0; SGP4's mean motion
    # (Kozai's) is that of the anomaly already.
    node_rate = -drift * math.cos(inclination)
    latitude_rate = mean_motion + drift * (2.0 - 2.5 * math.sin(inclination) ** 2)
    node, argument = math.radians(orbit.raan_deg), math.radians(orbit.phase_deg)
    begin_s = 0.0
    if orbit.over_at_s is not None:
        begin_s = orbit.over_at_s
        node, argument = _over(orbit, inclination, over, start, begin_s)
    node += _EARTH_RATE_RAD_S * behind_s - node_rate * (begin_s + behind_s)
    argument -= latitude_rate * (begin_s + behind_s)
    satellite = Satrec()
    epoch_days = (start - _SGP4_EPOCH) / timedelta(days=1)
    satellite.sgp4init(
        WGS72,
        "i",
        0,  # no catalogue number
        epoch_days,
        0.0,  # no drag
        0.0,
        0.0,
        1e-6,  # eccentricity
        0.0,
        inclination,
        argument % (2.0 * math.pi),
        mean_motion * 60.0,
        node % (2.0 * math.pi),
    )
    return satellite


def _over(
    orbit: Orbit, inclination: float, over: tuple[float, float], start: datetime, seconds: float
) -> tuple[float, float]:
    """Right ascension of the node and argument of latitude, in radians, when the satellite is over a place."""
    place = around(nvectors(over[0], over[1])[0], np.array([[orbit.east_km * 1000.0, 0.0]]))
    lat, lon = geodetic(place)
    geocentric = math.atan((1.0 - ECCENTRICITY_SQ) * math.tan(math.radians(float(lat[0]))))
    ratio = math.sin(geocentric) / math.sin(inclination)
    if abs(ratio) > 1.0:
        raise ValueError(f"an orbit of {orbit.inclination_deg:g} degrees does not reach latitude {float(lat[0]):.1f}")
    argument = math.asin(ratio) if orbit.ascending else math.pi - math.asin(ratio)
    east_of_node = math.atan2(math.cos(inclination) * math.sin(argument), math.cos(argument))
    sidereal = float(_sidereal_rad(start, np.array([seconds]))[0])
    return sidereal + math.radians(float(lon[0])) - east_of_node, argument


def _from_lines(lines: tuple[str, ...]) -> list[Satrec]:
    first = [line for line in lines if line.startswith("1 ")]
    second = [line for line in lines if line.startswith("2 ")]
    if len(first) != len(second):
        raise ValueError("orbit.tle: first and second lines do not come in pairs")
    return [_checked(Satrec.twoline2rv(a, b), a) for a, b in zip(first, second, strict=True)]


def _from_messages(path: Path) -> list[Satrec]:
    with path.open(encoding="utf-8") as stream:
        if path.suffix == ".json":
            fields: list[dict[str, Any]] = json.load(stream)
        elif path.suffix == ".xml":
            fields = list(omm.parse_xml(stream))
        else:
            fields = list(omm.parse_csv(stream))
    found = []
    for message in fields:
        satellite = Satrec()
        try:
            omm.initialize(satellite, {key: str(value) for key, value in message.items()})
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path}: not an orbit mean-elements message: {error}") from None
        found.append(_checked(satellite, str(path)))
    return found


def _checked(satellite: Satrec, where: str) -> Satrec:
    if satellite.error:
        raise ValueError(f"{where}: SGP4 gives error {satellite.error}")
    return satellite
