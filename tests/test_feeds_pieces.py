"""Feeds cut into the records that a broker carries: decoded piece by piece, they are what the whole file is."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import pytest
import test_feeds_air_mode_s as mode_s
import test_feeds_air_opensky as opensky
import test_feeds_air_readsb as readsb
import test_feeds_air_traffic as traffic
import test_feeds_ais_csv as ais_csv
import test_feeds_ais_spire as spire
import test_feeds_autoferry as autoferry
import test_feeds_eo as eo
import test_feeds_gmti_encoder as gmti
import test_feeds_looks as looks
import test_feeds_sar as sar
import test_feeds_sar_scene as ksat
from conftest import FEEDS
from feeds_ais_tools import pghp, sentence, ship, two_sentences
from hypothesis import given, settings
from hypothesis import strategies as st
from test_feeds_air_common import BrokenStream, mutated
from test_feeds_ais_parts import mixed_feed

from apss_fusion.feeds.ais_csv import AisCsv
from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.autoferry import Autoferry
from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.feeds.gfw_csv import GfwCsv
from apss_fusion.feeds.ksat_csv import KsatCsv
from apss_fusion.feeds.ksat_geojson import KsatGeoJson
from apss_fusion.feeds.ksat_kml import KsatKml
from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.feeds.mode_s import ModeS
from apss_fusion.feeds.opensky_csv import OpenSky
from apss_fusion.feeds.readsb_trace import Readsb
from apss_fusion.feeds.registry import HEAD_BYTES, decoders, recognise
from apss_fusion.feeds.skylight_csv import SkylightSentinel1, SkylightSentinel2
from apss_fusion.feeds.spire_json import SpireAis
from apss_fusion.feeds.stanag4607 import Stanag4607
from apss_fusion.feeds.traffic_json import Traffic
from apss_fusion.feeds.viirs_json import ViirsJson
from apss_fusion.feeds.viirs_vbd import ViirsVbd
from apss_fusion.model import Look


def pieces_of(decoder: type[Decoder], data: bytes) -> list[bytes]:
    return list(decoder.pieces(io.BytesIO(data)))


def expecting_more(decoder: type[Decoder]) -> Decoder:
    one = decoder()
    if hasattr(one, "more_follows"):
        one.more_follows = True
    return one


def decoded(decoder: Decoder, data: bytes) -> list[Item]:
    return list(decoder.items(io.BytesIO(data)))


def ended(decoder: Decoder) -> list[Item]:
    """What a decoder gives up where nothing follows."""
    if hasattr(decoder, "more_follows"):
        decoder.more_follows = False
        return decoded(decoder, b"")
    return []


def in_pieces(
    decoder: type[Decoder], pieces: Iterable[bytes], cut: Callable[[int], bool] = lambda place: False
) -> list[Item]:
    """The items of all pieces, by one decoder or, after those that `cut` names, by a new one with the state of the last."""
    reader, found = expecting_more(decoder), []
    for place, piece in enumerate(pieces):
        found += decoded(reader, piece)
        if cut(place):
            state, reader = reader.state(), expecting_more(decoder)
            reader.restore(state)
    return found + ended(reader)


def plain(item: Item) -> Any:
    """An item without what tells of its place in a file."""
    return item.is_record if isinstance(item, Reject) else item


def looks_of(items: Iterable[Item]) -> list[Look]:
    return [item.look if isinstance(item, Decoded) else item for item in items if isinstance(item, Look | Decoded)]


def counts(items: Iterable[Item]) -> Counter[Any]:
    """Records by what became of them, and rejected detections."""
    found: Counter[Any] = Counter()
    for item in items:
        match item:
            case Reject():
                found["reject" if item.is_record else "detection"] += 1
            case Ignored():
                found[item.reason] += item.records
            case Used():
                found["used"] += item.records
            case Decoded():
                found["looks"] += item.records
            case _:
                found["looks"] += 1
    return found


def check(decoder: type[Decoder], data: bytes, every: int | None = None) -> list[bytes]:
    """The pieces, after seeing that their items are those of the whole, also with a new decoder after `every` so many."""
    pieces = pieces_of(decoder, data)
    whole = decoded(decoder(), data)
    found = in_pieces(decoder, pieces)
    assert looks_of(found) == looks_of(whole)
    assert counts(found) == counts(whole)
    # Damage between packets is told before the dwell around it.
    if decoder is not Stanag4607:
        assert [plain(item) for item in found] == [plain(item) for item in whole]
    if every is not None:
        assert in_pieces(decoder, pieces, lambda place: place % every == every - 1) == found
    return pieces


# --- one small file of every format ---

#: A mission and its job; dwells, of which one is split over three packets and interrupted by another job; no dwell.
PACKETS = [
    gmti.packet(gmti.mission(), gmti.job_definition(pd_percent=85)),
    *(gmti.packet(gmti.dwell({3: n}, [gmti.target(45.0 + n / 100), gmti.target(45.1)])) for n in range(3)),
    gmti.packet(gmti.dwell({3: 9}, [gmti.target(45.2)]), gmti.dwell({3: 10, 4: 0}, [gmti.target(45.0)])),
    gmti.packet(gmti.job_definition(pd_percent=50)),
    gmti.packet(gmti.dwell({3: 10}, [gmti.target(45.01)])),
    gmti.packet(gmti.dwell({3: 10}, [gmti.target(45.01)])),
    gmti.packet(gmti.dwell({3: 10}, [gmti.target(45.02)]), gmti.dwell({3: 11}, [gmti.target(45.03)])),
    gmti.packet(gmti.segment(6, b"x" * 24)),
    gmti.packet(gmti.dwell({3: 12})),
]
#: Where a piece ends: after so many packets.
PACKET_PIECES = [1, 2, 3, 4, 10, 11]

DANISH_ROW = (
    '03/01/2022 00:00:01,Class A,219000001,55.5,10.5,x,0,5.0,90.0,91,9134270,"CALL, 1","A ""NAME""",Cargo,,20,100,GPS,'
    '5,"PORT",,AIS,50,50,10,10'
)
TABLES = "\n".join(
    [
        "noise before any header",
        ais_csv.SOLENT,
        ais_csv.SOLENT_ROW,
        "",
        "# a comment",
        ais_csv.SOLENT_ROW.replace("13:02", "13:03") + ",,",
        ais_csv.SOLENT_ROW.replace("235070762", "x"),
        ais_csv.SOLENT_ROW + ",7",
        ais_csv.DANISH,
        DANISH_ROW,
        DANISH_ROW.replace('"PORT"', '"OVER\ntwo lines"'),
        DANISH_ROW.replace('"PORT"', '"NEVER CLOSED'),
        *[DANISH_ROW.replace("219000001", f"2190000{n}") for n in range(10, 35)],
        DANISH_ROW.replace("Class A", "Base Station"),
        ais_csv.DANISH,
    ]
)
SPIRE_LINES = [spire.VOYAGE, spire.EXAMPLE, spire.EXAMPLE | {"speed": 1.5}, spire.EXAMPLE | {"msg_type": 4}, {"x": 1}]
SPIRE_PAGE = {"paging": {"next": None}, "data": SPIRE_LINES}
STATE = [
    "407a19", "GMDSI   ", "UK", 1626098409, 1626098410, -4.05, 53.45, 6050.3, False, 142.8, 83.8, -3.2, None, 6195.1,
    "5226", False, 0,
]  # fmt: skip
LOOK_LINES = [
    looks.look(),
    looks.look(
        look_id="l2", detections=[looks.detection(), looks.detection(), looks.detection(lat=95, detection_id="d2")]
    ),
    "nonsense\n",
    "\n",
    looks.look(look_id="l3", time_received="2026-01-01T00:20:00+01:00", footprint=looks.SQUARE),
]


def line_data(*values: Any, end: str = "\n") -> bytes:
    return "".join((value if isinstance(value, str) else json.dumps(value)) + end for value in values).encode()


def squitters() -> bytes:
    frames = []
    for k in range(30):
        frames.append((k * 0.5, mode_s.airborne(50.0 + k / 1000, 4.0, k % 2 == 1)))
        if k % 5 == 0:
            frames += [
                (k * 0.5 + 0.1, mode_s.velocity(100, 200)),
                (k * 0.5 + 0.2, mode_s.IDENT),
                (k * 0.5 + 0.25, "8d"),
            ]
    return mode_s.stream(*frames) + b"\n\nnoise\n"


def readsb_trace() -> bytes:
    rows: list[Any] = [readsb.row(float(k)) for k in range(12)]
    rows[2] = readsb.row(2.0, details=readsb.DETAILS)
    rows[4] = "no row"
    rows[5] = [5.0, 16.83, -88.05]
    rows[6] = [6.0, 16.83, -88.05, "ground", 10.0, 90.0]
    rows[8] = readsb.row(8.0, flags=2)
    rows[10] = readsb.row(10.0, flags=2, details={"flight": "X1", "nac_p": 8})
    rows[11] = readsb.row(1e12)
    return readsb.trace(*rows)


FILES: dict[str, tuple[type[Decoder], bytes, int]] = {
    # name: (decoder, content, pieces)
    "ais-nmea": (AisNmea, b"\n".join(mixed_feed()) + b"\n", len(mixed_feed()) + 1),
    "ais-nmea, short": (AisNmea, b"\r\n".join([*mixed_feed()[:7], b"", b"# x", b""]), 10),
    "ais-nmea, without $PGHP": (AisNmea, b"\n".join(mixed_feed()[:1] * 40), 40),
    "ais-csv": (AisCsv, TABLES.encode(), 34),
    "opensky, rows": (
        OpenSky,
        opensky.rows({}, {}, {"lat": ""}, {"icao24": "x"}, {"lat": "1", "lon": "2"}).encode(),
        5,
    ),
    "opensky, no header": (OpenSky, opensky.rows({}, {"lat": "1,"}, {"lat": "2"}, header="").encode(), 3),
    "opensky, API": (OpenSky, json.dumps({"time": 1626098410, "states": [STATE, STATE, STATE[:5], 7]}).encode(), 4),
    "spire-ais, lines": (SpireAis, line_data(*SPIRE_LINES, "", "[1]", {"data": []}, {"data": SPIRE_LINES}), 8),
    "spire-ais, array": (SpireAis, json.dumps(SPIRE_LINES, indent=2).encode(), 5),
    "spire-ais, page": (SpireAis, json.dumps(SPIRE_PAGE, indent=2).encode(), 5),
    "spire-ais, pages": (SpireAis, line_data(SPIRE_PAGE, spire.EXAMPLE, "[7]", SPIRE_PAGE), 12),
    "mode-s": (ModeS, squitters(), 49),
    "readsb, trace": (Readsb, readsb_trace(), 12),
    "readsb, list": (Readsb, readsb.aircraft().replace(b"]", b"," + json.dumps({"hex": "abcdef"}).encode() + b"]"), 2),
    "traffic": (Traffic, traffic.document({}, {"icao24": "x"}, {"latitude": None}, {"timestamp": 1599702343000}), 4),
    "autoferry": (
        Autoferry,
        autoferry.document(
            autoferry.scan(measurement=[3.0, 4.0]),
            autoferry.scan(sensor=1),
            autoferry.scan(sensor=3),
            autoferry.scan(measurement=[[1.0, "x"], [2.0, 3.0]]),
            autoferry.scan(time="x"),
        ),
        5,
    ),
    "looks": (Looks, line_data(*LOOK_LINES), 4),
    "gmti-4607": (Stanag4607, b"".join(PACKETS), 6),
    "ksat, vendor": (KsatCsv, ksat.vendor_csv().encode(), 1),
    "ksat, merged": (KsatCsv, ksat.merged_csv().encode(), 1),
    "ksat-geojson": (KsatGeoJson, ksat.geojson(ksat.geojson_features()).encode(), 1),
    "ksat-kml": (KsatKml, ksat.kml().encode(), 1),
    "gfw": (
        GfwCsv,
        sar.gfw(sar.gfw_row(), sar.gfw_row(6.0, 40.0, scene_id="S1B_other"), sar.gfw_row(95.0)).encode(),
        1,
    ),
    "skylight-s1": (SkylightSentinel1, eo.skylight(eo.row(lon=1), eo.row(eo.S2, lon=2), eo.row(lon=3)).encode(), 1),
    "skylight-s2": (SkylightSentinel2, eo.skylight(eo.row(eo.S2), eo.row(lon=3)).encode(), 1),
    "viirs": (ViirsJson, json.dumps(eo.viirs([eo.prediction(1.0, 175.0), eo.prediction(95, 0)])).encode(), 1),
    "viirs-vbd": (ViirsVbd, eo.vbd(eo.vbd_row(), eo.vbd_row(lat="x")).encode(), 1),
}


def test_every_format_has_a_file_here() -> None:
    assert {decoder for decoder, _, _ in FILES.values()} == set(decoders())


@pytest.mark.parametrize("name", FILES)
def test_pieces_are_the_whole(name: str) -> None:
    decoder, data, count = FILES[name]
    pieces = check(decoder, data, every=1)
    if decoder not in (SpireAis, Stanag4607):
        rejects = [
            [i for i in items if isinstance(i, Reject)]
            for items in (in_pieces(decoder, pieces), decoded(decoder(), data))
        ]
        assert [(r.reason, r.field) for r in rejects[0]] == [(r.reason, r.field) for r in rejects[1]]
    assert len(pieces) == count
    assert looks_of(in_pieces(decoder, pieces))
    assert pieces_of(decoder, b"") == []


@given(name=st.sampled_from(sorted(FILES)), cuts=st.sets(st.integers(0, 60), max_size=4))
def test_cut_anywhere_it_goes_on_with_the_state(name: str, cuts: set[int]) -> None:
    decoder, data, _ = FILES[name]
    pieces = pieces_of(decoder, data)
    assert in_pieces(decoder, pieces, cuts.__contains__) == in_pieces(decoder, pieces)


@settings(max_examples=300)
@given(data=st.data(), name=st.sampled_from(sorted(FILES)))
def test_pieces_of_damaged_files(data: st.DataObject, name: str) -> None:
    decoder, content, _ = FILES[name]
    check(decoder, data.draw(mutated(content)))


# --- what is particular to a format ---


def test_a_line_of_nmea_is_a_piece_as_it_is() -> None:
    lines = mixed_feed()
    assert pieces_of(AisNmea, b"\r\n".join(lines))[:-1] == lines
    far = [*lines, *lines[:1] * 65]
    assert pieces_of(AisNmea, b"\n".join(far)) == far


def test_no_report_waits_for_lines_that_never_come() -> None:
    line = sentence(ship(second=2))
    data = f"{line}\n{pghp('2012,1,31,5,7,2,0', '1', line[-2:])}\n" * 20
    reader = expecting_more(AisNmea)
    found = [item for piece in pieces_of(AisNmea, data.encode()) for item in decoded(reader, piece)]
    assert len(looks_of(found)) == 20


def test_a_message_that_misses_a_sentence_waits() -> None:
    first, second = two_sentences()
    reader = expecting_more(AisNmea)
    assert [item for piece in pieces_of(AisNmea, first.encode()) for item in decoded(reader, piece)] == []
    assert decoded(reader, second.encode()) + decoded(reader, b"\n" * 17) == [Used()]


def test_a_row_stands_behind_its_header() -> None:
    pieces = pieces_of(AisCsv, TABLES.encode())
    assert pieces[0] == b"noise before any header"
    assert pieces[1].decode() == f"{ais_csv.SOLENT}\n{ais_csv.SOLENT_ROW}"
    assert {piece.split(b"\n", 1)[0].decode() for piece in pieces[-25:]} == {ais_csv.DANISH}
    assert AisCsv.recognises(pieces[-1])


def test_packets_of_one_dwell_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = [0, *PACKET_PIECES]
    expected = [b"".join(PACKETS[start:end]) for start, end in zip(ends, PACKET_PIECES, strict=False)]
    assert pieces_of(Stanag4607, b"".join(PACKETS)) == expected
    # One dwell without end is cut: pieces must have a place in a topic.
    monkeypatch.setattr("apss_fusion.feeds.stanag4607._MAX_PIECE_BYTES", 5000)
    part = gmti.packet(gmti.dwell({3: 1}, [gmti.target(45.0)]))
    sizes = {len(piece) for piece in pieces_of(Stanag4607, PACKETS[0] + part * 200)}
    assert len(sizes) == 3
    assert 4900 < max(sizes) <= 5000


def test_damage_between_packets() -> None:
    for noise in (b"x" * 3, bytes(range(256)) * 300, PACKETS[1][:40], PACKETS[1][:-1], PACKETS[1][:33] + b"\xff" * 9):
        for place in range(len(PACKETS)):
            check(Stanag4607, b"".join([*PACKETS[:place], noise, *PACKETS[place:]]))


def test_a_row_of_a_trace_knows_the_flight() -> None:
    _, *rows, _ = pieces_of(
        Readsb, readsb.trace(*[readsb.row(k, details=readsb.DETAILS if k == 0 else None) for k in range(5)])
    )
    for row in rows:
        (look,) = looks_of(decoded(Readsb(), row))
        (detection,) = look.detections
        assert (detection.ids or {})["callsign"] == "DAL1812"
        assert detection.heading_deg is None


def test_pieces_of_documents_are_documents() -> None:
    for name in ("opensky, API", "spire-ais, array", "spire-ais, page", "readsb, trace", "traffic", "autoferry"):
        decoder, data, _ = FILES[name]
        for piece in pieces_of(decoder, data):
            json.loads(piece)
        (first, *_) = pieces_of(decoder, data)
        assert decoder.recognises(first), name


BREAKS = [b"", b" garbage", b"]", b"{", b',{"x": 1}', b'{"x": 1}]', b"[[1]]", b"\xff", b"NaN", b'"', b"}}"]


@pytest.mark.parametrize(
    "name", ["opensky, API", "spire-ais, array", "spire-ais, page", "readsb, list", "traffic", "autoferry"]
)
def test_a_broken_document_is_one_dead_letter_more(name: str) -> None:
    decoder, data, _ = FILES[name]
    for place in range(0, len(data), 37):
        for rest in BREAKS:
            check(decoder, data[:place] + rest)
            check(decoder, data[:place] + rest + data[place:])
    for other in (b"[]", b"{}", b'{"foo": 1}', b'{"foo": {"data": [{"x": 1}]}}' * 50, b"[" * 5000, b"null", b"7"):
        check(decoder, other)


@pytest.mark.parametrize("decoder", [decoder for decoder in decoders()])
def test_pieces_of_a_feed_that_breaks_off(decoder: type[Decoder]) -> None:
    """What was read before the fault comes first."""
    for name in (name for name, (kind, _, _) in FILES.items() if kind is decoder):
        data = FILES[name][1]
        expected = pieces_of(decoder, data)
        found = []
        with pytest.raises(EOFError):
            for piece in decoder.pieces(BrokenStream(data)):
                found.append(piece)
        assert found == expected[: len(found)]
        if name not in ("spire-ais, array", "spire-ais, page"):
            # A line that was not ended, and what follows the last one, are lost.
            assert len(found) >= len(expected) - 2


# --- size and memory ---


@pytest.mark.parametrize("decoder", [AisNmea, AisCsv, OpenSky, SpireAis, ModeS, Looks])
def test_a_line_that_is_too_long(decoder: type[Decoder], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut to what is still too long, and so becomes the dead letter that it is in the file."""
    for module in ("base", "ais_csv", "opensky_csv", "spire_json"):
        monkeypatch.setattr(f"apss_fusion.feeds.{module}.MAX_LINE_BYTES", 70_000)
    name, (_, data, _) = next((name, file) for name, file in FILES.items() if file[0] is decoder)
    for start in (b"x", b"[", b'{"data":[', b'"', b"$PGHP", data[:500]):
        for tail in (b"", data):
            pieces = check(decoder, data + start + b"7" * 200_000 + b"\n" + tail, every=1)
            assert 70_000 < max(map(len, pieces)) < 71_000, name


class Endless(io.RawIOBase):
    """A stream that repeats its content for ever."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, size: int = -1, /) -> bytes:
        assert size > 0, "asked for all of it"
        return self._content * (size // len(self._content) + 1)


@pytest.mark.parametrize("decoder", [AisNmea, AisCsv, OpenSky, SpireAis, ModeS, Looks, Stanag4607])
def test_feeds_of_lines_and_packets_need_not_end(decoder: type[Decoder]) -> None:
    name = next(name for name, file in FILES.items() if file[0] is decoder)
    stream = cast(io.BytesIO, Endless(FILES[name][1]))
    for _, piece in zip(range(2000), decoder.pieces(stream), strict=False):
        assert len(piece) < 20_000


# --- recorded feeds ---

SUFFIXES = (".txt", ".gz", ".nmea", ".nm4", ".csv", ".json", ".kml", ".geojson", ".4607")


def recorded_files() -> list[Path]:
    files = sorted(path for path in FEEDS.glob("*/**/*") if path.is_file() and path.name.endswith(SUFFIXES))
    return files if FEEDS.is_dir() else []


@pytest.mark.feeds
@pytest.mark.parametrize("path", recorded_files(), ids=lambda path: path.name)
def test_recorded_feeds(path: Path) -> None:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    decoder = recognise(data[:HEAD_BYTES])
    if decoder is None:
        pytest.skip("no feed")
    # The first part of the large ones.
    data = data[:3_000_000]
    pieces = check(decoder, data, every=997)
    assert len(pieces) == 1 or all(len(piece) < 20_000 for piece in pieces)
