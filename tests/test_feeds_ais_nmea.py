"""AIS in NMEA sentences: what wraps the payloads, the times, the parts of messages, and what is no message."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import pairwise
from operator import xor

import pytest
from feeds_ais_tools import (
    checksum,
    count_records,
    items_of,
    kinds,
    looks_of,
    payload_of,
    pghp,
    plain,
    records,
    sentence,
    ship,
    tag_block,
)
from hypothesis import given
from hypothesis import strategies as st
from pyais.encode import encode_dict

from apss_fusion.feeds import ais_nmea, ais_parts
from apss_fusion.feeds.ais_common import HIGH_ACCURACY_M2, KNOT_MPS, LOW_ACCURACY_M2
from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.ais_sentences import at_second, epoch_us, parse_tag, xor_of
from apss_fusion.feeds.base import Ignored, Item, Reject, Used
from apss_fusion.feeds.identity import content_id
from apss_fusion.model import Look

#: 2012-01-31 05:07:02 UTC
STAMP = 1327986422
VOYAGE = "55?MbV02;H;s<HtKR20EHE:0@T4@Dn2222222216L961O5Gf0NSQEp6ClRp888888888880"


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(STAMP, UTC) + timedelta(seconds=seconds)


def one_look(data: str | bytes) -> Look:
    (look,) = items_of(AisNmea(), data)
    assert isinstance(look, Look), look
    return look


def one_reject(data: str | bytes) -> Reject:
    (reject,) = items_of(AisNmea(), data)
    assert isinstance(reject, Reject), reject
    return reject


def ids_of(look: Look) -> dict[str, str]:
    return look.detections[0].ids or {}


def two_sentences(mmsi: int = 235012345, sequence: str = "1", channel: str = "A", talker: str = "AIVDM") -> list[str]:
    """A static and voyage report, whose name is the MMSI, in two sentences."""
    (first, second) = encode_dict({"msg_type": 5, "mmsi": mmsi, "shipname": f"SHIP {mmsi}", "ship_type": 70})
    return [
        sentence(part.split(",")[5], int(part.split(",")[6][0]), f"2,{number},{sequence},{channel}", talker)
        for number, part in enumerate((first, second), 1)
    ]


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


# --- messages of several sentences ---


def test_parts_are_joined_and_remembered() -> None:
    report = tag_block(f"c:{STAMP}") + sentence(ship(second=2))
    found = items_of(AisNmea(), "\n".join([*two_sentences(), report]))
    assert found[0] == Used()
    assert isinstance(found[1], Look)
    detection = found[1].detections[0]
    assert detection.ids == {"mmsi": "235012345", "name": "SHIP 235012345"}
    assert detection.class_probs == {"cargo": 0.95, "other": 0.05}


def test_all_static_fields_are_attached() -> None:
    payload = ship(mmsi=351759000, second=2)
    parts = [sentence(VOYAGE[:60], 0, "2,1,1,A"), sentence(VOYAGE[60:], 2, "2,2,1,A")]
    look = looks_of(items_of(AisNmea(), "\n".join([*parts, f"{sentence(payload)},{STAMP}"])))[0]
    detection = look.detections[0]
    assert detection.ids == {"mmsi": "351759000", "imo": "9134270", "callsign": "3FOF8", "name": "EVER DIADEM"}
    assert (detection.length_m, detection.width_m) == (295.0, 32.0)


@given(st.permutations(range(8)))
def test_interleaved_parts_in_any_order(order: list[int]) -> None:
    lines = [
        *two_sentences(235000001, "1", "A"),
        *two_sentences(235000002, "1", "B"),
        *two_sentences(235000003, "2", "A"),
        *two_sentences(235000004, "1", "A", "BSVDM"),
    ]
    reports = [f"{sentence(ship(mmsi=235000001 + k))},{STAMP}" for k in range(4)]
    found = items_of(AisNmea(), "\n".join([*(lines[k] for k in order), *reports]))
    assert kinds(found) == {"Used": 4, "Look": 4}
    assert [ids_of(look)["name"] for look in looks_of(found)] == [f"SHIP {235000001 + k}" for k in range(4)]


def test_groups_keep_messages_apart() -> None:
    ships = [two_sentences(235000001), two_sentences(235000002)]
    lines = [tag_block(f"g:{part + 1}-2-{70 + k}") + ships[k][part] for part in (0, 1) for k in (0, 1)]
    reports = [f"{sentence(ship(mmsi=235000001 + k))},{STAMP}" for k in range(2)]
    found = items_of(AisNmea(), "\n".join([*lines, *reports]))
    assert [ids_of(look).get("name") for look in looks_of(found)] == ["SHIP 235000001", "SHIP 235000002"]


def test_a_group_on_one_part_only() -> None:
    first, second = two_sentences()
    assert kinds(items_of(AisNmea(), f"{tag_block('g:1-2-7')}{first}\n{second}")) == {"Used": 1}
    assert kinds(items_of(AisNmea(), f"{first}\n{tag_block('g:2-1-1')}{second}")) == {"Used": 1}


def test_parts_far_apart_in_time_are_not_joined() -> None:
    first, second = two_sentences()
    near = f"{tag_block(f'c:{STAMP}')}{first}\n{tag_block(f'c:{STAMP + 29}')}{second}"
    far = f"{tag_block(f'c:{STAMP}')}{first}\n{tag_block(f'c:{STAMP + 31}')}{second}"
    assert kinds(items_of(AisNmea(), near)) == {"Used": 1}
    assert kinds(items_of(AisNmea(), far)) == {"Reject": 2}


def test_parts_far_apart_in_lines_are_not_joined() -> None:
    first, second = two_sentences()
    assert kinds(items_of(AisNmea(), first + "\n#" * 999 + f"\n{second}")) == {"Used": 1}
    assert kinds(items_of(AisNmea(), first + "\n#" * 1000 + f"\n{second}")) == {"Reject": 2}


def test_a_lost_part_leaves_a_dead_letter_a_line() -> None:
    (one, _), two = two_sentences(235000001), two_sentences(235000002)
    found = items_of(AisNmea(), "\n".join([one, *two]))
    assert found[0] == Used()
    assert found[1] == Reject("the message misses a sentence", "fragment", 1, one.encode())
    three = [sentence("5" + "0" * 20, 0, f"3,{k},4,A") for k in (1, 3)]
    found = items_of(AisNmea(), "\n".join(three))
    assert [(item.line, item.field) for item in found if isinstance(item, Reject)] == [(1, "fragment"), (2, "fragment")]


def test_a_message_heard_twice_is_two() -> None:
    first, second = two_sentences()
    assert kinds(items_of(AisNmea(), "\n".join([first, first, second, second]))) == {"Used": 2}


def test_waiting_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ais_parts, "MAX_PARTIALS", 50)
    decoder = AisNmea()
    decoder.more_follows = True
    lines = [sentence("5" + "0" * 20, 0, f"2,1,{k % 10},{chr(65 + k % 26)}", f"{k % 89 + 10}VDM") for k in range(400)]
    found = items_of(decoder, "\n".join(lines))
    assert len(found) == 350
    assert [item.line for item in found if isinstance(item, Reject)] == list(range(1, 351))


def test_sentences_in_one_line() -> None:
    first, second = two_sentences()
    block = rf"\c:{STAMP},s:FM112*00" + "\\"
    assert kinds(items_of(AisNmea(), f"{block}{first}{block}{second}")) == {"Used": 1}
    two = sentence(ship(mmsi=235000001)), sentence(ship(mmsi=235000002))
    looks = looks_of(items_of(AisNmea(), f"{block}{two[0]}{block}{two[1]}"))
    assert [ids_of(look)["mmsi"] for look in looks] == ["235000001", "235000002"]
    assert {look.source_id for look in looks} == {"ais-nmea/FM112"}


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
    for data in (f"{line}\r\n", f"{line}\r", f"\r\n\n{line} \t\n", f"  {line}", f"\ufeff{line}\n"):
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


# --- state ---


def mixed_feed() -> list[bytes]:
    """Some of everything, without tag blocks of one time only."""
    ships = [f"{sentence(ship(mmsi=235000001 + k, second=k))},{STAMP}" for k in range(10)]
    announced = [sentence(ship(mmsi=235000001 + k, second=20 + k)) for k in range(10)]
    stamps = [pghp(f"2012,1,31,5,7,{20 + k},500", "316", line[-2:]) for k, line in enumerate(announced)]
    three = [sentence("5" + "0" * 20, 0, f"3,{k},4,A") for k in (1, 3)]
    lines = [ships[0], two_sentences(235000001)[0], tag_block(f"g:1-2-77,s:X,c:{STAMP}"), "$BSALR,,006,V,V,x", ships[1]]
    lines += [two_sentences(235000001)[1], ships[0], three[0], tag_block("g:2-2-77") + announced[7], "noise", ships[2]]
    lines += [announced[0], stamps[1], two_sentences(235000002, "5")[1], stamps[0], announced[1], ships[3], three[1]]
    lines += [stamps[2], stamps[3], announced[3], two_sentences(235000002, "5")[0], announced[2], ships[1], ships[4]]
    lines += [
        two_sentences(235000003, "6")[0],
        *ships[5:],
        announced[4],
        stamps[4],
        announced[5],
        announced[6],
        stamps[6],
    ]
    return [line.encode() for line in lines]


def run_in_pieces(data: bytes, cuts: list[int]) -> list[Item]:
    """The items of a feed cut after some of its lines, each piece read by a decoder of its own."""
    lines = data.splitlines(keepends=True)
    edges = [0, *sorted(cuts), len(lines)]
    found: list[Item] = []
    state = b""
    for place, (start, end) in enumerate(pairwise(edges)):
        decoder = AisNmea()
        decoder.restore(state)
        decoder.more_follows = place < len(edges) - 2
        found += items_of(decoder, b"".join(lines[start:end]))
        state = decoder.state()
    return found


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_a_feed_cut_anywhere_is_the_feed(cuts: list[int]) -> None:
    lines = mixed_feed()
    data = b"\n".join(lines) + b"\n"
    whole = items_of(AisNmea(), data)
    assert {"Look", "Reject", "Used"} <= set(kinds(whole))
    assert [plain(item) for item in run_in_pieces(data, [min(cut, len(lines)) for cut in cuts])] == [
        plain(item) for item in whole
    ]


def test_without_more_to_follow_unfinished_messages_are_dead_letters() -> None:
    first, second = two_sentences()
    decoder = AisNmea()
    assert kinds(items_of(decoder, first)) == {"Reject": 1}
    other = AisNmea()
    other.restore(decoder.state())
    assert kinds(items_of(other, second)) == {"Reject": 1}


def test_foreign_states_are_refused() -> None:
    decoder = AisNmea()
    decoder.restore(b"")
    for state in (b"\x00", b"nonsense", AisNmea().state().replace(b"version\x01", b"version\x63")):
        with pytest.raises(ValueError):
            decoder.restore(state)


def test_reading_that_fails_gives_what_came_before() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            if not data:
                raise OSError("gone")
            return data

    line = sentence(ship(second=2))
    data = f"{pghp('2012,1,31,5,7,2,0', '1', line[-2:])}\n{line}\n" * 5
    items = AisNmea().items(Failing(data.encode()))
    found = [next(items) for _ in range(5)]
    assert all(isinstance(item, Look) for item in found)
    with pytest.raises(OSError, match="gone"):
        next(items)


# --- recognising ---


@pytest.mark.parametrize(
    "head",
    [
        sentence(ship()),
        tag_block(f"c:{STAMP}") + sentence(ship()),
        "# comment\n\r\n$ABVSI,x*00\n" + sentence(ship()),
        pghp("2012,1,31,5,7,2,0", "1", "00") + "\r\n" + sentence(ship())[:30],
        "\ufeff" + sentence(ship()),
        "!--VDM,1,1,,,x",
    ],
)
def test_recognised(head: str) -> None:
    assert AisNmea.recognises(head.encode())


@pytest.mark.parametrize(
    "head",
    [
        "",
        "x",
        "MMSI,BaseDateTime,LAT,LON\n1,2,3,4\n",
        '{"msg_type":1,"nmea":"!AIVDM,1,1,,A,15M67FC000G?ufbE`FepT@3n00Sa,0*5C"}',
        "time,sentence\n2020-01-01,!AIVDM,1,1,,A,x",
        "$GPGGA,1,2,3*00\n",
        "!AIV",
        "\x1f\x8b",
    ],
)
def test_not_recognised(head: str) -> None:
    assert not AisNmea.recognises(head.encode())


@given(st.integers(0, 200))
def test_recognised_wherever_the_head_is_cut(cut: int) -> None:
    data = (tag_block(f"c:{STAMP}") + sentence(ship()) + "\n").encode()
    assert AisNmea.recognises(data + (data * 2)[:cut])
    assert AisNmea.recognises(data[:cut]) == (cut >= len(tag_block(f"c:{STAMP}")) + len("!AIVDM,1,1,,A,"))


# --- fuzz ---


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 90), st.binary(max_size=3), st.integers(0, 3)), max_size=12)
)
def test_damaged_lines_never_raise_and_add_up(damages: list[tuple[int, int, bytes, int]]) -> None:
    lines = mixed_feed()
    for number, place, put, drop in damages:
        line = lines[number % len(lines)]
        lines[number % len(lines)] = line[: place % (len(line) + 1)] + put + line[place % (len(line) + 1) + drop :]
    data = b"\n".join(lines)
    found = items_of(AisNmea(), data)
    assert records(found) == count_records(data)


@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(mixed_feed())), max_size=30))
def test_noise_never_raises(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    for item in items_of(AisNmea(), data):
        if isinstance(item, Reject):
            assert isinstance(item.record, bytes)
            assert len(item.record) <= 4096


def test_the_defaults_of_the_source() -> None:
    assert AisNmea.source.modality == "AIS"
    assert AisNmea.source.domains == ("SEA", "AIR")
    assert ais_nmea.AisNmea.name == "ais-nmea"
