"""What is published: well formed, unknown is null, and consistent in itself, whatever the looks were."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from uuid import uuid5

import h3.api.basic_str as h3
import msgspec
import numpy as np
import pytest
from engine_tools import (
    SOURCES,
    Scenario,
    at,
    delayed,
    engine,
    fused,
    matrix,
    report,
    scenarios,
    seen,
    tick,
    tracks_of,
    with_latency,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from made_looks import looks as any_looks

from apss_fusion.model import Look, Source, TrackUpdate
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking.filter import TRACK_NAMESPACE

#: A minus sign before a number that is zero.
NEGATIVE_ZERO = re.compile(rb"[:\[,]-0(?:\.0*)?(?:[eE][+-]?\d+)?[,\]}]")
_DECODE = msgspec.json.Decoder(TrackUpdate).decode


def published(
    looks: list[Look], sources: dict[str, Source] | None = None, tentative: bool = False
) -> list[TrackUpdate]:
    """The updates of the lines that are written: nothing in them may be NaN, infinite or -0.0."""
    e = engine(sources, tentative=tentative)
    text = bytes(encode(e.process_many(looks))) + bytes(encode(e.flush()))
    assert not NEGATIVE_ZERO.search(text), NEGATIVE_ZERO.search(text)
    assert b"NaN" not in text and b"nfinity" not in text
    return [_DECODE(line) for line in text.splitlines()]


def check(updates: list[TrackUpdate], tentative: bool) -> None:
    for u in updates:
        check_numbers(u)
        check_sources(u)
    assert max(Counter((u.track_id, u.seq) for u in updates).values(), default=1) == 1
    for own in tracks_of(updates).values():
        check_history(own, tentative)


def check_numbers(u: TrackUpdate) -> None:
    assert -90.0 <= u.lat <= 90.0 and -180.0 < u.lon <= 180.0
    p = matrix(u.cov_enu)
    sigma = np.sqrt(np.diag(p))
    assert (sigma > 0.0).all()
    assert np.linalg.eigvalsh(p / np.outer(sigma, sigma))[0] > -2e-6
    values = np.linalg.eigvalsh(p[:2, :2])
    assert u.ellipse95.semi_major_m == pytest.approx(2.4477468 * math.sqrt(values[1]), abs=0.11)
    assert u.ellipse95.semi_minor_m == pytest.approx(max(2.4477468 * math.sqrt(max(values[0], 0.0)), 0.1), abs=0.11)
    assert 0.0 <= u.ellipse95.orientation_deg < 180.0
    assert u.speed_mps == pytest.approx(math.hypot(u.v_enu_mps[0], u.v_enu_mps[1]), abs=0.006)
    assert 0.0 <= u.course_deg < 360.0
    if u.speed_mps > 1.0:
        course = math.degrees(math.atan2(u.v_enu_mps[0], u.v_enu_mps[1]))
        assert (u.course_deg - course + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=0.1)
    assert 0.0 <= u.existence_prob <= 1.0
    assert u.h3 == h3.latlng_to_cell(u.lat, u.lon, 7)
    assert (u.alt_m is None) == (u.alt_sigma_m is None) == (u.alt_datum is None) or u.alt_m is not None
    assert u.length_m is None or u.length_m > 0.0
    assert u.width_m is None or u.width_m > 0.0


def check_sources(u: TrackUpdate) -> None:
    assert sum(c.n for c in u.contributors) == u.n_detections >= 1
    assert len({c.source_id for c in u.contributors}) == len(u.contributors)
    assert all(c.last <= u.time for c in u.contributors)
    assert max(c.last for c in u.contributors) == u.time_last_detection
    assert all(0.0 < e.weight <= 1.0 for e in u.evidence)
    assert sum(e.weight for e in u.evidence) <= 1.0 + 1e-5
    assert len({e.detection_id for e in u.evidence}) == len(u.evidence)


def check_history(own: list[TrackUpdate], tentative: bool) -> None:
    assert [u.seq for u in own] == list(range(1, len(own) + 1))
    assert all(a.time <= b.time for a, b in itertools.pairwise(own))
    # Of what a late look has changed, everything may be another.
    in_order = [(a, b) for a, b in itertools.pairwise(own) if b.revised_from is None]
    assert all(a.n_detections <= b.n_detections for a, b in in_order)
    statuses = [u.status for u in own]
    assert statuses[0] in ("TENTATIVE" if tentative else "CONFIRMED", "CONFIRMED")
    assert all(a.status != "TERMINATED" for a, _ in in_order)
    assert all((u.end_reason is not None) == (u.status == "TERMINATED") for u in own)
    legal = {
        "TENTATIVE": {"TENTATIVE", "CONFIRMED", "TERMINATED"},
        "CONFIRMED": {"CONFIRMED", "COASTING", "TERMINATED"},
        "COASTING": {"COASTING", "CONFIRMED", "TERMINATED"},
    }
    assert all(b.status in legal[a.status] for a, b in in_order)
    if not tentative:
        assert "TENTATIVE" not in statuses
        assert own[0].n_detections >= 2
        # A late look may confirm a track in the past, of which less is left by now.
        assert own[0].existence_prob >= 0.9 or own[0].revised_from is not None
    assert len({u.domain for u in own if u.domain != "UNKNOWN"}) <= 1


@settings(max_examples=50)
@given(scenarios(10, 14), st.booleans())
def test_updates_of_random_scenes_are_well_formed(scenario: Scenario, tentative: bool) -> None:
    looks = [*scenario.looks(), tick(100_000.0)]
    check(published(looks, tentative=tentative), tentative)


@settings(max_examples=30)
@given(scenarios(6, 8))
def test_also_where_looks_come_late(scenario: Scenario) -> None:
    rng = np.random.default_rng(scenario.seed)
    check(published(delayed(scenario.looks(-33.0, 179.9), rng, 900.0), with_latency(900.0)), False)


@settings(max_examples=150)
@given(st.lists(any_looks(bad=True), max_size=12))
def test_whatever_is_in_the_looks(looks: list[Look]) -> None:
    """Fields of any value, good or bad, in any combination, about anything: nothing raises, what comes out is sound."""
    sources = {name: SOURCES[name] for name in ("ais", "adsb", "sar", "rf")}
    check(published(looks, sources, tentative=True), True)


@settings(max_examples=30)
@given(scenarios(8, 10))
def test_a_track_is_named_by_its_founding_detection(scenario: Scenario) -> None:
    """UUIDv5 of source_id/look_id/detection_id: no counter, no random number."""
    looks = scenario.looks()
    source_of = {look.look_id: look.source_id for look in looks}
    for name, own in tracks_of(fused(looks, tentative=True)).items():
        (founding,) = own[0].evidence
        text = f"{source_of[founding.look_id]}/{founding.look_id}/{founding.detection_id}"
        assert str(uuid5(TRACK_NAMESPACE, text)) == name


@settings(max_examples=25)
@given(scenarios(8, 10))
def test_evidence_names_detections_of_looks_that_were_given(scenario: Scenario) -> None:
    looks = scenario.looks()
    detections = {look.look_id: {d.detection_id for d in look.detections} for look in looks}
    times = {look.look_id: look.time for look in looks}
    for u in fused(looks):
        for e in u.evidence:
            assert e.detection_id in detections[e.look_id]
            assert times[e.look_id] == u.time
    # No detection is used for more than one whole.
    used: Counter[tuple[str, str]] = Counter()
    for u in fused(looks):
        for e in u.evidence:
            used[e.look_id, e.detection_id] += round(e.weight * 1e6)
    assert all(total <= 1_050_000 for total in used.values())


def test_what_is_unknown_is_null() -> None:
    looks = [report(60.0 * k, 50.0, 0.0, None) for k in range(4)]
    (own,) = tracks_of(published(looks)).values()
    last = own[-1]
    assert (last.alt_m, last.alt_sigma_m, last.alt_datum, last.length_m, last.width_m) == (None,) * 5
    assert last.v_enu_mps[2] is None and last.end_reason is None and last.revised_from is None
    assert last.ids == {} and last.class_probs == {} and last.flags == ()


def test_a_ship_at_the_origin_has_no_negative_zero() -> None:
    """On the equator at longitude 0, without motion: zeros everywhere, also on the other side of the globe."""
    for lon in (0.0, -0.0, 180.0, -180.0):
        looks = [report(60.0 * k, -0.0, lon, "1", speed_mps=0.0, course_deg=270.0) for k in range(5)]
        updates = published(looks)
        assert len(updates) == 4
        assert all(u.lon in (0.0, 180.0) for u in updates)


# ---------------------------------------------------------------------------------------- marking


def marked(*sources: str) -> TrackUpdate:
    register = {
        "open": Source(modality="AIS", releasable_to=("LUX", "BEL", "FRA"), caveats=("A",)),
        "nato": Source(
            modality="AIS", classification="NATO RESTRICTED", releasable_to=("BEL", "LUX"), caveats=("B", "A")
        ),
        "own": Source(modality="AIS", classification="SECRET", releasable_to=("LUX",)),
        "nobody": Source(modality="AIS", classification="CONFIDENTIAL"),
    }
    looks = [
        Look(look_id=f"l{k}", source_id=name, time=at(60.0 * k), detections=(seen(50.0, 0.0, ids={"mmsi": "1"}),))
        for k, name in enumerate([*sources, sources[-1]])
    ]
    (own,) = tracks_of(fused(looks, register, lag_s=0.0)).values()
    return own[-1]


@pytest.mark.parametrize(
    ("sources", "classification", "releasable_to", "caveats"),
    [
        (("open",), "UNCLASSIFIED", ("BEL", "FRA", "LUX"), ("A",)),
        (("open", "nato"), "NATO RESTRICTED", ("BEL", "LUX"), ("A", "B")),
        (("nato", "open"), "NATO RESTRICTED", ("BEL", "LUX"), ("A", "B")),
        (("open", "nato", "own"), "SECRET", ("LUX",), ("A", "B")),
        (("own", "nobody", "open"), "SECRET", (), ("A",)),
        (("open", "stranger"), "UNMARKED", (), ("A",)),
        (("stranger", "own"), "UNMARKED", (), ()),
    ],
)
def test_a_marking_is_computed_from_the_evidence(
    sources: tuple[str, ...], classification: str, releasable_to: tuple[str, ...], caveats: tuple[str, ...]
) -> None:
    """Highest classification, intersection of releasability, union of caveats; one unregistered source unmarks all."""
    update = marked(*sources)
    assert {c.source_id for c in update.contributors} == set(sources)
    assert update.marking.classification == classification
    assert update.marking.releasable_to == releasable_to
    assert update.marking.caveats == caveats


def test_a_marking_never_becomes_weaker() -> None:
    """Once secret evidence took part, a hundred open reports later it still did."""
    register = {
        "open": Source(modality="AIS", releasable_to=("LUX",)),
        "own": Source(modality="AIS", classification="SECRET"),
    }
    looks = [
        Look(look_id=f"l{k}", source_id="own" if k == 1 else "open", time=at(60.0 * k), detections=(seen(50.0, 0.0),))
        for k in range(100)
    ]
    (own,) = tracks_of(fused(looks, register, lag_s=0.0)).values()
    assert {u.marking.classification for u in own} == {"SECRET"}
    assert {u.marking.releasable_to for u in own} == {()}
