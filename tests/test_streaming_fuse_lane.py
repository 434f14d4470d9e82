"""Fusing one partition: what an embedded engine says, wherever chunks are cut, lanes end or decoders repeat; poison."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from engine_tools import Scenario, disc, report, scan, scenarios, seen, tick, with_latency
from hypothesis import given, settings
from hypothesis import strategies as st
from streaming_tools import (
    NOW_MS,
    FakeKafka,
    FakeProducer,
    FencedError,
    Record,
    cut,
    deployment,
    fuser,
    in_memory,
    look_record,
    look_records,
    run,
)

from apss_fusion.model import Look
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.replay.pipeline_lines import look_json
from apss_fusion.streaming.deployment import Deployment
from apss_fusion.streaming.fuse_lane import WATERMARK, FuseLane, Watermark
from apss_fusion.streaming.headers import TRACK, constant_headers, event_source
from apss_fusion.tracking.engine import Engine

__all__ = ["in_memory"]

CUTS = st.lists(st.integers(1, 150), max_size=6)
#: Looks that confirm tracks, and at their end terminate one, which is looked for and not found.
LOOKS = [
    *Scenario(3, 8, 12).looks(),
    *(report(4000.0 + 10.0 * k, 10.0, 20.0, "235000001") for k in range(4)),
    *(scan(4100.0 + 60.0 * k, disc(10.0, 20.0, 30e3)) for k in range(6)),
]


def embedded(deployed: Deployment, looks: Sequence[Look]) -> list[bytes]:
    """The updates of an engine without Kafka, as lines; what waits for later looks is not among them."""
    return bytes(encode(Engine(deployed.config, deployed.sources).process_many(list(looks)))).splitlines()


def lines(kafka: FakeKafka, partition: int = 0) -> list[bytes]:
    """The track updates that were published."""
    return [r.value for r in kafka.log("tracks", partition) if r.value is not None]


def letters(kafka: FakeKafka) -> list[dict[str, Any]]:
    """The dead letters."""
    return [json.loads(r.value or b"") for r in kafka.log("deadletters")]


async def fused(
    kafka: FakeKafka, deployed: Deployment, parts: Sequence[Sequence[Record]], restart: bool = False
) -> FuseLane:
    """Fuse chunks by one lane, or each by a lane of its own."""
    lane = await fuser(kafka, deployed)
    for part in parts:
        if restart:
            await lane.give_up()
            lane = await fuser(kafka, deployed)
        await lane.process(list(part), 1)
    return lane


# ---------------------------------------------------------------------------------------- the same bytes


@given(scenarios(), CUTS)
@settings(max_examples=20)
def test_chunks_cut_anywhere_give_what_an_engine_gives(scenario: Scenario, cuts: list[int]) -> None:
    looks, kafka, deployed = scenario.looks(), FakeKafka(), deployment()
    run(fused(kafka, deployed, cut(look_records(looks), cuts)))
    assert lines(kafka) == embedded(deployed, looks)


@given(scenarios(), CUTS, st.booleans())
@settings(max_examples=20)
def test_whoever_takes_over_after_any_chunk_goes_on_with_the_same_bytes(
    scenario: Scenario, cuts: list[int], compacted: bool
) -> None:
    """Late looks are taken in as well: the records hold the window."""
    looks, deployed = scenario.looks(), deployment(with_latency(600.0))
    looks = [look for pair in zip(looks[1::2], looks[::2], strict=False) for look in pair]
    parts = cut(look_records(looks), cuts)

    async def go() -> tuple[FakeKafka, FakeKafka]:
        whole, restarted = FakeKafka(), FakeKafka()
        await fused(whole, deployed, parts)
        for part in parts:
            lane = await fuser(restarted, deployed)
            await lane.process(list(part), 1)
            await lane.give_up()
            if compacted:
                restarted.compact()
        assert (await fuser(restarted, deployed)).start == len(looks)
        return whole, restarted

    whole, restarted = run(go())
    assert lines(restarted) == lines(whole)
    whole.compact()
    restarted.compact()
    assert {r.key: r.value for r in restarted.log("fuse-changelog")} == {
        r.key: r.value for r in whole.log("fuse-changelog")
    }


@given(st.lists(st.tuples(st.integers(0, 96), st.integers(1, 30)), max_size=6), CUTS, st.booleans())
@settings(max_examples=20)
def test_looks_that_a_decoder_sends_again_are_fused_once(
    repeats: list[tuple[int, int]], cuts: list[int], restart: bool
) -> None:
    """A decoder that starts again sends, from some look on, a gapless run of what it had sent already."""
    sent = 0
    order: list[int] = []
    for start, count in sorted(repeats, key=lambda repeat: repeat[1]):
        first = min(start, sent)
        order += range(first, min(max(sent, first + count), len(LOOKS)))
        sent = max(sent, min(first + count, len(LOOKS)))
    order += range(sent, len(LOOKS))
    # Two partitions of feeds, whose looks come in between each other; a record of a feed completes two looks.
    origins = [(f"t.feeds.{'ab'[k % 2]}", 3, k // 4, k // 2 % 2) for k in range(len(LOOKS))]
    records = [look_record(LOOKS[k], n, origins[k]) for n, k in enumerate(order)]
    kafka, deployed = FakeKafka(), deployment()
    lane = run(fused(kafka, deployed, cut(records, cuts), restart))
    assert lines(kafka) == embedded(deployed, LOOKS)
    assert not kafka.log("deadletters")
    counted = lane._metrics.registry.get_sample_value("apss_repeated_looks_total", {"partition": "0"}) or 0
    assert restart or counted == len(order) - len(LOOKS)


def test_records_without_an_origin_are_fused_and_repeats_of_them_known_by_their_id() -> None:
    records = [look_record(look, k) for k, look in enumerate([*LOOKS, *LOOKS[-3:]])]
    kafka, deployed = FakeKafka(), deployment(with_latency(3600.0))
    lane = run(fused(kafka, deployed, [records]))
    assert lines(kafka) == embedded(deployed, LOOKS)
    assert not kafka.log("deadletters")
    assert lane._metrics.registry.get_sample_value("apss_duplicate_looks_total", {"partition": "0"}) == 3


# ---------------------------------------------------------------------------------------- what is published


def test_an_update_is_an_event_and_the_end_of_a_track_a_tombstone() -> None:
    kafka = FakeKafka()
    run(fused(kafka, deployment(), cut(look_records(LOOKS), [10, 40])))
    log = kafka.log("tracks")
    ended = [k for k, r in enumerate(log) if r.value and json.loads(r.value)["status"] == "TERMINATED"]
    assert ended
    for k, r in enumerate(log):
        if r.value is None:
            assert k - 1 in ended
            assert r.key == log[k - 1].key
            continue
        assert (k in ended) == (k + 1 < len(log) and log[k + 1].value is None)
        update = json.loads(r.value)
        assert r.key == update["track_id"].encode()
        headers = dict(r.headers)
        assert headers["ce_id"].decode() == f"{update['track_id']}:{update['seq']}"
        assert headers["ce_subject"] == r.key
        assert headers["ce_time"].decode() == update["time"]
        assert set(constant_headers(TRACK, event_source("g"))) <= set(r.headers)


def test_a_region_has_partitions_a_producer_and_an_engine_of_its_own() -> None:
    deployed, kafka = deployment(), FakeKafka()

    async def go() -> None:
        for partition in (0, 1):
            lane = await fuser(kafka, deployed, partition)
            await lane.process([r._replace(partition=partition) for r in look_records(LOOKS[partition::2])], 1)

    run(go())
    assert sorted(kafka.owners) == ["t.fuse-changelog-0", "t.fuse-changelog-1"]
    assert [lines(kafka, partition) for partition in (0, 1)] == [embedded(deployed, LOOKS[k::2]) for k in (0, 1)]
    assert kafka.log("fuse-changelog", 0)
    assert kafka.log("fuse-changelog", 1)


def test_the_watermark_says_how_far_the_state_reaches() -> None:
    kafka, deployed = FakeKafka(), deployment()

    async def go() -> None:
        lane = await fuser(kafka, deployed)
        assert lane.start is None
        await lane.process(look_records(LOOKS[:5], 70), 4)
        assert lane.start == 75
        assert (await fuser(kafka, deployed)).start == 75

    run(go())
    mark = [r.value for r in kafka.log("fuse-changelog") if r.key == WATERMARK][-1]
    assert msgspec.json.decode(mark or b"", type=Watermark) == Watermark(74, {"t.feeds.looks/0": (74, 0)}, 4)


def test_figures() -> None:
    kafka = FakeKafka()
    lane = run(fused(kafka, deployment(), cut(look_records(LOOKS), [10, 40])))
    value = lane._metrics.registry.get_sample_value
    assert value("apss_transactions_total", {"partition": "0"}) == 3
    assert value("apss_track_updates_total", {"partition": "0"}) == len(lines(kafka))
    mine = [look for look in LOOKS if look.source_id == "sar"]
    assert value("apss_looks_total", {"partition": "0", "source": "sar"}) == len(mine)
    seen_ = sum(len(look.detections) for look in mine)
    assert value("apss_detections_total", {"partition": "0", "source": "sar"}) == seen_
    assert value("apss_last_look_time_seconds", {"source": "sar"}) == max(look.time.timestamp() for look in mine)
    alive = {r.key: r.value for r in kafka.log("tracks")}
    confirmed = [v for v in alive.values() if v and json.loads(v)["status"] == "CONFIRMED"]
    assert value("apss_tracks", {"partition": "0", "status": "CONFIRMED"}) == len(confirmed)
    run(lane.give_up())
    assert value("apss_tracks", {"partition": "0", "status": "CONFIRMED"}) is None
    assert value("apss_recovery_seconds", {"topic": "t.looks", "partition": "0"}) is None


# ---------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("topic", ["t.tracks", "t.fuse-changelog", "t.deadletters"])
def test_a_chunk_that_cannot_be_delivered_leaves_no_trace(topic: str) -> None:
    kafka, deployed = FakeKafka(), deployment()
    bad = Record("t.looks", 0, 20, b"k", b"no look")
    parts = [look_records(LOOKS[:20]), [bad, *look_records(LOOKS[20:], 21)]]

    def refuse(to: str) -> None:
        if to == topic:
            raise ConnectionError(f"no leader for {to}")

    async def go() -> None:
        lane = await fused(kafka, deployed, parts[:1])
        before = {name: list(kafka.log(name)) for name in ("tracks", "fuse-changelog", "deadletters")}
        kafka.refuse = refuse
        with pytest.raises(ConnectionError, match="no leader"):
            await lane.process(list(parts[1]), 1)
        assert {name: kafka.log(name) for name in before} == before
        kafka.refuse = lambda topic: None
        # The process ends; the next one goes on from the state.
        lane = await fuser(kafka, deployed)
        assert lane.start == 20
        await lane.process(list(parts[1]), 1)

    run(go())
    assert lines(kafka) == embedded(deployed, LOOKS)
    assert len(letters(kafka)) == 1


def test_whoever_lost_the_partition_can_write_nothing_more() -> None:
    kafka, deployed = FakeKafka(), deployment()
    parts = cut(look_records(LOOKS), [20, 40])

    async def go() -> None:
        asleep = await fuser(kafka, deployed)
        await asleep.process(list(parts[0]), 1)
        owner = await fuser(kafka, deployed)
        with pytest.raises(FencedError):
            await asleep.process(list(parts[1]), 1)
        assert owner.start == 20
        for part in parts[1:]:
            await owner.process(list(part), 2)

    run(go())
    assert lines(kafka) == embedded(deployed, LOOKS)


def test_a_lane_that_is_closed_within_a_chunk_leaves_no_trace() -> None:
    kafka, deployed = FakeKafka(), deployment()

    async def go() -> None:
        lane = await fuser(kafka, deployed)
        task = asyncio.ensure_future(lane.process(look_records(LOOKS), 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await lane.give_up()
        assert isinstance(lane._producer, FakeProducer)
        assert lane._producer.stopped

    run(go())
    assert not kafka.log("tracks")
    assert not kafka.log("fuse-changelog")


# ---------------------------------------------------------------------------------------- poison

GOOD = look_json(LOOKS[0]).rstrip()


def other(**fields: Any) -> bytes:
    """A look's JSON with other values."""
    return json.dumps(json.loads(GOOD) | fields).encode()


PLACE = {"detection_id": "0", "lat": 1.0, "lon": 2.0}


def with_ids(ids: dict[str, str]) -> bytes:
    return other(detections=[PLACE | {"ids": ids}])


@pytest.mark.parametrize(
    ("value", "headers", "timestamp", "reason"),
    [
        (None, (), NOW_MS, "the record has no value"),
        (b"", (), NOW_MS, "the record has no value"),
        (b" \n", (), NOW_MS, "the record has no value"),
        (b"\xef\xbb\xbf", (), NOW_MS, "the record has no value"),
        (b"no look", (), NOW_MS, "not JSON"),
        (b"no look", (), None, "not JSON"),
        (b"no look", (), -1, "not JSON"),
        (b"no look", (), 2**60, "not JSON"),
        (bytes(range(256)), (), NOW_MS, "not JSON"),
        (b"[" * 100_000, (), NOW_MS, "not JSON"),
        (GOOD + b"\n" + GOOD, (), NOW_MS, "not JSON"),
        (GOOD[:-1], (), NOW_MS, "not JSON"),
        (b"{}", (), NOW_MS, "look_id"),
        (other(time="yesterday"), (), NOW_MS, "time"),
        (other(p_detect=7), (), NOW_MS, "p_detect"),
        (GOOD, (("ce_type", b"apss.look.v2"),), NOW_MS, "header ce_type: 'apss.look.v2' is not 'apss.look.v1'"),
        (GOOD, (("ce_dataschema", b"\xff"),), NOW_MS, "header ce_dataschema"),
        (GOOD, (("ce_specversion", None),), NOW_MS, "header ce_specversion"),
        (GOOD, (("origin", None),), NOW_MS, "header origin"),
        (GOOD, (("origin", b""),), NOW_MS, "header origin"),
        (GOOD, (("origin", b"t.feeds.looks/0/1"),), NOW_MS, "header origin"),
        (GOOD, (("origin", b"t.feeds.looks/0/1/-1"),), NOW_MS, "header origin"),
        (GOOD, (("origin", b"t.feeds.looks/0/" + b"9" * 40 + b"/0"),), NOW_MS, "header origin"),
        (GOOD, (("origin", b"\xff/0/1/0"),), NOW_MS, "header origin"),
        (GOOD, (("origin", b"t.feeds.looks/\xb2/1/0"),), NOW_MS, "header origin"),
        (with_ids({"callsign": "x" * 9000}), (), NOW_MS, "a text of more than"),
        (with_ids({str(k): "x" for k in range(3000)}), (), NOW_MS, "ids or classes of more than"),
        (other(detections=[PLACE] * 20_001), (), NOW_MS, "more than 20,000 detections"),
        (other(look_id='"' * 400_000), (), NOW_MS, "a text of more than"),
        (b'"' + b'\\"' * 400_000, (), NOW_MS, "a text of more than"),
        (GOOD, (("ce_type", b"\xff" * 3_000_000),), NOW_MS, "header ce_type"),
        (GOOD, (("origin", b"\0" * 3_000_000),), NOW_MS, "header origin"),
        (GOOD, (("origin", b"x" * 250 + b"/0/1/0"),), NOW_MS, "header origin"),
    ],
)
@pytest.mark.parametrize("at", [0, 20])
def test_a_poison_record_is_a_dead_letter_and_nothing_else_is_lost(
    at: int, value: bytes | None, headers: Any, timestamp: int | None, reason: str
) -> None:
    kafka, deployed = FakeKafka(), deployment()
    looks = LOOKS[:30]
    poison = Record("t.looks", 0, at, b"k", value, headers, timestamp)
    records = [*look_records(looks[:at]), poison, *look_records(looks[at:], at + 1)]
    lane = run(fused(kafka, deployed, [records]))
    assert lines(kafka) == embedded(deployed, looks)
    (letter,) = letters(kafka)
    assert {k: letter[k] for k in ("topic", "partition", "offset")} == {
        "topic": "t.looks",
        "partition": 0,
        "offset": at,
    }
    assert reason in f"{letter['field']}: {letter['reason']}"
    (record,) = kafka.log("deadletters")
    assert record.key == f"t.looks/0/{at}".encode()
    assert dict(record.headers)["ce_type"] == b"apss.deadletter.v1"
    assert (letter["record"] is None) == (value is None)
    # Whoever takes over can read the state.
    assert run(fuser(kafka, deployed)).start == len(records)
    value_of = lane._metrics.registry.get_sample_value
    short = letter["reason"].partition(":")[0]
    assert value_of("apss_dead_letters_total", {"topic": "t.looks", "reason": short}) == 1


def test_a_look_in_several_lines_is_one_look() -> None:
    kafka, deployed = FakeKafka(), deployment()
    pretty = [r._replace(value=json.dumps(json.loads(r.value or b""), indent=1).encode()) for r in look_records(LOOKS)]
    pretty = [r._replace(value=(r.value or b"").replace(b"\n", b"\r\n")) for r in pretty]
    run(fused(kafka, deployed, cut(pretty, [7])))
    assert lines(kafka) == embedded(deployed, LOOKS)
    assert not kafka.log("deadletters")


def test_a_bad_detection_is_a_dead_letter_and_its_look_is_fused() -> None:
    kafka, deployed = FakeKafka(), deployment()
    looks = list(LOOKS[:30])
    k = next(k for k, look in enumerate(looks) if len(look.detections) > 2)
    whole = json.loads(look_json(looks[k]))
    whole["detections"].insert(1, {"detection_id": "bad", "lat": 95.0, "lon": 0.0})
    records = look_records(looks)
    records[k] = records[k]._replace(value=json.dumps(whole).encode())
    run(fused(kafka, deployed, [records]))
    assert lines(kafka) == embedded(deployed, looks)
    (letter,) = letters(kafka)
    assert (letter["offset"], letter["field"]) == (k, "detections[1].lat")


def test_late_looks_and_other_content_under_a_known_id_are_dead_letters_of_their_records() -> None:
    sources = with_latency(60.0)
    kafka, deployed = FakeKafka(), deployment(sources)
    looks = [report(10.0 * k, 50.0, 0.0, "235000001") for k in range(20)]
    late, same, far = report(5.0, 50.0, 0.0, "235000002"), looks[18], tick(10_000.0)
    other_ = msgspec.structs.replace(same, detections=(seen(51.0, 0.0),))
    far = msgspec.structs.replace(far, time_received=looks[0].time)
    records = look_records([*looks, late, same, other_, far, *[report(200.0, 50.0, 0.0, "235000001")]], 100)
    lane = run(fused(kafka, deployed, cut(records, [3, 21])))
    assert lines(kafka) == embedded(deployed, [*looks, report(200.0, 50.0, 0.0, "235000001")])
    assert [letter["offset"] for letter in letters(kafka)] == [120, 122, 123]
    assert lane._metrics.registry.get_sample_value("apss_duplicate_looks_total", {"partition": "0"}) == 1


def test_a_state_that_is_not_ours_is_refused_by_name() -> None:
    kafka = FakeKafka()

    async def go() -> None:
        await fused(kafka, deployment(), [look_records(LOOKS[:5])])
        kafka.append("t.fuse-changelog", 0, [(b"clock", b"\xc1", (), NOW_MS)])
        with pytest.raises(ValueError, match="clock"):
            await fuser(kafka, deployment())

    run(go())
