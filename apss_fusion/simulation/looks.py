"""What each satellite sees of the traffic: its looks, as rows for the file of looks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sgp4.api import Satrec

from apss_fusion.geodesy.positions import moves, offsets
from apss_fusion.geodesy.wgs84 import ecef, geodetic, geodetic_of_ecef, nvectors
from apss_fusion.simulation.fleet import Fleet
from apss_fusion.simulation.footprints import Footprint, disc, rectangle
from apss_fusion.simulation.messages import Messages
from apss_fusion.simulation.motion import around, distances, seen_from
from apss_fusion.simulation.orbits import positions
from apss_fusion.simulation.scenario import (
    AdsbReceiver,
    AisReceiver,
    Camera,
    Direction,
    Imager,
    Looking,
    MovingTargetRadar,
    Satellite,
    Scenario,
)
from apss_fusion.simulation.traffic import generator, ground_area

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: Semi-axis of a 95 % ellipse in sigmas: the root of chi-square with two degrees of freedom.
_SIGMAS_95 = 2.4477468306808166
_STILL_MPS = 0.5


class Arrival(NamedTuple):
    """A look with the time of its arrival in microseconds after the scenario's start."""

    received_us: int
    look: dict[str, Any]


class _Frame(NamedTuple):
    """One look of an imaging sensor, before anything is seen."""

    begin_s: float
    end_s: float
    footprint: Footprint
    #: Where the sensor is in the middle of it: earth-fixed, m (3,).
    sensor: FloatArray
    #: In which direction it is swept, at its centre.
    azimuth_rad: float


class _Seen(NamedTuple):
    """Objects, or clutter, in a frame: what a report of each is made of; (m,) each."""

    #: n-vectors (m, 3), velocity east and north in m/s (m, 2).
    position: FloatArray
    velocity: FloatArray
    seconds: FloatArray
    length_m: FloatArray
    width_m: FloatArray
    domain: list[str]


class Collector:
    """One satellite's sensor over the traffic of a scenario."""

    def __init__(
        self, scenario: Scenario, satellite: Satellite, orbit: Satrec, source_id: str, fleets: list[Fleet]
    ) -> None:
        self.scenario, self.satellite, self.orbit, self.source_id = scenario, satellite, orbit, source_id
        self.sensor = satellite.sensor
        self.fleets = [fleet for fleet in fleets if fleet.domain in self.sensor.domains]
        self.rng = generator(scenario, "looks", source_id)
        self.region = nvectors(scenario.region.lat, scenario.region.lon)[0]
        self.made = 0

    def arrivals(self, sent: dict[str, Messages]) -> Iterator[Arrival]:
        """All looks of this satellite that touch the region, in order of their time."""
        if isinstance(self.sensor, AisReceiver):
            yield from self._heard(sent["AIS"], self.sensor)
        elif isinstance(self.sensor, AdsbReceiver):
            yield from self._heard(sent["ADSB"], self.sensor)
        else:
            for frame in self._frames(self.sensor):
                if frame.footprint.touches(self.region, self.scenario.region.radius_km * 1000.0):
                    yield self._look(frame, self.sensor)

    # Cooperative sources

    def _heard(self, messages: Messages, sensor: AisReceiver | AdsbReceiver) -> Iterator[Arrival]:
        """Each message that is received, as a look of its own with nothing said about what was not heard."""
        below = self._below(messages.seconds)[0] if len(messages.seconds) else np.empty((0, 3))
        reach = np.hypot(*offsets(below, messages.position).T) < sensor.radius_km * 1000.0
        received = np.flatnonzero(reach & (self.rng.random(len(reach)) < sensor.p_detect))
        latency = self._latency(len(received))
        for row, detection, late in zip(
            received, messages.detections(received, sensor.position_sigma_m), latency, strict=True
        ):
            seconds = float(messages.seconds[row])
            yield self._arrival(seconds, None, late, {}, [detection])

    # Sensors with a footprint

    def _frames(self, sensor: Looking) -> Iterator[_Frame]:
        begin = np.arange(0.0, self.scenario.duration_s, sensor.frame_s)
        below, place = self._below(begin + sensor.frame_s / 2.0)
        before, _ = self._below(begin)
        after, _ = self._below(begin + sensor.frame_s)
        swept = offsets(below, after) - offsets(below, before)
        azimuth, length = np.arctan2(*swept.T), np.hypot(*swept.T)
        for i in range(len(begin)):
            times = float(begin[i]), float(begin[i] + sensor.frame_s)
            for footprint, along in self._looked_at(i, below[i], float(azimuth[i]), float(length[i])):
                yield _Frame(*times, footprint, place[i], along)

    def _looked_at(
        self, i: int, below: FloatArray, azimuth: float, length_m: float
    ) -> Iterator[tuple[Footprint, float]]:
        """Where the i-th frame looks, if anywhere, and in which direction it is swept there."""
        sensor = self.sensor
        if isinstance(sensor, Imager):
            middle, width = (sensor.near_km + sensor.far_km) * 500.0, (sensor.far_km - sensor.near_km) * 1000.0
            quarter = math.pi / 2.0 if sensor.side == "right" else -math.pi / 2.0
            aside = azimuth + quarter
            centre = around(below, middle * np.array([[math.sin(aside), math.cos(aside)]]))[0]
            # North is not the same direction there: the strip lies square to the way back to the track.
            along = float(np.arctan2(*seen_from(centre, below[None])[0])) + quarter
            yield rectangle(centre, length_m, width, along), along
        elif isinstance(sensor, Direction):
            yield disc(below, sensor.radius_km * 1000.0), azimuth
        elif isinstance(sensor, Camera | MovingTargetRadar):
            nearest_m = sensor.min_reach_km * 1000.0 if isinstance(sensor, MovingTargetRadar) else 0.0
            spots = self._spots(sensor)
            away = distances(below, spots)
            reached = np.flatnonzero((away >= nearest_m) & (away < sensor.reach_km * 1000.0))
            if len(reached):
                spot = spots[reached[i % len(reached)]]
                if isinstance(sensor, Camera):
                    yield rectangle(spot, sensor.side_km * 1000.0, sensor.side_km * 1000.0, azimuth), azimuth
                else:
                    yield disc(spot, sensor.radius_km * 1000.0), azimuth

    def _spots(self, sensor: Camera | MovingTargetRadar) -> FloatArray:
        if sensor.spots:
            return nvectors(*np.array(sensor.spots).T)
        return self.region[None] if isinstance(sensor, Camera) else ground_area(self.scenario)[None]

    def _look(self, frame: _Frame, sensor: Looking) -> Arrival:
        p_detect = sensor.p_detect
        if isinstance(sensor, Direction):
            p_detect *= self.scenario.traffic.radar_share
        fields: dict[str, Any] = {
            "footprint": frame.footprint.geojson(),
            "p_detect": round(p_detect, 6),
            "clutter_per_km2": sensor.clutter_per_km2,
        }
        if isinstance(sensor, MovingTargetRadar):
            fields["min_detectable_speed_mps"] = sensor.min_detectable_speed_mps
        seen = [self._objects(fleet, frame) for fleet in self.fleets]
        seen.append(self._clutter(frame, int(self.rng.poisson(sensor.clutter_per_km2 * frame.footprint.area_km2))))
        reports = [report for group in seen for report in self._reports(group, frame)]
        # In no order that tells objects from clutter.
        reports = [reports[k] for k in self.rng.permutation(len(reports))]
        return self._arrival(frame.begin_s, frame.end_s, float(self._latency(1)[0]), fields, reports)

    def _objects(self, fleet: Fleet, frame: _Frame) -> _Seen:
        """The objects of a fleet that are detected, each when the sensor passes it."""
        sensor = self.sensor
        item = np.arange(len(fleet))
        if isinstance(sensor, Direction):
            item = np.flatnonzero(fleet.radar)
        seconds = np.full(len(item), (frame.begin_s + frame.end_s) / 2.0)
        item = item[fleet.alive(item, seconds) & frame.footprint.contains(fleet.at(item, seconds))]
        seconds = seconds[: len(item)]
        if isinstance(sensor, Imager):
            seconds = self._passed(fleet.at(item, seconds), frame)
        found = self.rng.random(len(item)) < sensor.p_detect
        if isinstance(sensor, MovingTargetRadar):
            rate, _, _ = _line_of_sight(frame.sensor, fleet.at(item, seconds), fleet.velocity(item, seconds))
            found &= np.abs(rate) >= sensor.min_detectable_speed_mps
        item, seconds = item[found], seconds[found]
        return _Seen(
            fleet.at(item, seconds),
            fleet.velocity(item, seconds),
            seconds,
            fleet.length_m[item],
            fleet.width_m[item],
            [fleet.domain] * len(item),
        )

    def _clutter(self, frame: _Frame, count: int) -> _Seen:
        """False detections, spread evenly, that look like small objects."""
        position = frame.footprint.draw(self.rng, count)
        seconds = np.full(count, (frame.begin_s + frame.end_s) / 2.0)
        if isinstance(self.sensor, Imager):
            seconds = self._passed(position, frame)
        speed, course = self.rng.uniform(2.0, 15.0, count), self.rng.uniform(0.0, 2.0 * math.pi, count)
        velocity = np.column_stack([speed * np.sin(course), speed * np.cos(course)])
        length = 8.0 + self.rng.exponential(20.0, count)
        domains = [self.sensor.domains[k] for k in self.rng.integers(len(self.sensor.domains), size=count)]
        return _Seen(position, velocity, seconds, length, np.maximum(2.5, length / 5.0), domains)

    def _passed(self, position: FloatArray, frame: _Frame) -> FloatArray:
        """When a strip's beam passes positions (m, 3)."""
        ahead = np.array([math.sin(frame.azimuth_rad), math.cos(frame.azimuth_rad)])
        along = offsets(np.tile(frame.footprint.centre, (len(position), 1)), position) @ ahead
        reach = float(np.max(frame.footprint.corners @ ahead))
        share = np.clip(0.5 + along / (2.0 * reach), 0.0, 1.0)
        return np.asarray(frame.begin_s + share * (frame.end_s - frame.begin_s))

    def _reports(self, seen: _Seen, frame: _Frame) -> list[dict[str, Any]]:
        """Detections with the sensor's errors, without their ids."""
        sensor, count, rng = self.sensor, len(seen.position), self.rng
        error = rng.normal(size=(count, 2))
        more: list[dict[str, Any]] = [{} for _ in range(count)]
        if isinstance(sensor, Imager | Camera):
            error *= sensor.position_sigma_m
            size = 1.0 + sensor.size_sigma * rng.normal(size=(count, 2))
            turned = rng.random(count) < (0.5 if isinstance(sensor, Imager) else 0.0)
            heading = np.degrees(np.arctan2(*seen.velocity.T)) + 180.0 * turned + rng.normal(0.0, 4.0, count)
            for i, row in enumerate(more):
                if np.hypot(*seen.velocity[i]) > _STILL_MPS:
                    row["heading_deg"] = round(float(heading[i]), 1) % 360.0
                row["length_m"] = round(max(1.0, float(seen.length_m[i] * size[i, 0])), 1)
                row["width_m"] = round(max(1.0, float(seen.width_m[i] * size[i, 1])), 1)
        elif isinstance(sensor, Direction):
            major = sensor.position_sigma_m * 2.0 ** rng.uniform(-1.0, 1.0, count)
            axes = np.column_stack([major, major * sensor.axis_ratio])
            azimuth = rng.uniform(0.0, math.pi, count)
            error = _scattered(error, axes, azimuth)
            more = [{"ellipse": _ellipse(axes[i], azimuth[i])} for i in range(count)]
        elif isinstance(sensor, MovingTargetRadar):
            rate, sight, elevation = _line_of_sight(frame.sensor, seen.position, seen.velocity)
            axes = np.tile([sensor.position_sigma_m, sensor.range_sigma_m], (count, 1))
            error = _scattered(error, axes, sight + math.pi / 2.0)
            rate = rate + rng.normal(0.0, sensor.range_rate_sigma_mps, count)
            for i, row in enumerate(more):
                row["ellipse"] = _ellipse(axes[i], float(sight[i]) + math.pi / 2.0)
                row["range_rate_mps"] = round(float(rate[i]), 3)
                row["range_rate_sigma_mps"] = sensor.range_rate_sigma_mps
                row["los_az_deg"] = round(math.degrees(float(sight[i])) % 360.0, 3)
                row["los_el_deg"] = round(math.degrees(float(elevation[i])), 3)
        for i, row in enumerate(more):
            row["time"] = self._text(seen.seconds[i])
        lat, lon = geodetic(moves(seen.position, error))
        certain = isinstance(sensor, Camera) or len(sensor.domains) == 1
        return [
            {
                "lat": round(float(lat[i]), 7),
                "lon": round(float(lon[i]), 7),
                **more[i],
                "domain": seen.domain[i] if certain else "UNKNOWN",
            }
            for i in range(count)
        ]

    # What all have in common

    def _below(self, seconds: FloatArray) -> tuple[FloatArray, FloatArray]:
        """n-vectors below the satellite (k, 3) and where it is, earth-fixed in m (k, 3), at times (k,)."""
        place = positions(self.orbit, self.scenario.start, seconds)
        lat, lon, _ = geodetic_of_ecef(place)
        return nvectors(lat, lon), place

    def _latency(self, count: int) -> FloatArray:
        mean, sigma = self.satellite.latency_mean_s, self.satellite.latency_sigma_s
        drawn = np.full(count, mean)
        if mean > 0.0 and sigma > 0.0:
            drawn = self.rng.gamma((mean / sigma) ** 2, sigma**2 / mean, count)
        return np.minimum(drawn, self.satellite.worst_latency_s)

    def _arrival(
        self, begin_s: float, end_s: float | None, latency_s: float, fields: dict[str, Any], rows: list[dict[str, Any]]
    ) -> Arrival:
        self.made += 1
        received = (begin_s if end_s is None else end_s) + float(latency_s)
        time = self._text(begin_s)
        look_id = f"{self.source_id}/{time[:19].replace('-', '').replace(':', '')}/{self.made}"
        look: dict[str, Any] = {"look_id": look_id, "source_id": self.source_id, "time": time}
        if end_s is not None:
            look["time_end"] = self._text(end_s)
        look["time_received"] = self._text(received)
        look |= fields
        look["detections"] = [{"detection_id": f"{look_id}/{i}", **row} for i, row in enumerate(rows, 1)]
        return Arrival(round(received * 1e6), look)

    def _text(self, seconds: float) -> str:
        return time_text(self.scenario.start, seconds)


def time_text(start: datetime, seconds: float) -> str:
    """RFC 3339 UTC with microseconds of a time that many seconds after the start."""
    moment = start + timedelta(microseconds=round(float(seconds) * 1e6))
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _line_of_sight(
    sensor: FloatArray, position: FloatArray, velocity: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Range rate in m/s (receding is positive), azimuth and elevation in radians of the way from sensor to object.

    (m,) each, in the local frames of objects on the ellipsoid at n-vectors (m, 3) with velocity east and north (m, 2).
    """
    lat, lon = geodetic(position)
    way = ecef(lat, lon, 0.0) - sensor
    way /= np.linalg.norm(way, axis=1)[:, None]
    phi, lam = np.radians(lat), np.radians(lon)
    east = -np.sin(lam) * way[:, 0] + np.cos(lam) * way[:, 1]
    out = np.cos(lam) * way[:, 0] + np.sin(lam) * way[:, 1]
    north = np.cos(phi) * way[:, 2] - np.sin(phi) * out
    up = np.sin(phi) * way[:, 2] + np.cos(phi) * out
    return velocity[:, 0] * east + velocity[:, 1] * north, np.arctan2(east, north), np.arcsin(up)


def _scattered(error: FloatArray, axes: FloatArray, azimuth: FloatArray) -> FloatArray:
    """East and north errors in m (m, 2) of standard normal ones along axes (m, 2), the first along the azimuth."""
    along, across = error.T * axes.T
    s, c = np.sin(azimuth), np.cos(azimuth)
    return np.column_stack([along * s + across * c, along * c - across * s])


def _ellipse(axes: FloatArray, azimuth_rad: float) -> dict[str, float]:
    """The 95 % ellipse of one-sigma semi-axes, the first of them along the azimuth."""
    major, minor = (float(axis) for axis in axes)
    if minor > major:
        major, minor, azimuth_rad = minor, major, azimuth_rad + math.pi / 2.0
    return {
        "semi_major_m": round(major * _SIGMAS_95, 2),
        "semi_minor_m": round(minor * _SIGMAS_95, 2),
        "orientation_deg": round(math.degrees(float(azimuth_rad)) % 180.0, 2),
        "probability": 0.95,
    }
