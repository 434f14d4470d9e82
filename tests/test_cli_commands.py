"""What the commands do when all is well."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from pipeline_runs import SOURCES_TOML, accounted, feed, lines, nmea, small_chunks, write

import apss_fusion
from apss_fusion.cli import run, running
from apss_fusion.cli.app import app
from apss_fusion.feeds.registry import decoders
from apss_fusion.model import Look, Picture, TrackUpdate
from apss_fusion.replay.pipeline import Progress
from apss_fusion.simulation import DEMO

SCENARIO = """
seed = 3
duration_s = 900
truth_interval_s = 300
[region]
radius_km = 150
[traffic]
ships = 12
aircraft = 2
vehicles = 4
[[satellites]]
name = "ais"
sensor = {modality = "AIS"}
orbit = {over_at_s = 300.0}
[[satellites]]
name = "adsb"
sensor = {modality = "ADSB"}
orbit = {over_at_s = 500.0}
[[satellites]]
name = "eye"
sensor = {modality = "SAR", near_km = 100.0}
orbit = {over_at_s = 400.0, east_km = -250.0, count = 2, interval_s = 60.0}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "feed.ndjson", lines(feed()))
    write(tmp_path / "ships.nmea", nmea())
    (tmp_path / "sources.toml").write_text(SOURCES_TOML)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fuse(*more: str, inputs: tuple[str, ...] = ("feed.ndjson",), out: str = "tracks", status: int = 0) -> bytes:
    assert run(["fuse", *inputs, "--sources", "sources.toml", "--out", out, *more]) == status
    return b"" if out == "-" else Path(out).read_bytes()


def test_fuse_writes_what_it_says(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracks = fuse("--picture", "p", "--picture-interval", "30", "--deadletter", "d", "--summary", "s")
    updates = [msgspec.json.decode(line, type=TrackUpdate) for line in tracks.splitlines()]
    assert all(update.status != "TENTATIVE" for update in updates)
    firsts = [update for update in updates if update.seq == 1]
    assert all(update.status in ("CONFIRMED", "COASTING") for update in firsts)
    summary = json.loads((folder / "s").read_bytes())
    assert accounted(summary)
    last = {update.track_id: update for update in updates}
    assert summary["tracks_confirmed"] == sum(update.end_reason != "WITHDRAWN" for update in last.values())
    assert len(firsts) == len(last)
    assert set(summary["late_looks"]) == {"late_fused", "revised", "withdrawn", "pending"}
    assert summary["late_looks"]["pending"] == 0
    assert summary["seconds"] > 0.0
    pictures = [msgspec.json.decode(line, type=Picture) for line in (folder / "p").read_bytes().splitlines()]
    times = [picture.time.timestamp() for picture in pictures]
    assert times == [times[0] + 30.0 * k for k in range(len(times))]
    assert times[0] % 30.0 == 0.0
    assert re.fullmatch(
        rb'\{"time":"[-\dT:]{19}\.\d{6}Z","tracks":\[.*\]\}', (folder / "p").read_bytes().splitlines()[0]
    )
    assert any(picture.tracks for picture in pictures)
    letters = [json.loads(line) for line in (folder / "d").read_bytes().splitlines()]
    assert sorted(letter["reason"] for letter in letters) == [
        "a look with this look_id and other content was met before",
        "late",
        "lies more than 60 s after its arrival",
    ]
    out, err = capfd.readouterr()
    assert out == ""
    end, order = err.splitlines()
    assert "looks by 3 sources -> " in end
    assert "2 dead letters and 1 late in d; 1 duplicate" in end
    assert re.match(
        r"apss-fusion: 17\.4% of the looks came out of order, half of these up to 31 s behind the newest, "
        r"none more than 181 s(; \d+ revisions?)?(, \d+ tracks? withdrawn)?$",
        order,
    )


def test_one_update_a_line_whatever_the_file(folder: Path) -> None:
    plain = fuse()
    assert gzip.decompress(fuse(out="tracks.gz")) == plain
    pq = pytest.importorskip("pyarrow.parquet")
    fuse(out="tracks.parquet")
    table = pq.read_table("tracks.parquet")
    assert table.num_rows == plain.count(b"\n")
    assert table.column("track_id").to_pylist() == [json.loads(line)["track_id"] for line in plain.splitlines()]


def test_inputs_may_be_compressed(folder: Path) -> None:
    plain = fuse()
    (folder / "feed.gz").write_bytes(gzip.compress((folder / "feed.ndjson").read_bytes()))
    assert fuse(inputs=("feed.gz",)) == plain


def test_options_of_the_engine(folder: Path) -> None:
    plain = fuse()
    everything = fuse("--tentative")
    assert b"TENTATIVE" in everything
    assert b"TENTATIVE" not in plain
    (folder / "config.toml").write_text("tentative = true\n")
    assert fuse("--config", "config.toml") == everything
    assert fuse("--filter", "accurate") == plain
    (folder / "fast.toml").write_text('filter = "fast"\n')
    assert fuse("--filter", "fast") == fuse("--config", "fast.toml") != plain
    fuse("--lag", "1000", "--summary", "s")
    assert json.loads((folder / "s").read_bytes())["late"] == 0


def test_looks_are_fused_as_they_arrive_or_held_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With a long lag there is nothing before the end where looks are held back; and nothing is revised."""
    (folder / "config.toml").write_text("hold_back = true\n")
    lag = ["--lag", "1000"]
    at_once, waiting = fuse(*lag), fuse(*lag, "--hold-back", "--summary", "s")
    assert fuse(*lag, "--config", "config.toml") == waiting
    assert b'"revised_from":"' in at_once
    assert b'"revised_from":"' not in waiting
    assert json.loads((folder / "s").read_bytes())["late_looks"]["revised"] == 0
    small_chunks(monkeypatch)
    for options, some in ((lag, True), ([*lag, "--hold-back"], False)):
        with monkeypatch.context() as patch:
            stopping_after(patch, 6, signal.SIGINT)
            assert bool(fuse(*options, status=130)) == some
    capfd.readouterr()


def test_a_source_that_is_not_registered_is_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "feed.ndjson", "--out", "tracks", "--lag", "60"]) == 0
    _, err = capfd.readouterr()
    warnings = [line for line in err.splitlines() if "warning" in line]
    assert len(warnings) == 3
    assert all("UNMARKED" in line for line in warnings)
    assert b'"classification":"UNMARKED","releasable_to":[]' in (folder / "tracks").read_bytes()


@pytest.mark.parametrize("mode", [[], ["--hold-back"]])
def test_save_and_resume(folder: Path, mode: list[str]) -> None:
    whole = fuse("--picture", "p", "--picture-interval", "30", *mode)
    pictures = (folder / "p").read_bytes()
    rows = lines(feed())
    write(folder / "1", rows[:30])
    write(folder / "2", rows[30:])
    a = fuse("--save", "state", "--picture", "p1", "--picture-interval", "30", *mode, inputs=("1",))
    b = fuse("--resume", "state", "--picture", "p2", "--picture-interval", "30", *mode, inputs=("2",))
    assert a + b == whole
    assert (folder / "p1").read_bytes() + (folder / "p2").read_bytes() == pictures


def test_from_standard_input_to_standard_output(folder: Path) -> None:
    """In a process of its own, as it is used in a pipe; what is said goes to standard error."""
    plain = fuse("--summary", "s")
    command = [sys.executable, "-m", "apss_fusion.cli", "fuse", "-", "--sources", "sources.toml", "--out", "-"]
    done = subprocess.run(command, input=(folder / "feed.ndjson").read_bytes(), capture_output=True, check=True)  # noqa: S603
    assert done.stdout == plain
    assert done.stderr.count(b"\n") == 2


def test_looks_are_what_was_decoded(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["looks", "ships.nmea", "--out", "l", "--deadletter", "d", "--summary", "s"]) == 0
    rows = (folder / "l").read_bytes().splitlines()
    looks = [msgspec.json.decode(row, type=Look) for row in rows]
    assert {look.source_id for look in looks} == {"ais-nmea/hill"}
    assert re.search(rb'"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"', rows[0])
    summary = json.loads((folder / "s").read_bytes())
    assert accounted(summary)
    assert summary["looks"] == len(looks)
    assert len((folder / "d").read_bytes().splitlines()) == summary["dead_letters"]
    assert "dead letters in d" in capfd.readouterr().err


def test_looks_of_looks(folder: Path) -> None:
    """Of its own files the command makes the same again, whatever holds them."""
    pytest.importorskip("pyarrow")
    assert run(["looks", "feed.ndjson", "--out", "l"]) == 0
    for name in ("l.gz", "l.parquet", "l.arrow"):
        assert run(["looks", "l", "--out", name]) == 0
        assert run(["looks", name, "--out", "again"]) == 0
        assert (folder / "again").read_bytes() == (folder / "l").read_bytes()
        assert fuse(inputs=(name,)) == fuse(inputs=("l",)) == fuse()


@pytest.mark.parametrize("name", ["l", "l.gz", "l.parquet"])
def test_looks_fuse_as_the_feed_does(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    """The built-in sources that looks name are those of the feed that they were decoded from."""
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    assert run(["looks", "ships.nmea", "--out", name]) == 0
    capfd.readouterr()
    assert run(["fuse", name, "--out", "a"]) == 0
    assert capfd.readouterr().err.count("\n") == 1
    assert run(["fuse", "ships.nmea", "--out", "b"]) == 0
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes() != b""


def test_simulate_fuse_and_evaluate(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "scenario.toml").write_text(SCENARIO)
    assert run(["simulate", "scenario.toml", "--out", "made"]) == 0
    assert run(["fuse", "made/looks.ndjson", "--sources", "made/sources.toml", "--out", "tracks"]) == 0
    capfd.readouterr()
    pair = ["--truth", "made/truth.ndjson", "--tracks", "tracks"]
    assert run(["evaluate", *pair, "--json"]) == 0
    result = json.loads(capfd.readouterr().out)
    assert {"total", "localisation", "missed", "false"} <= set(result["gospa"])
    assert result["cutoff_m"] == {"SEA": 1000.0, "AIR": 5000.0, "GROUND": 300.0}
    assert run(["evaluate", *pair, "--json", "--c-sea", "500", "--p", "1"]) == 0
    other = json.loads(capfd.readouterr().out)
    assert (other["cutoff_m"]["SEA"], other["p"]) == (500.0, 1.0)
    assert run(["evaluate", *pair]) == 0
    assert "GOSPA" in capfd.readouterr().out


def test_demo(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a smaller scenario than the one that comes with it."""
    assert DEMO.exists()
    (folder / "scenario.toml").write_text(SCENARIO)
    monkeypatch.setattr("apss_fusion.simulation.DEMO", folder / "scenario.toml")
    assert run(["demo", "--out", "made/demo"]) == 0
    out, err = capfd.readouterr()
    for word in ("ships", "aircraft", "satellites", "really there", "made/demo/tracks.ndjson"):
        assert word in out
    assert "tracks confirmed" in err
    made = {path.name for path in (folder / "made" / "demo").iterdir()}
    assert made >= {
        "looks.ndjson",
        "truth.ndjson",
        "sources.toml",
        "tracks.ndjson",
        "summary.json",
        "deadletters.ndjson",
    }
    for name in re.findall(r"made/demo/(\S+)", out):
        assert name in made


def test_formats_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["formats"]) == 0
    rows = capfd.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == sorted(decoder.name for decoder in decoders())


def test_version_and_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"apss-fusion {apss_fusion.__version__}\n"
    assert run([]) == 2
    shown = "".join(capfd.readouterr())
    names = [command.name for command in app.registered_commands]
    assert {"fuse", "looks", "simulate", "evaluate", "demo", "formats"} <= set(names)
    for name in names:
        assert str(name) in shown
        assert run([str(name), "--help"]) == 0
        assert f"Example: apss-fusion {name}" in " ".join(capfd.readouterr().out.split())


def test_the_package_gives_its_names_when_they_are_asked_for() -> None:
    code = (
        "import sys, apss_fusion; assert 'numpy' not in sys.modules;"
        "print(all(getattr(apss_fusion, name) for name in apss_fusion.__all__), 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)  # noqa: S603
    assert done.stdout == "True True\n"
    with pytest.raises(AttributeError, match="Enginee"):
        apss_fusion.Enginee  # noqa: B018
    assert set(apss_fusion.__all__) <= set(dir(apss_fusion))


# --- stopping ---


def stopping_after(monkeypatch: pytest.MonkeyPatch, number: int, signal_number: signal.Signals) -> None:
    """Let a signal come when so many chunks are done."""

    @contextmanager
    def shown(what: str) -> Iterator[Progress | None]:
        calls = 0

        def progress(done: int, total: int | None, detections: int) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal_number)
                # The next one would end the process.
                assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL

        yield progress

    monkeypatch.setattr(running, "shown", shown)


@pytest.mark.parametrize("mode", [[], ["--hold-back"]])
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    signal_number: signal.Signals,
    mode: list[str],
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    options = ["--lag", "10", *mode]
    whole = fuse(*options)
    small_chunks(monkeypatch)
    with monkeypatch.context() as patch:
        stopping_after(patch, 6, signal_number)
        capfd.readouterr()
        a = fuse(*options, "--save", "state", "--summary", "s", status=130)
        assert capfd.readouterr().err.startswith("apss-fusion: stopped: ")
    assert a.endswith(b"\n")
    assert whole.startswith(a)
    assert a != whole
    assert accounted(json.loads((folder / "s").read_bytes()))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert a + fuse(*options, "--resume", "state") == whole


class Slow(io.RawIOBase):
    """Gives some bytes; whoever wants more waits until Ctrl-C comes."""

    def __init__(self, rows: list[bytes]) -> None:
        self.rest = b"".join(rows)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.rest:
            os.kill(os.getpid(), signal.SIGINT)
            raise AssertionError("the signal was not heard")
        n = min(len(buffer), len(self.rest))
        buffer[:n], self.rest = self.rest[:n], self.rest[n:]
        return n


@pytest.mark.parametrize("format_name", ["looks", "ais-nmea"])
def test_ctrl_c_while_waiting_for_input(folder: Path, monkeypatch: pytest.MonkeyPatch, format_name: str) -> None:
    """What was read from another program so far is fused, and the state goes on with what that sends next."""
    # The decoder of sentences holds some lines back, until it has seen what follows them.
    rows = lines(feed()) if format_name == "looks" else nmea() * 3
    write(folder / "all", rows)
    whole = fuse("--lag", "10", inputs=("all",))
    half = len(rows) // 2
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Slow(rows[:half]))))
    a = fuse("--lag", "10", "--format", format_name, "--save", "state", "--summary", "s", inputs=("-",), status=130)
    write(folder / "first", rows[:half])
    write(folder / "rest", rows[half:])
    b = fuse("--lag", "10", "--save", "other", "--summary", "t", "--format", format_name, inputs=("first",))
    assert a == b
    stopped, ended = (json.loads((folder / name).read_bytes()) for name in "st")
    assert stopped["looks"] > 5
    for name in ("records_in", "looks", "dead_letters"):
        assert stopped[name] == ended[name]
    assert a + fuse("--lag", "10", "--resume", "state", "--format", format_name, inputs=("rest",)) == whole


def test_ctrl_c_while_the_format_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 64 KiB have not come: nothing is written."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Slow(nmea()))))
    assert run(["fuse", "-", "--out", "never", "--summary", "s"]) == 130
    assert not (folder / "never").exists()
    assert not (folder / "s").exists()
