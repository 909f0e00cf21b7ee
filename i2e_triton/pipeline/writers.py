"""The files that a shard becomes: Parquet, WebDataset tar, or a folder of npz."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from i2e_triton.io.atomic import write_whole
from i2e_triton.pipeline.plan import Settings, Shard

#: Bytes of records in a Parquet row group. A reader decompresses a group to get at one row: with smaller ones random
#: rows come faster, and whole files as fast, down to about this.
ROW_GROUP_BYTES = 256 * 1024

#: Where the published notebooks write and look for the npz files of a split, if not in a folder of its name.
_NPZ_FOLDERS = {"validation": "val"}


@dataclass(frozen=True)
class Sample:
    """One image's events as they are written."""

    row: int  #: its number in the split
    key: str  #: its name in the source
    label: int  #: -1 where the source has none
    record: bytes


@dataclass(frozen=True)
class Written:
    """The files of a shard, relative to the output folder, and the digest of all their bytes in order."""

    paths: tuple[str, ...]
    bytes: int
    sha256: str


def write_shard(
    out: Path, shard: Shard, samples: Iterable[Sample], settings: Settings, classes: tuple[str, ...] | None
) -> Written:
    """Write a shard's samples in the format of the settings; each file takes its name when it is complete.

    Raises:
        OSError: if a file cannot be written; nothing is left of it.
    """
    if settings.format == "npz":
        return _write_npz_files(out, shard, samples, classes)
    path = out / shard_file(shard, settings.format)
    with write_whole(path) as file:
        digest = _Digest(file)
        if settings.format == "parquet":
            _write_parquet(digest, samples, settings, classes)
        else:
            _write_tar(digest, samples, settings)
    return Written((path.name,), digest.size, digest.hash.hexdigest())


def shard_file(shard: Shard, format: str) -> str:
    """Name the file of a shard that is one file."""
    return f"{shard.name}.{format}"


def npz_path(shard: Shard, sample: Sample, classes: tuple[str, ...] | None) -> str:
    """Name a sample's npz file, where torchvision's ``DatasetFolder`` looks for it: in a folder of its class.

    Raises:
        ValueError: if a class or key of the source leads out of that folder.
    """
    folder = "unlabelled" if sample.label < 0 else str(sample.label) if classes is None else classes[sample.label]
    path = f"{folder}/{sample.key.removeprefix(folder + '/')}"
    if "\0" in path or not all(part.strip(".") for part in path.split("/")):
        raise ValueError(f"the key {sample.key!r} of class {folder!r} cannot name a file; use --format parquet")
    return f"{_NPZ_FOLDERS.get(shard.split, shard.split)}/{path}.npz"


def check_class_folders(classes: tuple[str, ...] | None) -> None:
    """Check that npz files of two classes would not lie in one folder; ``a/b`` lies in ``a``.

    Raises:
        ValueError: naming the folder.
    """
    folders = Counter(name.split("/")[0] for name in classes or ())
    for folder, count in folders.items():
        if count > 1:
            raise ValueError(f"{count} classes would have the folder {folder!r}; use --format parquet")


def parquet_schema(settings: Settings, classes: tuple[str, ...] | None) -> pa.Schema:
    """Return the published schema, with the class names where the Hugging Face libraries look for them."""
    label = {"dtype": "int64", "_type": "Value"} if classes is None else {"names": list(classes), "_type": "ClassLabel"}
    features = {"data": {"dtype": "binary", "_type": "Value"}, "label": label}
    metadata = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "i2e.timesteps": str(settings.timesteps),
        "i2e.bits": settings.bits,
    }
    return pa.schema([("data", pa.binary()), ("label", pa.int64())], metadata)


def _write_parquet(
    file: _Digest, samples: Iterable[Sample], settings: Settings, classes: tuple[str, ...] | None
) -> None:
    schema = parquet_schema(settings, classes)
    # The records are all different and the labels few: a dictionary pays for neither the one nor, much, the other.
    with pq.ParquetWriter(file, schema, compression=settings.compression, use_dictionary=False) as writer:
        for rows in _groups(samples):
            columns = [[sample.record for sample in rows], [sample.label for sample in rows]]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _write_tar(file: _Digest, samples: Iterable[Sample], settings: Settings) -> None:
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for sample in samples:
            # WebDataset ends a key at its first dot, so that a file's name cannot serve as one.
            name = f"{sample.row:09d}"
            about = {"key": sample.key, "timesteps": settings.timesteps}
            _add_member(tar, f"{name}.npy", sample.record)
            _add_member(tar, f"{name}.cls", str(sample.label).encode())
            _add_member(tar, f"{name}.json", json.dumps(about).encode())


def _add_member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_npz_files(out: Path, shard: Shard, samples: Iterable[Sample], classes: tuple[str, ...] | None) -> Written:
    paths, size, digest = [], 0, hashlib.sha256()
    for sample in samples:
        path = npz_path(shard, sample, classes)
        with write_whole(out / path) as file:
            file.write(sample.record)
        digest.update(sample.record)
        paths.append(path)
        size += len(sample.record)
    return Written(tuple(paths), size, digest.hexdigest())


def _groups(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    group: list[Sample] = []
    size = 0
    for sample in samples:
        group.append(sample)
        size += len(sample.record)
        if size >= ROW_GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


class _Digest(io.RawIOBase):
    """Passes writing on and takes the digest of what is written, so that no file is read again for it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, content) -> int:  # type: ignore[no-untyped-def,override]
        self._file.write(content)
        self.hash.update(content)
        self.size += memoryview(content).nbytes
        return memoryview(content).nbytes

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size
