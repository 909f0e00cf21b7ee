"""Checking a converted data set against its manifest: every byte, and every record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from i2e_triton.datasets.decoding import Decoding
from i2e_triton.datasets.parquet import ParquetRecords
from i2e_triton.datasets.records import Row
from i2e_triton.datasets.tar import TarRecords
from i2e_triton.formats import RecordError, load_npz
from i2e_triton.pipeline.manifest import MANIFEST, Manifest, ManifestError, ShardRecord, read_manifest
from i2e_triton.pipeline.shards import count_events

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Verified:
    """What was found to be wrong, a line for each; nothing where all is as recorded."""

    shards: int
    rows: int
    problems: tuple[str, ...]


def verify_dataset(out: Path, shard_done: Callable[[int, int], None]) -> Verified:
    """Check files, sizes, digests, records, rows and events of a folder that ``i2e dataset`` completed.

    Args:
        out: the folder.
        shard_done: told after each shard how many are done, and of how many.

    Raises:
        ManifestError: if the folder has no manifest, a damaged one, or one of a conversion that is not complete.
        OSError: if the manifest cannot be read.
    """
    manifest = read_manifest(out)
    if manifest is None:
        raise ManifestError(f"{out} has no {MANIFEST}; give the folder that i2e dataset wrote")
    if not manifest.complete:
        raise ManifestError(f"the conversion in {out} is not complete; run it again to go on")
    problems = [f"{path}: not in the manifest" for path in _unknown_files(out, manifest)]
    for done, record in enumerate(manifest.shards, 1):
        problems += _problems_of(out, record, manifest)
        shard_done(done, len(manifest.shards))
    return Verified(len(manifest.shards), sum(record.rows for record in manifest.shards), tuple(problems))


def _unknown_files(out: Path, manifest: Manifest) -> list[str]:
    known = {path for record in manifest.shards for path in record.paths} | {MANIFEST}
    files = (path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file())
    # Readers pass over hidden files as well, and systems leave some everywhere.
    return [str(path) for path in files if path.as_posix() not in known and not _is_hidden(path)]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _problems_of(out: Path, record: ShardRecord, manifest: Manifest) -> list[str]:
    try:
        size, digest = _digest(out, record)
    except OSError as error:
        return [f"{record.name}: {error.filename}: {error.strerror}"]
    if (size, digest) != (record.bytes, record.sha256):
        changed = f"{record.name}: its bytes are not those that were written ({size:,} of {record.bytes:,} bytes)"
        return ["; ".join([changed, *_unreadable_npz(out, record)])]
    try:
        found = _count(out, record, manifest)
    except (RecordError, OSError) as error:
        return [f"{record.name}: {error}"]
    wanted = (record.rows, record.pixels, [list(step) for step in record.events])
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


def _count(out: Path, record: ShardRecord, manifest: Manifest) -> tuple[int, int, list[list[int]]]:
    """Count the rows of a shard, their pixels, and the events of each timestep and polarity."""
    timesteps = manifest.settings["timesteps"]
    rows, pixels, events = 0, 0, np.zeros((timesteps, 2), dtype=np.int64)
    decode = Decoding(packed=True, dtype=torch.uint8, transform=None, target_transform=None)
    for row in _rows(out, record, manifest.settings["format"], timesteps):
        packed, _ = decode(row, timesteps)
        rows += 1
        pixels += packed.shape[-2] * packed.shape[-1]
        events += count_events(packed[None], timesteps)
    return rows, pixels, events.tolist()


def _rows(out: Path, record: ShardRecord, format: str, timesteps: int) -> Iterator[Row]:
    paths = [out / path for path in record.paths]
    if format == "npz":
        yield from (Row(path, 0, timesteps, str(path)) for path in paths)
        return
    records = ParquetRecords(paths) if format == "parquet" else TarRecords(paths, None)
    for _, row in records.read(range(len(records))):
        yield row
