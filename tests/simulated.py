"""A small simulated constellation, and how to look at its footprints, for the tests of the simulation."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pyproj import Geod

from apss_fusion.model import Look, Source
from apss_fusion.simulation import Scenario, run
from apss_fusion.simulation.fleet import Fleet
from apss_fusion.simulation.scenario import (
    AdsbReceiver,
    AisReceiver,
    Camera,
    Direction,
    Imager,
    MovingTargetRadar,
    Orbit,
    Region,
    Satellite,
    Sensor,
    Traffic,
)
from apss_fusion.simulation.traffic import fleets

WGS84 = Geod(ellps="WGS84")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Made:
    """A simulation that has run, read back."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.summary = run(scenario, folder)
        self.lines = (folder / "looks.ndjson").read_bytes().splitlines()
        self.looks = [msgspec.json.decode(line, type=Look) for line in self.lines]
        self.truth = [json.loads(line) for line in (folder / "truth.ndjson").read_text().splitlines()]
        register = tomllib.loads((folder / "sources.toml").read_text())["sources"]
        self.sources = {name: msgspec.convert(entry, Source) for name, entry in register.items()}
        self.fleets = {fleet.domain: fleet for fleet in fleets(scenario)}

    def of(self, name: str) -> list[Look]:
        return [look for look in self.looks if look.source_id.split("-")[0] == name]

    def seconds(self, time: datetime | None) -> float:
        assert time is not None
        return (time - self.scenario.start).total_seconds()


def small(**more: Any) -> Scenario:
    """Twenty minutes with a pass of every kind of sensor; more errors and clutter than is usual, to measure them."""
    over = Orbit(over_at_s=600.0)
    sensors: dict[str, tuple[Sensor, Orbit]] = {
        "sar": (
            Imager(near_km=150, far_km=450, p_detect=0.8, position_sigma_m=80.0, clutter_per_km2=3e-4),
            Orbit(over_at_s=600, east_km=-300, count=3, interval_s=200),
        ),
        "eo": (Camera(p_detect=0.9, domains=("SEA", "GROUND")), over),
        "ais": (AisReceiver(position_sigma_m=200.0, p_detect=0.5), over),
        "adsb": (AdsbReceiver(position_sigma_m=150.0, p_detect=0.6), over),
        "rf": (Direction(clutter_per_km2=3e-6), over),
        "gmti": (MovingTargetRadar(clutter_per_km2=0.0), Orbit(over_at_s=600, east_km=300)),
    }
    satellites_ = tuple(
        Satellite(name=name, sensor=sensor, orbit=orbit, nation="LUX", latency_mean_s=40, latency_sigma_s=30)
        for name, (sensor, orbit) in sensors.items()
    )
    fields: dict[str, Any] = {
        "start": START,
        "duration_s": 1200.0,
        "truth_interval_s": 60.0,
        "region": Region(lat=38.0, lon=-28.0),
        "traffic": Traffic(ships=120, aircraft=15, vehicles=40, shared_mmsi_pairs=3, silenced_share=0.3, silence_s=300),
        "satellites": satellites_,
    }
    return Scenario(**(fields | more))


def truth_at(fleet: Fleet, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    item = np.arange(len(fleet))
    item = item[fleet.alive(item, np.full(len(item), seconds))]
    return item, fleet.at(item, np.full(len(item), seconds))


def ring_of(look: Look) -> np.ndarray:
    assert look.footprint is not None
    assert look.footprint["type"] == "Polygon"
    return np.array(look.footprint["coordinates"][0])


def in_ring(ring: np.ndarray, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """The even-odd rule in longitude and latitude."""
    inside = np.zeros(len(lon), bool)
    for (x0, y0), (x1, y1) in pairwise(ring):
        crossed = (y0 > lat) != (y1 > lat)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= crossed & (lon < (x1 - x0) * (lat - y0) / (y1 - y0) + x0)
    return inside
