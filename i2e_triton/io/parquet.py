"""Parquet files as the Hugging Face hub has them: what those of images and those of events have in common."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def open_parquet(path: Path, buffer_size: int = 0) -> pq.ParquetFile:
    """Open a file, whose name need not be text: to Arrow it is bytes.

    Args:
        path: of the file.
        buffer_size: bytes of a column to read at once; 0 reads those of a whole row group.

    Raises:
        pyarrow.ArrowException: if it is no Parquet file, or a damaged one.
        OSError: if it cannot be read.
    """
    return pq.ParquetFile(pa.OSFile(os.fsencode(path)), buffer_size=buffer_size)


def label_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    """Return the class names of a column of labels; None where nothing names them.

    Args:
        metadata: of the file's Arrow schema.
        column: of integers.

    Raises:
        ValueError: if the metadata are damaged.
    """
    text = (metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its metadata 'huggingface' is not JSON: {error}") from error
    for key in ("info", "features", column, "names"):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("the class names in its metadata 'huggingface' must be a list of texts")
    return tuple(value)
