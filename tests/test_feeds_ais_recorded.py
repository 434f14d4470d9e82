"""Recorded AIS feeds: what becomes of every record, nothing late by the sources' own latencies, and some values."""

from __future__ import annotations

import gzip
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import pytest
from conftest import FEEDS, recorded
from feeds_ais_tools import count_records, items_of, kinds, looks_of, records

from apss_fusion.feeds.ais_csv import AisCsv
from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.base import Decoder, Item, Reject
from apss_fusion.feeds.spire_json import SpireAis
from apss_fusion.model import Look

pytestmark = pytest.mark.feeds

NMEA = {
    "aislib_stream_example.txt": {"Look": 2930, "Used": 496, "Ignored": 591, "Reject": 34},
    "amsa_terrestrial_2012.nmea.gz": {"Look": 743, "Used": 2111, "Ignored": 16856, "Reject": 24951},
    "exactearth_satellite_aug2.txt": {"Look": 760, "Used": 227, "Ignored": 100, "Reject": 48},
    "exactearth_tag_block.txt": {"Look": 177, "Used": 21, "Ignored": 1, "Reject": 1},
    "gfw_bad-tagblock-group.nmea": {"Ignored": 1},
    "gfw_ee-multiline.nmea": {"Look": 6, "Used": 2},
    "gfw_spire-test.nmea": {"Ignored": 2},
    "kystverket_Ais1000Lines.nm4": {"Look": 742, "Used": 128, "Ignored": 6, "Reject": 1},
    "libais_tagblock.nmea": {"Look": 3, "Used": 1},
    "libais_typeexamples.nmea": {"Look": 3, "Used": 2, "Ignored": 15, "Reject": 6},
    "nmea_timestamped.txt": {"Look": 97, "Reject": 3},
}
CSV = {
    "marinecadastre_2022-01-03_first99999.csv.gz": {"Look": 99858, "Ignored": 60, "Reject": 81},
    "solent_2016-01-12.csv": {"Look": 18623},
}


def content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def late(looks: list[Look], decoder: type[Decoder]) -> int:
    """Looks that came later after their time than the source's latency, by the arrival clock; none is of the future."""
    clock = datetime.min.replace(tzinfo=UTC)
    count = 0
    for look in looks:
        arrival = look.time_received or look.time
        assert (look.time - arrival).total_seconds() <= 60
        clock = max(clock, arrival)
        count += (clock - look.time).total_seconds() > (decoder.source.max_latency_s or 0)
    return count


def check(name: str, decoder: type[Decoder], expected: dict[str, int]) -> list[Item]:
    data = content(recorded(f"ais/{name}"))
    assert decoder.recognises(data[:65536])
    found = items_of(decoder(), data)
    assert kinds(found) == expected
    looks = looks_of(found)
    assert late(looks, decoder) == 0
    assert all(look.detections[0].ids for look in looks)
    return found


@pytest.mark.parametrize("name", sorted(NMEA))
def test_every_nmea_recording(name: str) -> None:
    found = check(name, AisNmea, NMEA[name])
    if not name.startswith("gfw_spire"):
        assert records(found) == count_records(content(recorded(f"ais/{name}")))


@pytest.mark.parametrize("name", sorted(CSV))
def test_every_csv_recording(name: str) -> None:
    found = check(name, AisCsv, CSV[name])
    assert records(found) == content(recorded(f"ais/{name}")).count(b"\n") - 1


def test_satellite_messages_find_their_observation_times() -> None:
    """The clock of one station is 12 s ahead (GPS time was by 15 s); the seconds of the messages put it right."""
    looks = looks_of(items_of(AisNmea(), recorded("ais/exactearth_satellite_aug2.txt").read_bytes()))
    latencies = [(look.time_received - look.time).total_seconds() for look in looks if look.time_received]
    assert len(latencies) == len(looks)
    assert (round(min(latencies)), round(median(latencies)), round(max(latencies))) == (2086, 3399, 6528)
    arrivals = [look.time_received or look.time for look in looks]
    assert arrivals == sorted(arrivals)
    assert {look.source_id for look in looks} == {"ais-nmea/316999999", "ais-nmea/316000002"}
    # Its $PGHP line, the one that quotes its checksum 22, says 20:19:05.651 and stands behind it.
    assert (looks[0].detections[0].ids, looks[0].source_id) == ({"mmsi": "273412710"}, "ais-nmea/316000002")
    assert looks[0].time == datetime(2012, 2, 1, 20, 18, 53, tzinfo=UTC)
    assert looks[0].time_received == datetime(2012, 2, 1, 22, 2, 0, 87000, tzinfo=UTC)


def test_reasons_of_dead_letters() -> None:
    found = items_of(AisNmea(), content(recorded("ais/amsa_terrestrial_2012.nmea.gz")))
    fields = Counter(item.field for item in found if isinstance(item, Reject))
    assert fields == {"time": 24070, "mmsi": 762, "checksum": 112, "fragment": 4, "payload": 2, "type": 1}


def test_values_of_recorded_reports() -> None:
    looks = looks_of(items_of(AisNmea(), recorded("ais/kystverket_Ais1000Lines.nm4").read_bytes()))
    first = looks[0].detections[0]
    assert (looks[0].source_id, looks[0].time) == ("ais-nmea", datetime(2019, 8, 7, 22, 59, 57, tzinfo=UTC))
    assert first.ids == {"mmsi": "257591700"}
    assert (first.lat, first.lon) == pytest.approx((63.074553, 7.601958), abs=1e-6)
    assert (first.speed_mps, first.course_deg, first.heading_deg) == (0.0, None, None)
    assert len({look.detections[0].ids["mmsi"] for look in looks if look.detections[0].ids}) == 742


def test_no_recording_of_another_kind_is_claimed() -> None:
    claims = {"ais-nmea": set(NMEA), "ais-csv": set(CSV), "spire-ais": set()}
    paths = [path for path in sorted(FEEDS.rglob("*")) if path.is_file()]
    if not paths:
        pytest.skip("needs the recorded feeds, which are not part of the project")
    for path in paths:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            head = file.read(65536)
        for decoder in (AisNmea, AisCsv, SpireAis):
            assert decoder.recognises(head) == (path.name in claims[decoder.name]), (path, decoder)
