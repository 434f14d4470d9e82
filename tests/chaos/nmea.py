"""AIS sentences for the load: position reports of one sentence (message 1) and of two (message 19)."""

from __future__ import annotations

from functools import reduce
from operator import xor


def position(mmsi: int, lat: float, lon: float, knots: float, course_deg: float, second: int) -> str:
    """The payload of message 1."""
    head = [(1, 6), (0, 2), (mmsi, 30), (0, 4), (-128, 8), (round(10 * knots), 10), (1, 1)]
    return _payload([*head, *_place(lat, lon), (round(10 * course_deg) % 3600, 12), (511, 9), (second, 6), (0, 19)])


def extended_position(
    mmsi: int, lat: float, lon: float, knots: float, course_deg: float, second: int, name: str
) -> str:
    """The payload of message 19, which has no place in one sentence."""
    head = [(19, 6), (0, 2), (mmsi, 30), (0, 8), (round(10 * knots), 10), (1, 1)]
    rest = [(round(10 * course_deg) % 3600, 12), (511, 9), (second, 6), (0, 4)]
    text = [(ord(c) - 64 if ord(c) >= 64 else ord(c), 6) for c in f"{name:20.20}"]
    tail = [(70, 8), (20, 9), (10, 9), (4, 6), (5, 6), (1, 4), (0, 1), (0, 1), (0, 1), (0, 4)]
    return _payload([*head, *_place(lat, lon), *rest, *text, *tail])


def sentences(payload: str, parts: int, sequence: int, station: str, time_s: int) -> tuple[bytes, ...]:
    """The lines of a message, with a tag block each."""
    tag = f"s:{station},c:{time_s}"
    out = []
    cut = -(-len(payload) // parts)
    for k in range(parts):
        number = str(sequence) if parts > 1 else ""
        body = f"AIVDM,{parts},{k + 1},{number},A,{payload[k * cut : (k + 1) * cut]},0"
        out.append(f"\\{tag}*{_checksum(tag)}\\!{body}*{_checksum(body)}".encode())
    return tuple(out)


def _place(lat: float, lon: float) -> list[tuple[int, int]]:
    return [(round(lon * 600_000), 28), (round(lat * 600_000), 27)]


def _payload(fields: list[tuple[int, int]]) -> str:
    bits = "".join(f"{value & ((1 << width) - 1):0{width}b}" for value, width in fields)
    bits += "0" * (-len(bits) % 6)
    values = (int(bits[k : k + 6], 2) for k in range(0, len(bits), 6))
    return "".join(chr(v + 48 if v < 40 else v + 56) for v in values)


def _checksum(text: str) -> str:
    return f"{reduce(xor, text.encode()):02X}"
