"""Helper functions for Parquet files in the layout of the Hugging Face hub, with images or with events."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: Errors that PyArrow raises for a damaged file. Column names that are not UTF-8 raise a UnicodeDecodeError.
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


def open_parquet(path: Path, buffer_size: int = 0, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a Parquet file. The file name may contain bytes that are not UTF-8.

    Args:
        path: path of the file.
        buffer_size: number of bytes of a column to read at once. Default: 0, read the column of a whole row group.
        metadata: metadata of the file, if it has been read before. Default: None, read it from the file.

    Raises:
        pyarrow.ArrowException: if the file is not a Parquet file or is damaged.
        OSError: if the file cannot be read.
    """
    return pq.ParquetFile(pa.OSFile(os.fsencode(path)), buffer_size=buffer_size, metadata=metadata)


def read_metadata(path: Path) -> tuple[pa.Schema, pq.FileMetaData]:
    """Return the schema and the metadata of a Parquet file.

    Raises:
        ValueError: if the file is not a Parquet file or is damaged. The message names it.
        FileNotFoundError: if the file does not exist.
    """
    try:
        with open_parquet(path) as file:
            return file.schema_arrow, file.metadata
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"{path}: not a Parquet file, or damaged: {error}") from error


def rows_per_batch(group: pq.RowGroupMetaData, max_rows: int, max_bytes: int) -> int:
    """Return how many rows of a row group to read at once, so that a small file cannot take much memory.

    A small file can repeat a large value in every row, by a dictionary or as a prefix. The result assumes that every
    row is as large as the whole row group without compression: no value is larger. This size is in the footer.

    Args:
        group: metadata of the row group.
        max_rows: maximum number of rows.
        max_bytes: maximum memory of the rows in bytes. A row that is larger is read alone.
    """
    return max(1, min(max_rows, max_bytes // max(group.total_byte_size, 1)))


def label_names(path: Path, schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Return the class names of a label column, or None if the file has no class names.

    Args:
        path: path of the file, for error messages.
        schema: Arrow schema of the file.
        column: name of the label column.

    Raises:
        ValueError: if the metadata is damaged.
    """
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the metadata 'huggingface' is not JSON: {error}") from error
    for key in ("info", "features", column, "names"):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{path}: the class names in the metadata 'huggingface' must be a list of strings")
    return tuple(value)
