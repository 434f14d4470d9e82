"""Records are complete: a restart from them goes on with the same bytes, wherever it was cut; others are refused."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from engine_tools import (
    Scenario,
    delayed,
    disc,
    engine,
    lines,
    report,
    scan,
    scenarios,
    seen,
    shift,
    tick,
    with_latency,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from made_looks import looks as any_looks

from apss_fusion.model import Look, Source
from apss_fusion.outputs.track_ndjson import encode
from apss_fusion.tracking.engine import Engine, StateError
from apss_fusion.tracking.rows import DETECTION, LOOK

Records = list[tuple[str, bytes | None]]


def restarted(
    looks: Sequence[Look], cuts: Sequence[int], seed: int, sources: dict[str, Source] | None = None, **overrides: Any
) -> bytes:
    """What is published where the engine stops at every cut and another one goes on from all changes so far.

    Changes are asked for now and then in between too, so that tombstones and several records of a key occur.
    """
    rng = np.random.default_rng(seed)
    e, records, out = engine(sources, **overrides), Records(), []
    ends = [*sorted(cuts), len(looks)]
    for start, stop in zip([0, *ends], ends, strict=False):
        at = start
        while at < stop:
            end = min(stop, at + int(rng.integers(1, 15)))
            out.append(bytes(encode(e.process_many(looks[at:end]))))
            at = end
            if rng.random() < 0.4:
                records += e.changes()
        records += e.changes()
        if stop < len(looks):
            e = engine(sources, **overrides)
            e.load(records)
    out.append(bytes(encode(e.flush())))
    return b"".join(out)


CUTS = st.lists(st.integers(0, 400), min_size=1, max_size=5)


@settings(max_examples=40)
@given(scenarios(10, 14), CUTS, st.booleans())
def test_a_restart_does_not_show(scenario: Scenario, cuts: list[int], tentative: bool) -> None:
    """Broken by any field that is not in the records, by a number of one process in them, by an order of slots."""
    looks = [*scenario.looks(), tick(4_000.0), tick(20_000.0), *two_more_hours(scenario.seed)]
    at = [c % (len(looks) + 1) for c in cuts]
    want = lines(looks, tentative=tentative)
    assert restarted(looks, at, scenario.seed, tentative=tentative) == want


def two_more_hours(seed: int) -> list[Look]:
    """After all tracks have ended, others begin: slots and identities are used again."""
    rng = np.random.default_rng(seed)
    place = shift(50.0, 0.0, *rng.uniform(-9e3, 9e3, 2))
    out = [report(20_100.0 + 400.0 * k, *place, str(200_000_001 + k % 2)) for k in range(8)]
    out += [scan(20_300.0 + 400.0 * k, disc(*place, 30e3), look_id=f"again-{k}") for k in range(6)]
    return sorted(out, key=lambda look: look.time)


@settings(max_examples=40)
@given(scenarios(8, 10), CUTS)
def test_a_restart_does_not_show_while_looks_wait(scenario: Scenario, cuts: list[int]) -> None:
    """With a lag: looks that were held back, their footprints, ids that were met."""
    rng = np.random.default_rng(scenario.seed)
    sources = with_latency(1000.0)
    looks = delayed(scenario.looks(), rng, 1000.0)
    looks.insert(len(looks) // 2, looks[len(looks) // 3])
    at = [c % (len(looks) + 1) for c in cuts]
    want = lines(looks, e=engine(sources))
    assert restarted(looks, at, scenario.seed, sources) == want


@settings(max_examples=25)
@given(scenarios(6, 8), CUTS)
def test_pictures_go_on_where_they_were(scenario: Scenario, cuts: list[int]) -> None:
    looks = scenario.looks()
    e = engine(picture_interval_s=100.0)
    e.process_many(looks)
    e.flush()
    want = e.pictures()
    records, got = Records(), []
    e = engine(picture_interval_s=100.0)
    for k, look in enumerate(looks):
        e.process_many([look])
        if k in {c % len(looks) for c in cuts}:
            got += e.pictures()
            records += e.changes()
            e = engine(picture_interval_s=100.0)
            e.load(records)
    e.flush()
    got += e.pictures()
    assert [msgspec.json.encode(p) for p in got] == [msgspec.json.encode(p) for p in want]


@settings(max_examples=50)
@given(st.lists(any_looks(bad=True), min_size=4, max_size=25), CUTS, st.booleans())
def test_a_restart_does_not_show_whatever_the_looks(looks: list[Look], cuts: list[int], lag: bool) -> None:
    """Fields of any value, known and unknown sources, any order of arrival; also where looks are cut without a restart."""
    sources = {name: with_latency(5000.0 if lag else 0.0)[name] for name in ("ais", "adsb", "sar", "rf")}
    at = [c % (len(looks) + 1) for c in cuts]
    want = lines(looks, e=engine(sources, tentative=True))
    assert lines(looks, at, e=engine(sources, tentative=True)) == want
    assert restarted(looks, at, len(looks), sources, tentative=True) == want


def test_a_restart_after_the_end_of_a_feed() -> None:
    """What was flushed is not waited for: the rest goes on from there, and what is older stays late."""
    sources = with_latency(800.0)
    looks = delayed(Scenario(6, 8, 10).looks(), np.random.default_rng(6), 800.0)
    middle = len(looks) // 2
    out = []
    for restart in (False, True):
        e = engine(sources)
        part = bytes(encode(e.process_many(looks[:middle]))) + bytes(encode(e.flush()))
        if restart:
            records = e.changes()
            e = engine(sources)
            e.load(records)
        out.append(part + bytes(encode(e.process_many(looks[middle - 5 :]))) + bytes(encode(e.flush())))
    assert out[0] == out[1]


def test_a_restart_at_every_look() -> None:
    looks = Scenario(21, 8, 10).looks()
    assert restarted(looks, range(len(looks)), 0) == lines(looks)


def test_sources_that_are_not_registered_and_rich_attributes() -> None:
    """What tracks have beside their state: names, classes, sizes, heights, identities of two, unknown sources."""
    looks = []
    for k in range(12):
        t = 60.0 * k
        fields = {"ids": {"mmsi": str(k % 2), "name": f"N{k % 3}"}, "class_probs": {"cargo": 0.7, "tug": 0.3}}
        looks.append(report(t, 50.0, 0.0, None, source=f"ais/{k % 3}", length_m=100.0 + k, width_m=20.0, **fields))
        looks.append(
            report(
                t + 1.0,
                50.1,
                0.0,
                None,
                source="adsb",
                domain="AIR",
                alt_m=9000.0,
                alt_datum="BARO",
                ids={"icao24": "a"},
            )
        )
        looks.append(report(t + 2.0, 50.2, 0.0, None, source="stranger", domain="GROUND", class_probs={"truck": 0.9}))
    assert restarted(looks, [3, 10, 17, 30], 1) == lines(looks)


def test_changes_are_what_changed() -> None:
    """Keys of ended tracks come once without a record; with nothing new there is the clock alone."""
    e = engine(hold_back=True)
    e.process_many([report(60.0 * k, 50.0, 0.0, "1") for k in range(5)])
    first = e.changes()
    tracks = [key for key, record in first if key.startswith("track:") and record is not None]
    assert len(tracks) == 1
    assert [key for key, _ in e.changes()] == ["clock"]
    e.process_many([tick(50_000.0), tick(50_001.0)])
    after = dict(e.changes())
    assert after[tracks[0]] is None
    assert [key for key, _ in e.changes()] == ["clock"]


def test_an_engine_without_looks_can_be_saved() -> None:
    e = engine()
    records = e.changes()
    other = engine()
    other.load(records)
    looks = Scenario(2, 4, 4).looks()
    assert lines(looks, e=other) == lines(looks)


# ---------------------------------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def saved() -> dict[str, bytes]:
    """The state of an engine with tracks, cells and waiting looks."""
    e = engine(with_latency(600.0))
    e.process_many(delayed(Scenario(8, 8, 10).looks(), np.random.default_rng(0), 600.0))
    records = {key: record for key, record in e.changes() if record is not None}
    assert {key.split(":")[0] for key in records} == {"format", "clock", "track", "cell", "looks"}
    return records


def load(records: dict[str, bytes]) -> Engine:
    e = engine(with_latency(600.0))
    e.load(list(records.items()))
    return e


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (("apss-fusion engine state", 0, sys.byteorder), "version"),
        (("apss-fusion engine state", 3, sys.byteorder), "of version 3 .*; this is version 4"),
        (("apss-fusion engine state", 99, sys.byteorder), "version"),
        (("apss-fusion engine state", 1, "middle"), "version"),
        (("something else", 1, sys.byteorder), "something else"),
        (("apss-fusion engine state",), "format"),
        ("nothing of this kind", "format"),
    ],
)
def test_records_of_another_version_are_refused_by_name(saved: dict[str, bytes], value: Any, words: str) -> None:
    with pytest.raises(StateError, match=words):
        load(saved | {"format": msgspec.msgpack.encode(value)})


@pytest.mark.parametrize("key", ["format", "clock"])
def test_records_without_a_beginning_are_refused(saved: dict[str, bytes], key: str) -> None:
    with pytest.raises(StateError, match=key):
        load({k: v for k, v in saved.items() if k != key})


@settings(max_examples=200)
@given(st.data())
def test_damaged_records_are_refused(saved: dict[str, bytes], data: st.DataObject) -> None:
    """A record that was cut off, is empty or is something else: named, and never half taken."""
    kind = data.draw(st.sampled_from(["clock", "track:", "cell:", "looks:"]))
    key = data.draw(st.sampled_from(sorted(k for k in saved if k.startswith(kind))))
    value = saved[key]
    cut = data.draw(st.integers(0, len(value) - 1))
    damaged = data.draw(st.sampled_from([value[:cut], b"", b"\xc1" + value, b"\x93\x01\x02\x03", b"null"]))
    with pytest.raises(StateError):
        load(saved | {key: damaged})


@pytest.mark.parametrize("key", ["track:xyz", "track:", "track:00", "cell:not-hex", "cell:", "looks:", "looks:one"])
def test_keys_that_name_nothing_are_refused(saved: dict[str, bytes], key: str) -> None:
    kind = key.split(":")[0]
    value = next(v for k, v in saved.items() if k.startswith(kind))
    with pytest.raises(StateError):
        load(saved | {key: value})


@pytest.mark.parametrize("part", range(6))
def test_a_block_of_looks_that_lacks_something_is_refused(saved: dict[str, bytes], part: int) -> None:
    """Rows say how many detections there are and what they name: going by that alone would read beyond the end of arrays."""
    for key, value in saved.items():
        block = msgspec.msgpack.decode(value) if key.startswith("looks:") else None
        if block is not None and block[part]:
            rows = {0: LOOK.itemsize, 1: DETECTION.itemsize}.get(part, 1)
            block[part] = block[part][:-rows]
            with pytest.raises(StateError, match=key):
                load(saved | {key: msgspec.msgpack.encode(block)})
            return
    raise AssertionError("no block has such a part")


def test_unknown_keys_of_a_later_kind_are_left_alone(saved: dict[str, bytes]) -> None:
    """Others may keep their own records beside these (decoders do)."""
    load(saved | {"decoder:ais": b"anything"})


def test_loading_twice_the_same_is_loading_once(saved: dict[str, bytes]) -> None:
    e = engine(with_latency(600.0))
    e.load([*saved.items(), *saved.items()])
    looks = Scenario(8, 8, 10).looks()[-5:]
    other = load(saved)
    assert bytes(encode(e.process_many(looks))) == bytes(encode(other.process_many(looks)))
    assert bytes(encode(e.flush())) == bytes(encode(other.flush()))


def test_the_state_of_some_sources_serves_more_of_them(saved: dict[str, bytes]) -> None:
    """Numbers of sources and attributes are of one process: another register numbers them otherwise."""
    latency = with_latency(600.0)
    more = {"zzz": Source(modality="SAR", max_latency_s=1.0), **dict(reversed(list(latency.items())))}
    e = engine(more)
    e.register.number("zzz")
    e.attributes.number({"mmsi": "1"}, None)
    e.load(list(saved.items()))
    looks = Scenario(8, 8, 10).looks()[-5:]
    other = load(saved)
    assert bytes(encode(e.process_many(looks))) == bytes(encode(other.process_many(looks)))
    assert bytes(encode(e.flush())) == bytes(encode(other.flush()))


def test_a_detection_of_a_waiting_scan_keeps_its_footprint() -> None:
    """Scans wait with their footprint: after a restart they still count as seen where they looked, and nowhere else."""
    sources = with_latency(3000.0)
    looks = [report(100.0 * k, 50.0, 0.0, "1") for k in range(5)]
    looks += [scan(600.0 + 300.0 * k, disc(50.0, 0.0, 50e3), seen(50.2, 0.1, "x")) for k in range(6)]
    want = lines(looks, e=engine(sources))
    assert b'"end_reason":"LOST"' in want
    assert restarted(looks, [7, 9], 3, sources) == want
