"""The filter core on a published linear-Gaussian scenario: ``python -m benchmarks.published DIR --out EST``.

DIR holds `params.json` (F, Q, R, pd, ps, lambda_c, area, birth, init) and `detections.ndjson` (a line a scan). The plane of the
scenario is laid on the ellipsoid about 45 N, 30 E; every scan becomes a look with a footprint, and the same `Engine` fuses it.
EST gets one line a scan, as known at that scan: {"scan": k, "ids": [...], "xy": [[x, y], ...]}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import geodetic, moved, nvectors, offset
from apss_fusion.kernels import kernel
from apss_fusion.model import Detection, Look, PictureTrack, Source
from apss_fusion.tracking.batch import LookBatch
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.undetected import Gaussian, MixtureBirths

ORIGIN_LAT, ORIGIN_LON = 45.0, 30.0
START = datetime(2026, 1, 1, tzinfo=UTC)
#: Objects leave the area of a scenario; the sensor sees them this far outside, as a share of its side.
MARGIN = 1.0
#: With a quadratic metric, objects are reported from this existence on.
REPORT = 0.4
#: Tracks that exist less likely than this are not counted either.
LEAST = 0.01


@kernel
def _plane_to_globe(c: NDArray[np.float64], xy: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for k in range(len(xy)):
        out[k, 0], out[k, 1], out[k, 2] = moved(c[0], c[1], c[2], xy[k, 0], xy[k, 1])


@kernel
def _globe_to_plane(c: NDArray[np.float64], n: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for k in range(len(n)):
        out[k, 0], out[k, 1] = offset(c[0], c[1], c[2], n[k, 0], n[k, 1], n[k, 2])


class Plane:
    """A scenario's plane on the ellipsoid, its centre at the origin of the map; exact inverses of each other."""

    def __init__(self, area: list[list[float]]) -> None:
        self.centre = np.array([(low + high) / 2 for low, high in area])
        self.sides = np.array([high - low for low, high in area])
        self._n = nvectors(np.array([ORIGIN_LAT]), np.array([ORIGIN_LON]))[0]

    def geodetic(self, xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(lat, lon) in degrees of plane positions (m, 2)."""
        out = np.empty((len(xy), 3))
        _plane_to_globe(self._n, np.ascontiguousarray(xy - self.centre), out)
        return geodetic(out)

    def xy(self, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
        """Plane positions (m, 2) of positions in degrees."""
        out = np.empty((len(lat), 2))
        _globe_to_plane(self._n, nvectors(lat, lon), out)
        out += self.centre
        return out

    def footprint(self) -> dict[str, Any]:
        """The area and its margin as a GeoJSON polygon."""
        half = self.sides * (0.5 + MARGIN)
        corners = self.centre + half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
        lat, lon = self.geodetic(corners)
        return {"type": "Polygon", "coordinates": [[[b, a] for a, b in zip(lat.tolist(), lon.tolist(), strict=True)]]}


class Variant(NamedTuple):
    """What of the filter may be tried otherwise; the defaults are the row that is quoted."""

    setting: str = "accurate"
    #: Factors of the bank of process noises.
    bank: tuple[float, ...] = (1.0,)
    #: Keys of `accurate`.
    accurate: tuple[tuple[str, float], ...] = ()
    #: What the given birth rate is worth, in births; 0: it is not learned.
    memory: float = 3.0
    #: Objects that appear anywhere in the area, a scan.
    anywhere: float = 0.01


#: The row that is quoted.
QUOTED = Variant()


def configuration(params: dict[str, Any], variant: Variant) -> Config:
    """The engine's configuration that says what params.json says."""
    step_s = params["T"]
    q = np.array(params["Q"])
    piecewise = abs(q[0, 0] * q[1, 1] - q[0, 1] ** 2) < 1e-9 * q[0, 0] * q[1, 1]
    speed_var = float(np.mean([b["P"][1] for b in params["birth"]]))
    area_km2 = float(np.prod([high - low for low, high in params["area"]])) * 1e-6
    expected, appearing = (sum(c["w"] for c in params[name]) for name in ("init", "birth"))
    return Config.of(
        {
            "lag_s": 0.0,
            "hold_back": True,
            "filter": variant.setting,
            "accurate": {
                "noise_factors": variant.bank,
                "histories": 2 + len(variant.bank),
                "least_factor": 0.001,
                **dict(variant.accurate),
            },
            # What the globe needs floors for (thin priors, dense clutter, many tracks) is known here.
            "tracking": {
                "gate": 20.0,
                "edge_floor": 1e-7,
                "edge_dominated": 1e-7,
                "birth_min": 1e-9,
                "sweeps": 200 if "uniform_birth" not in params else 16,
            },
            "domain": {
                "SEA": {
                    "q": float(q[1, 1]) / step_s,
                    "noise": "piecewise" if piecewise else "continuous",
                    "return_s": 0.0,
                    "departure_s": -step_s / float(np.log(params["ps"])),
                    "birth_speed_sigma_mps": float(np.sqrt(speed_var)),
                    "limit95_m": 1e7,
                    "max_speed_mps": 1e3,
                    # A swept cell fills again at the birth rate.
                    "undetected_per_km2": expected / area_km2,
                    "arrival_s": step_s * expected / appearing,
                }
            },
        }
    )


def births(params: dict[str, Any], plane: Plane, variant: Variant) -> MixtureBirths | None:
    """Where objects are and appear: the scenario's Gaussians, and a little everywhere, so that a lost object is found again.

    None where the scenario says that objects appear evenly: the cells of the globe say that.
    """
    if params.get("uniform_birth"):
        return None
    return MixtureBirths(
        initial=gaussians(params["init"], plane),
        births=gaussians(params["birth"], plane),
        step_s=params["T"],
        start_s=START.timestamp() + (0.0 if params["predict_before_first_scan"] else params["T"]),
        births_everywhere=variant.anywhere / float(np.prod(plane.sides)),
        memory=variant.memory,
        least=1e-4,
    )


def gaussians(parts: list[dict[str, Any]], plane: Plane) -> tuple[Gaussian, ...]:
    """Gaussians over (x, vx, y, vy) as those over (e, n, ve, vn) on the ellipsoid."""
    lat, lon = plane.geodetic(np.array([[p["m"][0], p["m"][2]] for p in parts], float))
    out = []
    for p, a, b in zip(parts, lat.tolist(), lon.tolist(), strict=True):
        x, vx, y, vy = p["P"]
        rows = tuple(tuple(row) for row in np.diag([x, y, vx, vy]).tolist())
        out.append(Gaussian(p["w"], a, b, (p["m"][1], p["m"][3]), rows))
    return tuple(out)


def looks(params: dict[str, Any], scans: Sequence[NDArray[np.float64]], plane: Plane) -> Iterator[Look]:
    """A look of every scan, of its detections (m, 2)."""
    r = params["R"]
    footprint = plane.footprint()
    clutter = params["lambda_c"] / float(np.prod(plane.sides)) * 1e6
    for number, z in enumerate(scans, start=1):
        lat, lon = plane.geodetic(z.reshape(-1, 2))
        detections = tuple(
            Detection(detection_id=f"{number}-{k}", lat=a, lon=b, cov_enu_m2=(r, 0.0, r), domain="SEA")
            for k, (a, b) in enumerate(zip(lat.tolist(), lon.tolist(), strict=True))
        )
        yield Look(
            look_id=f"scan-{number}",
            source_id="sensor",
            time=START + timedelta(seconds=number * params["T"]),
            footprint=footprint,
            p_detect=params["pd"],
            clutter_per_km2=clutter,
            detections=detections,
        )


def estimates(folder: Path, setting: str = "accurate") -> Iterator[dict[str, Any]]:
    """A line of EST for each scan of a folder."""
    return estimates_of(*written(folder), Variant(setting))


def written(folder: Path) -> tuple[dict[str, Any], list[NDArray[np.float64]]]:
    """What params.json says, and the detections (m, 2) of every scan of a folder."""
    lines = map(json.loads, (folder / "detections.ndjson").read_text().splitlines())
    return json.loads((folder / "params.json").read_text()), [np.array(line["xy"], float) for line in lines]


def estimates_of(
    params: dict[str, Any], scans: Sequence[NDArray[np.float64]], variant: Variant = QUOTED
) -> Iterator[dict[str, Any]]:
    """A line of EST for each scan, 1, 2, ..., of its detections (m, 2), as known at that scan."""
    plane = Plane(params["area"])
    engine = engine_of(params, plane, variant)
    yield from told(engine, engine.encode(list(looks(params, scans, plane))), params, plane)


def engine_of(params: dict[str, Any], plane: Plane, variant: Variant = QUOTED) -> Engine:
    """The engine for the looks of a scenario."""
    sources = {"sensor": Source(modality="RADAR", domains=("SEA",))}
    return Engine(configuration(params, variant), sources, births(params, plane, variant))


def told(
    engine: Engine, scans: LookBatch, params: dict[str, Any], plane: Plane, spent: list[float] | None = None
) -> Iterator[dict[str, Any]]:
    """A line of EST for each scan, 1, 2, ..., of its encoded look, as known at that scan.

    spent: takes the CPU seconds of fusing each, without telling what is known.
    """
    for k in range(len(scans)):
        began = time.process_time()
        engine.process_many(scans.take(k, k + 1))
        engine.flush()
        if spent is not None:
            spent.append(time.process_time() - began)
        at = START + timedelta(seconds=(k + 1) * params["T"])
        tracks = engine.tracks_at(round(at.timestamp() * 1e6), least_existence=LEAST)
        chosen = reported(tracks, params["metric"]["gospa_p"])
        xy = plane.xy(np.array([t.lat for t in chosen]), np.array([t.lon for t in chosen]))
        yield {"scan": k + 1, "ids": [t.track_id for t in chosen], "xy": xy.tolist()}


def reported(tracks: list[PictureTrack], p: float) -> list[PictureTrack]:
    """The tracks to report so that a metric of order p is small: the most probable number of them (1), or by existence (2)."""
    ranked = sorted(tracks, key=lambda t: -t.existence_prob)
    if p == 2:
        return [t for t in ranked if t.existence_prob > REPORT]
    number = np.ones(1)
    for t in ranked:
        r = min(t.existence_prob, 1.0 - 1e-12)
        number = np.convolve(number, (1.0 - r, r))
    return ranked[: int(number.argmax())]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--filter", choices=("accurate", "fast"), default="accurate")
    arguments = parser.parse_args()
    with arguments.out.open("w") as out:
        for line in estimates(arguments.folder, arguments.filter):
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
