"""Objects that move exactly as the engine believes, seen by sensors of exactly the noise that they state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from apss_fusion.estimation.motion import STATE, predict, process_noise
from apss_fusion.geodesy.positions import moves
from apss_fusion.geodesy.wgs84 import geodetic, nvectors
from apss_fusion.model import Detection, Look, Source
from apss_fusion.model.look import Modality
from apss_fusion.tracking.config import Config

FloatArray = NDArray[np.float64]
START = datetime(2026, 1, 1, tzinfo=UTC)
START_S = START.timestamp()


class Setting(NamedTuple):
    """How objects of a domain are spread and seen."""

    domain: Any
    #: Between two objects, m: far beyond any gate.
    apart_m: float
    #: Seconds between two scans; least and most seconds between two reports.
    scan_s: float
    report_s: tuple[float, float]
    #: One-sigma errors of a scan's and a report's position, m; of a report's speed (m/s) and course (degrees).
    scan_m: float
    report_m: float
    speed_mps: float
    course_deg: float
    #: Where the objects are.
    middle: tuple[float, float] = (52.0, 179.0)


#: At 52 degrees north, about the antimeridian.
SETTINGS = {
    "SEA": Setting("SEA", 40e3, 300.0, (30.0, 600.0), 50.0, 10.0, 0.3, 3.0),
    "AIR": Setting("AIR", 150e3, 30.0, (5.0, 60.0), 150.0, 38.0, 1.5, 2.0),
    "GROUND": Setting("GROUND", 12e3, 30.0, (5.0, 60.0), 15.0, 10.0, 0.5, 3.0),
}
P_DETECT = 0.9
TIMES = 16
_MODALITIES: dict[str, Modality] = {"scan": "RADAR", "report": "AIS"}
SOURCES = {
    f"{kind}-{domain}": Source(modality=modality, domains=(s.domain,), max_latency_s=0.0)
    for domain, s in SETTINGS.items()
    for kind, modality in _MODALITIES.items()
}


class Scene(NamedTuple):
    """Looks in order of time, and the state of every object (a row of dtype STATE) at a time of its own."""

    domain: str
    looks: list[Look]
    #: By number: the last time at which it reports, or the time of the last scan.
    truth: list[NDArray[np.void]]


def object_of(detection_id: str) -> int:
    """The number of the object that was seen; -1 for a false detection."""
    return int(detection_id.partition("/")[0])


class Truth:
    """One object: its state steps from each time at which it is seen to the next by F and Q of that gap.

    These are the steps that the filter takes, as its noise (a velocity that begins to wander anew at every update) has no
    meaning between them.
    """

    def __init__(self, rng: np.random.Generator, place: FloatArray, setting: Setting, config: Config) -> None:
        d = config.domain[setting.domain]
        self.rng, self.q, self.g, self.great_circle = rng, d.q, 1.0 / d.return_s if d.return_s else 0.0, d.great_circle
        self.state = np.zeros(2, STATE)
        self.state[0]["x"], self.state[0]["y"], self.state[0]["z"] = place
        self.state[0]["a"], self.state[0]["b"] = rng.normal(0.0, d.birth_speed_sigma_mps, 2)
        self.begun = False

    def at(self, t: float) -> NDArray[np.void]:
        """The state t seconds after the start (a row of dtype STATE), not before that asked for last."""
        if self.begun and t == self.state[0]["t"]:
            return self.state[:1].copy()
        if not self.begun:
            self.state[0]["t"] = t
            self.begun = True
            return self.state[:1].copy()
        here, there = self.state
        qxx, qxv, qvv = process_noise(self.q, self.g, t - here["t"])
        root = np.linalg.cholesky(np.array([[qxx, qxv], [qxv, qvv]]))
        predict(here, t, self.q, self.g, self.great_circle, there)
        noise = root @ self.rng.standard_normal((2, 2))
        place = np.array([[there["x"], there["y"], there["z"]]])
        there["x"], there["y"], there["z"] = moves(place, np.ascontiguousarray(noise[:1]))[0]
        there["a"] += noise[1, 0]
        there["b"] += noise[1, 1]
        self.state[0] = there
        return self.state[:1].copy()


def reports(seed: int, count: int, setting: Setting, config: Config, tells: bool) -> Scene:
    """Objects that report their place, and their speed and course where they tell, at times of their own."""
    rng = np.random.default_rng(seed)
    looks, truth = [], []
    for n, place in enumerate(_places(setting, count)):
        own, t = Truth(rng, place, setting, config), float(rng.uniform(0.0, setting.report_s[1]))
        for k in range(TIMES):
            state = own.at(t)
            name = f"{n}/{k}"
            known = _velocity(rng, state, setting) if tells else {}
            detection = _seen(rng, state, setting.report_m, name, setting, ids={"mmsi": str(200_000_000 + n)}, **known)
            looks.append(
                Look(look_id=name, source_id=f"report-{setting.domain}", time=_time(t), detections=(detection,))
            )
            t = round(t + float(rng.uniform(*setting.report_s)), 6)
        truth.append(state)
    return Scene(setting.domain, sorted(looks, key=lambda look: (look.time, look.look_id)), truth)


def scans(seed: int, count: int, setting: Setting, config: Config, clutter_each: float) -> Scene:
    """Objects that a scan of everything sees with probability 0.9, and so many false detections for each of them."""
    rng = np.random.default_rng(seed)
    places = _places(setting, count)
    objects = [Truth(rng, place, setting, config) for place in places]
    radius_m = setting.apart_m * math.sqrt(count) + 450.0 * setting.scan_s * TIMES * (setting.domain == "AIR")
    middle = nvectors(*setting.middle)
    ring = moves(np.tile(middle, (24, 1)), radius_m * np.array([[math.sin(a), math.cos(a)] for a in _angles(24)]))
    area_km2 = 12.0 * radius_m**2 * math.sin(2.0 * math.pi / 24) * 1e-6
    lat, lon = geodetic(ring)
    corners = [[x, y] for x, y in zip(lon.tolist(), lat.tolist(), strict=True)]
    footprint = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    looks = []
    for k in range(TIMES):
        t = setting.scan_s * k
        found = []
        for n, own in enumerate(objects):
            if rng.random() < P_DETECT:
                found.append(_seen(rng, own.at(t), setting.scan_m, f"{n}/{k}", setting))
        for j in range(rng.poisson(clutter_each * count)):
            way = radius_m * math.sqrt(rng.random()) * _unit(2.0 * math.pi * rng.random())
            false = np.zeros(1, STATE)
            false["x"], false["y"], false["z"] = moves(middle, way[None])[0]
            found.append(_seen(rng, false, setting.scan_m, f"-1/{k}/{j}", setting))
        looks.append(
            Look(
                look_id=f"scan-{k}",
                source_id=f"scan-{setting.domain}",
                time=_time(t),
                footprint=footprint,
                p_detect=P_DETECT,
                clutter_per_km2=max(clutter_each * count / area_km2, 1e-9),
                detections=tuple(found),
            )
        )
    return Scene(setting.domain, looks, [own.at(setting.scan_s * (TIMES - 1)) for own in objects])


def _seen(
    rng: np.random.Generator, state: NDArray[np.void], sigma_m: float, name: str, setting: Setting, **known: Any
) -> Detection:
    place = np.stack([state["x"], state["y"], state["z"]], 1)
    lat, lon = geodetic(moves(place, rng.normal(0.0, sigma_m, (1, 2))))
    cov = (sigma_m**2, 0.0, sigma_m**2)
    return Detection(
        detection_id=name, lat=float(lat[0]), lon=float(lon[0]), cov_enu_m2=cov, domain=setting.domain, **known
    )


def _velocity(rng: np.random.Generator, state: NDArray[np.void], setting: Setting) -> dict[str, Any]:
    """Speed and course with errors of their stated sigmas; across the course never less in m/s than along it."""
    east, north = float(state["a"][0]), float(state["b"][0])
    speed = math.hypot(east, north)
    course_sigma = max(math.radians(setting.course_deg), min(setting.speed_mps / speed, 0.5 * math.pi))
    course = math.atan2(east, north) + rng.normal(0.0, course_sigma)
    return {
        "speed_mps": abs(speed + rng.normal(0.0, setting.speed_mps)),
        "course_deg": math.degrees(course) % 360.0,
        "speed_sigma_mps": setting.speed_mps,
        "course_sigma_deg": setting.course_deg,
    }


def _places(setting: Setting, count: int) -> Iterator[FloatArray]:
    side = math.ceil(math.sqrt(count))
    k = np.arange(count)
    way = np.column_stack([k % side, k // side]) - 0.5 * (side - 1)
    return iter(moves(np.tile(nvectors(*setting.middle), (count, 1)), np.asarray(setting.apart_m * way, np.float64)))


def _angles(corners: int) -> FloatArray:
    """Counter-clockwise as seen from above, clockwise from north being the other way."""
    return np.linspace(0.0, -2.0 * math.pi, corners, endpoint=False)


def _unit(angle: float) -> FloatArray:
    return np.array([math.sin(angle), math.cos(angle)])


def _time(t: float) -> datetime:
    return START + timedelta(microseconds=round(t * 1e6))
