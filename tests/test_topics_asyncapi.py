"""The AsyncAPI document: in step with the data, accepted by the official parser, which does refuse what is wrong."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from apss_fusion.model.schemas import FILES
from apss_fusion.streaming.asyncapi import document, main, text
from apss_fusion.streaming.topic_data import topics

ROOT = Path(__file__).resolve().parents[1]
PARSER = ROOT / "tests" / "asyncapi"
FOLDER = ROOT / "build" / "asyncapi"

Json = dict[str, Any]


def test_the_document_is_in_step_with_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["--check"]) == 0
    assert (ROOT / "topics" / "asyncapi.json").read_text(encoding="utf-8") == text()


def test_check_says_what_differs_and_writing_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "asyncapi.json"
    assert main(["--check", "--file", str(file)]) == 1
    assert not file.exists()
    assert main(["--file", str(file)]) == 0
    assert main(["--check", "--file", str(file)]) == 0
    file.write_text(file.read_text().replace("tracks", "tracts", 1))
    capsys.readouterr()
    assert main(["--check", "--file", str(file)]) == 1
    assert capsys.readouterr().err == f"{file}: differs from the data; `make asyncapi` writes it anew\n"


def test_every_topic_is_a_channel_that_is_read_or_written() -> None:
    made = document()
    names = [topic.name for topic in topics()]
    assert list(made["channels"]) == names
    assert {o["channel"]["$ref"] for o in made["operations"].values()} == {f"#/channels/{name}" for name in names}
    for topic in topics():
        channel = made["channels"][topic.name]
        assert len(channel["messages"]) == (2 if topic.tombstones else 1)
        binding = channel["bindings"]["kafka"]
        configured = binding["topicConfiguration"] | channel["x-configuration"]
        assert set(topic.configs) <= set(configured)
        assert (binding["topicConfiguration"]["cleanup.policy"] == ["compact"]) == topic.compacted


def test_examples_are_valid_by_the_schemas_of_the_document() -> None:
    """Draft 7, in which AsyncAPI takes them, says of the examples what the newer draft says."""
    made = document()
    whole = {"components": made["components"]}
    tried = 0
    for message in made["components"]["messages"].values():
        for example in message.get("examples", []):
            Draft7Validator({**whole, "allOf": [message["payload"]]}).validate(example["payload"])
            if "headers" in message:
                Draft7Validator(message["headers"]).validate(example["headers"])
            tried += 1
    assert tried >= 5


def test_a_tuple_is_one_in_draft_7_too() -> None:
    made = document()
    schema = {"components": made["components"], "$ref": "#/components/schemas/TrackUpdate"}
    examples = made["components"]["messages"]["tracks"]["examples"]
    validator = Draft7Validator(schema)
    for covariance in (["x"] * 10, [1.0] * 9, [1.0] * 11):
        assert not validator.is_valid({**examples[0]["payload"], "cov_enu": covariance})
    assert validator.is_valid({**examples[0]["payload"], "cov_enu": [1.0] * 10})


def test_all_schemas_of_values_are_in_it() -> None:
    needed = {FILES[topic.schema].__name__ for topic in topics() if topic.schema is not None}
    assert needed <= set(document()["components"]["schemas"])
    assert "$defs" not in text()


# --- the official parser ---


@pytest.fixture(scope="module")
def parser() -> list[str]:
    """The command that parses documents; its packages are installed the first time, in the versions of the lock."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs Node.js with npm, for the official parser of AsyncAPI")
    lock = PARSER / "package-lock.json"
    installed = FOLDER / "installed.json"
    if not installed.is_file() or installed.read_bytes() != lock.read_bytes():
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PARSER / name, FOLDER / name)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            pytest.skip(f"npm cannot install the parser of AsyncAPI: {done.stderr.strip().splitlines()[:1]}")
        shutil.copy(lock, installed)
    return [node, str(PARSER / "parse.cjs")]


def parse(parser: list[str], *paths: Path) -> list[Json]:
    done = subprocess.run(  # noqa: S603
        [*parser, *map(str, paths)], cwd=FOLDER, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_official_parser_accepts_the_document(parser: list[str]) -> None:
    (said,) = parse(parser, ROOT / "topics" / "asyncapi.json")
    assert said["said"] == []
    assert said["version"] == "3.1.0"
    assert said["channels"] == [topic.name for topic in topics()]


def test_the_official_parser_refuses_what_is_wrong(parser: list[str], tmp_path: Path) -> None:
    def broken(name: str, *path: str, value: Any) -> Path:
        made: Any = copy.deepcopy(document())
        place = made
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(made))
        return file

    tracks = ("channels", "tracks")
    files = [
        broken("partitions", *tracks, "bindings", "kafka", "partitions", value="many"),
        broken("policy", *tracks, "bindings", "kafka", "topicConfiguration", "cleanup.policy", value=["keep"]),
        broken("reference", *tracks, "messages", "tracks", value={"$ref": "#/components/messages/nothing"}),
        broken("version", "asyncapi", value="3.9.0"),
    ]
    for file, said in zip(files, parse(parser, *files), strict=True):
        assert said["said"], f"{file.name}: the parser has nothing against it"
