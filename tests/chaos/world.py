"""What there is to see, as a function of a seed: vessels of four areas, each there for minutes only, and who looks at them.

Everything is sensitive to order: reports come late by up to the lag, vessels cross, and scans that do not find a vessel
any more end its track. So a look that is lost, doubled or out of its place shows in the bytes of later updates.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from apss_fusion.model import Detection, Look
from apss_fusion.replay.pipeline_lines import look_json

from . import nmea

T0 = datetime(2026, 1, 1, tzinfo=UTC)
#: How late looks may come after their time, s of the world. They come less late, but a fault adds its own.
LAG_S, _MOST_DELAY_S = 300.0, 55.0
#: (lat, lon) of the corners of regions about which the areas lie, so that scans touch two regions or three.
AREAS = ((51.354, -3.269), (-34.291, 17.176), (11.531, -179.392), (60.147, 4.728))
#: The regions beside "rest": H3 cells that have these corners.
CELLS = ("83195bfffffffff", "83ad34fffffffff", "835ba3fffffffff")
_RADIUS_M, _SCAN_S, _REPORT_S = 20_000.0, 40.0, 10.0
_LIFE_S = (150.0, 500.0)
_M_PER_DEG = 111_195.0
_STEP_S = 10.0

SOURCES_TOML = f"""
[sources.scan]
modality = "SAR"
domains = ["SEA"]
p_detect = 0.95
clutter_per_km2 = 1e-6
max_latency_s = {LAG_S}

[sources.coast]
modality = "RADAR"
domains = ["SEA"]
position_sigma_m = 30.0
max_latency_s = {LAG_S}

[sources.partner]
modality = "OTHER"
domains = ["SEA"]
position_sigma_m = 40.0
max_latency_s = {LAG_S}

[sources.ais-nmea]
modality = "AIS"
domains = ["SEA"]
max_latency_s = {LAG_S}

[sources.looks]
modality = "OTHER"
max_latency_s = {LAG_S}
"""


class Event(NamedTuple):
    """Something that arrives."""

    #: Seconds of the world since it began.
    arrival_s: float
    area: int
    #: Name of a format, or "" for a look that is produced without a feed.
    format: str
    #: What stands alone: lines of NMEA in their order, or one look as JSON.
    values: tuple[bytes, ...]
    #: The look, where there is one.
    look: Look | None


class _Vessel(NamedTuple):
    number: int
    area: int
    #: How it is seen beside scans: "ais-nmea", "looks" or "".
    format: str
    born_s: float
    dies_s: float
    x_m: tuple[float, float]
    v_mps: tuple[float, float]
    phase_s: float

    @property
    def mmsi(self) -> int:
        return 235_000_000 + self.number

    def at(self, t: float) -> tuple[float, float]:
        """(lat, lon)."""
        lat, lon = AREAS[self.area]
        east, north = (self.x_m[i] + self.v_mps[i] * (t - self.born_s) for i in (0, 1))
        lon += east / (_M_PER_DEG * math.cos(math.radians(lat)))
        return round(lat + north / _M_PER_DEG, 6), round((lon + 180.0) % 360.0 - 180.0, 6)


def arrivals(seed: int, vessels: int) -> Iterator[Event]:
    """What arrives, for ever, in the order of arrival; `vessels` at a time in each area."""
    r = Random(seed)
    world = _World(r, vessels)
    waiting: list[tuple[float, int, Event]] = []
    count, start = 0, 0.0
    while True:
        for event in world.step(start):
            heapq.heappush(waiting, (event.arrival_s, count, event))
            count += 1
        start += _STEP_S
        while waiting and waiting[0][0] < start:
            yield heapq.heappop(waiting)[2]


class _World:
    def __init__(self, r: Random, vessels: int) -> None:
        self._r = r
        self._count = 0
        self._vessels = [self._vessel(area, -60.0) for area in range(len(AREAS)) for _ in range(vessels)]

    def _vessel(self, area: int, born_s: float) -> _Vessel:
        r = self._r
        self._count += 1
        speed, course = r.uniform(0.0, 12.0), r.uniform(0.0, math.tau)
        return _Vessel(
            self._count,
            area,
            r.choice(("ais-nmea", "looks", "")),
            born_s,
            born_s + r.uniform(*_LIFE_S),
            (r.uniform(-0.6, 0.6) * _RADIUS_M, r.uniform(-0.6, 0.6) * _RADIUS_M),
            (speed * math.sin(course), speed * math.cos(course)),
            round(r.uniform(0.0, _REPORT_S), 1),
        )

    def step(self, start: float) -> Iterator[Event]:
        """What happens within a step, in any order."""
        for k, vessel in enumerate(self._vessels):
            if vessel.dies_s <= start:
                self._vessels[k] = vessel = self._vessel(vessel.area, start)
            yield self._report(vessel, start + vessel.phase_s)
        if start % _SCAN_S == 0.0:
            for area in range(len(AREAS)):
                yield self._scan(area, start + 7.0 + area)

    def _arrival(self, t: float) -> float:
        return t + self._r.random() ** 2 * _MOST_DELAY_S

    def _report(self, vessel: _Vessel, t: float) -> Event:
        if vessel.format == "ais-nmea":
            t = float(math.floor(t))
        arrival = self._arrival(t)
        (lat, lon), error = vessel.at(t), [self._r.gauss(0.0, 1e-4) for _ in range(2)]
        lat, lon = round(lat + error[0], 6), round(lon + error[1], 6)
        if vessel.format == "ais-nmea":
            return Event(arrival, vessel.area, vessel.format, self._sentences(vessel, t, lat, lon), None)
        source = "coast" if vessel.format else "partner"
        detection = Detection(detection_id=f"{vessel.number}", lat=lat, lon=lon, domain="SEA")
        name = f"{source}-{vessel.number}-{round(t * 10)}"
        return _event(arrival, vessel.area, vessel.format, source, name, t, [detection])

    def _sentences(self, vessel: _Vessel, t: float, lat: float, lon: float) -> tuple[bytes, ...]:
        time = T0 + timedelta(seconds=t)
        kind = vessel.number % 3
        knots = math.hypot(*vessel.v_mps) / 0.514444
        course = math.degrees(math.atan2(*vessel.v_mps)) % 360.0
        if kind:
            payload = nmea.position(vessel.mmsi, lat, lon, knots, course, time.second)
        else:
            payload = nmea.extended_position(vessel.mmsi, lat, lon, knots, course, time.second, f"SHIP {vessel.number}")
        parts = 1 if kind else 2
        return nmea.sentences(payload, parts, vessel.number % 10, f"st{vessel.area}", round(time.timestamp()))

    def _scan(self, area: int, t: float) -> Event:
        r = self._r
        found = []
        for vessel in self._vessels:
            if vessel.area == area and vessel.born_s <= t < vessel.dies_s and r.random() < 0.95:
                lat, lon = vessel.at(t)
                found.append(
                    Detection(
                        detection_id=f"{vessel.number}",
                        lat=round(lat + r.gauss(0.0, 3e-4), 6),
                        lon=round(lon + r.gauss(0.0, 3e-4), 6),
                        domain="SEA",
                    )
                )
        footprint = _disc(*AREAS[area], _RADIUS_M)
        return _event(self._arrival(t), area, "looks", "scan", f"scan-{area}-{round(t)}", t, found, footprint)


def _event(
    arrival_s: float,
    area: int,
    format_: str,
    source: str,
    name: str,
    t: float,
    detections: list[Detection],
    footprint: dict[str, Any] | None = None,
) -> Event:
    look = Look(
        look_id=name,
        source_id=source,
        time=T0 + timedelta(seconds=t),
        time_received=T0 + timedelta(seconds=arrival_s),
        footprint=footprint,
        detections=tuple(detections),
    )
    return Event(arrival_s, area, format_, (look_json(look).rstrip(),), look)


def _disc(lat: float, lon: float, radius_m: float, corners: int = 12) -> dict[str, Any]:
    """A polygon about a place, whose ring goes the way that GeoJSON wants."""
    ring = []
    for k in range(corners):
        angle = math.tau * k / corners
        east, north = radius_m * math.cos(angle), radius_m * math.sin(angle)
        here = lon + east / (_M_PER_DEG * math.cos(math.radians(lat)))
        ring.append([round(here, 6), round(lat + north / _M_PER_DEG, 6)])
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


def regions_toml() -> str:
    """Four regions: one of each cell, and the rest."""
    parts = ["[regions.rest]\npartition = 0\nrest = true\n"]
    parts += [f'[regions.r{k}]\npartition = {k}\ncells = ["{cell}"]\n' for k, cell in enumerate(CELLS, 1)]
    return "\n".join(parts)
