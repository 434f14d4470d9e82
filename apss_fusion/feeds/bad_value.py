"""How the readers of values say that a record cannot be used."""

from __future__ import annotations


class BadValue(Exception):
    """A value that makes its record unusable: which field, and why."""

    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason
