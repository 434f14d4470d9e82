"""The benchmarks run and count right, on tiny scenes. What they measure is no matter here."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from apss_fusion.feeds.reading import read_looks
from benchmarks import ais, late_scenes, measuring, start
from benchmarks.__main__ import TABLES, main
from benchmarks.engine import one_by_one, scans
from benchmarks.measuring import Sizes
from benchmarks.scenes import P_DETECT, reports, roll_call, sea, write_looks

TINY = Sizes(
    sea=((60, 9),),
    reports=((40, 400),),
    file_sea=(60, 8),
    file_reports=(40, 400),
    nmea=300,
    memory=(150,),
    saved=120,
    part_reports=(30, 300),
    part_sea=(40, 8),
    rows=300,
    late_ocean=(120, 9_600.0),
    late_port=(12, 500.0),
)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, list[list[str]]]:
    """The cells of each table's rows, by its title."""
    main(arguments, TINY)
    tables: dict[str, list[list[str]]] = {}
    for line in capsys.readouterr().out.splitlines():
        if line.startswith("### "):
            title = line.removeprefix("### ")
            tables[title] = []
        elif line.startswith("| "):
            tables[title].append([cell.strip() for cell in line.strip("|").split("|")])
    for title, rows in tables.items():
        assert len({len(row) for row in rows}) == 1, title
        del rows[0]
        assert rows, title
    return tables


def numbers(rows: list[list[str]], column: int) -> list[float]:
    return [float(row[column].replace(",", "")) for row in rows]


def test_engine(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "engine")["Engine only"]
    assert [row[0] for row in rows] == [
        f"{scene}, {setting}"
        for scene in ("scans of a sea, 60 ships", "reports one by one, 40 objects")
        for setting in ("accurate", "fast")
    ]
    assert all(rate > 0 for rate in numbers(rows, 1))
    assert numbers(rows[2:], 4) == [360.0, 360.0]  # the first forty are not counted
    assert numbers(rows[2:], 5) == [40.0, 40.0]


def test_files_are_fused_as_in_steps(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "files")["File to file"]
    assert [row[0].partition(":")[0] for row in rows] == ["NDJSON", "NDJSON", "PARQUET", "PARQUET"]
    share = numbers(rows, 8)
    assert share[0] == share[2] and share[1] == share[3]
    assert all(0.8 < x <= 1.0 for x in share)


def test_ais(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    feed = tmp_path / "feed.nmea"
    feed.write_bytes(b"".join(ais.sentences(40, seed=1)))
    made, recorded = printed(capsys, "ais", "--feed", str(feed))["AIS, file to file"]
    assert made[1] == "300"
    assert recorded[:2] == ["feed.nmea", "40"]
    assert ais._pyais(feed) == ais._decode(feed) == 40


def test_state(capsys: pytest.CaptureFixture[str]) -> None:
    (rows,) = printed(capsys, "state").values()
    saved, file, loaded, _, later = numbers(rows, 3)
    assert 100 < saved < file == loaded
    assert 0 < later < saved / 10


def test_memory(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = printed(capsys, "memory")["Resident memory"]
    assert row[0] == "150"


def test_processes_of_their_own_are_measured() -> None:
    # Compiling all kernels, the rest of the table, takes too long for a test.
    assert 0.0 < start._median(["-c", "pass"]) < 60.0


def test_parts(capsys: pytest.CaptureFixture[str]) -> None:
    tables = printed(capsys, "parts")
    of_reports, of_scans, of_updates = tables.values()
    for rows in (of_reports, of_scans):
        assert rows[0][0] == "as they are" and float(rows[0][2]) == 0.0
        assert all(0.5 < share <= 1.2 for share in numbers(rows, 3))
    assert len(of_updates) == 2
    assert all(us > 0 for us in numbers(of_updates, 1))


def test_late(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    feed = tmp_path / "late.ndjson"
    write_looks(feed, late_scenes.port(5, 400.0).looks)
    rows = {name: cells for name, *cells in printed(capsys, "late", "--feed", str(feed))["Late looks"]}
    # The ocean, the port, the file, and two scenes in which nothing is late.
    late_reports = rows["late reports once the window is full"]
    assert all(float(cell) > 0 for cell in late_reports[:3]) and late_reports[3:] == ["-", "-"]
    assert float(rows["late scenes once the window is full"][0]) > 0
    assert rows["looks"][2:] == [str(len(feed.read_bytes().splitlines())), "300", "8"]
    assert rows["living tracks"][1] == "12"
    for name in ("clusters weighed again for a late report", "tracks rewritten for a late report"):
        middle, most, last = (float(x) for x in rows[name][0].split(" / "))
        assert 0 <= middle <= most <= last and last > 0
    assert rows["late reports a CPU second"][2:] == ["-"] * 3
    for name in ("late reports a CPU second", "a late report, in reports in order", "as they arrive / in order"):
        assert all(float(cell.replace(",", "")) > 0 for cell in rows[name][:2])
    assert all(float(cell) > 0 for cell in rows["in order / in order without a window"])
    assert all(float(cell.replace(",", "")) > 0 for cell in rows["bytes of the window a look"])


def test_late_looks_come_late_and_within_the_lag() -> None:
    for feed, share in ((late_scenes.ocean(300, 9_000.0), 0.25), (late_scenes.port(40, 900.0), 0.05)):
        assert sum(count for _, count in feed.parts) == len(feed.looks)
        clock, newest, found = feed.looks[0].time, feed.looks[0].time - timedelta(seconds=1), 0
        for kind, looks in feed.kinds():
            for look in looks:
                assert look.time_received is not None
                clock = max(clock, look.time_received)
                assert (clock - look.time).total_seconds() <= feed.lag_s
                assert (kind == "in order") == (look.time > newest)
                assert (kind == "late scene") == (look.footprint is not None)
                newest = max(newest, look.time)
                found += kind == "late report"
        reports_made = sum(look.footprint is None for look in feed.looks)
        # Some have not arrived at the end.
        assert 0.5 * share < found / reports_made < 1.05 * share
        assert [look.time for look in feed.in_order()] == sorted(look.time for look in feed.looks)
        identities = {str(look.detections[0].ids) for look in feed.looks if look.footprint is None}
        assert len(identities) == 40 or abs(len(identities) - 270) < 20


def test_recorded_files_keep_their_order_of_arrival(tmp_path: Path) -> None:
    scene = late_scenes.port(10, 600.0).looks
    path = tmp_path / "looks.ndjson"
    too_late = replace(scene[0], look_id="old", time=scene[0].time - timedelta(days=1), time_received=scene[0].time)
    # The source is not registered: looks may be an hour late.
    write_looks(path, [*scene, scene[3], too_late])
    feed = late_scenes.recorded(path)
    assert feed.lag_s == 3600.0
    assert [look.look_id for look in feed.looks] == [look.look_id for look in scene]
    newest = scene[0].time - timedelta(seconds=1)
    for kind, looks in feed.kinds():
        for look in looks:
            assert (look.time > newest) == (kind == "in order")
            newest = max(newest, look.time)
    assert sum(count for kind, count in feed.parts if kind == "late report") > 10


def test_head_and_wrong_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(TABLES) == ["engine", "files", "ais", "memory", "start", "state", "parts", "late"]
    main(["engine"], TINY)
    assert "load average" in capsys.readouterr().out
    for wrong in (["nothing"], ["--feed", "/no/such/file"]):
        with pytest.raises(SystemExit) as end:
            main(wrong, TINY)
        assert end.value.code == 2


def test_counts() -> None:
    _, (detections, updates, tracks) = scans(50, 9)
    looks = list(sea(50, 9))
    # Each call fuses the look before: three are counted from the seventh on.
    assert detections == sum(len(look.detections) for look in looks[5:8])
    assert 0.7 * detections < updates < 1.2 * detections
    assert abs(tracks - 50) < 25
    _, counts = one_by_one(30, 200)
    ships = {str(look.detections[0].ids) for look in reports(30, 200)}
    assert counts[0] == 170 and counts[2] == len(ships)


def test_median() -> None:
    costs = iter([3.0, 1.0, 2.0])
    assert measuring.median(lambda: (next(costs), "x")) == (2.0, "x")
    costs = iter([measuring.SHORT_S + 1.0])
    assert measuring.median(lambda: (next(costs), None))[0] == measuring.SHORT_S + 1.0


@pytest.mark.parametrize("ending", [".ndjson", ".parquet"])
def test_scenes_are_written_whole(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"looks{ending}"
    scene = [*roll_call(30, 2), *reports(5, 40), *sea(20, 2)]
    assert write_looks(path, scene) == (len(scene), sum(len(look.detections) for look in scene))
    if ending == ".ndjson":
        assert [look.look_id for look in read_looks(path)] == [look.look_id for look in scene]
        assert msgspec.json.decode(path.read_bytes().splitlines()[0])["look_id"] == scene[0].look_id


def test_roll_call_and_sea() -> None:
    looks = list(roll_call(25, 3))
    assert [look.time for look in looks] == sorted(look.time for look in looks)
    ids = [look.detections[0].ids["mmsi"] for look in looks if look.detections[0].ids]
    assert len(ids) == 75 and len(set(ids)) == 25
    assert all(-180 <= look.detections[0].lon <= 180 for look in looks)
    seen = [len(look.detections) for look in sea(400, 5)]
    assert abs(sum(seen) / len(seen) - 400 * (P_DETECT + 0.1)) < 30
