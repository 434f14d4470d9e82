"""What the tests of the decoders of SAR, EO and GMTI share: decode, check, count."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import msgspec
from hypothesis import strategies as st

from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.feeds.registry import decoders
from apss_fusion.model import Detection, Look


class Tally(NamedTuple):
    """What came of an input."""

    looks: list[Look]
    rejects: list[Reject]
    ignored: list[Ignored]
    records: int

    @property
    def detections(self) -> list[Detection]:
        return [detection for look in self.looks for detection in look.detections]


def tally(decoder: type[Decoder] | Decoder, content: bytes | str) -> Tally:
    """Decode, check that every look is one by the contract and can be written, and count records."""
    reader = decoder if isinstance(decoder, Decoder) else decoder()
    items: list[Item] = list(reader.items(io.BytesIO(content.encode() if isinstance(content, str) else content)))
    looks, records = [], 0
    for item in items:
        if isinstance(item, Decoded):
            assert msgspec.json.decode(msgspec.json.encode(item.look), type=Look) == item.look
            looks.append(item.look)
            records += item.records
        elif isinstance(item, Reject):
            assert item.reason
            records += item.is_record
        else:
            assert isinstance(item, Used | Ignored)
            records += item.records
    ids = [detection.detection_id for look in looks for detection in look.detections]
    assert len(ids) == len(set(ids))
    rejects = [item for item in items if isinstance(item, Reject)]
    return Tally(looks, rejects, [item for item in items if isinstance(item, Ignored)], records)


def claims(head: bytes) -> list[str]:
    """Names of all formats that recognise an input."""
    return [decoder.name for decoder in decoders() if decoder.recognises(head)]


def data_lines(content: bytes) -> int:
    """Records of a table, counted without the decoder: lines with something in them but the first."""
    return max(sum(1 for line in content.splitlines() if line.strip()) - 1, 0)


def inside(lon: float, lat: float, ring: Iterable[list[float]]) -> bool:
    """Whether a point lies in a ring on the plane of longitude and latitude (rays to the east, crossings counted)."""
    corners = list(ring)
    crossings = 0
    for (x1, y1), (x2, y2) in pairwise(corners):
        if (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1):
            crossings += 1
    return crossings % 2 == 1


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with a few bytes changed, taken out or put in, or cut."""
    data = bytearray(content)
    noise = st.sampled_from(
        [b"", b"\x00", b"\xff\xfe", b"\r", b"\n", b"\r\n", b",", b'"', b"nan", b"1e999", b"-", b"95"]
    )
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 12))
        data[place : place + size] = draw(noise | st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)
