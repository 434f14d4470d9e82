"""``python -m apss_fusion.warm``: compile all kernels now, so that no first run has to.

A small constellation is simulated, fused and compared with its truth, and a made-up sea goes through every reader and
writer, until each kernel was called with each of its kinds of arguments.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from apss_fusion.evaluation import evaluate
from apss_fusion.geodesy.wgs84 import moved, offset
from apss_fusion.model import Detection, Ellipse, Look, Source
from apss_fusion.replay.pipeline import FuseJob, fuse
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.replay.pipeline_looks import LooksJob, decode
from apss_fusion.simulation import Scenario, run
from apss_fusion.simulation.scenario import (
    AdsbReceiver,
    AisReceiver,
    Camera,
    Direction,
    Imager,
    MovingTargetRadar,
    Orbit,
    Satellite,
    Traffic,
)
from apss_fusion.smoothing import smooth_file
from apss_fusion.tracking.config import Config

_START = datetime(2026, 1, 1, tzinfo=UTC)
#: More than the arrays of an engine hold at first, so that they grow.
_SHIPS = 3000
_SOURCES = {
    "ais": Source(modality="AIS", domains=("SEA",), max_latency_s=5.0),
    "adsb": Source(modality="ADSB", domains=("AIR",), max_latency_s=5.0),
    "sar": Source(modality="SAR", domains=("SEA",), max_latency_s=5.0),
    "gmti": Source(modality="GMTI", max_latency_s=5.0),
}


def main() -> None:
    """Compile, and print one line."""
    began_s = time.process_time()
    with TemporaryDirectory() as name:
        folder = Path(name)
        _constellation(folder)
        _sea(folder)
        # Kernels that else are only called by others.
        moved(1.0, 0.0, 0.0, *offset(1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    print(f"kernels ready in {time.process_time() - began_s:.1f} CPU s")


def _constellation(folder: Path) -> None:
    over = Orbit(over_at_s=300.0)
    sensors: dict[str, Any] = {
        "sar": Imager(near_km=100.0, clutter_per_km2=1e-4),
        "eo": Camera(),
        "ais": AisReceiver(),
        "adsb": AdsbReceiver(),
        "rf": Direction(),
        "gmti": MovingTargetRadar(),
    }
    scenario = Scenario(
        duration_s=600.0,
        traffic=Traffic(ships=60, aircraft=6, vehicles=10),
        satellites=tuple(Satellite(name=name, sensor=sensor, orbit=over) for name, sensor in sensors.items()),
    )
    run(scenario, folder)
    _fuse(folder / "looks.ndjson", folder / "tracks.ndjson")
    evaluate(folder / "truth.ndjson", folder / "tracks.ndjson")
    smooth_file(str(folder / "tracks.ndjson"), str(folder / "smoothed.ndjson"), Config.of())


def _sea(folder: Path) -> None:
    looks = folder / "sea.ndjson"
    rows = [look_json(look) for look in _looks()]
    half = len(rows) // 2
    looks.write_bytes(b"".join(rows))
    (folder / "1").write_bytes(b"".join(rows[:half]))
    (folder / "2").write_bytes(b"".join(rows[half:]))
    state = str(folder / "state")
    _fuse(folder / "1", folder / "tracks", save=state)
    _fuse(folder / "2", folder / "tracks", resume=state)
    # Two inputs are merged; in a format of another kind, looks are made one by one.
    reports = folder / "reports.csv"
    header = b"MMSI,BaseDateTime,LAT,LON,SOG,COG,Heading\n"
    reports.write_bytes(header + b"".join(b"235000001,2026-01-01T00:0%d:00,50.0,-1.0,5.0,0,0\n" % k for k in range(9)))
    _fuse(looks, folder / "tracks.gz", reports)
    if find_spec("pyarrow") is not None:
        for name in ("sea.parquet", "sea.arrow"):
            decode(LooksJob(inputs=(str(looks),), out=str(folder / name)))
            _fuse(folder / name, folder / "tracks.parquet")


def _fuse(looks: Path, out: Path, *more: Path, **job: Any) -> None:
    config = Config.of({"picture_interval_s": 60.0, "tentative": True})
    inputs = tuple(map(str, (looks, *more)))
    values: dict[str, Any] = {
        "inputs": inputs,
        "out": str(out),
        "picture": f"{out}.pictures",
        "config": config,
        "sources": _SOURCES,
    }
    fuse(FuseJob(**(values | job)))


def _looks() -> Iterator[Look]:
    """Ships, aircraft and vehicles in looks of every kind, one of them late, one a duplicate, some of them bad."""
    last: Look | None = None
    for step in range(4):
        moment = _START + timedelta(seconds=30 * step)
        for number in range(_SHIPS):
            lat, lon = -60.0 + 0.04 * number + 1e-3 * step, -179.99 + 0.12 * number
            ids = {"mmsi": str(200_000_000 + number)}
            at_sea: dict[str, Any] = {"domain": "SEA", "speed_mps": 4.0, "course_deg": 0.0, "ids": ids}
            yield _look("ais", f"a{step}-{number}", moment, Detection(detection_id="0", lat=lat, lon=lon, **at_sea))
        for number in range(20):
            in_the_air: dict[str, Any] = {
                "domain": "AIR",
                "alt_m": 9_000.0 + number,
                "alt_datum": "BARO",
                "vertical_rate_mps": 1.0,
                "speed_mps": 220.0,
                "course_deg": 90.0,
                "ids": {"icao24": f"4ca{number:03x}"},
            }
            place = Detection(detection_id="0", lat=50.0 + number, lon=0.1 * step, **in_the_air)
            yield _look("adsb", f"f{step}-{number}", moment, place)
        yield _scan(step, moment)
        last = _movers(step, moment)
        yield last
    if last is not None:
        yield last
        yield _look("ais", "late", _START - timedelta(hours=1))


def _look(source_id: str, look_id: str, moment: datetime, *detections: Detection, **more: Any) -> Look:
    return Look(look_id=look_id, source_id=source_id, time=moment, detections=detections, **more)


def _square(lat: float, lon: float, half: float) -> list[list[list[float]]]:
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    return [[[lon + half * x, lat + half * y] for x, y in corners]]


def _scan(step: int, moment: datetime) -> Look:
    seen = [
        Detection(
            detection_id=str(k),
            lat=10.0 + 0.01 * (k % 40) + 1e-4 * step,
            lon=20.0 + 0.02 * (k // 40),
            domain="SEA",
            length_m=80.0,
            width_m=12.0,
            ellipse=Ellipse(90.0, 60.0, 30.0),
            class_probs={"cargo": 0.7, "tanker": 0.2},
            detection_prob=0.9,
        )
        for k in range(1200)
    ]
    footprint = {"type": "MultiPolygon", "coordinates": [_square(10.3, 20.3, 1.0), _square(40.0, 179.9, 0.05)]}
    return _look("sar", f"s{step}", moment, *seen, footprint=footprint, p_detect=0.9, clutter_per_km2=1e-4)


def _movers(step: int, moment: datetime) -> Look:
    seen = [
        Detection(
            detection_id=str(k),
            time=moment + timedelta(milliseconds=k),
            lat=39.5 + 0.01 * k,
            lon=3.0 + 1e-4 * step,
            cov_enu_m2=(400.0, 10.0, 900.0),
            range_rate_mps=3.0,
            range_rate_sigma_mps=0.4,
            los_az_deg=45.0,
            los_el_deg=30.0,
            alt_m=100.0,
            alt_datum="HAE",
        )
        for k in range(20)
    ]
    footprint = {"type": "Polygon", "coordinates": _square(39.6, 3.0, 0.3)}
    return _look("gmti", f"g{step}", moment, *seen, footprint=footprint, min_detectable_speed_mps=1.5)


if __name__ == "__main__":
    main()
