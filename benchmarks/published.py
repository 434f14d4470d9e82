"""The filter core on a published linear-Gaussian scenario: ``python -m benchmarks.published DIR --out EST``.

DIR holds `params.json` (F, Q, R, pd, ps, lambda_c, area, birth, init) and `detections.ndjson` (a line a scan). The plane of the
scenario is laid on the ellipsoid about 45 N, 30 E; every scan becomes a look with a footprint, and the same `Engine` fuses it.
EST gets one line a scan, as known at that scan: {"scan": k, "ids": [...], "xy": [[x, y], ...]}.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.wgs84 import geodetic, moved, nvectors, offset
from apss_fusion.kernels import kernel
from apss_fusion.model import Detection, Look, Source
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine

ORIGIN_LAT, ORIGIN_LON = 45.0, 30.0
START = datetime(2026, 1, 1, tzinfo=UTC)
#: Objects leave the area of a scenario; the sensor sees them this far outside, as a share of its side.
MARGIN = 0.05
REPORT = 0.5


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


def configuration(params: dict[str, Any]) -> Config:
    """The engine's configuration that says what params.json says."""
    step_s = params["T"]
    area_km2 = float(np.prod([b - a for a, b in params["area"]])) * 1e-6
    velocity_var = params["birth"][0]["P"][1]
    q = params["Q"][1][1] / step_s
    expected = sum(c["w"] for c in params["init"])
    birth = sum(c["w"] for c in params["birth"])
    return Config.of(
        {
            "lag_s": 0.0,
            "hold_back": True,
            "tentative": True,
            "domain": {
                "SEA": {
                    "q": q,
                    "return_s": 0.0,
                    "departure_s": -step_s / float(np.log(params["ps"])),
                    "birth_speed_sigma_mps": float(np.sqrt(velocity_var)),
                    "undetected_per_km2": expected / area_km2,
                    # A swept cell fills again at the birth rate: u0 (1 - exp(-T / arrival)) = birth a scan.
                    "arrival_s": step_s * expected / birth,
                    "max_speed_mps": 6.0 * float(np.sqrt(velocity_var)),
                }
            },
        }
    )


def looks(folder: Path, params: dict[str, Any], plane: Plane) -> Iterator[tuple[int, Look]]:
    """(scan, look) of every scan."""
    r = params["R"]
    footprint = plane.footprint()
    clutter = params["lambda_c"] / float(np.prod(plane.sides)) * 1e6
    for text in (folder / "detections.ndjson").read_text().splitlines():
        scan = json.loads(text)
        lat, lon = plane.geodetic(np.array(scan["xy"], float).reshape(-1, 2))
        detections = tuple(
            Detection(detection_id=f"{scan['scan']}-{k}", lat=a, lon=b, cov_enu_m2=(r, 0.0, r), domain="SEA")
            for k, (a, b) in enumerate(zip(lat.tolist(), lon.tolist(), strict=True))
        )
        yield (
            scan["scan"],
            Look(
                look_id=f"scan-{scan['scan']}",
                source_id="sensor",
                time=START + timedelta(seconds=scan["time_s"]),
                footprint=footprint,
                p_detect=params["pd"],
                clutter_per_km2=clutter,
                detections=detections,
            ),
        )


def estimates(folder: Path) -> Iterator[dict[str, Any]]:
    """A line of EST for each scan."""
    params = json.loads((folder / "params.json").read_text())
    plane = Plane(params["area"])
    engine = Engine(configuration(params), {"sensor": Source(modality="RADAR", domains=("SEA",))})
    for scan, look in looks(folder, params, plane):
        engine.process(look)
        engine.flush()
        tracks = engine.tracks_at(round(look.time.timestamp() * 1e6), least_existence=REPORT)
        xy = plane.xy(np.array([t.lat for t in tracks]), np.array([t.lon for t in tracks]))
        yield {"scan": scan, "ids": [t.track_id for t in tracks], "xy": xy.tolist()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.out.open("w") as out:
        for line in estimates(arguments.folder):
            out.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
