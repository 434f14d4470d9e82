"""Figures and health of a worker, as they are asked for over HTTP, and its logs."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from streaming_tools import run

from apss_fusion.streaming import http, logs
from apss_fusion.streaming.http import PortError, serve
from apss_fusion.streaming.metrics import _MOST_REASONS, Metrics
from apss_fusion.streaming.settings import Settings, Worker


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """What Prometheus reads: values by name and label values, in the order of the labels' names."""
    text = generate_latest(metrics.registry).decode()
    return {
        (s.name, tuple(value for _, value in sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if not s.name.endswith("_created")
    }


# ---------------------------------------------------------------------------------------- figures


def test_every_figure_says_what_it_is_and_begins_with_our_name() -> None:
    metrics = Metrics()
    metrics.note_look("ais", 1.0)
    text = generate_latest(metrics.registry).decode()
    families = list(text_string_to_metric_families(text))
    assert len(families) >= 15
    assert all(family.name.startswith("apss_") for family in families)
    assert all(family.documentation for family in families)


def test_the_age_of_the_last_look_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    metrics.note_look("sar", 900.0)
    metrics.note_look("ais", 990.0)
    metrics.note_look("sar", 800.0)
    found = samples(metrics)
    assert found["apss_last_look_time_seconds", ("sar",)] == 900.0
    assert found["apss_last_look_age_seconds", ("sar",)] == 100.0
    monkeypatch.setattr(time, "time", lambda: 1007.0)
    assert samples(metrics)["apss_last_look_age_seconds", ("ais",)] == 17.0


def test_dead_letters_are_counted_by_what_stands_in_front_of_the_colon() -> None:
    metrics = Metrics()
    for k in range(2 * _MOST_REASONS):
        metrics.count_dead_letter("looks", f"not JSON: line 1 column {k}")
    assert samples(metrics)["apss_dead_letters_total", ("not JSON", "looks")] == 2 * _MOST_REASONS
    for k in range(2 * _MOST_REASONS):
        metrics.count_dead_letter("looks", f"reason {k}")
    metrics.count_dead_letter("looks", "not JSON: again")
    found = {labels[0]: v for (name, labels), v in samples(metrics).items() if name == "apss_dead_letters_total"}
    assert len(found) == _MOST_REASONS + 1
    assert sum(found.values()) == 4 * _MOST_REASONS + 1
    assert found["not JSON"] == 2 * _MOST_REASONS + 1
    assert found["other"] == _MOST_REASONS + 1


def test_what_is_given_up_is_no_longer_told_of() -> None:
    metrics = Metrics()
    for topic in ("looks", "feeds.looks"):
        for partition in ("0", "1"):
            metrics.lag.labels(topic, partition).set(7)
            metrics.recovery_seconds.labels(topic, partition).set(0.5)
    for partition in ("0", "1"):
        metrics.tracks.labels(partition, "CONFIRMED").set(3)
    metrics.forget("feeds.looks", "0")
    # Partition 0 of a feed has nothing to do with region 0.
    kept = {("0", "looks"), ("1", "looks"), ("1", "feeds.looks")}
    assert {labels for name, labels in samples(metrics) if name == "apss_input_lag_records"} == kept
    assert {labels for name, labels in samples(metrics) if name == "apss_recovery_seconds"} == kept
    assert samples(metrics)["apss_tracks", ("0", "CONFIRMED")] == 3
    metrics.forget("looks", "1")
    metrics.forget_tracks("1")
    metrics.forget("looks", "5")
    metrics.forget_tracks("5")
    assert {labels for name, labels in samples(metrics) if name == "apss_tracks"} == {("0", "CONFIRMED")}


# ---------------------------------------------------------------------------------------- HTTP


async def _answers(app: Any) -> dict[str, tuple[int, str, str]]:
    """Status, kind and text of each page."""
    runner = await serve(app)
    host, port = runner.addresses[0][:2]
    found = {}
    try:
        async with aiohttp.ClientSession() as session:
            for page in ("metrics", "healthz", "readyz"):
                async with session.get(f"http://{host}:{port}/{page}") as answer:
                    found[page] = (answer.status, answer.content_type, await answer.text())
    finally:
        await runner.cleanup()
    return found


def app_at(port: int | None, healthy: bool = True, ready: bool = True) -> Any:
    settings = Settings(worker=Worker(http_port=port))
    return SimpleNamespace(settings=settings, metrics=Metrics(), is_healthy=healthy, is_ready=ready)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free(taken: int) -> int:
    """A port that nobody listens at, a moment ago at least."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("healthy", [True, False])
@pytest.mark.parametrize("ready", [True, False])
def test_health_is_told_by_the_status(free: int, healthy: bool, ready: bool) -> None:
    found = run(_answers(app_at(free, healthy, ready)))
    good, bad = (200, "text/plain", "ok\n"), (503, "text/plain", "no\n")
    assert found["healthz"] == (good if healthy else bad)
    assert found["readyz"] == (good if ready else bad)
    status, kind, text = found["metrics"]
    assert (status, kind) == (200, "text/plain")
    assert "# TYPE apss_looks_total counter" in text


def test_a_port_that_was_asked_for_and_is_taken_is_named(taken: int) -> None:
    with pytest.raises(PortError, match=re.escape(f"127.0.0.1:{taken}: ")):
        run(_answers(app_at(taken)))


def test_where_the_default_port_is_taken_another_is_told(
    taken: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(http, "DEFAULT_PORT", taken)
    assert run(_answers(app_at(None)))["healthz"][0] == 200
    told = re.search(r"metrics at 127\.0\.0\.1:(\d+)", caplog.text)
    assert told is not None
    assert int(told[1]) != taken


# ---------------------------------------------------------------------------------------- logs


@pytest.fixture
def restored_logs() -> Iterator[None]:
    """Logs as they were, after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in (*logs._QUIET, *logs._QUIET_OF_OURS)}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, level in quiet.items():
        logging.getLogger(name).setLevel(level)


def speak() -> None:
    log = logging.getLogger("apss_fusion.streaming.app")
    log.debug("not told")
    log.info("has %d partitions", 3)
    try:
        raise ValueError("of\ntwo lines")
    except ValueError:
        log.exception('ends: "quoted", ü')
    logging.getLogger("faust").info("a library's, not told")
    logging.getLogger("apss_fusion.streaming.transport").info("a framework's class, not told")
    logging.getLogger("aiokafka.producer").warning("a library's")


@pytest.mark.usefixtures("restored_logs")
def test_a_log_record_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up_logs("json", "INFO")
    speak()
    out, err = capsys.readouterr()
    assert out == ""
    first, second, third = map(json.loads, err.splitlines())
    assert first.keys() == {"time", "level", "logger", "message"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert (first["level"], first["logger"]) == ("INFO", "apss_fusion.streaming.app")
    assert first["message"] == "has 3 partitions"
    assert second["message"] == 'ends: "quoted", ü'
    assert second["error"].endswith("ValueError: of\ntwo lines")
    assert (third["level"], third["logger"], third["message"]) == ("WARNING", "aiokafka.producer", "a library's")


@pytest.mark.usefixtures("restored_logs")
def test_logs_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up_logs("text", "INFO")
    speak()
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\S+Z INFO apss_fusion\.streaming\.app: has 3 partitions", lines[0])
    assert lines[-1].endswith("WARNING aiokafka.producer: a library's")


@pytest.mark.usefixtures("restored_logs")
def test_the_level_is_that_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up_logs("text", "ERROR")
    speak()
    assert "has 3 partitions" not in (err := capsys.readouterr().err)
    assert "ValueError" in err
    assert "a library's" not in err


def test_a_wrong_object_is_written_as_text() -> None:
    """A log must not be what ends a worker."""
    record = logging.LogRecord("x", logging.INFO, "f", 1, "%s", (b"\xff",), None)
    assert json.loads(logs.JsonLines().format(record))["message"] == "b'\\xff'"
    record = logging.LogRecord("x", logging.INFO, "f", 1, "lone \udcff", (), None)
    assert json.loads(logs.JsonLines().format(record))["message"]
