"""The track topic as a downstream system reads it: committed records, the picture first, then updates; ends and faults."""

from __future__ import annotations

import gzip
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer
from kafka_tools import StartKafka, wait_until
from replay_tools import deployment, environment, running

from apss_fusion.cli import run
from apss_fusion.streaming import subscriber as module
from apss_fusion.streaming.clients import ClusterError
from apss_fusion.streaming.settings import Settings
from apss_fusion.streaming.subscriber import TrackSubscriber

HERE = Path(__file__).parent


def update(track: str, seq: int = 1, status: str = "CONFIRMED", **values: Any) -> bytes:
    """As much of an update as a subscriber looks at, and more."""
    return msgspec.json.encode({"track_id": track, "seq": seq, "status": status, "lat": 1.5, "lon": -2.5, **values})


class Writer:
    """A worker's producer: transactions into the track topic of a deployment."""

    def __init__(self, settings: Settings, partitions: int = 1) -> None:
        self._topic = settings.topic("tracks")
        self._partitions = partitions
        self.producer = KafkaProducer(bootstrap_servers=settings.servers, transactional_id=settings.topics.prefix)
        self.producer.init_transactions()

    def send(self, *records: tuple[str, bytes | None]) -> None:
        for key, value in records:
            partition = sum(key.encode()) % self._partitions
            self.producer.send(self._topic, value, key=key.encode(), partition=partition)

    def commit(self, *records: tuple[str, bytes | None]) -> None:
        self.producer.begin_transaction()
        self.send(*records)
        self.producer.commit_transaction()

    def abort(self, *records: tuple[str, bytes | None]) -> None:
        self.producer.begin_transaction()
        self.send(*records)
        self.producer.flush()
        self.producer.abort_transaction()

    def close(self) -> None:
        self.producer.close(timeout=1)


def deployed(kafka: str, partitions: int = 1, **configs: Any) -> tuple[Settings, Writer]:
    settings = deployment(kafka, "tracks", partitions=partitions, **configs)
    return settings, Writer(settings, partitions)


def next_updates(subscriber: TrackSubscriber, count: int) -> list[bytes]:
    found: list[bytes] = []
    wait_until(lambda: found.extend(subscriber.poll()) or len(found) >= count, 30, f"{count} updates")  # type: ignore[func-returns-value]
    return found


def test_the_picture_and_then_updates(kafka: str) -> None:
    settings, writer = deployed(kafka, partitions=3)
    writer.commit(("a", update("a")), ("b", update("b")), ("c", update("c")), ("d", update("d")))
    writer.commit(("a", update("a", 2, "COASTING")), ("b", update("b", 2, "TERMINATED")), ("b", None))
    writer.abort(("a", update("a", 3)), ("c", None), ("e", update("e")))
    writer.commit(("d", None))
    writer.abort(("a", update("a", 4)))
    with TrackSubscriber(settings) as subscriber:
        assert subscriber.read_picture() == {"a": update("a", 2, "COASTING"), "c": update("c")}
        assert subscriber.poll() == []
        writer.commit(("c", update("c", 2)), ("f", update("f")))
        writer.abort(("c", update("c", 3)))
        writer.commit(("a", update("a", 3, "TERMINATED")), ("a", None))
        found = next_updates(subscriber, 3)
        assert sorted(found) == sorted([update("c", 2), update("f"), update("a", 3, "TERMINATED")])
        assert subscriber.picture == {"c": update("c", 2), "f": update("f")}
    writer.close()


def test_what_is_not_committed_is_not_there_yet(kafka: str) -> None:
    settings, writer = deployed(kafka)
    writer.commit(("a", update("a")))
    writer.producer.begin_transaction()
    writer.send(("b", update("b")))
    writer.producer.flush()
    with TrackSubscriber(settings) as subscriber:
        # Nobody waits for the end of a transaction that is under way.
        assert subscriber.read_picture() == {"a": update("a")}
        writer.producer.commit_transaction()
        assert next_updates(subscriber, 1) == [update("b")]
    writer.close()


def test_nothing_in_the_topic(kafka: str) -> None:
    settings, writer = deployed(kafka, partitions=2)
    with TrackSubscriber(settings) as subscriber:
        assert subscriber.read_picture() == {}
        writer.abort(("a", update("a")))
        # Only a mark of an aborted transaction.
        with TrackSubscriber(settings) as later:
            assert later.read_picture() == {}
        writer.commit(("a", update("a")))
        assert next(iter(subscriber)) == update("a")
    writer.close()


def test_a_compacted_topic(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of the topic after compaction has gaps, and ends before where it says."""
    settings, writer = deployed(
        kafka,
        segment_bytes="1048576",
        min_cleanable_dirty_ratio="0.01",
        max_compaction_lag_ms="1",
        delete_retention_ms="0",
        segment_ms="100",
    )
    filling = "x" * 100_000
    for seq in range(1, 40):
        writer.commit(*((key, update(key, seq, filling=filling)) for key in "ab"))
    writer.commit(("b", update("b", 40, "TERMINATED")), ("b", None))

    def size() -> int:
        # The active segment is never compacted: after a while another one begins with the next record.
        writer.commit(("c", update("c")))
        with TrackSubscriber(settings) as reader:
            seen: list[bytes] = []
            take = reader._take

            def seen_and_taken(record: Any) -> bytes | None:
                seen.append(record.value)
                return take(record)

            monkeypatch.setattr(reader, "_take", seen_and_taken)
            assert reader.read_picture() == {"a": update("a", 39, filling=filling), "c": update("c")}
            return len(seen)

    wait_until(lambda: size() < 20, 60, "the topic's compaction")
    writer.close()


def test_what_is_no_update_is_told_and_left_out(kafka: str) -> None:
    settings, writer = deployed(kafka)
    told: list[str] = []
    bad = [b"{", b"[]", b'{"track_id":7,"status":"x"}', b"\xff", b""]
    writer.commit(("a", update("a")), *(("x", value) for value in bad), ("b", update("b")))
    with TrackSubscriber(settings, tell=told.append) as subscriber:
        assert set(subscriber.read_picture()) == {"a", "b"}
    assert len(told) == len(bad)
    assert told[0].startswith(f"{settings.topics.prefix}tracks/0/1: left out, no track update: ")
    writer.close()


def test_no_topic(kafka: str) -> None:
    settings = deployment(kafka, "looks")
    with pytest.raises(ClusterError, match=r"tracks: missing; `apss-fusion topics apply` makes it"):
        TrackSubscriber(settings)


def test_a_broker_that_comes_back_is_found_and_one_that_does_not_is_gone(
    own_kafka: StartKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ASK_S", 0.5)
    broker = own_kafka()
    settings, writer = deployed(broker.bootstrap)
    writer.commit(("a", update("a")))
    with TrackSubscriber(settings, gone_s=120.0) as subscriber:
        assert subscriber.read_picture() == {"a": update("a")}
        broker.kill()
        assert subscriber.poll(1.0) == []
        broker.start()
        writer.commit(("b", update("b")))
        assert next_updates(subscriber, 1) == [update("b")]
        writer.close()
        broker.kill()
        subscriber._gone_s = 4.0
        began_s = time.monotonic()
        with pytest.raises(ClusterError, match=r"no answer for \d+ s"):
            for _ in subscriber:
                pass
        assert 4.0 < time.monotonic() - began_s < 20.0


# --- the command ---


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)


def test_the_command(
    kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    settings, writer = deployed(kafka)
    use(settings, monkeypatch)
    writer.commit(*((key, update(key)) for key in "bca"), ("c", None))
    expected = b"".join(update(key) + b"\n" for key in "ab")
    out = str(tmp_path / "tracks.ndjson")
    assert run(["subscribe", "--picture", "--out", out]) == 0
    assert Path(out).read_bytes() == expected
    assert capfd.readouterr() == ("", "apss-fusion: picture: 2 tracks\n")
    assert run(["subscribe", "--picture"]) == 0
    assert capfd.readouterr().out == expected.decode()
    assert run(["subscribe", "--until-idle", "0.5", "--out", out + ".gz"]) == 0
    assert gzip.decompress(Path(out + ".gz").read_bytes()) == expected
    assert capfd.readouterr().err.splitlines() == [
        "apss-fusion: picture: 2 tracks; following",
        "apss-fusion: 0 updates; 2 tracks at the end",
    ]
    writer.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_follows_until_it_is_told_to_end(kafka: str, tmp_path: Path, number: int, status: int) -> None:
    settings, writer = deployed(kafka)
    writer.commit(("a", update("a")))
    out = tmp_path / "tracks"
    with running(settings, "subscribe", "--out", str(out)) as process:
        wait_until(lambda: out.exists() and out.read_bytes() == update("a") + b"\n", 60, "the picture")
        writer.commit(("b", update("b")), ("a", update("a", 2, "TERMINATED")), ("a", None))
        expected = update("a") + b"\n" + update("b") + b"\n" + update("a", 2, "TERMINATED") + b"\n"
        wait_until(lambda: out.read_bytes() == expected, 60, "two updates")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert err.decode().splitlines()[-1] == "apss-fusion: 2 updates; 1 track at the end"
    writer.close()


def test_a_broker_that_goes_away(own_kafka: StartKafka, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    broker = own_kafka()
    settings, writer = deployed(broker.bootstrap)
    use(settings, monkeypatch)
    writer.commit(("a", update("a")))
    writer.close()
    monkeypatch.setattr(module, "_ASK_S", 0.5)
    monkeypatch.setattr(TrackSubscriber.__init__, "__defaults__", (3.0, print))
    picture = TrackSubscriber.read_picture

    def then_gone(self: TrackSubscriber, ended: Callable[[], bool]) -> dict[str, bytes]:
        found = picture(self, ended)
        broker.kill()
        return found

    monkeypatch.setattr(TrackSubscriber, "read_picture", then_gone)
    assert run(["subscribe"]) == 1
    out, err = capfd.readouterr()
    assert out == update("a").decode() + "\n"
    assert re.fullmatch(r"apss-fusion: cluster \S+: no answer for \d+ s", err.splitlines()[-1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--until-idle", "0"], "--until-idle 0: not a number of seconds above 0"),
        (["--until-idle", "nan"], "--until-idle nan: not a number of seconds above 0"),
        (["--out", "x.parquet"], "--out x.parquet: updates are written as JSON lines"),
        (["--out", "none/x"], "--out none/x: there is no folder none"),
        (["--out", ""], "--out: the name is empty"),
        (["--config", "none"], "none: No such file or directory"),
        (["--bootstrap", "127.0.0.1:1"], "cluster 127.0.0.1:1: no answer within 5 s"),
    ],
)
def test_a_wrong_command_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["subscribe", *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert message in line


# --- by hand ---


def example_of_the_readme() -> str | None:
    """The example with kafka-python, if the README has one."""
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    found: Iterable[str] = re.findall(r"^```py(?:thon)?\n(.*?)^```", text, re.S | re.M)
    return next((code for code in found if "KafkaConsumer" in code), None)


def test_the_readme_has_what_is_tested_here() -> None:
    example = example_of_the_readme()
    if example is None:
        pytest.skip("the README has no example with kafka-python yet")
    assert example == (HERE / "plain_subscriber.py").read_text(encoding="utf-8")


def test_twenty_lines_of_kafka_python(kafka: str, tmp_path: Path) -> None:
    settings, writer = deployed(kafka, partitions=2)
    writer.commit(*((key, update(key)) for key in "abc"), ("b", update("b", 2, "TERMINATED")), ("b", None))
    writer.abort(("d", update("d")))
    code = (HERE / "plain_subscriber.py").read_text(encoding="utf-8")
    code = code.replace('"tracks"', json.dumps(settings.topic("tracks"))).replace("localhost:9092", kafka)
    script = tmp_path / "subscriber.py"
    script.write_text(code, encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-u", str(script)], stdout=subprocess.PIPE)  # noqa: S603
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"2 tracks now; updates follow\n"
        writer.commit(("c", update("c", 2)), ("a", update("a", 2, "TERMINATED")), ("a", None))
        lines = sorted(process.stdout.readline() for _ in range(2))
        assert lines == [b"CONFIRMED c 1.5 -2.5\n", b"TERMINATED a 1.5 -2.5\n"]
    finally:
        process.kill()
        process.communicate()
    writer.close()
