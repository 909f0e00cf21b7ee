"""Parquet files of images in the layout of the Hugging Face hub."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from i2e_triton.io import LARGEST_LABEL, NO_LABEL
from i2e_triton.io.parquet import DAMAGE, label_names, open_parquet, read_metadata, rows_per_batch
from i2e_triton.sources.source import ImageRow, SourceError

#: Names of the label column; the first one that exists is used. CIFAR-100 also has coarse labels.
_LABEL_COLUMNS = ("label", "fine_label", "labels")
_TAIL_BYTES = 8  # length of the footer and magic number
_BATCH_ROWS = 64  # 7 MB of ImageNet images
_BATCH_BYTES = 64 * 1024 * 1024
_MAX_SPLIT_ROWS = 2**31
_BUFFER_BYTES = 1024 * 1024


@dataclass(frozen=True)
class _RowGroup:
    start: int  #: row number of its first row in the split
    rows: int
    path: Path
    index: int  #: number of the row group in its file


@dataclass(frozen=True)
class _Columns:
    image: str
    label: str | None
    classes: tuple[str, ...] | None


class ParquetSource:
    """The rows of Parquet files with a column of images (structs of ``bytes`` and ``path``) and optional labels.

    The image column is found by its type. The label column is the first of ``label``, ``fine_label`` and ``labels``.
    Class names come from the features that the ``datasets`` library writes into the metadata. A row group is read from
    start to end in batches of rows, and a range that follows the previous one continues with the next batch.

    A small file can take much memory, because Parquet stores repeated images once: twice the size of the largest image
    (decompressed) plus one batch of at most 64 rows and 64 MiB. If the sizes in the footer are false, PyArrow can
    exceed this limit.

    Args:
        paths: the files of one split, in order.

    Raises:
        SourceError: if a file is not such a Parquet file, or the files have different columns or classes.
        OSError: if a file cannot be read.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._groups: list[_RowGroup] = []
        self._rows = 0
        self._bytes = 0
        # The row group that was read last, its remaining batches, the last batch and the number of its first row.
        self._group: _RowGroup | None = None
        self._batches: Iterator[pa.Table] | None = None
        self._batch: pa.Table | None = None
        self._start = 0
        digest = hashlib.sha256()
        columns = []
        for path in paths:
            try:
                schema, metadata = read_metadata(path)
                columns.append(_columns(path, schema))
            except ValueError as error:
                raise SourceError(str(error)) from error
            self._add(path, metadata)
            digest.update(repr((path.name, path.stat().st_size, _footer(path))).encode())
            if columns[-1] != columns[0]:
                raise SourceError(f"{path} and {paths[0]} differ in columns or classes: {columns[-1]}, {columns[0]}")
        self._columns = columns[0]
        self.classes = self._columns.classes
        self._fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return self._rows

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        """Yield the rows from ``start`` to ``stop`` (exclusive). The image of a row without bytes is empty."""
        while start < stop:
            rows = self._rows_from(start).slice(0, stop - start)
            labels = rows["label"].to_pylist() if self._columns.label else [None] * len(rows)
            for image, label in zip(rows["image"], labels):  # copies one image at a time
                yield ImageRow(str(start), image.as_py() or b"", NO_LABEL if label is None else label)
                start += 1

    def fingerprint(self) -> str:
        """Return a hash of the names, sizes and footers of the files."""
        return self._fingerprint

    def nbytes(self) -> int:
        """Return the size of the files in bytes."""
        return self._bytes

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_group": None, "_batches": None, "_batch": None}

    def _add(self, path: Path, metadata: pq.FileMetaData) -> None:
        # The sizes of columns are not read, because PyArrow aborts the process if the metadata of a column is damaged.
        self._bytes += path.stat().st_size
        for index in range(metadata.num_row_groups):
            group = metadata.row_group(index)
            if group.num_rows < 0:
                raise SourceError(f"{path} is a damaged Parquet file (row group {index} has {group.num_rows} rows)")
            self._groups.append(_RowGroup(self._rows, group.num_rows, path, index))
            self._rows += group.num_rows
        if self._rows > _MAX_SPLIT_ROWS:
            raise SourceError(f"{path} is a damaged Parquet file ({self._rows:,} rows)")

    def _rows_from(self, row: int) -> pa.Table:
        """Return one or more rows, starting with ``row``. The batches of a row group are read in order."""
        group = self._groups[bisect_right(self._groups, row, key=lambda group: group.start) - 1]
        if self._batches is None or self._group is not group or row < self._start:
            self._group, self._start, self._batch = group, group.start, None
            self._batches = _batches(group, self._columns)
        while self._batch is None or row >= self._start + self._batch.num_rows:
            self._start += 0 if self._batch is None else self._batch.num_rows
            self._batch = None  # frees the memory before the next batch is read
            try:
                self._batch = next(self._batches)
            except SourceError:
                self._batches = None  # the next call starts again
                raise
        return self._batch.slice(row - self._start)


def _batches(group: _RowGroup, columns: _Columns) -> Iterator[pa.Table]:
    """Yield the rows of a row group in batches, because a row group may not fit into memory.

    Raises:
        SourceError: if the row group is damaged, or does not have the rows that the footer states.
    """
    names = [f"{columns.image}.bytes", *([columns.label] if columns.label else [])]
    found = 0
    try:
        with open_parquet(group.path, buffer_size=_BUFFER_BYTES) as file:
            rows = rows_per_batch(file.metadata.row_group(group.index), _BATCH_ROWS, _BATCH_BYTES)
            for batch in file.iter_batches(rows, [group.index], names, use_threads=False):
                found += batch.num_rows
                if found > group.rows:
                    break
                yield _as_table(group.path, batch, columns)
                del batch  # so that only one batch is in memory
    except DAMAGE as error:
        raise SourceError(f"{group.path}: row group {group.index} cannot be read ({error})") from error
    raise SourceError(f"{group.path}: row group {group.index} must have {group.rows} rows, got {found}")


def _as_table(path: Path, batch: pa.RecordBatch, columns: _Columns) -> pa.Table:
    """Return the images and labels of a batch."""
    table = pa.Table.from_batches([batch])
    images = pc.struct_field(table[columns.image], "bytes")
    if columns.label is None:
        return pa.table({"image": images})
    _check_labels(path, table[columns.label], columns.classes)
    return pa.table({"image": images, "label": table[columns.label]})


def _check_labels(path: Path, labels: pa.ChunkedArray, classes: tuple[str, ...] | None) -> None:
    lowest, highest = pc.min_max(labels).as_py().values()
    limit = LARGEST_LABEL if classes is None else len(classes) - 1
    if highest is not None and (lowest < NO_LABEL or highest > limit):
        wrong = lowest if lowest < NO_LABEL else highest
        raise SourceError(f"{path}: labels must be 0 to {limit}, or {NO_LABEL} for no label, got {wrong}")


def _footer(path: Path) -> bytes:
    """Return the footer of a file: its schema, statistics and the sizes of all column chunks."""
    with path.open("rb") as file:
        file.seek(-_TAIL_BYTES, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-_TAIL_BYTES - length, 2)
        return file.read(length)


def _columns(path: Path, schema: pa.Schema) -> _Columns:
    images = [field.name for field in schema if _is_image(field.type)]
    if len(images) != 1:
        raise SourceError(
            f"{path} must have one column of images (structs of bytes: binary and path: string), got "
            f"{', '.join(images) or 'none'} (columns: {', '.join(schema.names)})"
        )
    label = next((name for name in _LABEL_COLUMNS if name in schema.names), None)
    if label is not None and not pa.types.is_integer(schema.field(label).type):
        raise SourceError(f"{path}: the column {label!r} must contain integers, got {schema.field(label).type}")
    return _Columns(images[0], label, None if label is None else label_names(path, schema, label))


def _is_image(kind: pa.DataType) -> bool:
    names = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
    binary = (pa.binary(), pa.large_binary())
    return pa.types.is_struct(kind) and set(names) == {"bytes", "path"} and names["bytes"] in binary
