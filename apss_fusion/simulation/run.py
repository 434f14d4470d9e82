"""A whole simulation: the constellation's looks, the truth and the register of sources, written to a folder."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
from msgspec import Struct

from apss_fusion.geodesy.wgs84 import geodetic
from apss_fusion.model import Source
from apss_fusion.simulation.fleet import Fleet
from apss_fusion.simulation.looks import Arrival, Collector, time_text
from apss_fusion.simulation.messages import messages
from apss_fusion.simulation.orbits import satellites
from apss_fusion.simulation.scenario import Direction, Satellite, Scenario
from apss_fusion.simulation.traffic import fleets


class SimulationSummary(Struct, frozen=True, kw_only=True):
    """What a simulation made."""

    looks: int
    #: Of them, those that saw nothing.
    empty_looks: int
    detections: int
    detections_by_modality: dict[str, int]
    sources: int
    #: Objects by domain.
    objects: dict[str, int]
    truth_times: int


def run(scenario: Scenario, out_dir: Path, progress: Callable[[float], None] | None = None) -> SimulationSummary:
    """Simulate, and write ``looks.ndjson`` (by arrival), ``truth.ndjson`` and ``sources.toml``.

    The same scenario gives the same bytes. `progress` is called with the share that is done, from 0 to 1. Raises
    ValueError on orbits that cannot be flown, before anything is written.
    """
    over = (scenario.region.lat, scenario.region.lon)
    orbits = [satellites(satellite.orbit, scenario.start, over) for satellite in scenario.satellites]
    constellation = [
        (f"{satellite.name}-{k}" if len(train) > 1 else satellite.name, satellite, orbit)
        for satellite, train in zip(scenario.satellites, orbits, strict=True)
        for k, orbit in enumerate(train, 1)
    ]
    traffic = fleets(scenario)
    sent = {"AIS": messages(scenario, traffic[0], "AIS"), "ADSB": messages(scenario, traffic[1], "ADSB")}
    arrivals: list[Arrival] = []
    seen: Counter[str] = Counter()
    for i, (source_id, satellite, orbit) in enumerate(constellation):
        if progress is not None:
            progress(i / len(constellation))
        made = list(Collector(scenario, satellite, orbit, source_id, traffic).arrivals(sent))
        seen[modality(satellite)] += sum(len(arrival.look["detections"]) for arrival in made)
        arrivals += made
    arrivals.sort(key=lambda arrival: (arrival.received_us, arrival.look["look_id"]))
    out_dir.mkdir(parents=True, exist_ok=True)
    with (out_dir / "looks.ndjson").open("wb") as stream:
        for arrival in arrivals:
            stream.write(orjson.dumps(arrival.look, option=orjson.OPT_APPEND_NEWLINE))
    truth_times = _write_truth(scenario, traffic, out_dir / "truth.ndjson")
    registered = {source_id: source(scenario, satellite, source_id) for source_id, satellite, _ in constellation}
    (out_dir / "sources.toml").write_text(register(registered), encoding="utf-8", newline="\n")
    if progress is not None:
        progress(1.0)
    return SimulationSummary(
        looks=len(arrivals),
        empty_looks=sum(not arrival.look["detections"] for arrival in arrivals),
        detections=seen.total(),
        detections_by_modality=dict(sorted(seen.items())),
        sources=len(constellation),
        objects={fleet.domain: len(fleet) for fleet in traffic},
        truth_times=truth_times,
    )


def modality(satellite: Satellite) -> str:
    """The modality of a satellite's sensor."""
    return str(satellite.sensor.__struct_config__.tag)


def source(scenario: Scenario, satellite: Satellite, platform: str) -> Source:
    """The entry of a satellite in the register of sources."""
    sensor = satellite.sensor
    p_detect = sensor.p_detect * (scenario.traffic.radar_share if isinstance(sensor, Direction) else 1.0)
    fields: dict[str, Any] = {
        "modality": modality(satellite),
        "nation": satellite.nation,
        "provider": satellite.provider,
        "platform": platform,
        "domains": sensor.domains,
        "position_sigma_m": sensor.position_sigma_m,
        "p_detect": round(p_detect, 6),
        "clutter_per_km2": getattr(sensor, "clutter_per_km2", None),
        # Counted from the time of a look, which is when it begins.
        "max_latency_s": float(math.ceil(satellite.worst_latency_s + getattr(sensor, "frame_s", 0.0))),
        "may_initiate": satellite.may_initiate,
        "classification": satellite.classification,
        "releasable_to": satellite.releasable_to,
        "caveats": satellite.caveats,
    }
    return msgspec.convert(fields, Source)


def register(sources: dict[str, Source]) -> str:
    """Sources as the TOML text of a register."""
    lines = []
    for source_id, entry in sources.items():
        lines.append(f"[sources.{_string(source_id)}]")
        lines += [f"{key} = {_value(value)}" for key, value in msgspec.to_builtins(entry).items() if value is not None]
        lines.append("")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return json.dumps(value)


def _string(text: str) -> str:
    # A JSON string is a TOML basic string, but for the one control character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_truth(scenario: Scenario, traffic: list[Fleet], path: Path) -> int:
    times = np.arange(0.0, scenario.duration_s + 1e-6, scenario.truth_interval_s)
    with path.open("wb") as stream:
        for now in times:
            objects = []
            for fleet in traffic:
                item = np.arange(len(fleet))
                item = item[fleet.alive(item, np.full(len(item), now))]
                lat, lon = geodetic(fleet.at(item, np.full(len(item), now)))
                objects += [
                    {"id": fleet.names[k], "lat": round(a, 7), "lon": round(b, 7), "domain": fleet.domain}
                    for k, a, b in zip(item, lat.tolist(), lon.tolist(), strict=True)
                ]
            line = {"time": time_text(scenario.start, now), "objects": objects}
            stream.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return len(times)
