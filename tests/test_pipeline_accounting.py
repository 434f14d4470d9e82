"""Every record that is read is accounted for once, whatever the bytes are."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from feeds_ais_tools import count_records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_runs import Run, accounted, feed, lines, look, nmea, received, report, write
from pipeline_runs import run as run_with_pictures

from apss_fusion.feeds.base import Reject
from apss_fusion.model import Look, Source
from apss_fusion.replay.pipeline_inputs import InputReader
from apss_fusion.replay.pipeline_outputs import RunError
from apss_fusion.replay.pipeline_stop import Stop
from apss_fusion.replay.pipeline_tally import AccountError, Tally
from apss_fusion.tracking.attributes import Attributes
from apss_fusion.tracking.batch import LookBatch, Rejection
from apss_fusion.tracking.encode import Encoder
from apss_fusion.tracking.register import Register

run = partial(run_with_pictures, pictures=False)

AIS_CSV = b"""\
MMSI,BaseDateTime,LAT,LON,SOG,COG,Heading,VesselName,IMO,CallSign,VesselType,Status,Length,Width,Draft,Cargo,Transceiver
338148873,2022-01-03T00:00:00,33.60716,-117.91483,0.0,280.0,511,CAZADOR,,,37,,14,,,,B
338148873,2022-01-03T00:01:00,33.60716,-117.91483,0.0,280.0,511,CAZADOR,,,37,,14,,,,B
366999999,2022-01-03T00:01:02,33.7,-117.95,10.0,80.0,81,OTHER,,,70,,14,,,,A
338148873,2022-01-03T00:02:00,33.60716,-117.91483,0.0,280.0,511,CAZADOR,,,37,,14,,,,B
366999999,2022-01-03T00:02:02,33.7005,-117.947,10.0,80.0,81,OTHER,,,70,,14,,,,A
"""
KSAT = b"""X,Y,DetectionId,ProductId,ProductStartTime,ProductStopTime,Length,Beam,Heading,Probability,Type
-148.3,-10.1,d1,one,2019-08-10T04:17:41.648000Z,2019-08-10T04:18:55.733000Z,65.6,10.6,151,100,VESSEL
-148.2,-10.2,d2,one,2019-08-10T04:17:41.648000Z,2019-08-10T04:18:55.733000Z,65.6,10.6,151,50,VESSEL
-148.1,-10.3,d3,two,2019-08-10T05:17:41.648000Z,2019-08-10T05:18:55.733000Z,65.6,10.6,151,100,VESSEL
"""
OPENSKY = b"""time,icao24,lat,lon,velocity,heading,vertrate,callsign,onground,baroaltitude,geoaltitude,lastposupdate
1626098400,4009cc,50.8,-3.2,150.0,90.0,0.0,AMBER2,False,9000,9100,1626098399.5
1626098410,4009cc,50.8,-3.18,150.0,90.0,0.0,AMBER2,False,9000,9100,1626098409.5
1626098420,4009cc,50.8,-3.16,150.0,90.0,0.0,AMBER2,False,9000,9100,1626098419.5
"""
AUTOFERRY = json.dumps(
    [
        {"sensorID": kind, "ownshipPosition": [1.0, 2.0], "time": 1602072000.0 + t, "measurement": seen}
        for t, kind, seen in [
            (0, 1, []),
            (1, 1, [10.0, 5.0]),
            (2, 2, [[30.0, 4.0], [2.0, 9.0]]),
            (3, 3, [0.1]),
            (4, 9, []),
        ]
    ]
).encode()
TEXTS: dict[str, bytes] = {
    "looks": b"".join(lines(feed()[:30])),
    "ais-nmea": b"".join(nmea()),
    "ais-csv": AIS_CSV,
    "ksat": KSAT,
    "opensky": OPENSKY,
    "autoferry": AUTOFERRY,
}


@pytest.mark.parametrize("format_name", TEXTS)
def test_plain_feeds(tmp_path: Path, format_name: str) -> None:
    one = run(tmp_path / "run", write(tmp_path / "feed", [TEXTS[format_name]]))
    assert one.outcome.status == 0
    assert one.summary["records_in"] > 0
    assert one.summary["inputs"][0]["format"] == format_name


def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes are changed, taken out or put in, lines are moved or doubled, the end is cut off."""
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(["set", "cut", "insert", "swap", "double", "end"])):
            case "set":
                data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
            case "cut":
                data = data[:at] + data[at + draw(st.integers(1, 30)) :]
            case "insert":
                data = (
                    data[:at]
                    + draw(st.binary(max_size=12) | st.sampled_from([b"\n", b'"', b"NaN", b"[", b"1e999"]))
                    + data[at:]
                )
            case "swap":
                rows = data.splitlines(keepends=True) or [b""]
                rows.append(rows.pop(draw(st.integers(0, len(rows) - 1))))
                data = b"".join(rows)
            case "double":
                rows = data.splitlines(keepends=True) or [b""]
                rows.insert(draw(st.integers(0, len(rows))), rows[draw(st.integers(0, len(rows) - 1))])
                data = b"".join(rows)
            case "end":
                data = data[: draw(st.integers(0, len(data)))]
    return data


def assert_letters_fit(one: Run) -> None:
    """The file of dead letters holds what the summary counts: late looks, records, detections."""
    reasons = Counter(letter["reason"] for letter in one.letters)
    scenes = one.summary["inputs"][0]["format"] in ("ksat",)
    if not scenes:
        expected = one.summary["late"] + one.summary["dead_letters"] + one.summary["detections_rejected"]
        assert len(one.letters) == expected
        assert reasons["late"] == one.summary["late"]
    for letter in one.letters:
        assert set(letter) == {"file", "line", "reason", "field", "record"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@pytest.mark.parametrize("format_name", TEXTS)
@given(data=st.data())
def test_damaged_feeds(tmp_path: Path, format_name: str, data: st.DataObject) -> None:
    text = mutated(data.draw, TEXTS[format_name])  # type: ignore[arg-type]
    one = run(tmp_path / "run", write(tmp_path / "feed", [text]), format=format_name)
    assert one.outcome.status == 0
    assert_letters_fit(one)
    if format_name == "looks":
        rows = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        assert one.summary["records_in"] == sum(bool(row.removeprefix(b"\xef\xbb\xbf").strip()) for row in rows)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_truncated_archives(tmp_path: Path, data: st.DataObject) -> None:
    """What could be read before the fault is used, the fault is told, and the sums hold."""
    name = data.draw(st.sampled_from(sorted(TEXTS)))
    packed = gzip.compress(TEXTS[name] * 3)
    cut = data.draw(st.integers(2, len(packed) - 1))
    path = tmp_path / "feed.gz"
    path.write_bytes(packed[:cut])
    one = run(tmp_path / "run", path, format=name)
    assert one.outcome.status == 1
    (error,) = one.outcome.errors
    assert error.startswith(f"{path}: ")
    assert "\n" not in error


def test_the_same_file_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "feed", [TEXTS["looks"]])
    one = run(tmp_path / "one", path)
    two = run(tmp_path / "two", path, path)
    assert two.tracks == one.tracks
    assert two.summary["records_in"] == 2 * one.summary["records_in"]
    assert two.summary["looks"] == one.summary["looks"]
    assert two.summary["duplicates"] + two.summary["late"] >= one.summary["looks"]


def test_one_after_the_other_twice(tmp_path: Path) -> None:
    """As one file: what comes again later than the lag is late, not a duplicate."""
    one = run(tmp_path / "one", write(tmp_path / "feed", [TEXTS["looks"]]))
    two = run(tmp_path / "two", write(tmp_path / "feed", [TEXTS["looks"] * 2]))
    assert two.summary["looks"] == one.summary["looks"]
    assert two.summary["late"] > one.summary["late"]
    assert two.tracks == one.tracks


def test_records_of_nmea_by_another_count(tmp_path: Path) -> None:
    one = run(tmp_path / "run", write(tmp_path / "feed", nmea()))
    assert one.summary["records_in"] == count_records(TEXTS["ais-nmea"])


def test_a_scene_counts_its_rows(tmp_path: Path) -> None:
    """A look of two rows that is late is two late records, and one line among the dead letters."""
    last = KSAT.replace(b"2019-08-10T05:17", b"2021-08-10T09:17").replace(b"2019-08-10T05:18", b"2021-08-10T09:18")
    rows = last.splitlines(keepends=True)
    path = write(tmp_path / "feed", [rows[0], rows[3], rows[1], rows[2]])
    one = run(tmp_path / "run", path, config={"lag_s": 7200.0})
    assert (one.summary["records_used"], one.summary["late"]) == (1, 2)
    (letter,) = one.letters
    assert (letter["reason"], letter["line"]) == ("late", None)
    assert len(json.loads(letter["record"])["detections"]) == 2
    assert one.summary["by_source"]["ksat"]["late"] == 1


def test_a_scene_that_arrays_cannot_hold_counts_its_rows(tmp_path: Path) -> None:
    class Strict(Encoder):
        def encode(self, looks: Sequence[Look]) -> LookBatch:
            batch = super().encode(looks[1:])
            batch.rejected, batch.given = (
                [Rejection(0, -1, "time", "too old"), Rejection(1, 0, "lat", "odd")],
                len(looks),
            )
            return batch

    letters: list[Reject] = []
    reader = InputReader(str(write(tmp_path / "feed", [KSAT])), None, Stop())
    encoder = Strict(Register({}), Attributes())
    (chunk,) = reader.chunks(lambda reject, file: letters.append(reject), encoder)
    assert [look.source_id for look in chunk.looks] == ["ksat"]
    assert (len(chunk), chunk.records_between(0, 1)) == (1, 1)
    reader.take(chunk, 0, 1, 1)
    assert reader.tally == Tally(
        records_in=3, records_used=1, dead_letters=2, looks=1, detections=1, detections_rejected=1
    )
    reader.check(at_end=True)
    assert [(reject.reason, reject.is_record) for reject in letters] == [("too old", True), ("odd", False)]
    assert json.loads(str(letters[0].record, "utf-8"))["source_id"] == "ksat"  # type: ignore[arg-type]


def test_where_dead_letters_stood(tmp_path: Path) -> None:
    """File, line, reason, field and record, of lines that are no looks, bad detections, and looks turned away."""
    good, clock = report(0, 0.0), report(1, 200.0)
    bad = look("x", "ais", 200.0, {"lat": 91.0, "lon": 0.0}, {"lat": 50.0, "lon": 0.0})
    late = look("late", "ais", 10.0, {"lat": 50.0, "lon": 0.0}, **received(201.0))
    future = look("future", "ais", 900.0, **received(202.0))
    rows = [
        *lines([good]),
        b"not json\n",
        b"\n",
        *lines([clock, bad, late, future, {**clock, "detections": []}, clock]),
    ]
    path = write(tmp_path / "feed", rows)
    one = run(tmp_path / "run", path)
    assert all(letter["file"] == str(path) for letter in one.letters)
    found = {letter["line"]: (letter["reason"], letter["field"]) for letter in one.letters}
    assert set(found) == {2, 5, 6, 7, 8}
    assert found[2][0].startswith("not JSON")
    assert found[5][1] == "detections[0].lat"
    assert found[6] == ("late", None)
    assert found[7] == ("lies more than 60 s after its arrival", "time")
    assert found[8] == ("a look with this look_id and other content was met before", "look_id")
    by_line = {letter["line"]: letter["record"] for letter in one.letters}
    assert by_line[2] == "not json"
    assert json.loads(by_line[6]) == late
    counts = {name: one.summary[name] for name in ("records_in", "records_used", "duplicates", "late", "dead_letters")}
    assert counts == {"records_in": 8, "records_used": 3, "duplicates": 1, "late": 1, "dead_letters": 3}
    assert (one.summary["detections_rejected"], one.summary["detections"]) == (1, 3)


def test_lines_are_those_of_the_file_also_in_later_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apss_fusion.replay.pipeline_inputs.BLOCK_BYTES", 500)
    rows = lines([report(0, float(t)) for t in range(0, 60, 2)])
    rows.insert(22, b"bad\n")
    rows.append(lines([look("late", "ais", -500.0, {"lat": 50.0, "lon": 0.0}, **received(60.0))])[0])
    one = run(tmp_path / "run", write(tmp_path / "feed", rows))
    assert [letter["line"] for letter in one.letters] == [23, 32]


def test_what_each_source_gave(tmp_path: Path) -> None:
    one = run(tmp_path / "run", write(tmp_path / "feed", lines(feed())))
    sources = one.summary["by_source"]
    assert list(sources) == ["adsb", "ais", "sar"]
    assert sum(source["looks"] for source in sources.values()) == one.summary["looks"]
    assert sum(source["detections"] for source in sources.values()) == one.summary["detections"]
    assert sources["sar"]["latency_median_s"] == pytest.approx(39.0, rel=0.03)
    assert sources["sar"]["latency_max_s"] == 39.0
    assert (sources["adsb"]["latency_median_s"], sources["adsb"]["latency_max_s"]) == (0.0, 0.0)
    assert sources["ais"]["late"] == 1
    assert sources["ais"]["latency_max_s"] == 199.0
    for source in sources.values():
        assert source["latency_median_s"] <= source["latency_p90_s"] <= source["latency_max_s"]
    # All scans arrive behind newer reports; of the 32 reports the late one does, and one that another overtook.
    disorder = [(s["out_of_order"], s["disorder_median_s"], s["disorder_max_s"]) for s in sources.values()]
    assert disorder[1:] == [(0.0625, 1.0, 181.0), (1.0, pytest.approx(31.0, rel=0.03), 31.0)]


def test_stations_are_registered_and_others_are_told(tmp_path: Path) -> None:
    rows = [report(0, float(t)) | {"source_id": name} for t, name in enumerate(["ais/7", "new", "ais/8", "new", "odd"])]
    for number, row in enumerate(rows):
        row["look_id"] = f"l{number}"
    one = run(tmp_path / "run", write(tmp_path / "feed", lines(rows)))
    assert [warning.split("'")[1] for warning in one.outcome.warnings] == ["new", "odd"]
    assert one.summary["warnings"] == one.outcome.warnings


def test_the_lag_is_that_of_the_sources_in_the_run(tmp_path: Path) -> None:
    """The built-in source of a format that is read counts, that of one that is not read does not, `--lag` beats all."""
    looks = [report(0, 0.0), report(0, 1000.0), look("x", "ais", 500.0, {"lat": 50.0, "lon": 0.0}, **received(1000.0))]
    path = write(tmp_path / "feed", lines(looks))
    assert run(tmp_path / "run", path).summary["late"] == 1
    scene = write(tmp_path / "scene", [KSAT])
    assert run(tmp_path / "run", path, scene).summary["late"] == 0
    assert run(tmp_path / "run", path, scene, config={"lag_s": 60.0}).summary["late"] == 1
    lazy = {"ais": Source(modality="AIS", max_latency_s=600.0)}
    assert run(tmp_path / "run", path, sources=lazy).summary["late"] == 0


def test_confirmed_tracks_are_counted_once(tmp_path: Path) -> None:
    """Whether tentative tracks are written or not, and also where a track coasts and is found again."""
    rows: list[dict[str, Any]] = [
        report(k, float(t)) for t in [*range(0, 100, 10), *range(2000, 2100, 10)] for k in (0, 1)
    ]
    path = write(tmp_path / "feed", lines(rows))
    plain = run(tmp_path / "plain", path)
    everything = run(tmp_path / "all", path, config={"tentative": True})
    statuses = [json.loads(line)["status"] for line in plain.tracks.splitlines()]
    assert {"COASTING", "CONFIRMED"} <= set(statuses)
    assert statuses.index("COASTING") < len(statuses) - statuses[::-1].index("CONFIRMED")
    assert plain.summary["tracks_confirmed"] == everything.summary["tracks_confirmed"] == 2
    assert plain.summary["tracks_by_domain"] == everything.summary["tracks_by_domain"] == {"SEA": 2}
    assert len(everything.tracks) > len(plain.tracks)


def test_an_empty_file(tmp_path: Path) -> None:
    for text in (b"", b"\n \n"):
        one = run(tmp_path / "run", write(tmp_path / "feed", [text]))
        assert one.outcome.status == 0
        assert one.tracks == one.pictures == b""
        assert one.summary["records_in"] == 0


def test_a_wrong_account_is_a_fault_of_the_program() -> None:
    Tally(records_in=3, records_used=1, late=2).check()
    for wrong in (Tally(records_in=3, records_used=2), Tally(records_in=1, records_used=2, late=-1, looks=-1)):
        with pytest.raises(AccountError):
            wrong.check()


def test_inputs_that_cannot_be_read(tmp_path: Path) -> None:
    good = write(tmp_path / "good", lines(feed())[:5])
    for name, reason in {"absent": "No such file", "folder": "Is a directory", "odd": "no known format"}.items():
        path = tmp_path / name
        if name == "folder":
            path.mkdir()
        elif name == "odd":
            path.write_bytes(b"what is this\n")
        with pytest.raises(RunError, match=reason) as error:
            run(tmp_path / "run", good, path)
        assert error.value.status == 2
        assert str(path) in str(error.value)
        assert list((tmp_path / "run").iterdir()) == []


def test_accounted_says_no() -> None:
    assert not accounted(
        {
            "records_in": 2,
            **dict.fromkeys(("records_used", "late"), 0),
            "records_ignored": 0,
            "duplicates": 0,
            "dead_letters": 1,
        }
    )
