"""Feeds in step: none is decoded further ahead of another than it may, and none waits for ever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from streaming_tools import run

from apss_fusion.streaming import pace
from apss_fusion.streaming.pace import Pace, arrival_ms


def records(*seconds: float) -> list[Any]:
    """Records that say when they arrived in a header, and others by their time stamp."""
    return [
        SimpleNamespace(timestamp=5.0, headers=[("piece", b"1"), ("arrival", utc(s).encode())])
        if k % 2
        else SimpleNamespace(timestamp=s * 1e3, headers=())
        for k, s in enumerate(seconds)
    ]


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


class Feeds:
    """Feeds that are decoded side by side, each in its own order; what is decoded in which order."""

    def __init__(self, step_s: float, feeds: list[list[float]]) -> None:
        self.feeds = feeds
        self.at: dict[int, float | None] = {k: feed[0] * 1e3 if feed else None for k, feed in enumerate(feeds)}
        self.pace = Pace(step_s, self.oldest_ms)
        self.decoded: list[tuple[int, float]] = []

    def oldest_ms(self, asking: int) -> float | None:
        return min((front for k, front in self.at.items() if k != asking and front is not None), default=None)

    async def decode(self, number: int) -> None:
        waiting, start = records(*self.feeds[number]), 0
        while start < len(waiting):
            self.at[number] = arrival_ms(waiting[start])
            stop = await self.pace.reach(number, waiting, start)
            assert stop > start
            for r in waiting[start:stop]:
                self.decoded.append((number, arrival_ms(r) / 1e3))
            await asyncio.sleep(0)
            start = stop
        self.at[number] = None

    async def all(self) -> None:
        await asyncio.gather(*(self.decode(number) for number in range(len(self.feeds))))


_feed = st.lists(st.integers(0, 300), max_size=12).map(sorted)


@given(st.lists(_feed, min_size=1, max_size=4), st.sampled_from([1, 10, 60]))
def test_what_is_decoded_is_never_older_than_another_by_more_than_a_step(feeds: list[list[float]], step_s: int) -> None:
    rig = Feeds(step_s, feeds)
    run(rig.all())
    assert sorted(rig.decoded) == sorted((k, s) for k, feed in enumerate(feeds) for s in feed)
    newest = -1e9
    for _, seconds in rig.decoded:
        assert seconds >= newest - step_s
        newest = max(newest, seconds)


def test_a_feed_alone_goes_as_far_as_it_has_records() -> None:
    assert run(Pace(1.0, lambda asking: None).reach(None, records(0, 100, 1000), 0)) == 3


def test_who_does_not_get_on_is_not_waited_for_for_ever(monkeypatch: Any) -> None:
    monkeypatch.setattr(pace, "PATIENCE_S", 0.0)
    stuck = Pace(10.0, lambda asking: 0.0)
    assert run(stuck.reach(None, records(100, 105, 111), 0)) == 2


def test_who_waits_stops_where_it_is_when_partitions_are_given_back() -> None:
    async def go() -> int:
        held = Pace(10.0, lambda asking: 0.0)
        waiting = asyncio.ensure_future(held.reach(None, records(100, 200), 0))
        await asyncio.sleep(0)
        assert not waiting.done()
        held.halt()
        assert await waiting == 0
        assert await held.reach(None, records(0, 1), 1) == 1
        held.go_on()
        return await held.reach(None, records(0, 10, 11), 0)

    assert run(go()) == 2


def test_an_arrival_that_is_no_time_is_not_believed() -> None:
    assert arrival_ms(SimpleNamespace(timestamp=7, headers=[("arrival", b"yesterday")])) == 7.0
    assert arrival_ms(SimpleNamespace(timestamp=None, headers=[("arrival", None)])) == 0.0
