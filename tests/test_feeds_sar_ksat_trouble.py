"""KSAT vessel detections (CSV, GeoJSON, KML) that are damaged, cut or contradict themselves."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from test_feeds_sar_scene import (
    FORMS,
    START,
    VENDOR_HEADER,
    VESSELS,
    geojson,
    geojson_features,
    kml,
    kml_placemark,
    merged_csv,
    vendor_csv,
)
from test_feeds_sar_tally import tally

from apss_fusion.feeds.base import Decoded, Decoder
from apss_fusion.feeds.ksat_csv import KsatCsv
from apss_fusion.feeds.ksat_geojson import KsatGeoJson
from apss_fusion.feeds.ksat_kml import KsatKml


class TestKsatTrouble:
    @pytest.mark.parametrize(
        ("column", "value", "field"),
        [
            ("Y", "95", "Y"),
            ("Y", "", "Y"),
            ("X", "nan", "X"),
            ("X", "180.5", "X"),
            ("X", "1_0", "X"),
            ("Probability", "101", "Probability"),
            ("Probability", "high", "Probability"),
            ("Length", "inf", "Length"),
            ("Beam", "1e400", "Beam"),
            ("ProductStartTime", "2024-02-30T00:00:00Z", "ProductStartTime"),
            ("ProductStartTime", "2024-02-29", "ProductStartTime"),
            ("ProductStartTime", "0001-01-01T00:00:00+23:59", "ProductStartTime"),
            ("ProductStopTime", "2024-02-29T23:00:00Z", "ProductStopTime"),
            ("ProductStopTime", "2024-03-02T00:00:00Z", "ProductStopTime"),
            ("ProductId", "", "ProductId"),
        ],
    )
    def test_a_bad_value_costs_its_row_and_is_named(self, column: str, value: str, field: str) -> None:
        lines = vendor_csv().splitlines()
        cells = lines[2].split(",")
        cells[VENDOR_HEADER.split(",").index(column)] = value
        lines[2] = ",".join(cells)
        result = tally(KsatCsv, "\n".join(lines))
        (reject,) = result.rejects
        assert (reject.line, reject.field, reject.record) == (3, field, lines[2].encode())
        assert [d.detection_id for d in result.detections] == ["a40733c2-0001", "a40733c2-0003"]
        assert result.records == 3

    @pytest.mark.parametrize("end", ["\r\n", "\r", "\n\n", "\r\n\r\n"])
    def test_line_ends_and_blank_lines(self, end: str) -> None:
        result = tally(KsatCsv, "\ufeff" + vendor_csv(end=end))
        assert (len(result.detections), result.rejects, result.records) == (3, [], 3)

    def test_rows_that_are_cut_too_long_or_no_text(self) -> None:
        lines = vendor_csv().encode().splitlines()
        lines[1:1] = [lines[1][:40], lines[1] + b",x", b"\xff\xfe" + lines[1], b'"' + lines[1]]
        result = tally(KsatCsv, b"\n".join(lines))
        assert [reject.line for reject in result.rejects] == [2, 3, 4, 5]
        assert (len(result.detections), result.records) == (3, 7)

    def test_a_wrong_header_makes_every_row_a_dead_letter(self) -> None:
        result = tally(KsatCsv, vendor_csv().replace("ProductId", "Product"))
        assert {(r.field, r.reason) for r in result.rejects} == {("ProductId", "the header has no column ProductId")}
        assert (result.records, [r.line for r in result.rejects]) == (3, [2, 3, 4])

    def test_the_same_row_again_is_ignored_and_another_of_its_id_refused(self) -> None:
        moved = (VESSELS[0][0], 12.0, *VESSELS[0][2:])
        result = tally(KsatCsv, vendor_csv([*VESSELS, VESSELS[0], moved]))
        assert (len(result.ignored), result.records) == (1, 5)
        (reject,) = result.rejects
        assert (reject.line, reject.field) == (6, "detection_id")

    def test_times_of_a_scene_must_agree(self) -> None:
        lines = vendor_csv().splitlines()
        lines[3] = lines[3].replace(START, "2024-02-29T23:59:31Z")
        (reject,) = tally(KsatCsv, "\n".join(lines)).rejects
        assert (reject.line, reject.field) == (4, "ProductStartTime")

    @pytest.mark.parametrize("wkt", ["POLYGON ((1 2, 3 4))", "POINT (1 2)", "POLYGON ((1 2, 3 4, 5 95, 1 2))", "junk"])
    def test_a_bad_footprint_costs_its_row(self, wkt: str) -> None:
        lines = merged_csv().splitlines()
        lines[2] = re.sub(r'"POLYGON.*"', f'"{wkt}"', lines[2])
        result = tally(KsatCsv, "\n".join(lines))
        assert [(r.line, r.field) for r in result.rejects] == [(3, "footprint")]
        assert (len(result.detections), result.records) == (2, 3)

    def test_a_footprint_that_contradicts_the_scene(self) -> None:
        lines = merged_csv().splitlines()
        lines[2] = lines[2].replace("16.5 55.25", "16.5 56.25")
        assert [(r.line, r.field) for r in tally(KsatCsv, "\n".join(lines)).rejects] == [(3, "footprint")]

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            (lambda f: f[1].update(geometry=None), "geometry"),
            (lambda f: f[1].update(properties=[1]), "geometry"),
            (lambda f: f[1]["geometry"].update(coordinates=["1", "2"]), "coordinates"),
            (lambda f: f[1]["geometry"].update(coordinates=[None, 2]), "coordinates"),
            (lambda f: f[1]["geometry"].update(coordinates=[1.0]), "coordinates"),
            (lambda f: f[1]["geometry"].update(coordinates=[1.0, 95]), "coordinates"),
            (lambda f: f[1]["geometry"].update(type="LineString"), "footprint"),
            (lambda f: f[1]["properties"].update(description=7), "ProductId"),
            (lambda f: f.__setitem__(1, "text"), None),
            (lambda f: f[3]["geometry"].update(coordinates=[[[1, 2], [3, 4]]]), "footprint"),
            (lambda f: f[3]["geometry"].update(coordinates=[[1, 2]]), "footprint"),
            (lambda f: f[3]["geometry"].update(coordinates=[]), "footprint"),
            (lambda f: f[3]["geometry"].update(coordinates=[[["a", "b"], [3, 4], [5, 6]]]), "footprint"),
            (lambda f: f[3]["properties"].update(description=""), "Name"),
        ],
    )
    def test_a_bad_feature(self, change: Any, field: str | None) -> None:
        features = json.loads(json.dumps(geojson_features()))
        change(features)
        result = tally(KsatGeoJson, geojson(features))
        (reject,) = result.rejects
        assert (reject.field, result.records, len(result.looks)) == (field, 4, 1)
        assert reject.line == (4 if len(result.detections) == 3 else 2)

    def test_half_a_character_in_json_is_refused(self) -> None:
        result = tally(KsatGeoJson, geojson(geojson_features()).replace("a40733c2-0001", "\\ud800"))
        assert len(result.rejects) == 1

    @pytest.mark.parametrize("content", ["[]", "{}", '{"features": 7}', "7", '{"features": [', "\xff", "[" * 100_000])
    def test_documents_that_are_no_feature_collection(self, content: str) -> None:
        result = tally(KsatGeoJson, content.encode("latin-1"))
        assert (result.looks, result.records) == ([], 1)

    def test_a_second_frame_is_refused(self) -> None:
        features = geojson_features()
        result = tally(KsatGeoJson, geojson([*features, features[-1]]))
        assert [(r.line, r.field) for r in result.rejects] == [(5, "footprint")]

    @pytest.mark.parametrize("points", ["1", "1,2 3,4", "a,b", "1,95", "", "1,2,3;4"])
    def test_a_bad_placemark(self, points: str) -> None:
        result = tally(KsatKml, kml(VESSELS[:1], points=points or " "))
        assert [(r.line, r.field) for r in result.rejects] == [] if points == "1,2,3;4" else [(1, "coordinates")]
        assert result.records == 2

    def test_a_placemark_without_geometry(self) -> None:
        content = kml().replace("</Folder>", kml_placemark("", "") + "</Folder>")
        result = tally(KsatKml, content)
        assert [(r.line, r.field) for r in result.rejects] == [(5, "coordinates")]

    @pytest.mark.parametrize(
        "before",
        [
            '<!DOCTYPE kml [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
            '<!DOCTYPE kml SYSTEM "file:///etc/passwd">',
            '<!DOCTYPE kml [<!ENTITY x SYSTEM "http://localhost/">]>',
        ],
    )
    def test_a_document_type_is_refused(self, before: str) -> None:
        result = tally(KsatKml, kml(before=before))
        (reject,) = result.rejects
        assert "document type" in reject.reason
        assert result.looks == []

    @pytest.mark.parametrize(
        "content", ["", " \n ", "<kml>", "<kml/>", "no xml", '<?xml version="1.0" encoding="x"?><kml/>']
    )
    def test_xml_that_is_not_there_or_broken(self, content: str) -> None:
        result = tally(KsatKml, content)
        assert (result.looks, result.records) == ([], 0 if not content.strip() or content == "<kml/>" else 1)

    def test_kml_cut_anywhere_keeps_the_placemarks_before_the_cut(self) -> None:
        content = kml().encode()
        for end in range(1, len(content), 7):
            result = tally(KsatKml, content[:end])
            complete = content[:end].count(b"</Placemark>")
            assert sum(len(look.detections) for look in result.looks) == min(complete, 3)
            assert result.records == complete + (not content.startswith(content[:end].strip() + b"\n" * 2))

    def test_geojson_cut_anywhere_keeps_the_features_before_the_cut(self) -> None:
        content = geojson(geojson_features()).encode()
        for end in range(1, len(content), 7):
            result = tally(KsatGeoJson, content[:end])
            complete = content[:end].count(b"]}}") + content[:end].count(b"]]]}}")
            assert sum(len(look.detections) for look in result.looks) >= min(complete, 3) - 1
            assert len(result.rejects) == 1

    @pytest.mark.parametrize(("decoder", "content"), FORMS)
    def test_what_was_read_before_a_fault_of_reading_is_not_lost(self, decoder: type[Decoder], content: str) -> None:
        class Faulty(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                data = super().read(min(size if size and size > 0 else 100, 100))
                if not data:
                    raise OSError("the disk is gone")
                return data

        items = []
        with pytest.raises(OSError, match="the disk is gone"):
            for item in decoder().items(Faulty(content.encode())):
                items.append(item)
        (decoded,) = [item for item in items if isinstance(item, Decoded)]
        assert len(decoded.look.detections) == 3
