"""Optical detections: Skylight's Sentinel-1 and Sentinel-2 tables, VIIRS boat lights (Skylight JSON, EOG table)."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import recorded
from hypothesis import given
from hypothesis import strategies as st
from test_feeds_sar_tally import claims, damaged, data_lines, inside, tally

from apss_fusion.feeds.base import Decoder
from apss_fusion.feeds.skylight_csv import SkylightSentinel1, SkylightSentinel2
from apss_fusion.feeds.viirs_json import ViirsJson
from apss_fusion.feeds.viirs_vbd import ViirsVbd

# --- Skylight ---

HEADER = (
    "preprocess_row,preprocess_column,lon,lat,score,vessel_length_m,vessel_width_m,"
    + ",".join(f"heading_bucket_{k}" for k in range(16))
    + ",vessel_speed_k,is_fishing_vessel,column,row,orientation,meters_per_pixel,detect_id,scene_id"
)
S1 = "S1A_IW_GRDH_1SDV_20240229T235950_20240301T000015_052781_066315_9F2C.SAFE"
S2 = "S2B_MSIL1C_20240301T061019_N0510_R134_T42RUN_20240301T071305.SAFE"


def row(scene: str = S1, detect_id: str | None = None, **cells: Any) -> str:
    values = {name: "0" for name in HEADER.split(",")}
    values |= {"lon": "39.5", "lat": "-19.25", "score": "0.9", "vessel_length_m": "234.5", "vessel_width_m": "40.0"}
    values |= {
        "heading_bucket_9": "0.6",
        "heading_bucket_8": "0.4",
        "vessel_speed_k": "15",
        "is_fishing_vessel": "0.25",
    }
    values |= {"scene_id": scene, "detect_id": f"{scene}_{cells.get('lon', 0)}" if detect_id is None else detect_id}
    values |= {name: str(value) for name, value in cells.items()}
    return ",".join(values.values())


def skylight(*rows: str) -> str:
    return "\n".join([HEADER, *rows, ""])


class TestSkylight:
    def test_values(self) -> None:
        result = tally(SkylightSentinel1, skylight(row()))
        (look,) = result.looks
        assert look.source_id == "skylight-s1"
        assert look.time == datetime(2024, 2, 29, 23, 59, 50, tzinfo=UTC)
        assert look.time_end == datetime(2024, 3, 1, 0, 0, 15, tzinfo=UTC)
        assert (look.footprint, look.p_detect, look.clutter_per_km2) == (None, None, None)
        (detection,) = look.detections
        assert detection.time == datetime(2024, 3, 1, 0, 0, 2, 500000, tzinfo=UTC)
        assert (detection.lat, detection.lon, detection.domain) == (-19.25, 39.5, "SEA")
        # 15 knots are 15 * 1852 m an hour; where to is not known, where the bow points is.
        assert detection.speed_mps == pytest.approx(7.7166666667, abs=1e-9)
        assert detection.course_deg is None
        assert detection.heading_deg == 213.75
        assert detection.class_probs == {"fishing": 0.25, "other": 0.75}
        assert (detection.length_m, detection.width_m, detection.detection_prob) == (234.5, 40.0, 0.9)

    @pytest.mark.parametrize("sector", range(16))
    def test_a_heading_is_the_middle_of_a_sector_with_half_of_the_probability(self, sector: int) -> None:
        shares: dict[str, Any] = {f"heading_bucket_{k}": 0.03 for k in range(16)}
        clear = tally(SkylightSentinel1, skylight(row(**shares | {f"heading_bucket_{sector}": 0.55}))).detections[0]
        assert clear.heading_deg is not None
        # The training labels were made as heading * 16 // 360.
        assert clear.heading_deg * 16 // 360 == sector
        assert math.isclose(clear.heading_deg % 22.5, 11.25)
        assert tally(SkylightSentinel1, skylight(row(**shares))).detections[0].heading_deg is None

    def test_sentinel_2_has_only_the_start_of_the_data_take(self) -> None:
        result = tally(SkylightSentinel2, skylight(row(S2)))
        (look,) = result.looks
        assert (look.source_id, look.time_end) == ("skylight-s2", None)
        assert look.time == datetime(2024, 3, 1, 6, 10, 19, tzinfo=UTC)
        assert look.detections[0].time is None
        assert SkylightSentinel2.source.modality == "EO"
        assert SkylightSentinel1.source.modality == "SAR"

    def test_rows_of_a_scene_may_be_scattered_and_satellites_mixed(self) -> None:
        content = skylight(row(lon=1), row(S2, lon=2), row(lon=3), row(S2, lon=4))
        for decoder in (SkylightSentinel1, SkylightSentinel2):
            result = tally(decoder, content)
            assert [(look.source_id, [d.lon for d in look.detections]) for look in result.looks] == [
                ("skylight-s1", [1.0, 3.0]),
                ("skylight-s2", [2.0, 4.0]),
            ]
            assert result.records == 4

    def test_the_first_scene_tells_the_format(self) -> None:
        assert claims(skylight(row(), row(S2)).encode()) == ["skylight-s1"]
        assert claims(skylight(row(S2), row()).encode()) == ["skylight-s2"]
        assert claims(skylight().encode()) == ["skylight-s1"]
        content = skylight(row(S2)).encode()
        for end in range(0, len(content), 5):
            assert claims(content[:end]) in ([], ["skylight-s1"], ["skylight-s2"])

    def test_what_an_estimator_cannot_mean_is_unknown(self) -> None:
        (detection,) = tally(
            SkylightSentinel1, skylight(row(vessel_speed_k="-0.2", vessel_length_m="-3", vessel_width_m="0"))
        ).detections
        assert (detection.speed_mps, detection.length_m, detection.width_m) == (None, None, None)
        still = tally(SkylightSentinel1, skylight(row(vessel_speed_k="0"))).detections[0]
        assert still.speed_mps == 0.0

    def test_without_ids(self) -> None:
        rows = [row(detect_id="", lon=1), row(detect_id="", lon=2)]
        ids = [d.detection_id for d in tally(SkylightSentinel1, skylight(*rows)).detections]
        assert ids == [d.detection_id for d in tally(SkylightSentinel1, skylight(*rows[::-1])).detections][::-1]
        assert len(set(ids)) == 2

    @pytest.mark.parametrize(
        ("cells", "field"),
        [
            ({"lat": 95}, "lat"),
            ({"lon": "nan"}, "lon"),
            ({"score": "1.01"}, "score"),
            ({"is_fishing_vessel": "-0.1"}, "is_fishing_vessel"),
            ({"heading_bucket_3": "x"}, "heading_bucket_3"),
            ({"vessel_speed_k": "fast"}, "vessel_speed_k"),
            ({"scene": ""}, "scene_id"),
            ({"scene": "LC08_L1TP_20240301"}, "scene_id"),
            ({"scene": S1.replace("20240229", "20240230")}, "scene_id"),
            ({"scene": S1.replace("20240301T000015", "20240229T000015")}, "scene_id"),
            ({"scene": S1.replace("20240301T000015", "20240302T000015")}, "scene_id"),
            ({"scene": S2.replace("T061019", "T991019")}, "scene_id"),
        ],
    )
    def test_a_bad_row(self, cells: dict[str, Any], field: str) -> None:
        result = tally(SkylightSentinel1, skylight(row(lon=7), row(**cells)))
        assert [(r.line, r.field) for r in result.rejects] == [(3, field)]
        assert (len(result.detections), result.records) == (1, 2)

    @given(data=st.data())
    def test_fuzz(self, data: st.DataObject) -> None:
        mutated = data.draw(damaged(skylight(row(lon=1), row(S2, lon=2), row(lon=3)).encode()))
        assert tally(SkylightSentinel1, mutated).records == data_lines(mutated)


# --- VIIRS, Skylight ---

EXTENTS = [[170.0, 10.0], [-160.0, 5.0], [-165.0, -15.0], [165.0, -10.0], [170.0, 10.0]]


def viirs(predictions: Any = None, **values: Any) -> dict[str, Any]:
    if predictions is None:
        predictions = [prediction(-16.25, 179.5), prediction(-16.5, -179.5)]
    return {
        "acquisition_time": "2023-11-06T06:06:00+00:00",
        "filename": "VJ102DNB.A2023310.0606.021.nc",
        "frame_extents": EXTENTS,
        "predictions": predictions,
        "satellite_name": "JPSS-1",
    } | values


def prediction(latitude: Any, longitude: Any) -> dict[str, Any]:
    return {"latitude": latitude, "longitude": longitude, "nanowatts": 239.6, "clear_sky_confidence": 0.0}


class TestViirs:
    def test_values(self) -> None:
        result = tally(ViirsJson, json.dumps(viirs(), indent=2))
        (look,) = result.looks
        assert look.source_id == "viirs"
        assert look.time == datetime(2023, 11, 6, 6, 6, tzinfo=UTC)
        assert look.time_end == look.time + timedelta(minutes=6)
        assert look.footprint == {"type": "Polygon", "coordinates": [EXTENTS]}
        assert [(d.lat, d.lon) for d in look.detections] == [(-16.25, 179.5), (-16.5, -179.5)]
        assert {d.time for d in look.detections} == {look.time + timedelta(minutes=3)}
        assert (result.records, result.rejects) == (2, [])
        assert claims(json.dumps(viirs()).encode()) == ["viirs"]

    def test_a_granule_without_a_light_is_an_empty_look(self) -> None:
        result = tally(ViirsJson, json.dumps(viirs([])))
        assert (len(result.looks), result.detections, result.records) == (1, [], 0)

    def test_ids(self) -> None:
        first, again = (tally(ViirsJson, json.dumps(viirs())).looks[0] for _ in range(2))
        turned = tally(ViirsJson, json.dumps(viirs(viirs()["predictions"][::-1]))).looks[0]
        other = tally(ViirsJson, json.dumps(viirs(satellite_name="NPP"))).looks[0]
        assert first == again
        assert first.look_id == turned.look_id != other.look_id
        assert {d.detection_id for d in first.detections} == {d.detection_id for d in turned.detections}

    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            (prediction(95, 0), "latitude"),
            (prediction(0, 190), "longitude"),
            (prediction(None, 0), "latitude"),
            (prediction("1.5", 0), "latitude"),
            (prediction(1.5, True), "longitude"),
            (prediction(1.5, [1]), "longitude"),
            ([1, 2], None),
            ("text", None),
        ],
    )
    def test_a_bad_element(self, bad: Any, field: str | None) -> None:
        result = tally(ViirsJson, json.dumps(viirs([prediction(1, 2), bad, prediction(3, 4)])))
        assert [(r.line, r.field, r.is_record) for r in result.rejects] == [(2, field, True)]
        assert (len(result.detections), result.records) == (2, 3)

    def test_not_a_number_in_the_text(self) -> None:
        result = tally(ViirsJson, json.dumps(viirs([prediction(1, 2), prediction(math.nan, 2)])))
        assert [(r.line, r.field) for r in result.rejects] == [(2, "latitude")]
        assert (len(result.detections), result.records) == (1, 2)

    @pytest.mark.parametrize("extents", [[[1, 2], [3, 4]], 7, "x", [[1, 2], [3, 95], [5, 6]], [None], [["1", "2"]] * 3])
    def test_a_bad_outline_leaves_the_look_without_one(self, extents: Any) -> None:
        result = tally(ViirsJson, json.dumps(viirs(frame_extents=extents)))
        assert [(r.field, r.is_record) for r in result.rejects] == [("frame_extents", False)]
        assert (result.looks[0].footprint, result.records) == (None, 2)

    @pytest.mark.parametrize("time", [None, 7, "", "2023-11-06", "soon"])
    def test_an_answer_without_a_time_is_one_dead_letter(self, time: Any) -> None:
        result = tally(ViirsJson, json.dumps(viirs(acquisition_time=time)))
        assert [r.field for r in result.rejects] == ["acquisition_time"]
        assert (result.looks, result.records) == ([], 1)

    def test_cut_anywhere(self) -> None:
        content = json.dumps(viirs())
        for end in range(1, len(content) - 1, 3):
            result = tally(ViirsJson, content[:end])
            complete = content[:end].count("}")
            assert result.records == (complete + 1 if "predictions" in content[:end] else 1)
            assert claims(content[:end].encode()) in ([], ["viirs"])

    @pytest.mark.parametrize("content", ["7", "[]", "{}", "\xff", '{"predictions": 3}'])
    def test_not_an_answer(self, content: str) -> None:
        result = tally(ViirsJson, content.encode("latin-1"))
        assert (result.looks, result.records) == ([], 1)

    @given(data=st.data())
    def test_fuzz(self, data: st.DataObject) -> None:
        mutated = data.draw(damaged(json.dumps(viirs()).encode()))
        result = tally(ViirsJson, mutated)
        assert result.records <= 3
        assert len(result.looks) <= 1


# --- VIIRS, Earth Observation Group ---

VBD_HEADER = "id_Key,Date_Mscan,Date_LTZ,Lat_DNB,Lon_DNB,Rad_DNB,QF_Detect,EEZ"


def vbd_row(
    lat: Any = -5.5, lon: Any = 110.25, flag: Any = 1, time: str = "2014-05-25 19:20:01.25", granule: str = "t1919547"
) -> str:
    key = f"VBD_npp_d20140525_{granule}_x{lon}_y{lat}_l1588_s3199_v23" if granule else ""
    return f'{key},{time},{time},{lat},{lon},36.1,{flag},"Indonesia, Java Sea"'


def vbd(*rows: str) -> str:
    return "\n".join([VBD_HEADER, *rows, ""])


class TestVbd:
    def test_values(self) -> None:
        late = vbd_row(lon=111, time="2014/05/25 19:20:41.5")
        other = vbd_row(lon=112, time="2014-05-25 19:24:00", granule="t1923100")
        result = tally(ViirsVbd, vbd(late, vbd_row(), other))
        first, second = result.looks
        assert first.source_id == "viirs-vbd"
        assert first.time == datetime(2014, 5, 25, 19, 20, 1, 250000, tzinfo=UTC)
        assert first.time_end == datetime(2014, 5, 25, 19, 20, 41, 500000, tzinfo=UTC)
        assert [d.time for d in first.detections] == [first.time_end, first.time]
        assert [(d.lat, d.lon) for d in first.detections] == [(-5.5, 111.0), (-5.5, 110.25)]
        assert first.detections[1].detection_id == "VBD_npp_d20140525_t1919547_x110.25_y-5.5_l1588_s3199_v23"
        assert (second.time_end, second.footprint) == (None, None)
        assert result.records == 3
        assert claims(vbd(late).encode()) == ["viirs-vbd"]

    @pytest.mark.parametrize("flag", range(1, 12))
    def test_what_is_no_boat_is_ignored_with_its_reason(self, flag: int) -> None:
        result = tally(ViirsVbd, vbd(vbd_row(flag=flag)))
        is_boat = flag in (1, 2, 3, 10)
        assert (len(result.detections), len(result.ignored), result.records) == (is_boat, not is_boat, 1)
        assert all(str(flag) in ignored.reason for ignored in result.ignored)

    def test_the_fill_value_is_no_detection(self) -> None:
        result = tally(ViirsVbd, vbd(vbd_row(999999, 999999, 999999)))
        assert (result.looks, len(result.ignored), result.rejects) == ([], 1, [])

    def test_without_keys_six_minutes_are_a_granule(self) -> None:
        times = ["2014-05-25 19:17:59", "2014-05-25 19:18:00", "2014-05-25 19:23:59.999"]
        result = tally(ViirsVbd, vbd(*(vbd_row(lon=lon, time=time, granule="") for lon, time in enumerate(times))))
        assert [len(look.detections) for look in result.looks] == [1, 2]

    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            (vbd_row(lat=95), "Lat_DNB"),
            (vbd_row(lon=999999), "Lon_DNB"),
            (vbd_row(flag=""), "QF_Detect"),
            (vbd_row(flag="1.5"), "QF_Detect"),
            (vbd_row(flag=77), "QF_Detect"),
            (vbd_row(time="today"), "Date_Mscan"),
            (vbd_row(time="2014-05-25 22:20:01"), "Date_Mscan"),
        ],
    )
    def test_a_bad_row(self, bad: str, field: str) -> None:
        result = tally(ViirsVbd, vbd(vbd_row(lon=1), bad))
        assert [(r.line, r.field) for r in result.rejects] == [(3, field)]
        assert (len(result.detections), result.records) == (1, 2)

    @given(data=st.data())
    def test_fuzz(self, data: st.DataObject) -> None:
        mutated = data.draw(damaged(vbd(vbd_row(), vbd_row(lon=1), vbd_row(flag=4)).encode()))
        assert tally(ViirsVbd, mutated).records == data_lines(mutated)


@pytest.mark.feeds
class TestRecorded:
    @pytest.mark.parametrize(
        ("name", "decoder", "detections", "lat"),
        [
            ("eo/sentinel1.predictions.csv", SkylightSentinel1, 2, -19.383539727748914),
            ("eo/sentinel2.predictions.csv", SkylightSentinel2, 1, 24.549160426309665),
        ],
    )
    def test_skylight(self, name: str, decoder: type[Decoder], detections: int, lat: float) -> None:
        content = recorded(name).read_bytes()
        result = tally(decoder, content)
        assert (len(result.looks), len(result.detections), result.rejects) == (1, detections, [])
        assert result.records == data_lines(content) == detections
        assert claims(content) == [decoder.name] == [result.looks[0].source_id]
        assert result.detections[0].lat == lat

    def test_viirs(self) -> None:
        content = recorded("eo/viirs_sample_response.json").read_bytes()
        result = tally(ViirsJson, content)
        assert (len(result.looks), len(result.detections), result.rejects, result.records) == (1, 46, [], 46)
        assert content.count(b'"nanowatts"') == 46
        (look,) = result.looks
        assert look.footprint is not None
        for detection in look.detections:
            assert inside(detection.lon, detection.lat, look.footprint["coordinates"][0])
        assert (look.detections[0].lat, look.detections[0].lon) == (-16.329788208007812, -79.81206512451172)
        assert claims(content) == ["viirs"]

    def test_points_without_a_time_are_no_feed(self) -> None:
        assert claims(recorded("eo/viirs_labelled_points_no_time.csv").read_bytes()[: 2**16]) == []
