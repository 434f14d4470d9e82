"""Compile every kernel once: ``python -m apss_fusion.warm``, part of ``make setup`` and of building an image."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from apss_fusion.evaluation import evaluate
from apss_fusion.model import Detection, Look, Source
from apss_fusion.outputs import open_track_writer
from apss_fusion.replay.looks_columns import read_look_blocks
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine

START = datetime(2026, 1, 1, tzinfo=UTC)
SOURCES = {
    "reports": Source(modality="AIS", domains=("SEA", "AIR"), max_latency_s=0.0),
    "scanner": Source(modality="SAR", domains=("SEA", "GROUND"), max_latency_s=0.0),
}
SQUARE = {"type": "Polygon", "coordinates": [[[0.5, 49.5], [1.5, 49.5], [1.5, 50.5], [0.5, 50.5], [0.5, 49.5]]]}


def looks() -> Iterator[Look]:
    """Two ships and an aircraft that report themselves, and scans of the same sea with a few things more."""
    for k in range(6):
        time_ = START + timedelta(seconds=60 * k)
        for ship in range(2):
            name = f"report-{k}-{ship}"
            d = Detection(
                detection_id=name,
                lat=50.0 + 0.005 * k,
                lon=1.0 + 0.1 * ship,
                speed_mps=9.3,
                course_deg=0.0,
                domain="SEA",
                ids={"mmsi": f"23500000{ship}"},
                class_probs={"cargo": 0.9},
                length_m=100.0,
            )
            yield Look(look_id=name, source_id="reports", time=time_, detections=(d,))
        d = Detection(
            detection_id=f"air-{k}",
            lat=50.0,
            lon=1.0 + 0.2 * k,
            alt_m=9000.0,
            alt_datum="BARO",
            vertical_rate_mps=1.0,
            domain="AIR",
            ids={"icao24": "abcdef"},
        )
        yield Look(look_id=f"air-{k}", source_id="reports", time=time_, detections=(d,))
        seen = tuple(
            Detection(
                detection_id=f"{k}-{j}",
                lat=50.0 + 0.005 * k + 0.0004 * (j % 2),
                lon=0.8 + 0.05 * j,
                range_rate_mps=3.0 if j == 0 else None,
                los_az_deg=10.0,
                domain="SEA",
                length_m=90.0,
            )
            for j in range(8)
        )
        scan_time = time_ + timedelta(seconds=20)
        yield Look(
            look_id=f"scan-{k}", source_id="scanner", time=scan_time, footprint=SQUARE, p_detect=0.9, detections=seen
        )


def main() -> None:
    """Run a small scene through reader, engine, writer and evaluation."""
    began = time.process_time()
    scene = list(looks())
    text = b"".join(msgspec.json.encode(look) + b"\n" for look in scene)
    engine = Engine(Config.of({"picture_interval_s": 60.0}), SOURCES)
    with tempfile.TemporaryDirectory() as folder:
        tracks, truth = Path(folder) / "tracks.ndjson", Path(folder) / "truth.ndjson"
        with open_track_writer(tracks) as out:
            for block in read_look_blocks(io.BytesIO(text), engine.encoder):
                out.write(engine.process_many(block.batch))
            out.write(engine.process_many(scene[:1]))
            out.write(engine.flush())
        resumed = Engine(Config.of(), SOURCES)
        resumed.load(engine.changes())
        line = {
            "time": "2026-01-01T00:05:00.000000Z",
            "objects": [{"id": "a", "lat": 50.025, "lon": 1.0, "domain": "SEA"}],
        }
        truth.write_bytes(msgspec.json.encode(line) + b"\n")
        evaluate(truth, tracks, None)
    print(f"kernels ready in {time.process_time() - began:.1f} CPU s")


if __name__ == "__main__":
    main()
