"""What the tests of the engine's core share: covariances, looks, ways to run an engine, and random scenarios."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Geod

from apss_fusion.model import Detection, Ellipse, Look, Source, TrackUpdate
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine

WGS84 = Geod(ellps="WGS84")
T0 = datetime(2026, 1, 1, tzinfo=UTC)

# ---------------------------------------------------------------------------------------- covariances

#: Fields of a covariance of (e, n, a, b), upper triangle by rows.
TRIANGLE = ("ee", "en", "ea", "eb", "nn", "na", "nb", "aa", "ab", "bb")


def covariance(rng: np.random.Generator) -> NDArray[np.float64]:
    """A random covariance of (e, n, a, b): position sigmas from 1 m to 10 km, velocities from 0.01 to 30 m/s."""
    m = rng.standard_normal((4, 6))
    p = m @ m.T + 1e-3 * np.eye(4)
    share = rng.uniform(0.3, 1.0, 4)
    sigma = share * np.repeat([10.0 ** rng.uniform(0.0, 4.0), 10.0 ** rng.uniform(-2.0, 1.5)], 2)
    d = sigma / np.sqrt(np.diag(p))
    return p * np.outer(d, d)


def covariance_of(row: np.void) -> NDArray[np.float64]:
    """The covariance of a state, prediction or posterior row as a matrix (4, 4)."""
    return matrix([row[k] for k in TRIANGLE])


def matrix(triangle: Sequence[float]) -> NDArray[np.float64]:
    """The symmetric matrix (4, 4) of an upper triangle by rows, as in `cov_enu`."""
    p = np.zeros((4, 4))
    p[np.triu_indices(4)] = triangle
    return p + np.triu(p, 1).T


def set_covariance(row: np.void, p: NDArray[np.float64]) -> None:
    """Write the matrix (4, 4) into a row."""
    for k, v in zip(TRIANGLE, p[np.triu_indices(4)], strict=True):
        row[k] = v


def assert_same_covariance(
    got: NDArray[np.float64], want: NDArray[np.float64], scale: NDArray[np.float64] | None = None
) -> None:
    """Equal within 1e-9 of the product of the sigmas (of `scale`, or of `want`)."""
    sigma = np.sqrt(np.diag(want if scale is None else scale))
    assert np.abs((got - want) / np.outer(sigma, sigma)).max() < 1e-9


# ---------------------------------------------------------------------------------------- places


def at(seconds: float) -> datetime:
    """A time, seconds after `T0`."""
    return T0 + timedelta(microseconds=round(seconds * 1e6))


def go(lat: float, lon: float, azimuth_deg: float, distance_m: float) -> tuple[float, float]:
    """(lat, lon) reached along a geodesic."""
    end_lon, end_lat, _ = WGS84.fwd(lon, lat, azimuth_deg, distance_m)
    return end_lat, end_lon


def shift(lat: float, lon: float, east_m: float, north_m: float) -> tuple[float, float]:
    """(lat, lon) that lies so far east and north."""
    return go(lat, lon, math.degrees(math.atan2(east_m, north_m)), math.hypot(east_m, north_m))


def distance_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Geodesic distance."""
    return float(WGS84.inv(lon, lat, other_lon, other_lat)[2])


def disc(lat: float, lon: float, radius_m: float, corners: int = 12) -> dict[str, Any]:
    """A polygon about a place, anywhere on the globe."""
    ring = [go(lat, lon, 360.0 - 360.0 * k / corners, radius_m)[::-1] for k in range(corners)]
    return {"type": "Polygon", "coordinates": [[list(p) for p in [*ring, ring[0]]]]}


# ---------------------------------------------------------------------------------------- looks

#: No source may be late: an engine releases a look as soon as a later one arrives.
SOURCES = {
    "ais": Source(
        modality="AIS", domains=("SEA",), max_latency_s=0.0, releasable_to=("LUX", "BEL", "FRA", "NLD", "DEU")
    ),
    "ais-2": Source(modality="AIS", domains=("SEA",), max_latency_s=0.0, releasable_to=("LUX",)),
    "adsb": Source(modality="ADSB", domains=("AIR",), max_latency_s=0.0),
    "sar": Source(modality="SAR", domains=("SEA",), max_latency_s=0.0, p_detect=0.9, clutter_per_km2=1e-4),
    "eo": Source(modality="EO", max_latency_s=0.0, p_detect=0.8, clutter_per_km2=1e-4),
    "rf": Source(modality="RF", max_latency_s=0.0, may_initiate=False, p_detect=0.5, clutter_per_km2=1e-6),
    "gmti": Source(modality="GMTI", max_latency_s=0.0, p_detect=0.9, clutter_per_km2=1e-3),
    "radar": Source(modality="RADAR", domains=("AIR",), max_latency_s=0.0, p_detect=0.95, clutter_per_km2=1e-5),
}


def with_latency(seconds: float) -> dict[str, Source]:
    """`SOURCES` whose looks may come that late."""
    return {name: msgspec.structs.replace(source, max_latency_s=seconds) for name, source in SOURCES.items()}


def seen(lat: float, lon: float, name: str = "d", domain: str = "SEA", **fields: Any) -> Detection:
    """A detection."""
    return Detection(detection_id=name, lat=lat, lon=lon, domain=domain, **fields)  # type: ignore[arg-type]


def report(t: float, lat: float, lon: float, mmsi: str | None, source: str = "ais", **fields: Any) -> Look:
    """A look with one detection by which a ship reports itself, t seconds after `T0`."""
    ids = {"ids": {"mmsi": mmsi}} if mmsi else {}
    name = f"{source}-{mmsi}-{round(t * 1e6)}"
    return Look(look_id=name, source_id=source, time=at(t), detections=(seen(lat, lon, **(ids | fields)),))


def scan(
    t: float, footprint: dict[str, Any] | None, *detections: Detection, source: str = "sar", **fields: Any
) -> Look:
    """A look at an area."""
    values = {"look_id": f"{source}-{round(t * 1e6)}"} | fields
    return Look(source_id=source, time=at(t), footprint=footprint, detections=detections, **values)


def tick(t: float, source: str = "ais") -> Look:
    """An empty look without footprint: nothing is learned of anything, only time goes on."""
    return Look(look_id=f"tick-{source}-{round(t * 1e6)}", source_id=source, time=at(t))


# ---------------------------------------------------------------------------------------- running


def config(**overrides: Any) -> Config:
    """The default configuration with some keys replaced."""
    return Config.of(overrides)


def engine(sources: dict[str, Source] | None = None, **overrides: Any) -> Engine:
    """A new engine with `SOURCES`, or others."""
    return Engine(config(**overrides), SOURCES if sources is None else sources)


def fused(looks: Iterable[Look], sources: dict[str, Source] | None = None, **overrides: Any) -> list[TrackUpdate]:
    """The updates of a new engine that is given these looks, to their end."""
    e = engine(sources, **overrides)
    return [*e.process_many(list(looks)), *e.flush()]


def lines(looks: Sequence[Look], cuts: Sequence[int] = (), e: Engine | None = None, **overrides: Any) -> bytes:
    """What is published, as it is written, where the looks are given in parts that end before these numbers."""
    e = e or engine(**overrides)
    out = []
    ends = [*sorted(cuts), len(looks)]
    for start, stop in zip([0, *ends], ends, strict=False):
        out.append(bytes(encode(e.process_many(looks[start:stop]))))
    out.append(bytes(encode(e.flush())))
    return b"".join(out)


def tracks_of(updates: Iterable[TrackUpdate]) -> dict[str, list[TrackUpdate]]:
    """Updates by track, in their order."""
    out: dict[str, list[TrackUpdate]] = {}
    for u in updates:
        out.setdefault(u.track_id, []).append(u)
    return out


# ---------------------------------------------------------------------------------------- random scenarios


class Scenario(NamedTuple):
    """A random scene of ships, scans and reports: looks in the order of their time."""

    seed: int
    ships: int
    steps: int

    def looks(self, lat: float = 50.0, lon: float = 0.0) -> list[Look]:
        """The looks, about a place."""
        rng = np.random.default_rng(self.seed)
        ships = [self._ship(rng, k) for k in range(self.ships)]
        out = [look for step in range(self.steps) for look in self._step(rng, step, ships, lat, lon)]
        return sorted(out, key=lambda look: (look.time, look.source_id, look.look_id))

    def _ship(self, rng: np.random.Generator, k: int) -> dict[str, Any]:
        return {
            "x": rng.uniform(-25e3, 25e3, 2),
            "v": rng.normal(0.0, 6.0, 2),
            # Some never report, and two share an identity.
            "mmsi": None if rng.random() < 0.3 else str(200_000_000 + max(k, 1)),
            "length": float(rng.integers(20, 300)),
        }

    def _step(
        self, rng: np.random.Generator, step: int, ships: list[dict[str, Any]], lat: float, lon: float
    ) -> list[Look]:
        out = []
        t = 240.0 * step + float(rng.integers(0, 60))
        for k, ship in enumerate(ships):
            when = t + float(rng.integers(0, 120)) + 0.25
            here = ship["x"] + ship["v"] * when
            if ship["mmsi"] and rng.random() < 0.8:
                error = rng.normal(0.0, 10.0, 2)
                speed, course = math.hypot(*ship["v"]), math.degrees(math.atan2(*ship["v"])) % 360.0
                kinematics: dict[str, Any] = {}
                if rng.random() < 0.7:
                    kinematics = {"speed_mps": round(speed, 1), "course_deg": round(course, 1)}
                look = report(when, *shift(lat, lon, *(here + error)), ship["mmsi"], **kinematics)
                out.append(msgspec.structs.replace(look, look_id=f"{look.look_id}-{k}"))
            if rng.random() < 0.1:
                spot = seen(
                    *shift(lat, lon, *(here + rng.normal(0.0, 2_000.0, 2))),
                    domain="UNKNOWN",
                    ellipse=Ellipse(6_000.0, 3_000.0, float(rng.integers(0, 180))),
                )
                out.append(scan(when + 1.0, None, spot, source="rf", look_id=f"rf-{step}-{k}"))
        kind = rng.random()
        if kind < 0.6:
            out.append(self._scan(rng, step, t + 130.0, ships, lat, lon))
        elif kind < 0.7:
            out.append(scan(t + 130.0, disc(*shift(lat, lon, *rng.uniform(-2e4, 2e4, 2)), 15e3, 5), source="eo"))
        return out

    def _scan(
        self, rng: np.random.Generator, step: int, t: float, ships: list[dict[str, Any]], lat: float, lon: float
    ) -> Look:
        middle, radius = rng.uniform(-2e4, 2e4, 2), float(rng.uniform(8e3, 30e3))
        found = []
        for k, ship in enumerate(ships):
            here = ship["x"] + ship["v"] * t
            if math.hypot(*(here - middle)) < 0.9 * radius and rng.random() < 0.9:
                fields: dict[str, Any] = {}
                if rng.random() < 0.5:
                    fields["length_m"] = round(ship["length"] * rng.uniform(0.9, 1.1), 1)
                if rng.random() < 0.3:
                    fields["time"] = at(t + 2.5)
                found.append(seen(*shift(lat, lon, *(here + rng.normal(0.0, 50.0, 2))), f"s{k}", **fields))
        for k in range(rng.poisson(0.4)):
            found.append(seen(*shift(lat, lon, *(middle + rng.uniform(-0.5, 0.5, 2) * radius)), f"c{k}"))
        foot = disc(*shift(lat, lon, *middle), radius, int(rng.integers(3, 9)))
        return scan(t, foot, *found, source="sar", look_id=f"sar-{step}")


def scenarios(ships: int = 8, steps: int = 12) -> st.SearchStrategy[Scenario]:
    """Random scenarios of at most so many ships and steps of four minutes."""
    return st.builds(Scenario, st.integers(0, 2**20), st.integers(1, ships), st.integers(3, steps))


def delayed(looks: Sequence[Look], rng: np.random.Generator, most_s: float) -> list[Look]:
    """The looks in an order of arrival: each comes up to `most_s` seconds after its time."""
    arrivals = [look.time + timedelta(microseconds=int(rng.integers(0, int(most_s * 1e6) + 1))) for look in looks]
    late = [msgspec.structs.replace(look, time_received=t) for look, t in zip(looks, arrivals, strict=True)]
    return [late[k] for k in sorted(range(len(late)), key=lambda k: (arrivals[k], k))]
