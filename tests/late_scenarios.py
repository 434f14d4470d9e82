"""Random scenes whose looks come late: ships that cross and meet, aircraft, scenes, coarse fixes, and the order of arrival.

A scenario is a function of its seed alone. Lags are of three kinds: ``wide`` (nothing is late), ``moving`` (a lag that is short
beside the scenario: some looks are late, and what is older than the lag is settled meanwhile) and ``domains`` (the air has a
short lag, the sea a long one).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from random import Random
from typing import Any, NamedTuple

import msgspec
from engine_tools import at, disc, seen, shift

from apss_fusion.model import Detection, Ellipse, Look, Source, TrackUpdate

#: (lat, lon) of the middle of a scenario: mid-latitudes, across the antimeridian, far north.
PLACES = ((50.2, -3.1), (-34.3, 17.9), (12.0, 180.0), (-17.1, -179.97), (75.0, 20.0), (76.2, 179.99))
KINDS = ("wide", "moving", "domains")
MOST_LOOKS = 90

Point = tuple[float, float]


class LateScenario(NamedTuple):
    """Looks in their order of arrival, with the register and the configuration that they are fused with."""

    seed: int
    kind: str
    duration_s: float
    #: The longest lag of any domain.
    lag_s: float
    looks: list[Look]
    sources: dict[str, Source]
    #: Keys of the configuration.
    overrides: dict[str, Any]


class _Thing(NamedTuple):
    """What moves: metres east and north of the middle at the start of the scenario, metres a second."""

    x: Point
    v: Point
    ids: dict[str, str] | None
    domain: str
    born: float
    dies: float
    length_m: float
    tells_velocity: bool
    alt_m: float
    climb_mps: float

    def at(self, t: float) -> Point:
        return self.x[0] + self.v[0] * t, self.x[1] + self.v[1] * t

    def lives(self, t: float) -> bool:
        return self.born <= t <= self.dies


def scenario(seed: int, kind: str | None = None) -> LateScenario:
    """The scenario of a seed; its kind of lags is drawn too, or given."""
    return _Maker(seed, kind).made()


def with_strangers(first: int, count: int) -> list[LateScenario]:
    """So many scenarios of several lags, from a seed on, in which a source takes part that is not registered."""
    drawn = (scenario(seed, "domains") for seed in range(first, first + 100 * count))
    return list(islice((s for s in drawn if any(look.source_id == "stranger" for look in s.looks)), count))


def look_key(look: Look) -> tuple[Any, str, bytes]:
    """The order of looks in time."""
    return look.time, look.source_id, look.look_id.encode()


class NumberError(AssertionError):
    """Updates of a track that are not numbered 1, 2, 3..."""


class Reader:
    """Who keeps the latest update of each track, and sees that they are numbered."""

    def __init__(self) -> None:
        self.latest: dict[str, TrackUpdate] = {}

    def read(self, updates: Iterable[TrackUpdate]) -> None:
        """Take in updates in the order of their publication."""
        for u in updates:
            before = self.latest[u.track_id].seq if u.track_id in self.latest else 0
            if u.seq != before + 1:
                raise NumberError(f"track {u.track_id}: seq {u.seq} after {before}")
            self.latest[u.track_id] = u

    def shown(self) -> dict[str, str]:
        """The tracks that a picture has, and their status."""
        return {u.track_id: u.status for u in self.latest.values() if u.status in ("CONFIRMED", "COASTING")}


class _Maker:
    def __init__(self, seed: int, kind: str | None) -> None:
        self.seed = seed
        self.r = Random(f"late {seed}")
        drawn = self.r.choices(KINDS, (45, 30, 25))[0]
        self.kind = kind or drawn
        self.lat, self.lon = self.r.choice(PLACES)
        self.side = self.r.choice([4e3, 20e3, 80e3])
        self.duration = self.r.choice([1200.0, 7200.0])
        #: Times are multiples of this, s; microseconds where 0.
        self.grid = self.r.choice([1.0, 30.0, 60.0]) if self.r.random() < 0.3 else 0.0
        #: Ids that agree in their first 16 bytes are told apart by what follows.
        self.prefix = self.r.choice(["", "", "of-one-collection/"])
        self.lag = {"wide": 3.0, "moving": self.r.choice([0.35, 0.6]), "domains": self.r.choice([0.6, 1.2])}[self.kind]
        self.lag *= self.duration
        self.air_lag = self.lag
        if self.kind == "domains":
            self.air_lag = self.r.choice([0.03, 0.1]) * self.duration

    def made(self) -> LateScenario:
        things = self.things()
        sources = self.sources()
        scenes = [self.scene(things) for _ in range(self.r.randint(2, 10))]
        if self.r.random() < 0.15:
            scenes += [self.stranger(things) for _ in range(self.r.randint(1, 3))]
        reports = [look for thing in things if thing.ids for look in self.reports(thing)]
        kept = sorted(self.r.sample(range(len(reports)), min(len(reports), MOST_LOOKS - len(scenes) - 4)))
        looks = scenes + [reports[k] for k in kept]
        looks += self.again(looks)
        self.r.shuffle(looks)
        looks.sort(key=lambda look: look.time_received or look.time)
        return LateScenario(self.seed, self.kind, self.duration, self.lag, looks, sources, self.overrides())

    # ------------------------------------------------------------------ who is there

    def things(self) -> list[_Thing]:
        r, side, duration = self.r, self.side, self.duration
        count = r.randint(2, 12)
        ships = [self.ship(k) for k in range(count)]
        for k in range(0, count - 1, 2):
            if r.random() < 0.5:
                # The second meets the first.
                a, b, t = ships[k], ships[k + 1], r.uniform(0.3, 0.7) * duration
                beside = [a.x[i] + (a.v[i] - b.v[i]) * t + r.uniform(-100, 100) for i in (0, 1)]
                ships[k + 1] = b._replace(x=(beside[0], beside[1]))
        for k in range(r.choice([0, 0, 1, 2])):
            speed, course, t = r.uniform(60, 240), r.uniform(0, math.tau), r.uniform(0.2, 0.8) * duration
            v = speed * math.sin(course), speed * math.cos(course)
            x = r.uniform(-0.5, 0.5) * side - v[0] * t, r.uniform(-0.5, 0.5) * side - v[1] * t
            ids = r.choice([{"icao24": f"40000{k}"}, {"icao24": f"40000{k}", "callsign": f"TEST{k}"}])
            height, climb = r.uniform(500, 11_000), r.choice([0.0, r.uniform(-8, 8)])
            near = min(duration / 2, 4 * side / speed + 120)
            ships.append(_Thing(x, v, ids, "AIR", t - near, t + near, 40.0, True, height, climb))
        return ships

    def ship(self, k: int) -> _Thing:
        r, side, duration = self.r, self.side, self.duration
        speed, course = r.uniform(0, 12), r.uniform(0, math.tau)
        number = r.choice([None, k, k, k, r.randint(0, 3)])
        ids = None if number is None else {"mmsi": f"{235_000_000 + number}"}
        born = r.uniform(0, 0.4) * duration if r.random() < 0.3 else 0.0
        dies = r.uniform(0.5, 1) * duration if r.random() < 0.3 else duration
        x = r.uniform(-0.5, 0.5) * side, r.uniform(-0.5, 0.5) * side
        v = speed * math.sin(course), speed * math.cos(course)
        return _Thing(x, v, ids, "SEA", born, dies, r.uniform(20, 300), r.random() < 0.5, 0.0, 0.0)

    def sources(self) -> dict[str, Source]:
        r = self.r
        sea = {"max_latency_s": self.lag}
        coarse = ("SEA", "GROUND") if self.kind == "domains" else ("SEA", "AIR")
        clutter = r.choice([1e-4, 0.1, 2.0]) / (self.side / 1e3) ** 2
        made: dict[str, dict[str, Any]] = {
            "ais": {"modality": "AIS", "domains": ("SEA",), "releasable_to": ("LUX", "BEL")},
            "ais-2": {"modality": "AIS", "domains": ("SEA",), "classification": "RESTRICTED"},
            "adsb": {"modality": "ADSB", "domains": ("AIR",), "max_latency_s": self.air_lag},
            "sar": {"modality": "SAR", "domains": ("SEA",), "p_detect": 0.9, "clutter_per_km2": clutter},
            "eo": {"modality": "EO", "domains": ("SEA", "GROUND"), "p_detect": 0.8, "clutter_per_km2": clutter},
            "rf": {"modality": "RF", "domains": coarse, "clutter_per_km2": 1e-6},
            "lights": {"modality": "VIIRS", "domains": ("SEA",), "may_initiate": False},
            "gmti": {"modality": "GMTI", "domains": ("SEA", "GROUND"), "clutter_per_km2": 1e-3},
        }
        return {name: Source(**(sea | fields)) for name, fields in made.items()}

    def overrides(self) -> dict[str, Any]:
        """A configuration under which tracks coast and end within the scenario, now and then."""
        r, area = self.r, (self.side / 1e3) ** 2
        sea: dict[str, Any] = {
            "q": r.choice([1e-3, 1e-2, 1e-1]),
            "departure_s": r.choice([72_000.0, 72_000.0, 0.4 * self.duration, 0.1 * self.duration]),
            "limit95_m": r.choice([50_000.0, 50_000.0, 3_000.0, 800.0]),
            "interval_s": r.choice([3600.0, 60.0]),
            "undetected_per_km2": r.choice([5e-4, 3.0 / area, 30.0 / area]),
            "arrival_s": r.choice([21_600.0, 0.5 * self.duration]),
        }
        domain: dict[str, Any] = {"SEA": sea}
        if r.random() < 0.3:
            domain["AIR"] = {"limit95_m": r.choice([4_000.0, 20_000.0]), "departure_s": 0.5 * self.duration}
        resolutions = {4e3: [5, 6, 7], 20e3: [4, 5, 6], 80e3: [3, 4, 5]}[self.side]
        numbers: dict[str, Any] = {"intensity_resolution": r.choice(resolutions)}
        if r.random() < 0.3:
            numbers |= {"coast_intervals": 1.5}
        out: dict[str, Any] = {"domain": domain, "tracking": numbers, "tentative": r.random() < 0.5}
        # Drawn apart, so that the rest of a scenario is the same in both settings.
        setting = Random(f"setting {self.seed}")
        if setting.random() < 0.6:
            out["filter"] = "accurate"
            if setting.random() < 0.3:
                out["accurate"] = {"noise_factors": [1.0, 30.0], "least_factor": 0.01}
        if self.kind != "domains":
            out["lag_s"] = self.lag
        if r.random() < 0.15:
            out["picture_interval_s"] = self.duration / 10.0
        return out

    # ------------------------------------------------------------------ when

    def time(self, t: float) -> float:
        return round(t / self.grid) * self.grid if self.grid else round(t, 6)

    def arrived(self, source: str, t: float, latency_s: float, *detections: Detection, **fields: Any) -> Look:
        """A look that comes so late."""
        name = f"{self.prefix}{self.r.getrandbits(40):010x}"
        received = at(max(self.time(t + latency_s), t))
        return Look(look_id=name, source_id=source, time=at(t), time_received=received, detections=detections, **fields)

    def latency(self, domain: str) -> float:
        """Of a report: none, a little, or anything up to the duration (the lag of the air, and a little more)."""
        longest = self.duration
        if domain == "AIR" and self.kind == "domains":
            longest = 1.2 * self.air_lag
        return self.r.choice([0.0, self.r.uniform(0, 0.1), self.r.uniform(0, 1)]) * longest

    def scene_latency(self) -> float:
        return self.r.choice([0.0, self.r.uniform(0.2, 0.6)]) * self.duration

    def again(self, looks: list[Look]) -> list[Look]:
        """Duplicates of some, and others of their id that say something else."""
        out = []
        for look in self.r.sample(looks, min(4, len(looks))):
            later = (look.time_received or look.time) + timedelta(seconds=self.r.choice([0.0, 0.1 * self.duration]))
            fields: dict[str, Any] = {"time_received": later}
            if self.r.random() < 0.4:
                fields["detections"] = (*look.detections, seen(self.lat, self.lon, "another"))
            out.append(msgspec.structs.replace(look, **fields))
        return out

    # ------------------------------------------------------------------ what is seen

    def place(self, x: Point, sigma_m: float = 0.0) -> Point:
        """(lat, lon) of a point east and north of the middle, with an error."""
        r = self.r
        return shift(self.lat, self.lon, x[0] + r.gauss(0, sigma_m), x[1] + r.gauss(0, sigma_m))

    def reports(self, thing: _Thing) -> list[Look]:
        """What an object reports of itself."""
        r, out = self.r, list[Look]()
        step = r.choice([60.0, 300.0, 900.0]) if thing.domain == "SEA" else r.choice([10.0, 60.0])
        t = self.time(max(0.0, thing.born) + r.uniform(0, step))
        while t < min(thing.dies, self.duration) and len(out) < MOST_LOOKS:
            out.append(self.air_report(thing, t) if thing.domain == "AIR" else self.sea_report(thing, t))
            t = self.time(t + max(r.expovariate(1 / step), self.grid))
        return out

    def velocity(self, thing: _Thing) -> dict[str, Any]:
        course = math.degrees(math.atan2(*thing.v)) % 360.0
        return {"speed_mps": round(math.hypot(*thing.v), 1), "course_deg": round(course, 1)}

    def sea_report(self, thing: _Thing, t: float) -> Look:
        r = self.r
        ids = thing.ids
        if r.random() < 0.03:
            ids = r.choice([None, {"mmsi": "999999999"}])
        fields: dict[str, Any] = {"ids": ids}
        if thing.tells_velocity and r.random() < 0.8:
            fields |= self.velocity(thing)
        if r.random() < 0.15:
            fields["time"] = at(t + r.choice([-4.0, 0.5, 3.0]))
        if r.random() < 0.1:
            fields |= {"class_probs": {"cargo": 0.8, "tanker": 0.2}, "length_m": round(thing.length_m, 1)}
            fields["ids"] = ids and {**ids, "name": f"SHIP {ids['mmsi'][-2:]}"}
        where = self.place(thing.at(t), 15.0)
        source = r.choices(["ais", "ais-2", "ais/7"], (8, 1, 1))[0]
        return self.arrived(source, t, self.latency("SEA"), seen(*where, "r", **fields))

    def air_report(self, thing: _Thing, t: float) -> Look:
        r = self.r
        where, height = self.place(thing.at(t), 40.0), thing.alt_m + thing.climb_mps * (t - thing.born)
        fields: dict[str, Any] = {"ids": thing.ids} | self.velocity(thing)
        fields |= {"alt_m": round(height + r.gauss(0, 10), 1), "alt_datum": r.choice(["BARO", "BARO", "HAE"])}
        if r.random() < 0.7:
            fields["vertical_rate_mps"] = round(thing.climb_mps, 1)
        return self.arrived("adsb", t, self.latency("AIR"), seen(*where, "r", "AIR", **fields))

    def scene(self, things: list[_Thing]) -> Look:
        kind = self.r.choices(["sar", "eo", "rf", "gmti", "lights"], (45, 10, 20, 15, 10))[0]
        if kind == "rf":
            return self.fixes(things)
        return self.scan(kind, things)

    def area(self) -> tuple[Point, float, dict[str, Any]]:
        """(middle, radius, footprint), some with a hole or of two parts."""
        r = self.r
        middle = r.uniform(-0.6, 0.6) * self.side, r.uniform(-0.6, 0.6) * self.side
        radius = r.uniform(0.15, 0.8) * self.side
        foot = disc(*self.place(middle), radius, r.randint(3, 9))
        if r.random() < 0.15:
            hole = disc(*self.place(middle), 0.3 * radius, 5)["coordinates"][0]
            foot["coordinates"].append(hole[::-1])
        elif r.random() < 0.2:
            beside = self.place((middle[0] + 2.5 * radius, middle[1]))
            foot = {
                "type": "MultiPolygon",
                "coordinates": [foot["coordinates"], disc(*beside, radius, 4)["coordinates"]],
            }
        return middle, radius, foot

    def scan(self, source: str, things: list[_Thing]) -> Look:
        """A look at an area, also with nothing in it; one of moving targets sees what moves along its line of sight."""
        r, t = self.r, self.time(self.r.uniform(0, self.duration))
        middle, radius, foot = self.area()
        sigma = r.choice([30.0, 100.0, 0.03 * self.side])
        p_detect, looks_at = r.choice([0.5, 0.9, 0.99]), r.uniform(0, 360)
        found: list[Detection] = []
        for k, thing in enumerate(things):
            x = thing.at(t)
            inside = math.hypot(x[0] - middle[0], x[1] - middle[1]) < 0.9 * radius
            if inside and thing.domain == "SEA" and thing.lives(t) and r.random() < p_detect:
                fields = self.features(thing, t, sigma)
                if source == "gmti":
                    fields |= self.range_rate(thing, looks_at)
                    if abs(fields["range_rate_mps"]) < 2.0:
                        continue
                domain = r.choice(["SEA", "UNKNOWN"])
                found.append(seen(*self.place(x, sigma), f"{k}", domain, **fields))
        for k in range(r.choice([0, 1, 3])):
            x = middle[0] + r.uniform(-0.5, 0.5) * radius, middle[1] + r.uniform(-0.5, 0.5) * radius
            found.append(seen(*self.place(x), f"clutter-{k}", cov_enu_m2=(sigma**2, 0.0, sigma**2)))
        if r.random() < 0.2:
            found = []
        r.shuffle(found)
        fields = {"footprint": foot, "p_detect": r.choice([p_detect, None])}
        if source == "gmti":
            fields["min_detectable_speed_mps"] = 2.0
        if r.random() < 0.3:
            fields["time_end"] = at(t + 12.0)
        return self.arrived(source, t, self.scene_latency(), *found, **fields)

    def features(self, thing: _Thing, t: float, sigma: float) -> dict[str, Any]:
        """What a scan says of an object beside where it is."""
        r = self.r
        east_north = r.choice([0.0, 0.3 * sigma**2])
        fields: dict[str, Any] = {"cov_enu_m2": (sigma**2, east_north, sigma**2)}
        if r.random() < 0.1 and thing.ids:
            fields["ids"] = thing.ids
        if r.random() < 0.4:
            fields |= {"length_m": round(thing.length_m * r.uniform(0.9, 1.1), 1), "class_probs": {"cargo": 0.6}}
        if r.random() < 0.2:
            fields["time"] = at(t + r.uniform(0, 8))
        return fields

    def range_rate(self, thing: _Thing, azimuth_deg: float) -> dict[str, Any]:
        az, el = math.radians(azimuth_deg), math.radians(-20.0)
        rate = math.cos(el) * (thing.v[0] * math.sin(az) + thing.v[1] * math.cos(az)) + self.r.gauss(0, 0.5)
        return {"range_rate_mps": round(rate, 2), "los_az_deg": round(azimuth_deg, 2), "los_el_deg": -20.0}

    def fixes(self, things: list[_Thing]) -> Look:
        """Coarse fixes of some emitters, which may be of either domain."""
        r, t = self.r, self.time(self.r.uniform(0, self.duration))
        found = []
        for k, thing in enumerate(things):
            if thing.lives(t) and r.random() < 0.4:
                major = 10 ** r.uniform(math.log10(5e3), math.log10(5e4))
                ellipse = Ellipse(major, r.uniform(0.2, 1.0) * major, r.uniform(0, 180))
                where = self.place(thing.at(t), 0.3 * ellipse.semi_minor_m)
                found.append(seen(*where, f"f{k}", r.choice(["UNKNOWN", "UNKNOWN", "SEA"]), ellipse=ellipse))
        foot = r.choice([None, disc(self.lat, self.lon, 3 * self.side, 8)])
        return self.arrived("rf", t, self.scene_latency(), *found, footprint=foot)

    def stranger(self, things: list[_Thing]) -> Look:
        """A look of a source that is not registered: it may touch any domain."""
        look = self.scan("stranger", things)
        found = [msgspec.structs.replace(d, domain="UNKNOWN") for d in look.detections]
        for k, thing in enumerate(things):
            t = (look.time - at(0)).total_seconds()
            if thing.domain == "AIR" and thing.lives(t):
                found.append(seen(*self.place(thing.at(t), 100.0), f"a{k}", "UNKNOWN"))
        return msgspec.structs.replace(look, detections=tuple(found))
