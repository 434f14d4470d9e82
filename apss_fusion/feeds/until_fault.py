"""For decoders that hold looks back until the end of their input: an end also where reading it fails."""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO


class UntilFault(BytesIO):
    """A stream that simply ends where reading it fails (a truncated archive, a bad disk).

    A decoder reads to that end, gives what it has, and then calls `check`, which raises the failure.
    """

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._fault: Exception | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes; none at the end and from the first failure on."""
        if self._fault is None:
            try:
                return self._stream.read(-1 if size is None else size)
            except Exception as fault:
                self._fault = fault
        return b""

    def check(self) -> None:
        """Raise the failure that ended the stream, if one did."""
        if self._fault is not None:
            raise self._fault
