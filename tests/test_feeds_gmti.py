"""STANAG 4607: what the fields of a packet become, to the resolution of the format."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pymap3d  # type: ignore[import-untyped]
import pytest
from conftest import recorded
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from test_feeds_gmti_encoder import (
    CENTRE,
    DEFAULT_DWELL,
    SENSOR,
    ba16,
    ba32,
    dwell,
    job_definition,
    mission,
    packet,
    sa32,
    segment,
    target,
)
from test_feeds_sar_tally import Tally, claims, tally

from apss_fusion.feeds.gmti_common import ground_covariance
from apss_fusion.feeds.gmti_targets_common import CLASSES
from apss_fusion.feeds.stanag4607 import Stanag4607
from apss_fusion.model import Detection, Look

#: Steps of SA32 and BA32 in degrees.
LAT_STEP, LON_STEP = 180.0 / 2**32, 360.0 / 2**32
GEOD = Geod(ellps="WGS84")


def decode(*segments: bytes) -> Tally:
    """A mission on 2024-02-28 and one packet with the segments."""
    return tally(Stanag4607, packet(mission(), *segments))


def one_look(*segments: bytes) -> Look:
    result = decode(*segments)
    assert result.rejects == []
    (look,) = result.looks
    return look


def one_detection(**fields: int) -> Detection:
    (detection,) = one_look(dwell(targets=[target(**fields)])).detections
    return detection


class TestLook:
    def test_time_may_exceed_a_day(self) -> None:
        look = one_look(dwell({6: 3 * 86_400_000 + 1}))
        assert look.time == datetime(2024, 3, 2, 0, 0, 0, 1000, tzinfo=UTC)
        assert (look.time_end, look.time_received) == (None, None)
        latest = one_look(dwell({6: 2**32 - 1}))
        assert latest.time == datetime(2024, 2, 28, tzinfo=UTC) + timedelta(milliseconds=2**32 - 1)

    def test_an_empty_dwell_is_a_look(self) -> None:
        look = one_look(dwell())
        assert look.detections == ()
        assert look.footprint is not None

    def test_source(self) -> None:
        assert one_look(dwell()).source_id == "gmti-4607/SENTRY1"
        for platform, source_id in ((b"", "gmti-4607"), (b"\x00" * 10, "gmti-4607"), (b"A\xe9", "gmti-4607"),
                                    (b"OLD\x00\x00", "gmti-4607/OLD")):  # fmt: skip
            result = tally(Stanag4607, packet(mission(), dwell(), platform=platform))
            assert result.looks[0].source_id == source_id

    def test_what_the_job_says(self) -> None:
        silent = one_look(job_definition(), dwell())
        assert (silent.p_detect, silent.clutter_per_km2, silent.min_detectable_speed_mps) == (None, None, None)
        look = one_look(job_definition(pd_percent=85, fad_db=75, mdv_dms=12), dwell())
        assert look.p_detect == 0.85
        # 75 dB below one a square metre: 10^-7.5 per m2.
        assert look.clutter_per_km2 == pytest.approx(0.0316227766, rel=1e-9)
        assert look.min_detectable_speed_mps == 1.2
        assert one_look(job_definition(fad_db=60), dwell()).clutter_per_km2 == pytest.approx(1.0)
        assert one_look(job_definition(mdv_dms=12), dwell({31: 25})).min_detectable_speed_mps == 2.5
        assert one_look(job_definition(pd_percent=101), dwell()).p_detect is None
        # A job definition of another job says nothing about this dwell.
        assert one_look(job_definition(job=4, pd_percent=85), dwell()).p_detect is None

    def test_ids_are_of_the_content(self) -> None:
        base = one_look(dwell(targets=[target()]))
        assert base == one_look(job_definition(), dwell(targets=[target()]))
        others = [
            one_look(dwell({2: 9}, [target()])),
            one_look(dwell({3: 9}, [target()])),
            one_look(dwell({6: 9}, [target()])),
            one_look(dwell(targets=[target(45.02)])),
            tally(Stanag4607, packet(mission(), dwell(targets=[target()]), platform=b"OTHER")).looks[0],
        ]
        assert len({base.look_id, *(look.look_id for look in others)}) == 6
        assert base.detections[0].detection_id not in {look.detections[0].detection_id for look in others}

    def test_two_targets_alike_are_two_detections(self) -> None:
        assert len(one_look(dwell(targets=[target(), target()])).detections) == 2

    def test_defaults_of_the_source(self) -> None:
        source = Stanag4607.source
        assert (source.modality, source.may_initiate, source.max_latency_s) == ("GMTI", True, 60.0)


class TestPosition:
    @given(lat=st.floats(-89.99, 89.99), lon=st.floats(-180.0, 180.0))
    def test_high_resolution(self, lat: float, lon: float) -> None:
        (detection,) = one_look(dwell(targets=[target(lat, lon)])).detections
        assert abs(detection.lat - lat) <= LAT_STEP
        assert -180.0 <= detection.lon <= 180.0
        assert abs((detection.lon - lon + 180.0) % 360.0 - 180.0) <= LON_STEP

    def test_the_antimeridian(self) -> None:
        for lon, wanted in ((180.0, 180.0), (180.25, -179.75), (359.75, -0.25), (0.0, 0.0), (179.5, 179.5)):
            found = one_look(dwell(targets=[target(0.0, lon)])).detections[0].lon
            assert found == pytest.approx(wanted, abs=LON_STEP)

    @given(
        dlat=st.integers(-(2**15), 2**15 - 1),
        dlon=st.integers(-(2**15), 2**15 - 1),
        lon=st.sampled_from([10.0, 179.99, -179.99, 0.01]),
        scale_lon=st.sampled_from([1, 700, 90_000]),
    )
    def test_deltas(self, dlat: int, dlon: int, lon: float, scale_lon: int) -> None:
        scale_lat = 900
        fields = {10: scale_lat, 11: scale_lon, 25: ba32(lon)}
        (detection,) = one_look(dwell(fields, [{4: dlat, 5: dlon}])).detections
        assert abs(detection.lat - (CENTRE[0] + dlat * scale_lat * LAT_STEP)) <= 2 * LAT_STEP
        wanted = lon + dlon * scale_lon * LON_STEP
        assert abs((detection.lon - wanted + 180.0) % 360.0 - 180.0) <= 2 * LON_STEP

    def test_height(self) -> None:
        low = one_detection(d6=-120, d14=15)
        assert (low.alt_m, low.alt_datum, low.alt_sigma_m) == (-120.0, "HAE", 15.0)
        unknown = one_detection()
        assert (unknown.alt_m, unknown.alt_datum, unknown.alt_sigma_m) == (None, None, None)
        assert one_detection(d6=0, d14=0).alt_sigma_m is None

    def test_targets_without_a_position_are_bad_detections_of_a_good_look(self) -> None:
        result = decode(dwell(targets=[{7: 100}, {7: 200}]))
        assert [(r.field, r.line, r.is_record) for r in result.rejects] == [("D32.2", 1, False)] * 2
        assert (len(result.looks), result.records) == (1, 1)
        beyond = dwell({10: 2**30, 11: 1}, [{4: 2**14, 5: 0}, {4: 0, 5: 0}])
        result = decode(beyond)
        assert [(r.field, r.is_record) for r in result.rejects] == [("D32.4", False)]
        assert len(result.detections) == 1


class TestMotion:
    def test_range_rate_is_positive_away(self) -> None:
        away = one_detection(d7=530, d8=40000, d15=25)
        assert (away.range_rate_mps, away.range_rate_sigma_mps) == (5.3, 0.25)
        assert one_detection(d7=-1234, d8=0).range_rate_mps == -12.34
        assert one_detection(d7=0, d8=5000).range_rate_mps == 0.0
        assert one_detection().range_rate_mps is None

    def test_a_rate_that_may_be_folded_is_unknown(self) -> None:
        folded = one_detection(d7=530, d8=4999, d15=25)
        assert (folded.range_rate_mps, folded.range_rate_sigma_mps) == (None, None)

    def test_nominal_sigma_of_the_job(self) -> None:
        job = job_definition(velocity_cms=80)
        (nominal,) = one_look(job, dwell(targets=[target(d7=100, d8=0)])).detections
        assert nominal.range_rate_sigma_mps == pytest.approx(0.8)
        (own,) = one_look(job, dwell(targets=[target(d7=100, d8=0, d15=30)])).detections
        assert own.range_rate_sigma_mps == pytest.approx(0.3)

    @given(
        lat=st.floats(-80.0, 80.0),
        lon=st.floats(-180.0, 180.0),
        away=st.floats(0.1, 15.0),
        azimuth=st.floats(0.0, 360.0),
        altitude_m=st.floats(5_000.0, 2_000_000.0),
        height_m=st.integers(-100, 8000),
    )
    def test_line_of_sight(
        self, lat: float, lon: float, away: float, azimuth: float, altitude_m: float, height_m: int
    ) -> None:
        """Against pymap3d: the sensor, seen from the object, lies in the opposite direction."""
        target_lon, target_lat, _ = GEOD.fwd(lon, lat, azimuth, away * 111_000.0)
        fields = {7: sa32(lat), 8: ba32(lon), 9: round(altitude_m * 100)}
        (detection,) = one_look(dwell(fields, [target(target_lat, target_lon, d6=height_m)])).detections
        back_az, back_el, _ = pymap3d.geodetic2aer(lat, lon, altitude_m, detection.lat, detection.lon, height_m)
        assert detection.los_az_deg is not None and detection.los_el_deg is not None
        assert abs((detection.los_az_deg - back_az) % 360.0 - 180.0) < 1e-3
        assert detection.los_el_deg == pytest.approx(-back_el, abs=1e-4)
        assert 0.0 <= detection.los_az_deg <= 360.0


class TestError:
    def test_slant_and_cross_range_on_the_ground(self) -> None:
        """The ellipse lies along the line of sight, longer by the slope of the ray."""
        detection = one_detection(d12=2000, d13=1500)
        assert detection.cov_enu_m2 is not None
        ee, en, nn = detection.cov_enu_m2
        values, vectors = np.linalg.eigh([[ee, en], [en, nn]])
        az, el = math.radians(detection.los_az_deg or 0.0), math.radians(detection.los_el_deg or 0.0)
        assert math.sqrt(values[0]) == pytest.approx(20.0 / math.cos(el), rel=1e-6)
        assert math.sqrt(values[1]) == pytest.approx(150.0, rel=1e-6)
        assert abs(vectors[:, 0] @ [math.sin(az), math.cos(az)]) == pytest.approx(1.0, abs=1e-9)

    def test_an_unknown_height_moves_the_point_along_the_ray(self) -> None:
        flat = ground_covariance(90.0, -45.0, 10.0, 50.0, 0.0)
        raised = ground_covariance(90.0, -45.0, 10.0, 50.0, 100.0)
        assert flat == pytest.approx((200.0, 0.0, 2500.0), abs=1e-6)
        assert raised == pytest.approx((200.0 + 100.0**2, 0.0, 2500.0), abs=1e-6)
        assert all(math.isfinite(value) for value in ground_covariance(0.0, -90.0, 10.0, 50.0, 100.0))

    def test_without_both_there_is_none(self) -> None:
        for fields in ({}, {"d12": 2000}, {"d13": 1500}, {"d12": 0, "d13": 1500}):
            assert one_detection(**fields).cov_enu_m2 is None

    def test_nominal_values_of_the_job(self) -> None:
        job = job_definition(slant_cm=1000, cross=ba16(0.02))
        (detection,) = one_look(job, dwell(targets=[target()])).detections
        assert detection.cov_enu_m2 is not None
        ee, en, nn = detection.cov_enu_m2
        _, _, slant_range = pymap3d.geodetic2aer(*SENSOR, detection.lat, detection.lon, 0.0)
        cross = math.radians(ba16(0.02) * 360 / 2**16) * slant_range
        assert math.sqrt(np.linalg.eigvalsh([[ee, en], [en, nn]])[1]) == pytest.approx(cross, rel=1e-6)


class TestClass:
    @pytest.mark.parametrize(
        ("code", "name", "domain"),
        [
            (1, "tracked vehicle", "GROUND"),
            (2, "wheeled vehicle", "GROUND"),
            (3, "rotary wing aircraft", "AIR"),
            (4, "fixed wing aircraft", "AIR"),
            (6, "maritime", "SEA"),
            (7, "beacon", "UNKNOWN"),
            (8, "amphibious", "UNKNOWN"),
            (13, "large maritime target", "SEA"),
            (18, "low slow flyer", "AIR"),
            (129, "tracked vehicle", "GROUND"),
            (134, "maritime", "SEA"),
            (148, "low slow flyer", "AIR"),
        ],
    )
    def test_classes(self, code: int, name: str, domain: str) -> None:
        detection = one_detection(d10=code, d11=90)
        assert (detection.class_probs, detection.domain, detection.detection_prob) == ({name: 0.9}, domain, None)

    @pytest.mark.parametrize("code", [0, 19, 126, 127, 128, 142, 143, 254, 255])
    def test_no_information(self, code: int) -> None:
        detection = one_detection(d10=code, d11=90)
        assert (detection.class_probs, detection.domain) == (None, "UNKNOWN")

    def test_without_a_probability_the_class_says_only_the_domain(self) -> None:
        for fields in ({"d10": 6}, {"d10": 6, "d11": 101}):
            detection = one_detection(**fields)
            assert (detection.class_probs, detection.domain) == (None, "SEA")

    def test_what_the_radar_calls_clutter(self) -> None:
        assert one_detection(d10=14, d11=75).detection_prob == 0.25
        assert one_detection(d10=145, d11=100).detection_prob == 0.0

    def test_live_and_simulated_have_the_same_names(self) -> None:
        assert set(CLASSES) == {*range(1, 19), *range(129, 142), *range(144, 149)}
        assert {CLASSES[code] for code in range(1, 19)} == {CLASSES[code] for code in CLASSES if code > 128}


class TestPackets:
    def test_several_dwells_in_a_packet(self) -> None:
        result = decode(dwell({3: 1}), dwell({3: 2}, [target()]), dwell({3: 3}))
        assert [len(look.detections) for look in result.looks] == [0, 1, 0]
        assert result.records == 1

    def test_parts_of_one_dwell_are_one_look(self) -> None:
        first, second = dwell(targets=[target(45.0)]), dwell(targets=[target(45.01), target(45.02)])
        together = tally(Stanag4607, packet(mission(), first, second))
        apart = tally(Stanag4607, packet(mission()) + packet(first) + packet(second) + packet(dwell({3: 9})))
        assert [len(look.detections) for look in together.looks] == [3]
        assert [len(look.detections) for look in apart.looks] == [3, 0]
        assert together.looks[0] == apart.looks[0]
        assert (together.records, apart.records) == (1, 4)

    def test_targets_alike_in_two_parts_are_two_detections(self) -> None:
        look = one_look(dwell(targets=[target()]), dwell(targets=[target(), target(45.02)]))
        assert len(look.detections) == 3

    def test_the_same_segment_again_is_ignored(self) -> None:
        content = packet(mission()) + 2 * packet(dwell(targets=[target()]))
        result = tally(Stanag4607, content)
        assert [len(look.detections) for look in result.looks] == [1]
        assert (len(result.ignored), result.records) == (1, 3)

    def test_a_dwell_before_the_mission_has_no_date(self) -> None:
        result = tally(Stanag4607, packet(dwell()) + packet(mission()) + packet(dwell()))
        assert [(r.line, r.field, r.is_record) for r in result.rejects] == [(1, "M5", True)]
        assert (len(result.looks), result.records) == (1, 3)

    def test_missions_are_of_their_platform_and_number(self) -> None:
        content = packet(mission(2024, 1, 1)) + packet(mission(2023, 1, 1), platform=b"OTHER")
        content += packet(dwell({6: 0})) + packet(dwell({6: 0}), platform=b"OTHER") + packet(dwell(), mission=8)
        result = tally(Stanag4607, content)
        assert [look.time.year for look in result.looks] == [2024, 2023]
        assert [(r.line, r.field) for r in result.rejects] == [(5, "M5")]

    def test_other_segments(self) -> None:
        result = tally(Stanag4607, packet(segment(6, b"a" * 20 + b"text")) + packet() + packet(mission()))
        assert (len(result.ignored), result.records, result.looks) == (2, 3, [])

    def test_old_editions(self) -> None:
        """NUL padding, no nation, a job without dwells, D4 that is neither 0 nor 1."""
        content = packet(mission(), version=b"20", nation=b"\x00\x00", platform=b"OLD".ljust(10, b"\x00"), exercise=128)
        content += packet(dwell({4: 255}), version=b"20", nation=b"  ", platform=b"OLD".ljust(10, b"\x00"))
        result = tally(Stanag4607, content)
        assert (len(result.looks), result.rejects, result.records) == (1, [], 2)
        assert claims(content) == ["gmti-4607"]

    def test_state_carries_missions_and_jobs_to_the_next_input(self) -> None:
        first, second = Stanag4607(), Stanag4607()
        whole = packet(mission(), job_definition(pd_percent=60)) + packet(dwell(targets=[target()]))
        tally(first, packet(mission(), job_definition(pd_percent=60)))
        second.restore(first.state())
        assert tally(second, packet(dwell(targets=[target()]))).looks == tally(Stanag4607, whole).looks
        assert second.state() == first.state()
        fresh = Stanag4607()
        fresh.restore(b"")
        assert fresh.state() == Stanag4607().state()

    def test_memory_is_bounded(self) -> None:
        decoder = Stanag4607()
        tally(decoder, b"".join(packet(mission(), job_definition(job=n), mission=n) for n in range(1100)))
        assert len(decoder._missions) == 128
        assert len(decoder._jobs) == 1024


@pytest.mark.feeds
def test_the_recorded_packets() -> None:
    content = recorded("gmti/list1.4607").read_bytes()
    result = tally(Stanag4607, content)
    assert (len(result.looks), result.rejects, result.records) == (1, [], 2)
    assert claims(content) == ["gmti-4607"]
    (look,) = result.looks
    assert look.source_id == "gmti-4607/Pico1"
    assert look.time == datetime(2016, 7, 28, 0, 16, 40, tzinfo=UTC)
    # Its encoder writes D25 with the scale of a latitude: the area lies 170 km from the target.
    assert look.footprint is None
    (detection,) = look.detections
    assert detection.lat == pytest.approx(55.9987, abs=LAT_STEP)
    assert detection.lon == pytest.approx(-2.71, abs=LON_STEP)
    assert (detection.range_rate_mps, detection.range_rate_sigma_mps) == (5.3, 50.0)
    assert (detection.alt_m, detection.alt_sigma_m) == (100.0, 200.0)
    assert (detection.class_probs, detection.domain) == ({"vehicle": 0.9}, "GROUND")


def test_default_dwell_is_what_the_comment_says() -> None:
    _, _, distance = GEOD.inv(SENSOR[1], SENSOR[0], CENTRE[1], CENTRE[0])
    assert distance == pytest.approx(690_000.0, rel=0.01)
    assert DEFAULT_DWELL[26] == 1280
