"""Several inputs become one sequence: by arrival, never sorted within an input, the first named first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import accumulate, permutations
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_runs import feed, lines, report, run, small_chunks, write

from apss_fusion.replay.merging import Merged, merge
from apss_fusion.replay.pipeline_chunk import Chunk
from apss_fusion.tracking.times import NO_TIME_US

Named = list[tuple[int, str]]


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


def test_merged_files_are_the_file_that_they_were_cut_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = lines(feed())
    one = run(tmp_path / "one", write(tmp_path / "feed", rows))
    # Rows of one arrival stand together in it, so that no two files share a moment.
    arrivals = [str(look.get("time_received") or look["time"]) for look in feed()]
    shares: list[list[bytes]] = [[], [], []]
    for row, arrival in zip(rows, arrivals, strict=True):
        shares[sorted(set(arrivals)).index(arrival) % 3].append(row)
    paths = [write(tmp_path / f"share{k}", share) for k, share in enumerate(shares)]
    for block_bytes in (300, 1200, 1 << 20):
        small_chunks(monkeypatch, block_bytes=block_bytes)
        many = run(tmp_path / "many", *paths)
        assert many.tracks == one.tracks
        assert many.pictures == one.pictures
        for name in ("records_in", "duplicates", "late", "dead_letters", "looks"):
            assert many.summary[name] == one.summary[name]


def test_where_chunks_end_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a file whose arrivals are out of order: its clock goes on from chunk to chunk."""
    ahead = [report(0, 100.0), *[report(0, float(t)) for t in range(50, 90)]]
    beside = [report(1, float(t)) for t in range(50, 120)]
    paths = [write(tmp_path / "ahead", lines(ahead)), write(tmp_path / "beside", lines(beside))]
    config = {"lag_s": 20.0}
    one = run(tmp_path / "one", *paths, config=config)
    # The clock of the first stands at 100 s: what stands behind in it comes when the second is there too.
    assert one.summary["by_source"]["ais"]["late"] == 30
    for items, block_bytes in ((1, 300), (3, 900), (5, 2500)):
        small_chunks(monkeypatch, items, block_bytes)
        many = run(tmp_path / "many", *paths, config=config)
        assert (many.tracks, many.pictures) == (one.tracks, one.pictures)
        assert many.summary["late"] == one.summary["late"]


def test_pictures_do_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    """Within the lag, looks may arrive in any order; of what is turned away nothing is left in a picture."""
    looks = [one for one in feed() if one["look_id"] not in ("a-late", "a-future")]
    seen: set[str] = set()
    looks = [one for one in looks if not (one["look_id"] in seen or seen.add(one["look_id"]))]
    in_order = sorted(looks, key=lambda one: str(one["time"]))
    config = {"lag_s": 400.0}
    one = run(tmp_path / "a", write(tmp_path / "1", lines(in_order)), config=config)
    assert one.summary["late"] == 0
    rng = np.random.default_rng(5)
    for _ in range(4):
        mixed = [looks[i] for i in rng.permutation(len(looks))]
        two = run(tmp_path / "b", write(tmp_path / "2", lines(mixed)), config=config)
        assert two.summary["late"] == 0
        assert two.pictures == one.pictures
        assert two.tracks == one.tracks
