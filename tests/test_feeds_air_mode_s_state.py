"""Raw Mode S frames: parts of a feed, heads of files, mutated lines, a recorded flight."""

from __future__ import annotations

import gzip
import io
import json

import msgspec
import pytest
from conftest import recorded
from hypothesis import given, settings
from hypothesis import strategies as st
from test_feeds_air_common import (
    BrokenStream,
    check_items,
    decode,
    distance_m,
    kinds,
    looks_of,
    mutated,
    records,
    speeds,
)
from test_feeds_air_mode_s import EVEN, IDENT, ODD, airborne, frame, others, stream, surface, velocity

from apss_fusion.feeds import mode_s
from apss_fusion.feeds.base import Item, Reject, Used, lines
from apss_fusion.feeds.mode_s import ModeS
from apss_fusion.model import Look


def made_traffic() -> list[tuple[float, str]]:
    """Three aircraft for half a minute, with everything that is remembered between frames."""
    frames = []
    for step in range(60):
        for n, icao in enumerate(("40621d", "393322", "a0b1c2")):
            t, lat, lon = 0.5 * step + 0.1 * n, 50.0 + 0.001 * step, 8.0 + n
            frames.append((t, airborne(lat, lon, (step + n) % 2 == 1, icao)))
            if step % 3 == n:
                frames.append((t + 0.01, velocity(100 + step, 200 + n, icao)))
            if step % 20 == n:
                frames.append((t + 0.02, others(IDENT, icao)))
                frames.append((t + 0.03, frame(0xF8230002004AB8, icao)))
            if step > 40 and n == 0:
                frames.append((t + 0.04, surface(lat, lon, False, icao)))
    return frames


class TestState:
    def test_cut_anywhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        frames = made_traffic()
        whole = decode(ModeS, stream(*frames))
        assert kinds(whole)["Look"] > 190
        for cut in range(0, len(frames) + 1, 7):
            monkeypatch.setattr(mode_s, "_BLOCK", 1 + cut % 50)
            first, second = ModeS(), ModeS()
            items = decode(first, stream(*frames[:cut]))
            second.restore(first.state())
            items += decode(second, stream(*frames[cut:]))
            assert without_lines(items) == without_lines(whole)
            assert second.state() == decoded_state(frames)

    def test_state_is_that_of_the_items_given(self) -> None:
        """A run that ends in the middle of a block goes on from the item that it gave last."""
        frames = made_traffic()
        whole = decode(ModeS, stream(*frames))
        for cut in (1, 50, 111):
            first, second = ModeS(), ModeS()
            reader = first.items(io.BytesIO(stream(*frames)))
            items = [next(reader) for _ in range(cut)]
            second.restore(first.state())
            items += decode(second, stream(*frames[cut:]))
            assert without_lines(items) == without_lines(whole)

    def test_nothing_to_restore(self) -> None:
        decoder = ModeS()
        decoder.restore(b"")
        decoder.restore(ModeS().state())
        assert kinds(decode(decoder, stream((0, EVEN), (1, ODD)))) == {"Used": 1, "Look": 1}

    def test_what_was_good_before_a_fault_is_given(self) -> None:
        reader = ModeS().items(BrokenStream(stream((0, EVEN), (1, ODD))))
        assert isinstance(next(reader), Used)
        assert isinstance(next(reader), Look)
        with pytest.raises(EOFError):
            next(reader)


def decoded_state(frames: list[tuple[float, str]]) -> bytes:
    decoder = ModeS()
    decode(decoder, stream(*frames))
    return decoder.state()


def without_lines(items: list[Item]) -> list[Item]:
    return [msgspec.structs.replace(item, line=None) if isinstance(item, Reject) else item for item in items]


class TestRecognition:
    def test_cut_heads(self) -> None:
        data = stream((0, EVEN), (1, ODD))
        line = data.index(b"\n")
        assert all(ModeS.recognises(data[:cut]) for cut in range(line, len(data)))
        assert ModeS.recognises(b"\xef\xbb\xbf" + data)
        assert ModeS.recognises(b"broken\n" + data)
        assert not any(ModeS.recognises(data[:cut]) for cut in range(line - 1))

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x00\xff" * 100,
            b'{"timestamp": 1720248189.5}\n',
            b'{"timestamp": 1720248189.5, "frame": "video-0001"}\n',
            b'{"timestamp": "2020-01-01T00:00:00Z", "frame": "5d484ba2a3f2c4"}\n',
            b'[{"timestamp": 1720248189.5, "frame": "5d484ba2a3f2c4"}]\n',
        ],
    )
    def test_others(self, data: bytes) -> None:
        assert not ModeS.recognises(data)


@settings(max_examples=150)
@given(data=mutated(stream(*made_traffic()[:40])))
def test_mutated_lines_never_raise_and_add_up(data: bytes) -> None:
    items = decode(ModeS, data)
    check_items(items)
    assert records(items) == sum(1 for _, line in lines(io.BytesIO(data)) if line is None or line.strip())


@given(messages=st.lists(st.tuples(st.integers(0, 2**56 - 1), st.sampled_from((0x8D, 0x90, 0x92))), max_size=30))
def test_any_valid_frames_give_sound_items(messages: list[tuple[int, int]]) -> None:
    items = decode(ModeS, stream(*((0.3 * n, frame(m, first=first)) for n, (m, first) in enumerate(messages))))
    check_items(items)
    assert records(items) == len(messages)


@pytest.fixture(scope="module")
def data() -> bytes:
    return gzip.decompress(recorded("adsb/modes_full_flight.jsonl.gz").read_bytes())


@pytest.fixture(scope="module")
def items(data: bytes) -> list[Item]:
    return decode(ModeS, data)


@pytest.mark.feeds
class TestRecordedFlight:
    """57,793 frames of one flight from Paris to Toulouse, with the fields that another program decoded."""

    def test_counts(self, items: list[Item]) -> None:
        assert kinds(items) == {
            "downlink format without a position": 42_220,
            "Used": 7_254,
            "Look": 6_555,
            "surface position without one before it": 1_257,
            "heard by a second receiver": 507,
        }

    def test_positions_are_those_of_the_other_program(self, data: bytes, items: list[Item]) -> None:
        compared = 0
        for line, item in zip(data.splitlines(), items, strict=True):
            if isinstance(item, Look):
                theirs, ours = json.loads(line), item.detections[0]
                assert distance_m((ours.lat, ours.lon), (theirs["latitude"], theirs["longitude"])) < 1e-3
                if "altitude" in theirs:
                    assert ours.alt_m == pytest.approx(theirs["altitude"] * 0.3048)
                compared += 1
        assert compared == 6_555

    def test_velocities_fit_the_positions(self, items: list[Item]) -> None:
        looks = looks_of(items)
        assert len({look.look_id for look in looks}) == len(looks)
        assert {look.detections[0].ids["callsign"] for look in looks if look.detections[0].ids} == {"AFR34ZG"}
        differences = sorted(
            speed - stated
            for seconds, speed, look in speeds(looks[::10])
            if 2.0 < seconds < 20.0 and (stated := look.detections[0].speed_mps) is not None
        )
        assert len(differences) == 655
        # The aircraft sends a position twice now and then, half a second late.
        assert abs(differences[327]) < 0.5
        assert differences[20] > -10.0
        assert differences[-20] < 10.0
        assert max(map(abs, differences)) < 40.0

    def test_cut_anywhere(self, data: bytes, items: list[Item]) -> None:
        rows = data.splitlines(keepends=True)
        for cut in (1, 1_234, 30_000):
            first, second = ModeS(), ModeS()
            parts = decode(first, b"".join(rows[:cut]))
            second.restore(first.state())
            assert parts + decode(second, b"".join(rows[cut:])) == items

    def test_recognised(self, data: bytes) -> None:
        assert ModeS.recognises(data[: 2**16])
