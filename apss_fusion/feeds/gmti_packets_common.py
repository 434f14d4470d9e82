"""Framing of STANAG 4607 packets in a stream of bytes, and finding them again after damage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

#: Larger packets are taken for corrupt (the implementation guide asks for 65,535 bytes at least).
MAX_PACKET_BYTES = 2**20
MAX_SEGMENTS = 4096
HEADER_BYTES = 32
SEGMENT_HEADER_BYTES = 5
MISSION, DWELL, JOB = 1, 2, 5

# P1 two digits, P2 size, P3 nation, P4 classification, P5, P6, P7 exercise indicator, P8 platform, P9, P10.
_HEADER = re.compile(
    rb"[0-9]{2}\x00[\x00-\x10].{2}[A-Z0-9 \x00]{2}[\x00-\x05].{2}.{2}[\x00-\x02\x80-\x82].{18}", re.DOTALL
)
_SEGMENT_TYPES = frozenset({*range(1, 14), 101, 102})
_BLOCK_BYTES = 2**16


class Damage(Struct, frozen=True):
    """Bytes that are no packet, up to the next packet or the end: why, and their beginning.

    The beginning alone is damage too: no packet is found in it.
    """

    reason: str
    record: bytes


def starts_with_packet(head: bytes) -> bool:
    """Whether bytes, perhaps cut anywhere, begin as a packet with a segment of the standard does."""
    size = _packet_size(head, 0)
    if size is None or len(head) < HEADER_BYTES + SEGMENT_HEADER_BYTES:
        return False
    segment_size = int.from_bytes(head[33:37], "big")
    if head[32] not in _SEGMENT_TYPES or not SEGMENT_HEADER_BYTES <= segment_size <= size - HEADER_BYTES:
        return False
    return len(head) < size or _segments(head, 0, size) is not None


def packets(stream: BinaryIO) -> Iterator[bytes | Damage]:
    """Whole packets, whose segments fill them exactly, and what lies between them. Memory stays bounded."""
    window = _Window(stream)
    while window.fill(HEADER_BYTES) or window.size > 0:
        size = _packet_size(window.data, window.at)
        whole = size is not None and window.fill(size)
        if size is not None and whole and _segments(window.data, window.at, size) is not None:
            yield window.data[window.at : window.at + size]
            window.at += size
            continue
        if size is None:
            reason = "the bytes do not begin as a packet header"
        elif whole:
            reason = "the segments do not fill the packet"
        else:
            reason = f"the packet is cut short: {window.size} of {size} bytes"
        record, start = window.data[window.at : window.at + 4096], window.place
        window.at += 1
        _find_packet(window)
        yield Damage(reason, record[: window.place - start])


class _Window:
    """The bytes of a stream from a place `at` on in `data`, as many as were asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._ended = False
        self._passed = 0
        self.data = b""
        self.at = 0

    @property
    def place(self) -> int:
        """How many bytes of the stream lie before."""
        return self._passed + self.at

    @property
    def size(self) -> int:
        return len(self.data) - self.at

    def fill(self, size: int) -> bool:
        """Whether there are `size` bytes, read where need be."""
        if self.size < size and not self._ended:
            blocks = [self.data[self.at :]]
            missing = size - self.size
            while missing > 0 and (block := self._stream.read(max(missing, _BLOCK_BYTES))):
                blocks.append(block)
                missing -= len(block)
            self._ended = missing > 0
            self._passed += self.at
            self.data, self.at = b"".join(blocks), 0
        return self.size >= size


def _find_packet(window: _Window) -> None:
    """Move on to the next packet that has a segment, or to the end of the stream."""
    while window.fill(HEADER_BYTES):
        match = _HEADER.search(window.data, window.at)
        if match is None:
            # A header may begin in the last bytes.
            window.at = len(window.data) - HEADER_BYTES + 1
            continue
        window.at = match.start()
        size = _packet_size(window.data, window.at)
        if size is not None and window.fill(size) and _segments(window.data, window.at, size):
            return
        window.at += 1
    window.at = len(window.data)


def _packet_size(data: bytes, start: int) -> int | None:
    """P2 of a plausible packet header, or None."""
    if _HEADER.match(data, start) is None:
        return None
    size = int.from_bytes(data[start + 2 : start + 6], "big")
    return size if HEADER_BYTES <= size <= MAX_PACKET_BYTES else None


def _segments(data: bytes, start: int, size: int) -> int | None:
    """How many segments fill a packet exactly, or None where they do not."""
    place, end, count = start + HEADER_BYTES, start + size, 0
    while place < end:
        segment_size = int.from_bytes(data[place + 1 : place + SEGMENT_HEADER_BYTES], "big")
        place += segment_size
        count += 1
        if segment_size < SEGMENT_HEADER_BYTES or place > end or count > MAX_SEGMENTS:
            return None
    return count
