"""AIS archives in CSV: the dialects, their sentinels and blanks, quotes, and damaged rows."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest
from feeds_ais_tools import items_of, kinds, looks_of, plain, records
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds.ais_common import KNOT_MPS
from apss_fusion.feeds.ais_csv import AisCsv
from apss_fusion.feeds.ais_csv_dialects import CRAFT_COLUMNS, DIALECTS, NEEDED_COLUMNS, REPORT_COLUMNS
from apss_fusion.feeds.ais_times import day_first_moment, iso_moment, unix_moment
from apss_fusion.feeds.base import Ignored, Item, Reject
from apss_fusion.model import Detection, Look

MARINE_2022 = (
    "MMSI,BaseDateTime,LAT,LON,SOG,COG,Heading,VesselName,IMO,CallSign,VesselType,Status,Length,Width,Draft,Cargo,"
    "TransceiverClass"
)
MARINE_2024 = (
    "mmsi,base_date_time,longitude,latitude,sog,cog,heading,vessel_name,imo,call_sign,vessel_type,status,length,width,"
    "draft,cargo,transceiver"
)
DANISH = (
    "# Timestamp,Type of mobile,MMSI,Latitude,Longitude,Navigational status,ROT,SOG,COG,Heading,IMO,Callsign,Name,"
    "Ship type,Cargo type,Width,Length,Type of position fixing device,Draught,Destination,ETA,Data source type,A,B,C,D"
)
SOLENT = "Time,MMSI,Latitude_degrees,Longitude_degrees,COG_degrees,SOG_knots"
BREST = "sourcemmsi,navigationalstatus,rateofturn,speedoverground,courseoverground,trueheading,lon,lat,t"
HEADERS = [MARINE_2022, MARINE_2024, DANISH, SOLENT, BREST]

SOLENT_ROW = "2016-01-12 13:02:11.218,235070762,50.7730133333333,-1.092935,157.8,5.9"


def table(header: str, *rows: str) -> str:
    return "\n".join([header, *rows]) + "\n"


def one(header: str, row: str) -> Item:
    (item,) = items_of(AisCsv(), table(header, row))
    return item


def one_look(header: str, row: str) -> tuple[Look, Detection]:
    look = one(header, row)
    assert isinstance(look, Look), look
    (detection,) = look.detections
    assert (look.source_id, look.time_received, look.footprint, look.p_detect) == ("ais-csv", None, None, None)
    assert look.look_id == detection.detection_id
    assert (detection.cov_enu_m2, detection.ellipse) == (None, None)
    return look, detection


# --- dialects ---


def test_marine_cadastre() -> None:
    look, detection = one_look(
        MARINE_2022,
        "367379190,2022-01-03T00:00:12,30.3706,-88.56408,17.9,336.2,511,EAGLE,IMO8207721,WTD4583,31,0,28,11,3.3,52,A",
    )
    assert look.time == datetime(2022, 1, 3, 0, 0, 12, tzinfo=UTC)
    assert (detection.lat, detection.lon) == (30.3706, -88.56408)
    assert detection.speed_mps == pytest.approx(17.9 * KNOT_MPS)
    assert (detection.course_deg, detection.heading_deg) == (336.2, None)
    assert detection.ids == {"mmsi": "367379190", "imo": "8207721", "callsign": "WTD4583", "name": "EAGLE"}
    assert detection.class_probs == {"tug": 0.95, "other": 0.05}
    assert (detection.length_m, detection.width_m, detection.domain) == (28.0, 11.0, "SEA")


def test_marine_cadastre_blanks_and_sentinels() -> None:
    _, detection = one_look(
        MARINE_2022, "338148873,2022-01-03T00:00:00,33.60716,-117.91483,102.3,360.0,511,,IMO0000000,,,,,,,,B"
    )
    assert (detection.speed_mps, detection.course_deg, detection.heading_deg) == (None, None, None)
    assert detection.ids == {"mmsi": "338148873"}
    assert (detection.class_probs, detection.length_m, detection.width_m) == (None, None, None)
    _, detection = one_look(
        MARINE_2022, "338148873,2022-01-03T00:00:00,33.6,-117.9,102.2,-12.5,400,x,IMO8207722,,999,0,0,0.0,,,A"
    )
    assert (detection.speed_mps, detection.course_deg, detection.heading_deg) == (None, None, None)
    assert detection.ids == {"mmsi": "338148873", "name": "x"}
    assert (detection.class_probs, detection.length_m, detection.width_m) == (None, None, None)


def test_marine_cadastre_2024() -> None:
    look, detection = one_look(
        MARINE_2024, "367379190,2024-05-03 00:00:12,-88.56408,30.3706,17.9,336.2,7,EAGLE,,,70,0,28,11,3.3,52,A"
    )
    assert look.time == datetime(2024, 5, 3, 0, 0, 12, tzinfo=UTC)
    assert (detection.lat, detection.lon, detection.heading_deg) == (30.3706, -88.56408, 7.0)
    assert detection.class_probs == {"cargo": 0.95, "other": 0.05}


def test_danish() -> None:
    look, detection = one_look(
        DANISH,
        "01/09/2025 00:00:07,Class A,219024000,57.717413,10.586715,Engaged in fishing,0.0,8.5,4.8,309,9134270,OWFB,"
        "ISAFOLD,Fishing,,13,76,GPS,6.5,SKAGEN,,AIS,30,46,6,7",
    )
    assert look.time == datetime(2025, 9, 1, 0, 0, 7, tzinfo=UTC)
    assert detection.ids == {"mmsi": "219024000", "imo": "9134270", "callsign": "OWFB", "name": "ISAFOLD"}
    assert detection.class_probs == {"fishing": 0.95, "other": 0.05}
    assert (detection.length_m, detection.width_m, detection.heading_deg) == (76.0, 13.0, 309.0)


def test_danish_unknowns_are_unknown() -> None:
    _, detection = one_look(
        DANISH,
        "01/09/2025 00:00:00,Class A,219024000,57.7,10.5,Unknown value,,,Unknown,,Unknown,Unknown,,Undefined,,,,"
        "Undefined,,Unknown,,AIS,10,20,3,4",
    )
    assert detection.ids == {"mmsi": "219024000"}
    assert (detection.speed_mps, detection.course_deg, detection.heading_deg) == (None, None, None)
    assert detection.class_probs is None
    # Of the sides where the sums are not given.
    assert (detection.length_m, detection.width_m) == (30.0, 7.0)


@pytest.mark.parametrize(
    ("mobile", "mmsi"), [("Base Station", "2190064"), ("AtoN", "992191234"), ("AtoN", "219024000")]
)
def test_danish_stations_that_are_no_craft_are_ignored(mobile: str, mmsi: str) -> None:
    row = f"01/09/2025 00:00:00,{mobile},{mmsi},56.7,11.5,Unknown value,,,,,Unknown,,,Undefined,,,,GPS,,,,AIS,,,,"
    assert isinstance(one(DANISH, row), Ignored)


def test_danish_aircraft_are_in_the_air() -> None:
    row = "01/09/2025 00:00:00,SAR Airborne,111219501,56.7,11.5,Unknown value,,120,,,,,,,,,,,,,,AIS,,,,"
    assert one_look(DANISH, row)[1].domain == "AIR"


def test_danish_without_sides() -> None:
    header = DANISH.removesuffix(",A,B,C,D")
    row = "01/06/2018 00:00:00,Class A,215810000,55.921028,17.320418,At anchor,0.0,12.5,255.5,256,Unknown,,,,,,,,,,,AIS"
    assert one_look(header, row)[1].lat == 55.921028


def test_solent() -> None:
    look, detection = one_look(SOLENT, SOLENT_ROW)
    assert look.time == datetime(2016, 1, 12, 13, 2, 11, 218000, tzinfo=UTC)
    assert (detection.lat, detection.lon, detection.course_deg) == (50.7730133333333, -1.092935, 157.8)
    assert detection.speed_mps == pytest.approx(5.9 * KNOT_MPS)


def test_brest() -> None:
    look, detection = one_look(BREST, "245257000,0,0,0.1,13.1,36,-4.4657183,48.38249,1443650402")
    assert look.time == datetime(2015, 9, 30, 22, 0, 2, tzinfo=UTC)
    assert (detection.lat, detection.lon, detection.heading_deg) == (48.38249, -4.4657183, 36.0)
    assert detection.speed_mps == pytest.approx(0.1 * KNOT_MPS)


def test_columns_in_any_order_and_case() -> None:
    look = one_look("sog_knots,latitude_degrees,LONGITUDE_DEGREES,time,mmsi,x", "5,1,2,2020-01-01 00:00:00,235070762,")
    assert (look[1].lat, look[1].lon, look[1].course_deg) == (1.0, 2.0, None)


def test_dialect_tables_name_only_what_is_used() -> None:
    for dialect in DIALECTS.values():
        assert set(dialect.columns) <= set(REPORT_COLUMNS) | set(CRAFT_COLUMNS)
        assert set(NEEDED_COLUMNS) - {"mobile"} <= set(dialect.columns)


# --- identity of looks ---


def test_the_same_row_is_the_same_look_wherever_it_stands() -> None:
    alone = one_look(SOLENT, SOLENT_ROW)[0]
    others = looks_of(items_of(AisCsv(), table(SOLENT, SOLENT_ROW.replace("5.9", "6.0"), "", SOLENT_ROW, SOLENT_ROW)))
    assert [look.look_id == alone.look_id for look in others] == [False, True, True]


# --- quotes, headers, blanks ---


def test_quotes() -> None:
    row = '367704390,2022-01-03T00:00:24,30.22025,-93.26768,0.2,275.4,197,"RAY ""CHIEF"", JR",,WDI5024,31,12,25,,,57,A'
    assert one_look(MARINE_2022, row)[1].ids == {"mmsi": "367704390", "callsign": "WDI5024", "name": 'RAY "CHIEF", JR'}


def test_quoted_fields_over_several_lines() -> None:
    row = '367704390,2022-01-03T00:00:24,30.2,-93.2,0.2,275.4,197,"TWO\r\n\r\nLINES",,,31,12,25,,,57,A'
    found = items_of(AisCsv(), table(MARINE_2022, row, row))
    assert [look.detections[0].ids for look in looks_of(found)] == [{"mmsi": "367704390", "name": "TWO\n\nLINES"}] * 2
    assert len(found) == 2


@pytest.mark.parametrize("rows_after", [0, 3, 50])
def test_a_quote_that_is_not_closed_costs_one_row(rows_after: int) -> None:
    bad = '235070762,2022-01-03T00:00:24,30.2,-93.2,0.2,275.4,197,"OPEN,,,31,12,25,,,57,A'
    good = "235070763,2022-01-03T00:00:{},30.2,-93.2,0.2,275.4,197,NAME,,,31,12,25,,,57,A"
    rows = [good.format(f"{second:02d}") for second in range(rows_after)]
    found = items_of(AisCsv(), table(MARINE_2022, bad, *rows))
    assert kinds(found) == {"Reject": 1} | ({"Look": rows_after} if rows_after else {})
    assert [look.time.second for look in looks_of(found)] == list(range(rows_after))
    assert [item.line for item in found if isinstance(item, Reject)] == [2]


def test_a_quote_within_a_field_is_a_character() -> None:
    row = '367704390,2022-01-03T00:00:24,30.2,-93.2,0.2,275.4,197,5" GUN,,,31,12,25,,,57,A'
    found = items_of(AisCsv(), table(MARINE_2022, row, row))
    assert [look.detections[0].ids for look in looks_of(found)] == [{"mmsi": "367704390", "name": '5" GUN'}] * 2


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8), min_size=2, max_size=2),
        max_size=8,
    )
)
def test_what_the_csv_module_writes_is_read(names: list[list[str]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(MARINE_2022.split(","))
    for name, callsign in names:
        report = ["367704390", "2022-01-03T00:00:24", "30.2", "-93.2", "0.2", "275.4", "197"]
        writer.writerow([*report, name, "", callsign, "31", "12", "25", "", "", "57", "A"])
    found = items_of(AisCsv(), buffer.getvalue())
    assert kinds(found) == ({"Look": len(names)} if names else {})
    blanks = {"", "unknown", "undefined", "nan", "null", "none", "na", "n/a"}
    for look, pair in zip(looks_of(found), names, strict=True):
        ids = look.detections[0].ids or {}
        for key, text in zip(("name", "callsign"), pair, strict=True):
            text = "" if text.strip().lower() in blanks else text.partition("@")[0].strip()
            assert ids.get(key, "") == text


def test_headers_blanks_and_comments_are_no_records() -> None:
    data = table(SOLENT, "", SOLENT_ROW, "  ", "# a comment", SOLENT, SOLENT_ROW)
    assert kinds(items_of(AisCsv(), data)) == {"Look": 2}
    assert items_of(AisCsv(), SOLENT) == items_of(AisCsv(), "") == []


def test_files_put_together_change_their_header() -> None:
    data = table(SOLENT, SOLENT_ROW) + table(BREST, "245257000,0,0,0.1,13.1,36,-4.4657183,48.38249,1443650402")
    assert [look.detections[0].lat for look in looks_of(items_of(AisCsv(), data))] == [50.7730133333333, 48.38249]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark(end: str) -> None:
    expected = one_look(SOLENT, SOLENT_ROW)[0]
    assert items_of(AisCsv(), "\ufeff" + end.join([SOLENT, SOLENT_ROW, ""])) == [expected]


# --- damaged rows ---


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("yesterday,235070762,50.7,-1.0,157.8,5.9", "Time"),
        ("2016-01-12,235070762,50.7,-1.0,157.8,5.9", "Time"),
        (",235070762,50.7,-1.0,157.8,5.9", "Time"),
        ("1900-01-12 13:02:11,235070762,50.7,-1.0,157.8,5.9", "Time"),
        ("2016-01-12 13:02:11.218,0,50.7,-1.0,157.8,5.9", "MMSI"),
        ("2016-01-12 13:02:11.218,1234567890,50.7,-1.0,157.8,5.9", "MMSI"),
        ("2016-01-12 13:02:11.218,12_070762,50.7,-1.0,157.8,5.9", "MMSI"),
        ("2016-01-12 13:02:11.218,,50.7,-1.0,157.8,5.9", "MMSI"),
        ("2016-01-12 13:02:11.218,235070762,nan,-1.0,157.8,5.9", "Latitude_degrees"),
        ("2016-01-12 13:02:11.218,235070762,,-1.0,157.8,5.9", "Latitude_degrees"),
        ("2016-01-12 13:02:11.218,235070762,90.1,-1.0,157.8,5.9", "Latitude_degrees"),
        ("2016-01-12 13:02:11.218,235070762,5_0,-1.0,157.8,5.9", "Latitude_degrees"),
        ("2016-01-12 13:02:11.218,235070762,50.7,inf,157.8,5.9", "Longitude_degrees"),
        ("2016-01-12 13:02:11.218,235070762,50.7,-180.1,157.8,5.9", "Longitude_degrees"),
        ("2016-01-12 13:02:11.218,235070762,50.7,west,157.8,5.9", "Longitude_degrees"),
        ("2016-01-12 13:02:11.218,235070762,50.7,-1.0,north,5.9", "COG_degrees"),
        ("2016-01-12 13:02:11.218,235070762,50.7,-1.0,157.8,fast", "SOG_knots"),
        ("2016-01-12 13:02:11.218,235070762,50.7", None),
        ("2016-01-12 13:02:11.218,235070762,50.7,-1.0,157.8,5.9,more", None),
        ("\x00\x01", None),
    ],
)
def test_dead_letters(row: str, field: str | None) -> None:
    reject = one(SOLENT, row)
    assert isinstance(reject, Reject), reject
    assert (reject.field, reject.line, reject.record) == (field, 2, row.encode())


@pytest.mark.parametrize("position", ["91,181", "91.0,-1", "10,181.0"])
def test_no_position_is_ignored(position: str) -> None:
    assert isinstance(one(SOLENT, f"2016-01-12 13:02:11,235070762,{position},157.8,5.9"), Ignored)


@pytest.mark.parametrize("blank", ["", "NaN", "null", " "])
def test_blank_values_are_unknown(blank: str) -> None:
    _, detection = one_look(SOLENT, f"2016-01-12 13:02:11,235070762,50.7,-1.0,{blank},{blank}")
    assert (detection.course_deg, detection.speed_mps) == (None, None)


def test_trailing_empty_fields_do_no_harm() -> None:
    assert one_look(SOLENT, SOLENT_ROW + ",,")[1].lat == 50.7730133333333


def test_without_a_header_every_row_is_a_dead_letter() -> None:
    assert kinds(items_of(AisCsv(), f"{SOLENT_ROW}\n{SOLENT_ROW}\n")) == {"Reject": 2}
    assert kinds(items_of(AisCsv(), "a,b,c\n1,2,3\n")) == {"Reject": 2}


def test_long_lines() -> None:
    found = items_of(AisCsv(), table(SOLENT, "x" * (9 * 2**20), SOLENT_ROW, "y" * 5000))
    assert kinds(found) == {"Reject": 2, "Look": 1}
    assert isinstance(found[2], Reject)
    assert isinstance(found[2].record, bytes)
    assert len(found[2].record) == 4096


@given(
    st.sampled_from(HEADERS),
    st.lists(
        st.one_of(
            st.sampled_from([SOLENT_ROW, "245257000,0,0,0.1,13.1,36,-4.4657183,48.38249,1443650402", '"', "", "#"]),
            st.binary(max_size=40).map(lambda text: text.decode("latin-1")),
        ),
        max_size=40,
    ),
)
def test_noise_never_raises_and_adds_up(header: str, rows: list[str]) -> None:
    rows = [row.replace("\r", "").replace("\n", "") for row in rows]
    found = items_of(AisCsv(), "\n".join([header, *rows]).encode("latin-1"))
    for item in found:
        assert not isinstance(item, Reject) or isinstance(item.record, bytes)
    if not any('"' in row for row in rows):
        assert records(found) == sum(bool(row.encode("latin-1").strip()) and not row.startswith("#") for row in rows)


# --- times ---


def test_times() -> None:
    noon = datetime(2022, 1, 3, 12, 0, 0, tzinfo=UTC)
    for text in ("2022-01-03T12:00:00", "2022-01-03 12:00", "2022-01-03T12:00:00Z", " 2022-01-03T13:00:00+01:00"):
        assert (iso_moment(text) or (None,))[0] == noon
    assert (day_first_moment("03/01/2022 12:00:00") or (None,))[0] == noon
    assert (unix_moment("1641211200") or (None,))[0] == (unix_moment("1641211200.0") or (None,))[0] == noon
    for text in ("", "2022-01-03", "2022-W01-1", "20220103", "2022-01-03X12:00:00", "2022-13-03T12:00:00", "nan"):
        assert iso_moment(text) is day_first_moment(text) is unix_moment(text) is None
    for text in ("inf", "1e300", "-1", "0", "1_641_211_200", "01/03/22 12:00:00", "31/02/2022 12:00:00"):
        assert unix_moment(text) is day_first_moment(text) is None


# --- state, recognising ---


@given(st.integers(0, 5))
def test_a_file_cut_between_rows(cut: int) -> None:
    rows = [SOLENT, SOLENT_ROW, SOLENT_ROW.replace("5.9", "6"), "bad", SOLENT_ROW.replace("5.9", "7")]
    first, second = AisCsv(), AisCsv()
    found = items_of(first, "\n".join(rows[:cut]))
    second.restore(first.state())
    found += items_of(second, "\n".join(rows[cut:]))
    assert [plain(item) for item in found] == [plain(item) for item in items_of(AisCsv(), "\n".join(rows))]


def test_foreign_states_are_refused() -> None:
    AisCsv().restore(b"")
    for state in (b"\x00", b"nonsense", AisCsv().state().replace(b"version\x01", b"version\x63")):
        with pytest.raises(ValueError):
            AisCsv().restore(state)


@pytest.mark.parametrize("header", HEADERS)
def test_recognised(header: str) -> None:
    assert AisCsv.recognises(header.encode())
    assert AisCsv.recognises(f"\ufeff\r\n{header}\r\n1,2,3".encode())
    for cut in range(len(header)):
        AisCsv.recognises(header[:cut].encode())


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"MMSI,BaseDateTime,LAT",
        b"time,icao24,lat,lon,velocity\n",
        b"lon,lat,score,vessel_length_m\n",
        b"timestamp,mmsi,latitude,longitude\n",
        b"t_unix,scan,north_m,east_m\n",
        b'[{"MMSI":1,"Time":2,"Latitude_degrees":3,"Longitude_degrees":4}]',
        b"!AIVDM,1,1,,A,x,0*00\n",
        b'"unclosed',
        b"\x1f\x8b\x00\xff",
        b"x" * 70000,
    ],
)
def test_not_recognised(head: bytes) -> None:
    assert not AisCsv.recognises(head)
