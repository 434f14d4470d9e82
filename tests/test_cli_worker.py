"""`apss-fusion worker`: what is wrong is told in one line, before any record is read; else it runs until it is stopped."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka_tools import fresh_prefix, wait_until

from apss_fusion.cli import run
from apss_fusion.streaming import clients, supervisor
from apss_fusion.streaming.settings import Settings, read_settings
from apss_fusion.streaming.topic_admin import apply_topics

#: What a command that fails may take.
MOST_S = 15.0
REST = "[regions.rest]\npartition = 0\nrest = true\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of its own, and none of our variables."""
    for name in [name for name in os.environ if name.startswith("APSS_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    # What is not refused must not run here.
    monkeypatch.setattr(supervisor, "supervise", lambda settings, once: 99)


def refused(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that `worker` says, with exit status 2, soon."""
    capfd.readouterr()
    began_s = time.monotonic()
    assert run(["worker", *words]) == 2
    assert time.monotonic() - began_s < MOST_S
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("apss-fusion: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    return err


# ---------------------------------------------------------------------------------------- without a broker


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bootstrap", "here"], "bootstrap 'here': not HOST:PORT"),
        (["--bootstrap", ""], "bootstrap '': not HOST:PORT"),
        (["--config", "none.toml"], "none.toml: No such file or directory"),
        (["--config", "."], ".: Is a directory"),
        (["--twice"], "--twice"),
        (["feed.csv"], "feed.csv"),
        (["--bootstrap"], "--bootstrap"),
    ],
)
def test_a_wrong_command_line(capfd: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert message in refused(capfd, *words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[worker\n", "deployment.toml: "),
        ("[worker]\nport = 7\n", "deployment.toml: Object contains unknown field `port` - at `$.worker`"),
        ("[worker]\nmost_records = 0\n", "deployment.toml: Expected `int` >= 1 - at `$.worker.most_records`"),
        ("formats = ['ais']\n", "formats: there is no 'ais'"),
        ("[engine]\nlag = 7\n", "engine: "),
        ("sources = 'sources.toml'\n", "sources.toml: No such file or directory"),
        ("sources = 'bad.toml'\n", "bad.toml"),
        ("regions = 'bad.toml'\n", "bad.toml: a and b overlap: cell 81083ffffffffff lies in 8009fffffffffff"),
        ("[kafka]\nsecurity_protocol = 'SASL_SSL'\n", "kafka.sasl_mechanism: missing"),
        ("[kafka]\nsasl_plain_password = 'x'\n", "kafka.sasl_plain_password: of no use"),
        ("[kafka]\nsecurity_protocol = 'SSL'\nssl_cafile = 'none.pem'\n", "kafka.ssl_cafile: none.pem"),
    ],
)
def test_wrong_settings(capfd: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.toml").write_text(
        REST
        + "[regions.a]\npartition = 1\ncells = ['81083ffffffffff']\n[regions.b]\npartition = 2\ncells = ['8009fffffffffff']\n"
    )
    (tmp_path / "deployment.toml").write_text(f'bootstrap = "127.0.0.1:1"\n{text}')
    assert message in refused(capfd, "--config", "deployment.toml")


def test_a_wrong_variable(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APSS_WORKER_HTTP_PORT", "none")
    assert "APSS_WORKER_HTTP_PORT: Expected `int" in refused(capfd)


@pytest.fixture
def listening() -> Iterator[Callable[[bytes | None], str]]:
    """Make servers that are no brokers: they take connections and answer with these bytes, None: with nothing."""
    servers: list[socket.socket] = []

    def serve(server: socket.socket, answer: bytes | None) -> None:
        held = []
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            held.append(connection)
            if answer is not None:
                connection.sendall(answer)
                connection.close()

    def make(answer: bytes | None) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=serve, args=(server, answer), daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    yield make
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "CONNECT_TIMEOUT_S", 1.0)


def test_a_cluster_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    line = refused(capfd, "--bootstrap", address)
    assert f"cluster {address}: no answer within 5 s: Connection refused" in line


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_no_broker(
    capfd: pytest.CaptureFixture[str], listening: Callable[[bytes | None], str], answer: bytes | None
) -> None:
    address = listening(answer)
    assert f"cluster {address}: no answer within 1 s" in refused(capfd, "--bootstrap", address)


@pytest.mark.usefixtures("impatient")
def test_a_host_that_nobody_knows(capfd: pytest.CaptureFixture[str]) -> None:
    assert "cluster nobody.invalid:9092: " in refused(capfd, "--bootstrap", "nobody.invalid:9092")


# ---------------------------------------------------------------------------------------- with a broker


@pytest.fixture
def deployed(kafka: str, tmp_path: Path) -> Settings:
    """Settings of a small deployment, whose topics are there."""
    text = f"""
        bootstrap = "{kafka}"
        formats = ["looks"]
        regions = "regions.toml"
        [topics]
        prefix = "{fresh_prefix()}"
        feed_partitions = 2
        [worker]
        http_port = 0
        stop_s = 20
    """
    (tmp_path / "deployment.toml").write_text(text)
    (tmp_path / "regions.toml").write_text(REST + "[regions.north]\npartition = 1\ncells = ['8009fffffffffff']\n")
    settings = read_settings("deployment.toml", {})
    assert apply_topics(settings, 2, lambda line: None) == []
    return settings


@pytest.fixture
def admin(kafka: str) -> Iterator[KafkaAdminClient]:
    client = KafkaAdminClient(bootstrap_servers=kafka)
    yield client
    client.close()


def add_partitions(admin: KafkaAdminClient, topic: str, count: int) -> None:
    """Have so many partitions, and wait until the broker says so."""
    admin.create_partitions({topic: count})
    wait_until(lambda: len(admin.describe_topics([topic])[0]["partitions"]) == count, 30, "the partitions")


def test_topics_that_are_missing(capfd: pytest.CaptureFixture[str], deployed: Settings) -> None:
    line = refused(capfd, "--bootstrap", deployed.bootstrap)
    # Without a prefix, and so of another deployment.
    assert "missing; `apss-fusion topics apply` makes it (and " in line


def test_one_topic_is_missing(capfd: pytest.CaptureFixture[str], deployed: Settings, admin: KafkaAdminClient) -> None:
    admin.delete_topics([deployed.topic("tracks")])
    wait_until(lambda: deployed.topic("tracks") not in admin.list_topics(), 30, "the end of the topic")
    line = refused(capfd, "--config", "deployment.toml")
    assert line == (f"apss-fusion: topic {deployed.topic('tracks')}: missing; `apss-fusion topics apply` makes it\n")


def test_too_few_partitions(capfd: pytest.CaptureFixture[str], deployed: Settings, tmp_path: Path) -> None:
    (tmp_path / "regions.toml").write_text(
        (tmp_path / "regions.toml").read_text() + "[regions.far]\npartition = 2\ncells = ['8013fffffffffff']\n"
    )
    line = refused(capfd, "--config", "deployment.toml")
    assert ": 2 partitions, needs 3; `apss-fusion topics apply` adds them (and 2 more; " in line
    assert f"topic {deployed.topic('')}" in line


def test_regions_whose_topics_differ(
    capfd: pytest.CaptureFixture[str], deployed: Settings, admin: KafkaAdminClient
) -> None:
    add_partitions(admin, deployed.topic("looks"), 5)
    line = refused(capfd, "--config", "deployment.toml")
    assert "topics of regions must have the same number of partitions: " in line
    assert "looks has 5" in line


def test_decoders_whose_state_has_no_place(
    capfd: pytest.CaptureFixture[str], deployed: Settings, admin: KafkaAdminClient
) -> None:
    add_partitions(admin, deployed.topic("feeds.looks"), 5)
    line = refused(capfd, "--config", "deployment.toml")
    assert "feeds.looks: 5 partitions, but decode-changelog has 2" in line


@pytest.mark.parametrize(
    ("name", "policy", "message"),
    [
        ("looks", "compact", "cleanup.policy = compact, must not be compacted: records would be lost"),
        ("feeds.looks", "compact,delete", "must not be compacted: records would be lost"),
        ("deadletters", "compact", "must not be compacted"),
        ("fuse-changelog", "delete", "cleanup.policy = delete, must be compact: its state would be lost"),
        ("decode-changelog", "compact,delete", "must be compact: its state would be lost"),
        ("tracks", "delete", "must be compact"),
    ],
)
def test_a_topic_that_is_cleaned_up_as_it_must_not_be(
    capfd: pytest.CaptureFixture[str],
    deployed: Settings,
    admin: KafkaAdminClient,
    name: str,
    policy: str,
    message: str,
) -> None:
    full = deployed.topic(name)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, full, {"cleanup.policy": policy})])

    def applied() -> bool:
        found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, full)], config_filter="all")
        return {word.strip() for word in found["topic"][full]["cleanup.policy"]["value"].split(",")} == set(
            policy.split(",")
        )

    wait_until(applied, 30, "the configuration")
    line = refused(capfd, "--config", "deployment.toml")
    assert line.startswith(f"apss-fusion: topic {full}: cleanup.policy = ")
    assert message in line


@pytest.mark.usefixtures("impatient")
def test_credentials_that_the_broker_does_not_ask_for(capfd: pytest.CaptureFixture[str], deployed: Settings) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "SASL_MECHANISM": "PLAIN",
            "SASL_PLAIN_USERNAME": "ann",
            "SASL_PLAIN_PASSWORD": "sesame",
        }.items():
            patch.setenv(f"APSS_KAFKA_{name}", value)
        line = refused(capfd, "--config", "deployment.toml")
        assert f"cluster {deployed.bootstrap}: " in line
        assert "sesame" not in line
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APSS_KAFKA_SECURITY_PROTOCOL", "SSL")
        assert f"cluster {deployed.bootstrap}: " in refused(capfd, "--config", "deployment.toml")


# ---------------------------------------------------------------------------------------- a worker that runs


class Worker:
    """A worker of its own, which tells of itself in JSON and over HTTP."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.log = folder / "log"
        environment = {
            **os.environ,
            "APSS_WORKER_LOG_FORMAT": "json",
            "APSS_WORKER_HTTP_PORT": str(self.port),
        }
        words = [sys.executable, "-m", "apss_fusion.cli", "worker", "--config", str(folder / "deployment.toml")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=log)  # noqa: S603

    def answer(self, page: str) -> tuple[int, str] | None:
        """Status and text of a page; None where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=10) as got:
                return got.status, got.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return None

    def wait_ready(self) -> None:
        wait_until(lambda: self.answer("readyz") == (200, "ok\n"), 60, f"a worker that is ready: {self.messages()}")

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.log.read_text().splitlines()]


@pytest.fixture
def worker(deployed: Settings, tmp_path: Path) -> Iterator[Worker]:
    made = Worker(tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def test_a_worker_tells_of_itself_and_does_not_outlive_its_supervisor(worker: Worker, deployed: Settings) -> None:
    worker.wait_ready()
    assert worker.answer("healthz") == (200, "ok\n")
    status, text = worker.answer("metrics") or (0, "")
    assert status == 200
    assert f'apss_assigned_partitions{{topic="{deployed.topic("looks")}"}} 2.0' in text
    assert f'apss_assigned_partitions{{topic="{deployed.topic("feeds.looks")}"}} 2.0' in text
    assert any(message.startswith("has 4 partitions, ") for message in worker.messages())
    worker.process.kill()
    worker.process.wait()
    wait_until(lambda: worker.answer("healthz") is None, 30, "the end of the worker's process")
