"""SAR detections: KSAT (CSV, GeoJSON, KML) and Global Fishing Watch; what all decoders of imagery share."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec
import pytest
from conftest import recorded
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds.bad_value import BadValue
from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.feeds.gfw_csv import GfwCsv
from apss_fusion.feeds.imagery_common import footprint_of_wkt, number, utc_time
from apss_fusion.feeds.ksat_csv import KsatCsv
from apss_fusion.feeds.ksat_geojson import KsatGeoJson
from apss_fusion.feeds.ksat_kml import KsatKml
from apss_fusion.feeds.registry import decoders
from apss_fusion.model import Detection, Look


class Tally(NamedTuple):
    """What came of an input."""

    looks: list[Look]
    rejects: list[Reject]
    ignored: list[Ignored]
    records: int

    @property
    def detections(self) -> list[Detection]:
        return [detection for look in self.looks for detection in look.detections]


def tally(decoder: type[Decoder] | Decoder, content: bytes | str) -> Tally:
    """Decode, check that every look is one by the contract and can be written, and count records."""
    reader = decoder if isinstance(decoder, Decoder) else decoder()
    items: list[Item] = list(reader.items(io.BytesIO(content.encode() if isinstance(content, str) else content)))
    looks, records = [], 0
    for item in items:
        if isinstance(item, Decoded):
            assert msgspec.json.decode(msgspec.json.encode(item.look), type=Look) == item.look
            looks.append(item.look)
            records += item.records
        elif isinstance(item, Reject):
            assert item.reason
            records += item.is_record
        else:
            assert isinstance(item, Used | Ignored)
            records += item.records
    ids = [detection.detection_id for look in looks for detection in look.detections]
    assert len(ids) == len(set(ids))
    rejects = [item for item in items if isinstance(item, Reject)]
    return Tally(looks, rejects, [item for item in items if isinstance(item, Ignored)], records)


def claims(head: bytes) -> list[str]:
    """Names of all formats that recognise an input."""
    return [decoder.name for decoder in decoders() if decoder.recognises(head)]


def data_lines(content: bytes) -> int:
    """Records of a table, counted without the decoder: lines with something in them but the first."""
    return max(sum(1 for line in content.splitlines() if line.strip()) - 1, 0)


def inside(lon: float, lat: float, ring: Iterable[list[float]]) -> bool:
    """Whether a point lies in a ring on the plane of longitude and latitude (rays to the east, crossings counted)."""
    corners = list(ring)
    crossings = 0
    for (x1, y1), (x2, y2) in pairwise(corners):
        if (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1):
            crossings += 1
    return crossings % 2 == 1


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with a few bytes changed, taken out or put in, or cut."""
    data = bytearray(content)
    noise = st.sampled_from(
        [b"", b"\x00", b"\xff\xfe", b"\r", b"\n", b"\r\n", b",", b'"', b"nan", b"1e999", b"-", b"95"]
    )
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 12))
        data[place : place + size] = draw(noise | st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


# --- A scene as KSAT delivers it, written by the test ---

START, STOP = "2024-02-29T23:59:30.250000Z", "2024-03-01T00:00:44.250000Z"
MIDDLE = datetime(2024, 3, 1, 0, 0, 7, 250000, tzinfo=UTC)
PRODUCT = "RS2_20240229_235930_0074_DVWF_HH_SCS_1"
FRAME = [[10.0, 50.0], [10.0, 55.0], [16.5, 55.25], [16.5, 50.0], [10.0, 50.0]]
VESSELS = [
    # id, lon, lat, probability, length, beam, heading, type
    ("a40733c2-0001", 12.345678, 54.321098, "100.00", "208.98", "29.41", "185.45", "VESSEL"),
    ("a40733c2-0002", 10.5, 50.25, "75.00", "65.61", "10.59", "007.26", "VESSEL"),
    ("a40733c2-0003", 16.0, 55.0, "20.00", "0.00", "", "331.00", "OIL PLATFORM"),
]
VENDOR_HEADER = (
    "X,Y,Name,description,Probability,DetectionId,ProductStartTime,ProductStopTime,Polarization,Beam,Length,Property,"
    "Type,Heading,ProductId"
)
MERGED_HEADER = (
    ",lon,lat,Name,Probability,DetectionId,ProductStartTime,ProductStopTime,Polarization,Beam,Length,Type,Heading,"
    "scene_id,footprint"
)


def vendor_csv(vessels: list[tuple[Any, ...]] = VESSELS, end: str = "\n") -> str:
    rows = [
        f"{lon},{lat},FID: {n},,{prob},{uid},{START},{STOP},HH,{beam},{length}, Value ,{kind},{heading},{PRODUCT}"
        for n, (uid, lon, lat, prob, length, beam, heading, kind) in enumerate(vessels)
    ]
    return end.join([VENDOR_HEADER, *rows, ""])


def merged_csv(vessels: list[tuple[Any, ...]] = VESSELS) -> str:
    wkt = "POLYGON ((" + ", ".join(f"{lon} {lat}" for lon, lat in FRAME) + "))"
    start, stop = (t.replace("T", " ").replace("Z", "+00:00") for t in (START, STOP))
    rows = [
        f'{n},{lon},{lat},FID: {n},{prob},{uid},{start},{stop},HH,{beam},{length},{kind},{heading},{PRODUCT},"{wkt}"'
        for n, (uid, lon, lat, prob, length, beam, heading, kind) in enumerate(vessels)
    ]
    return "\n".join([MERGED_HEADER, *rows, ""])


def table(pairs: dict[str, str]) -> str:
    rows = "".join(f"  <tr>\n    <td>{k}</td>\n    <td>{v}</td>\n  </tr>\n" for k, v in pairs.items())
    return f'<table border="2">\n  <tr>\n    <td>\n      <b>Property</b>\n    </td>\n  </tr>\n{rows}</table>'


def vessel_table(vessel: tuple[Any, ...]) -> str:
    uid, _, _, prob, length, beam, heading, kind = vessel
    return table(
        {
            "DetectionId": uid,
            "Type": kind,
            "Length": length,
            "Beam": beam,
            "Heading": heading,
            "Probability": prob,
            "ProductId": PRODUCT,
            "ProductStartTime": START,
            "ProductStopTime": STOP,
        }
    )


FRAME_TABLE = table(
    {"ProductId": "17d3b74a", "Satellite": "RADARSAT-2", "Name": PRODUCT, "StartTime": START, "StopTime": STOP}
)


def geojson_features(vessels: list[tuple[Any, ...]] = VESSELS) -> list[dict[str, Any]]:
    points = [
        {
            "type": "Feature",
            "properties": {"name": "FID", "description": vessel_table(vessel)},
            "geometry": {"type": "Point", "coordinates": [vessel[1], vessel[2], 0.0]},
        }
        for vessel in vessels
    ]
    frame = {
        "type": "Feature",
        "properties": {"name": PRODUCT, "description": FRAME_TABLE},
        "geometry": {"type": "Polygon", "coordinates": [[[*place, 0.0] for place in FRAME]]},
    }
    return [*points, frame]


def geojson(features: list[Any]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features, "name": "Frame"})


def kml_placemark(description: str, geometry: str) -> str:
    return f"<Placemark><name>x</name><description><![CDATA[{description}]]></description>{geometry}</Placemark>\n"


def kml(
    vessels: list[tuple[Any, ...]] = VESSELS, frame: bool = True, before: str = "", points: str | None = None
) -> str:
    marks = [
        kml_placemark(
            vessel_table(v), f"<Point><coordinates>{points or f'{v[1]:.9f},{v[2]:.9f},0.0'}</coordinates></Point>"
        )
        for v in vessels
    ]
    if frame:
        ring = " ".join(f"{lon:.9f},{lat:.9f},0.0" for lon, lat in FRAME)
        marks.append(
            kml_placemark(
                FRAME_TABLE,
                "<Polygon><outerBoundaryIs><LinearRing><coordinates>"
                f"{ring}</coordinates></LinearRing></outerBoundaryIs></Polygon>",
            )
        )
    body = "".join(marks)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{before}<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Folder>'
        f"<name>Vessel</name>{body}</Folder></Document></kml>\n"
    )


FORMS: list[tuple[type[Decoder], str]] = [
    (KsatCsv, vendor_csv()),
    (KsatCsv, merged_csv()),
    (KsatGeoJson, geojson(geojson_features())),
    (KsatKml, kml()),
]


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


# --- Global Fishing Watch ---

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


# --- shared pieces ---


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


class TestFuzz:
    @pytest.mark.parametrize(
        ("decoder", "content"), [*FORMS[:2], (GfwCsv, gfw(gfw_row(), gfw_row(5.0, 51.0), gfw_row(4.5, 51.1)))]
    )
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
