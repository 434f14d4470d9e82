"""What ships and aircraft say of themselves (AIS, ADS-B): sent once, heard by every receiver in reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.positions import moves
from apss_fusion.geodesy.wgs84 import geodetic
from apss_fusion.simulation.fleet import Fleet
from apss_fusion.simulation.scenario import Scenario
from apss_fusion.simulation.traffic import generator

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

#: AIS gives speed in tenths of a knot and course in tenths of a degree (ITU-R M.1371).
_TENTH_KNOT_MPS = 0.0514444
_STILL_MPS = 0.3


@dataclass(frozen=True)
class Messages:
    """All messages of a fleet by time; (m,) each, with what was measured aboard."""

    fleet: Fleet
    item: IntArray
    seconds: FloatArray
    #: True n-vectors (m, 3), and the error of the position fix in sigmas (m, 2): one for all who hear it.
    position: FloatArray
    error: FloatArray
    speed_mps: FloatArray
    course_deg: FloatArray
    alt_m: FloatArray
    vertical_rate_mps: FloatArray
    static: BoolArray

    def detections(self, which: IntArray, position_sigma_m: float) -> list[dict[str, Any]]:
        """The messages of these rows as detections, without their ids."""
        fixes = moves(self.position[which], self.error[which] * position_sigma_m)
        lat, lon = geodetic(fixes)
        return [self._detection(int(row), lat[i], lon[i]) for i, row in enumerate(which)]

    def _detection(self, row: int, lat: float, lon: float) -> dict[str, Any]:
        fleet, item = self.fleet, int(self.item[row])
        found: dict[str, Any] = {"lat": round(float(lat), 7), "lon": round(float(lon), 7)}
        if fleet.alt_m is not None:
            found |= {"alt_m": round(float(self.alt_m[row]), 2), "alt_datum": "BARO"}
            found["vertical_rate_mps"] = round(float(self.vertical_rate_mps[row]), 2)
        found["speed_mps"] = round(float(self.speed_mps[row]), 3)
        if self.speed_mps[row] > _STILL_MPS:
            found["course_deg"] = round(float(self.course_deg[row]), 1) % 360.0
        found["domain"] = fleet.domain
        ids = fleet.ids[item]
        if self.static[row]:
            found["ids"] = ids
            found["class_probs"] = {fleet.classes[item]: 0.95}
            found |= {"length_m": round(float(fleet.length_m[item])), "width_m": round(float(fleet.width_m[item]))}
        else:
            found["ids"] = {key: ids[key] for key in ("mmsi", "icao24") if key in ids}
        return found


def messages(scenario: Scenario, fleet: Fleet, modality: str) -> Messages:
    """Every message of a fleet: a ship that lies still sends a sixth as often, a silent or dark one not at all."""
    rng = generator(scenario, "messages", modality)
    at_sea = modality == "AIS"
    interval = scenario.traffic.ais_interval_s if at_sea else scenario.traffic.adsb_interval_s
    rounds = int(scenario.duration_s / interval)
    shape = (len(fleet), rounds)
    seconds = (np.arange(rounds) + rng.random((len(fleet), 1)) * 0.9 + rng.uniform(0.0, 0.1, shape)) * interval
    item = np.repeat(np.arange(len(fleet)), rounds)
    count = np.tile(np.arange(rounds), len(fleet))
    seconds = seconds.ravel()
    speed = np.hypot(*fleet.velocity(item, seconds).T)
    sent = fleet.sends[item] & fleet.alive(item, seconds) & (seconds < scenario.duration_s)
    sent &= (seconds < fleet.silent_s[item, 0]) | (seconds >= fleet.silent_s[item, 1])
    sent &= (speed > _STILL_MPS) | (count % 6 == 0) | (not at_sea)
    row = np.flatnonzero(sent)
    row = row[np.argsort(seconds[row], kind="stable")]
    item, seconds, count = item[row], seconds[row], count[row]
    velocity = fleet.velocity(item, seconds) + rng.normal(0.0, 0.1 if at_sea else 0.5, (len(row), 2))
    step = _TENTH_KNOT_MPS * (1.0 if at_sea else 10.0)
    altitude = fleet.altitude(item, seconds)
    feet_25 = 7.62
    alt, rate = altitude if altitude is not None else (np.zeros(len(row)), np.zeros(len(row)))
    return Messages(
        fleet=fleet,
        item=item,
        seconds=seconds,
        position=fleet.at(item, seconds),
        error=rng.normal(size=(len(row), 2)),
        speed_mps=np.round(np.hypot(*velocity.T) / step) * step,
        course_deg=np.degrees(np.arctan2(*velocity.T)) % 360.0,
        alt_m=np.round(alt / feet_25) * feet_25,
        vertical_rate_mps=rate,
        static=(count + item) % fleet.static_every == 0,
    )
