"""The image, the compose file and the runtime lock say what they must. That they work, `make compose-check` tries."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from apss_fusion.cli import run
from apss_fusion.streaming.settings import read_settings
from deploy.kafka import VERSION

ROOT = Path(__file__).resolve().parents[1]
ONE_SHOT = {"topics", "demo", "replay"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# --- the compose file ---


def yaml(lines: list[str]) -> dict[str, Any]:
    """A file of nested mappings. Lists and mappings in one line, anchors and merges are taken as they are needed here."""
    read: dict[str, Any] = {}
    anchors: dict[str, dict[str, Any]] = {}
    open_at: list[tuple[int, dict[str, Any]]] = [(-1, read)]
    for line in lines:
        if not line.strip() or line.strip().startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        name, colon, value = line.strip().partition(":")
        assert colon, line
        value = value.strip()
        while open_at[-1][0] >= indent:
            open_at.pop()
        inner = open_at[-1][1]
        assert name not in inner, f"twice: {name}"
        if name == "<<":
            inner.update(anchors[value.removeprefix("*")])
        elif not value or value.startswith("&"):
            inner[name] = {}
            if value:
                anchors[value.removeprefix("&")] = inner[name]
            open_at.append((indent, inner[name]))
        elif value.startswith("["):
            inner[name] = json.loads(value)
        elif value.startswith("{"):
            pairs = re.findall(r'(\w+): ("[^"]*"|[^,}]+)', value)
            inner[name] = {key: found.strip('"') for key, found in pairs}
        else:
            inner[name] = value.strip('"')
    return read


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services = yaml(text("docker-compose.kafka.yml").splitlines())["services"]
    assert isinstance(services, dict)
    return services


def test_the_broker_is_the_one_that_tests_use_and_makes_no_topics(services: dict[str, Any]) -> None:
    kafka = services["kafka"]
    assert kafka["image"] == f"apache/kafka:{VERSION}"
    assert "healthcheck" in kafka
    environment = kafka["environment"]
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS"] == "0"
    assert {value for name, value in environment.items() if name.endswith(("REPLICATION_FACTOR", "MIN_ISR"))} == {"1"}
    # A random cluster's name of 22 letters, as Kafka wants it.
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", environment["CLUSTER_ID"])


def test_the_broker_is_found_from_containers_and_from_this_computer_alone(services: dict[str, Any]) -> None:
    environment = services["kafka"]["environment"]

    def listeners(name: str) -> dict[str, str]:
        return dict(re.findall(r"(\w+)://([^,]*)", environment[name]))

    port = "${KAFKA_PORT:-9092}"
    assert listeners("KAFKA_ADVERTISED_LISTENERS") == {
        "PLAINTEXT": "kafka:19092",
        "PLAINTEXT_HOST": f"localhost:{port}",
    }
    assert listeners("KAFKA_LISTENERS") == {"CONTROLLER": ":29093", "PLAINTEXT": ":19092", "PLAINTEXT_HOST": ":9092"}
    protocols = dict(re.findall(r"(\w+):(\w+)", environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"]))
    assert set(protocols) == set(listeners("KAFKA_LISTENERS"))
    assert services["kafka"]["ports"] == [f"127.0.0.1:{port}:9092"]


def test_one_thing_waits_for_another(services: dict[str, Any]) -> None:
    waits = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    done = "service_completed_successfully"
    assert waits == {
        "kafka": {},
        "demo": {},
        "topics": {"kafka": "service_healthy"},
        "worker": {"topics": done, "demo": done},
        "replay": {"topics": done, "demo": done},
    }


def test_workers_can_be_many(services: dict[str, Any]) -> None:
    assert services["worker"]["ports"] == ["127.0.0.1::8080"]
    assert not any("container_name" in service for service in services.values())
    assert "healthcheck" not in services["worker"], "that of the image"
    # What ends by itself is not asked for its health.
    assert {name for name, service in services.items() if service.get("healthcheck") == {"disable": "true"}} == ONE_SHOT


def test_the_commands_are_those_of_the_program(services: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    for name in {*ONE_SHOT, "worker"}:
        words = services[name]["command"]
        options = [word for word in words if word.startswith("--")]
        named = words[: words.index(options[0])] if options else words
        assert run([*named, "--help"]) == 0, words
        told = capsys.readouterr().out
        assert [option for option in options if option not in told] == []


def test_the_settings_are_settings(services: dict[str, Any]) -> None:
    for name in {*ONE_SHOT, "worker"}:
        settings = read_settings(None, services[name].get("environment", {}))
        assert name == "demo" or settings.bootstrap == "kafka:19092"
    assert services["worker"]["environment"]["APSS_SOURCES"] == "/data/sources.toml"
    assert services["demo"]["command"][-1] == "/data"
    assert services["replay"]["command"][-1] == "/data/looks.ndjson"


# --- the image ---


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """(word, the rest) of each instruction of the Dockerfile."""
    lines = [line for line in text("Dockerfile").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def rest_of(instructions: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for found, rest in instructions if found == word]


def test_the_image_is_locked_and_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    assert rest_of(instructions, "FROM") == ["python:3.11-slim"]
    installs = [run for run in rest_of(instructions, "RUN") if "pip install" in run]
    assert all("--require-hashes" in run or "--no-deps --no-build-isolation" in run for run in installs)
    assert rest_of(instructions, "USER") == ["apss"]
    words = [word for word, _ in instructions]
    # The kernels are compiled by the user that runs them.
    warm = instructions.index(("RUN", "python -m apss_fusion.warm"))
    assert words.index("USER") < warm < words.index("ENTRYPOINT")
    assert rest_of(instructions, "ENTRYPOINT") == ['["apss-fusion"]']


def test_the_image_is_asked_for_its_health_where_a_worker_answers(
    instructions: list[tuple[str, str]], services: dict[str, Any]
) -> None:
    environment = dict(re.findall(r"(APSS_\w+)=(\S+)", " ".join(rest_of(instructions, "ENV"))))
    worker = read_settings(None, environment).worker
    assert (worker.http_host, worker.http_port) == ("0.0.0.0", 8080)  # noqa: S104
    assert rest_of(instructions, "EXPOSE") == ["8080"]
    (health,) = rest_of(instructions, "HEALTHCHECK")
    command = json.loads(health[health.index("CMD") + 3 :])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "health check", "exec")
    assert "environ['APSS_WORKER_HTTP_PORT'] + '/healthz'" in command[2]
    assert services["worker"]["ports"][0].endswith(":8080")


def test_what_the_image_takes_is_let_through(instructions: list[tuple[str, str]]) -> None:
    ignored = [line for line in text(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert ignored[0] == "*"
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    taken = {name for copy in rest_of(instructions, "COPY") for name in copy.split()[:-1]}
    assert taken == let_through
    assert [name for name in taken if not (ROOT / name).exists()] == []


# --- what is locked ---


def locked(name: str) -> dict[str, Version]:
    found = re.findall(r"^(\S+)==(\S+)", text(name), re.M)
    return {canonicalize_name(package): Version(version) for package, version in found}


def test_the_runtime_lock_is_in_step() -> None:
    whole = text("requirements-runtime.lock")
    for block in re.split(r"\n(?=[a-z])", whole):
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n?)+", block), block[:80]
    runtime, everything = locked("requirements-runtime.lock"), locked("requirements.lock")
    assert {name: version for name, version in runtime.items() if everything.get(name) != version} == {}
    project = tomllib.loads(text("pyproject.toml"))
    needed = [Requirement(line) for line in project["project"]["dependencies"] + project["build-system"]["requires"]]
    for requirement in needed:
        assert runtime[canonicalize_name(requirement.name)] in requirement.specifier, f"{requirement}: make lock"
    assert not {"mypy", "pytest", "ruff", "pyarrow"} & set(runtime)


def test_the_jars_are_of_the_version_that_is_named() -> None:
    name = "{http://maven.apache.org/POM/4.0.0}"
    tree = ElementTree.fromstring(text("deploy/pom.xml"))  # noqa: S314
    dependencies = tree.iter(f"{name}dependency")
    versions = {d.findtext(f"{name}artifactId"): d.findtext(f"{name}version") for d in dependencies}
    assert versions["kafka_2.13"] == VERSION
