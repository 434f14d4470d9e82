"""STANAG 4607: packets that are damaged, cut or something else."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_feeds_gmti_encoder import dwell, job_definition, mission, packet, segment, target
from test_feeds_sar_tally import claims, tally

from apss_fusion.feeds.base import Decoded, Item
from apss_fusion.feeds.gmti_packets_common import MAX_PACKET_BYTES, Damage, packets, starts_with_packet
from apss_fusion.feeds.stanag4607 import Stanag4607

PACKETS = [
    packet(mission(), job_definition(pd_percent=85)),
    *(packet(dwell({3: n}, [target(45.0 + n / 100), target(45.1)])) for n in range(4)),
    packet(segment(6, b"x" * 24)),
]
WHOLE = b"".join(PACKETS)


class Slow(io.BytesIO):
    """Gives a few bytes at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 7, 7) if size is None or size >= 0 else 7)


class TestFraming:
    def test_packets_come_whole_however_the_stream_is_cut(self) -> None:
        assert list(packets(io.BytesIO(WHOLE))) == PACKETS
        assert list(packets(Slow(WHOLE))) == PACKETS
        assert list(packets(io.BytesIO(b""))) == []

    @pytest.mark.parametrize("noise", [b"\x00", b"noise", b"3", b"31", b"\xff" * 1000, bytes(range(256)) * 300])
    def test_noise_between_packets_is_one_piece_of_damage(self, noise: bytes) -> None:
        for source in (io.BytesIO, Slow):
            found = list(packets(source(PACKETS[0] + noise + PACKETS[1] + noise)))
            assert [type(item) for item in found] == [bytes, Damage, bytes, Damage]
            assert [item for item in found if isinstance(item, bytes)] == PACKETS[:2]

    def test_a_packet_whose_size_is_wrong_costs_itself_only(self) -> None:
        for size in (0, 31, 33, 200, len(PACKETS[1]) + 1, 60_000, 2**31):
            broken = PACKETS[1][:2] + size.to_bytes(4, "big") + PACKETS[1][6:]
            found = list(packets(io.BytesIO(PACKETS[0] + broken + PACKETS[2])))
            assert [type(item) for item in found] == [bytes, Damage, bytes], size

    def test_a_segment_whose_size_is_wrong(self) -> None:
        for size in (0, 4, 6, 2**32 - 1):
            broken = PACKETS[1][:33] + size.to_bytes(4, "big") + PACKETS[1][37:]
            found = list(packets(io.BytesIO(broken + PACKETS[2])))
            assert [type(item) for item in found] == [Damage, bytes]
            assert isinstance(found[0], Damage) and "segments" in found[0].reason

    def test_cut_anywhere(self) -> None:
        ends = [len(b"".join(PACKETS[:n])) for n in range(len(PACKETS) + 1)]
        for end in range(len(WHOLE)):
            found = list(packets(io.BytesIO(WHOLE[:end])))
            whole = max(n for n, place in enumerate(ends) if place <= end)
            assert found[:whole] == PACKETS[:whole]
            assert len(found) == whole + (end not in ends)
            if end not in ends:
                assert isinstance(found[-1], Damage)

    def test_the_largest_packet(self) -> None:
        fill = MAX_PACKET_BYTES - len(packet(segment(6, b"")))
        assert len(list(packets(io.BytesIO(packet(segment(6, bytes(fill))) + PACKETS[0])))) == 2
        found = list(packets(io.BytesIO(packet(segment(6, bytes(fill + 1))) + PACKETS[0])))
        assert [type(item) for item in found] == [Damage, bytes]

    def test_a_packet_of_too_many_segments(self) -> None:
        found = list(packets(io.BytesIO(packet(*[segment(9, b"")] * 4097) + PACKETS[0])))
        assert [type(item) for item in found] == [Damage, bytes]

    def test_megabytes_of_headers_that_lead_nowhere(self) -> None:
        """Every byte may begin a header of a large packet: the search ends, and finds the packet behind."""
        bait = (b"31\x00\x0f\xff\xffLU\x05  \x00\x00\x00" + b"31" * 9) * 2000
        found = list(packets(io.BytesIO(bait + PACKETS[0])))
        assert [type(item) for item in found] == [Damage, bytes]


class TestDecoding:
    def test_a_damaged_packet_is_one_dead_letter_with_its_number(self) -> None:
        broken = PACKETS[2][:2] + b"\xff" + PACKETS[2][3:]
        result = tally(Stanag4607, b"".join([*PACKETS[:2], broken, *PACKETS[3:]]))
        assert [(r.line, r.is_record) for r in result.rejects] == [(3, True)]
        assert (len(result.looks), result.records) == (3, 6)

    def test_a_cut_file(self) -> None:
        result = tally(Stanag4607, WHOLE[:-3])
        assert [(r.line, r.is_record) for r in result.rejects] == [(6, True)]
        assert "cut short" in result.rejects[0].reason
        assert (len(result.looks), result.records) == (4, 6)

    @pytest.mark.parametrize(
        "bad",
        [
            segment(2, b"\x00" * 4),
            segment(2, b"\x00" * 60),
            segment(2, dwell()[5:] + b"\x00"),
            segment(2, dwell()[5:-1]),
            segment(2, b"\xff" * 8 + dwell({3: 9})[13:]),
            segment(1, b"\x00" * 39),
            segment(1, mission()[5:-1]),
            mission(2023, 2, 29),
            mission(0, 1, 1),
            mission(9999, 12, 31),
            segment(5, b"\x00" * 10),
        ],
    )
    def test_a_segment_that_cannot_be_read(self, bad: bytes) -> None:
        alone = tally(Stanag4607, packet(mission()) + packet(bad))
        assert [(r.line, r.is_record) for r in alone.rejects] == [(2, True)]
        assert (alone.looks, alone.records) == ([], 2)
        # Beside a good dwell it does not cost the packet.
        beside = tally(Stanag4607, packet(mission()) + packet(bad, dwell()))
        assert [(r.line, r.is_record) for r in beside.rejects] == [(2, False)]
        assert (len(beside.looks), beside.records) == (1, 2)

    def test_what_was_read_before_a_fault_of_reading_is_not_lost(self) -> None:
        class Faulty(Slow):
            def read(self, size: int | None = -1, /) -> bytes:
                if data := super().read(size):
                    return data
                raise OSError("the disk is gone")

        items: list[Item] = []
        with pytest.raises(OSError, match="the disk is gone"):
            for item in Stanag4607().items(Faulty(WHOLE)):
                items.append(item)
        assert sum(isinstance(item, Decoded) for item in items) == 4

    @given(data=st.data())
    def test_fuzz(self, data: st.DataObject) -> None:
        """Bytes changed, taken out or put in: nothing raises, and every packet that was not touched is there."""
        content = list(PACKETS)
        touched = data.draw(st.sets(st.integers(0, len(content) - 1), min_size=1, max_size=3))
        for n in touched:
            place = data.draw(st.integers(0, len(content[n]) - 1))
            size = data.draw(st.integers(0, 8))
            content[n] = content[n][:place] + data.draw(st.binary(max_size=8)) + content[n][place + size :]
        result = tally(Stanag4607, b"".join(content))
        again = tally(Stanag4607, b"".join(content))
        assert result == again
        if 0 not in touched:
            assert len(result.looks) >= 4 - len(touched)

    @given(st.integers(0, 2**32))
    def test_noise(self, seed: int) -> None:
        noise = random.Random(seed).randbytes(3000)
        assert tally(Stanag4607, noise).records == 1
        assert tally(Stanag4607, noise + WHOLE).records == 7


class TestRecognition:
    def test_a_head_cut_anywhere(self) -> None:
        for end in range(len(WHOLE)):
            head = WHOLE[:end]
            assert claims(head) == (["gmti-4607"] if end >= 37 else [])

    @pytest.mark.parametrize(
        "head",
        [
            b"31,45.0,10.0,2024-01-01T00:00:00Z\n" * 10,
            b"31" + bytes(100),
            b"\x00" * 100,
            packet(),
            packet(segment(14, b"")),
            packet(segment(2, b""))[:35] + b"\xff\xff" + bytes(60),
            b" " + WHOLE,
        ],
    )
    def test_what_is_none(self, head: bytes) -> None:
        assert not starts_with_packet(head)
