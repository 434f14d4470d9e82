"""Recorded feeds into Kafka: every piece once, in order, in its partition, at its time; stopped, resumed, refused."""

from __future__ import annotations

import gzip
import io
import signal
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feeds_ais_tools import STAMP, pghp, sentence, ship, tag_block, two_sentences
from kafka import KafkaProducer
from kafka.errors import KafkaConnectionError
from kafka.producer.sender import Sender
from kafka_tools import StartKafka, wait_until
from made_looks import T0, detection, look
from replay_tools import deployment, environment, records_of, running, written

from apss_fusion.cli import run
from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.base import Reject
from apss_fusion.feeds.reading import InputError, read_looks
from apss_fusion.replay import timed_pieces
from apss_fusion.replay.look_file import LookFile
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.replay.pipeline_looks import LooksJob, decode
from apss_fusion.replay.pipeline_stop import Stop
from apss_fusion.replay.timed_pieces import NO_ARRIVAL_US, Pace, Piece, PieceInput, merged
from apss_fusion.streaming import publisher
from apss_fusion.streaming.clients import ClusterError
from apss_fusion.streaming.publisher import Replayed, ReplayJob, replay
from apss_fusion.streaming.settings import Settings


def ships(count: int, step_s: float = 1.0, first: int = 0) -> bytes:
    """A report a line, so many seconds apart."""
    lines = [
        tag_block(f"c:{STAMP + round(k * step_s)}") + sentence(ship(mmsi=235000001 + k % 7, second=(2 + k) % 60))
        for k in range(first, first + count)
    ]
    return "\n".join([*lines, ""]).encode()


def look_lines(*seconds: float, source: str = "radar") -> bytes:
    """A look a line, at so many seconds."""
    return b"".join(
        look_json(look(detection(), look_id=f"{source}-{k}", source_id=source, time=T0 + timedelta(seconds=s)))
        for k, s in enumerate(seconds)
    )


def pieces_of(*names: str) -> list[Piece]:
    inputs = [PieceInput(name, None, Stop()) for name in names]
    found = list(merged(inputs, lambda name, reject: None))
    assert [one.error for one in inputs] == [None] * len(inputs)
    return found


def seconds(pieces: list[Piece]) -> list[float | None]:
    return [None if p.arrival_us == NO_ARRIVAL_US else p.arrival_us / 1e6 - T0.timestamp() for p in pieces]


# --- pieces with their arrivals ---


class TestArrivals:
    def test_the_running_maximum_of_the_looks(self, tmp_path: Path) -> None:
        found = pieces_of(written(tmp_path / "a", look_lines(5, 3, 9, 9, 2)))
        assert seconds(found) == [5, 5, 9, 9, 9]
        assert [piece.number for piece in found] == [1, 2, 3, 4, 5]
        assert b"\n".join(piece.data for piece in found) + b"\n" == look_lines(5, 3, 9, 9, 2)

    def test_received_counts_where_it_is_told(self, tmp_path: Path) -> None:
        content = look_json(look(time_received=T0 + timedelta(hours=1)))
        assert seconds(pieces_of(written(tmp_path / "a", content))) == [3600]

    def test_what_comes_before_the_first_look_comes_with_it(self, tmp_path: Path) -> None:
        lines = [*two_sentences(), "$BSALR,,006,V,V,x", *ships(2, 10).decode().split()]
        found = pieces_of(written(tmp_path / "a", "\n".join(lines).encode()))
        # Looks of a feed as short as this one come out at its end.
        assert [at - (STAMP - T0.timestamp()) for at in seconds(found) if at is not None] == [0, 0, 0, 0, 0, 10]

    def test_without_a_look_nothing_is_known(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = pieces_of(written(tmp_path / "a", "\n".join(two_sentences() * 20).encode()))
        assert set(seconds(found)) == {None}
        monkeypatch.setattr(timed_pieces, "_WAITING_PIECES", 5)
        found = pieces_of(written(tmp_path / "b", look_lines(4).replace(b"look_id", b"x") * 7 + look_lines(4, 5)))
        assert seconds(found) == [None] * 7 + [4, 5]

    def test_inputs_are_merged_as_in_fusing(self, tmp_path: Path) -> None:
        names = [
            written(tmp_path / "a", look_lines(5, 3, 9, 20, source="a")),
            written(tmp_path / "b", look_lines(4, 5, 8, 8, 21, 1, source="b")),
            written(tmp_path / "c", look_lines(5, 30, source="c")),
        ]
        job = LooksJob(inputs=tuple(names), out=str(tmp_path / "out"))
        assert decode(job).status == 0
        assert b"\n".join(piece.data for piece in pieces_of(*names)) + b"\n" == (tmp_path / "out").read_bytes()

    def test_a_table_of_looks(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        looks = [look(detection(), look_id=str(k), time=T0 + timedelta(seconds=k)) for k in (3, 1, 5)]
        for name in ("looks.parquet", "looks.arrow"):
            file = LookFile(str(tmp_path / name))
            file.write(looks)
            file.close()
            found = pieces_of(str(tmp_path / name))
            assert [piece.data for piece in found] == [look_json(one).rstrip() for one in looks]
            assert seconds(found) == [3, 3, 5]
            assert {piece.input.key for piece in found} == {name}

    def test_a_feed_that_breaks_off(self, tmp_path: Path) -> None:
        whole = gzip.compress(look_lines(*range(2000)), mtime=0)
        one = PieceInput(written(tmp_path / "a.gz", whole[: len(whole) // 2]), None, Stop())
        found = list(merged([one], lambda name, reject: None))
        assert 100 < len(found) < 2000
        assert isinstance(one.error, InputError)
        assert one.error.status == 1


class TestPace:
    def test_as_it_was_received(self) -> None:
        now = 100.0
        pace = Pace(4.0, lambda: now)
        assert pace.wait_s(NO_ARRIVAL_US) == 0.0
        assert pace.wait_s(1_000_000) == 0.0
        assert pace.wait_s(9_000_000) == 2.0
        now = 101.5
        assert pace.wait_s(9_000_000) == 0.5
        now = 200.0
        # Behind: no wait, and none is saved up.
        assert pace.wait_s(9_000_000) == 0.0
        assert pace.wait_s(405_000_000) == 1.0

    def test_all_at_once(self) -> None:
        pace = Pace(0.0, lambda: 0.0)
        assert [pace.wait_s(us) for us in (0, 10**15)] == [0.0, 0.0]


# --- into a broker ---


def job(*names: str, **options: Any) -> ReplayJob:
    return ReplayJob(**{"inputs": names, "speed": 0.0, **options})


def publish(settings: Settings, *names: str, **options: Any) -> tuple[Replayed, list[str]]:
    told: list[str] = []
    return replay(job(*names, **options), settings, Stop(), told.append), told


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands of this process use a deployment."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)


def number_of(record: Any) -> int:
    return int(dict(record.headers)["piece"])


def test_every_piece_once_in_its_partition_at_its_time(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.ais-nmea", "feeds.looks", partitions=3, message_timestamp_type="CreateTime")
    names = [
        written(tmp_path / "harbour.nmea", ships(300)),
        written(tmp_path / "orbit.nmea", ships(200, 7.0)),
        written(tmp_path / "radar.ndjson", look_lines(*range(50))),
    ]
    result, told = publish(settings, *names)
    assert (result.records, result.too_large, result.errors, result.stopped, told) == (550, 0, [], False, [])
    expected = {Path(name).name: pieces_of(name) for name in names}
    found = records_of(settings, "feeds.ais-nmea") + records_of(settings, "feeds.looks")
    assert len(found) == 550
    producer = KafkaProducer(bootstrap_servers=kafka)
    for key, pieces in expected.items():
        records = [record for record in found if record.key.decode() == key]
        assert [record.value for record in records] == [piece.data for piece in pieces]
        assert [number_of(record) for record in records] == list(range(1, len(pieces) + 1))
        arrivals = [datetime.fromisoformat(dict(record.headers)["arrival"].decode()) for record in records]
        assert [round(at.timestamp() * 1e6) for at in arrivals] == [piece.arrival_us for piece in pieces]
        assert [record.timestamp for record in records] == [piece.arrival_us // 1000 for piece in pieces]
        # Where any other client puts what has this key.
        place = producer.send(records[0].topic, b"", key=key.encode()).get(30)
        assert {record.partition for record in records} == {place.partition}
    producer.close()
    assert {record.partition for record in found} != {0}


def test_the_records_are_the_looks_of_the_file(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.ais-nmea", partitions=2)
    stamped = [sentence(ship(mmsi=235000001 + k, second=20 + k)) for k in range(20)]
    stamps = [pghp(f"2012,1,31,5,7,{20 + k},500", "316", line[-2:]) for k, line in enumerate(stamped)]
    lines = [*ships(100).decode().split(), *(line for pair in zip(stamps, stamped, strict=True) for line in pair)]
    name = written(tmp_path / "a.nmea.gz", gzip.compress("\r\n".join(lines).encode()))
    publish(settings, name)
    decoder = AisNmea()
    decoder.more_follows = True
    found = [
        item
        for record in records_of(settings, "feeds.ais-nmea")
        for item in decoder.items(io.BytesIO(record.value))
        if not isinstance(item, Reject)
    ]
    assert found == list(read_looks(name))
    assert len(found) == 120


def test_what_is_too_large_is_left_out_and_named(
    kafka: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = deployment(kafka, "feeds.looks", max_message_bytes="20000")
    large = look(*[detection(detection_id=str(k)) for k in range(100)], look_id="large", time=T0)
    # What is just small enough is taken.
    longest = b"x" * (20_000 - len(b"a.ndjson") - publisher._OVERHEAD_BYTES)
    content = [look_lines(0, 1), look_json(large), look_lines(2, 3), longest + b"\n", longest + b"x\n"]
    name = written(tmp_path / "a.ndjson", b"".join(content))
    use(settings, monkeypatch)
    assert run(["replay", name, "--speed", "0"]) == 0
    out, err = capfd.readouterr()
    first, second, last = err.splitlines()
    assert out == ""
    assert first.startswith(f"apss-fusion: {name}: piece 3: left out, as it has ")
    assert f"topic {settings.topics.prefix}feeds.looks takes 20,000" in first
    assert f"{name}: piece 7: left out, as it has {len(longest) + 1:,} bytes and topic" in second
    assert last.startswith("apss-fusion: 5 records delivered in ")
    assert last.endswith("; 2 too large")
    assert [number_of(record) for record in records_of(settings, "feeds.looks")] == [1, 2, 4, 5, 6]


def test_from_when_to_when(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = deployment(kafka, "feeds.looks")
    names = [written(tmp_path / n, look_lines(*range(10), source=n)) for n in "ab"]
    use(settings, monkeypatch)
    words = ["--start", "2026-01-01T00:00:03Z", "--stop", "2026-01-01T01:00:06+01:00", "--speed", "0"]
    assert run(["replay", *names, *words]) == 0
    found = records_of(settings, "feeds.looks")
    assert sorted((record.key, number_of(record)) for record in found) == [
        (n, k) for n in (b"a", b"b") for k in (4, 5, 6)
    ]


def test_it_goes_on_after_what_is_there(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.looks")
    content = look_lines(*range(500))
    lines = content.splitlines(keepends=True)
    # A part of it was published before; others of the partition many times since.
    name = written(tmp_path / "a.ndjson", b"".join(lines[:123]))
    publish(settings, name)
    for k in range(3):
        publish(settings, written(tmp_path / f"b{k}", look_lines(*range(1500), source=f"b{k}")))
    written(tmp_path / "a.ndjson", content)
    result, _ = publish(settings, name, resume=True)
    assert (result.records, result.resumed) == (377, {"a.ndjson": 123})
    again, _ = publish(settings, name, resume=True)
    assert (again.records, again.resumed) == (0, {"a.ndjson": 500})
    found = [record for record in records_of(settings, "feeds.looks") if record.key == b"a.ndjson"]
    assert b"".join(record.value + b"\n" for record in found) == content
    new, _ = publish(settings, written(tmp_path / "new", look_lines(1)), resume=True)
    assert (new.records, new.resumed) == (1, {})


def test_records_of_others_do_not_tell_where_to_go_on(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.looks")
    producer = KafkaProducer(bootstrap_servers=kafka)
    producer.send(settings.topic("feeds.looks"), b"{}", key=b"a").get(30)
    producer.send(settings.topic("feeds.looks"), b"{}", key=b"a", headers=[("piece", b"x")]).get(30)
    producer.close()
    result, _ = publish(settings, written(tmp_path / "a", look_lines(1, 2)), resume=True)
    assert (result.records, result.resumed) == (2, {})


def test_with_its_own_timing(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.looks", message_timestamp_type="LogAppendTime")
    seconds = [0, 0, 10, 10.1, 10.2, 30]
    name = written(tmp_path / "a", look_lines(*seconds))
    began_s = time.time()
    result, _ = publish(settings, name, speed=20.0)
    assert result.records == 6
    assert result.seconds >= 1.5
    arrived = [record.timestamp / 1000 for record in records_of(settings, "feeds.looks")]
    # Never before its time: the clock of the broker is that of this computer.
    assert all(arrived[k] >= began_s + at / 20.0 - 0.01 for k, at in enumerate(seconds))
    assert arrived == sorted(arrived)


class SlowStop(Stop):
    """Asks for the end after so many waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self._left = waits

    def waits(self) -> Any:
        self._left -= 1
        if self._left < 0:
            self.requested = True
        return super().waits()


def test_stopped_while_it_waits_it_goes_on_later(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.looks")
    name = written(tmp_path / "a", look_lines(*range(0, 300, 10)))
    stopped = replay(job(name, speed=500.0), settings, SlowStop(3), print)
    assert stopped.stopped
    assert 0 < stopped.records < 30
    rest, _ = publish(settings, name, resume=True)
    assert rest.resumed == {"a": stopped.records}
    assert [number_of(record) for record in records_of(settings, "feeds.looks")] == list(range(1, 31))


def test_ctrl_c(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.looks")
    name = written(tmp_path / "a", look_lines(0, 0, 0, 3600))
    with running(settings, "replay", name) as process:
        wait_until(lambda: len(records_of(settings, "feeds.looks")) == 3, 60, "the first three records")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.startswith(b"apss-fusion: stopped: 3 records delivered in ")
    assert err.count(b"\n") == 1


def test_from_a_pipe_as_it_comes(kafka: str) -> None:
    settings = deployment(kafka, "feeds.ais-nmea")
    with running(settings, "replay", "-", "--format", "ais-nmea", "--speed", "0", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(ships(30))
        process.stdin.flush()
        # The feed goes on, and what there is of it is there.
        wait_until(lambda: len(records_of(settings, "feeds.ais-nmea")) == 30, 60, "30 records")
        process.stdin.write(ships(5, first=30))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    found = records_of(settings, "feeds.ais-nmea")
    assert b"\n".join(record.value for record in found) + b"\n" == ships(35)
    assert {record.key for record in found} == {b"-"}


# --- what cannot be done ---


def told(capfd: pytest.CaptureFixture[str], status: int, *words: str) -> str:
    assert run(["replay", *words]) == status
    out, err = capfd.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("apss-fusion: ")
    return line


def test_no_cluster_is_said_within_ten_seconds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = written(tmp_path / "a", look_lines(1))
    began_s = time.monotonic()
    assert "cluster 127.0.0.1:1: no answer" in told(capfd, 2, name, "--bootstrap", "127.0.0.1:1")
    assert time.monotonic() - began_s < 10.0


def test_no_topic(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.looks")
    with pytest.raises(ClusterError, match=r"feeds.ais-nmea: missing; `apss-fusion topics apply` makes it"):
        publish(settings, written(tmp_path / "a", ships(1)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a/x", "b/x"], "b/x: a/x has the same name, which is the key of the records of each"),
        (["-", "-"], "-: standard input can be read only once"),
        (["none"], "none: No such file or directory"),
        (["odd"], "odd: no known format"),
        (["a/x", "--format", "odd"], "no format 'odd'"),
        (["a/x", "--speed", "-1"], "--speed -1: not a number from 0 on"),
        (["a/x", "--speed", "nan"], "--speed nan: not a number from 0 on"),
        (["a/x", "--start", "noon"], "--start noon: not a time as 2026-01-01T00:10:00Z"),
        (["a/x", "--stop", "2026-01-01T00:00:00"], "--stop 2026-01-01T00:00:00: not a time as 2026"),
        (["a/x", "--bootstrap", "here"], "bootstrap 'here': not HOST:PORT"),
        (["a/x", "--config", "none"], "none: No such file or directory"),
    ],
)
def test_a_wrong_command_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/x", "b/x"):
        written(tmp_path / name, look_lines(1))
    written(tmp_path / "odd", b"what is this")
    assert message in told(capfd, 2, *words)


def test_nothing_in_it(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.looks")
    result, _ = publish(settings, written(tmp_path / "a", b""))
    assert (result.records, result.errors) == (0, [])


def test_a_damaged_input_does_not_stop_the_others(kafka: str, tmp_path: Path) -> None:
    settings = deployment(kafka, "feeds.looks")
    whole = gzip.compress(look_lines(*range(2000)), mtime=0)
    bad, good = written(tmp_path / "bad.gz", whole[:-9]), written(tmp_path / "good", look_lines(*range(10)))
    result, _ = publish(settings, bad, good)
    (error,) = result.errors
    assert error.startswith(f"{bad}: ")
    assert result.records > 1000
    assert sum(record.key == b"good" for record in records_of(settings, "feeds.looks")) == 10


def test_a_broker_that_goes_away(own_kafka: StartKafka, tmp_path: Path) -> None:
    """One line and status 1, within the time that a delivery may take."""
    broker = own_kafka()
    settings = deployment(broker.bootstrap, "feeds.looks", timeout_s=2.0)
    name = written(tmp_path / "a", look_lines(*range(0, 3600)))
    with running(settings, "replay", name, "--speed", "20") as process:
        wait_until(lambda: records_of(settings, "feeds.looks"), 60, "a record")
        broker.kill()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = err.decode().splitlines()
    assert line.startswith(f"apss-fusion: cluster {broker.bootstrap}: ")
    assert line.endswith(f" of {name} was not delivered")


def test_a_broker_that_dies_before_its_answer_and_comes_back(
    own_kafka: StartKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost and nothing is there twice.

    Where the topic keeps the times of the recording, a broker that comes back knows nothing of the producer, as it
    forgets producers by these times: a record whose acknowledgement was lost is there twice.
    """
    broker = own_kafka()
    settings = deployment(broker.bootstrap, "feeds.looks", message_timestamp_type="LogAppendTime")
    answers = []
    answered = Sender._handle_produce_response

    def lost(self: Sender, node_id: int, send_time: float, batches: Any, response: Any) -> Any:
        answers.append(batches)
        if len(answers) != 5:
            return answered(self, node_id, send_time, batches, response)
        broker.kill()
        broker.start()
        return self._failed_produce(batches, node_id, KafkaConnectionError("the answer is lost"))

    monkeypatch.setattr(Sender, "_handle_produce_response", lost)
    result, _ = publish(settings, written(tmp_path / "a", look_lines(*range(0, 60))), speed=40.0)
    assert (result.records, result.errors) == (60, [])
    assert len(answers) > 5
    assert [number_of(record) for record in records_of(settings, "feeds.looks")] == list(range(1, 61))


def test_many_records_are_bounded_on_their_way(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = deployment(kafka, "feeds.looks")
    monkeypatch.setattr(publisher, "_MOST_RECORDS", 100)
    result, _ = publish(settings, written(tmp_path / "a", look_lines(*range(3000))))
    assert result.records == 3000
    assert [number_of(record) for record in records_of(settings, "feeds.looks")] == list(range(1, 3001))
