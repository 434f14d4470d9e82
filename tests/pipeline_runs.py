"""For the tests of the pipeline and the command line: small feeds, and runs whose files are read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from feeds_ais_tools import STAMP, sentence, ship, tag_block, two_sentences

from apss_fusion.model import Source
from apss_fusion.replay import pipeline
from apss_fusion.replay.pipeline import FuseJob, Outcome, fuse
from apss_fusion.replay.pipeline_stop import Stop
from apss_fusion.tracking.config import Config

#: The looks and the sentences are of the same minutes.
T0 = datetime.fromtimestamp(STAMP, UTC)
SOURCES = {
    "ais": Source(modality="AIS", domains=("SEA",), max_latency_s=60.0, releasable_to=("LUX",)),
    "sar": Source(modality="SAR", domains=("SEA",), max_latency_s=120.0, p_detect=0.9, clutter_per_km2=1e-4),
    "adsb": Source(modality="ADSB", domains=("AIR",), max_latency_s=20.0),
}
SOURCES_TOML = """
[sources.ais]
modality = "AIS"
domains = ["SEA"]
max_latency_s = 60.0
releasable_to = ["LUX"]
[sources.sar]
modality = "SAR"
domains = ["SEA"]
max_latency_s = 120.0
p_detect = 0.9
clutter_per_km2 = 1e-4
[sources.adsb]
modality = "ADSB"
domains = ["AIR"]
max_latency_s = 20.0
"""
PARTS = ("records_used", "records_ignored", "duplicates", "late", "dead_letters")


def stamp(seconds: float) -> str:
    return (T0 + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def look(look_id: str, source_id: str, seconds: float, *detections: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "look_id": look_id,
        "source_id": source_id,
        "time": stamp(seconds),
        **more,
        "detections": [{"detection_id": f"{look_id}-{i}", **d} for i, d in enumerate(detections)],
    }


def received(seconds: float) -> dict[str, str]:
    return {"time_received": stamp(seconds)}


def report(ship_number: int, seconds: float, arrival: float | None = None) -> dict[str, Any]:
    """A ship that goes north at 5 m/s reports itself."""
    place = {"lat": round(50.0 + 5.0 * seconds / 111_200, 6), "lon": round(-1.0 + 0.02 * ship_number, 6)}
    motion = {"speed_mps": 5.0, "course_deg": 0.0, "domain": "SEA", "ids": {"mmsi": str(235_000_000 + ship_number)}}
    more = {} if arrival is None else received(arrival)
    return look(f"a{ship_number}-{seconds:g}", "ais", seconds, {**place, **motion}, **more)


def flight(seconds: float) -> dict[str, Any]:
    motion = {"speed_mps": 200.0, "course_deg": 90.0, "alt_m": 9_000.0, "alt_datum": "BARO", "domain": "AIR"}
    place = {"lat": 50.1, "lon": round(-1.0 + 200.0 * seconds / 71_400, 6)}
    return look(f"f-{seconds:g}", "adsb", seconds, {**place, **motion, "ids": {"icao24": "4ca123"}})


def scan(number: int, seconds: float, arrival: float) -> dict[str, Any]:
    """A radar image of all of them, of a ship that does not report itself, and of an empty corner of the sea."""
    square = [[-1.2, 49.9], [-0.8, 49.9], [-0.8, 50.2], [-1.2, 50.2], [-1.2, 49.9]]
    seen = [
        {"lat": round(50.0 + 5.0 * seconds / 111_200, 6), "lon": lon, "domain": "SEA", "length_m": 90.0}
        for lon in (-1.0, -0.98, -0.96, -0.9)
    ]
    footprint = {"type": "Polygon", "coordinates": [square]}
    return look(f"s{number}", "sar", seconds, *seen, footprint=footprint, **received(arrival))


def feed() -> list[dict[str, Any]]:
    """Looks in order of arrival: most are good; one is late, one a duplicate, one contradictory, one from the future."""
    looks = [report(k, t + k, t + k + 2.0) for t in range(0, 300, 30) for k in range(3)]
    looks += [flight(float(t)) for t in range(5, 300, 40)]
    looks += [scan(n, 60.0 * n + 1.0, 60.0 * n + 40.0) for n in range(5)]
    looks.append(look("a-late", "ais", 1.0, {"lat": 50.0, "lon": -1.1}, **received(200.0)))
    looks.append(look("a-future", "ais", 4000.0, {"lat": 50.0, "lon": -1.1}, **received(150.0)))
    looks.sort(key=lambda one: str(one.get("time_received") or one["time"]))
    looks.insert(14, looks[12])
    looks.insert(17, {**looks[15], "detections": []})
    return looks


def lines(looks: Sequence[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(one).encode() + b"\n" for one in looks]


def nmea() -> list[bytes]:
    """Reports of two ships, their names in two sentences each, a base station, and lines that are broken."""
    rows: list[str] = []
    for k in range(8):
        for number in range(2):
            mmsi = 235_012_345 + number
            rows.append(
                tag_block(f"s:hill,c:{STAMP + 10 * k}")
                + sentence(ship(mmsi=mmsi, lat=50.0 + 5e-4 * k + 0.1 * number, lon=-1.0, sog=110, cog=0, second=60))
            )
        if k in (1, 4):
            rows += two_sentences(235_012_345 + k % 2, sequence=str(k))
    rows.insert(5, rows[0].replace("*", "0*"))
    rows.insert(9, "not a sentence")
    # A name whose second half comes much later.
    first, second = two_sentences(235_012_346, sequence="7", channel="B")
    rows.insert(6, first)
    rows.insert(13, second)
    return [row.encode() + b"\r\n" for row in rows]


class Run:
    """A run and what it wrote."""

    def __init__(self, folder: Path, outcome: Outcome) -> None:
        self.outcome = outcome
        self.summary = outcome.summary
        self.tracks = (folder / "tracks").read_bytes()
        self.pictures = (folder / "pictures").read_bytes() if (folder / "pictures").exists() else b""
        self.letters = [json.loads(line) for line in (folder / "letters").read_bytes().splitlines()]
        assert json.loads((folder / "summary").read_bytes()) == json.loads(json.dumps(outcome.summary))
        assert accounted(self.summary), self.summary


def accounted(summary: dict[str, Any]) -> bool:
    return bool(summary["records_in"] == sum(summary[part] for part in PARTS))


def run(
    folder: Path,
    *inputs: Path | str,
    stop: Stop | None = None,
    after: int | None = None,
    pictures: bool = True,
    **job: Any,
) -> Run:
    """Fuse into files of a folder; with `after` the run is stopped once so many chunks were fused.

    Without `pictures` no pictures are made: of damaged times there could be millions.
    """
    folder.mkdir(exist_ok=True)
    calls = 0
    stop = stop or Stop()

    def progress(done: int, total: int | None, detections: int) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            stop.request()

    config = Config.of({"picture_interval_s": 30.0 if pictures else None, **job.pop("config", {})})
    values: dict[str, Any] = {
        "inputs": tuple(map(str, inputs)),
        "out": str(folder / "tracks"),
        "picture": str(folder / "pictures") if pictures else None,
        "deadletter": str(folder / "letters"),
        "summary": str(folder / "summary"),
        "sources": SOURCES,
        "config": config,
    }
    return Run(folder, fuse(FuseJob(**(values | job)), stop, progress))


def write(path: Path, rows: Sequence[bytes]) -> Path:
    path.write_bytes(b"".join(rows))
    return path


def small_chunks(monkeypatch: Any, items: int = 4, block_bytes: int = 1200) -> None:
    """Chunks of a few looks, so that a small file has many."""
    monkeypatch.setattr(pipeline, "chunk_limit", lambda inputs: items)
    monkeypatch.setattr("apss_fusion.replay.pipeline_inputs.BLOCK_BYTES", block_bytes)
