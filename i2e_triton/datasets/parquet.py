"""Parquet files in the official schema: columns ``data`` (binary) and ``label`` (int64)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from i2e_triton.datasets.last_used import LastUsed
from i2e_triton.datasets.records import Records, Row, by_piece
from i2e_triton.formats import RecordError
from i2e_triton.io.parquet import label_names, open_parquet

_COLUMNS = ["data", "label"]
_OPEN_FILES = 16
_CACHED_BYTES = 64 * 2**20
# What reading a hostile file may run into; names that are no UTF-8 raise ValueError.
_DAMAGE = (pa.ArrowException, OSError, ValueError)
# A row group is read whole: the most that one may claim to take, and may take.
_MOST_GROUP_ROWS = 2**20
_MOST_GROUP_BYTES = 2 * 2**30
# Values that a small file repeats, by a dictionary or as a prefix, can take any amount of memory: rows are read a few
# at a time, and their bytes counted.
_ROWS_AT_ONCE = 32


class ParquetRecords(Records):
    """The rows of Parquet files, one file after the other, read by row group.

    Opening reads the files' metadata only. The row groups read last are kept, up to 64 MiB for each process.

    Args:
        paths: Parquet files of one split, with the same class names and timesteps.

    Raises:
        RecordError: if one is no Parquet file, is truncated, or lacks a column of the type needed.
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
        self._pieces = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._files: LastUsed[int, pq.ParquetFile] = LastUsed(_OPEN_FILES)
        self._tables: LastUsed[int, pa.Table] = LastUsed(_CACHED_BYTES, cost=_table_bytes)

    def __len__(self) -> int:
        return int(self._pieces[-1])

    def labels(self) -> npt.NDArray[np.int64]:
        """Read the label column alone."""
        return np.concatenate([self._labels_of(file) for file in range(len(self._paths))])

    def pieces(self) -> npt.NDArray[np.int64]:
        """Return the first row of each row group."""
        return self._pieces

    def read(self, rows: Sequence[int]) -> Iterator[tuple[int, Row]]:
        """Yield rows by row group; each is decompressed once."""
        for group, positions in by_piece(rows, self._pieces):
            table = self._tables.get(group, lambda group=group: self._read_group(group))  # type: ignore[misc]
            for position in positions:
                yield position, self._row(table, group, rows[position])

    def _row(self, table: pa.Table, group: int, row: int) -> Row:
        where = self._where(group, row)
        index = row - int(self._pieces[group])
        data, label = table["data"][index], table["label"][index].as_py()
        if not data.is_valid or label is None:
            raise RecordError(f"{where}: {'label' if data.is_valid else 'data'} is null")
        return Row(memoryview(data.as_buffer()).cast("B"), label, self._timesteps, where)

    def _where(self, group: int, row: int) -> str:
        file = self._file_of_group[group]
        return f"{self._paths[file]}: row {row - int(self._pieces[self._first_group[file]])}"

    def _read_group(self, group: int) -> pa.Table:
        rows = int(self._pieces[group + 1] - self._pieces[group])
        where = self._where(group, int(self._pieces[group]))
        file = int(self._file_of_group[group])
        try:
            opened = self._files.get(file, lambda: open_parquet(self._paths[file]))
            table = _read_bounded(opened, group - int(self._first_group[file]))
        except _DAMAGE as error:
            raise RecordError(f"{where} and up to {rows - 1} after it: {error}") from error
        if len(table) != rows:
            raise RecordError(f"{where}: its row group holds {len(table)} rows instead of {rows}")
        return table

    def _labels_of(self, file: int) -> npt.NDArray[np.int64]:
        rows = int(self._pieces[self._first_group[file + 1]] - self._pieces[self._first_group[file]])
        path = self._paths[file]
        try:
            with open_parquet(path) as opened:
                column = opened.read(columns=["label"], use_threads=False)["label"].cast(pa.int64())
        except _DAMAGE as error:
            raise RecordError(f"{path}: its labels cannot be read: {error}") from error
        if len(column) != rows or column.null_count:
            raise RecordError(f"{path}: {len(column)} labels, {column.null_count} of them null, for {rows} rows")
        labels: npt.NDArray[np.int64] = column.to_numpy()
        return labels


def _read_bounded(file: pq.ParquetFile, group: int) -> pa.Table:
    batches, size = [], 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=_COLUMNS, use_threads=False):
        batches.append(batch)
        size += batch.nbytes
        if size > _MOST_GROUP_BYTES:
            raise RecordError(f"its row group takes more than {_MOST_GROUP_BYTES:,} bytes")
    return pa.Table.from_batches(batches)


@dataclass(frozen=True)
class _Metadata:
    group_rows: npt.NDArray[np.int64]
    classes: tuple[str, ...] | None
    timesteps: int


def _read_metadata(path: Path) -> _Metadata:
    try:
        with open_parquet(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        raise RecordError(f"{path}: no Parquet file, or damaged: {error}") from error
    _check_columns(path, schema)
    # No look at single columns: PyArrow ends the process where their statistics are damaged.
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    for index, group in enumerate(groups):
        if not (0 <= group.num_rows <= _MOST_GROUP_ROWS and 0 <= group.total_byte_size <= _MOST_GROUP_BYTES):
            raise RecordError(
                f"{path}: row group {index} of {group.num_rows:,} rows and {group.total_byte_size:,} bytes is too "
                f"large to be read whole; write it with a smaller row_group_size, {_MOST_GROUP_ROWS:,} rows and "
                f"{_MOST_GROUP_BYTES:,} bytes at most"
            )
    return _Metadata(
        group_rows=np.array([group.num_rows for group in groups], dtype=np.int64),
        classes=_class_names(path, schema),
        timesteps=_timesteps(path, schema),
    )


def _check_columns(path: Path, schema: pa.Schema) -> None:
    fits = {
        "data": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
        "label": pa.types.is_integer,
    }
    for name, fit in fits.items():
        found = schema.get_all_field_indices(name)
        kind = schema.field(found[0]).type if len(found) == 1 else None
        if kind is None or not fit(kind):
            columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
            raise RecordError(f"{path}: needs columns data: binary, label: int64; it has {columns or 'none'}")


def _class_names(path: Path, schema: pa.Schema) -> tuple[str, ...] | None:
    try:
        return label_names(schema.metadata, "label")
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from error


def _timesteps(path: Path, schema: pa.Schema) -> int:
    text = (schema.metadata or {}).get(b"i2e.timesteps", b"8")
    if text not in (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8"):
        raise RecordError(f"{path}: its metadata 'i2e.timesteps' must be 1 to 8, is {text!r}")
    return int(text)


def _check_agreement(first: Path, wanted: _Metadata, path: Path, found: _Metadata) -> None:
    for name in ("classes", "timesteps"):
        if getattr(wanted, name) != getattr(found, name):
            raise RecordError(f"{path}: other {name} than {first}; files of one data set agree, read the others apart")


def _table_bytes(table: pa.Table) -> int:
    return int(table.nbytes)
