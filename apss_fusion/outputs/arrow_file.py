"""Opening a Parquet or an Arrow file to write."""

from __future__ import annotations

import os
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def open_to_write(path: str | os.PathLike[str], schema: Any, few_values: list[str]) -> tuple[Any, Any]:
    """(sink, writer) of a ``.parquet`` or an ``.arrow`` (IPC file) path, compressed by zstd; both are to be closed.

    few_values: the columns whose values repeat, which Parquet keeps as a dictionary. Raises OSError.
    """
    name = os.fspath(path)
    sink = pa.OSFile(name, "wb")
    if name.endswith(".arrow"):
        return sink, pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))
    return sink, pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1, use_dictionary=few_values)
