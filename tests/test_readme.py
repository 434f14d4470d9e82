"""What README.md and docs/ say is run: commands, examples, tables, links."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

import apss_fusion.feeds
from apss_fusion.cli import run
from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.reading import FeedReader
from apss_fusion.feeds.registry import decoders
from apss_fusion.model import Detection, Look, Source, TrackUpdate
from apss_fusion.tracking.config import Config
from apss_fusion.tracking.register import load_sources

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
MAX_IMAGE_BYTES = 150_000


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)


def sessions() -> list[tuple[str, str]]:
    """(command, what it prints) of all console blocks of the README."""
    return [
        (command.removeprefix("$ "), output.rstrip("\n"))
        for command, _, output in (block.partition("\n") for block in blocks(README, "console"))
    ]


def ran(command: str) -> tuple[int, str]:
    """Exit status of a command line, and what it writes to both streams."""
    program, *arguments = command.split()
    assert program == "apss-fusion"
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        status = run(arguments)
    return status, out.getvalue().rstrip("\n")


def shape(text: str) -> list[str]:
    """Lines without their numbers and widths."""
    return [" ".join(re.sub(r"\d[\d,.]*", "0", line).split()) for line in text.splitlines()]


def executed(code: str, names: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """What a Python example prints, and the names that it leaves."""
    names = {"__name__": "example"} if names is None else names
    out = io.StringIO()
    with redirect_stdout(out):
        exec(compile(code, "example", "exec"), names)  # noqa: S102
    return out.getvalue(), names


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scenario of the README, simulated into `made`."""
    folder = tmp_path_factory.mktemp("readme")
    (scenario,) = blocks(README, "toml")
    (folder / "scenario.toml").write_text(scenario, encoding="utf-8")
    with chdir(folder):
        assert ran("apss-fusion simulate scenario.toml --out made")[0] == 0
    return folder


# --- README ---


def test_the_commands_of_the_readme_print_what_it_says(workplace: Path) -> None:
    with chdir(workplace):
        for command, printed in sessions():
            status, output = ran(command)
            assert status == (2 if "nothing.csv" in command else 0), command
            assert shape(output) == shape(printed), command
    commands = {command.split()[1] for command, _ in sessions()}
    assert {"simulate", "fuse", "evaluate", "looks", "formats"} <= commands


def test_the_formats_are_listed_to_the_letter() -> None:
    (printed,) = [printed for command, printed in sessions() if command == "apss-fusion formats"]
    assert ran("apss-fusion formats") == (0, printed)


def test_the_python_example_fuses_a_file(workplace: Path) -> None:
    (code,) = blocks(README, "python")
    with chdir(workplace):
        printed, names = executed(code)
    lines = printed.splitlines()
    assert re.fullmatch(r"\d+ updates; \{'TENTATIVE': \d+, 'CONFIRMED': \d+, 'COASTING': \d+\}", lines[0])
    assert len(lines) == 4
    assert len(names["updates"]) > 100


def test_every_field_of_a_track_update_is_explained() -> None:
    table = README.partition("## What a track update means")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    explained = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(explained) == sorted(TrackUpdate.__struct_fields__)


def test_the_make_targets_that_are_named_are_there() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    named = [name for path in PAGES for name in re.findall(r"\bmake ([a-z-]+)[`\s]", path.read_text(encoding="utf-8"))]
    code = re.findall(r"(?:`|^    )make ([a-z-]+)", "\n".join(path.read_text(encoding="utf-8") for path in PAGES), re.M)
    assert set(code) <= set(targets)
    assert {"demo", "test", "help"} <= set(named)


# --- links and pictures ---


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert "://" not in target, target
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.M)
            assert anchor in map(slug, headings), target


def test_every_page_is_in_the_index_and_every_picture_is_shown_and_small() -> None:
    index = page("README.md")
    assert [p.name for p in sorted(DOCS.glob("*.md")) if p.name != "README.md" and f"]({p.name})" not in index] == []
    everything = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    for picture in sorted(DOCS.rglob("*.png")):
        assert f"images/{picture.name})" in everything
        assert picture.stat().st_size <= MAX_IMAGE_BYTES


# --- docs/add-a-feed.md ---


@pytest.fixture
def harbour_camera(tmp_path: Path) -> Iterator[Path]:
    """The folder of the module of the page, which is one more place where formats are looked for."""
    (code,) = blocks(page("add-a-feed.md"), "python")
    folder = tmp_path / "more_feeds"
    folder.mkdir()
    (folder / "harbour_camera.py").write_text(code, encoding="utf-8")
    apss_fusion.feeds.__path__.append(str(folder))
    importlib.invalidate_caches()
    decoders.cache_clear()
    yield tmp_path
    apss_fusion.feeds.__path__.remove(str(folder))
    sys.modules.pop("apss_fusion.feeds.harbour_camera", None)
    vars(apss_fusion.feeds).pop("harbour_camera", None)
    decoders.cache_clear()


def test_the_example_decoder_is_found_and_fused(harbour_camera: Path) -> None:
    (good,) = blocks(page("add-a-feed.md"), "json")
    bad = ['{"camera_frame": "f3"', '{"camera_frame": "f4", "at": 5}', good.splitlines()[0].replace("51.95", "91")]
    feed = harbour_camera / "camera.ndjson"
    feed.write_text("\n".join([good, *bad]), encoding="utf-8")
    reader = FeedReader(feed)
    items = list(reader.items())
    looks = [item for item in items if isinstance(item, Look)]
    rejects = [item for item in items if isinstance(item, Reject)]
    assert [(look.look_id, len(look.detections)) for look in looks] == [
        ("harbour-camera/f1", 1),
        ("harbour-camera/f2", 0),
    ]
    assert looks[0].detections[0] == Detection(
        detection_id="harbour-camera/f1/51.95/4.05", lat=51.95, lon=4.05, length_m=12.5, domain="SEA"
    )
    assert looks[0].footprint is not None
    assert [reject.line for reject in rejects] == [4, 5, 6]
    assert reader.records_in == 5
    assert reader.dead_letters == 3

    assert "harbour-camera" in ran("apss-fusion formats")[1]
    with chdir(harbour_camera):
        status, output = ran(f"apss-fusion fuse {feed} --out tracks.ndjson --tentative --deadletter bad.ndjson")
        assert status == 0, output
        updates = [msgspec.json.decode(line) for line in Path("tracks.ndjson").read_bytes().splitlines()]
        assert len(Path("bad.ndjson").read_bytes().splitlines()) == 3
    assert {update["contributors"][0]["source_id"] for update in updates} == {"harbour-camera"}


def test_the_example_decoder_leaves_no_trace() -> None:
    assert "harbour-camera" not in {decoder.name for decoder in decoders()}


# --- docs/add-an-output.md and docs/add-a-motion-model.md ---


def test_the_example_output_writes_confirmed_positions(workplace: Path) -> None:
    writer, use = blocks(page("add-an-output.md"), "python")
    with chdir(workplace):
        _, names = executed(writer)
        executed(use, names)
        head, *rows = Path("positions.csv").read_text(encoding="utf-8").splitlines()
    assert head == "track_id,time,lat,lon,semi_major_m"
    assert len(rows) > 100
    assert all(36.0 < float(row.split(",")[2]) < 40.0 for row in rows)


def test_the_example_motion_shows_less_growth() -> None:
    (toml,) = blocks(page("add-a-motion-model.md"), "toml")
    (code,) = blocks(page("add-a-motion-model.md"), "python")
    assert Config.of(msgspec.toml.decode(toml)).domain["SEA"].q == 0.001
    printed, _ = executed(code)
    sigmas = [float(line.split()[3]) for line in printed.splitlines()]
    assert len(sigmas) == 6
    assert sigmas == [*sorted(sigmas[:3]), *sorted(sigmas[3:])]
    assert all(calm < usual for usual, calm in zip(sigmas[:3], sigmas[3:], strict=True))


# --- docs/configuration.md ---


def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_configuration", DOCS / "make_configuration.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_configuration_are_in_step() -> None:
    text = page("configuration.md")
    assert tables().page(text) == text, "run: python docs/make_configuration.py"


def keys(values: object) -> Iterator[str]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield key
            yield from keys(value)


def test_every_key_is_mentioned() -> None:
    text = page("configuration.md")
    words = set(re.findall(r"[A-Za-z]\w*", " ".join(re.findall(r"`[^`\n]+`|^\| [A-Z]+ \|", text, re.M))))
    for package, name in (("tracking", "defaults.toml"), ("model", "source_defaults.toml")):
        values = msgspec.toml.decode((ROOT / "apss_fusion" / package / name).read_text(encoding="utf-8"))
        assert set(keys(values)) - words == set()
    assert {*Config.__struct_fields__, *Source.__struct_fields__} - words == set()


def test_the_examples_of_the_configuration_load(tmp_path: Path) -> None:
    engine, register = blocks(page("configuration.md"), "toml")
    (tmp_path / "engine.toml").write_text(engine, encoding="utf-8")
    (tmp_path / "register.toml").write_text(register, encoding="utf-8")
    config = Config.read(tmp_path / "engine.toml")
    assert (config.lag_s, config.tracking.confirm, config.domain["SEA"].q) == (600, 0.95, 0.005)
    assert load_sources(tmp_path / "register.toml")["osprey-1"].releasable_to == ("LUX", "NOR", "FIN")
