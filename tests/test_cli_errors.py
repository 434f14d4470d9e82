"""Exit statuses, and the one line on standard error that says what is wrong."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_runs import SOURCES_TOML, feed, lines, write

from apss_fusion.cli import run

FULL = Path("/dev/full")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good feed, its register and bad files of each kind; commands run in it."""
    write(tmp_path / "feed.ndjson", lines(feed()))
    (tmp_path / "sources.toml").write_text(SOURCES_TOML)
    (tmp_path / "folder").mkdir()
    (tmp_path / "odd").write_bytes(b"what is this\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "not.gz").write_bytes(b"plain\n")
    (tmp_path / "not.parquet").write_bytes(b"PAR1" + bytes(50))
    (tmp_path / "unknown-key.toml").write_text(SOURCES_TOML.replace("p_detect", "p_detekt"))
    (tmp_path / "wrong-type.toml").write_text(SOURCES_TOML.replace("0.9", '"high"'))
    (tmp_path / "no-modality.toml").write_text('[sources.x]\nnation = "LUX"\n')
    (tmp_path / "no-level.toml").write_text('[sources.x]\nmodality = "SAR"\nclassification = "SECRETISH"\n')
    (tmp_path / "not.toml").write_text("[sources\n")
    (tmp_path / "bad-config.toml").write_text("[domain.SEA]\nqq = 1.0\n")
    (tmp_path / "bad-value.toml").write_text("[tracking]\nconfirm = 2.0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
    """What stands on standard error, which is one line; nothing on standard output."""
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("apss-fusion: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    return err


FUSE = ["fuse", "feed.ndjson", "--out", "tracks"]
WRONG = {
    "fuse": "INPUT",
    "fuse feed.ndjson": "--out",
    "fuse feed.ndjson --out tracks --lagg 3": "--lagg",
    "fuse feed.ndjson --out tracks --lag x": "--lag",
    "fuse feed.ndjson --out tracks --lag -1": "--lag",
    "fuse feed.ndjson --out tracks --lag nan": "--lag",
    "fuse feed.ndjson --out tracks --lag inf": "--lag",
    "fuse feed.ndjson --out tracks --filter best": "--filter best",
    "fuse feed.ndjson --out tracks --picture-interval 10": "--picture FILE",
    "fuse feed.ndjson --out tracks --picture p --picture-interval 0": "--picture-interval",
    "fuse feed.ndjson --out tracks --format nmea": "ais-nmea",
    "fuse absent --out tracks": "absent: No such file",
    "fuse folder --out tracks": "folder: Is a directory",
    "fuse odd --out tracks": "odd: no known format",
    "fuse binary --out tracks": "binary: no known format",
    "fuse not.gz --out tracks": "not.gz: ",
    "fuse not.parquet --out tracks": "not.parquet: ",
    "fuse feed.ndjson odd --out tracks": "odd: no known format",
    "fuse - - --out tracks": "-: standard input",
    "fuse feed.ndjson --out folder": "--out folder: Is a directory",
    "fuse feed.ndjson --out absent/tracks": "there is no folder absent",
    "fuse feed.ndjson --out feed.ndjson/tracks": "there is no folder feed.ndjson",
    "fuse feed.ndjson --out feed.ndjson": "this is an input",
    "fuse feed.ndjson --out ./feed.ndjson": "this is an input",
    "fuse feed.ndjson --out tracks --deadletter feed.ndjson": "this is an input",
    "fuse feed.ndjson --out tracks --summary tracks": "--summary tracks: this is the file of --out",
    "fuse feed.ndjson --out tracks --picture folder": "--picture folder",
    "fuse feed.ndjson --out tracks --deadletter absent/d": "--deadletter absent/d",
    "fuse feed.ndjson --out tracks --save folder": "--save folder",
    "fuse feed.ndjson --out tracks --save /dev/null": "not a regular file",
    "fuse feed.ndjson --out tracks --save -": "--save -",
    "fuse feed.ndjson --out - --summary -": "only one can go to standard output",
    "fuse feed.ndjson --out sources.toml --sources sources.toml": "this is an input",
    "fuse feed.ndjson --out tracks --resume absent": "absent: No such file",
    "fuse feed.ndjson --out tracks --resume feed.ndjson": "not a saved run",
    "fuse feed.ndjson --out tracks --sources absent.toml": "absent.toml: No such file",
    "fuse feed.ndjson --out tracks --sources folder": "folder: Is a directory",
    "fuse feed.ndjson --out tracks --sources unknown-key.toml": 'unknown-key.toml: [sources."sar"]: ',
    "fuse feed.ndjson --out tracks --sources wrong-type.toml": "p_detect",
    "fuse feed.ndjson --out tracks --sources no-modality.toml": "modality",
    "fuse feed.ndjson --out tracks --sources no-level.toml": "classification",
    "fuse feed.ndjson --out tracks --sources not.toml": "not.toml: not TOML",
    "fuse feed.ndjson --out tracks --config absent.toml": "absent.toml: No such file",
    "fuse feed.ndjson --out tracks --config bad-config.toml": "bad-config.toml",
    "fuse feed.ndjson --out tracks --config bad-value.toml": "confirm",
    "fuse feed.ndjson --out tracks --config not.toml": "not.toml",
    "looks absent --out l": "absent: No such file",
    "looks odd --out l": "odd: no known format",
    "looks feed.ndjson --out feed.ndjson": "this is an input",
    "looks feed.ndjson --out folder": "--out folder",
    "simulate absent.toml --out made": "absent.toml: No such file",
    "simulate bad-config.toml --out made": "bad-config.toml",
    "simulate not.toml --out made": "not.toml",
    "evaluate --truth absent --tracks feed.ndjson": "absent: No such file",
    "evaluate --truth feed.ndjson --tracks feed.ndjson": "feed.ndjson",
    "evaluate --truth folder --tracks feed.ndjson": "folder",
    "evaluate --tracks feed.ndjson": "--truth",
    "guess": "guess",
    "--guess": "--guess",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_command_lines(folder: Path, capfd: pytest.CaptureFixture[str], words: str) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert run(words.split()) == 2
    assert WRONG[words] in one_line(capfd)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_an_older_output_is_kept_when_nothing_can_be_done(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "tracks").write_text("precious\n")
    for words in ("odd", "feed.ndjson --resume odd", "feed.ndjson --picture absent/p"):
        assert run(["fuse", *words.split(), "--out", "tracks"]) == 2
    assert (folder / "tracks").read_text() == "precious\n"
    capfd.readouterr()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("option", ["--out", "--picture", "--deadletter", "--summary"])
def test_a_full_disk(folder: Path, capfd: pytest.CaptureFixture[str], option: str) -> None:
    words = [*FUSE, "--sources", "sources.toml", "--picture", "p", option, str(FULL)]
    assert run(words) == 1
    assert "/dev/full: No space left on device" in one_line(capfd)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_keeps_what_else_was_good(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        run([*FUSE, "--sources", "sources.toml", "--summary", "s", "--save", "state", "--deadletter", str(FULL)]) == 1
    )
    # No state: it would know of updates that were not written.
    assert not (folder / "state").exists()
    assert (folder / "s").read_bytes().startswith(b"{")
    assert run(["looks", "feed.ndjson", "--out", str(FULL)]) == 1
    capfd.readouterr()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_at_the_end(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A compressed file is written when it is closed."""
    (folder / "full.gz").symlink_to(FULL)
    for option in ("--out", "--picture", "--deadletter"):
        assert run([*FUSE, "--sources", "sources.toml", "--save", "state", option, "full.gz"]) == 1
        assert "full.gz: No space left on device" in one_line(capfd)
        assert not (folder / "state").exists()


def test_a_truncated_archive(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    packed = gzip.compress(b"".join(lines(feed())), mtime=0)
    (folder / "cut.gz").write_bytes(packed[: len(packed) * 2 // 3])
    assert run(["fuse", "cut.gz", "--out", "tracks", "--sources", "sources.toml", "--summary", "s"]) == 1
    assert "cut.gz: " in one_line(capfd)
    tracks = (folder / "tracks").read_bytes()
    assert tracks.count(b"\n") > 3
    assert run(["fuse", "feed.ndjson", "--out", "whole", "--sources", "sources.toml"]) == 0
    whole = (folder / "whole").read_bytes().splitlines()
    assert whole[: tracks.count(b"\n") // 2] == tracks.splitlines()[: tracks.count(b"\n") // 2]
    assert run(["looks", "cut.gz", "--out", "looks"]) == 1
    assert (folder / "looks").read_bytes().count(b"\n") > 3


def test_one_bad_input_does_not_stop_the_others(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    packed = gzip.compress(b"".join(lines(feed()[:9])), mtime=0)
    (folder / "cut.gz").write_bytes(packed[:-20])
    assert run(["fuse", "cut.gz", "feed.ndjson", "--out", "tracks", "--sources", "sources.toml"]) == 1
    one_line(capfd)
    assert run(["fuse", "feed.ndjson", "--out", "whole", "--sources", "sources.toml"]) == 0
    assert (folder / "tracks").read_bytes().count(b"\n") >= (folder / "whole").read_bytes().count(b"\n")


def test_names_that_are_no_text(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["fuse", "no\udcffname", "--out", "tracks"]) == 2
    assert "No such file" in one_line(capfd)


def test_names_that_are_no_text_are_written_as_text(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"feed\xff")
    (folder / name).write_bytes(b"".join(lines(feed())) + b"not json\n")
    words = ["fuse", name, "--out", "tracks", "--sources", "sources.toml", "--summary", "s", "--deadletter", "d"]
    assert run([*words, "--save", "state"]) == 0
    assert json.loads((folder / "s").read_bytes())["inputs"][0]["name"] == "feed\\xff"
    assert json.loads((folder / "d").read_bytes().splitlines()[-1])["file"] == "feed\\xff"
    assert run([*words, "--resume", "state"]) == 0
    capfd.readouterr()


def test_nobody_reads_on(folder: Path) -> None:
    """A broken pipe: status 1, and not a word."""
    write(folder / "long.ndjson", lines(feed()) * 3)
    command = [
        sys.executable,
        "-m",
        "apss_fusion.cli",
        "fuse",
        "long.ndjson",
        "--sources",
        "sources.toml",
        "--out",
        "-",
    ]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1
