"""Is the filter as good as it says? Errors against their covariances (NEES), and a whole scene against its truth (OSPA)."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from engine_tools import WGS84, at, config, disc, engine, fused, go, matrix, report, scan, seen, shift, tracks_of
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import chi2

from apss_fusion.model import Look, TrackUpdate

LAT, LON = 50.0, -4.0
Q = config().domain["SEA"].q


class Ship:
    """Near-constant velocity with the process noise that the filter assumes, in steps of a minute (white acceleration)."""

    def __init__(self, rng: np.random.Generator, start: NDArray[np.float64], minutes: int) -> None:
        step = 60.0
        noise = np.linalg.cholesky(Q * np.array([[step**3 / 3.0, step**2 / 2.0], [step**2 / 2.0, step]]))
        x, v = start, rng.normal(0.0, 5.0, 2)
        self.x, self.v = [x], [v]
        for _ in range(minutes):
            w = noise @ rng.standard_normal((2, 2))
            x, v = x + v * step + w[0], v + w[1]
            self.x.append(x)
            self.v.append(v)


def fleet(seed: int, count: int, minutes: int, apart_m: float) -> list[Ship]:
    rng = np.random.default_rng(seed)
    side = math.ceil(math.sqrt(count))
    return [Ship(rng, apart_m * np.array([k % side, k // side], float), minutes) for k in range(count)]


def error(u: TrackUpdate, ship: Ship) -> NDArray[np.float64]:
    """Truth minus estimate of (e, n, ve, vn), on the tangent plane of the estimate."""
    minute = round((u.time - at(0)).total_seconds() / 60.0)
    lat, lon = shift(LAT, LON, *ship.x[minute])
    azimuth, _, distance = WGS84.inv(u.lon, u.lat, lon, lat)
    rad = math.radians(azimuth)
    return np.array([distance * math.sin(rad), distance * math.cos(rad), *(ship.v[minute] - np.array(u.v_enu_mps[:2]))])


def nees(u: TrackUpdate, ship: Ship) -> float:
    e = error(u, ship)
    return float(e @ np.linalg.solve(matrix(u.cov_enu), e))


def within_chi2(values: list[float], dims: int, slack: float = 1.05) -> bool:
    """Whether the mean lies in the 99.8 % interval of a consistent filter, a little widened for what is rounded."""
    n = len(values)
    low, high = chi2.ppf([0.001, 0.999], dims * n) / n
    return bool(low / slack <= np.mean(values) <= high * slack)


@pytest.mark.parametrize("tells", [False, True])
def test_nees_of_ships_that_report(tells: bool) -> None:
    """60 ships, 10 m reports every 1 to 4 minutes, with or without speed and course; by 4 degrees of freedom."""
    rng = np.random.default_rng(11)
    ships = fleet(1, 60, 60, 30e3)
    looks = []
    for n, ship in enumerate(ships):
        minute = int(rng.integers(0, 3))
        while minute <= 60:
            known: dict[str, Any] = {}
            if tells:
                speed = math.hypot(*ship.v[minute])
                along = ship.v[minute] / speed
                # The default sigmas of AIS: 0.3 m/s along, 3 degrees of course across.
                told = ship.v[minute] + along * rng.normal(0, 0.3)
                course = math.degrees(math.atan2(*told)) + rng.normal(0.0, 3.0)
                known = {"speed_mps": math.hypot(*told), "course_deg": course % 360.0}
            place = shift(LAT, LON, *(ship.x[minute] + rng.normal(0.0, 10.0, 2)))
            looks.append(report(60.0 * minute, *place, str(n), **known))
            minute += int(rng.integers(1, 5))
    updates = fused(sorted(looks, key=lambda look: (look.time, look.look_id)), lag_s=0.0)
    values = [nees(own[-1], ships[int(own[-1].ids["mmsi"])]) for own in tracks_of(updates).values()]
    # One value a ship half way too, an hour apart from the last by far more than its memory.
    values += [nees(own[len(own) // 2], ships[int(own[0].ids["mmsi"])]) for own in tracks_of(updates).values()]
    assert len(values) == 120
    assert within_chi2(values, 4)


def test_nees_of_ships_that_are_scanned() -> None:
    """36 ships, 50 m scans every 5 minutes that see 9 of 10: also the predictions in between are consistent."""
    rng = np.random.default_rng(12)
    ships = fleet(2, 36, 100, 40e3)
    everywhere = disc(*shift(LAT, LON, 100e3, 100e3), 400e3, 24)
    looks = []
    for minute in range(0, 101, 5):
        found = [
            seen(*shift(LAT, LON, *(ship.x[minute] + rng.normal(0.0, 50.0, 2))), f"s{n}")
            for n, ship in enumerate(ships)
            if rng.random() < 0.9
        ]
        looks.append(scan(60.0 * minute, everywhere, *found))
    values = []
    for own in tracks_of(fused(looks)).values():
        ends = [u for u in (own[-1], own[len(own) // 2]) if u.evidence and u.n_detections > 4]
        for u in ends:
            n = int(u.evidence[0].detection_id[1:])
            values.append(nees(u, ships[n]))
    assert len(values) >= 66
    assert within_chi2(values, 4)


def test_a_prediction_over_a_gap_is_consistent() -> None:
    """40 minutes without a report, then where the ship really is: the innovation is as large as its S says (NIS).

    The gap's noise is that of a velocity that returns, so it is a little smaller than that of this truth.
    """
    ships = fleet(3, 100, 60, 30e3)
    rng = np.random.default_rng(13)
    looks = [
        report(60.0 * minute, *shift(LAT, LON, *(ship.x[minute] + rng.normal(0.0, 10.0, 2))), str(n))
        for minute in range(0, 21)
        for n, ship in enumerate(ships)
    ]
    e = engine(lag_s=0.0)
    updates = e.process_many(sorted(looks, key=lambda look: (look.time, look.look_id)))
    last = {u.ids["mmsi"]: u for u in updates}
    assert len(last) == 100
    t = 40.0 * 60.0
    values = []
    for name, u in last.items():
        ship = ships[int(name)]
        p, qxx = matrix(u.cov_enu), Q * t**3 / 3.0
        f = np.hstack([np.eye(2), t * np.eye(2)])
        s = f @ p @ f.T + qxx * np.eye(2)
        (track,) = [k for k in e.tracks_at(round(at(3600.0).timestamp() * 1e6), 0.0) if k.track_id == u.track_id]
        lat, lon = shift(LAT, LON, *ship.x[60])
        azimuth, _, distance = WGS84.inv(track.lon, track.lat, lon, lat)
        y = distance * np.array([math.sin(math.radians(azimuth)), math.cos(math.radians(azimuth))])
        values.append(float(y @ np.linalg.solve(s, y)))
    assert within_chi2(values, 2)


def ospa_m(estimates: list[tuple[float, float]], truth: list[tuple[float, float]], cut_m: float = 1000.0) -> float:
    """Optimal subpattern assignment of order 1 (Schuhmacher, Vo and Vo 2008)."""
    if not estimates or not truth:
        return 0.0 if len(estimates) == len(truth) else cut_m
    d = np.array([[min(WGS84.inv(a[1], a[0], b[1], b[0])[2], cut_m) for b in truth] for a in estimates])
    rows, columns = linear_sum_assignment(d)
    n = max(d.shape)
    return float((d[rows, columns].sum() + cut_m * (n - min(d.shape))) / n)


def scene(ships: list[Ship]) -> list[Look]:
    """90 minutes: half of the ships report every 4 minutes, all are scanned every 6, with misses and clutter."""
    rng = np.random.default_rng(14)
    looks: list[Look] = []
    middle = shift(LAT, LON, 21e3, 21e3)
    for minute in range(91):
        for n in range(0, 60, 2):
            if (minute + n) % 4 == 0:
                place = shift(LAT, LON, *(ships[n].x[minute] + rng.normal(0.0, 10.0, 2)))
                looks.append(report(60.0 * minute, *place, str(n)))
        if minute % 6 == 3:
            found = [
                seen(*shift(LAT, LON, *(ship.x[minute] + rng.normal(0.0, 50.0, 2))), f"s{n}")
                for n, ship in enumerate(ships)
                if rng.random() < 0.9
            ]
            spots = [go(*middle, rng.uniform(0, 360), 60e3 * math.sqrt(rng.random())) for _ in range(rng.poisson(1.2))]
            found += [seen(*spot, f"c{k}") for k, spot in enumerate(spots)]
            looks.append(scan(60.0 * minute, disc(*middle, 120e3, 24), *found))
    return sorted(looks, key=lambda look: (look.time, look.source_id, look.look_id))


def only(looks: list[Look], n: int) -> list[Look]:
    """What concerns ship n alone: no other ship, no clutter, no doubt which detection is whose."""
    out = []
    for look in looks:
        if look.source_id == "ais":
            own = look.detections if look.detections[0].ids == {"mmsi": str(n)} else ()
        else:
            own = tuple(d for d in look.detections if d.detection_id == f"s{n}")
        if own:
            out.append(msgspec.structs.replace(look, detections=own))
    return out


def test_a_scene_of_sixty_ships_is_close_to_its_truth() -> None:
    """OSPA at the end is that of a filter who is told which detection is whose, plus what four wrong ones cost.

    A dark ship that was last scanned three minutes ago is only known to some 200 m, so that is the largest part.
    """
    ships = fleet(4, 60, 90, 6e3)
    looks, end = scene(ships), round(at(90.0 * 60.0).timestamp() * 1e6)
    e = engine(lag_s=0.0)
    updates = [*e.process_many(looks), *e.flush()]
    picture = e.picture(end)
    truth = [shift(LAT, LON, *ship.x[90]) for ship in ships]
    told = []
    for n in range(60):
        alone = engine(lag_s=0.0)
        alone.process_many(only(looks, n))
        alone.flush()
        told += [(t.lat, t.lon) for t in alone.picture(end).tracks]
    assert len(told) == 60
    best = ospa_m(told, truth)
    assert best < 220.0
    assert ospa_m([(t.lat, t.lon) for t in picture.tracks], truth) < best + 4 * 1000.0 / 60.0
    # Nobody's identity went to another ship, and every ship that reports has its track.
    named = {t.ids["mmsi"]: (t.lat, t.lon) for t in picture.tracks if t.ids}
    assert len(named) == sum(t.ids != {} for t in picture.tracks) == 30
    assert all(ospa_m([place], [truth[int(name)]]) < 300.0 for name, place in named.items())
    through: dict[str, set[str]] = {}
    for u in updates:
        if u.ids:
            through.setdefault(u.ids["mmsi"], set()).add(u.track_id)
    # A ship may begin as a track of a scan; it does not go through many.
    assert max(len(v) for v in through.values()) <= 2
