"""Looks a second through a worker that has a backlog, beside the embedded engine from file to file."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from apss_fusion.streaming.clients import client_options
from benchmarks.measuring import table as print_table
from benchmarks.streaming.feeds import reports
from benchmarks.streaming.rig import Rig, Worker, wait_for

_SHIPS = 20_000
_CORE = 0


def table(folder: Path, options: argparse.Namespace) -> None:
    """Print the rates of both settings of the filter."""
    lines = list(reports(_SHIPS, max(options.looks // _SHIPS, 1)))
    looks = folder / "looks.ndjson"
    looks.write_bytes(b"\n".join(lines) + b"\n")
    rows = []
    for setting in ("fast", "accurate"):
        embedded = _embedded(looks, folder, setting)
        streamed, cpu_us = _streamed(lines, folder, setting)
        rows.append([setting, f"{embedded:,.0f}", f"{streamed:,.0f}", f"{streamed / embedded:.2f}", f"{cpu_us:.1f}"])
    print_table(
        f"Through a worker on one core: {len(lines):,} looks of one detection, {_SHIPS:,} ships, transactional, backlog",
        ["filter", "embedded, file to file, looks/s", "worker, looks/s", "ratio", "worker, CPU us a look"],
        rows,
    )


def _embedded(looks: Path, folder: Path, setting: str) -> float:
    summary = folder / "summary.json"
    sources = folder / "sources.toml"
    sources.write_text('[sources."ais-nmea"]\nmodality = "AIS"\ndomains = ["SEA", "AIR"]\nmax_latency_s = 7200\n')
    command = ["taskset", "-c", str(_CORE), sys.executable, "-m", "apss_fusion.cli", "fuse", str(looks)]
    command += ["--out", str(folder / "tracks.ndjson"), "--summary", str(summary), "--filter", setting]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return float(json.loads(summary.read_text())["detections_per_second"])


def _streamed(lines: list[bytes], folder: Path, setting: str) -> tuple[float, float]:
    """Looks a second from the first to the last transaction, by the broker's clock; CPU us a look of the process."""
    with Rig(folder, {"filter": setting}) as rig:
        asyncio.run(rig.produce(lines))
        worker = Worker(rig, _CORE)
        try:
            wait_for(worker.is_ready, 60.0, "a worker that is ready")
            worker.wait_for_looks(len(lines), 600.0)
            cpu_s = worker.cpu_s()
        finally:
            worker.stop()
        first_ms, last_ms, first_offset = _span(rig)
        done = len(lines) - first_offset
    return done / ((last_ms - first_ms) / 1e3), cpu_s / len(lines) * 1e6


def _span(rig: Rig) -> tuple[int, int, int]:
    """When the first and the last watermark were appended, ms, and how many looks the first one covers."""
    changelog = TopicPartition(rig.settings.topic("fuse-changelog"), 0)
    consumer = KafkaConsumer(**client_options(rig.settings), auto_offset_reset="earliest", enable_auto_commit=False)
    consumer.assign([changelog])
    end = consumer.end_offsets([changelog])[changelog]
    marks = []
    while consumer.position(changelog) < end:
        for records in consumer.poll(timeout_ms=1000).values():
            marks += [(r.timestamp, json.loads(r.value)["offset"]) for r in records if r.key == b"watermark"]
    consumer.close()
    return marks[0][0], marks[-1][0], marks[0][1] + 1
