"""AIS in NMEA sentences: what wraps the payloads, the times, the parts of messages, and what is no message."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor

import pytest
from feeds_ais_tools import (
    STAMP,
    at,
    checksum,
    ids_of,
    items_of,
    kinds,
    looks_of,
    one_look,
    one_reject,
    payload_of,
    pghp,
    sentence,
    ship,
    tag_block,
    two_sentences,
)
from hypothesis import given
from hypothesis import strategies as st
from pyais.encode import encode_dict

from apss_fusion.feeds.ais_common import HIGH_ACCURACY_M2, KNOT_MPS, LOW_ACCURACY_M2
from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.ais_sentences import at_second, epoch_us, parse_tag, xor_of
from apss_fusion.feeds.base import Ignored, Reject
from apss_fusion.feeds.identity import content_id

# --- one sentence ---


def test_a_report_as_a_look() -> None:
    payload = "15M67FC000G?ufbE`FepT@3n00Sa"
    look = one_look(f"{tag_block(f's:rEV02,c:{STAMP}')}!AIVDM,1,1,,B,{payload},0*5C")
    (detection,) = look.detections
    assert look.source_id == "ais-nmea/rEV02"
    # The position is of the second 59 before the stamp, which is that of the reception.
    assert (look.time, look.time_received) == (at(-3), at(0))
    assert look.look_id == detection.detection_id == content_id("ais-nmea/rEV02", at(-3).isoformat(), payload)
    assert (look.footprint, look.p_detect) == (None, None)
    assert (detection.lat, detection.lon) == pytest.approx((37.802118, -122.341618), abs=1e-6)
    assert (detection.speed_mps, detection.course_deg, detection.heading_deg) == (0.0, 219.3, 1.0)
    assert detection.cov_enu_m2 == LOW_ACCURACY_M2
    assert (detection.domain, detection.ids) == ("SEA", {"mmsi": "366053209"})
    assert (detection.ellipse, detection.alt_m, detection.class_probs, detection.time) == (None, None, None, None)
    assert (detection.speed_sigma_mps, detection.course_sigma_deg) == (None, None)


@pytest.mark.parametrize("talker", ["AIVDM", "BSVDM", "ABVDM", "ANVDM", "SAVDM", "AIVDO", "--VDM", "=IVDM", "SSVDO"])
def test_every_talker(talker: str) -> None:
    assert one_look(tag_block(f"c:{STAMP}") + sentence(ship(second=2), talker=talker)).time == at(0)


def test_a_sar_aircraft_is_in_the_air() -> None:
    look = one_look(tag_block(f"c:{STAMP}") + "!AIVDM,1,1,,B,91b55wi;hbOS@OdQAC062Ch2089h,0*30")
    (detection,) = look.detections
    assert (detection.domain, detection.alt_m, detection.alt_datum) == ("AIR", 303.0, "MSL")
    assert detection.speed_mps == pytest.approx(42 * KNOT_MPS)
    # A search and rescue aircraft that sends what ships send is one all the same.
    assert one_look(tag_block(f"c:{STAMP}") + sentence(ship(mmsi=111235001))).detections[0].domain == "AIR"


@given(
    st.sampled_from([1, 2, 3, 18]),
    st.integers(201_000_000, 775_999_999),
    st.integers(-54_000_000, 54_000_000),
    st.integers(-108_000_000, 108_000_000),
    st.integers(0, 1021),
    st.integers(0, 3599),
    st.integers(0, 359),
    st.integers(0, 59),
    st.booleans(),
    st.sampled_from(["tag s", "tag ms", "pghp", "trailing s", "trailing ms", "both"]),
)
def test_what_pyais_encodes_is_decoded(
    kind: int,
    mmsi: int,
    lat: int,
    lon: int,
    sog: int,
    cog: int,
    heading: int,
    second: int,
    accuracy: bool,
    wrapping: str,
) -> None:
    fields = {"lat": lat / 600_000, "lon": lon / 600_000, "speed": sog / 10, "course": cog / 10, "heading": heading}
    line = encode_dict({"msg_type": kind, "mmsi": mmsi, "second": second, "accuracy": accuracy, **fields})[0]
    wrapped = {
        "tag s": tag_block(f"s:X,c:{STAMP}") + line,
        "tag ms": tag_block(f"c:{STAMP}250") + line,
        "pghp": f"{pghp('2012,1,31,5,7,2,0', '316000002', line[-2:], '1AIS_S')}\n{line}",
        "trailing s": f"{line},{STAMP}",
        "trailing ms": f"{line},{STAMP}250",
        "both": f"{tag_block(f'c:{STAMP}')}{line},{STAMP + 3600}123",
    }
    look = one_look(wrapped[wrapping])
    (detection,) = look.detections
    assert (detection.lat, detection.lon) == pytest.approx((fields["lat"], fields["lon"]))
    assert detection.speed_mps == pytest.approx(sog / 10 * KNOT_MPS)
    assert detection.course_deg == pytest.approx(cog / 10)
    assert detection.heading_deg == heading
    assert detection.cov_enu_m2 == (HIGH_ACCURACY_M2 if accuracy else LOW_ACCURACY_M2)
    assert detection.ids == {"mmsi": str(mmsi)}
    assert look.time.second == second
    assert look.time.microsecond == 0
    assert timedelta(seconds=-55) < look.time - at(0) <= timedelta(seconds=5)
    stamp = {"tag ms": at(0.25), "trailing ms": at(0.25), "both": at(3600.123)}.get(wrapping, at(0))
    assert look.time_received == (None if stamp == look.time else stamp)
    assert look.source_id == {"tag s": "ais-nmea/X", "pghp": "ais-nmea/316000002"}.get(wrapping, "ais-nmea")


# --- times ---


@pytest.mark.parametrize(
    ("stamp", "second", "expected"),
    [(0.0, 2, 0), (0.0, 0, -2), (0.9, 2, 0), (0.0, 7, 5), (0.0, 8, -54), (0.0, 1, -1), (57.5, 59, 57), (58.0, 0, 58)],
)
def test_the_second_of_the_position(stamp: float, second: int, expected: float) -> None:
    start = STAMP * 1_000_000
    assert at_second(start + round(stamp * 1e6), second) == start + expected * 1_000_000


@given(st.integers(631_152_100_000_000, 4_000_000_000_000_000), st.integers(0, 59))
def test_the_second_is_near_the_stamp(stamp_us: int, second: int) -> None:
    found = at_second(stamp_us, second)
    assert found // 1_000_000 % 60 == second
    assert -55_000_000 < found - stamp_us // 1_000_000 * 1_000_000 <= 5_000_000


@pytest.mark.parametrize("second", [60, 61, 62, 63])
def test_without_a_second_the_stamp_is_the_time(second: int) -> None:
    look = one_look(f"{sentence(ship(second=second))},{STAMP}789")
    assert (look.time, look.time_received) == (at(0.789), None)


def test_satellite_latency_is_measured() -> None:
    line = sentence(ship(second=1))
    stamp = pghp("2012,1,31,5,7,2,151", "316000002", line[-2:], "1AIS_S")
    look = one_look(f"{stamp},1327992119157\n{line},1327992119173")
    assert look.time == at(-1)
    assert look.time_received == datetime(2012, 1, 31, 6, 41, 59, 173000, tzinfo=UTC)


def test_a_message_without_time_is_a_dead_letter() -> None:
    reject = one_reject(sentence(ship()))
    assert (reject.field, reject.line) == ("time", 1)
    assert one_reject(f"{sentence(ship())},r003669946,12345").field == "time"
    assert one_reject(tag_block("c:123") + sentence(ship())).field == "time"
    # What tells no position needs no time.
    assert kinds(items_of(AisNmea(), "\n".join(two_sentences()))) == {"Used": 1}


def test_the_first_trailing_time_is_the_arrival() -> None:
    line = f"{sentence(ship(second=56))},d-080,S2118,t050056.00,T56.4837741,r003669946,{STAMP},{STAMP - 59}"
    assert one_look(line).time_received == at(0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1327986422", STAMP * 1_000_000),
        (b"1327986422123", STAMP * 1_000_000 + 123_000),
        (b"1327986422.25", STAMP * 1_000_000 + 250_000),
        (b"1327986422123.5", STAMP * 1_000_000 + 123_500),
        (b"", None),
        (b"nan", None),
        (b"-1327986422", None),
        (b"1_327_986_422", None),
        (b"132798642", None),
        (b"99999999999", None),
        (b"13279864221234567", None),
    ],
)
def test_numbers_as_times(text: bytes, expected: int | None) -> None:
    assert epoch_us(text) == expected


# --- tag blocks ---


def test_tag_block_fields() -> None:
    tag = parse_tag(b"g:1-2-1604,s:rORBCOMM008,c:1418169601,T:2014-12-10 00.00.01*37")
    assert (tag.time_us, tag.station, tag.group) == (1418169601_000_000, "rORBCOMM008", b"1604")
    assert parse_tag(b"T:2014-12-10 00.00.01").time_us == 1418169601_000_000
    assert parse_tag(b"g:1-2--001,c:1326055296*3C").group == b"-001"
    assert parse_tag(b"s:two words,q:u,:,,c:,x").station is None


@pytest.mark.parametrize(
    "block", [b"", b"*", b":", b"*zz", b"c:\xff\xfe", b"g:", b"g:1-2", b"T:2014-13-40 99.99.99", b"\x00"]
)
def test_damaged_tag_blocks_tell_nothing(block: bytes) -> None:
    assert parse_tag(block).time_us is None


def test_tag_block_checksums() -> None:
    text = f"c:{STAMP}"
    assert parse_tag(f"{text}*{checksum(text)}".encode()).time_us is not None
    assert parse_tag(f"{text}*{checksum(text).lower()}".encode()).time_us is not None
    assert parse_tag(f"{text}*00".encode()).time_us is not None
    assert parse_tag(f"g:1-2-9999,{text}*{checksum(text)}".encode()).time_us is not None
    # A digit that was changed on the way makes no other time.
    assert parse_tag(f"c:{STAMP + 1}*{checksum(text)}".encode()).time_us is None


def test_a_group_tells_its_time_once() -> None:
    first = tag_block(f"g:1-2-77,s:X,c:{STAMP}")
    line = tag_block("g:2-2-77") + sentence(ship(second=2))
    assert items_of(AisNmea(), first) == []
    look = one_look(f"{first}\n{line}")
    assert (look.source_id, look.time) == ("ais-nmea/X", at(0))
    # Codes of groups are used again: an old one tells nothing.
    assert one_reject(f"{first}\n" + "# \n" * 250 + line).field == "time"


def test_a_tag_block_without_end_is_no_sentence() -> None:
    assert one_reject(rf"\c:{STAMP}*00!AIVDM,1,1,,A,x").reason == "not an NMEA sentence"


# --- $PGHP ---


def test_pghp_is_for_the_sentence_whose_checksum_it_quotes() -> None:
    lines = [sentence(ship(mmsi=235000001 + k, second=2 + k)) for k in range(4)]
    stamps = [pghp(f"2012,1,31,5,7,{2 + k},0", "316000002", line[-2:]) for k, line in enumerate(lines)]
    assert len({line[-2:] for line in lines}) == 4
    arrivals = f",{STAMP + 5000}000"
    shuffled = [lines[0], stamps[1], stamps[0], lines[1], stamps[3], lines[2], lines[3], stamps[2]]
    looks = looks_of(items_of(AisNmea(), "\n".join(line + arrivals for line in shuffled)))
    assert [(ids_of(look)["mmsi"], look.time) for look in looks] == [(str(235000001 + k), at(k)) for k in range(4)]
    assert all(look.time_received == at(5000) for look in looks)


def test_pghp_of_several_sentences_quotes_all_their_checksums() -> None:
    payload = "C5N3SRgPEnJGEBT>NhWAwwo862PaLELTBJ:V00000000S0D:R220"
    parts = [sentence(payload[:30], 0, "2,1,3,B"), sentence(payload[30:], 0, "2,2,3,B")]
    quoted = f"{reduce(xor, (int(part[-2:], 16) for part in parts)):02X}"
    look = one_look("\n".join([pghp("2012,1,31,5,7,2,0", "2190065", quoted), *parts]))
    assert look.source_id == "ais-nmea/2190065"
    assert look.detections[0].ids == {"mmsi": "367059850", "name": "CAPT.J.RIMES"}


@pytest.mark.parametrize("quoted", ["00", "", "F1"])
def test_pghp_that_quotes_no_other_sentence_is_for_the_next(quoted: str) -> None:
    line = sentence(ship(second=2), talker="AIVDO")
    assert line[-2:] not in ("00", "F1")
    look = one_look(f"{pghp('2012,1,31,5,7,2,0', '2190065', quoted)}\n{line}")
    assert (look.source_id, look.time) == ("ais-nmea/2190065", at(0))


def test_pghp_is_used_once() -> None:
    line = sentence(ship(second=2))
    found = items_of(AisNmea(), f"{pghp('2012,1,31,5,7,2,0', '', line[-2:])}\n{line}\n{line}")
    assert kinds(found) == {"Look": 1, "Reject": 1}
    assert looks_of(found)[0].source_id == "ais-nmea"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-2] + "00",
        lambda text: text[:20],
        lambda text: text.replace(",31,", ",32,", 1),
        lambda text: "$PGHP,1,2012,1,31,5,7,2,0*41",
        lambda text: "$PGHP",
    ],
)
def test_a_damaged_pghp_tells_nothing_and_is_no_record(damage: object) -> None:
    line = sentence(ship(second=2))
    assert callable(damage)
    stamp = damage(pghp("2012,1,31,5,7,2,0", "2190065", line[-2:]))
    assert items_of(AisNmea(), stamp) == []
    assert one_reject(f"{stamp}\n{line}").field == "time"
    assert one_look(f"{stamp}\n{line},{STAMP}").source_id == "ais-nmea"


def test_among_announced_messages_an_arrival_is_no_observation() -> None:
    lines = [sentence(ship(mmsi=235000001 + k, second=k)) for k in range(20)]
    data: list[str] = []
    for k, line in enumerate(lines):
        if k != 10:
            data.append(f"{pghp(f'2012,1,31,5,7,{k},0', '316000002', line[-2:])},{STAMP + 5000}000")
        data.append(f"{line},{STAMP + 5000}000")
    found = items_of(AisNmea(), "\n".join(data))
    assert kinds(found) == {"Look": 19, "Reject": 1}
    (reject,) = (item for item in found if isinstance(item, Reject))
    assert (reject.field, reject.line) == ("time", 21)


# --- what is no report ---


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("!AIVDM,1,1,,A,15M67FC000G?ufbE`FepT@3n00Sa,0*5C", "checksum"),
        ("!AIVDM,1,1,,A,15M67FC000G?ufbE`FepT@3n00Sa,0", "checksum"),
        ("!AIVDM,1,1,,A,15M67FC000G?ufbE`FepT@3n00Sa,7*5B", "checksum"),
        ("!BSVDM,1,1,,A,3", "checksum"),
        ("$ABVSI,Nobbys Head,7,114702,87,-70,42*78", "checksum"),
        ("$BSALR,,062,V,V,Program Flash memor", "checksum"),
        (sentence(""), "payload"),
        (sentence("1" * 201), "payload"),
        (sentence("1" + "X" * 27), "payload"),
        (sentence("37P8OL2<01Ch"), "payload"),
        (sentence(ship(), parts="0,1,,A"), "fragment"),
        (sentence(ship(), parts="1,2,,A"), "fragment"),
        (sentence(ship(), parts="2,3,,A"), "fragment"),
        (sentence(ship(), parts="12,1,,A"), "fragment"),
        (sentence(ship(), parts=",,,A"), "fragment"),
        (sentence("0" + ship()[1:]), "type"),
        (sentence("w" + ship()[1:]), "type"),
        (sentence(ship(mmsi=0)), "mmsi"),
        (sentence(ship(mmsi=1073741823)), "mmsi"),
        (sentence(ship(kind=18, mmsi=123456789)), "mmsi"),
        (sentence(ship(lat=-91.5)) + f",{STAMP}", "lat"),
        (sentence(ship(lon=200)) + f",{STAMP}", "lon"),
        ("garbage", None),
        ("\x00\x01\x02\xff", None),
    ],
)
def test_dead_letters(line: str, field: str | None) -> None:
    data = line.encode("latin-1")
    reject = one_reject(data)
    assert (reject.field, reject.line, reject.record) == (field, 1, data)


@pytest.mark.parametrize(
    "line",
    [
        "!AIVDM,1,1,,A,403Ovl@000Htt<tSF0l4Q@100`Pq,0*28",
        sentence(payload_of([(21, 6), (0, 2), (992351234, 30), (0, 234)])),
        "$ABVSI,Nobbys Head,7,114702,87,-70,42*79",
        "$BSALR,,006,V,V,general failure*62",
        "$GPZDA,114702.51,27,01,2012,,*66",
        sentence(ship(lat=91, lon=181)),
        sentence(ship(lat=91, lon=10)),
        sentence(ship(mmsi=2320001)),
        sentence(ship(mmsi=992351234)),
        sentence(ship(mmsi=970123456, status=15)),
    ],
)
def test_valid_records_without_a_picture_are_ignored(line: str) -> None:
    (item,) = items_of(AisNmea(), line)
    assert isinstance(item, Ignored)


def test_a_distress_beacon_is_a_look() -> None:
    look = one_look(f"{sentence(ship(mmsi=970123456, status=14))},{STAMP}")
    assert look.detections[0].ids == {"mmsi": "970123456"}


def test_what_is_no_record() -> None:
    lines = ["", "   ", "# comment", pghp("2012,1,31,5,7,2,0", "1", "00"), rf"\c:{STAMP}*00" + "\\", "\t"]
    assert items_of(AisNmea(), "\n".join(lines)) == []
    assert items_of(AisNmea(), b"") == []


def test_line_ends_blanks_and_byte_order_mark() -> None:
    line = f"{sentence(ship(second=2))},{STAMP}"
    expected = one_look(line)
    for data in (
        f"{line}\r\n",
        f"{line}\r",
        f"\r\n\n{line} \t\n",
        f"  {line}",
        f"\ufeff{line}\n",
        "\ufeff " * 3000 + line,
    ):
        assert one_look(data) == expected
    spaced = f"{sentence(ship(second=2))}  "
    assert one_look(f"{tag_block(f'c:{STAMP}')} {spaced}").time == at(0)
    assert [look.time for look in looks_of(items_of(AisNmea(), f"{line}\r\n{line}\r{line}\n{line}"))] == [at(0)] * 4


def test_long_lines_are_dead_letters_cut() -> None:
    reject = one_reject("!AIVDM," + "x" * 100_000)
    assert isinstance(reject.record, bytes)
    assert len(reject.record) == 4096
    endless = io.BytesIO(b"x" * (9 * 2**20) + f"\n{sentence(ship())},{STAMP}".encode())
    found = list(AisNmea().items(endless))
    assert kinds(found) == {"Reject": 1, "Look": 1}


@given(st.binary(max_size=200))
def test_checksums(text: bytes) -> None:
    assert xor_of(text) == reduce(xor, text, 0)
