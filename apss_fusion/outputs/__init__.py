"""What leaves the engine: track updates in the formats that others read."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from apss_fusion.tracking.updates import UpdateBatch

__all__ = ["TrackWriter", "open_track_writer"]


class TrackWriter(Protocol):
    """Where track updates are written to. A context manager that closes."""

    def write(self, updates: UpdateBatch) -> None:
        """Write updates; ``OSError`` where the system cannot (disk full, broken pipe)."""

    def flush(self) -> None:
        """Hand all that was written to the system, as far as the format can."""

    def close(self) -> None:
        """Flush and close; a second time does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_track_writer(path: str | os.PathLike[str]) -> TrackWriter:
    """A writer by the name's ending: ``.parquet``, ``.arrow``, else newline-delimited JSON (``.gz``: compressed).

    ``-`` is standard output. The file has its final name from the beginning.

    Raises
    ------
    OSError
        The file cannot be opened.
    ModuleNotFoundError
        For ``.parquet`` and ``.arrow`` without pyarrow; the message says what to install.
    """
    name = os.fspath(path)
    if name.endswith((".parquet", ".arrow")):
        try:
            from apss_fusion.outputs.track_arrow import TrackFile
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "pyarrow":
                raise
            message = f"{name} needs pyarrow: pip install 'apss-fusion[archive]'"
            raise ModuleNotFoundError(message, name="pyarrow") from error
        return TrackFile(name)
    from apss_fusion.outputs.track_ndjson import TrackLines

    return TrackLines(name)
