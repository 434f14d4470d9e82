"""For the tests of AIS feeds: sentences made, payloads read bit by bit, records counted, not by the code under test."""

from __future__ import annotations

import io
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import xor
from typing import Any

from pyais.encode import encode_dict

from apss_fusion.feeds.ais_nmea import AisNmea
from apss_fusion.feeds.base import Decoded, Decoder, Ignored, Item, Reject, Used
from apss_fusion.model import Look


def checksum(text: str | bytes) -> str:
    return f"{reduce(xor, text.encode() if isinstance(text, str) else text, 0):02X}"


def sentence(payload: str, fill: int = 0, parts: str = "1,1,,A", talker: str = "AIVDM") -> str:
    body = f"{talker},{parts},{payload},{fill}"
    return f"!{body}*{checksum(body)}"


def tag_block(text: str) -> str:
    return f"\\{text}*{checksum(text)}\\"


def pghp(time: str, station: str, quoted: str, online: str = "1") -> str:
    """A $PGHP line; `time` as ``2012,2,1,20,19,5,651``."""
    body = f"PGHP,1,{time},316,2,{station},{online},{quoted}"
    return f"${body}*{checksum(body)}"


def bits_of(payload: str) -> str:
    """The payload as a text of 0 and 1, by the rule of IEC 61162-1."""
    values = (ord(c) - 48 for c in payload)
    return "".join(f"{value - 8 if value > 40 else value:06b}" for value in values)


def unsigned(bits: str, start: int, width: int) -> int:
    return int(bits[start : start + width], 2)


def signed(bits: str, start: int, width: int) -> int:
    value = unsigned(bits, start, width)
    return value - (1 << width) if bits[start] == "1" else value


def text_of(bits: str, start: int, characters: int) -> str:
    values = [unsigned(bits, start + 6 * k, 6) for k in range(characters)]
    return "".join(chr(v + 64 if v < 32 else v) for v in values).split("@")[0].strip()


def payload_of(fields: list[tuple[int, int]]) -> str:
    """A payload of values and their widths in bits, filled up with zeros to whole characters."""
    bits = "".join(f"{value & ((1 << width) - 1):0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 6)
    values = (int(bits[k : k + 6], 2) for k in range(0, len(bits), 6))
    return "".join(chr(v + 48 if v < 40 else v + 56) for v in values)


def ship(
    kind: int = 1,
    mmsi: int = 235012345,
    lat: float = 50.0,
    lon: float = -1.0,
    sog: int = 100,
    cog: int = 900,
    heading: int = 88,
    second: int = 30,
    accuracy: int = 0,
    status: int = 0,
) -> str:
    """The payload of a position report of a ship: tenths of knots and degrees as the message has them."""
    head = [(kind, 6), (0, 2), (mmsi, 30)]
    head += [(0, 8)] if kind == 18 else [(status, 4), (-128, 8)]
    rest = [(sog, 10), (accuracy, 1), (round(lon * 600_000), 28), (round(lat * 600_000), 27), (cog, 12), (heading, 9)]
    tail = [(0, 29 - 6)] if kind == 18 else [(0, 25 - 6)]
    return payload_of([*head, *rest, (second, 6), *tail])


def items_of(decoder: Decoder, data: str | bytes) -> list[Item]:
    return list(decoder.items(io.BytesIO(data.encode() if isinstance(data, str) else data)))


def records(items: list[Item]) -> int:
    total = 0
    for item in items:
        match item:
            case Look():
                total += 1
            case Reject():
                total += item.is_record
            case Decoded() | Used() | Ignored():
                total += item.records
    return total


def kinds(items: list[Item]) -> Counter[str]:
    return Counter(type(item).__name__ for item in items)


def plain(item: Item) -> Any:
    """An item without the number of its line, which depends on where its file was cut."""
    return (item.reason, item.field, item.record) if isinstance(item, Reject) else item


def looks_of(items: list[Item]) -> list[Look]:
    return [item for item in items if isinstance(item, Look)]


_SENTENCE = re.compile(rb"[!$]..VD[MO],(\d),(\d),(\d?),([^,]?),[^,]*,[0-5]?\*[0-9A-Fa-f]{2}(?=,|\s*$)")


def count_records(data: bytes) -> int:
    """Records of an NMEA file by another way: messages whose sentences all are there, and all other lines.

    Lines that are no records: blank, comments, $PGHP, tag blocks alone. Sentences of one message are those of one
    talker, count, sequence and channel, of which a later one of the same number replaces an earlier one.
    """
    total = 0
    waiting: dict[bytes, dict[int, int]] = {}
    for line in data.splitlines():
        text = re.sub(rb"^\\[^\\]*\\", b"", line).strip()
        if not text or text.startswith((b"#", b"$PGHP")):
            continue
        match = _SENTENCE.match(text)
        good = (
            match is not None
            and checksum(text[1 : text.index(b"*")]) == text[text.index(b"*") + 1 :][:2].decode("latin-1").upper()
        )
        if match is None or not good or match[1] == b"1":
            total += 1
            continue
        parts = waiting.setdefault(text[:7] + b",".join(match.groups()[:1] + match.groups()[2:]), {})
        if int(match[2]) in parts:
            total += len(parts)
            parts.clear()
        parts[int(match[2])] = 1
        if len(parts) == int(match[1]):
            total += 1
            parts.clear()
    return total + sum(len(parts) for parts in waiting.values())


#: 2012-01-31 05:07:02 UTC
STAMP = 1327986422
VOYAGE = "55?MbV02;H;s<HtKR20EHE:0@T4@Dn2222222216L961O5Gf0NSQEp6ClRp888888888880"


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(STAMP, UTC) + timedelta(seconds=seconds)


def one_look(data: str | bytes) -> Look:
    (look,) = items_of(AisNmea(), data)
    assert isinstance(look, Look), look
    return look


def one_reject(data: str | bytes) -> Reject:
    (reject,) = items_of(AisNmea(), data)
    assert isinstance(reject, Reject), reject
    return reject


def ids_of(look: Look) -> dict[str, str]:
    return look.detections[0].ids or {}


def two_sentences(mmsi: int = 235012345, sequence: str = "1", channel: str = "A", talker: str = "AIVDM") -> list[str]:
    """A static and voyage report, whose name is the MMSI, in two sentences that are cut within the name."""
    parts = encode_dict({"msg_type": 5, "mmsi": mmsi, "shipname": f"SHIP {mmsi}", "ship_type": 70})
    payload = "".join(part.split(",")[5] for part in parts)
    return [
        sentence(payload[:25], 0, f"2,1,{sequence},{channel}", talker),
        sentence(payload[25:], 2, f"2,2,{sequence},{channel}", talker),
    ]
