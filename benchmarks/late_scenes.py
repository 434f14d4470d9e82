"""Scenes whose looks come late: ships on the open sea that satellites see, a port, and recorded files with arrival times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from apss_fusion.feeds.reading import FeedReader, read_looks
from apss_fusion.model import Detection, Look, Source
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine
from benchmarks.scenes import START

#: Looks that arrive in order, and reports and scenes that come after later ones.
Kind = Literal["in order", "late report", "late scene"]

OCEAN_LAG_S, PORT_LAG_S = 7200.0, 300.0
#: What arrives is handed over so often that some hundred looks come together: looks in order and late ones are timed apart.
_TOGETHER, _LONGEST_S = 450, 600.0

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
_M_PER_DEG_LAT, _M_PER_DEG_LON = 111_200.0, 111_300.0
_SOURCES = {
    "ais": Source(modality="AIS", domains=("SEA",)),
    "sar": Source(modality="SAR", domains=("SEA",)),
}
_REPORT_SIGMA_M, _SCENE_SIGMA_M, _SCENE_SIDE_M = 10.0, 60.0, 250_000.0
_SCENE_P_DETECT, _SCENE_FALSE = 0.9, 3.0


class Feed(Struct, frozen=True, kw_only=True):
    """Looks in order of arrival, and how they are fused."""

    name: str
    looks: list[Look]
    #: How many looks are handed over together, and of what kind they are, one part after the other.
    parts: list[tuple[Kind, int]]
    sources: dict[str, Source]
    settings: dict[str, Any]
    #: How late looks may come, s.
    lag_s: float
    #: Looks that are handed over at once where kinds are not timed apart.
    chunk: int = 256
    #: Whether the parts are long enough to be timed, which is so where looks are taken from a queue every so often.
    timed: bool = True

    def kinds(self) -> Iterator[tuple[Kind, list[Look]]]:
        """The parts."""
        at = 0
        for kind, count in self.parts:
            yield kind, self.looks[at : at + count]
            at += count

    def in_order(self) -> list[Look]:
        """The same looks, each arriving at its own time."""
        return [replace(look, time_received=None) for look in sorted(self.looks, key=_place)]

    def engine(self, **settings: Any) -> Engine:
        """An engine for these looks."""
        return Engine(Config.of({**self.settings, "lag_s": self.lag_s, **settings}), self.sources)


class _Ships(NamedTuple):
    """Where ships are at the start, degrees, and their velocities, m/s, each (n,)."""

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    north_mps: NDArray[np.float64]
    east_mps: NDArray[np.float64]

    def at(self, who: NDArray[np.int64], t_s: NDArray[np.float64] | float) -> tuple[NDArray[Any], NDArray[Any]]:
        """(lat, lon) of some of the ships, each at a time after the start."""
        return _moved(self.lat[who], self.lon[who], self.north_mps[who] * t_s, self.east_mps[who] * t_s)


def ocean(ships: int, span_s: float, seed: int = 1) -> Feed:
    """Open ocean, 5,000 ships in (4,000 km)^2 or as many of it, one of ten without identity, 1 to 9 m/s.

    Satellite AIS with gaps of 10 minutes in the mean, 25 % of it up to 2 h late; every 10 minutes a SAR scene of 250 km
    somewhere, 30 to 60 minutes late.
    """
    rng = np.random.default_rng(seed)
    side_m = 4e6 * float(np.sqrt(ships / 5_000))
    fleet = _fleet(rng, ships, 0.0, -30.0, side_m, rng.uniform(1, 9, ships))
    named = np.flatnonzero(rng.random(ships) < 0.9)
    every_s = min(_LONGEST_S, _TOGETHER / len(named) * 600.0)
    who = np.repeat(named, rng.poisson(span_s / 600.0, len(named)))
    t_s = rng.uniform(0, span_s, len(who))
    delay_s = np.where(rng.random(len(who)) < 0.25, rng.uniform(0, OCEAN_LAG_S - every_s, len(who)), 0.0)
    looks = [*_reports(rng, fleet, who, t_s, delay_s), *_scenes(rng, fleet, side_m, np.arange(300.0, span_s, 600.0))]
    return _handed_over(f"ocean, {ships:,} ships", looks, span_s, OCEAN_LAG_S, every_s)


def port(ships: int, span_s: float, seed: int = 2) -> Feed:
    """A port: ships in 10 km, half of them moored, that report every 10 s, 5 % of it up to 5 minutes late."""
    rng = np.random.default_rng(seed)
    speed_mps = np.where(rng.random(ships) < 0.5, 0.0, rng.uniform(1, 5, ships))
    fleet = _fleet(rng, ships, 51.0, 1.5, 10_000.0, speed_mps)
    times = rng.uniform(0, 10, ships)[:, None] + np.arange(0.0, span_s, 10.0)
    who = np.repeat(np.arange(ships), times.shape[1])
    every_s = min(PORT_LAG_S / 5, _TOGETHER / ships * 10.0)
    delay_s = np.where(rng.random(len(who)) < 0.05, rng.uniform(0, PORT_LAG_S - every_s, len(who)), 0.0)
    looks = _reports(rng, fleet, who, times.ravel(), delay_s)
    return _handed_over(f"port, {ships:,} ships", looks, span_s, PORT_LAG_S, every_s)


def recorded(path: Path) -> Feed:
    """A recorded file of any known format, in its own order of arrival, with the built-in source of its format.

    Looks that are later than that source's worst latency, or lie after their arrival, and ids that come again, are left out.
    """
    reader = FeedReader(path)
    reader.input.close()
    sources = {reader.decoder.name: reader.decoder.source} if reader.decoder else {}
    lag_s = Engine(sources=sources).lag_us / 1e6
    looks: list[Look] = []
    met: set[str] = set()
    clock = _BEFORE_ALL
    for look in read_looks(path):
        clock = max(clock, _arrival(look))
        on_time = look.time <= _arrival(look) and clock - look.time <= timedelta(seconds=lag_s)
        if on_time and look.look_id not in met:
            met.add(look.look_id)
            looks.append(look)
    newest = _BEFORE_ALL, "", ""
    kinds: list[Kind] = []
    for look in looks:
        kinds.append("in order" if _place(look) > newest else _late_kind(look))
        newest = max(newest, _place(look))
    parts = [(kind, len(list(same))) for kind, same in groupby(kinds)]
    return Feed(name=path.name, looks=looks, parts=parts, sources=sources, settings={}, lag_s=lag_s, timed=False)


def already_in_order(
    name: str, looks: Sequence[Look], sources: dict[str, Source], settings: dict[str, Any], chunk: int = 256
) -> Feed:
    """Looks of which none is late, with a lag of a quarter of their span, so that the window both fills and moves."""
    lag_s = (looks[-1].time - looks[0].time).total_seconds() / 4
    parts: list[tuple[Kind, int]] = [("in order", len(looks))]
    return Feed(name=name, looks=list(looks), parts=parts, sources=sources, settings=settings, lag_s=lag_s, chunk=chunk)


def _handed_over(name: str, looks: Iterable[Look], span_s: float, lag_s: float, every_s: float) -> Feed:
    """What arrived since the last time: first what is newer than all before, in order, then late reports, then scenes.

    What arrives after `span_s` is left out: the window is full at the end.
    """
    ordered: list[Look] = []
    parts: list[tuple[Kind, int]] = []
    newest = START

    def number(look: Look) -> int:
        return int((_arrival(look) - START).total_seconds() // every_s)

    end = START + timedelta(seconds=span_s)
    arrived = sorted((look for look in looks if _arrival(look) < end), key=_arrival)
    for _, group in groupby(arrived, key=number):
        together = list(group)
        fresh = sorted((look for look in together if look.time > newest), key=_place)
        late = [look for look in together if look.time <= newest]
        newest = max([newest, *map(attrgetter("time"), fresh)])
        by_kind: dict[Kind, list[Look]] = {"in order": fresh, "late report": [], "late scene": []}
        for look in late:
            by_kind[_late_kind(look)].append(look)
        for kind, of_kind in by_kind.items():
            if of_kind:
                ordered += of_kind
                parts.append((kind, len(of_kind)))
    return Feed(name=name, looks=ordered, parts=parts, sources=_SOURCES, settings={}, lag_s=lag_s)


def _arrival(look: Look) -> datetime:
    return look.time_received or look.time


def _place(look: Look) -> tuple[datetime, str, str]:
    return look.time, look.source_id, look.look_id


def _late_kind(look: Look) -> Kind:
    return "late report" if look.footprint is None and len(look.detections) == 1 else "late scene"


def _moved(
    lat: NDArray[np.float64], lon: NDArray[np.float64], north_m: NDArray[np.float64], east_m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lat = lat + north_m / _M_PER_DEG_LAT
    return lat, lon + east_m / (_M_PER_DEG_LON * np.cos(np.radians(lat)))


def _fleet(
    rng: np.random.Generator, n: int, lat: float, lon: float, side_m: float, speed_mps: NDArray[np.float64]
) -> _Ships:
    """Ships anywhere in a square about a place, each on some course."""
    course = rng.uniform(0, 2 * np.pi, n)
    north_m, east_m = rng.uniform(-side_m / 2, side_m / 2, (2, n))
    lats, lons = _moved(np.full(n, lat), np.full(n, lon), north_m, east_m)
    return _Ships(lats, lons, speed_mps * np.cos(course), speed_mps * np.sin(course))


def _reports(
    rng: np.random.Generator,
    fleet: _Ships,
    who: NDArray[np.int64],
    t_s: NDArray[np.float64],
    delay_s: NDArray[np.float64],
) -> Iterator[Look]:
    n = len(who)
    error_m = _REPORT_SIGMA_M * rng.standard_normal((2, n))
    lat, lon = _moved(*fleet.at(who, t_s), error_m[0], error_m[1])
    north_mps, east_mps = fleet.north_mps[who], fleet.east_mps[who]
    speed_mps = np.abs(np.hypot(north_mps, east_mps) + 0.2 * rng.standard_normal(n))
    course_deg = np.degrees(np.arctan2(east_mps, north_mps)) + rng.standard_normal(n)
    ids = [{"mmsi": str(200_000_000 + k)} for k in range(len(fleet.lat))]
    columns = (
        t_s,
        delay_s,
        np.round(lat, 6),
        np.round(lon, 6),
        np.round(speed_mps, 2),
        np.round(course_deg % 360.0, 1) % 360.0,
        who,
    )
    for k, (t, delay, a, b, v, c, w) in enumerate(zip(*(x.tolist() for x in columns), strict=True)):
        name = f"ais-{k:09d}"
        d = Detection(detection_id=name, lat=a, lon=b, speed_mps=v, course_deg=c, domain="SEA", ids=ids[w])
        yield _look(name, "ais", t, delay, detections=(d,))


def _scenes(rng: np.random.Generator, fleet: _Ships, side_m: float, times_s: NDArray[np.float64]) -> Iterator[Look]:
    """SAR scenes of the ocean, 30 to 60 minutes late."""
    everyone = np.arange(len(fleet.lat))
    reach_m = max(0.0, side_m - _SCENE_SIDE_M) / 2
    for k, t in enumerate(times_s.tolist()):
        north_m, east_m = rng.uniform(-reach_m, reach_m, (2, 1))
        middle = _moved(np.zeros(1), np.full(1, -30.0), north_m, east_m)
        half = np.array([-_SCENE_SIDE_M / 2, _SCENE_SIDE_M / 2])
        south, north = (middle[0] + half / _M_PER_DEG_LAT).tolist()
        west, east = (middle[1] + half / (_M_PER_DEG_LON * np.cos(np.radians(middle[0])))).tolist()
        lat, lon = fleet.at(everyone, t)
        seen = (lat > south) & (lat < north) & (lon > west) & (lon < east) & (rng.random(len(lat)) < _SCENE_P_DETECT)
        error_m = _SCENE_SIGMA_M * rng.standard_normal((2, int(seen.sum())))
        false = rng.uniform((south, west), (north, east), (rng.poisson(_SCENE_FALSE), 2))
        places = np.vstack([np.transpose(_moved(lat[seen], lon[seen], error_m[0], error_m[1])), false])
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        yield _look(
            f"sar-{k:06d}",
            "sar",
            t,
            rng.uniform(1800.0, 3600.0),
            footprint={"type": "Polygon", "coordinates": [ring]},
            p_detect=_SCENE_P_DETECT,
            clutter_per_km2=_SCENE_FALSE / (_SCENE_SIDE_M * 1e-3) ** 2,
            detections=tuple(
                Detection(
                    detection_id=f"{k:06d}-{j:04d}",
                    lat=a,
                    lon=b,
                    cov_enu_m2=(_SCENE_SIGMA_M**2, 0.0, _SCENE_SIGMA_M**2),
                    domain="SEA",
                )
                for j, (a, b) in enumerate(np.round(places, 6).tolist())
            ),
        )


def _look(look_id: str, source_id: str, t_s: float, delay_s: float, **fields: Any) -> Look:
    time = START + timedelta(seconds=t_s)
    received = time + timedelta(seconds=delay_s)
    return Look(look_id=look_id, source_id=source_id, time=time, time_received=received, **fields)
