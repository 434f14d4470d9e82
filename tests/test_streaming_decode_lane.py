"""Decoding one partition of a feed: the same looks with the same origins, wherever it is cut or starts again; poison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import msgspec
import pytest
from feeds_ais_tools import STAMP, sentence, ship, tag_block, two_sentences
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_tools import NOW_MS, FakeKafka, Record, cut, decoder, deployment, in_memory, run
from test_feeds_pieces import FILES, expecting_more, looks_of, pieces_of

from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.base import Decoder, Item
from apss_fusion.feeds.looks_ndjson import Looks
from apss_fusion.model import Look
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.streaming.batches import MOST_RECORD_BYTES
from apss_fusion.streaming.decode_lane import DecodeLane, Snapshot
from apss_fusion.streaming.headers import LOOK, constant_headers, event_source, read_origin
from apss_fusion.streaming.metrics import Metrics
from apss_fusion.streaming.regions import Region, Regions

__all__ = ["in_memory"]


def feed(format_: type[Decoder], data: bytes) -> list[Record]:
    """The records of a feed."""
    topic = f"t.feeds.{format_.name}"
    return [Record(topic, 0, k, b"input", piece) for k, piece in enumerate(pieces_of(format_, data))]


def interleaved(records: list[Record], turns: list[bool]) -> list[Record]:
    """Two inputs with the same records in one partition, which take turns."""
    left = {b"one": list(records), b"two": list(records)}
    order: list[tuple[bytes, Record]] = []
    for turn in [*turns, *[True, False] * len(records)]:
        key = b"one" if turn else b"two"
        if left[key]:
            order.append((key, left[key].pop(0)))
    return [r._replace(offset=k, key=key) for k, (key, r) in enumerate(order)]


def expected(format_: type[Decoder], records: list[Record]) -> dict[tuple[int, int], bytes]:
    """The looks of a feed by offset and number within the record; each input has a decoder of its own."""
    readers: dict[bytes | None, Decoder] = {}
    out = {}
    for r in records:
        reader = readers.setdefault(r.key, expecting_more(format_))
        for number, look in enumerate(looks_of(reader.items(BytesIO(r.value or b"")))):
            out[r.offset, number] = look_json(look).rstrip()
    return out


def sent(kafka: FakeKafka) -> Iterator[tuple[tuple[int, int], bytes]]:
    """What was written to the topic of looks: origins and values."""
    for r in kafka.log("looks"):
        origin = read_origin(r.headers)
        assert origin is not None
        yield (origin.offset, origin.look_index), r.value or b""


def letters(kafka: FakeKafka) -> list[dict[str, Any]]:
    """The dead letters."""
    return [json.loads(r.value or b"") for r in kafka.log("deadletters")]


# ---------------------------------------------------------------------------------------- the same looks


@given(
    st.sampled_from(sorted(FILES)),
    st.lists(st.booleans(), max_size=30),
    st.lists(st.integers(1, 99), max_size=5),
    st.data(),
)
@settings(max_examples=60)
def test_cut_and_started_again_anywhere_a_feed_gives_the_same_looks(
    name: str, turns: list[bool], cuts: list[int], data: st.DataObject
) -> None:
    """Each chunk by the same lane or by one that starts from the last state that was kept, which may lie far behind."""
    format_, content, _ = FILES[name]
    records, kafka, deployed = feed(format_, content), FakeKafka(), deployment()
    if turns:
        records = interleaved(records, turns)

    async def go() -> None:
        lane = await decoder(kafka, deployed, format_.name)
        for part in cut(records, cuts):
            for what in data.draw(st.lists(st.sampled_from(["keep", "end"]), max_size=3)):
                if what == "keep":
                    await lane.keep()
                else:
                    await lane.give_up()
                    lane = await decoder(kafka, deployed, format_.name)
            again = records[lane.start or 0 : part[0].offset]
            if again:
                await lane.process(again, 1)
            await lane.process(list(part), 1)

    run(go())
    looks, origins, count = expected(format_, records), [], 0
    for origin, value in sent(kafka):
        assert value == looks[origin]
        origins.append(origin)
    ordered = sorted(looks)
    assert set(origins) == set(ordered)
    # Whoever sends goes forwards without gaps: what is above the highest so far is the next one.
    for origin in origins:
        assert origin <= ordered[min(count, len(ordered) - 1)]
        if count < len(ordered) and origin == ordered[count]:
            count += 1


@pytest.mark.parametrize("name", sorted(FILES))
def test_what_a_lane_rejects_is_what_the_decoder_rejects(name: str) -> None:
    format_, content, _ = FILES[name]
    records, kafka = feed(format_, content), FakeKafka()

    async def go() -> None:
        lane = await decoder(kafka, deployment(), format_.name)
        await lane.process(records, 1)

    run(go())
    reader = expecting_more(format_)
    found: list[tuple[int, str, str | None]] = []
    for r in records:
        items: list[Item] = list(reader.items(BytesIO(r.value or b"")))
        found += [(r.offset, i.reason, i.field) for i in items if type(i).__name__ == "Reject"]  # type: ignore[union-attr]
    assert [(x["offset"], x["reason"], x["field"]) for x in letters(kafka)] == found
    assert {x["topic"] for x in letters(kafka)} <= {f"t.feeds.{format_.name}"}


def test_a_look_is_an_event_with_its_origin() -> None:
    format_, content, _ = FILES["looks"]
    kafka, metrics = FakeKafka(), Metrics()
    records = [r._replace(timestamp=NOW_MS + r.offset) for r in feed(format_, content)]

    async def go() -> None:
        lane = await decoder(kafka, deployment(), "looks", metrics=metrics)
        assert lane.start is None
        await lane.process(records, 1)
        assert lane.start == len(records)

    run(go())
    for r in kafka.log("looks"):
        look = json.loads(r.value or b"")
        headers = dict(r.headers)
        assert r.key == look["source_id"].encode()
        assert headers["ce_id"].decode() == f"{look['source_id']}:{look['look_id']}"
        assert headers["ce_subject"].decode() == look["look_id"]
        assert headers["ce_time"].decode() == look["time"]
        assert set(constant_headers(LOOK, event_source("g"))) <= set(r.headers)
        origin = read_origin(r.headers)
        assert origin is not None
        assert origin[:2] == ("t.feeds.looks", 0)
        assert r.timestamp == NOW_MS + origin.offset
    assert b"\n" not in b"".join(r.value or b"" for r in kafka.log("looks"))
    value = metrics.registry.get_sample_value
    assert value("apss_feed_records_total", {"topic": "t.feeds.looks"}) == len(records)
    assert value("apss_decoded_looks_total", {"topic": "t.feeds.looks"}) == len(kafka.log("looks")) > 0
    assert value("apss_recovery_seconds", {"topic": "t.feeds.looks", "partition": "0"}) is not None


def test_a_look_goes_to_each_region_that_it_overlaps() -> None:
    regions = Regions(
        {"rest": Region(partition=1, rest=True), "north": Region(partition=0, cells=("8009fffffffffff",))}
    )
    look = {
        "look_id": "l", "source_id": "sar", "time": "2026-01-01T00:00:00Z",
        "footprint": {"type": "Polygon", "coordinates": [[[0, 20], [30, 20], [30, 75], [0, 75], [0, 20]]]},
        "detections": [
            {"detection_id": "a", "lat": 25.0, "lon": 10.0}, {"detection_id": "b", "lat": 70.0, "lon": 20.0},
        ],
    }  # fmt: skip
    kafka = FakeKafka()

    async def go() -> None:
        lane = await decoder(kafka, deployment(regions=regions), "looks")
        await lane.process([Record("t.feeds.looks", 0, 7, b"k", json.dumps(look).encode())], 1)

    run(go())
    got = [[json.loads(r.value or b"") for r in kafka.log("looks", partition)] for partition in (0, 1)]
    assert [[[d["detection_id"] for d in look["detections"]] for look in looks] for looks in got] == [[["b"]], [["a"]]]
    assert [looks[0]["footprint"] for looks in got] == [look["footprint"]] * 2
    assert [read_origin(kafka.log("looks", partition)[0].headers) for partition in (0, 1)] == [
        ("t.feeds.looks", 0, 7, 0)
    ] * 2


# ---------------------------------------------------------------------------------------- the state that is kept


async def _ais(kafka: FakeKafka, snapshot_records: int = 5000) -> DecodeLane:
    deployed = deployment()
    worker = msgspec.structs.replace(deployed.settings.worker, snapshot_records=snapshot_records)
    deployed = deployed._replace(settings=msgspec.structs.replace(deployed.settings, worker=worker))
    return await decoder(kafka, deployed, "ais-nmea")


def test_the_state_is_kept_after_so_many_records_and_when_it_is_asked_for() -> None:
    format_, content, _ = FILES["ais-nmea"]
    records, kafka = feed(format_, content), FakeKafka()

    def kept() -> list[int]:
        return [msgspec.msgpack.decode(r.value or b"", type=Snapshot).offset for r in kafka.log("decode-changelog")]

    async def go() -> None:
        lane = await _ais(kafka, 10)
        await lane.keep()
        assert kept() == []
        for part in cut(records, range(4, len(records), 4)):
            await lane.process(list(part), 1)
        assert kept() == [k for k in (11, 23, 35) if k < len(records)]
        await lane.keep()
        await lane.keep()
        assert kept()[-2:] == [35, len(records) - 1]
        assert {r.key for r in kafka.log("decode-changelog")} == {b"t.feeds.ais-nmea"}
        # Whoever takes over goes on from there.
        assert (await _ais(kafka)).start == len(records)

    run(go())


def test_a_state_that_is_too_large_is_not_kept_and_an_older_one_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    format_, content, _ = FILES["ais-nmea"]
    records, kafka = feed(format_, content), FakeKafka()

    async def go() -> None:
        lane = await _ais(kafka)
        await lane.process(records[:10], 1)
        await lane.keep()
        monkeypatch.setattr("apss_fusion.streaming.decode_lane._MOST_SNAPSHOT_BYTES", 20)
        await lane.process(records[10:20], 1)
        await lane.keep()
        assert (await _ais(kafka)).start == 10

    run(go())
    assert "too large to be kept" in caplog.text


def test_states_of_other_feeds_and_versions_are_told_apart() -> None:
    kafka = FakeKafka()

    async def go() -> None:
        other = msgspec.msgpack.encode(Snapshot(1, 99, b"x"))
        kafka.append("t.decode-changelog", 0, [(b"t.feeds.ais-csv", other, (), NOW_MS)])
        assert (await _ais(kafka)).start is None
        newer = msgspec.msgpack.encode(Snapshot(2, 99, b"x"))
        kafka.append("t.decode-changelog", 0, [(b"t.feeds.ais-nmea", newer, (), NOW_MS)])
        with pytest.raises(ValueError, match=r"t\.feeds\.ais-nmea/0: version 2, not 1"):
            await _ais(kafka)
        kafka.append("t.decode-changelog", 0, [(b"t.feeds.ais-nmea", None, (), NOW_MS)])
        assert (await _ais(kafka)).start is None

    run(go())


def test_looks_that_cannot_be_delivered_stop_the_lane_before_its_state_is_kept() -> None:
    format_, content, _ = FILES["looks"]
    kafka = FakeKafka()

    def refuse(topic: str) -> None:
        raise ConnectionError(f"no leader for {topic}")

    async def go() -> None:
        lane = await decoder(kafka, deployment(), "looks")
        kafka.refuse = refuse
        with pytest.raises(ConnectionError, match=r"no leader for t\."):
            await lane.process(feed(format_, content), 1)
        assert lane.start is None
        kafka.refuse = lambda topic: None
        await lane.keep()
        assert not kafka.log("decode-changelog")

    run(go())


# ---------------------------------------------------------------------------------------- poison


@pytest.mark.parametrize(
    ("value", "timestamp", "reason"),
    [
        (None, NOW_MS, "the record has no value"),
        (b"no look", NOW_MS, "not JSON"),
        (b"no look", None, "not JSON"),
        (b"no look", 2**62, "not JSON"),
        (bytes(range(128, 256)), NOW_MS, "not JSON"),
        (b"[" * 100_000, NOW_MS, "not JSON"),
    ],
)
def test_a_poison_record_is_a_dead_letter_and_nothing_else_is_lost(
    value: bytes | None, timestamp: int | None, reason: str
) -> None:
    records, kafka, metrics = feed(*FILES["looks"][:2]), FakeKafka(), Metrics()
    records[1:1] = [Record("t.feeds.looks", 0, 0, b"k", value, (), timestamp)]
    records = [r._replace(offset=k) for k, r in enumerate(records)]

    async def go() -> None:
        lane = await decoder(kafka, deployment(), "looks", metrics=metrics)
        await lane.process(records, 1)

    run(go())
    others = [r for r in records if r.offset != 1]
    assert dict(sent(kafka)) == expected(Looks, others)
    (letter,) = [letter for letter in letters(kafka) if letter["offset"] == 1]
    assert (letter["topic"], letter["partition"]) == ("t.feeds.looks", 0)
    assert reason in letter["reason"]
    assert (letter["record"] is None) == (value is None)
    counted = metrics.registry.get_sample_value(
        "apss_dead_letters_total", {"topic": "t.feeds.looks", "reason": letter["reason"].partition(":")[0]}
    )
    assert counted is not None


def test_a_decoder_that_fails_makes_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has a defect: its looks so far are used, the record is kept, and the log tells where."""
    records, kafka = feed(*FILES["looks"][:2]), FakeKafka()
    items = Looks.items

    def failing(self: Looks, stream: BytesIO) -> Iterator[Item]:
        data = stream.read()
        yield from items(self, BytesIO(data))
        if b'"l2"' in data:
            raise ZeroDivisionError("of course not")

    monkeypatch.setattr(Looks, "items", failing)

    async def go() -> None:
        lane = await decoder(kafka, deployment(), "looks")
        await lane.process(records, 1)

    run(go())
    monkeypatch.undo()
    assert dict(sent(kafka)) == expected(Looks, records)
    (letter,) = [letter for letter in letters(kafka) if "ZeroDivisionError" in letter["reason"]]
    assert letter["reason"] == "the decoder failed: ZeroDivisionError('of course not')"
    assert b'"l2"' in (records[letter["offset"]].value or b"")
    assert f"t.feeds.looks/0: offset {letter['offset']}: the decoder failed" in caplog.text


@pytest.mark.parametrize("padding", [MOST_RECORD_BYTES - 1000, MOST_RECORD_BYTES])
def test_a_look_that_no_topic_takes_is_a_dead_letter(padding: int) -> None:
    """Also where it would be the first of its batch, which takes anything: the broker would refuse it for ever."""
    look: Any = {"look_id": "l", "source_id": "sar", "time": "2026-01-01T00:00:00Z", "detections": []}
    small, large = json.dumps(look).encode(), json.dumps(look | {"look_id": "x" * (padding // 2)}).encode()
    # Twice: in the headers and the value.
    kafka = FakeKafka()

    async def go() -> None:
        lane = await decoder(kafka, deployment(), "looks")
        for first in (0, 3):
            values = [large, small, large] if first else [small, large, small]
            await lane.process([Record("t.feeds.looks", 0, first + k, b"k", v) for k, v in enumerate(values)], 1)

    run(go())
    assert [origin for origin, _ in sent(kafka)] == [(0, 0), (2, 0), (4, 0)]
    assert [letter["offset"] for letter in letters(kafka)] == [1, 3, 5]
    assert all(letter["reason"].startswith("the look is too large: ") for letter in letters(kafka))
    assert max(kafka.batch_bytes) < MOST_RECORD_BYTES


def test_the_halves_of_two_inputs_never_meet() -> None:
    """Two receivers number their messages alike: what one has begun, the other must not end."""
    kafka, deployed = FakeKafka(), deployment()
    inputs = {
        name: [
            *(line.encode() for line in two_sentences(mmsi)),
            (tag_block(f"c:{STAMP}") + sentence(ship(mmsi=mmsi))).encode(),
            # What might still come near the first lines has not.
            b"\n" * 16,
        ]
        for name, mmsi in ((b"a", 235012345), (b"b", 235099999))
    }
    rows = [(name, lines[k]) for k in range(4) for name, lines in inputs.items()]
    records = [Record("t.feeds.ais-nmea", 0, k, name, line) for k, (name, line) in enumerate(rows)]

    async def go() -> None:
        lane = await decoder(kafka, deployed, "ais-nmea")
        await lane.process(records[:2], 1)
        await lane.keep()
        # Another worker goes on: it has what both have begun.
        other = await decoder(kafka, deployed, "ais-nmea")
        assert other.start == 2
        await other.process(records[2:], 1)

    run(go())
    assert not kafka.log("deadletters")
    apart = [item for lines in inputs.values() for item in AisNmea().items(BytesIO(b"\n".join(lines)))]
    expected = [look_json(item).rstrip() for item in apart if isinstance(item, Look)]
    assert [r.value for r in kafka.log("looks")] == expected
    assert all(b"SHIP 2350" in look for look in expected)
