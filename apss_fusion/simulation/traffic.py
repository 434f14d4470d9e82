"""Ships, aircraft and vehicles: who they are and where they go, all drawn from the scenario's seed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from apss_fusion.geodesy.positions import moves
from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.simulation.fleet import Fleet
from apss_fusion.simulation.motion import Limits, Ways, around, distances, follow, in_disc
from apss_fusion.simulation.networks import Network, made_network, named_network
from apss_fusion.simulation.scenario import Scenario

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SHIP_STEP_S, AIRCRAFT_STEP_S, VEHICLE_STEP_S = 20.0, 10.0, 5.0
SHIP_LIMITS = Limits(acceleration_mps2=0.03, turn_rad_s=math.radians(0.7))
AIRCRAFT_LIMITS = Limits(acceleration_mps2=0.5, turn_rad_s=math.radians(1.5))
VEHICLE_LIMITS = Limits(acceleration_mps2=1.5, turn_rad_s=math.radians(20.0))

#: Ships by class: shortest and longest in m, slowest and fastest under way in m/s (5 to 20 knots), weight.
SHIP_CLASSES = {
    "cargo": (90.0, 330.0, 5.5, 10.0, 0.45),
    "tanker": (100.0, 300.0, 5.5, 8.5, 0.25),
    "passenger": (80.0, 300.0, 8.0, 10.3, 0.15),
    "pleasure": (8.0, 30.0, 2.6, 7.0, 0.15),
}
FISHING = (12.0, 40.0, 2.6, 4.5)
#: Maritime identification digits of France, Italy, Spain, Malta, Luxembourg, Liberia, Panama (ITU).
_MARITIME_DIGITS = ("227", "247", "224", "248", "253", "636", "371")
_FLIGHT_LEVEL_M = 30.48


def fleets(scenario: Scenario) -> list[Fleet]:
    """All traffic of a scenario: ships, aircraft, vehicles."""
    return [_ships(scenario), _aircraft(scenario), _vehicles(scenario)]


def ground_area(scenario: Scenario) -> FloatArray:
    """The n-vector (3,) of the centre of the disc with roads."""
    place = scenario.traffic.ground or (scenario.region.lat, scenario.region.lon)
    return nvectors(*place)[0]


def generator(scenario: Scenario, *names: str) -> np.random.Generator:
    """Random numbers of one purpose, which do not change when another purpose draws more."""
    words = [int.from_bytes(name.encode(), "little") for name in names]
    return np.random.default_rng([scenario.seed, *words])


def _steps(seconds: float, step_s: float) -> int:
    return max(2, math.ceil(seconds / step_s) + 2)


def _ways(rows: list[tuple[FloatArray, FloatArray, FloatArray]]) -> Ways:
    """Ways of different length as one array."""
    most = max((len(points) for points, _, _ in rows), default=2)
    points, speed, rest = np.empty((len(rows), most, 3)), np.ones((len(rows), most)), np.zeros((len(rows), most))
    for i, (p, v, r) in enumerate(rows):
        points[i, : len(p)], points[i, len(p) :] = p, p[-1]
        speed[i, : len(p)], rest[i, : len(p)], rest[i, len(p) :] = v, r, 1e9
    return Ways(points, speed, rest)


def _ships(scenario: Scenario) -> Fleet:
    traffic, rng = scenario.traffic, generator(scenario, "ships")
    centre, radius_m = nvectors(scenario.region.lat, scenario.region.lon)[0], scenario.region.radius_km * 1000.0
    keep_out = (ground_area(scenario), traffic.ground_radius_km * 1300.0)
    if traffic.lanes:
        network = named_network(traffic)
    else:
        network = made_network(rng, centre, radius_m * 0.95, junctions=12, stops=1.0, keep_out=keep_out)
    if traffic.fishing_grounds:
        grounds = nvectors(*np.array(traffic.fishing_grounds).T)
    else:
        grounds = in_disc(rng, centre, radius_m * 0.8, 40)
        at_sea = grounds[distances(keep_out[0], grounds) > keep_out[1] + 30_000.0]
        grounds = (at_sea if len(at_sea) else grounds)[:5]
    names, chances = list(SHIP_CLASSES), np.array([row[-1] for row in SHIP_CLASSES.values()])
    classes, sizes, rows = [], [], []
    for _ in range(traffic.ships):
        fishing = rng.random() < traffic.fishing_share
        kind = "fishing" if fishing else names[rng.choice(len(names), p=chances / chances.sum())]
        short, long, slow, fast = FISHING if fishing else SHIP_CLASSES[kind][:4]
        # Small ships are more common than large ones.
        length = short + (long - short) * rng.random() ** 1.5
        cruise = rng.uniform(slow, fast)
        ahead_m = cruise * scenario.duration_s * 1.2 + 20_000.0
        rows.append(_loitering(rng, grounds, cruise, ahead_m) if fishing else _under_way(rng, network, cruise, ahead_m))
        classes.append(kind)
        sizes.append(length)
    ways, steps = _ways(rows), _steps(scenario.duration_s, SHIP_STEP_S)
    path, _ = follow(*ways, *SHIP_LIMITS, SHIP_STEP_S, steps)
    n, lengths = traffic.ships, np.array(sizes)
    sends = rng.random(n) >= traffic.dark_share
    silence_begins = rng.uniform(0.1, 0.7, n) * scenario.duration_s
    silent = np.where(rng.random(n) < traffic.silenced_share, silence_begins, np.inf)
    ids = _ship_ids(rng, n)
    _share_numbers(rng, ids, np.flatnonzero(sends), traffic.shared_mmsi_pairs)
    return Fleet(
        domain="SEA",
        step_s=SHIP_STEP_S,
        path=path,
        alt_m=None,
        begin_s=np.zeros(n),
        end_s=np.full(n, np.inf),
        names=[f"ship-{i:04d}" for i in range(n)],
        ids=ids,
        classes=classes,
        length_m=lengths,
        width_m=np.maximum(3.0, lengths / 6.5),
        sends=sends,
        silent_s=np.column_stack([silent, silent + traffic.silence_s]),
        radar=rng.random(n) < traffic.radar_share,
        static_every=12,
    )


def _under_way(
    rng: np.random.Generator, network: Network, cruise: float, ahead_m: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A ship's way along lanes, in its own line beside the others, with a stay in each port."""
    points, stop = network.walk(rng, ahead_m)
    aside = rng.normal(0.0, 1_500.0, 2) + rng.normal(0.0, 400.0, (len(points), 2))
    points = moves(points, np.where(stop[:, None], rng.normal(0.0, 1_000.0, (len(points), 2)), aside))
    rest = np.where(stop, rng.uniform(1_800.0, 5_400.0, len(points)), 0.0)
    return points, cruise * rng.uniform(0.93, 1.07, len(points)), rest


def _loitering(
    rng: np.random.Generator, grounds: FloatArray, cruise: float, ahead_m: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A fishing vessel's way: to and fro on a fishing ground."""
    centre = around(grounds[rng.integers(len(grounds))], rng.normal(0.0, 8_000.0, (1, 2)))[0]
    count = 3 + int(ahead_m / 4_000.0)
    points = around(centre, rng.normal(0.0, 5_000.0, (count, 2)))
    return points, cruise * rng.uniform(0.5, 1.1, count), np.where(rng.random(count) < 0.1, 900.0, 0.0)


def _ship_ids(rng: np.random.Generator, count: int) -> list[dict[str, str]]:
    ids = []
    for _ in range(count):
        six = rng.integers(100_000, 999_999)
        check = sum((7 - i) * int(digit) for i, digit in enumerate(str(six))) % 10
        ids.append(
            {
                "mmsi": f"{_MARITIME_DIGITS[rng.integers(len(_MARITIME_DIGITS))]}{rng.integers(10**6):06d}",
                "imo": f"{six}{check}",
                "callsign": "".join(chr(ord("A") + k) for k in rng.integers(26, size=4)) + str(rng.integers(2, 10)),
            }
        )
    return ids


def _share_numbers(rng: np.random.Generator, ids: list[dict[str, str]], senders: IntArray, pairs: int) -> None:
    """Let pairs of ships send one MMSI."""
    chosen = rng.permutation(senders)
    for k in range(min(pairs, len(chosen) // 2)):
        ids[chosen[2 * k + 1]]["mmsi"] = ids[chosen[2 * k]]["mmsi"]


def _aircraft(scenario: Scenario) -> Fleet:
    """Flights across the region from edge to edge, most with one change of course, some with a change of level."""
    rng = generator(scenario, "aircraft")
    centre, radius_m = nvectors(scenario.region.lat, scenario.region.lon)[0], scenario.region.radius_km * 1000.0
    # The mean of the chords drawn below is 1.72 radii.
    crossing_s = 1.72 * radius_m / 225.0
    count = round(scenario.traffic.aircraft * (scenario.duration_s + crossing_s) / crossing_s)
    begin = rng.uniform(-crossing_s, scenario.duration_s, count)
    rows = []
    for _ in range(count):
        enter = rng.uniform(0.0, 2.0 * math.pi)
        # Uniform in the sine: parallel chords at even distances.
        leave = enter + math.pi + 2.0 * math.asin(rng.uniform(-0.9, 0.9))
        ends = radius_m * np.array([[math.sin(enter), math.cos(enter)], [math.sin(leave), math.cos(leave)]])
        middle = ends.mean(axis=0) + rng.normal(0.0, 0.06 * radius_m, 2)
        points = around(centre, np.array([ends[0], middle, ends[1]]))
        rows.append((points, np.full(3, rng.uniform(200.0, 250.0)), np.zeros(3)))
    steps = _steps(2.2 * radius_m / 200.0, AIRCRAFT_STEP_S)
    path, arrived = follow(*_ways(rows), *AIRCRAFT_LIMITS, AIRCRAFT_STEP_S, steps)
    level = rng.integers(29, 40, count) * 10.0
    change = np.where(rng.random(count) < 0.3, rng.choice([-20.0, 20.0, 40.0], count), 0.0)
    at_s = rng.uniform(0.2, 0.6, count) * crossing_s
    flown = np.arange(steps) * AIRCRAFT_STEP_S
    # 1,000 feet a minute.
    climbed = np.clip((flown[None, :] - at_s[:, None]) * 5.08, 0.0, np.abs(change)[:, None] * _FLIGHT_LEVEL_M)
    letters = rng.integers(26, size=(count, 3))
    numbers = rng.integers(10, 9999, count)
    return Fleet(
        domain="AIR",
        step_s=AIRCRAFT_STEP_S,
        path=path,
        alt_m=level[:, None] * _FLIGHT_LEVEL_M + np.sign(change)[:, None] * climbed,
        begin_s=begin,
        end_s=begin + arrived * AIRCRAFT_STEP_S,
        names=[f"aircraft-{i:04d}" for i in range(count)],
        ids=[
            {"icao24": f"{rng.integers(1, 2**24 - 1):06x}", "callsign": "".join(chr(65 + k) for k in row) + str(number)}
            for row, number in zip(letters, numbers, strict=True)
        ],
        classes=["airliner"] * count,
        length_m=rng.uniform(30.0, 70.0, count),
        width_m=rng.uniform(30.0, 65.0, count),
        sends=np.ones(count, np.bool_),
        silent_s=np.full((count, 2), np.inf),
        radar=np.zeros(count, np.bool_),
    )


def _vehicles(scenario: Scenario) -> Fleet:
    """Vehicles on the roads of the ground area; they stop at some crossings."""
    traffic, rng = scenario.traffic, generator(scenario, "vehicles")
    centre, radius_m = ground_area(scenario), traffic.ground_radius_km * 1000.0
    network = made_network(rng, centre, radius_m, junctions=40, stops=0.6, bend=0.06, piece_m=1_200.0)
    rows = []
    for _ in range(traffic.vehicles):
        cruise = rng.uniform(10.0, 30.0)
        points, stop = network.walk(rng, cruise * scenario.duration_s * 1.1 + 10_000.0)
        stays = stop & (rng.random(len(points)) < 0.7)
        rest = np.where(stays, rng.uniform(20.0, 240.0, len(points)), 0.0)
        rows.append((points, np.minimum(30.0, cruise * rng.uniform(0.7, 1.1, len(points))), rest))
    n = traffic.vehicles
    path, _ = follow(*_ways(rows), *VEHICLE_LIMITS, VEHICLE_STEP_S, _steps(scenario.duration_s, VEHICLE_STEP_S))
    lengths = rng.uniform(4.0, 16.0, n)
    return Fleet(
        domain="GROUND",
        step_s=VEHICLE_STEP_S,
        path=path,
        alt_m=None,
        begin_s=np.zeros(n),
        end_s=np.full(n, np.inf),
        names=[f"vehicle-{i:04d}" for i in range(n)],
        ids=[{} for _ in range(n)],
        classes=["vehicle"] * n,
        length_m=lengths,
        width_m=np.full(n, 2.5),
        sends=np.zeros(n, np.bool_),
        silent_s=np.full((n, 2), np.inf),
        radar=np.zeros(n, np.bool_),
    )
