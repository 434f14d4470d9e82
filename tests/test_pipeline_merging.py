"""Several inputs become one sequence: by arrival, never sorted within an input, the first named first."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from itertools import accumulate, permutations
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_runs import feed, lines, report, run, small_chunks, write

from apss_fusion.replay import pipeline
from apss_fusion.replay.merging import Merged, merge
from apss_fusion.replay.pipeline_chunk import Chunk
from apss_fusion.tracking.engine import Engine
from apss_fusion.tracking.times import NO_TIME_US

Named = list[tuple[int, str]]


both_modes = pytest.mark.parametrize("hold_back", [False, True], ids=["on arrival", "held back"])


def chunks(named: Named, sizes: list[int]) -> Iterator[Chunk]:
    """Chunks of so many looks each, some of them empty; a look is only its name here."""
    clocks = list(accumulate((time for time, _ in named), max))
    at = 0
    for size in [*sizes, len(named)]:
        part = slice(at, at + size)
        at += size
        looks = cast(Any, [name for _, name in named[part]])
        yield Chunk(cast(Any, None), looks, None, np.array(clocks[part], np.int64))


def by_clock(inputs: list[Named]) -> list[str]:
    """The same by the heap of the standard library."""
    keyed = [
        [(clock, number, place, name) for place, (clock, (_, name)) in enumerate(zip(clocks, named, strict=True))]
        for number, named in enumerate(inputs)
        for clocks in [list(accumulate((time for time, _ in named), max))]
    ]
    return [name for *_, name in heapq.merge(*keyed)]


TIMES = st.lists(st.integers(0, 12), max_size=12)


@given(st.lists(st.tuples(TIMES, st.lists(st.integers(0, 4), max_size=5)), max_size=4))
def test_as_a_heap_would_merge_them(inputs: list[tuple[list[int], list[int]]]) -> None:
    named = [[(time, f"{k}/{i}") for i, time in enumerate(times)] for k, (times, _) in enumerate(inputs)]
    out: list[str] = []
    for merged in merge([chunks(one, sizes) for one, (_, sizes) in zip(named, inputs, strict=True)]):
        looks = cast(list[str], merged.looks())
        assert len(looks) == len(merged)
        assert [names(merged, i) for i in range(len(merged))] == looks
        out += looks
    assert out == by_clock(named)


def names(merged: Merged, i: int) -> str:
    chunk, k = merged.place(i)
    return cast(str, chunk.looks[k])


def test_one_chunk_of_each_input_is_held() -> None:
    """The next chunk is read when the one before is used up, not earlier."""
    read: list[str] = []

    def slow(name: str, first: int) -> Iterator[Chunk]:
        for k in range(5):
            read.append(name)
            times = np.arange(first + 10 * k, first + 10 * k + 10, dtype=np.int64)
            yield Chunk(cast(Any, None), cast(Any, [name] * 10), None, times)

    held = 0
    for merged in merge([slow("a", 0), slow("b", 0), slow("late", 1_000)]):
        held = max(held, read.count("late"))
        if merged.parts and merged.parts[0][0].looks[0] in cast(Any, ("a", "b")):
            assert read.count("late") == 1
    assert read.count("late") == 5


def test_no_arrival_is_before_the_first() -> None:
    assert NO_TIME_US < -(2**62)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_the_inputs_does_not_matter(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Looks of one arrival time each lie in one file here, so that the merged sequence is the same."""
    looks = [one for one in feed() if one["look_id"].startswith(("a", "s", "f"))]
    by_source = [[one for one in looks if one["source_id"] == name] for name in ("ais", "sar", "adsb")]
    paths = [write(tmp_path / f"{k}", lines(rows)) for k, rows in enumerate(by_source)]
    straight = run(tmp_path / "straight", *paths)
    other = run(tmp_path / "other", *[paths[k] for k in order])
    assert other.tracks == straight.tracks
    assert other.pictures == straight.pictures


@both_modes
def test_merged_files_are_the_file_that_they_were_cut_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold_back: bool
) -> None:
    config = {"hold_back": hold_back}
    looks = sorted(feed(), key=lambda one: str(one.get("time_received") or one["time"]))
    rows = lines(looks)
    one = run(tmp_path / "one", write(tmp_path / "feed", rows), config=config)
    # Rows of one arrival stand together in it, so that no two files share a moment.
    arrivals = [str(look.get("time_received") or look["time"]) for look in looks]
    shares: list[list[bytes]] = [[], [], []]
    for row, arrival in zip(rows, arrivals, strict=True):
        shares[sorted(set(arrivals)).index(arrival) % 3].append(row)
    paths = [write(tmp_path / f"share{k}", share) for k, share in enumerate(shares)]
    for block_bytes in (300, 1200, 1 << 20):
        small_chunks(monkeypatch, block_bytes=block_bytes)
        many = run(tmp_path / "many", *paths, config=config)
        assert many.tracks == one.tracks
        assert many.pictures == one.pictures
        for name in ("records_in", "duplicates", "late", "dead_letters", "looks", "out_of_order", "late_looks"):
            assert many.summary[name] == one.summary[name]


@both_modes
def test_where_chunks_end_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold_back: bool) -> None:
    """Also of a file whose arrivals are out of order: its clock goes on from chunk to chunk."""
    ahead = [report(0, 100.0), *[report(0, float(t)) for t in range(50, 90)]]
    beside = [report(1, float(t)) for t in range(50, 120)]
    paths = [write(tmp_path / "ahead", lines(ahead)), write(tmp_path / "beside", lines(beside))]
    config = {"lag_s": 20.0, "hold_back": hold_back}
    one = run(tmp_path / "one", *paths, config=config)
    # The clock of the first stands at 100 s: what stands behind in it comes when the second is there too.
    assert one.summary["by_source"]["ais"]["late"] == 30
    for items, block_bytes in ((1, 300), (3, 900), (5, 2500)):
        small_chunks(monkeypatch, items, block_bytes)
        many = run(tmp_path / "many", *paths, config=config)
        assert (many.tracks, many.pictures) == (one.tracks, one.pictures)
        for name in ("late", "out_of_order", "disorder_median_s", "disorder_max_s", "late_looks", "by_source"):
            assert many.summary[name] == one.summary[name]


def standing(tracks: bytes) -> set[str]:
    """Tracks that live at the end, as they were written last."""
    last = {update["track_id"]: update["status"] for update in map(json.loads, tracks.splitlines())}
    return {name for name, status in last.items() if status != "TERMINATED"}


@both_modes
def test_pictures_do_not_depend_on_the_order_of_arrival(tmp_path: Path, hold_back: bool) -> None:
    """Within the lag, looks may arrive in any order; of what is turned away nothing is left in a picture.

    Held back, all that is written is the same; fused on arrival, the tracks that are there at the end.
    """
    looks = [one for one in feed() if one["look_id"] not in ("a-late", "a-future")]
    seen: set[str] = set()
    looks = [one for one in looks if not (one["look_id"] in seen or seen.add(one["look_id"]))]
    in_order = sorted(looks, key=lambda one: str(one["time"]))
    config: dict[str, Any] = {"lag_s": 400.0, "hold_back": hold_back}
    one = run(tmp_path / "a", write(tmp_path / "1", lines(in_order)), config=config)
    assert one.summary["late"] == 0
    assert len(standing(one.tracks)) == one.summary["tracks_confirmed"] >= 5
    rng = np.random.default_rng(5)
    for _ in range(4):
        mixed = [looks[i] for i in rng.permutation(len(looks))]
        two = run(tmp_path / "b", write(tmp_path / "2", lines(mixed)), config=config)
        assert two.summary["late"] == 0
        assert two.pictures == one.pictures
        assert standing(two.tracks) == standing(one.tracks)
        assert two.summary["tracks_confirmed"] == one.summary["tracks_confirmed"]
        assert two.summary["tracks_by_domain"] == one.summary["tracks_by_domain"]
        assert two.summary["out_of_order"] > 0.8
        if hold_back:
            assert two.tracks == one.tracks
        else:
            assert two.summary["late_looks"]["late_fused"] > 30
            assert two.summary["late_looks"]["pending"] == 0


def test_pictures_do_not_depend_on_whether_looks_wait(tmp_path: Path) -> None:
    """Also where each domain has a lag of its own: a picture is complete by the longest of them."""
    path = write(tmp_path / "feed", lines(feed()))
    at_once, waiting = (run(tmp_path / "run", path, config={"hold_back": hold_back}) for hold_back in (False, True))
    assert at_once.pictures == waiting.pictures
    assert at_once.tracks != waiting.tracks


@both_modes
def test_pictures_of_a_long_gap_are_written_as_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold_back: bool
) -> None:
    """One look makes those of three silent days; they are written before it has been fused, not gathered."""
    fusing = False
    written: list[bool] = []
    process_many, to_json = Engine.process_many, pipeline.picture_json

    def process(engine: Engine, looks: Any) -> Any:
        nonlocal fusing
        fusing = True
        updates = process_many(engine, looks)
        fusing = False
        return updates

    def picture_json(picture: Any) -> bytes:
        written.append(fusing)
        return to_json(picture)

    monkeypatch.setattr(Engine, "process_many", process)
    monkeypatch.setattr(pipeline, "picture_json", picture_json)
    looks = [report(0, float(t)) for t in (0, 10, 3 * 86_400)]
    one = run(tmp_path / "run", write(tmp_path / "feed", lines(looks)), config={"hold_back": hold_back})
    assert one.pictures.count(b"\n") == len(written) == 3 * 2_880
    assert written.count(False) < 10
