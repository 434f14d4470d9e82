"""Looks to measure with: cooperative reports of ships, one detection each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from apss_fusion.model import Detection, Look
from apss_fusion.replay.pipeline_lines import look_json

_START = datetime(2026, 1, 1, tzinfo=UTC)


def report(ship: int, number: int, time: datetime, lat: float, lon: float, speed_mps: float = 1.85) -> bytes:
    """A look of one ship, heading north, as JSON."""
    detection = Detection(
        detection_id="0",
        lat=lat,
        lon=lon,
        domain="SEA",
        speed_mps=speed_mps,
        course_deg=0.0,
        ids={"mmsi": str(200_000_000 + ship)},
    )
    look = Look(look_id=f"{ship}-{number}", source_id="ais-nmea", time=time, detections=(detection,))
    return look_json(look).rstrip()


def place(ship: int) -> tuple[float, float]:
    """Where a ship begins, degrees: scattered over the seas between 60 south and 60 north."""
    return -60.0 + (ship * 7919 % 12_000) * 0.01, -179.0 + (ship * 104_729 % 35_000) * 0.01


def reports(ships: int, rounds: int, interval_s: float = 60.0) -> Iterator[bytes]:
    """Each ship reports once in each interval, evenly spread."""
    for number in range(rounds):
        for ship in range(ships):
            lat, lon = place(ship)
            seconds = interval_s * (number + ship / ships)
            north = 1.85 * interval_s * number / 111_195.0
            yield report(ship, number, _START + timedelta(seconds=seconds), lat + north, lon)
