"""``apss-fusion smooth``: files in and out, what is said of bad ones, and that smoothed tracks are better by truth."""

from __future__ import annotations

import gzip
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from engine_tools import at, config, engine, fused, report, shift, tracks_of
from numpy.typing import NDArray
from scipy.stats import chi2
from test_engine_consistency import LAT, LON, Ship, fleet, nees, within_chi2

from apss_fusion.cli import run
from apss_fusion.model import TrackUpdate
from apss_fusion.outputs import open_track_writer
from apss_fusion.smoothing.lines import rewritten
from apss_fusion.smoothing.records import columns, decoded
from apss_fusion.smoothing.rts import smoothed

SMOOTHED = {"lat", "lon", "speed_mps", "course_deg", "v_enu_mps", "cov_enu", "ellipse95", "h3"}
MINUTES = 40


def ships() -> list[Ship]:
    """Ships whose velocity wanders about a held one as the engine assumes (over 40 minutes hardly less than freely)."""
    return fleet(21, 60, MINUTES, 30e3)


def looks_of(some: list[Ship], seed: int = 22) -> list[Any]:
    """A report within 50 m every 1 to 3 minutes each."""
    rng = np.random.default_rng(seed)
    looks = []
    for n, ship in enumerate(some):
        minute = int(rng.integers(0, 2))
        while minute <= MINUTES:
            place = shift(LAT, LON, *(ship.x[minute] + rng.normal(0.0, 50.0, 2)))
            looks.append(report(60.0 * minute, *place, str(n), cov_enu_m2=(2500.0, 0.0, 2500.0)))
            minute += int(rng.integers(1, 4))
    return sorted(looks, key=lambda look: (look.time, look.look_id))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archived tracks in every format, and the truth."""
    folder = tmp_path_factory.mktemp("archive")
    made = ships()
    e = engine(lag_s=0.0)
    updates = e.process_many(looks_of(made))
    for name in ("tracks.ndjson", "tracks.ndjson.gz", "tracks.parquet", "tracks.arrow"):
        with open_track_writer(folder / name) as writer:
            writer.write(updates)
    with (folder / "truth.ndjson").open("w") as out:
        for minute in range(MINUTES + 1):
            places = [shift(LAT, LON, *ship.x[minute]) for ship in made]
            objects = [{"id": str(n), "lat": a, "lon": b, "domain": "SEA"} for n, (a, b) in enumerate(places)]
            out.write(json.dumps({"time": at(60.0 * minute).isoformat(), "objects": objects}) + "\n")
    return folder


@pytest.fixture
def folder(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in archive.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def smooth(tracks: str, out: str, *more: str, status: int = 0) -> bytes:
    assert run(["smooth", tracks, "--out", out, *more]) == status
    return b"" if out == "-" or status else Path(out).read_bytes()


def said(capfd: pytest.CaptureFixture[str]) -> str:
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("apss-fusion: ")
    return lines[0].removeprefix("apss-fusion: ")


# ---------------------------------------------------------------------------------------- what comes out


def test_the_same_updates_in_the_same_order(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = Path("tracks.ndjson").read_bytes().splitlines()
    after = smooth("tracks.ndjson", "out.ndjson").splitlines()
    assert said(capfd) == f"{len(before):,} updates of 60 tracks -> {len(before) - 60:,} smoothed in out.ndjson"
    assert len(before) == len(after)
    last = {json.loads(line)["track_id"]: i for i, line in enumerate(before)}
    raw = msgspec.json.Decoder(dict[str, msgspec.Raw])
    for i, (one, other) in enumerate(zip(before, after, strict=True)):
        if i in last.values():
            assert one == other
            continue
        a, b = raw.decode(one), raw.decode(other)
        assert list(a) == list(b)
        assert {name for name in a if bytes(a[name]) != bytes(b[name])} >= {"lat", "cov_enu", "ellipse95"}
        assert {name for name in a if bytes(a[name]) != bytes(b[name])} <= SMOOTHED
        u = msgspec.json.decode(other, type=TrackUpdate, strict=True)
        east, north, up = u.v_enu_mps
        assert up is None and u.speed_mps == pytest.approx(math.hypot(east, north), abs=0.006)
        assert math.degrees(math.atan2(east, north)) % 360.0 == pytest.approx(u.course_deg, abs=0.2)
        ee, en, _, _, nn = u.cov_enu[:5]
        axis = np.sqrt(np.linalg.eigvalsh([[ee, en], [en, nn]])[1] * chi2.ppf(0.95, 2))
        assert u.ellipse95.semi_major_m == pytest.approx(axis, abs=0.06)


def test_all_formats_hold_the_same(folder: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    ipc = pytest.importorskip("pyarrow.ipc")
    wanted = [json.loads(line) for line in smooth("tracks.ndjson", "out.ndjson").splitlines()]
    assert gzip.decompress(smooth("tracks.ndjson.gz", "out.ndjson.gz")) == Path("out.ndjson").read_bytes()
    for name in ("tracks.parquet", "tracks.arrow"):
        assert [json.loads(line) for line in smooth(name, "lines").splitlines()] == wanted
    smooth("tracks.ndjson", "a.parquet")
    smooth("tracks.parquet", "b.arrow")
    smooth("tracks.arrow", "c.parquet")
    told, one = pq.read_table("tracks.parquet"), pq.read_table("a.parquet")
    with ipc.open_file("b.arrow") as reader:
        other = reader.read_all()
    assert one.schema.equals(told.schema) and other.schema.equals(told.schema)
    assert one.equals(pq.read_table("c.parquet")) and one.equals(other)
    assert one.drop_columns(list(SMOOTHED)).equals(told.drop_columns(list(SMOOTHED)))
    assert one["lat"].to_pylist() == [u["lat"] for u in wanted]


def test_standard_input_and_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(Path("tracks.ndjson").read_bytes())))
    smooth("-", "-")
    written = capfdbinary.readouterr().out
    assert written == smooth("tracks.ndjson", "out.ndjson")


def test_smoothing_is_deterministic_and_blank_lines_are_no_updates(folder: Path) -> None:
    first = smooth("tracks.ndjson", "a")
    Path("blank").write_bytes(b"\n" + Path("tracks.ndjson").read_bytes().replace(b"\n", b"\n \n"))
    assert smooth("blank", "b") == first
    # The last line may lack its end.
    Path("cut").write_bytes(Path("tracks.ndjson").read_bytes()[:-1])
    assert smooth("cut", "c") == first


def test_unknown_fields_stay(folder: Path) -> None:
    lines = [line[:-1] + b',"mine":{"a":[1.50]}}' for line in Path("tracks.ndjson").read_bytes().splitlines()]
    Path("more").write_bytes(b"\n".join(lines))
    assert all(line.endswith(b',"mine":{"a":[1.50]}}') for line in smooth("more", "out").splitlines())


def test_the_configuration_counts(folder: Path) -> None:
    usual = smooth("tracks.ndjson", "a")
    Path("c.toml").write_text("[domain.SEA]\nq = 1.0\n")
    assert smooth("tracks.ndjson", "b", "--config", "c.toml") != usual


def test_an_empty_file_is_an_empty_file(folder: Path) -> None:
    Path("empty").write_bytes(b"")
    assert smooth("empty", "out") == b""
    pq = pytest.importorskip("pyarrow.parquet")
    smooth("empty", "out.parquet")
    assert pq.read_table("out.parquet").num_rows == 0


# ---------------------------------------------------------------------------------------- what is wrong


def broken(**fields: Any) -> bytes:
    line = json.loads(Path("tracks.ndjson").read_bytes().splitlines()[0])
    return json.dumps({k: v for k, v in (line | fields).items() if v != "gone"}).encode() + b"\n"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no time": ({"time": "gone"}, "Object missing required field `time`"),
    "no zone": ({"time": "2026-01-01T00:00:00"}, "`$.time`"),
    "latitude": ({"lat": 91.0}, "`$.lat`"),
    "domain": ({"domain": "SPACE"}, "`$.domain`"),
    "covariance": ({"cov_enu": [1.0] * 9}, "`$.cov_enu`"),
    "no covariance": ({"cov_enu": [1.0, 2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]}, "positive definite"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    fields, reason = BAD[name]
    Path("bad").write_bytes(broken() + broken(**fields))
    smooth("bad", "out", status=2)
    line = said(capfd)
    assert line.startswith("bad:2: ") and reason in line
    assert not Path("out").exists()


def test_bad_files(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = Path("tracks.ndjson.gz").read_bytes()
    Path("cut.gz").write_bytes(whole[: len(whole) // 2])
    Path("text.gz").write_bytes(b"no gzip at all")
    Path("bytes").write_bytes(b"\xff\xfe\x00")
    Path("c.toml").write_text("no = 1\n")
    cases = [
        (("nothing", "out"), 2, "nothing: No such file or directory"),
        ((".", "out"), 2, ".: Is a directory"),
        (("cut.gz", "out"), 1, "cut.gz: Compressed file ended before the end-of-stream marker was reached"),
        (("text.gz", "out"), 2, "text.gz: Not a gzipped file"),
        (("bytes", "out"), 2, "bytes:1: "),
        (("tracks.ndjson", "tracks.ndjson"), 2, "--out tracks.ndjson: this is an input, which would be overwritten"),
        (("tracks.ndjson", "no/out"), 2, "--out no/out: there is no folder no"),
        (("tracks.ndjson", "/dev/full"), 1, "/dev/full: No space left on device"),
        (("tracks.ndjson", "out", "--config", "c.toml"), 2, "c.toml: "),
        (("tracks.ndjson", "out", "--config", "none.toml"), 2, "none.toml: No such file or directory"),
        (("tracks.ndjson", "out", "--config", "c.toml", "--odd"), 2, "No such option: --odd"),
    ]
    for arguments, status, text in cases:
        smooth(*arguments, status=status)
        assert said(capfd).startswith(text), arguments
        assert not Path("out").exists()


def test_bad_tables(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    Path("text.parquet").write_bytes(b"no table at all, this is text")
    Path("text.arrow").write_bytes(b"no table at all, this is text")
    table = pq.read_table("tracks.parquet")
    pq.write_table(table.drop_columns(["lat"]), "no_lat.parquet")
    lat = pa.array([50.0, 95.0, *[50.0] * (len(table) - 2)])
    pq.write_table(table.set_column(table.schema.get_field_index("lat"), "lat", lat), "bad.parquet")
    for name, text in (
        ("text.parquet", "text.parquet: "),
        ("text.arrow", "text.arrow: "),
        ("no_lat.parquet", "no_lat.parquet:1: Object missing required field `lat`"),
        ("bad.parquet", "bad.parquet:2: Expected `float` <= 90.0 - at `$.lat`"),
    ):
        smooth(name, "out", status=2)
        assert said(capfd).startswith(text)


# ---------------------------------------------------------------------------------------- by truth


def evaluated(tracks: str, capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capfd.readouterr()
    assert run(["evaluate", "--truth", "truth.ndjson", "--tracks", tracks, "--json"]) == 0
    result: dict[str, Any] = json.loads(capfd.readouterr().out)
    return result


def test_smoothed_tracks_are_nearer_to_the_truth(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    smooth("tracks.ndjson", "out.ndjson")
    before, after = evaluated("tracks.ndjson", capfd), evaluated("out.ndjson", capfd)
    assert after["position_error_m"]["rms"] < 0.85 * before["position_error_m"]["rms"]
    assert after["position_error_m"]["median"] < 0.85 * before["position_error_m"]["median"]
    assert after["gospa"]["total"] < before["gospa"]["total"]
    assert after["completeness"] >= before["completeness"]


def smoothed_updates(updates: list[TrackUpdate]) -> list[TrackUpdate]:
    """What the command would write."""
    lines = [msgspec.json.encode(u) for u in updates]
    result = smoothed(columns(decoded("made", lines)), config())
    return [msgspec.json.decode(line, type=TrackUpdate) for line in rewritten(lines, result)]


def test_smoothed_states_are_as_good_as_they_say() -> None:
    """NEES of one smoothed state each of 60 ships in the middle of its track, all four components."""
    made = ships()
    own = tracks_of(smoothed_updates(list(fused(looks_of(made), lag_s=0.0))))
    assert len(own) == 60
    values = [nees(u[len(u) // 2], made[int(u[0].ids["mmsi"])]) for u in own.values()]
    assert within_chi2(values, 4)
    before = tracks_of(list(fused(looks_of(made), lag_s=0.0)))
    errors = [np.mean([_error_m(u, made) for track in of.values() for u in track[:-1]]) for of in (own, before)]
    assert errors[0] < 0.85 * errors[1]


def _error_m(u: TrackUpdate, made: list[Ship]) -> float:
    truth = made[int(u.ids["mmsi"])].x[round((u.time - at(0)).total_seconds() / 60.0)]
    lat, lon = shift(LAT, LON, *truth)
    east: NDArray[np.float64] = np.array([(lon - u.lon) * math.cos(math.radians(lat)), lat - u.lat]) * 111_320.0
    return float(np.hypot(*east))
