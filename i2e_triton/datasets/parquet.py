"""Parquet files with the columns of the official data sets: ``data`` (binary) and ``label`` (int64)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from i2e_triton.datasets.records import EventRow, Records, by_group
from i2e_triton.formats import RecordError
from i2e_triton.io.parquet import DAMAGE, label_names, open_parquet, read_metadata, rows_per_batch

_COLUMNS = ["data", "label"]
_CACHED_BYTES = 64 * 2**20
_CACHED_FILES = 16
# Limits of a row group, which is read as a whole, and of a file.
_MAX_GROUP_ROWS = 2**20
_MAX_GROUP_BYTES = 2 * 2**30
_MAX_FILE_ROWS = 2**24
# A small file can repeat a large value in any number of rows, by a dictionary or as a prefix. Therefore rows are read
# in batches, and reading stops when they exceed the limit.
_BATCH_ROWS = 32
_BATCH_BYTES = 256 * 2**20


class ParquetRecords(Records):
    """The rows of Parquet files, one file after the other, read by row group.

    Opening reads only the metadata of the files. Each process caches row groups, and empties the cache when it has
    reached 64 MiB.

    A small file can take much memory, because Parquet stores repeated values once. Row groups with more than 2 GiB of
    records or 2**20 rows raise an error, and so do files with more than 2**24 rows. At most one row group and
    64 MiB of others are in memory. Reading a row group takes its size, plus 256 MiB or the size of one record,
    whichever is larger. If the sizes in the footer are false, PyArrow can exceed this limit.

    Args:
        paths: the Parquet files of one split, with the same class names and timesteps.

    Raises:
        RecordError: if a file is not a Parquet file, is truncated, or a column is missing or has the wrong type.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        metadata = [_read_metadata(path) for path in self._paths]
        for path, found in zip(self._paths, metadata):
            _check_agreement(self._paths[0], metadata[0], path, found)
        self.classes = metadata[0].classes
        self._timesteps = metadata[0].timesteps
        groups = [len(found.group_rows) for found in metadata]
        self._file_of_group = np.repeat(np.arange(len(groups)), groups)
        self._first_group = np.cumsum([0, *groups])
        sizes = np.concatenate([found.group_rows for found in metadata])
        self._offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._cache: dict[int, _RowGroup] = {}
        self._file_metadata: dict[int, pq.FileMetaData] = {}

    def __len__(self) -> int:
        return int(self._offsets[-1])

    def labels(self) -> npt.NDArray[np.int64]:
        """Return the label of every row, from the label column."""
        return np.concatenate([self._labels_of(file) for file in range(len(self._paths))])

    def group_offsets(self) -> npt.NDArray[np.int64]:
        """Return the first row of each row group, followed by the row count."""
        return self._offsets

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, EventRow]]:
        """Yield ``(position in rows, row)``, one row group after the other. Each row group is read at most once."""
        for group, positions in by_group(rows, self._offsets):
            content = self._group(group)
            file = int(self._file_of_group[group])
            start, first = int(self._offsets[group]), int(self._offsets[self._first_group[file]])
            where = f"{self._paths[file]}: row "
            for position in positions:
                row = rows[position]
                data, label = content.records[row - start], content.labels[row - start]
                if data is None or label is None:
                    raise RecordError(f"{where}{row - first}: {'label' if data is not None else 'data'} is null")
                yield position, EventRow(data, label, self._timesteps, f"{where}{row - first}")

    def _where(self, group: int, row: int) -> str:
        file = self._file_of_group[group]
        return f"{self._paths[file]}: row {row - int(self._offsets[self._first_group[file]])}"

    def _group(self, group: int) -> _RowGroup:
        """Return a row group from the cache, or read it. A full cache is emptied first."""
        cached = self._cache.get(group)
        if cached is not None:
            return cached
        if sum(other.nbytes for other in list(self._cache.values())) >= _CACHED_BYTES:
            self._cache.clear()
        content = self._cache[group] = self._read_group(group)
        return content

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_cache": {}, "_file_metadata": {}}

    def _read_group(self, group: int) -> _RowGroup:
        rows = int(self._offsets[group + 1] - self._offsets[group])
        where = self._where(group, int(self._offsets[group]))
        file = int(self._file_of_group[group])
        try:
            with self._open(file) as opened:
                content = _read_bounded(opened, group - int(self._first_group[file]))
        except (*DAMAGE, RecordError) as error:
            raise RecordError(f"{where} and up to {rows - 1} rows after it: {error}") from error
        if len(content.labels) != rows:
            raise RecordError(f"{where}: its row group has {len(content.labels)} rows instead of {rows}")
        return content

    def _open(self, file: int) -> pq.ParquetFile:
        """Open a file. Its metadata is cached, because parsing it takes 2 ms for 1000 row groups."""
        opened = open_parquet(self._paths[file], metadata=self._file_metadata.get(file))
        if len(self._file_metadata) >= _CACHED_FILES and file not in self._file_metadata:
            self._file_metadata.clear()
        self._file_metadata[file] = opened.metadata
        return opened

    def _labels_of(self, file: int) -> npt.NDArray[np.int64]:
        rows = int(self._offsets[self._first_group[file + 1]] - self._offsets[self._first_group[file]])
        path = self._paths[file]
        try:
            with open_parquet(path) as opened:
                column = opened.read(columns=["label"], use_threads=False)["label"].cast(pa.int64())
        except DAMAGE as error:
            raise RecordError(f"{path}: the labels cannot be read: {error}") from error
        if len(column) != rows or column.null_count:
            raise RecordError(f"{path}: {rows} rows have {len(column)} labels, {column.null_count} of them null")
        labels: npt.NDArray[np.int64] = column.to_numpy()
        return labels


@dataclass
class _RowGroup:
    """The rows of a row group. Records are views of Arrow's memory: a list of them is faster than Arrow's scalars."""

    records: list[memoryview | None]
    labels: list[int | None]
    nbytes: int


def _read_bounded(file: pq.ParquetFile, group: int) -> _RowGroup:
    """Return a row group. Raise a RecordError as soon as it exceeds the limit."""
    content = _RowGroup([], [], 0)
    rows = rows_per_batch(file.metadata.row_group(group), _BATCH_ROWS, _BATCH_BYTES)
    for batch in file.iter_batches(rows, row_groups=[group], columns=_COLUMNS, use_threads=False):
        content.nbytes += batch.nbytes
        if content.nbytes > _MAX_GROUP_BYTES:
            raise RecordError(f"its row group takes more than {_MAX_GROUP_BYTES:,} bytes")
        content.records += _views(batch["data"])
        content.labels += batch["label"].to_pylist()
    return content


def _views(column: pa.Array) -> list[memoryview | None]:
    """Return a view of each value of a binary column, or None where it is null."""
    _, offsets, values = column.buffers()
    content = memoryview(values or b"").cast("B")
    dtype = np.int64 if pa.types.is_large_binary(column.type) else np.int32
    limits = np.frombuffer(offsets, dtype)[column.offset : column.offset + len(column) + 1].tolist()
    views: list[memoryview | None] = [content[start:stop] for start, stop in pairwise(limits)]
    if column.null_count:
        return [view if valid else None for view, valid in zip(views, column.is_valid().to_pylist())]
    return views


@dataclass(frozen=True)
class _Metadata:
    group_rows: npt.NDArray[np.int64]
    classes: tuple[str, ...] | None
    timesteps: int


def _read_metadata(path: Path) -> _Metadata:
    try:
        schema, metadata = read_metadata(path)
        classes = label_names(path, schema, "label")
    except ValueError as error:
        raise RecordError(str(error)) from error
    _check_columns(path, schema)
    # The metadata of columns is not read, because PyArrow aborts the process if column statistics are damaged.
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    for index, group in enumerate(groups):
        if not (0 <= group.num_rows <= _MAX_GROUP_ROWS and 0 <= group.total_byte_size <= _MAX_GROUP_BYTES):
            raise RecordError(
                f"{path}: row group {index} has {group.num_rows:,} rows and {group.total_byte_size:,} bytes, more than "
                f"the limit of {_MAX_GROUP_ROWS:,} rows or {_MAX_GROUP_BYTES:,} bytes; write the file with a smaller "
                f"row_group_size"
            )
    if metadata.num_rows > _MAX_FILE_ROWS or sum(group.num_rows for group in groups) > _MAX_FILE_ROWS:
        raise RecordError(f"{path}: the file has more than {_MAX_FILE_ROWS:,} rows; split it into several files")
    return _Metadata(
        group_rows=np.array([group.num_rows for group in groups], dtype=np.int64),
        classes=classes,
        timesteps=_timesteps(path, schema),
    )


def _check_columns(path: Path, schema: pa.Schema) -> None:
    is_valid_type = {
        "data": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
        "label": pa.types.is_integer,
    }
    for name, is_valid in is_valid_type.items():
        found = schema.get_all_field_indices(name)
        kind = schema.field(found[0]).type if len(found) == 1 else None
        if kind is None or not is_valid(kind):
            columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
            raise RecordError(f"{path}: the columns must be data: binary and label: int64, got {columns or 'none'}")


def _timesteps(path: Path, schema: pa.Schema) -> int:
    text = (schema.metadata or {}).get(b"i2e.timesteps", b"8")
    if text not in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"):
        raise RecordError(f"{path}: the metadata 'i2e.timesteps' must be 1 to 8, got {text!r}")
    return int(text)


def _check_agreement(first: Path, expected: _Metadata, path: Path, found: _Metadata) -> None:
    for name in ("classes", "timesteps"):
        if getattr(expected, name) != getattr(found, name):
            raise RecordError(f"{path} and {first} have different {name}; open them as two data sets")
