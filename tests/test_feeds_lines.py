"""Lines of a stream: the same wherever blocks are cut, whatever ends them, in bounded memory."""

from __future__ import annotations

import io
import re
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apss_fusion.feeds import base
from apss_fusion.feeds.base import lines


class Blocks:
    """A stream whose `read` returns blocks as they are."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, _size: int) -> bytes:
        return next(self._blocks, b"")


@given(st.lists(st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bc", b"\x0b", b"\x85"]), min_size=1), max_size=8))
def test_lines_are_those_of_splitlines_wherever_blocks_are_cut(blocks: list[list[bytes]]) -> None:
    content = b"".join(b"".join(block) for block in blocks)
    expected = re.split(rb"\r\n|\r|\n", content)
    if not expected[-1]:
        expected.pop()
    found = list(lines(Blocks(b"".join(block) for block in blocks)))  # type: ignore[arg-type]
    assert found == list(enumerate(expected, start=1))
    assert [line for _, line in found] == content.splitlines()  # bytes know no other line ends


@given(st.lists(st.tuples(st.integers(0, 70_000), st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=6))
def test_lines_over_several_blocks_of_a_real_stream(parts: list[tuple[int, bytes]]) -> None:
    content = b"".join(b"x" * length + end for length, end in parts)
    assert [line for _, line in lines(io.BytesIO(content))] == content.splitlines()


def test_a_line_over_the_limit_comes_as_none_and_the_next_ones_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_LINE_BYTES", 100_000)
    content = b"a\n" + b"x" * 100_001 + b"\nb\n" + b"y" * 100_000 + b"\n" + b"z" * 300_000
    assert list(lines(io.BytesIO(content))) == [(1, b"a"), (2, None), (3, b"b"), (4, b"y" * 100_000), (5, None)]


def test_a_line_of_100_mb_is_skipped_in_bounded_memory() -> None:
    block = b"x" * 2**16
    stream = Blocks(iter([b"first\n", *[block] * 1600, b"\nlast\n"]))
    tracemalloc.start()
    try:
        found = list(lines(stream))  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [(1, b"first"), (2, None), (3, b"last")]
    assert peak < 3 * base.MAX_LINE_BYTES
