"""SAR detections of Global Fishing Watch, and the values that all decoders of imagery read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_feeds_sar_tally import claims, damaged, data_lines, tally

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.gfw_csv import GfwCsv
from apss_fusion.feeds.imagery_common import footprint_of_wkt, number, utc_time

GFW_HEADER = (
    "scene_id,detect_id,detect_lon,detect_lat,detect_timestamp,ssvid,score,confidence,presence,length_m,footprint_wkt"
)
S1 = "S1A_IW_GRDH_1SDV_20220110T170543_20220110T170608_041411_04EC77_64E1"
WKT = "MULTIPOLYGON (((4 51, 6 51, 6 53, 4 51)), ((7 51, 8 51, 8 52, 7 51), (7.5 51.2, 7.6 51.2, 7.6 51.3, 7.5 51.2)))"


def gfw_row(lon: float = 5.5, lat: float = 52.0, time: str = "2022-01-10 17:05:55 UTC", **cells: str) -> str:
    values = {
        "scene_id": S1,
        "ssvid": "244660000",
        "presence": "0.98",
        "length_m": "88.5",
        "footprint_wkt": WKT,
    } | cells
    detect_id = values.get("detect_id", f"{values['scene_id']};{lon};{lat}")
    return (
        f"{values['scene_id']},{detect_id},{lon},{lat},{time},{values['ssvid']},1.2,0.9,{values['presence']},"
        f'{values["length_m"]},"{values["footprint_wkt"]}"'
    )


def gfw(*rows: str) -> str:
    return "\n".join([GFW_HEADER, *rows, ""])


class TestGfw:
    def test_values(self) -> None:
        other = gfw_row(
            6.0, 40.0, "2022-01-11T05:00:00Z", scene_id="S1B_other", ssvid="", footprint_wkt="", length_m=""
        )
        content = gfw(gfw_row(), other, gfw_row(5.25, 51.75, "2022-01-10 17:05:45.5+00:00"))
        result = tally(GfwCsv, content)
        first, second = result.looks
        assert result.records == 3 and result.rejects == []
        # The scene's span is that of its detections, each of which has its own time.
        assert first.time == datetime(2022, 1, 10, 17, 5, 45, 500000, tzinfo=UTC)
        assert first.time_end == datetime(2022, 1, 10, 17, 5, 55, tzinfo=UTC)
        assert [d.time for d in first.detections] == [first.time_end, first.time]
        assert first.footprint is not None and first.footprint["type"] == "MultiPolygon"
        assert [len(polygon) for polygon in first.footprint["coordinates"]] == [1, 2]
        detection = first.detections[0]
        assert detection.detection_id == f"{S1};5.5;52.0"
        assert (detection.lat, detection.lon, detection.length_m, detection.detection_prob) == (52.0, 5.5, 88.5, 0.98)
        # The identity of somebody's match is not the radar's own.
        assert detection.ids == {"ssvid": "244660000"}
        assert (second.time_end, second.footprint) == (None, None)
        assert (second.detections[0].ids, second.detections[0].length_m) == (None, None)
        assert claims(content.encode()) == ["gfw"]

    @pytest.mark.parametrize(
        ("row", "field"),
        [
            (gfw_row(lat=95), "detect_lat"),
            (gfw_row(lon=float("nan")), "detect_lon"),
            (gfw_row(time="yesterday"), "detect_timestamp"),
            (gfw_row(time="2022-01-10 18:05:55 UTC"), "detect_timestamp"),
            (gfw_row(presence="1.5"), "presence"),
            (gfw_row(length_m="long"), "length_m"),
            (gfw_row(footprint_wkt="POLYGON EMPTY"), "footprint_wkt"),
            (gfw_row(footprint_wkt="POLYGON ((1 1, 2 1, 2 2, 1 1))"), "footprint"),
            (gfw_row(scene_id=""), "scene_id"),
        ],
    )
    def test_a_bad_row(self, row: str, field: str) -> None:
        result = tally(GfwCsv, gfw(gfw_row(1.0, 2.0), row))
        assert [(r.line, r.field) for r in result.rejects] == [(3, field)]
        assert (len(result.detections), result.records) == (1, 2)

    @given(data=st.data())
    def test_fuzz(self, data: st.DataObject) -> None:
        mutated = data.draw(damaged(gfw(gfw_row(), gfw_row(5.0, 51.0), gfw_row(4.5, 51.1)).encode()))
        assert tally(GfwCsv, mutated).records == data_lines(mutated)


class TestPieces:
    @given(
        st.lists(
            st.lists(
                st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=3, max_size=6, unique=True),
                min_size=1,
                max_size=3,
            ),
            min_size=1,
            max_size=3,
        ),
        st.booleans(),
    )
    def test_wkt_round_trip(self, polygons: list[list[list[tuple[float, float]]]], spaced: bool) -> None:
        comma = ", " if spaced else ","
        closed = [[[*ring, ring[0]] for ring in polygon] for polygon in polygons]
        bodies = [
            "(" + comma.join("(" + comma.join(f"{x!r} {y!r}" for x, y in ring) + ")" for ring in polygon) + ")"
            for polygon in closed
        ]
        wanted = [[[list(place) for place in ring] for ring in polygon] for polygon in closed]
        multi = footprint_of_wkt("MULTIPOLYGON (" + comma.join(bodies) + ")", "f")
        assert (multi["coordinates"] if len(wanted) > 1 else [multi["coordinates"]]) == wanted
        assert footprint_of_wkt("polygon" + bodies[0], "f") == {"type": "Polygon", "coordinates": wanted[0]}

    def test_wkt_across_the_antimeridian_with_heights_and_open_ring(self) -> None:
        found = footprint_of_wkt("SRID=4326;POLYGON Z ((179 1 0, -179 +1. 0, -179 2e0 0, 179 .5 0))", "f")
        assert found["coordinates"] == [[[179.0, 1.0], [-179.0, 1.0], [-179.0, 2.0], [179.0, 0.5], [179.0, 1.0]]]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "POLYGON",
            "POLYGON ()",
            "POLYGON (())",
            "POLYGON ((1 2, 3 4, 5 6)",
            "POLYGON ((1 2, 3 4, 5 6)))",
            "POLYGON ((1 2 3 4, 3 4, 5 6))",
            "POLYGON ((1, 2, 3))",
            "POLYGON ((1 2, 3 4, 1e999 6))",
            "POLYGON ((1 2, 3 4, -- 6))",
            "POLYGON ((1 2, 3 4, 5 nan))",
            "POLYGON ((1 1, 1 1, 1 1))",
            "POLYGON (((1 2, 3 4, 5 6)))",
            "MULTIPOLYGON ((1 2, 3 4, 5 6))",
            "POLYGON ((181 2, 3 4, 5 6))",
            "POLYGON ((1 2, 3 4, 5 6)) POLYGON",
            "POLYGON " + "(" * 5000,
            "POLYGON ((" + "1" * 100_000 + "))",
        ],
    )
    def test_wkt_that_is_no_polygon(self, text: str) -> None:
        with pytest.raises(BadValue) as error:
            footprint_of_wkt(text, "f")
        assert error.value.field == "f"

    @pytest.mark.parametrize(
        ("text", "iso"),
        [
            ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00+00:00"),
            ("2024-02-29 12:00:00.1234567 UTC", "2024-02-29T12:00:00.123456+00:00"),
            ("2024/02/29 12:00:00.5", "2024-02-29T12:00:00.500000+00:00"),
            ("2024-02-29T12:00:00+05:30", "2024-02-29T06:30:00+00:00"),
        ],
    )
    def test_times(self, text: str, iso: str) -> None:
        assert utc_time(text, "t").isoformat() == iso

    @pytest.mark.parametrize(
        "text",
        [
            None,
            "",
            "1709200000",
            "20240229T120000Z",
            "2024-02-29T25:00:00Z",
            "2024-02-29T12:00Z",
            "1969-12-31T23:59:59Z",
        ],
    )
    def test_no_times(self, text: str | None) -> None:
        with pytest.raises(BadValue):
            utc_time(text, "t")

    @given(st.floats() | st.integers() | st.text(max_size=8) | st.booleans() | st.none())
    def test_a_number_is_finite_and_in_range_or_refused(self, value: object) -> None:
        try:
            found = number(value, "n", -10.0, 10.0)
        except BadValue as error:
            assert error.field == "n"
        else:
            assert found is None or (-10.0 <= found <= 10.0)
            assert (found is None) == (value is None or value == "")
