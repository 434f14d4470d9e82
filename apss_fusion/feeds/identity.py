"""Identifiers for formats that give none: made from source, time and content, never from a line number."""

from __future__ import annotations

from xxhash import xxh3_128_hexdigest


def content_id(*parts: str | bytes) -> str:
    """32 hex digits of the parts (each closed by a NUL byte): the same content gives the same id, in any process."""
    return xxh3_128_hexdigest(b"\0".join(p if isinstance(p, bytes) else p.encode() for p in parts) + b"\0")
