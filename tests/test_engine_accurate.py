"""The setting `accurate` in the whole engine: what tracks that share detections keep apart, and take from each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_tools import at, disc, report, scan, seen, shift

from apss_fusion.estimation.history import COUNT
from apss_fusion.model import Look, Source, TrackUpdate
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine

LAT, LON = 50.0, -4.0
AREA = disc(LAT, LON, 30e3)
STILL = {"speed_mps": 0.0, "speed_sigma_mps": 0.05}


def radar(*nations: str) -> Source:
    return Source(modality="SAR", domains=("SEA",), max_latency_s=0.0, p_detect=0.9, releasable_to=nations)


SOURCES = {
    "west": radar("LUX", "NOR", "FRA"),
    "east": radar("LUX", "NOR", "DEU"),
    "both": radar("LUX", "NOR", "FRA", "DEU"),
    "ais": Source(modality="AIS", domains=("SEA",), max_latency_s=0.0, releasable_to=("LUX",)),
}


def fused(looks: list[Look], **overrides: Any) -> tuple[Engine, list[TrackUpdate]]:
    engine = Engine(Config.of({"lag_s": 0.0, "hold_back": True, "tentative": True, **overrides}), SOURCES)
    updates = list(engine.process_many(looks))
    return engine, updates + list(engine.flush())


def near(east_m: float, name: str, **fields: Any) -> Any:
    return seen(*shift(LAT, LON, east_m, 0.0), name, cov_enu_m2=(400.0, 0.0, 400.0), **fields)


def strip(east_m: float) -> dict[str, Any]:
    """An area that holds what is about there, and nothing of the other side."""
    return disc(*shift(LAT, LON, east_m, 0.0), 90.0)


def meeting() -> list[Look]:
    """Two ships 400 m apart, each seen by a radar of its own; ten minutes later one radar sees both, 40 m apart."""
    apart = []
    for k in range(5):
        apart.append(scan(50.0 * k, strip(-200.0), near(-200.0, "w", **STILL), source="west"))
        apart.append(scan(50.0 * k + 1.0, strip(200.0), near(200.0, "e", **STILL), source="east"))
    together = [
        scan(800.0 + 10.0 * k, AREA, near(-20.0, "a"), near(20.0, "b"), source="both", clutter_per_km2=1e-4)
        for k in range(3)
    ]
    return apart + together


def test_who_shaped_the_other_counts_for_the_marking_of_a_track_that_takes_of_it() -> None:
    engine, updates = fused(meeting(), accurate={"noise_factors": [1.0]})
    before = {u.track_id: u for u in updates if u.time < at(300.0)}
    after = {u.track_id: u for u in updates if u.time > at(805.0)}
    assert sorted(u.marking.releasable_to for u in before.values()) == [("DEU", "LUX", "NOR"), ("FRA", "LUX", "NOR")]
    assert before.keys() <= after.keys()
    # Their states have mixed: neither may go where only the other's source forbids it.
    assert {after[k].marking.releasable_to for k in before} == {("LUX", "NOR")}
    assert len(engine.tracks_at(round(at(821.0).timestamp() * 1e6), 0.5)) == 2


def test_in_the_setting_fast_a_track_takes_of_no_other() -> None:
    _, updates = fused(meeting(), filter="fast")
    before = {u.track_id for u in updates if u.time < at(300.0)}
    after = {u.track_id: u for u in updates if u.time > at(805.0) and u.track_id in before}
    assert sorted(u.marking.releasable_to for u in after.values()) == [("DEU", "LUX", "NOR"), ("FRA", "LUX", "NOR")]


def test_two_ships_that_meet_stay_two_places() -> None:
    """Moment matching lets both tracks be the mean of both ships; the projection deals the detections out."""
    engine, _ = fused(meeting(), accurate={"noise_factors": [1.0]})
    lons = sorted(t.lon for t in engine.tracks_at(round(at(821.0).timestamp() * 1e6), 0.5))
    assert lons[0] < LON < lons[1]


def test_an_open_question_is_kept_as_histories() -> None:
    looks = [scan(60.0 * k, AREA, near(3.0 * 60.0 * k, "x"), source="both") for k in range(5)]
    looks.append(scan(300.0, AREA, near(740.0, "a"), near(1060.0, "b"), source="both", clutter_per_km2=0.5))
    engine, _ = fused(looks, accurate={"noise_factors": [1.0]})
    rows = engine._filter.bank.history[engine._filter.bank.link["alive"] != 0]
    assert rows[:, COUNT].max() >= 2
    plain, _ = fused(looks, filter="fast")
    assert plain._filter.bank.history.shape[1] == 0


def test_names_stay_with_the_ships_that_carry_them_through_a_meeting() -> None:
    """Two ships cross with 40 m between them under an unnamed radar; their reports name them before and after."""
    rng = np.random.default_rng(3)
    looks = []
    for k in range(-10, 11):
        t = 600.0 + 30.0 * k
        for mmsi, north in (("235000001", 6.0 * 30.0 * k), ("235000002", -6.0 * 30.0 * k)):
            place = shift(LAT, LON, 20.0 if mmsi.endswith("1") else -20.0, north)
            if abs(k) > 4:
                looks.append(report(t, *place, mmsi))
            dots = seen(*shift(*place, *rng.normal(0.0, 30.0, 2)), mmsi[-1], cov_enu_m2=(900.0, 0.0, 900.0))
            looks.append(scan(t + 5.0 + float(mmsi[-1]), None, dots, source="both"))
    looks.sort(key=lambda look: look.time)
    engine, updates = fused(looks)
    named: dict[str, set[str]] = {}
    for u in updates:
        if u.ids:
            named.setdefault(u.track_id, set()).add(u.ids["mmsi"])
    assert sorted(map(len, named.values())) == [1, 1]
    final = engine.tracks_at(round(at(900.0).timestamp() * 1e6), 0.5)
    north = {t.ids["mmsi"]: t.lat for t in final if t.ids}
    assert north["235000001"] > LAT > north["235000002"]


def test_a_state_of_one_setting_is_refused_by_the_other() -> None:
    engine, _ = fused(meeting())
    other = Engine(Config.of({"lag_s": 0.0, "hold_back": True, "filter": "fast"}), SOURCES)
    with pytest.raises(ValueError, match="another setting"):
        other.load(engine.changes())


def test_a_bank_of_more_factors_than_histories_is_refused() -> None:
    with pytest.raises(ValueError, match="no more than histories"):
        Config.of({"accurate": {"histories": 2}})
