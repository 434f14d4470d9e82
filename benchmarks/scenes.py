"""Scenes to measure on: a dense sea that is swept once a minute, and ships that report themselves, clustered as in ports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.model import Detection, Look, Source
from apss_fusion.replay.pipeline_lines import look_json
from benchmarks.published import Plane

START = datetime(2026, 1, 1, tzinfo=UTC)
SCAN_S = 60.0
SIGMA_M = 50.0
P_DETECT = 0.9
SOURCES = {
    "scanner": Source(modality="SAR", domains=("SEA",), max_latency_s=0.0),
    "ais": Source(modality="AIS", domains=("SEA",), max_latency_s=0.0),
}


def sea_config(n: int) -> dict[str, Any]:
    """The configuration that says what is true of `sea`."""
    density = 1.0 / 16.0
    return {
        "lag_s": 0.0,
        "hold_back": True,
        "domain": {
            "SEA": {
                "q": 0.01,
                "return_s": 0.0,
                "departure_s": SCAN_S / 0.001,
                "undetected_per_km2": density,
                "arrival_s": SCAN_S / 0.001,
                "interval_s": 60.0,
            }
        },
    }


def sea(n: int, scans: int = 20, seed: int = 3) -> Iterator[Look]:
    """One ship per (4 km)^2, 5 to 15 m/s, seen with probability 0.9 and 50 m, a tenth as many false detections."""
    rng = np.random.default_rng(seed)
    side = 4000.0 * float(np.sqrt(n))
    plane = Plane([[0.0, side], [0.0, side]])
    footprint = plane.footprint()
    speed, course = rng.uniform(5, 15, n), rng.uniform(0, 2 * np.pi, n)
    v = np.stack([speed * np.cos(course), speed * np.sin(course)], 1)
    x = rng.uniform(0, side, (n, 2)) - v * SCAN_S * (scans - 1) / 2
    root = np.linalg.cholesky(0.01 * np.array([[SCAN_S**3 / 3, SCAN_S**2 / 2], [SCAN_S**2 / 2, SCAN_S]]))
    for k in range(scans):
        if k:
            w = rng.standard_normal((n, 2, 2)) @ root.T
            x, v = x + v * SCAN_S + w[:, :, 0], v + w[:, :, 1]
        seen = x[rng.random(n) < P_DETECT]
        z = np.vstack(
            [seen + SIGMA_M * rng.standard_normal(seen.shape), rng.uniform(0, side, (rng.poisson(0.1 * n), 2))]
        )
        lat, lon = plane.geodetic(z[rng.permutation(len(z))])
        yield Look(
            look_id=f"scan-{k:03d}",
            source_id="scanner",
            time=START + timedelta(seconds=SCAN_S * k),
            footprint=footprint,
            p_detect=P_DETECT,
            clutter_per_km2=0.1 * n / side**2 * 1e6,
            detections=tuple(
                Detection(
                    detection_id=f"{k:03d}-{j:06d}",
                    lat=a,
                    lon=b,
                    cov_enu_m2=(SIGMA_M**2, 0.0, SIGMA_M**2),
                    domain="SEA",
                    length_m=100.0,
                )
                for j, (a, b) in enumerate(zip(lat.tolist(), lon.tolist(), strict=True))
            ),
        )


def _report_columns(objects: int, total: int, seed: int) -> tuple[NDArray[Any], ...]:
    rng = np.random.default_rng(seed)
    spots = 200
    spot_lat, spot_lon = np.degrees(np.arcsin(rng.uniform(-0.9, 0.9, spots))), rng.uniform(-180, 180, spots)
    spot = rng.integers(0, spots, objects)
    lat = np.clip(spot_lat[spot] + rng.standard_normal(objects), -84, 84)
    lon = spot_lon[spot] + 1.3 * rng.standard_normal(objects)
    speed, course = rng.uniform(0, 15, objects), rng.uniform(0, 2 * np.pi, objects)
    period = rng.choice([10.0, 30.0, 60.0, 180.0], objects, p=[0.2, 0.3, 0.3, 0.2])
    span = total / (1 / period).sum()
    count = np.ceil(span / period).astype(int)
    who = np.repeat(np.arange(objects), count)
    nth = np.concatenate([np.arange(c) for c in count])
    t = rng.uniform(0, 1, objects)[who] * period[who] + nth * period[who]
    order = np.argsort(t, kind="stable")[:total]
    who, t = who[order], t[order]
    noise = rng.standard_normal((len(t), 2)) * 10.0
    la = lat[who] + (speed[who] * np.cos(course[who]) * t + noise[:, 0]) / 111_200
    lo = lon[who] + (speed[who] * np.sin(course[who]) * t + noise[:, 1]) / (111_300 * np.cos(np.radians(la)))
    lo = (lo + 180) % 360 - 180
    sog = np.abs(speed[who] + 0.2 * rng.standard_normal(len(t)))
    return t, la, lo, sog, np.degrees(course[who]) % 360, who


def reports(objects: int, total: int, seed: int = 7) -> Iterator[Look]:
    """AIS-like reports about 200 ports over the globe, 0 to 15 m/s, every 10 to 180 s a ship, in order of time."""
    t, lat, lon, speed, course, who = _report_columns(objects, total, seed)
    ids = [{"mmsi": str(200_000_000 + k)} for k in range(objects)]
    columns = zip(
        t.tolist(),
        np.round(lat, 6).tolist(),
        np.round(lon, 6).tolist(),
        np.round(speed, 2).tolist(),
        np.round(course, 1).tolist(),
        who.tolist(),
        strict=True,
    )
    for k, (s, a, b, v, c, w) in enumerate(columns):
        name = f"ais-{k:09d}"
        d = Detection(
            detection_id=name,
            lat=a,
            lon=b,
            speed_mps=v,
            course_deg=c,
            heading_deg=float(k % 360),
            domain="SEA",
            ids=ids[w],
        )
        yield Look(look_id=name, source_id="ais", time=START + timedelta(seconds=s), detections=(d,))


def roll_call(objects: int, rounds: int = 3, seed: int = 11) -> Iterator[Look]:
    """Ships all over the globe that each report once in every minute, in turn: as many tracks, all of them confirmed."""
    rng = np.random.default_rng(seed)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-0.9, 0.9, objects))), rng.uniform(-180, 180, objects)
    speed, course = rng.uniform(0, 15, objects), rng.uniform(0, 2 * np.pi, objects)
    north, east = speed * np.cos(course) / 111_200, speed * np.sin(course) / (111_300 * np.cos(np.radians(lat)))
    start = np.arange(objects) * (60.0 / objects)
    for nth in range(rounds):
        t = start + 60.0 * nth
        noise = rng.standard_normal((objects, 2)) * 1e-4
        columns = (lat + north * t + noise[:, 0], (lon + east * t + noise[:, 1] + 180) % 360 - 180)
        rows = zip(t.tolist(), *(x.tolist() for x in (*columns, speed, np.degrees(course))), strict=True)
        for k, (s, a, b, v, c) in enumerate(rows):
            name = f"{nth}-{k:08d}"
            d = Detection(
                detection_id=name,
                lat=round(a, 6),
                lon=round(b, 6),
                speed_mps=round(v, 2),
                course_deg=round(c, 1),
                domain="SEA",
                ids={"mmsi": str(200_000_000 + k)},
            )
            yield Look(look_id=name, source_id="ais", time=START + timedelta(seconds=s), detections=(d,))


def write_looks(path: Path, looks: Iterable[Look]) -> tuple[int, int]:
    """Write looks as JSON lines, or as columns to a ``.parquet``; (looks, detections)."""
    n = detections = 0

    def counted() -> Iterator[Look]:
        nonlocal n, detections
        for look in looks:
            n, detections = n + 1, detections + len(look.detections)
            yield look

    if path.suffix == ".parquet":
        from apss_fusion.replay.look_file import LookFile

        with LookFile(path) as table:
            table.write(counted())
    else:
        with path.open("wb") as lines:
            lines.writelines(map(look_json, counted()))
    return n, detections
