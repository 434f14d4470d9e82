"""The Autoferry dataset: shapes of measurements, the local frame, footprints, covariances, recordings against truth."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pymap3d  # type: ignore[import-untyped]
import pytest
from conftest import recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from test_feeds_air_common import BrokenStream, check_items, decode, kinds, looks_of, mutated, records

from apss_fusion.feeds.autoferry import LIDAR, ORIGIN, RADAR, Autoferry, Sensor, local_to_geodetic
from apss_fusion.feeds.base import Reject
from apss_fusion.model import Look

T0 = 1620114891.8494244


def scan(sensor: int = 2, measurement: Any = (), ownship: Any = (-16.6, -390.4), time: Any = T0) -> dict[str, Any]:
    return {
        "sensorID": sensor, "measurements": [], "ownshipPosition": ownship, "time": time, "measurement": measurement,
    }  # fmt: skip


def document(*scans: Any) -> bytes:
    return json.dumps(scans).encode()


def only(**values: Any) -> Look:
    (look,) = decode(Autoferry, document(scan(**values)))
    assert isinstance(look, Look)
    return look


def local(lat: float, lon: float) -> tuple[float, float]:
    """North and east in m from the origin, by pymap3d."""
    east, north, _ = pymap3d.geodetic2enu(lat, lon, ORIGIN[2], *ORIGIN)
    return float(north), float(east)


@given(north=st.floats(-2000.0, 2000.0), east=st.floats(-2000.0, 2000.0))
def test_the_local_frame(north: float, east: float) -> None:
    lat, lon = local_to_geodetic(north, east)
    back = local(lat, lon)
    assert math.hypot(back[0] - north, back[1] - east) < (0.001 if math.hypot(north, east) < 1000.0 else 0.006)


def test_origin() -> None:
    assert local_to_geodetic(0.0, 0.0) == pytest.approx((63.4389029083, 10.39908278), abs=1e-13)


@pytest.mark.parametrize(("number", "name", "sensor"), [(1, "lidar", LIDAR), (2, "radar", RADAR)])
def test_a_scan(number: int, name: str, sensor: Sensor) -> None:
    look = only(sensor=number, measurement=[[10.0, -40.0, 0.0], [20.0, 30.0, 50.0]])
    assert look.source_id == f"autoferry/{name}"
    assert look.time == datetime.fromtimestamp(T0, UTC)
    assert look.time_received is None
    assert (look.p_detect, look.clutter_per_km2) == (sensor.p_detect, sensor.clutter_per_km2)
    places = [local(detection.lat, detection.lon) for detection in look.detections]
    assert np.allclose(places, [(-6.6, -370.4), (-56.6, -360.4), (-16.6, -340.4)], atol=1e-3)
    assert {detection.domain for detection in look.detections} == {"SEA"}
    assert len({detection.detection_id for detection in look.detections}) == 3


def test_shapes() -> None:
    assert only(measurement=[]).detections == ()
    (one,) = only(measurement=[3.0, 4.0]).detections
    assert local(one.lat, one.lon) == pytest.approx((-13.6, -386.4), abs=1e-3)
    two = only(measurement=[[3.0, 5.0], [4.0, 6.0]]).detections
    assert np.allclose([local(d.lat, d.lon) for d in two], [(-13.6, -386.4), (-11.6, -384.4)], atol=1e-3)
    assert only(measurement=[[], []]).detections == ()


@pytest.mark.parametrize("measurement", [None, 5.0, "x", [1.0], [1.0, 2.0, 3.0], [[1.0], [1.0, 2.0]], [[1.0], 2.0], {}])
def test_other_shapes(measurement: Any) -> None:
    (item,) = decode(Autoferry, document(scan(measurement=measurement)))
    assert isinstance(item, Reject)
    assert (item.field, item.is_record) == ("measurement", True)


def test_cameras_give_no_position() -> None:
    given_scans = [scan(3, [1.0, 2.0, 3.0]), scan(4, 1.5), scan(3, [])]
    assert kinds(decode(Autoferry, document(*given_scans))) == {"bearing without a position": 3}


@pytest.mark.parametrize("bad", [None, "x", 1e6, True, [1.0]])
def test_a_bad_detection_is_rejected_alone(bad: Any) -> None:
    reject, look = decode(Autoferry, document(scan(measurement=[[1.0, bad, 3.0], [4.0, 5.0, 6.0]])))
    assert isinstance(reject, Reject)
    assert (reject.field, reject.is_record, reject.line) == ("measurement[1]", False, 1)
    assert isinstance(look, Look)
    assert len(look.detections) == 2


@pytest.mark.parametrize(
    ("element", "field"),
    [
        (scan(5), "sensorID"),
        (scan("radar"), "sensorID"),  # type: ignore[arg-type]
        (scan(time=5.0), "time"),
        (scan(time=None), "time"),
        (scan(ownship=[1.0]), "ownshipPosition"),
        (scan(ownship=[1.0, 1e9]), "ownshipPosition[1]"),
        ({"sensorID": 1}, None),
        (None, None),
        ([], None),
    ],
)
def test_bad_elements(element: Any, field: str | None) -> None:
    first, item, last = decode(Autoferry, document(scan(), element, scan(1)))
    assert isinstance(first, Look)
    assert isinstance(last, Look)
    assert isinstance(item, Reject)
    assert item.line == 2
    assert item.is_record
    assert field is None or item.field == field


@pytest.mark.parametrize(("number", "sensor"), [(1, LIDAR), (2, RADAR)])
def test_covariance_lies_along_the_line_of_sight(number: int, sensor: Sensor) -> None:
    for azimuth in np.radians([0.0, 30.0, 90.0, 200.0, 315.0]):
        north, east = 100.0 * math.cos(azimuth), 100.0 * math.sin(azimuth)
        (detection,) = only(sensor=number, measurement=[north, east]).detections
        assert detection.cov_enu_m2 is not None
        ee, en, nn = detection.cov_enu_m2
        u = np.array([east, north]) / 100.0
        v = np.array([-u[1], u[0]])
        p = np.array([[ee, en], [en, nn]])
        assert u @ p @ u == pytest.approx(sensor.range_sigma_m**2)
        across = math.hypot(sensor.cross_sigma_m, 100.0 * math.radians(sensor.bearing_sigma_deg))
        assert v @ p @ v == pytest.approx(across**2)
        assert u @ p @ v == pytest.approx(0.0, abs=1e-9)
    (detection,) = only(sensor=number, measurement=[0.0, 0.0]).detections
    assert detection.cov_enu_m2 is not None


@pytest.mark.parametrize(("number", "sensor"), [(1, LIDAR), (2, RADAR)])
def test_footprint_is_the_circle_of_the_range(number: int, sensor: Sensor) -> None:
    footprint = only(sensor=number).footprint
    assert footprint is not None
    assert footprint["type"] == "Polygon"
    (ring,) = footprint["coordinates"]
    assert ring[0] == ring[-1]
    assert len(ring) == 25
    corners = np.array([local(lat, lon) for lon, lat in ring]) - (-16.6, -390.4)
    assert np.allclose(np.hypot(*corners.T), sensor.range_m / math.cos(math.pi / 24), atol=0.02)
    middles = (corners[1:] + corners[:-1]) / 2
    assert np.allclose(np.hypot(*middles.T), sensor.range_m, atol=0.02)
    north, east = corners.T
    area = 0.5 * np.sum(east[:-1] * north[1:] - east[1:] * north[:-1])
    assert area > 0.0  # counter-clockwise
    assert area == pytest.approx(math.pi * sensor.range_m**2, rel=0.01)


def test_ids_are_of_content() -> None:
    a, b, c = looks_of(decode(Autoferry, document(scan(), scan(), scan(1))))
    assert a == b
    assert a.look_id != c.look_id


def test_elements_before_a_break_are_used() -> None:
    whole = document(scan(), scan(1), scan())
    items = decode(Autoferry, whole[:-20])
    assert kinds(items) == {"Look": 2, "Reject": 1}
    assert items[:2] == decode(Autoferry, whole)[:2]
    reader = Autoferry().items(BrokenStream(whole[:-20]))
    assert [next(reader) for _ in range(3)] == items
    with pytest.raises(EOFError):
        next(reader)


def test_recognition() -> None:
    data = document(scan(), scan(1))
    first = data.index(b"}")
    assert all(Autoferry.recognises(data[:cut]) for cut in range(first, len(data)))
    assert not any(Autoferry.recognises(data[:cut]) for cut in range(60))
    for other in (b"", b"[]", b"[[{}]]", b'[{"sensorID": 5, "time": 5}]', b"\x00\xff" * 99):
        assert not Autoferry.recognises(other)


@settings(max_examples=150)
@given(data=mutated(document(scan(measurement=[[1.0, 2.0], [3.0, 4.0]]), scan(1, [5.0, 6.0]), scan(3, 1.0))))
def test_mutated_documents_never_raise_and_add_up(data: bytes) -> None:
    items = decode(Autoferry, data)
    check_items(items)
    try:
        elements = json.loads(data)
    except (ValueError, RecursionError):
        return
    assert records(items) == (len(elements) if isinstance(elements, list) else 1)


@pytest.mark.feeds
class TestRecordings:
    @pytest.mark.parametrize(
        ("scenario", "cameras", "lidar", "radar", "detections"),
        [
            (2, 1603, 234, 70, 849),
            (3, 1770, 259, 78, 801),
            (4, 1348, 197, 59, 669),
            (5, 2891, 276, 83, 818),
            (6, 2064, 302, 91, 1162),
        ],
    )
    def test_counts(self, scenario: int, cameras: int, lidar: int, radar: int, detections: int) -> None:
        data = recorded(f"autoferry/scenario{scenario}/scenario{scenario}_detections.json").read_bytes()
        assert Autoferry.recognises(data[: 2**16])
        items = decode(Autoferry, data)
        check_items(items)
        assert kinds(items) == {"bearing without a position": cameras, "Look": lidar + radar}
        looks = looks_of(items)
        assert sum(look.source_id == "autoferry/lidar" for look in looks) == lidar
        assert sum(len(look.detections) for look in looks) == detections
        assert len({look.look_id for look in looks}) == len(looks)
        clock = looks[0].time
        for look in looks:
            clock = max(clock, look.time)
            assert (clock - look.time).total_seconds() < 0.3

    def test_figures_of_the_sensors(self) -> None:
        """Detection rates, ranges and errors against the GNSS positions of the two boats."""
        hits = {LIDAR.name: [0, 0], RADAR.name: [0, 0]}
        errors: dict[str, list[tuple[float, float]]] = {LIDAR.name: [], RADAR.name: []}
        farthest = {LIDAR.name: 0.0, RADAR.name: 0.0}
        sensors = {LIDAR.name: (LIDAR, 25.0), RADAR.name: (RADAR, 60.0)}
        for scenario in range(2, 7):
            folder = f"autoferry/scenario{scenario}/scenario{scenario}"
            truth = json.loads(recorded(f"{folder}_groundTruth.json").read_bytes())
            raw = json.loads(recorded(f"{folder}_detections.json").read_bytes())
            for element, item, boats in zip(raw, decode(Autoferry, json.dumps(raw)), truth, strict=True):
                if not isinstance(item, Look):
                    continue
                name = item.source_id.removeprefix("autoferry/")
                sensor, gate = sensors[name]
                own = np.array(element["ownshipPosition"])
                seen = np.array([local(d.lat, d.lon) for d in item.detections]).reshape(-1, 2)
                if len(seen):
                    farthest[name] = max(farthest[name], float(np.hypot(*(seen - own).T).max()))
                for boat in boats:
                    place = np.array(boat["position"][:2])
                    distance = float(np.hypot(*(place - own)))
                    if distance > sensor.range_m:
                        continue
                    away = np.hypot(*(seen - place).T) if len(seen) else np.array([math.inf])
                    hits[name][0] += bool(away.min() < gate)
                    hits[name][1] += 1
                    if away.min() < gate:
                        error = seen[away.argmin()] - place
                        u = (place - own) / distance
                        errors[name].append((float(error @ u), float(error @ (-u[1], u[0]))))
        for name, (sensor, _) in sensors.items():
            assert hits[name][0] / hits[name][1] == pytest.approx(sensor.p_detect, abs=0.005)
            assert sensor.range_m - 1.0 < farthest[name] <= sensor.range_m
            along, across = np.sqrt(np.mean(np.square(errors[name]), axis=0))
            assert along == pytest.approx(sensor.range_sigma_m, rel=0.02)
            assert across == pytest.approx(
                math.hypot(sensor.cross_sigma_m, 120.0 * math.radians(sensor.bearing_sigma_deg)), rel=0.15
            )
