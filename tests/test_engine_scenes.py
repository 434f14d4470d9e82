"""What an operator would ask: plain scenes of ships and aircraft, each with the one answer that is right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from engine_tools import at, disc, distance_m, fused, matrix, report, scan, seen, shift, tick, tracks_of

from apss_fusion.model import Ellipse, Look, TrackUpdate

LAT, LON = 50.0, -4.0


def place(east_m: float, north_m: float) -> tuple[float, float]:
    return shift(LAT, LON, east_m, north_m)


def sailing(
    mmsi: str,
    times: Iterable[float],
    start: tuple[float, float] = (0.0, 0.0),
    velocity: tuple[float, float] = (0.0, 6.0),
    tell: bool = True,
) -> list[Look]:
    """Reports of a ship on a straight course, with speed and course where `tell`."""
    course = math.degrees(math.atan2(*velocity)) % 360.0
    known: dict[str, Any] = {"speed_mps": math.hypot(*velocity), "course_deg": course} if tell else {}
    return [report(t, *place(start[0] + velocity[0] * t, start[1] + velocity[1] * t), mmsi, **known) for t in times]


def one_track(updates: list[TrackUpdate]) -> list[TrackUpdate]:
    tracks = tracks_of(updates)
    assert len(tracks) == 1, {k: (u[-1].ids, u[-1].n_detections) for k, u in tracks.items()}
    return next(iter(tracks.values()))


def of_mmsi(updates: list[TrackUpdate], mmsi: str) -> list[TrackUpdate]:
    return [u for u in updates if u.ids.get("mmsi") == mmsi]


# ---------------------------------------------------------------------------------------- identity


def test_two_ships_with_one_mmsi_stay_two() -> None:
    """50 km apart, reporting in turn: two tracks, both flagged. Broken by a hard link of identity to track."""
    looks = sailing("235000001", range(0, 2400, 240)) + sailing("235000001", range(120, 2400, 240), (50e3, 0.0))
    updates = fused(sorted(looks, key=lambda k: k.time))
    tracks = tracks_of(updates)
    assert len(tracks) == 2
    for own in tracks.values():
        assert own[-1].n_detections == 10
        assert own[-1].flags == ("id_conflict",)
        assert max(distance_m(u.lat, u.lon, own[0].lat, own[0].lon) for u in own) < 20e3


def test_one_ship_has_no_conflict() -> None:
    assert {u.flags for u in fused(sailing("1", range(0, 2400, 240)))} == {()}


@pytest.mark.parametrize("apart_m", [40.0, 100.0, 250.0, 1000.0])
@pytest.mark.parametrize("speed", [0.0, 6.0])
def test_two_ships_with_their_own_mmsi_stay_two(apart_m: float, speed: float) -> None:
    """Moored side by side or in convoy: a report of another identity is another ship, however near.

    Broken where a report of an identity that no track has is rather a mistaken one of the ship nearby.
    """
    looks = sailing("111", range(0, 2160, 180), velocity=(0.0, speed))
    looks += sailing("222", range(810, 2160, 180), (apart_m, 0.0), (0.0, speed))
    tracks = tracks_of(fused(sorted(looks, key=lambda k: k.time)))
    assert sorted((u[-1].ids["mmsi"], u[-1].n_detections) for u in tracks.values()) == [("111", 12), ("222", 8)]


def test_a_report_far_away_does_not_move_the_track() -> None:
    """A spoofed position 500 km off founds a track of its own at most."""
    looks = sailing("235000001", range(0, 3600, 180))
    looks.append(report(1000.0, *place(500e3, 0.0), "235000001", speed_mps=6.0, course_deg=0.0))
    updates = fused(sorted(looks, key=lambda k: k.time))
    tracks = [u for u in tracks_of(updates).values() if u[-1].n_detections > 1]
    assert len(tracks) == 1
    for u in tracks[0]:
        t = (u.time - at(0)).total_seconds()
        assert distance_m(u.lat, u.lon, *place(0.0, 6.0 * t)) < 100.0
    assert tracks[0][-1].n_detections == 20


@pytest.mark.parametrize("gap", [60.0, 180.0, 600.0, 1800.0])
@pytest.mark.parametrize("turn_deg", [60.0, 120.0, 180.0])
def test_a_ship_that_turns_hard_keeps_its_track(gap: float, turn_deg: float) -> None:
    """Ten steady reports, then another course at 10 m/s: broken where only the narrow motion model gates."""
    looks = sailing("235000001", np.arange(10) * gap, velocity=(0.0, 10.0))
    rad = math.radians(turn_deg)
    for k in range(1, 8):
        t = gap * (9 + k)
        here = place(10.0 * math.sin(rad) * gap * (k - 0.5), 10.0 * gap * 9.5 + 10.0 * math.cos(rad) * gap * (k - 0.5))
        looks.append(report(t, *here, "235000001", speed_mps=10.0, course_deg=turn_deg))
    updates = one_track(fused(looks))
    assert updates[-1].n_detections == 17
    assert distance_m(updates[-1].lat, updates[-1].lon, *here) < 60.0
    assert (updates[-1].course_deg - turn_deg + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=10.0)


def test_a_report_with_a_wrong_speed_does_not_break_the_track() -> None:
    """52.6 m/s to the east between steady reports: the position is believed, the velocity is not."""
    looks = sailing("235000001", range(0, 1200, 60))
    looks[7] = report(420.0, *place(0.0, 2520.0), "235000001", speed_mps=52.6, course_deg=90.0)
    updates = one_track(fused(looks))
    assert updates[-1].n_detections == 20
    for u in updates:
        assert distance_m(u.lat, u.lon, *place(0.0, 6.0 * (u.time - at(0)).total_seconds())) < 60.0


def test_a_ship_that_takes_another_identity_is_another_track() -> None:
    """An identity is strong evidence: from the change on there is a new track, and the old one ends by itself."""
    looks = sailing("1", range(0, 600, 60)) + sailing("2", range(600, 1200, 60)) + [tick(40_000.0)]
    tracks = tracks_of(fused(looks, lag_s=0.0))
    assert sorted((own[-1].ids["mmsi"], own[-1].n_detections) for own in tracks.values()) == [("1", 10), ("2", 10)]
    assert {own[-1].end_reason for own in tracks.values()} == {"UNCERTAIN"}


# ---------------------------------------------------------------------------------------- several sensors


def test_radar_satellite_and_ais_make_one_track() -> None:
    """Scans of a ship that reports itself: one track, evidence of both, the more exact for the second."""
    looks = sailing("235000001", range(0, 3000, 300), tell=False)
    for k in range(4):
        t = 450.0 + 600.0 * k
        ship = seen(*place(30.0, 6.0 * t - 20.0), length_m=120.0)
        looks.append(scan(t, disc(LAT, LON, 60e3), ship))
    updates = one_track(fused(sorted(looks, key=lambda k: k.time)))
    last = updates[-1]
    assert {(c.source_id, c.n) for c in last.contributors} == {("ais", 10), ("sar", 4)}
    assert last.n_detections == 14
    assert last.length_m == pytest.approx(120.0, abs=1.0)
    assert last.ids == {"mmsi": "235000001"}


def test_a_dark_ship_beside_one_that_reports() -> None:
    """Two in the scan, one reports: two tracks, and the identity stays with its own."""
    looks = sailing("235000001", range(0, 3000, 300))
    for k in range(5):
        t = 350.0 + 600.0 * k
        ships = seen(*place(20.0, 6.0 * t), "a"), seen(*place(1500.0, 6.0 * t), "b")
        looks.append(scan(t, disc(LAT, LON, 60e3), *ships))
    tracks = tracks_of(fused(sorted(looks, key=lambda k: k.time)))
    assert len(tracks) == 2
    by_id = {u[-1].ids.get("mmsi"): u[-1] for u in tracks.values()}
    assert by_id["235000001"].n_detections == 15
    assert by_id[None].n_detections == 5
    assert {c.source_id for c in by_id[None].contributors} == {"sar"}


def test_a_range_rate_tells_velocity() -> None:
    """GMTI with radial velocity against the same without: the covariance along the line of sight shrinks."""

    def looks(rate: bool) -> list[Look]:
        out = []
        for k in range(3):
            known: dict[str, Any] = {
                "range_rate_mps": 12.0,
                "range_rate_sigma_mps": 0.3,
                "los_az_deg": 0.0,
                "los_el_deg": -10.0,
            }
            car = seen(*place(0.0, 12.0 * 30.0 * k), domain="GROUND", **(known if rate else {}))
            out.append(scan(30.0 * k, disc(LAT, LON, 20e3), car, source="gmti"))
        return out

    with_rate, without = one_track(fused(looks(True)))[0], one_track(fused(looks(False)))[0]
    assert matrix(with_rate.cov_enu)[3, 3] < 0.5 * matrix(without.cov_enu)[3, 3]
    assert with_rate.v_enu_mps[1] == pytest.approx(12.0 / math.cos(math.radians(10.0)), abs=0.5)


def test_a_vague_ellipse_does_not_spoil_a_good_track() -> None:
    """RF of 5 km about 3 km off: the position moves by metres and the track knows no less than without."""
    looks = sailing("235000001", range(0, 1800, 180))
    spot = seen(*place(3000.0, 6.0 * 1700.0), domain="UNKNOWN", ellipse=Ellipse(12_240.0, 12_240.0, 0.0))
    plain = fused([*looks, report(1800.0, *place(0.0, 10_800.0), "235000001")])
    with_rf = fused([*looks, scan(1700.0, None, spot, source="rf"), report(1800.0, *place(0.0, 10_800.0), "235000001")])
    a, b = one_track(plain)[-1], one_track(with_rf)[-1]
    assert distance_m(a.lat, a.lon, b.lat, b.lon) < 10.0
    assert matrix(b.cov_enu)[0, 0] < 1.05 * matrix(a.cov_enu)[0, 0]
    assert b.n_detections == a.n_detections + 1
    heard = next(u for u in with_rf if any(e.look_id.startswith("rf") for e in u.evidence))
    assert distance_m(heard.lat, heard.lon, *place(0.0, 6.0 * 1700.0)) < 50.0


def test_a_source_that_may_not_initiate_founds_nothing() -> None:
    spots = [
        scan(60.0 * k, None, seen(LAT, LON, domain="SEA", ellipse=Ellipse(300.0, 300.0, 0.0)), source="rf")
        for k in range(20)
    ]
    assert fused(spots, tentative=True) == []


def test_a_detection_of_unknown_domain_updates_a_ship() -> None:
    looks = sailing("235000001", range(0, 1800, 180))
    spot = seen(*place(5.0, 6.0 * 1700.0), domain="UNKNOWN")
    updates = one_track(
        fused([*looks, scan(1700.0, None, spot, source="eo"), report(1900.0, *place(0.0, 11_400.0), "235000001")])
    )
    assert updates[-1].domain == "SEA"
    assert {c.source_id for c in updates[-1].contributors} == {"ais", "eo"}


def test_what_was_of_unknown_domain_becomes_a_ship() -> None:
    """A camera founds the track, reports follow: one track, of the sea from then on."""
    looks = [scan(0.0, disc(LAT, LON, 30e3), seen(*place(30.0, 0.0), domain="UNKNOWN"), source="eo")]
    looks += [report(60.0 + 60.0 * k, *place(0.0, 0.0), "235000001") for k in range(5)]
    updates = one_track(fused(looks))
    assert updates[-1].domain == "SEA"
    assert updates[-1].n_detections == 6


def test_two_dark_ships_that_pass_each_other_keep_their_tracks() -> None:
    """Scanned every minute at 20 m, opposite courses 150 m apart: each goes on to the other side."""
    rng = np.random.default_rng(3)
    looks = []
    for k in range(40):
        ends = (
            place(-4000.0 + 200.0 * k + rng.normal(0, 20), rng.normal(0, 20)),
            place(4000.0 - 200.0 * k + rng.normal(0, 20), 150.0 + rng.normal(0, 20)),
        )
        plots = [seen(*p, f"p{n}", ellipse=Ellipse(49.0, 49.0, 0.0)) for n, p in enumerate(ends)]
        looks.append(scan(60.0 * k, disc(LAT, LON, 30e3), *plots))
    tracks = tracks_of(fused(looks))
    assert len(tracks) == 2
    for own in tracks.values():
        assert own[-1].n_detections == 40
        assert (own[0].lon - LON) * (own[-1].lon - LON) < 0.0


def test_an_anchorage_that_is_scanned_often() -> None:
    """30 ships at anchor within 10 km, every minute: each has its track, where it lies.

    (From some 200 s between scans on, when a ship could have come from any of its neighbours' places, a scan alone does
    not tell them apart, and tracks stay tentative.)
    """
    rng = np.random.default_rng(0)
    ships = rng.uniform(-5e3, 5e3, (30, 2))
    looks = []
    for k in range(15):
        plots = [seen(*place(*(x + rng.normal(0, 50, 2))), f"s{n}") for n, x in enumerate(ships) if rng.random() < 0.95]
        looks.append(scan(60.0 * k, disc(LAT, LON, 60e3), *plots, p_detect=0.95))
    living = [own[-1] for own in tracks_of(fused(looks)).values() if own[-1].status != "TERMINATED"]
    assert len(living) == 30
    for x in ships:
        assert min(distance_m(u.lat, u.lon, *place(*x)) for u in living) < 150.0


def test_domains_are_not_mixed() -> None:
    """A ship under an aircraft: two tracks at one place."""
    looks = []
    for k in range(6):
        looks.append(report(60.0 * k, LAT, LON, "235000001"))
        looks.append(report(60.0 * k + 1.0, LAT, LON, None, source="adsb", domain="AIR", ids={"icao24": "4b1800"}))
    tracks = tracks_of(fused(looks))
    assert {(u[-1].domain, u[-1].n_detections) for u in tracks.values()} == {("SEA", 6), ("AIR", 6)}


# ---------------------------------------------------------------------------------------- aircraft


def meeting(heights: tuple[float | None, float | None]) -> list[TrackUpdate]:
    """Two aircraft abreast at 200 m/s that drift together at 20 m/s each until t = 145 s and apart again, each to its side."""
    rng = np.random.default_rng(1)
    looks = []
    for k in range(30):
        t = 10.0 * k
        plots = []
        for name, side, height in (("a", 1.0, heights[0]), ("b", -1.0, heights[1])):
            error = rng.normal(0.0, 50.0, 2)
            known: dict[str, Any] = (
                {"alt_m": height, "alt_datum": "HAE", "alt_sigma_m": 30.0} if height is not None else {}
            )
            here = place(side * 20.0 * abs(t - 145.0) + error[0], 200.0 * t + error[1])
            plots.append(seen(*here, name, "AIR", **known))
        looks.append(scan(t, disc(LAT, LON, 200e3), *plots, source="radar"))
    return fused(looks)


def test_height_keeps_two_aircraft_apart() -> None:
    """At 6 and 10 km: each track keeps its height and goes back to its side. Broken where height is no part of the weight."""
    long = [u for u in tracks_of(meeting((6_000.0, 10_000.0))).values() if len(u) > 20]
    assert len(long) == 2
    for own in long:
        first = own[0].alt_m
        assert first is not None
        assert all(u.alt_m == pytest.approx(first, abs=100.0) for u in own)
        assert (own[0].lon - LON) * (own[-1].lon - LON) > 0.0


def test_without_height_they_are_exchanged() -> None:
    """The scene of the test before is hard: going straight on is likelier, and nothing else tells them apart."""
    long = [u for u in tracks_of(meeting((None, None))).values() if len(u) > 20]
    assert all((own[0].lon - LON) * (own[-1].lon - LON) < 0.0 for own in long)
    assert all(own[-1].alt_m is None and own[-1].alt_sigma_m is None and own[-1].v_enu_mps[2] is None for own in long)


# ---------------------------------------------------------------------------------------- order


def test_looks_of_one_time_go_by_source_then_look_id() -> None:
    """Whichever comes first: the evidence tells the order in which they were used."""

    def ship(name: str, source: str, t: float) -> Look:
        return Look(look_id=name, source_id=source, time=at(t), detections=(seen(LAT, LON, ids={"mmsi": "1"}),))

    start = [ship(f"start{k}", "ais", 10.0 * k) for k in range(3)]
    same = [
        ship("b", "ais", 100.0),
        ship("a", "ais-2", 100.0),
        ship("a2", "ais", 100.0),
        ship("long-name-1", "ais-2", 100.0),
    ]
    same += [
        ship("a-name-of-more-than-16-bytes-2", "ais-2", 100.0),
        ship("a-name-of-more-than-16-bytes-1", "ais-2", 100.0),
    ]
    rng = np.random.default_rng(0)
    for _ in range(5):
        looks = [*start, *(same[k] for k in rng.permutation(len(same)))]
        used = [u.evidence[0].look_id for u in fused(looks, lag_s=10.0, hold_back=True) if u.time == at(100.0)]
        assert used == [
            "a2",
            "b",
            "a",
            "a-name-of-more-than-16-bytes-1",
            "a-name-of-more-than-16-bytes-2",
            "long-name-1",
        ]
