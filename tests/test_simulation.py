"""A simulated constellation: files as the contract says, physics as stated, the same bytes for the same seed."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from simulated import START, WGS84, Made, in_ring, ring_of, small, truth_at

from apss_fusion.geodesy.positions import offsets
from apss_fusion.geodesy.wgs84 import geodetic, geodetic_of_ecef, nvectors
from apss_fusion.simulation import DEMO, Scenario, load, run
from apss_fusion.simulation.messages import messages
from apss_fusion.simulation.motion import distances, seen_from
from apss_fusion.simulation.orbits import positions, satellites
from apss_fusion.simulation.scenario import (
    Region,
    Traffic,
)
from apss_fusion.simulation.traffic import ground_area


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(small(), tmp_path_factory.mktemp("made"))


# The files


def test_files_are_as_the_contract_says(made: Made) -> None:
    assert len(made.looks) == made.summary.looks
    assert sum(len(look.detections) for look in made.looks) == made.summary.detections
    assert made.summary.empty_looks == sum(not look.detections for look in made.looks)
    assert made.sources.keys() >= {look.source_id for look in made.looks}
    assert made.summary.sources == len(made.sources) == 8
    received = [look.time_received for look in made.looks]
    assert received == sorted(received, key=lambda time: time or START)
    ids = Counter(look.look_id for look in made.looks)
    assert max(ids.values()) == 1
    detection_ids = Counter(detection.detection_id for look in made.looks for detection in look.detections)
    assert max(detection_ids.values()) == 1
    for line in made.lines[:50]:
        for key, value in json.loads(line).items():
            if key.startswith("time"):
                assert len(value) == len("2026-01-01T00:10:00.000000Z")
                assert value.endswith("Z")


def test_looks_arrive_within_the_stated_latency(made: Made) -> None:
    late = defaultdict(list)
    for look in made.looks:
        source = made.sources[look.source_id]
        delay = made.seconds(look.time_received) - made.seconds(look.time)
        assert source.max_latency_s is not None
        assert 0.0 <= delay <= source.max_latency_s
        assert made.seconds(look.time) >= 0.0
        late[look.source_id].append(made.seconds(look.time_received) - made.seconds(look.time_end or look.time))
    assert np.mean(late["ais"]) == pytest.approx(40.0, abs=2.0)
    # Latencies differ, so looks do not arrive in order of their times.
    assert any(a.time > b.time for a, b in pairwise(made.looks))


def test_truth_lines(made: Made) -> None:
    assert [line["time"] for line in made.truth] == [
        (START + timedelta(minutes=k)).strftime("%Y-%m-%dT%H:%M:%S.000000Z") for k in range(21)
    ]
    counts = Counter(item["domain"] for item in made.truth[10]["objects"])
    assert counts["SEA"] == 120
    assert counts["GROUND"] == 40
    assert 4 <= counts["AIR"] <= 30
    assert len({item["id"] for item in made.truth[0]["objects"]}) == len(made.truth[0]["objects"])


def test_same_scenario_same_bytes_another_seed_others(tmp_path: Path, made: Made) -> None:
    again, other = Made(small(), tmp_path / "a"), Made(small(seed=2), tmp_path / "b")
    assert again.lines == made.lines
    assert again.truth == made.truth
    assert other.lines != made.lines
    assert other.truth != made.truth
    # One satellite less changes neither the traffic nor what the others see.
    fewer = small()
    fewer = structs.replace(fewer, satellites=fewer.satellites[1:])
    without = Made(fewer, tmp_path / "c")
    assert without.truth == made.truth
    assert without.lines == [
        line for line, look in zip(made.lines, made.looks, strict=True) if not look.source_id.startswith("sar")
    ]


def test_progress_and_nothing_to_simulate(tmp_path: Path) -> None:
    told: list[float] = []
    nothing = Scenario(duration_s=60.0, traffic=Traffic(ships=0, aircraft=0, vehicles=0))
    summary = run(nothing, tmp_path / "deep" / "er", told.append)
    assert told == [1.0]
    assert (summary.looks, summary.detections, summary.truth_times) == (0, 0, 2)
    run(small(duration_s=30.0), tmp_path, told.append)
    assert told[1] == 0.0
    assert told[1:] == sorted(told[1:])
    empty_sea = small(traffic=Traffic(ships=0, aircraft=0, vehicles=0))
    found = Made(empty_sea, tmp_path / "empty")
    assert not found.of("ais")
    assert found.summary.empty_looks > 0


def test_the_demonstration(tmp_path: Path) -> None:
    demo = Made(load(DEMO), tmp_path)
    assert 30_000 < demo.summary.detections < 80_000
    assert len(demo.summary.detections_by_modality) == 6
    assert demo.summary.sources >= 8
    assert min(demo.summary.detections_by_modality.values()) > 100
    assert demo.summary.objects["SEA"] == 150
    assert len({source.nation for source in demo.sources.values()}) >= 5
    air = [sum(item["domain"] == "AIR" for item in line["objects"]) for line in demo.truth]
    assert np.mean(air) == pytest.approx(40, abs=8)
    # Footprints cross: some ship is seen by both radars.
    assert {look.source_id.split("-")[0] for look in demo.looks if look.footprint and look.detections} == {
        "osprey",
        "kestrel",
        "merlin",
        "lynx",
        "ibex",
    }


# What is seen


def test_messages_are_of_their_ship_with_the_stated_error(made: Made) -> None:
    for name, domain, key, sigma in (("ais", "SEA", "mmsi", 200.0), ("adsb", "AIR", "icao24", 150.0)):
        fleet = made.fleets[domain]  # type: ignore[index]
        owners = defaultdict(list)
        for row, ids in enumerate(fleet.ids):
            owners[ids[key]].append(row)
        errors, speeds = [], []
        for look in made.of(name):
            assert look.footprint is None
            assert look.p_detect is None
            (detection,) = look.detections
            assert detection.ids is not None
            item = np.array(owners[detection.ids[key]])
            if len(item) > 1:
                continue
            seconds = np.array([made.seconds(look.time)])
            position = nvectors(detection.lat, detection.lon)
            errors.append(offsets(fleet.at(item, seconds), position)[0])
            speeds.append(np.hypot(*fleet.velocity(item, seconds)[0]) - (detection.speed_mps or 0.0))
            assert fleet.sends[item].all()
            assert not fleet.silent_s[item, 0] <= seconds < fleet.silent_s[item, 1]
        assert len(errors) > 500
        # Four standard deviations of mean and spread.
        count = len(errors)
        np.testing.assert_allclose(np.mean(errors, axis=0), 0.0, atol=4 * sigma / math.sqrt(count))
        assert np.std(errors) == pytest.approx(sigma, rel=4 / math.sqrt(4 * count))
        assert np.abs(speeds).max() < 4.0


def test_share_of_messages_received(made: Made) -> None:
    """The satellite's disc of 2,000 km holds the region for these minutes."""
    for name, fleet, p in (("ais", made.fleets["SEA"], 0.5), ("adsb", made.fleets["AIR"], 0.6)):
        sent = messages(made.scenario, fleet, name.upper())
        near = (sent.seconds > 450) & (sent.seconds < 750)
        heard = sum(450 < made.seconds(look.time) < 750 for look in made.of(name))
        assert heard == pytest.approx(p * near.sum(), abs=5 * math.sqrt(near.sum() * p * (1 - p)))


def test_dark_silent_and_shared(made: Made) -> None:
    fleet = made.fleets["SEA"]
    numbers = {look.detections[0].ids["mmsi"] for look in made.of("ais") if look.detections[0].ids}
    dark = {ids["mmsi"] for ids, sends in zip(fleet.ids, fleet.sends, strict=True) if not sends}
    assert dark
    assert not numbers & dark
    shared = [number for number, n in Counter(ids["mmsi"] for ids in fleet.ids).items() if n == 2]
    assert len(shared) == 3
    assert numbers >= set(shared)
    static = [look.detections[0] for look in made.of("ais") if look.detections[0].length_m]
    assert 0.03 < len(static) / len(made.of("ais")) < 0.2
    for detection in static:
        assert detection.ids is not None
        imo = detection.ids["imo"]
        assert sum((7 - i) * int(digit) for i, digit in enumerate(imo[:6])) % 10 == int(imo[6])


def test_radar_strips(made: Made) -> None:
    """Ships found in the footprints, at the stated rate and error; the rest are clutter of the stated density."""
    fleet = made.fleets["SEA"]
    looks = made.of("sar")
    expected, found, clutter, area, errors = 0, 0, 0, 0.0, []
    for look in looks:
        ring = ring_of(look)
        middle = (made.seconds(look.time) + made.seconds(look.time_end)) / 2
        item, position = truth_at(fleet, middle)
        lat, lon = geodetic(position)
        inside = in_ring(ring, lon, lat)
        expected += int(inside.sum())
        area += abs(WGS84.polygon_area_perimeter(ring[:, 0], ring[:, 1])[0]) / 1e6
        free = set(item[inside].tolist())
        for detection in look.detections:
            assert detection.domain == "SEA"
            now = np.array([made.seconds(detection.time)])
            assert look.time_end is not None
            assert made.seconds(look.time) <= now[0] <= made.seconds(look.time_end)
            near = np.array(sorted(free), int)
            seen = np.tile(nvectors(detection.lat, detection.lon), (len(near), 1))
            way = offsets(fleet.at(near, np.repeat(now, len(near))), seen)
            best = int(np.argmin(np.hypot(*way.T))) if len(near) else -1
            length = detection.length_m or 0.0
            if best >= 0 and np.hypot(*way[best]) < 500 and 0.3 < length / fleet.length_m[near[best]] < 1.7:
                free.discard(int(near[best]))
                errors.append(way[best])
                found += 1
            else:
                clutter += 1
    assert expected > 60
    # A ship or a false alarm at an edge or near a ship may be taken for the other.
    assert found == pytest.approx(0.8 * expected, abs=4 * math.sqrt(expected * 0.16) + 3)
    assert np.std(errors, axis=0) == pytest.approx(80.0, rel=0.3)
    assert clutter == pytest.approx(3e-4 * area, abs=5 * math.sqrt(3e-4 * area) + 3)
    assert len({tuple(ring_of(look).ravel()) for look in looks}) == len(looks)


def test_strips_lie_beside_the_ground_track(made: Made) -> None:
    """Right of the track, from 150 to 450 km, frame beside frame."""
    satellite = made.scenario.satellites[0]
    orbits = satellites(satellite.orbit, made.scenario.start, (38.0, -28.0))
    for k, orbit in enumerate(orbits, 1):
        for look in made.looks:
            if look.source_id != f"sar-{k}":
                continue
            ring = ring_of(look)[:-1]
            middle = np.array([made.seconds(look.time) + satellite.sensor.frame_s / 2])  # type: ignore[union-attr]
            lat, lon, _ = geodetic_of_ecef(positions(orbit, made.scenario.start, np.concatenate([middle, middle + 1])))
            below, ahead = nvectors(lat, lon)
            course = np.arctan2(*seen_from(below, ahead[None])[0])
            east, north = seen_from(below, nvectors(ring[:, 1], ring[:, 0])).T / 1000
            right = east * np.cos(course) - north * np.sin(course)
            along = east * np.sin(course) + north * np.cos(course)
            assert right.min() == pytest.approx(150, abs=1)
            assert right.max() == pytest.approx(450, abs=1)
            # 20 s at 7 km/s.
            assert np.ptp(along) == pytest.approx(139, abs=6)
            for detection in look.detections:
                # Seen when abeam, but for its own error and way.
                now = np.array([made.seconds(detection.time), made.seconds(detection.time) + 1.0])
                lat, lon, _ = geodetic_of_ecef(positions(orbit, made.scenario.start, now))
                below, ahead = nvectors(lat, lon)
                course = np.arctan2(*seen_from(below, ahead[None])[0])
                east, north = seen_from(below, nvectors(detection.lat, detection.lon))[0] / 1000
                assert abs(east * np.sin(course) + north * np.cos(course)) < 3.0


def test_moving_target_radar(made: Made) -> None:
    """Only what moves along the line of sight, with the range rate that its velocity has there."""
    fleet = made.fleets["GROUND"]
    looks = made.of("gmti")
    assert len(looks) > 10
    normalised, rates, elevations = [], [], []
    for look in looks:
        assert look.min_detectable_speed_mps == 1.5
        now = (made.seconds(look.time) + made.seconds(look.time_end)) / 2
        item, position = truth_at(fleet, now)
        velocity = fleet.velocity(item, np.full(len(item), now))
        free = np.ones(len(item), bool)
        for detection in look.detections:
            assert detection.ellipse is not None
            assert detection.los_az_deg is not None
            assert detection.los_el_deg is not None
            assert detection.range_rate_mps is not None
            azimuth, elevation = math.radians(detection.los_az_deg), math.radians(detection.los_el_deg)
            unit = np.array([math.sin(azimuth), math.cos(azimuth)])
            way = offsets(position, np.tile(nvectors(detection.lat, detection.lon), (len(item), 1)))
            across, along = way @ [unit[1], -unit[0]] / 80.0, way @ unit / 15.0
            rate = math.cos(elevation) * (velocity @ unit)
            wrong = across**2 + along**2 + ((detection.range_rate_mps - rate) / 0.4) ** 2 + np.where(free, 0, 1e9)
            best = int(np.argmin(wrong))
            free[best] = False
            normalised.append(wrong[best])
            rates.append(abs(rate[best]))
            elevations.append(detection.los_el_deg)
            # The long axis lies across the line of sight.
            turn = (detection.ellipse.orientation_deg - detection.los_az_deg) % 180
            assert turn == pytest.approx(90.0, abs=0.02)
            assert detection.ellipse.semi_major_m == pytest.approx(80.0 * 2.447747, abs=0.01)
    assert len(normalised) > 200
    # Chi-square with three degrees of freedom.
    assert np.median(normalised) == pytest.approx(2.366, rel=0.15)
    assert np.quantile(normalised, 0.95) == pytest.approx(7.81, rel=0.25)
    assert min(rates) >= 1.5 - 1e-6
    assert max(elevations) < -20.0


def test_radio_ellipses_hold_their_ship(made: Made) -> None:
    fleet = made.fleets["SEA"]
    inside = total = 0
    for look in made.of("rf"):
        now = (made.seconds(look.time) + made.seconds(look.time_end)) / 2
        _, position = truth_at(fleet, now)
        assert look.p_detect == pytest.approx(0.4 * 0.7)
        for detection in look.detections:
            ellipse = detection.ellipse
            assert ellipse is not None
            centre = nvectors(detection.lat, detection.lon)[0]
            east, north = seen_from(centre, position).T
            turn = math.radians(ellipse.orientation_deg)
            along, across = (
                east * math.sin(turn) + north * math.cos(turn),
                east * math.cos(turn) - north * math.sin(turn),
            )
            size = np.hypot(along / ellipse.semi_major_m, across / ellipse.semi_minor_m)
            total += int(size.min() < 3.0)
            inside += int(size.min() < 1.0)
    assert total > 100
    # Neighbours make the nearest ship a little nearer than the right one.
    assert 0.91 < inside / total < 1.0


def test_camera_sees_sea_and_ground(made: Made) -> None:
    looks = made.of("eo")
    assert {detection.domain for look in looks for detection in look.detections} >= {"GROUND"}
    for look in looks:
        ring = ring_of(look)
        area = abs(WGS84.polygon_area_perimeter(ring[:, 0], ring[:, 1])[0]) / 1e6
        assert area == pytest.approx(60 * 60, rel=0.002)


# What moves


def test_how_things_move(made: Made) -> None:
    limits = {"SEA": (0.0, 11.1), "AIR": (199.0, 251.0), "GROUND": (0.0, 30.5)}
    for domain, fleet in made.fleets.items():
        n, k, _ = fleet.path.shape
        steps = offsets(fleet.path[:, :-1].reshape(-1, 3), fleet.path[:, 1:].reshape(-1, 3)).reshape(n, k - 1, 2)
        speed = np.hypot(steps[..., 0], steps[..., 1]) / fleet.step_s
        shown = np.arange(k - 1)[None] * fleet.step_s < (fleet.end_s - fleet.begin_s)[:, None] - fleet.step_s
        slow, fast = limits[domain]
        assert speed[shown].min() >= slow
        assert speed[shown].max() <= fast
        np.testing.assert_allclose(np.linalg.norm(fleet.path, axis=2), 1.0, atol=1e-9)
    assert (made.fleets["SEA"].length_m > 8).all()
    vehicles = made.fleets["GROUND"]
    still = np.hypot(*vehicles.velocity(np.tile(np.arange(40), 10), np.repeat(np.arange(10) * 100.0, 40)).T) < 0.1
    assert 0.02 < still.mean() < 0.5
    altitude = made.fleets["AIR"].altitude(np.arange(5), np.full(5, 600.0))
    assert altitude is not None
    assert ((altitude[0] > 8_000) & (altitude[0] < 14_000)).all()


def test_ships_turn_no_faster_than_they_may(made: Made) -> None:
    fleet = made.fleets["SEA"]
    steps = np.stack([offsets(path[:-1], path[1:]) for path in fleet.path])
    course = np.unwrap(np.arctan2(steps[..., 0], steps[..., 1]), axis=1)
    under_way = np.hypot(steps[..., 0], steps[..., 1]).min(axis=1) > 2.0 * fleet.step_s
    turn = np.abs(np.diff(course[under_way], axis=1)) / fleet.step_s
    assert np.degrees(turn.max()) < 0.71
    assert np.degrees(np.abs(course[under_way, -1] - course[under_way, 0]).max()) > 5.0


@pytest.mark.parametrize(("lat", "lon"), [(10.0, 180.0), (-40.0, -179.9), (78.0, 179.0)])
def test_across_the_antimeridian(tmp_path: Path, lat: float, lon: float) -> None:
    made = Made(small(region=Region(lat=lat, lon=lon, radius_km=300)), tmp_path)
    places = [(item["lat"], item["lon"]) for line in made.truth for item in line["objects"]]
    lats, lons = np.array(places).T
    assert (np.abs(lons) <= 180).all()
    assert (lons > 178).any()
    assert (lons < -178).any()
    _, _, away = WGS84.inv(np.full(len(lats), lon), np.full(len(lats), lat), lons, lats)
    assert away.max() < 330e3
    cut = 0
    for look in made.looks:
        if look.footprint is not None:
            polygons = look.footprint["coordinates"]
            many = look.footprint["type"] == "MultiPolygon"
            cut += many
            for polygon in polygons if many else [polygons]:
                ring = np.array(polygon[0])
                assert np.abs(np.diff(ring[:, 0])).max() < 100
                assert np.abs(ring[:, 0]).max() <= 180
    assert cut > 5
    fleet = made.fleets["SEA"]
    nearest = []
    for look in made.of("ais")[:200]:
        _, position = truth_at(fleet, made.seconds(look.time))
        nearest.append(distances(nvectors(look.detections[0].lat, look.detections[0].lon)[0], position).min())
    assert np.median(nearest) < 400


def test_vehicles_stay_on_their_ground(made: Made) -> None:
    centre = ground_area(made.scenario)
    assert distances(centre, made.fleets["GROUND"].path.reshape(-1, 3)).max() < 30e3
