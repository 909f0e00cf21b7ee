"""Checking a converted data set against its manifest: every byte, and every record."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from i2e_triton.conversion.manifest import MANIFEST, WORK, Manifest, ManifestError, ShardRecord, read_manifest
from i2e_triton.conversion.shards import count_events
from i2e_triton.formats import RecordError, decode_packed, load_npz
from i2e_triton.functional import pack

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Verified:
    """What was found to be wrong, a line for each; nothing where all is as recorded."""

    shards: int
    rows: int
    problems: tuple[str, ...]


def verify_dataset(out: Path, shard_done: Callable[[ShardRecord], None]) -> Verified:
    """Check files, sizes, digests, records, rows and events of a folder that ``i2e dataset`` completed.

    Raises:
        ManifestError: if the folder has no manifest, a damaged one, or one of a conversion that is not complete.
    """
    manifest = read_manifest(out)
    if manifest is None:
        raise ManifestError(f"{out} has no {MANIFEST}; give the folder that i2e dataset wrote")
    if not manifest.complete:
        raise ManifestError(f"the conversion in {out} is not complete; run it again to go on")
    problems = [f"{path}: not in the manifest" for path in _unknown_files(out, manifest)]
    for record in manifest.shards:
        problems += _problems_of(out, record, manifest)
        shard_done(record)
    return Verified(len(manifest.shards), sum(record.rows for record in manifest.shards), tuple(problems))


def _unknown_files(out: Path, manifest: Manifest) -> list[str]:
    known = {path for record in manifest.shards for path in record.paths} | {MANIFEST}
    files = (path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file())
    return [str(path) for path in files if path.as_posix() not in known and path.parts[0] != WORK]


def _problems_of(out: Path, record: ShardRecord, manifest: Manifest) -> list[str]:
    try:
        size, digest = _digest(out, record)
    except OSError as error:
        return [f"{record.name}: {error.filename}: {error.strerror}"]
    if (size, digest) != (record.bytes, record.sha256):
        changed = f"{record.name}: its bytes are not those that were written ({size:,} of {record.bytes:,} bytes)"
        return ["; ".join([changed, *_unreadable_npz(out, record)])]
    timesteps = manifest.settings["timesteps"]
    rows, pixels, events = 0, 0, np.zeros((timesteps, 2), dtype=np.int64)
    try:
        for packed in _records(out, record, manifest.settings["format"], timesteps):
            rows += 1
            pixels += packed.shape[-2] * packed.shape[-1]
            events += count_events(packed[None], timesteps)
    except (RecordError, pa.ArrowException, tarfile.TarError, OSError) as error:
        return [f"{record.name}: row {rows} cannot be read: {error}"]
    found, wanted = (
        (rows, pixels, events.tolist()),
        (record.rows, record.pixels, [list(step) for step in record.events]),
    )
    return [] if found == wanted else [f"{record.name}: holds {found}, but the manifest says {wanted}"]


def _digest(out: Path, record: ShardRecord) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for path in record.paths:
        with (out / path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    return size, digest.hexdigest()


def _unreadable_npz(out: Path, record: ShardRecord) -> Iterator[str]:
    """Tell which of many files it is; Arrow's readers can end the process on damaged ones, and are not asked."""
    for path in record.paths:
        if path.endswith(".npz"):
            try:
                load_npz(out / path)
            except (RecordError, OSError) as error:
                yield f"{path}: {error}"


def _records(out: Path, record: ShardRecord, format: str, timesteps: int) -> Iterator[Tensor]:
    """Decode the records of a shard as packed events ``[2, H, W]``."""
    for path in record.paths:
        if format == "npz":
            yield pack(load_npz(out / path))
        elif format == "parquet":
            for batch in pq.ParquetFile(out / path).iter_batches(128, columns=["data"]):
                for data in batch.column("data"):
                    yield decode_packed(data.as_py(), timesteps)[0]
        else:
            yield from _tar_records(out / path, timesteps)


def _tar_records(path: Path, timesteps: int) -> Iterator[Tensor]:
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.name.endswith(".npy"):
                content = tar.extractfile(member) or io.BytesIO()
                yield decode_packed(content.read(), timesteps)[0]
