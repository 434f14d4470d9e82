"""Looks come in any order, and after each arrival the state is, byte for byte, that of those looks in the order of their time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from itertools import pairwise
from random import Random

import msgspec
import pytest
from check_late import LateRun, engine_of, exact, folded, in_slices, microseconds, unlike
from engine_tools import at, config, disc, lines, report, scan, seen, shift
from hypothesis import given, settings
from hypothesis import strategies as st
from late_scenarios import KINDS, MOST_LOOKS, LateScenario, look_key, scenario, with_strangers

from apss_fusion.model import Ellipse, Look, Source
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.snapshot import EngineState

BLOCKS, IN_A_BLOCK = 12, 6


# ---------------------------------------------------------------------------------------- the scenarios themselves


def test_a_scenario_is_a_function_of_its_seed() -> None:
    assert scenario(5) == scenario(5)
    assert scenario(5).looks != scenario(6).looks
    assert [scenario(5, kind).kind for kind in KINDS] == list(KINDS)


def test_the_scenarios_have_what_they_should() -> None:
    """Ties in time, duplicates, looks that are late or contradictory, empty scenes, holes, several parts, every source."""
    found: Counter[str] = Counter()
    for seed in range(40):
        s = scenario(seed)
        assert len(s.looks) <= MOST_LOOKS
        found[s.kind] += 1
        found["ties"] += len(s.looks) - len({look.time for look in s.looks})
        for before, look in pairwise(s.looks):
            found["disorder"] += look_key(look) < look_key(before)
        for look in s.looks:
            assert look.time_received is not None
            assert look.time_received >= look.time
            found[look.source_id] += 1
            for d in look.detections:
                told = [
                    name for name in ("alt_m", "vertical_rate_mps", "range_rate_mps", "length_m", "class_probs", "time")
                ]
                found.update(name for name in told if getattr(d, name) is not None)
            if look.footprint:
                found[f"{look.footprint['type']} {len(look.footprint['coordinates'])}"] += 1
                found["empty"] += not look.detections
        e = Engine(config(**{**s.overrides, "hold_back": True}), s.sources)
        updates = [*e.process_many(s.looks), *e.flush()]
        found.update(u.end_reason or u.status for u in updates)
        found.update(f"rejected {r.kind}" for r in e.rejected())
    wanted = {
        *KINDS, *s.sources, "ais/7", "stranger", "ties", "disorder", "empty", "Polygon 1", "Polygon 2", "MultiPolygon 2",
        "alt_m", "vertical_rate_mps", "range_rate_mps", "length_m", "class_probs", "time",
        "TENTATIVE", "CONFIRMED", "COASTING", "LOST", "UNCERTAIN", "rejected late", "rejected duplicate", "rejected bad",
    }  # fmt: skip
    assert wanted - found.keys() == set()


# ---------------------------------------------------------------------------------------- exact after every arrival


@pytest.mark.parametrize("block", range(BLOCKS))
def test_after_every_arrival_the_state_is_the_fold(block: int) -> None:
    """Every arrival of one scenario in three, one arrival in four of the others."""
    checked = []
    for seed in range(block * IN_A_BLOCK, (block + 1) * IN_A_BLOCK):
        checked.append(exact(scenario(seed), 1.0 if seed % 3 == 0 else 0.25))
        assert checked[-1].problems == ()
    assert sum(c.late for c in checked) > 50


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_lag(kind: str) -> None:
    for seed in range(1000, 1004):
        assert exact(scenario(seed, kind), 0.3).problems == ()


def test_what_is_of_unknown_domain_and_an_aircraft_with_a_short_lag() -> None:
    """Reports of the aircraft are let go long before fixes of an emitter, near which it flies, have all arrived."""
    sources = {
        "adsb": Source(modality="ADSB", domains=("AIR",), max_latency_s=30.0),
        "rf": Source(modality="RF", domains=("SEA", "GROUND"), max_latency_s=3000.0, clutter_per_km2=1e-6),
    }

    def fix(t: float, arrival: float) -> Look:
        spot = seen(50.0, 0.0, "f", "UNKNOWN", ellipse=Ellipse(8e3, 3e3, 30.0))
        return msgspec.structs.replace(scan(t, None, spot, source="rf"), time_received=at(arrival))

    def flight(t: float) -> Look:
        height = {"alt_m": 3000.0, "alt_datum": "BARO", "ids": {"icao24": "4ca123"}}
        return report(t, *shift(50.0, 0.0, 2.0 * t - 600.0, 500.0), None, "adsb", domain="AIR", **height)

    looks = [fix(0.0, 1.0), fix(150.0, 151.0), *[flight(t) for t in range(300, 1500, 20)]]
    looks += [fix(50.0, 1500.0), fix(800.0, 1501.0), fix(310.0, 1502.0), flight(1510.0)]
    for domain in ({}, {"UNKNOWN": {"limit95_m": 9e5}}):
        run = LateRun(LateScenario(-1, "domains", 1500.0, 3000.0, looks, sources, {"domain": domain}))
        for look in looks:
            run.give(look)
            assert run.unlike() == []
        assert len(run.taken) == len(looks)
        assert run.engine.counters()["window_looks"] < 15


def test_a_source_that_nobody_has_registered() -> None:
    """It may touch every domain, so that what was let go separately belongs together from then on."""
    for s in with_strangers(1100, 6):
        assert exact(s, 0.5).problems == ()
        assert in_slices(s, 2).problems == ()


def test_looks_that_were_met_or_are_late_change_nothing() -> None:
    """A duplicate, an id with other content and a look beyond the lag, given after each arrival."""
    s = scenario(3, "moving")
    run = LateRun(s)
    for look in s.looks:
        run.give(look)
        old = msgspec.structs.replace(
            look,
            look_id=f"{look.look_id}-old",
            time=look.time - timedelta(seconds=s.lag_s + 3600.0),
            time_received=look.time_received,
        )
        before, taken = run.engine.state(), len(run.taken)
        other = msgspec.structs.replace(look, detections=(*look.detections, seen(0.0, 0.0, "another")))
        for bad in (look, other, old):
            assert len(run.give(bad)) == 0
        assert len(run.taken) == taken
        assert unlike(run.engine.state(), before) == []
    assert run.unlike() == []


def test_the_configuration_of_a_rich_scene_without_any_disorder() -> None:
    """In order nothing is late: the very same updates as by holding back, and no revision."""
    for seed in (11, 12, 13):
        s = scenario(seed, "wide")
        looks = [msgspec.structs.replace(look, time_received=None) for look in sorted(s.looks, key=look_key)]
        held = lines(looks, e=engine_of(s, hold_back=True))
        assert lines(looks, e=engine_of(s)) == held
        assert b'"revised_from":null' in held
        assert b'"revised_from":"' not in held


def test_holding_back_publishes_no_revision() -> None:
    """With the same looks late: each update of every track as in order, nothing withdrawn."""
    for seed in (11, 12, 13):
        s = scenario(seed, "wide")
        in_order = [msgspec.structs.replace(look, time_received=None) for look in sorted(s.looks, key=look_key)]
        held = lines(s.looks, e=engine_of(s, hold_back=True))
        assert held == lines(in_order, e=engine_of(s, hold_back=True))
        assert b"WITHDRAWN" not in held
        assert b'"revised_from":"' not in held


def test_a_station_may_be_as_late_as_the_source_that_it_belongs_to() -> None:
    """Also where another domain has a short lag: the register knows the source by the name before the slash."""
    sources = {
        "ais": Source(modality="AIS", domains=("SEA",), max_latency_s=3000.0),
        "adsb": Source(modality="ADSB", domains=("AIR",), max_latency_s=10.0),
    }
    flight = {"ids": {"icao24": "4ca123"}, "alt_m": 9000.0, "alt_datum": "BARO", "domain": "AIR"}
    for source, taken in (("ais/7", True), ("ais", True), ("adsb", False), ("adsb/7", False)):
        e = Engine(config(), sources)
        e.process_many([report(2000.0, 50.0, 0.0, "1"), report(2001.0, 40.0, 0.0, None, "adsb", **flight)])
        fields = flight if source.startswith("adsb") else {}
        e.process_many([report(100.0, 51.0, 0.0, None if fields else "2", source, **fields)])
        assert [r.kind for r in e.rejected()] == ([] if taken else ["late"]), source


# ---------------------------------------------------------------------------------------- a small scene in any order

SMALL = {
    "ais": Source(modality="AIS", domains=("SEA",), max_latency_s=5000.0),
    "sar": Source(modality="SAR", domains=("SEA",), max_latency_s=5000.0, p_detect=0.9, clutter_per_km2=1e-3),
    "rf": Source(modality="RF", max_latency_s=5000.0, clutter_per_km2=1e-6),
}


def small() -> LateScenario:
    """Two ships that meet, one of them silent at first, seen by three scenes, one of which is empty, and a coarse fix."""

    def along(t: float, sign: float) -> tuple[float, float]:
        return shift(50.0, 180.0, sign * (5.0 * t - 3000.0), 40.0 * sign)

    both = disc(50.0, 180.0, 20e3)
    fix = seen(*along(700.0, 1.0), "f", "UNKNOWN", ellipse=Ellipse(8e3, 3e3, 30.0))
    looks = [
        report(0.0, *along(0.0, 1.0), "1"),
        report(300.0, *along(300.0, 1.0), "1"),
        report(900.0, *along(900.0, 1.0), "1"),
        report(620.0, *along(620.0, -1.0), "2"),
        report(900.0, *along(900.0, -1.0), "2"),
        report(610.0, *along(610.0, 1.0), None),
        scan(200.0, both, seen(*along(200.0, -1.0), "a"), seen(*shift(50.0, 180.0, 8e3, 8e3), "clutter")),
        scan(600.0, both, seen(*along(600.0, 1.0), "a"), seen(*along(600.0, -1.0), "b", length_m=80.0)),
        scan(1000.0, both),
        scan(700.0, None, fix, source="rf"),
    ]
    return LateScenario(-1, "wide", 1000.0, 5000.0, looks, SMALL, {})


@cache
def fold_of(numbers: frozenset[int]) -> EngineState:
    s = small()
    return folded([s.looks[k] for k in sorted(numbers)], s).state()


@settings(max_examples=60)
@given(st.permutations(range(10)))
def test_any_order_of_a_small_scene(order: Sequence[int]) -> None:
    """Two of the looks have one time; a ship's track may be founded by either source."""
    s = small()
    e = engine_of(s)
    for k, number in enumerate(order):
        e.process_many([s.looks[number]])
        assert unlike(e.state(), fold_of(frozenset(order[: k + 1]))) == [], (order, k)


def test_the_small_scene_has_what_it_should() -> None:
    """Ships are known by what several sources have seen, and every look matters for the state."""
    s, whole = small(), fold_of(frozenset(range(10)))
    known = [track for track in folded(s.looks, s).tracks_at(microseconds(at(1000.0)), 0.5) if track.ids]
    assert sorted(track.ids["mmsi"] for track in known) == ["1", "2"]
    assert all(unlike(fold_of(frozenset(range(10)) - {k}), whole) for k in range(10))


# ---------------------------------------------------------------------------------------- wherever batches are cut


def one_by_one(looks: Sequence[Look], e: Engine) -> bytes:
    return lines(looks, range(len(looks)), e)


@pytest.mark.parametrize("budget", [None, 1, 3])
def test_updates_do_not_depend_on_where_batches_are_cut(budget: int | None) -> None:
    """Byte for byte, also with a budget that leaves something pending between two looks."""
    overrides = {} if budget is None else {"budget_clusters": budget}
    for seed in range(2000, 2008):
        s, r = scenario(seed), Random(seed)
        want = one_by_one(s.looks, engine_of(s, **overrides))
        assert lines(s.looks, e=engine_of(s, **overrides)) == want, seed
        cuts = r.sample(range(len(s.looks)), 6)
        assert lines(s.looks, cuts, engine_of(s, **overrides)) == want, (seed, cuts)


def test_a_batch_of_arrays_is_the_looks_one_by_one() -> None:
    s = scenario(2100)
    whole, single = engine_of(s), engine_of(s)
    updates = whole.process_many(whole.encode(s.looks))
    assert list(updates) == [u for look in s.looks for u in single.process(look)]
    assert unlike(whole.state(), single.state()) == []
    assert list(whole.flush()) == list(single.flush())
