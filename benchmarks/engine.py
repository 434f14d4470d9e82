"""Engine only: looks are encoded beforehand, updates are made but not written. CPU time of one thread."""

from __future__ import annotations

import time
from itertools import islice

from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from benchmarks.scenes import SOURCES, reports, sea, sea_config

#: Reports that are handed over at once.
CHUNK = 8192


def scans_per_s(n: int, scans: int) -> tuple[float, float]:
    """(detections a CPU second from the sixth scan on, updates a detection)."""
    engine = Engine(Config.of(sea_config(n)), SOURCES)
    batches = [engine.encode([look]) for look in sea(n, scans)]
    cpu, detections, updates = 0.0, 0, 0
    for k, batch in enumerate(batches):
        # The look fused in this call is the one before: with no lag, a later one must have arrived.
        start = time.process_time()
        out = engine.process_many(batch)
        if k > 5:
            cpu += time.process_time() - start
            detections += len(batches[k - 1].detections)
            updates += len(out)
    return detections / cpu, updates / detections


def reports_per_s(objects: int, total: int) -> tuple[float, int]:
    """(reports a CPU second, tracks) over the reports after each ship has reported once."""
    engine = Engine(Config.of({"lag_s": 0.0}), SOURCES)
    source = reports(objects, total)
    cpu, done, counted = 0.0, 0, 0
    while chunk := list(islice(source, CHUNK)):
        batch: LookBatch = engine.encode(chunk)
        start = time.process_time()
        engine.process_many(batch)
        if done >= objects:
            cpu += time.process_time() - start
            counted += len(chunk)
        done += len(chunk)
    return counted / cpu, sum(engine.counts().values())


def main() -> None:
    """Print the table."""
    scans_per_s(200, 8)
    reports_per_s(200, 20_000)
    print("| engine only | a CPU second |")
    print("|---|---|")
    for n in (1_000, 10_000, 100_000):
        rate, share = scans_per_s(n, 20 if n < 100_000 else 12)
        print(f"| sea, {n:,} ships: detections | {rate:,.0f} ({share:.2f} updates each) |", flush=True)
    for objects, total in ((50_000, 400_000), (500_000, 1_200_000)):
        rate, tracks = reports_per_s(objects, total)
        print(f"| reports one by one, {objects:,} objects | {rate:,.0f} ({tracks:,} tracks) |", flush=True)


if __name__ == "__main__":
    main()
