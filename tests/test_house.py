"""How the project is kept: what each room may know, the size of files, the lock, the Makefile, the wheel."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import apss_fusion

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "apss_fusion"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

#: What a room (a folder or a module of the package) may import of the others. `kernels` is open to all but the model.
MAY_IMPORT: dict[str, set[str]] = {
    "kernels": set(),
    "model": set(),
    "geodesy": {"kernels"},
    "estimation": {"geodesy", "kernels"},
    "association": {"estimation", "geodesy", "kernels"},
    "tracking": {"association", "estimation", "geodesy", "kernels", "model"},
    "feeds": {"geodesy", "kernels", "model"},
    "outputs": {"evaluation", "geodesy", "kernels", "model", "tracking"},
    "simulation": {"geodesy", "kernels", "model"},
    "evaluation": {"estimation", "geodesy", "kernels", "model"},
    "smoothing": {"estimation", "evaluation", "geodesy", "kernels", "model", "outputs", "tracking"},
    "replay": {"feeds", "geodesy", "kernels", "model", "outputs", "tracking"},
    "streaming": {
        "association",
        "estimation",
        "feeds",
        "geodesy",
        "kernels",
        "model",
        "outputs",
        "replay",
        "tracking",
    },
}
#: Rooms at the top of the house, which may import any other.
ANY_ROOM = {"__init__", "cli", "warm"}

#: Rooms whose results follow from their input alone: no clock, no chance, no network.
ENGINE_ROOMS = ("model", "geodesy", "estimation", "association", "tracking")
NOT_IN_THE_ENGINE = {"faust", "kafka", "random", "secrets", "socket", "time"}
CALLS_NOT_IN_THE_ENGINE = {"now", "utcnow", "today", "uuid1", "uuid4"}

#: Libraries whose module has another name than what is installed.
DISTRIBUTIONS = {"faust": "faust-streaming", "kafka": "kafka-python"}

#: Outside libraries that a room must do without.
NOT_IN_ROOM = {"estimation": {"h3"}, "association": {"datetime"}}


def python_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> Iterator[str]:
    """The modules that a tree imports, and what is imported from them, dotted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written in full here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def prefixes(name: str) -> set[str]:
    """A dotted name, and the modules that it may be a name of."""
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def names_of(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


# --- rooms ---


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_it_may_know(path: Path) -> None:
    room = room_of(path)
    if room in ANY_ROOM:
        return
    assert room in MAY_IMPORT, f"a new room: say in {Path(__file__).name} what it may import"
    for name in imports_of(parsed(path)):
        top, *rest = name.split(".")
        if top == "apss_fusion":
            assert rest[0] in MAY_IMPORT[room] | {room}, f"{room} may not know {name}"
        assert top not in NOT_IN_ROOM.get(room, ()), f"{room} does without {top}"


@pytest.mark.parametrize("room", ENGINE_ROOMS)
def test_the_engine_knows_no_clock_and_no_chance(room: str) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        tree = parsed(path)
        for name in imports_of(tree):
            assert name.split(".")[0] not in NOT_IN_THE_ENGINE, f"{path.name}: {name}"
            assert name.rpartition(".")[2] not in CALLS_NOT_IN_THE_ENGINE, f"{path.name}: {name}"
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = node.func.attr
                assert called not in CALLS_NOT_IN_THE_ENGINE, f"{path.name}:{node.lineno}: {called}"
                assert called != "default_rng" or node.args, f"{path.name}:{node.lineno}: no seed"


def test_every_import_is_a_declared_dependency() -> None:
    """An extra's library only in modules that are themselves imported where they are needed, within a function."""
    extra = {name for extra in ("archive", "plot") for name in names_of(PROJECT["optional-dependencies"][extra])}
    known = names_of(PROJECT["dependencies"]) | extra | set(sys.stdlib_module_names) | {"apss-fusion"}
    at_top: dict[str, set[str]] = {}
    for path in python_files():
        tree = parsed(path)
        for name in imports_of(tree):
            top = name.split(".")[0]
            distribution = canonicalize_name(DISTRIBUTIONS.get(top, top))
            assert top in known or distribution in known, f"{path}: {name}"
        statements: list[ast.stmt] = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        at_top[module_of(path)] = set(imports_of(ast.Module(statements, [])))

    need_extra: set[str] = set()
    while more := {
        module
        for module, names in at_top.items()
        if module not in need_extra
        and any(canonicalize_name(name.split(".")[0]) in extra or need_extra & prefixes(name) for name in names)
    }:
        need_extra |= more
    entrances = {module for module, path in zip(at_top, python_files(), strict=True) if path.name == "__init__.py"}
    entrances |= {module for module in at_top if module.split(".")[1:2] in (["cli"], ["warm"], ["feeds"])}
    assert need_extra & entrances == set()


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert {path.name: length for path, length in lengths.items() if length > 400} == {}


def test_code_speaks_of_itself_alone() -> None:
    """No path of some machine, no mark of unfinished work."""
    folders = [PACKAGE, *(ROOT / name for name in ("benchmarks", "docs", "tests", "topics", ".ci"))]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    not_wanted = re.compile(r"/" + r"work/|/" + r"root/|\bTO" + r"DO\b|\bFIX" + r"ME\b")
    for path in files:
        if "__pycache__" in path.parts or path.name == ".git":
            continue
        found = not_wanted.search(path.read_bytes().decode("utf-8", "replace"))
        assert found is None, f"{path}: {found and found[0]}"


# --- documents ---


@pytest.mark.parametrize(
    "path", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]), ids=lambda path: path.name
)
def test_python_examples_compile(path: Path) -> None:
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)):
        compile(code, f"{path.name}, example {number + 1}", "exec")


def test_versions_agree() -> None:
    assert apss_fusion.__version__ == PROJECT["version"]
    assert f"\n## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- building ---


def test_the_lock_names_versions_and_hashes_and_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?:|://|index|find-links|trusted-host|file:| @ ", text, re.I)
    for block in re.split(r"\n(?=[a-z])", text):
        assert re.match(r"[a-z0-9-]+==[0-9a-z.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", block), block[:80]


def test_the_lock_is_in_step_with_the_project() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {canonicalize_name(name): Version(version) for name, version in re.findall(r"^(\S+)==(\S+)", text, re.M)}
    for line in [
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name} is not in the lock: make lock"
        assert locked[name] in requirement.specifier, f"the lock has {name} {locked[name]}, not {requirement.specifier}"


def test_every_make_target_explains_itself() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.M))
    explained = set(re.findall(r"^([a-z][a-z-]*):.* ## \S", text, re.M))
    assert targets == explained == set(re.findall(r"^\.PHONY: (\S+)$", text, re.M))
    assert targets >= {"help", "setup", "demo", "test", "bench", "lint", "format", "lock", "schemas"}
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make")
    # Called from within make: without the outer one's flags.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    listed = subprocess.run([make], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    assert set(re.findall(r"^  make (\S+)", listed.stdout, re.M)) == targets


def test_ci_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").endswith("\nexec make test\n")


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)  # noqa: S603
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    expected |= {f"apss_fusion/{path.relative_to(ROOT)}" for path in (ROOT / "topics").rglob("*") if path.is_file()}
    assert held == expected
    assert "apss_fusion/py.typed" in held
