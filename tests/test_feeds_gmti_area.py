"""STANAG 4607: the dwell area on the ground."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod
from test_feeds_gmti_encoder import (
    CENTRE,
    SENSOR,
    dwell,
    mission,
    packet,
    sa32,
    target,
)
from test_feeds_sar_tally import Tally, inside, tally

from apss_fusion.feeds.gmti_common import dwell_area, lies_near
from apss_fusion.feeds.stanag4607 import Stanag4607
from apss_fusion.model import Look

GEOD = Geod(ellps="WGS84")


def decode(*segments: bytes) -> Tally:
    """A mission on 2024-02-28 and one packet with the segments."""
    return tally(Stanag4607, packet(mission(), *segments))


def one_look(*segments: bytes) -> Look:
    result = decode(*segments)
    assert result.rejects == []
    (look,) = result.looks
    return look


class TestDwellArea:
    @given(
        lat=st.floats(-70.0, 70.0),
        lon=st.floats(-180.0, 180.0),
        azimuth=st.floats(0.0, 360.0),
        distance_km=st.floats(60.0, 1500.0),
        deep_km=st.floats(1.0, 50.0),
        wide_deg=st.floats(0.05, 60.0),
    )
    def test_a_sector_seen_from_below_the_sensor(
        self, lat: float, lon: float, azimuth: float, distance_km: float, deep_km: float, wide_deg: float
    ) -> None:
        """Against the geodesics of PROJ: corners at the near and far edge, at the ends of the angle."""
        centre_lon, centre_lat, _ = GEOD.fwd(lon, lat, azimuth, distance_km * 1000.0)
        area = dwell_area((lat, lon), (centre_lat, centre_lon), deep_km * 1000.0, wide_deg)
        assert area is not None and area["type"] == "Polygon"
        (ring,) = area["coordinates"]
        assert ring[0] == ring[-1]
        for corner_lon, corner_lat in ring:
            az, _, distance = GEOD.inv(lon, lat, corner_lon, corner_lat)
            off = abs((az - azimuth + 180.0) % 360.0 - 180.0)
            assert off <= wide_deg + 0.02
            edge = abs(distance / 1000.0 - distance_km)
            assert edge == pytest.approx(deep_km, abs=0.5)
        assert lies_near(area, (centre_lat, centre_lon), [centre_lat], [centre_lon])

    def test_it_is_counter_clockwise_and_holds_what_was_seen(self) -> None:
        look = one_look(dwell(targets=[target(*CENTRE), target(45.05, 10.05)]))
        assert look.footprint is not None
        (ring,) = look.footprint["coordinates"]
        twice_area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(ring))
        assert twice_area > 0
        for detection in look.detections:
            assert inside(detection.lon, detection.lat, ring)
        assert not inside(SENSOR[1], SENSOR[0], ring)

    def test_the_antimeridian(self) -> None:
        area = dwell_area((0.0, 178.0), (0.0, -179.0), 50_000.0, 3.0)
        assert area is not None
        longitudes = [lon for lon, _ in area["coordinates"][0]]
        assert all(-180.0 <= lon <= 180.0 for lon in longitudes)
        assert all(abs(lon) > 178.0 for lon in longitudes)

    def test_all_round_is_a_ring_with_a_hole(self) -> None:
        area = dwell_area((50.0, 5.0), (50.0, 6.0), 20_000.0, 180.0)
        assert area is not None
        outer, inner = area["coordinates"]
        reach = GEOD.inv(5.0, 50.0, 6.0, 50.0)[2]
        for ring, radius in ((outer, reach + 20_000.0), (inner, reach - 20_000.0)):
            assert ring[0] == ring[-1]
            assert all(GEOD.inv(5.0, 50.0, *place)[2] == pytest.approx(radius, rel=1e-4) for place in ring)
        disc = dwell_area((50.0, 5.0), (50.0, 5.0), 20_000.0, 200.0)
        assert disc is not None and len(disc["coordinates"]) == 1

    def test_a_near_edge_behind_the_sensor_is_the_point_below_it(self) -> None:
        area = dwell_area((50.0, 5.0), (50.1, 5.0), 20_000.0, 10.0)
        assert area is not None and [5.0, 50.0] in area["coordinates"][0]

    @pytest.mark.parametrize(("deep_m", "wide_deg"), [(0.0, 1.0), (-5.0, 1.0), (1000.0, 0.0)])
    def test_no_area(self, deep_m: float, wide_deg: float) -> None:
        assert dwell_area((50.0, 5.0), (51.0, 5.0), deep_m, wide_deg) is None
        assert dwell_area((50.0, 5.0), (50.0, 5.0), 1000.0, 1.0) is None

    def test_an_area_far_from_its_targets_is_not_believed(self) -> None:
        """D25 written with the scale of a latitude: the centre is off by its own longitude."""
        wrong = {25: sa32(CENTRE[1]) % 2**32}
        assert one_look(dwell(wrong, [target()])).footprint is None
        assert one_look(dwell(targets=[target()])).footprint is not None
