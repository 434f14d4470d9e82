"""Arrival order does not matter within the lag; what comes later than that is said, and never used."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from engine_tools import (
    Scenario,
    at,
    delayed,
    engine,
    fused,
    lines,
    report,
    scenarios,
    seen,
    tick,
    with_latency,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from apss_fusion.model import Look, Source
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.engine import Engine, Rejected

LAG = 900.0


@settings(max_examples=50)
@given(scenarios(10, 12), st.integers(0, 2**20), st.lists(st.integers(0, 300), max_size=4))
def test_any_order_of_arrival_within_the_lag(scenario: Scenario, seed: int, cuts: list[int]) -> None:
    """Held back: delays of up to the lag give the bytes of in-order arrival, and nothing is late."""
    looks = scenario.looks()
    want = lines(looks, e=engine(with_latency(LAG), hold_back=True))
    late = delayed(looks, np.random.default_rng(seed), LAG)
    e = engine(with_latency(LAG), hold_back=True)
    assert lines(late, [c % (len(late) + 1) for c in cuts], e=e) == want
    assert e.rejected() == []
    assert lines(looks) == want


def arrived(look: Look, delay: float) -> Look:
    return msgspec.structs.replace(look, time_received=look.time + timedelta(seconds=delay))


def test_a_lag_to_the_microsecond() -> None:
    """A look exactly as late as the lag is used, one a microsecond later is not."""
    for extra_us, used in ((0, True), (1, False)):
        e = engine(lag_s=LAG)
        first = report(0.0, 50.0, 0.0, "1")
        e.process_many([first, tick(LAG + extra_us * 1e-6)])
        e.process_many([report(0.0, 51.0, 0.0, "2")])
        assert [r.kind for r in e.rejected()] == ([] if used else ["late"])
        e.flush()
        assert e.counts()["TENTATIVE"] == (2 if used else 1)


def test_the_clock_is_that_of_arrivals() -> None:
    """A look that comes with a late arrival time moves the clock though its own time is old."""
    e = engine(lag_s=100.0)
    e.process_many([arrived(report(0.0, 50.0, 0.0, "1"), 90.0)])
    e.process_many([arrived(report(5.0, 50.0, 0.0, "1"), 100.0)])
    assert e.rejected() == []
    e.process_many([report(4.9, 50.0, 0.0, "1")])
    assert [r.kind for r in e.rejected()] == ["late"]


def test_the_lag_is_that_of_a_sources_domain() -> None:
    """AIS of the second may come as late as SAR, which touches the same sea; an aircraft's report may not."""
    sources = {
        "ais": Source(modality="AIS", domains=("SEA",), max_latency_s=10.0),
        "sar": Source(modality="SAR", domains=("SEA",), max_latency_s=500.0),
        "adsb": Source(modality="ADSB", domains=("AIR",), max_latency_s=10.0),
    }
    e = engine(sources)
    e.process_many([report(400.0, 50.0, 0.0, "1")])
    e.process_many([report(100.0, 50.0, 0.0, "1")])
    assert e.rejected() == []
    e.process_many([report(100.0, 50.0, 0.0, None, source="adsb", domain="AIR", ids={"icao24": "a"})])
    assert [(r.number, r.kind) for r in e.rejected()] == [(2, "late")]


@settings(max_examples=40)
@given(scenarios(6, 8), st.integers(0, 2**20))
def test_what_is_not_used_is_said_and_changes_nothing(scenario: Scenario, seed: int) -> None:
    """Duplicates, looks with a known id and other content, and late ones among good ones: each is named by its number."""
    rng = np.random.default_rng(seed)
    looks = scenario.looks()
    given: list[Look] = []
    good: list[Look] = []
    want: list[tuple[int, str, str | None]] = []
    for k, look in enumerate(looks):
        given.append(look)
        good.append(look)
        if rng.random() < 0.2:
            given.append(arrived(look, 30.0) if rng.random() < 0.5 else look)
            want.append((len(given) - 1, "duplicate", None))
        if rng.random() < 0.2:
            given.append(msgspec.structs.replace(look, detections=(*look.detections, seen(0.0, 0.0, "other"))))
            want.append((len(given) - 1, "bad", "look_id"))
        if rng.random() < 0.2 and k > len(looks) // 2:
            old = at((looks[k].time - at(0)).total_seconds() - LAG - 100.0) if k else at(0)
            if old >= at(0):
                given.append(Look(look_id=f"old{k}", source_id="ais", time=old, detections=(seen(1.0, 1.0),)))
                want.append((len(given) - 1, "late", None))
    e = engine(with_latency(LAG))
    assert lines(given, e=e) == lines(good, e=engine(with_latency(LAG)))
    got = sorted((r.number, r.kind, r.field) for r in e.rejected())
    assert got == sorted(want)


def test_a_look_from_the_future_is_bad() -> None:
    """More than a minute after its own arrival. It does not move the clock either."""
    e = engine(lag_s=10.0)
    e.process_many([report(0.0, 50.0, 0.0, "1")])
    e.process_many([arrived(report(1000.0, 50.0, 0.0, "1"), -60.000001)])
    e.process_many([arrived(report(1000.5, 50.0, 0.0, "1"), -60.0)])
    (r,) = e.rejected()
    assert (r.number, r.kind, r.field) == (1, "bad", "time")
    e = engine(lag_s=10.0)
    e.process_many([arrived(report(1e6, 50.0, 0.0, "1"), -1e6), report(1.0, 50.0, 0.0, "1")])
    assert [r.number for r in e.rejected()] == [0]


def test_a_bad_detection_of_a_good_look_is_named_by_its_number() -> None:
    e = engine()
    good = report(0.0, 50.0, 0.0, "1")
    bad = msgspec.structs.replace(seen(50.0, 0.0, "x"), lat=91.0)
    mixed = msgspec.structs.replace(report(60.0, 50.0, 0.0, "1"), detections=(bad, good.detections[0]))
    (update,) = e.process_many([good, mixed])
    assert e.rejected() == [Rejected(1, 0, "not from -90 to 90", "lat", "bad")]
    assert e.rejected() == []
    assert update.n_detections == 2


def test_after_the_end_of_a_feed_what_is_older_is_late() -> None:
    e = engine(lag_s=1000.0)
    e.process_many([report(500.0, 50.0, 0.0, "1")])
    e.flush()
    assert len(e.process_many([report(400.0, 50.0, 0.0, "1"), report(501.0, 50.0, 0.0, "1")])) == 1
    assert [(r.number, r.kind) for r in e.rejected()] == [(1, "late")]
    assert len(e.flush()) == 0


def test_an_id_may_come_again_once_its_lag_has_passed() -> None:
    """Ids are known for the lag only; then a look with an old id is late by its time, or new."""
    e = engine(lag_s=100.0)
    look = report(0.0, 50.0, 0.0, "1")
    e.process_many([look, tick(101.0), look])
    assert [r.kind for r in e.rejected()] == ["late"]
    e.process_many([msgspec.structs.replace(look, time=at(150.0), time_received=None)])
    assert e.rejected() == []


@pytest.mark.parametrize("lag_s", [0.0, 50.0])
def test_a_look_is_fused_once_nothing_earlier_can_come(lag_s: float) -> None:
    """Held back for the lag and no longer: the second report's update comes with the first look after it."""
    e = engine(lag_s=lag_s, hold_back=True)
    e.process_many([report(0.0, 50.0, 0.0, "1"), report(10.0, 50.0, 0.0, "1")])
    assert len(e.process_many([tick(10.0 + lag_s)])) == 0
    assert len(e.process_many([tick(10.0 + lag_s + 1e-6)])) == 1


def test_pictures_do_not_depend_on_the_order_of_arrival() -> None:
    """At every multiple of the interval since 1970, once nothing earlier can come."""
    looks = Scenario(33, 8, 12).looks()

    def pictures(given: list[Look]) -> list[bytes]:
        e = engine(with_latency(LAG), picture_interval_s=120.0)
        e.process_many(given)
        e.flush()
        return [msgspec.json.encode(p) for p in e.pictures()]

    want = pictures(looks)
    assert len(want) > 10
    for seed in range(5):
        assert pictures(delayed(looks, np.random.default_rng(seed), LAG)) == want


def test_pictures_cut_no_updates() -> None:
    """Asking for pictures publishes nothing and changes nothing but when deadlines are noticed within a batch."""
    looks = [*Scenario(34, 8, 12).looks(), tick(30_000.0)]
    assert fused(looks, picture_interval_s=60.0) == fused(looks)


def test_an_engine_without_sources_takes_a_batch_of_nothing() -> None:
    e = Engine(Config.of())
    assert len(e.process_many([])) == 0
    assert len(e.process_many([report(0.0, 10.0, 20.0, "235000001")])) == 0
