"""KSAT vessel detections (CSV, GeoJSON, KML): values, recognition, recorded files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from conftest import recorded
from hypothesis import given
from hypothesis import strategies as st
from test_feeds_sar_scene import (
    FORMS,
    FRAME,
    MIDDLE,
    VENDOR_HEADER,
    VESSELS,
    geojson,
    geojson_features,
    kml,
    vendor_csv,
)
from test_feeds_sar_tally import claims, damaged, data_lines, inside, tally

from apss_fusion.feeds.base import Decoder
from apss_fusion.feeds.ksat_csv import KsatCsv
from apss_fusion.feeds.ksat_geojson import KsatGeoJson
from apss_fusion.feeds.ksat_kml import KsatKml


class TestKsatValues:
    @pytest.mark.parametrize(("decoder", "content"), FORMS)
    def test_a_scene_is_one_look(self, decoder: type[Decoder], content: str) -> None:
        result = tally(decoder, content)
        assert result.rejects == [] and result.ignored == []
        (look,) = result.looks
        assert look.source_id == decoder.name
        assert look.time == datetime(2024, 2, 29, 23, 59, 30, 250000, tzinfo=UTC)
        assert look.time_end == look.time + timedelta(seconds=74)
        assert (look.p_detect, look.clutter_per_km2, look.time_received) == (None, None, None)
        assert {d.time for d in look.detections} == {MIDDLE}
        big, small, platform = sorted(look.detections, key=lambda d: d.detection_id)
        assert (big.detection_id, big.lon, big.lat) == ("a40733c2-0001", 12.345678, 54.321098)
        assert (big.length_m, big.width_m, big.domain) == (208.98, 29.41, "SEA")
        assert (big.detection_prob, big.class_probs) == (0.99, {"vessel": 0.99})
        assert (small.detection_prob, small.class_probs, small.length_m) == (0.75, {"vessel": 0.75}, 65.61)
        assert (platform.detection_prob, platform.class_probs) == (0.2, {"oil platform": 0.2})
        assert (platform.length_m, platform.width_m) == (None, None)
        # The hull's line is ambiguous, and no speed or error is given.
        for detection in look.detections:
            assert detection.heading_deg is None and detection.course_deg is None and detection.speed_mps is None
            assert detection.cov_enu_m2 is None and detection.ellipse is None and detection.ids is None

    def test_the_footprint(self) -> None:
        footprints = [tally(decoder, content).looks[0].footprint for decoder, content in FORMS]
        assert footprints == [None] + 3 * [{"type": "Polygon", "coordinates": [FRAME]}]

    def test_records(self) -> None:
        assert [tally(decoder, content).records for decoder, content in FORMS] == [3, 3, 4, 4]

    @pytest.mark.parametrize(("decoder", "content"), FORMS)
    def test_ids_do_not_depend_on_the_order_of_records(self, decoder: type[Decoder], content: str) -> None:
        again = {KsatCsv: vendor_csv(VESSELS[::-1]), KsatKml: kml(VESSELS[::-1])}.get(
            decoder, geojson(geojson_features()[::-1])
        )
        assert tally(decoder, again).looks[0].look_id == tally(decoder, content).looks[0].look_id

    @pytest.mark.parametrize(
        ("decoder", "content"),
        [
            (KsatGeoJson, geojson(geojson_features([]))),
            (KsatKml, kml([])),
            (KsatCsv, VENDOR_HEADER + "\n"),
            (KsatCsv, ""),
        ],
    )
    def test_a_scene_without_a_vessel(self, decoder: type[Decoder], content: str) -> None:
        result = tally(decoder, content)
        if decoder is KsatCsv:
            assert result == ([], [], [], 0)
        else:
            (look,) = result.looks
            assert (look.detections, result.records) == ((), 1)
            assert look.footprint == {"type": "Polygon", "coordinates": [FRAME]}

    def test_detections_without_ids_are_named_by_their_content(self) -> None:
        nameless = [("", *vessel[1:]) for vessel in VESSELS]
        first = {d.detection_id for d in tally(KsatCsv, vendor_csv(nameless)).detections}
        assert first == {d.detection_id for d in tally(KsatCsv, vendor_csv(nameless[::-1])).detections}
        assert len(first) == 3

    def test_source(self) -> None:
        assert KsatCsv.source == KsatGeoJson.source == KsatKml.source
        source = KsatCsv.source
        assert (source.modality, source.domains, source.may_initiate) == ("SAR", ("SEA",), True)
        # The azimuth shift of a ship of 10 knots, see the module.
        assert source.position_sigma_m == pytest.approx(
            ((133 * 5.14 * 0.616) ** 2 / 4 + (21.4 * 5.14) ** 2 / 2 + 40**2) ** 0.5, rel=0.05
        )


class TestRecognition:
    @pytest.mark.parametrize(("decoder", "content"), FORMS)
    def test_a_head_cut_anywhere_is_claimed_by_its_own_format_or_none(
        self, decoder: type[Decoder], content: str
    ) -> None:
        data = content.encode()
        for end in [*range(0, len(data), 11), len(data)]:
            assert claims(data[:end]) in ([], [decoder.name])
        assert claims(data) == [decoder.name]
        assert claims(b"\xef\xbb\xbf" + data) == [decoder.name]

    @pytest.mark.parametrize(
        "head",
        [
            b"label,lat,lon\ncorrect,10.0,108.2\n",
            b"lon,lat\n1,2\n",
            b'{"type": "FeatureCollection", "features": []}',
            b'<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document/></kml>',
            b"\x00" * 4096,
        ],
    )
    def test_files_of_others(self, head: bytes) -> None:
        assert not {"ksat", "ksat-geojson", "ksat-kml", "gfw"} & set(claims(head))


class TestFuzz:
    @pytest.mark.parametrize(("decoder", "content"), FORMS[:2])
    @given(data=st.data())
    def test_tables(self, decoder: type[Decoder], content: str, data: st.DataObject) -> None:
        mutated = data.draw(damaged(content.encode()))
        assert tally(decoder, mutated).records == data_lines(mutated)

    @given(data=st.data())
    def test_geojson(self, data: st.DataObject) -> None:
        mutated = data.draw(damaged(FORMS[2][1].encode()))
        result = tally(KsatGeoJson, mutated)
        try:
            count = len(json.loads(mutated)["features"])
        except (ValueError, LookupError, TypeError):
            assert result.records <= 5
        else:
            assert result.records == count

    @given(data=st.data())
    def test_kml(self, data: st.DataObject) -> None:
        mutated = data.draw(damaged(FORMS[3][1].encode()))
        result = tally(KsatKml, mutated)
        assert result.records <= mutated.count(b"</Placemark>") + 1


@pytest.mark.feeds
class TestRecordedKsat:
    FOLDER = "sar/ksat_pacific"

    def test_the_merged_file(self) -> None:
        content = recorded(f"{self.FOLDER}/ksat-detections-fp-v20200117.csv").read_bytes()
        result = tally(KsatCsv, content)
        assert (len(result.looks), len(result.detections), result.rejects, result.records) == (9, 173, [], 173)
        assert claims(content[: 2**16]) == ["ksat"]
        for look in result.looks:
            assert look.footprint is not None
            for detection in look.detections:
                assert inside(detection.lon, detection.lat, look.footprint["coordinates"][0])
        first = result.looks[0]
        assert first.time == datetime(2019, 8, 10, 4, 17, 41, 648000, tzinfo=UTC)
        assert first.time_end == datetime(2019, 8, 10, 4, 18, 55, 733000, tzinfo=UTC)
        one = next(d for d in first.detections if d.detection_id == "a40733c2-5382-4cd0-96e3-db4ee19db3d6")
        assert (one.lon, one.lat, one.length_m, one.width_m) == (-148.385947, -10.176017, 65.61, 10.59)
        assert one.detection_prob == 0.5

    def test_the_three_forms_of_each_scene_agree(self) -> None:
        merged = {
            d.detection_id: d
            for d in tally(KsatCsv, recorded(f"{self.FOLDER}/ksat-detections-fp-v20200117.csv").read_bytes()).detections
        }
        total = 0
        for path in sorted(recorded(f"{self.FOLDER}/csv").glob("*.csv")):
            forms = [
                (KsatCsv, path),
                (KsatGeoJson, path.parents[1] / "geojson" / f"{path.stem}.geojson"),
                (KsatKml, path.parents[1] / "kml" / f"{path.stem}.kml"),
            ]
            results = [tally(decoder, file.read_bytes()) for decoder, file in forms]
            assert [claims(file.read_bytes()[: 2**16]) for _, file in forms] == [[d.name] for d, _ in forms]
            assert all(len(result.looks) == 1 and not result.rejects for result in results)
            by_id = [{d.detection_id: d for d in result.detections} for result in results]
            assert by_id[0] == by_id[1] == by_id[2]
            assert by_id[0] == {key: merged[key] for key in by_id[0]}
            assert results[1].looks[0].footprint == results[2].looks[0].footprint
            # Counted in the files themselves: rows, features and placemarks (one of them the frame).
            n = len(by_id[0])
            assert [r.records for r in results] == [n, n + 1, n + 1]
            assert path.read_text().count("\n") == n + 1
            assert forms[2][1].read_text().count("<Placemark>") == n + 1
            total += n
        assert total == 173
