"""Looks into arrays: the equations against independent values, every check, and no trace of how batches are cut."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_looks import OTHER, SQUARE, T0, detection, encoder, look, looks, report, same
from scipy.stats import chi2
from xxhash import xxh3_64_intdigest

from apss_fusion.geodesy.wgs84 import nvectors
from apss_fusion.model import Ellipse, Look, Source
from apss_fusion.tracking.attributes import Attributes, identity_of
from apss_fusion.tracking.batch import LookBatch, Rejection
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.hashing import xxh3_64
from apss_fusion.tracking.register import Register
from apss_fusion.tracking.rows import AIR, DETECTION, LOOK, SEA, UNKNOWN
from apss_fusion.tracking.times import BAD_TIME_US, NO_TIME_US, from_us, times_us

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def row(source_id: str = "sar", **fields: Any) -> Any:
    """The row of one detection that must be good."""
    batch = encoder().encode([look(detection(**fields), source_id=source_id)])
    assert batch.rejected == []
    return batch.detections[0]


def covariance(of: Any, names: tuple[str, str, str]) -> np.ndarray:
    aa, ab, bb = (float(of[name]) for name in names)
    return np.array([[aa, ab], [ab, bb]])


def rejections(*given: Look) -> list[tuple[int, int, str]]:
    return [(r.look, r.detection, r.field) for r in encoder().encode(list(given)).rejected]


# ---------------------------------------------------------------- looks


def test_a_look_with_everything_in_it() -> None:
    e = encoder()
    batch = e.encode(
        [
            look(
                detection(detection_id="x"),
                detection(detection_id="y"),
                look_id="look-1",
                time_end=T0 + timedelta(seconds=5),
                time_received=T0 + timedelta(seconds=9),
                footprint=SQUARE,
                p_detect=0.25,
                clutter_per_km2=3.0,
                min_detectable_speed_mps=2.0,
            )
        ]
    )
    (got,) = batch.looks
    start = (T0 - EPOCH) // timedelta(microseconds=1)
    assert (got["time_us"], got["end_us"], got["received_us"]) == (start, start + 5_000_000, start + 9_000_000)
    assert got["t"] == start / 1e6
    assert (got["first"], got["count"]) == (0, 2)
    assert got["source"] == e.register.number("sar")
    assert batch.footprints[got["footprint"]] is e.footprint(SQUARE)[0]
    assert (got["cooperative"], got["may_initiate"]) == (0, 1)
    assert (got["p_detect"], got["clutter_per_m2"], got["min_speed_mps"]) == (0.25, 3e-6, 2.0)
    assert got["id_hash"] == xxh3_64_intdigest(b"look-1")
    assert (batch.look_id(0), batch.detection_id(0), batch.detection_id(1)) == ("look-1", "x", "y")
    assert batch.given == len(batch) == 1


def test_what_a_look_leaves_out_is_its_sources() -> None:
    e = encoder()
    batch = e.encode([look(), look(source_id="rf"), look(source_id="ais/3")])
    start = (T0 - EPOCH) // timedelta(microseconds=1)
    assert batch.looks["end_us"].tolist() == batch.looks["received_us"].tolist() == [start] * 3
    assert batch.looks["p_detect"][0] == 0.7 and batch.looks["clutter_per_m2"][0] == 0.02 / 1e6
    assert batch.looks["p_detect"][1] == e.register.defaults.modality["RF"].p_detect
    assert batch.looks["may_initiate"].tolist() == [1, 0, 1]
    assert batch.looks["cooperative"].tolist() == [0, 0, 1]
    assert batch.looks["footprint"].tolist() == [-1, -1, -1] and batch.footprints == []
    assert np.isnan(batch.looks["min_speed_mps"]).all()


def test_a_probability_of_zero_is_not_unknown() -> None:
    (got,) = encoder().encode([look(p_detect=0.0, clutter_per_km2=0.0, min_detectable_speed_mps=0.0)]).looks
    assert (got["p_detect"], got["clutter_per_m2"], got["min_speed_mps"]) == (0.0, 0.0, 0.0)


def test_footprints_of_one_content_are_one_object_also_in_other_batches() -> None:
    e = encoder()
    spelled = {"coordinates": ((((0.0, 50.0), (1, 50), (1, 51), (0, 51), (-0.0, 50))),), "type": "Polygon", "bbox": []}
    batch = e.encode([look(footprint=f) for f in (OTHER, SQUARE, spelled, None, OTHER)])
    assert batch.rejected == []
    assert batch.looks["footprint"].tolist() == [0, 1, 1, -1, 0]
    again = e.encode([look(footprint=SQUARE)])
    assert again.footprints == [batch.footprints[1]]
    assert len({e.encode([look(footprint=f)]).looks["content"][0] for f in (SQUARE, spelled)}) == 1


def test_two_forgotten_footprints_are_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apss_fusion.tracking.encode._CACHED_FOOTPRINTS", 1)
    e = encoder()
    batch = e.encode([look(footprint=f) for f in (SQUARE, OTHER, SQUARE)])
    assert [batch.footprints[k].area_km2 for k in batch.looks["footprint"]] == [
        f.area_km2 for f in (e.footprint(SQUARE)[0], e.footprint(OTHER)[0], e.footprint(SQUARE)[0])
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"time": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)}, "time"),
        ({"time": datetime(2250, 1, 1, tzinfo=UTC)}, "time"),
        ({"time": datetime(9999, 12, 31, tzinfo=timezone(-timedelta(hours=5)))}, "time"),
        ({"time": datetime(2026, 1, 1)}, "time"),  # noqa: DTZ001
        ({"time_end": T0 - timedelta(microseconds=1)}, "time_end"),
        ({"time_end": datetime(2300, 1, 1, tzinfo=UTC)}, "time_end"),
        ({"time_received": datetime(1950, 1, 1, tzinfo=UTC)}, "time_received"),
        ({"p_detect": 1.0001}, "p_detect"),
        ({"p_detect": -0.1}, "p_detect"),
        ({"p_detect": math.inf}, "p_detect"),
        ({"clutter_per_km2": -1.0}, "clutter_per_km2"),
        ({"clutter_per_km2": math.inf}, "clutter_per_km2"),
        ({"min_detectable_speed_mps": -1.0}, "min_detectable_speed_mps"),
        ({"footprint": {"type": "Point", "coordinates": [0, 0]}}, "footprint"),
        ({"footprint": {}}, "footprint"),
        ({"footprint": {"type": "Polygon", "coordinates": "round"}}, "footprint"),
        ({"footprint": {"type": "Polygon", "coordinates": [[[0, math.nan]] * 4]}}, "footprint"),
        ({"look_id": ""}, "look_id"),
        ({"source_id": ""}, "source_id"),
        # Of a wrong type, as only a program can build them.
        ({"footprint": "everywhere"}, "footprint"),
        ({"look_id": 7}, "look_id"),
        ({"look_id": "\ud800"}, "look_id"),
        ({"source_id": None}, "source_id"),
        ({"source_id": "\ud800"}, "source_id"),
        ({"time": "2026-01-01"}, "time"),
        ({"time": None}, "time"),
        ({"time": 3}, "time"),
        ({"time_received": object()}, "time_received"),
        ({"p_detect": "much"}, "p_detect"),
    ],
)
def test_a_bad_look_is_rejected_whole_and_by_name(fields: dict[str, Any], field: str) -> None:
    bad = look(detection(lat=99.0), detection(), **fields)
    batch = encoder().encode([look(), bad, look()])
    assert [(r.look, r.detection, r.field) for r in batch.rejected] == [(1, -1, field)]
    assert batch.rejected[0].reason
    assert len(batch) == 2 and len(batch.detections) == 0 and batch.given == 3


def test_detections_that_are_no_list_reject_the_look() -> None:
    bad = msgspec.structs.replace(look(), detections=None)
    assert rejections(look(), bad) == [(1, -1, "detections")]


# ---------------------------------------------------------------- positions


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_a_position_is_the_n_vector_of_the_geodesy(lat: float, lon: float) -> None:
    got = row(lat=lat, lon=lon)
    np.testing.assert_allclose([got["x"], got["y"], got["z"]], nvectors(lat, lon)[0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("p", [0.3935, 0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("turn", [0.0, 30.0, 90.0, 200.0, -45.0])
def test_an_ellipse_has_the_covariance_of_its_probability(p: float, turn: float) -> None:
    got = covariance(row(ellipse=Ellipse(2000.0, 300.0, turn, p)), ("ree", "ren", "rnn"))
    along = np.array([math.sin(math.radians(turn)), math.cos(math.radians(turn))])
    across = np.array([along[1], -along[0]])
    k2 = chi2.ppf(p, 2)
    assert along @ got @ along == pytest.approx(2000.0**2 / k2, rel=1e-9)
    assert across @ got @ across == pytest.approx(300.0**2 / k2, rel=1e-9)
    assert along @ got @ across == pytest.approx(0.0, abs=1e-6)


def test_a_covariance_is_taken_as_it_is_and_an_ellipse_before_it() -> None:
    assert [row(cov_enu_m2=(4.0, -1.5, 9.0))[k] for k in ("ree", "ren", "rnn")] == [4.0, -1.5, 9.0]
    both = row(cov_enu_m2=(4.0, -1.5, 9.0), ellipse=Ellipse(100.0, 100.0, 0.0))
    assert both["ree"] == pytest.approx(100.0**2 / chi2.ppf(0.95, 2))


def test_no_zero_of_a_row_has_a_sign() -> None:
    got = row(cov_enu_m2=(4.0, -0.0, 4.0), alt_m=-0.0, vertical_rate_mps=-0.0, range_rate_mps=-0.0, los_az_deg=-0.0)
    for name in ("ren", "alt", "climb", "rate", "le"):
        assert got[name] == 0 and not np.signbit(got[name]), name


def test_without_either_it_is_the_sources() -> None:
    assert [row("rf")[k] for k in ("ree", "ren", "rnn")] == [9e6, 0.0, 9e6]


@pytest.mark.parametrize(
    "fields",
    [
        {"cov_enu_m2": (1e-6, 0.0, 1e-6)},
        {"cov_enu_m2": (1e-6, 9e-7, 1e-6)},
        {"ellipse": Ellipse(0.01, 0.001, 30.0)},
        {"ellipse": Ellipse(5e5, 1e-3, 30.0)},
    ],
)
def test_no_position_is_more_certain_than_half_a_metre(fields: dict[str, Any]) -> None:
    got = covariance(row(**fields), ("ree", "ren", "rnn"))
    assert np.linalg.eigvalsh(got)[0] >= 0.25 * (1 - 1e-3)


# ---------------------------------------------------------------- velocities


@pytest.mark.parametrize(
    ("source_id", "along", "degrees"), [("ais", 0.3, 3.0), ("adsb", 1.5, 2.0), ("sar", 2.0, 10.0), ("rf", 2.0, 10.0)]
)
def test_a_velocity_has_the_speeds_sigma_along_the_course_and_the_courses_across(
    source_id: str, along: float, degrees: float
) -> None:
    got = row(source_id, speed_mps=50.0, course_deg=120.0)
    u = np.array([math.sin(math.radians(120.0)), math.cos(math.radians(120.0))])
    n = np.array([-u[1], u[0]])
    np.testing.assert_allclose([got["va"], got["vb"]], 50.0 * u, rtol=1e-12)
    r = covariance(got, ("vaa", "vab", "vbb"))
    assert u @ r @ u == pytest.approx(along**2)
    assert n @ r @ n == pytest.approx(max(along, 50.0 * math.radians(degrees)) ** 2)
    assert u @ r @ n == pytest.approx(0.0, abs=1e-9)


def test_stated_sigmas_win() -> None:
    r = covariance(
        row(speed_mps=10.0, course_deg=0.0, speed_sigma_mps=0.7, course_sigma_deg=45.0), ("vaa", "vab", "vbb")
    )
    np.testing.assert_allclose(r, np.diag([(10.0 * math.radians(45.0)) ** 2, 0.49]), atol=1e-12)


def test_what_stands_needs_no_course() -> None:
    got = row("ais", speed_mps=0.4)
    assert [got[k] for k in ("va", "vb", "vaa", "vab", "vbb")] == [0.0, 0.0, 0.25, 0.0, 0.25]
    assert row(speed_mps=0.4)["vaa"] == 4.0
    # With a course it is a velocity like any other, no less certain across than along.
    slow = row("ais", speed_mps=0.0, course_deg=77.0)
    np.testing.assert_allclose(covariance(slow, ("vaa", "vab", "vbb")), np.diag([0.09, 0.09]), atol=1e-15)


@pytest.mark.parametrize("fields", [{}, {"speed_mps": 0.5}, {"speed_mps": 9.0}, {"course_deg": 9.0}])
def test_half_a_velocity_is_none(fields: dict[str, Any]) -> None:
    got = row(**fields)
    assert np.isnan([got[k] for k in ("va", "vb", "vaa", "vab", "vbb")]).all()


def test_a_range_rate_needs_its_direction() -> None:
    got = row(range_rate_mps=-7.0, los_az_deg=30.0, los_el_deg=60.0)
    assert (got["rate"], got["rate_var"]) == (-7.0, 1.0)
    np.testing.assert_allclose([got["le"], got["ln"]], [0.25, math.sqrt(3) / 4], rtol=1e-12)
    level = row(range_rate_mps=1.0, range_rate_sigma_mps=0.5, los_az_deg=270.0)
    assert level["rate_var"] == 0.25
    np.testing.assert_allclose([level["le"], level["ln"]], [-1.0, 0.0], atol=1e-12)
    assert np.isnan([row(range_rate_mps=1.0)["rate"], row(los_az_deg=1.0)["rate"]]).all()


# ---------------------------------------------------------------- altitude, size, time, domain, names


@pytest.mark.parametrize(
    ("datum", "number", "sigma"),
    [(None, 0, 50.0), ("HAE", 1, 15.0), ("MSL", 2, 30.0), ("BARO", 3, 15.0), ("AGL", 4, 30.0)],
)
def test_an_altitude_has_the_sigma_of_its_datum(datum: Any, number: int, sigma: float) -> None:
    got = row(alt_m=1234.5, alt_datum=datum)
    assert (got["alt"], got["alt_var"], got["datum"]) == (1234.5, sigma**2, number)
    assert row(alt_m=1.0, alt_datum=datum, alt_sigma_m=3.0)["alt_var"] == 9.0
    bare = row(alt_datum=datum)
    assert math.isnan(bare["alt"]) and bare["datum"] == 0


def test_climb_and_size() -> None:
    got = row(vertical_rate_mps=-3.0, length_m=200.0, width_m=30.0)
    assert [got[k] for k in ("climb", "climb_var", "length_m", "width_m")] == [-3.0, 1.0, 200.0, 30.0]
    assert np.isnan([row()[k] for k in ("climb", "climb_var", "length_m", "width_m", "alt", "alt_var")]).all()


def test_a_detection_has_its_own_time() -> None:
    assert row(time=T0 - timedelta(seconds=1, microseconds=250_000))["dt"] == -1.25
    assert row(time=(T0 + timedelta(seconds=3)).astimezone(timezone(timedelta(hours=9))))["dt"] == 3.0
    assert row()["dt"] == 0.0


def test_a_domain_is_the_detections_then_the_sources_only_one() -> None:
    assert row("ais")["domain"] == row("ais", domain="SEA")["domain"] == SEA
    assert row("sar")["domain"] == UNKNOWN and row("sar", domain="SEA")["domain"] == SEA
    assert row("rf", domain="AIR")["domain"] == AIR
    assert rejections(look(detection(domain="AIR"), source_id="ais")) == [(0, 0, "domain")]


def test_names_are_hashed_as_stated() -> None:
    ids, classes = {"name": "Ö", "mmsi": "235012345"}, {"tug": 0.5, "cargo": 0.25}
    got = row(detection_id="d-ß", ids=ids, class_probs=classes)
    assert got["key"] == xxh3_64_intdigest("sar\0l\0d-ß".encode())
    assert got["identity"] == identity_of(ids) == xxh3_64_intdigest(b"mmsi:235012345")
    content = 'd-ß\0{"mmsi":"235012345","name":"Ö"}\0{"cargo":0.25,"tug":0.5}'
    assert got["texts"] == xxh3_64_intdigest(content.encode())
    nothing = row(detection_id="e")
    assert (nothing["identity"], nothing["attributes"]) == (0, 0)
    assert nothing["texts"] == xxh3_64_intdigest(b"e\0{}\0{}")


# ---------------------------------------------------------------- bad detections


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"lat": math.nan}, "lat"),
        ({"lat": 90.0001}, "lat"),
        ({"lat": None}, "lat"),
        ({"lon": -180.5}, "lon"),
        ({"lon": math.inf}, "lon"),
        ({"time": T0 + timedelta(days=1, microseconds=1)}, "time"),
        ({"time": datetime(2026, 1, 1)}, "time"),  # noqa: DTZ001
        ({"ellipse": Ellipse(10.0, 11.0, 0.0)}, "ellipse"),
        ({"ellipse": Ellipse(10.0, 0.0, 0.0)}, "ellipse"),
        ({"ellipse": Ellipse(10.0, 1.0, math.inf)}, "ellipse"),
        ({"ellipse": Ellipse(10.0, 1.0, 0.0, 1.0)}, "ellipse"),
        ({"ellipse": Ellipse(10.0, 1.0, 0.0, 0.0)}, "ellipse"),
        ({"ellipse": Ellipse(math.nan, 1.0, 0.0)}, "ellipse"),
        ({"ellipse": Ellipse(2.1e7, 1.0, 0.0)}, "ellipse"),
        ({"cov_enu_m2": (0.0, 0.0, 0.0)}, "cov_enu_m2"),
        ({"cov_enu_m2": (1.0, 1.0, 1.0)}, "cov_enu_m2"),
        ({"cov_enu_m2": (1.0, 0.0, -1.0)}, "cov_enu_m2"),
        ({"cov_enu_m2": (-1.0, 0.0, -1.0)}, "cov_enu_m2"),
        ({"cov_enu_m2": (math.nan, 0.0, 1.0)}, "cov_enu_m2"),
        ({"cov_enu_m2": (math.inf, 0.0, 1.0)}, "cov_enu_m2"),
        ({"cov_enu_m2": (1e16, 0.0, 1.0)}, "cov_enu_m2"),
        ({"cov_enu_m2": (1.0, 2.0)}, "cov_enu_m2"),
        ({"alt_m": math.inf}, "alt_m"),
        ({"alt_sigma_m": 0.0}, "alt_sigma_m"),
        ({"speed_mps": -0.1}, "speed_mps"),
        ({"speed_mps": 12_001.0}, "speed_mps"),
        ({"course_deg": -math.inf}, "course_deg"),
        ({"speed_sigma_mps": -1.0}, "speed_sigma_mps"),
        ({"course_sigma_deg": math.inf}, "course_sigma_deg"),
        ({"heading_deg": math.inf}, "heading_deg"),
        ({"vertical_rate_mps": 1e5}, "vertical_rate_mps"),
        ({"range_rate_mps": math.inf}, "range_rate_mps"),
        ({"range_rate_sigma_mps": 0.0}, "range_rate_sigma_mps"),
        ({"los_az_deg": math.inf}, "los_az_deg"),
        ({"los_el_deg": 90.1}, "los_el_deg"),
        ({"length_m": 0.0}, "length_m"),
        ({"width_m": math.inf}, "width_m"),
        ({"detection_prob": 1.1}, "detection_prob"),
        ({"domain": "AIR"}, "domain"),
        ({"domain": "LAKE"}, "domain"),
        ({"alt_datum": "GEOID"}, "alt_datum"),
        ({"detection_id": ""}, "detection_id"),
        ({"detection_id": None}, "detection_id"),
        ({"detection_id": "\ud800"}, "detection_id"),
        ({"ids": {"mmsi": 1}}, "ids"),
        ({"ids": {"name": "\ud800"}}, "ids"),
        ({"class_probs": {"cargo": 2.0}}, "class_probs"),
        ({"speed_mps": "fast"}, "speed_mps"),
        ({"ids": 3}, "ids"),
    ],
)
def test_a_bad_detection_is_rejected_alone_and_by_name(fields: dict[str, Any], field: str) -> None:
    good = [detection(detection_id="a"), detection(detection_id="b")]
    batch = encoder().encode([look(), look(good[0], detection(**fields), good[1], look_id="m")])
    assert [(r.look, r.detection, r.field) for r in batch.rejected] == [(1, 1, field)]
    assert batch.rejected[0].reason
    assert same_but_rejected(batch, encoder().encode([look(), look(*good, look_id="m")]))


def same_but_rejected(a: LookBatch, b: LookBatch) -> bool:
    return same(LookBatch(a.looks, a.detections, a.text, a.footprints), LookBatch(b.looks, b.detections, b.text, []))


def test_what_is_no_detection_is_rejected() -> None:
    assert rejections(look("ship", detection())) == [(0, 0, "detections")]  # type: ignore[arg-type]


def test_the_later_of_two_equal_ids_is_rejected_among_the_good_ones() -> None:
    d = [detection(detection_id=name, lat=lat) for name, lat in (("a", 1), ("b", 99), ("a", 2), ("b", 3), ("b", 4))]
    batch = encoder().encode([look(*d), look(*d, look_id="m")])
    expected = [(1, "lat"), (2, "detection_id"), (4, "detection_id")]
    assert [(r.detection, r.field) for r in batch.rejected] == 2 * expected
    assert [batch.detection_id(j) for j in range(4)] == ["a", "b", "a", "b"]


def test_many_detections_with_few_equal_ids() -> None:
    d = [detection(detection_id=f"{k % 4990}") for k in range(5000)]
    batch = encoder().encode([look(*d)])
    assert [r.detection for r in batch.rejected] == list(range(4990, 5000))


def test_an_unregistered_source_is_warned_of_once() -> None:
    e = encoder()
    e.encode([look(source_id="who"), look(source_id="who")])
    e.encode([look(source_id="who")])
    assert len(e.register.warnings) == 1


# ---------------------------------------------------------------- content


def content(of: Look, e: Encoder | None = None) -> int:
    batch = (e or encoder()).encode([of])
    assert not batch.rejected
    return int(batch.looks["content"][0])


FULL = look(
    detection(
        detection_id="a",
        time=T0,
        cov_enu_m2=(4.0, 1.0, 4.0),
        alt_m=10.0,
        alt_datum="MSL",
        alt_sigma_m=4.0,
        speed_mps=3.0,
        course_deg=4.0,
        speed_sigma_mps=1.0,
        course_sigma_deg=2.0,
        heading_deg=5.0,
        vertical_rate_mps=1.0,
        range_rate_mps=1.0,
        range_rate_sigma_mps=1.5,
        los_az_deg=6.0,
        los_el_deg=7.0,
        domain="SEA",
        ids={"mmsi": "1"},
        class_probs={"cargo": 0.5},
        length_m=8.0,
        width_m=9.0,
        detection_prob=0.9,
    ),
    detection(detection_id="b"),
    time_end=T0 + timedelta(seconds=1),
    time_received=T0 + timedelta(seconds=10),
    footprint=SQUARE,
    p_detect=0.5,
    clutter_per_km2=1.0,
    min_detectable_speed_mps=1.0,
)


def test_a_look_that_is_delivered_again_has_the_same_content_in_any_process() -> None:
    e = encoder()
    e.encode([report(k) for k in range(40)])
    later = msgspec.structs.replace(FULL, time_received=T0 + timedelta(days=3))
    never = msgspec.structs.replace(FULL, time_received=None)
    zoned = msgspec.structs.replace(FULL, time=T0.astimezone(timezone(timedelta(hours=2))))
    assert {content(FULL), content(FULL, e), content(later), content(never), content(zoned, e)} == {content(FULL)}


@pytest.mark.parametrize(
    "fields",
    [
        {"look_id": "k"},
        {"source_id": "rf"},
        {"time": T0 + timedelta(microseconds=1)},
        {"time_end": None},
        {"footprint": OTHER},
        {"footprint": None},
        {"p_detect": 0.51},
        {"p_detect": None},
        {"clutter_per_km2": 1.5},
        {"min_detectable_speed_mps": None},
        {"detections": FULL.detections[:1]},
        {"detections": FULL.detections[::-1]},
        {"detections": ()},
    ],
)
def test_a_look_that_was_changed_has_another_content(fields: dict[str, Any]) -> None:
    assert content(msgspec.structs.replace(FULL, **fields)) != content(FULL)


@pytest.mark.parametrize("name", [f.name for f in msgspec.structs.fields(FULL.detections[0])])
def test_so_has_one_of_which_a_detection_was_changed(name: str) -> None:
    changed = {
        "detection_id": "c",
        "time": T0 + timedelta(microseconds=1),
        "ellipse": Ellipse(10.0, 5.0, 3.0),
        "cov_enu_m2": (4.0, 1.0, 4.5),
        "alt_datum": "HAE",
        "domain": "UNKNOWN",
        "ids": {"mmsi": "2"},
        "class_probs": {"cargo": 0.5001},
    }
    first = FULL.detections[0]
    value = changed.get(name) or getattr(first, name) * (1 + 1e-9)
    other = msgspec.structs.replace(first, **{name: value})
    assert content(msgspec.structs.replace(FULL, detections=(other, FULL.detections[1]))) != content(FULL)


# ---------------------------------------------------------------- batches


@settings(max_examples=150)
@given(st.lists(looks(), max_size=8), st.lists(st.integers(0, 8), max_size=3))
def test_no_cut_of_the_batch_shows(given_looks: list[Look], cuts: list[int]) -> None:
    whole = encoder().encode(given_looks)
    edges = sorted({0, len(given_looks), *[min(c, len(given_looks)) for c in cuts]})
    e = encoder()
    parts = [e.encode(given_looks[a:b]) for a, b in itertools.pairwise(edges)]
    joined = LookBatch.concat(parts)
    assert joined.looks.tobytes() == whole.looks.tobytes()
    assert joined.detections.tobytes() == whole.detections.tobytes()
    assert joined.text.tobytes() == whole.text.tobytes()
    assert (joined.rejected, joined.given) == (whole.rejected, whole.given)
    assert [f.area_km2 for f in joined.footprints] == [f.area_km2 for f in whole.footprints]


@settings(max_examples=150)
@given(st.lists(looks(), max_size=8))
def test_rows_are_sound(given_looks: list[Look]) -> None:
    batch = encoder().encode(given_looks)
    gone = {r.look for r in batch.rejected if r.detection < 0}
    kept = [k for i, k in enumerate(given_looks) if i not in gone]
    assert [batch.look_id(i) for i in range(len(batch))] == [k.look_id for k in kept]
    assert all(0 <= r.detection < len(given_looks[r.look].detections) for r in batch.rejected if r.look not in gone)
    for rows in (batch.looks, batch.detections):
        for name in rows.dtype.names or ():
            if rows.dtype[name].kind == "f":
                values = rows[name]
                assert not (np.signbit(values) & (values == 0)).any(), f"a negative zero in {name}"
                assert not np.isinf(values).any(), name
                # One bit pattern for the unknown.
                assert set(values[np.isnan(values)].view(np.uint64).tolist()) <= {0x7FF8000000000000}, name
    d = batch.detections
    assert (d["ree"] * d["rnn"] > d["ren"] ** 2).all() and (d["ree"] > 0.2499).all() and (d["rnn"] > 0.2499).all()
    moving = d[~np.isnan(d["va"])]
    assert (moving["vaa"] * moving["vbb"] >= moving["vab"] ** 2).all() and (moving["vaa"] > 0).all()
    np.testing.assert_allclose(d["x"] ** 2 + d["y"] ** 2 + d["z"] ** 2, 1.0)
    first = 0
    for i, got in enumerate(batch.looks):
        assert got["first"] == first
        names = [batch.detection_id(j) for j in range(first, first + got["count"])]
        assert len(set(names)) == len(names) and set(names) <= {k.detection_id for k in kept[i].detections}
        first += got["count"]
    assert first == len(d)


@settings(max_examples=100)
@given(st.lists(looks(bad=False), max_size=6), st.randoms(use_true_random=False))
def test_a_new_order_is_that_of_encoding_in_it(given_looks: list[Look], random: Any) -> None:
    e = encoder()
    batch = e.encode(given_looks)
    assert batch.rejected == [Rejection(r.look, r.detection, "domain", r.reason) for r in batch.rejected]
    order = [random.randrange(len(given_looks)) for _ in range(5)] if given_looks else []
    expected = e.encode([given_looks[i] for i in order])
    expected.rejected = []
    assert same(batch.order(np.array(order, np.int64)), expected)
    start = random.randrange(len(given_looks) + 1)
    stop = random.randrange(start, len(given_looks) + 1)
    part = e.encode(given_looks[start:stop])
    part.rejected = []
    assert same(batch.take(start, stop), part)


def test_an_order_of_looks_that_are_not_there_is_refused() -> None:
    with pytest.raises(IndexError):
        encoder().encode([look()]).order([1])


def test_no_looks() -> None:
    empty = LookBatch.empty()
    assert same(encoder().encode([]), empty) and same(LookBatch.concat([]), empty)
    assert (
        same(LookBatch.concat([empty, empty]), empty) and same(empty.order([]), empty) and same(empty.take(0, 0), empty)
    )
    assert (empty.looks.dtype, empty.detections.dtype) == (LOOK, DETECTION)


def test_what_a_look_becomes_does_not_depend_on_the_wrong_types_beside_it() -> None:
    good = [report(k) for k in range(5)]
    odd = look(look_id=None, source_id="ais")
    e = encoder()
    alone = e.encode(good)
    mixed = e.encode([good[0], odd, *good[1:]])
    assert [(r.look, r.field) for r in mixed.rejected] == [(1, "look_id")]
    assert same(mixed.order(range(5)), alone)


def test_defaults_come_from_the_register() -> None:
    register = Register({"x": Source(modality="AIS", position_sigma_m=0.1)})
    got = Encoder(register, Attributes()).encode([look(detection(), source_id="x")]).detections[0]
    assert (got["ree"], got["rnn"]) == (0.25, 0.25)


# ---------------------------------------------------------------- hashes and times


@given(st.binary(max_size=700), st.integers(0, 9))
def test_the_hash_is_that_of_the_library(data: bytes, before: int) -> None:
    text = np.frombuffer(bytes(before) + data, np.uint8)
    assert int(xxh3_64(text, before, len(data))) == xxh3_64_intdigest(data)


@pytest.mark.parametrize(
    "length", [0, 1, 3, 4, 8, 9, 16, 17, 32, 33, 64, 65, 96, 97, 128, 129, 240, 241, 1024, 1025, 4096]
)
def test_also_at_the_edges_of_its_branches(length: int) -> None:
    data = bytes((7 * k + 3) % 256 for k in range(length))
    assert int(xxh3_64(np.frombuffer(data, np.uint8), 0, length)) == xxh3_64_intdigest(data)


@given(st.lists(st.none() | st.datetimes(timezones=st.timezones()), max_size=6))
def test_times_are_exact(times: list[datetime | None]) -> None:
    expected = [NO_TIME_US if t is None else (t - EPOCH) // timedelta(microseconds=1) for t in times]
    assert times_us(times).tolist() == expected


@pytest.mark.parametrize("seconds", [-3630, -29, 20, 31, 3599])
def test_so_are_those_of_zones_with_seconds(seconds: int) -> None:
    time = datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=seconds)))
    start = (T0 - EPOCH) // timedelta(microseconds=1)
    assert times_us([T0, time, None]).tolist() == [start, start - seconds * 1_000_000, NO_TIME_US]


def test_a_time_without_zone_is_a_bad_one() -> None:
    assert times_us([datetime(2026, 1, 1), T0]).tolist()[0] == BAD_TIME_US  # noqa: DTZ001


def test_microseconds_come_back_as_times() -> None:
    assert list(from_us(times_us([T0, T0 + timedelta(microseconds=1)]).tolist())) == [
        T0,
        T0 + timedelta(microseconds=1),
    ]
