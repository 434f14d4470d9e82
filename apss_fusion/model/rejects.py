"""What could not be used, with the reason."""

from __future__ import annotations

from msgspec import Struct


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A record that could not become part of a look, or a bad detection of a good look, and why."""

    reason: str
    field: str | None = None
    #: The record as it was read, cut to 4,096 characters; bytes that are no text as ``\\xNN``.
    record: str | None = None
    file: str | None = None
    line: int | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
