"""Write a shard as a Parquet file, a WebDataset tar, or npz files."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from i2e_triton.datasets.folder import UNLABELLED, label_folders
from i2e_triton.io.atomic import write_whole
from i2e_triton.pipeline.plan import ConversionConfig, Shard

#: Bytes of records in a Parquet row group. To read one row, a reader decompresses the whole group. Smaller groups make
#: random access faster. Down to about this size they do not slow down reading whole files.
ROW_GROUP_BYTES = 256 * 1024

#: Folder names of the official notebooks for the npz files of a split, where they differ from the split's name.
_NPZ_FOLDERS = {"validation": "val"}

#: Width of the label folders of npz files if the source has no class names, so that the largest label is unknown.
_LABEL_WIDTH = 5


@dataclass(frozen=True)
class EncodedRow:
    """One row of a shard, encoded."""

    row: int  #: index in the split
    key: str  #: name of the image in the source
    label: int  #: -1 if the source has no labels
    record: bytes  #: record or npz file
    time_us: int | None = None  #: time of the row in a recording or a video, in microseconds


@dataclass(frozen=True)
class WrittenFiles:
    """The files of a shard."""

    paths: tuple[str, ...]  #: relative to the output folder
    bytes: int  #: size of all files together
    sha256: str  #: digest of the bytes of all files in order


def write_shard(
    out: Path,
    shard: Shard,
    rows: Iterable[EncodedRow],
    config: ConversionConfig,
    classes: tuple[str, ...] | None,
    *,
    timed: bool = False,
) -> WrittenFiles:
    """Write the rows of a shard in the format of ``config``. Each file gets its name when it is complete.

    With ``timed``, Parquet files also store the time of each row.

    Raises:
        OSError: if a file cannot be written. The incomplete file is removed.
    """
    if config.format == "npz":
        return _write_npz_files(out, shard, rows, classes)
    path = out / f"{shard.name}.{config.format}"
    with write_whole(path) as file:
        hashing = _HashingFile(file)
        if config.format == "parquet":
            write_parquet(hashing, rows, parquet_schema(config, classes, timed=timed), config.compression)
        else:
            _write_tar(hashing, rows, config)
    return WrittenFiles((path.name,), hashing.size, hashing.hash.hexdigest())


def parquet_schema(config: ConversionConfig, classes: tuple[str, ...] | None, *, timed: bool = False) -> pa.Schema:
    """Return the official schema. Its metadata contains the class names for the Hugging Face libraries.

    With ``timed``, the rows have a column ``time_us`` in addition.
    """
    label = {"dtype": "int64", "_type": "Value"} if classes is None else {"names": list(classes), "_type": "ClassLabel"}
    features = {"data": {"dtype": "binary", "_type": "Value"}, "label": label}
    metadata = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "i2e.timesteps": str(config.timesteps),
        "i2e.bits": config.stored_bits,
    }
    times = [("time_us", pa.int64())] if timed else []
    return pa.schema([("data", pa.binary()), ("label", pa.int64()), *times], metadata)


def write_parquet(file: Any, rows: Iterable[EncodedRow], schema: pa.Schema, compression: str = "zstd") -> None:
    """Write rows to a Parquet file that is open for writing. A row group is in memory at a time."""
    # Records are all different, so a dictionary does not shrink them. It saves little on the labels. Statistics of
    # records have no use, and Arrow takes 4 more copies of a record to compute them.
    options = {"use_dictionary": False, "write_statistics": ["label"]}
    with pq.ParquetWriter(file, schema, compression=compression, **options) as writer:
        for group in _row_groups(rows):
            columns = [[row.record for row in group], [row.label for row in group], [row.time_us for row in group]]
            columns = columns[: len(schema)]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _write_tar(file: _HashingFile, rows: Iterable[EncodedRow], config: ConversionConfig) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            name = f"{row.row:09d}"  # not the key: WebDataset ends a name at its first dot
            metadata = {"key": row.key, "timesteps": config.timesteps}
            _add_member(tar, f"{name}.npy", row.record)
            _add_member(tar, f"{name}.cls", str(row.label).encode())
            _add_member(tar, f"{name}.json", json.dumps(metadata).encode())


def _add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_npz_files(
    out: Path, shard: Shard, rows: Iterable[EncodedRow], classes: tuple[str, ...] | None
) -> WrittenFiles:
    """Write the files ``<split>/<label folder>/<row>.npz``.

    Keys and class names are no file names: some are hidden, invalid, or the same file as another one.
    """
    split = _NPZ_FOLDERS.get(shard.split, shard.split)
    folders = None if classes is None else label_folders(classes)
    paths, size, digest = [], 0, hashlib.sha256()
    for row in rows:
        if row.label < 0:
            folder = UNLABELLED
        else:
            folder = f"{row.label:0{_LABEL_WIDTH}d}" if folders is None else folders[row.label]
        path = f"{split}/{folder}/{row.row:09d}.npz"
        with write_whole(out / path, sync=False) as file:
            file.write(row.record)
        digest.update(row.record)
        paths.append(path)
        size += len(row.record)
    return WrittenFiles(tuple(paths), size, digest.hexdigest())


def _row_groups(rows: Iterable[EncodedRow]) -> Iterator[list[EncodedRow]]:
    """Group rows until a group has :data:`ROW_GROUP_BYTES` of records."""
    group: list[EncodedRow] = []
    size = 0
    for row in rows:
        group.append(row)
        size += len(row.record)
        if size >= ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


class _HashingFile(io.RawIOBase):
    """Hashes and counts the bytes written to a file, so that it need not be read again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, content: Any, /) -> int:
        self._file.write(content)
        self.hash.update(content)
        self.size += memoryview(content).nbytes
        return memoryview(content).nbytes

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size
