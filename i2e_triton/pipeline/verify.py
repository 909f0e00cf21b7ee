"""Verify the files and records of a converted data set against its manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from i2e_triton.datasets.decoding import RowDecoder
from i2e_triton.datasets.parquet import ParquetRecords
from i2e_triton.datasets.records import EventRow
from i2e_triton.datasets.tar import TarRecords
from i2e_triton.formats import RecordError, load_npz
from i2e_triton.pipeline.manifest import MANIFEST_NAME, Manifest, ManifestError, ShardRecord, read_manifest
from i2e_triton.pipeline.shards import count_events

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Verification:
    """Result of a verification."""

    shards: int
    rows: int
    problems: tuple[str, ...]  #: one line for each; empty if the data set is intact


def verify_dataset(out: Path, shard_done: Callable[[int, int], None]) -> Verification:
    """Verify the files of a complete data set: their names, sizes, digests, records, rows and events.

    Args:
        out: output folder of ``i2e dataset``.
        shard_done: called after each shard with the number of verified shards and of all shards.

    Raises:
        ManifestError: if the manifest is missing, damaged or not complete.
        OSError: if the manifest cannot be read.
    """
    manifest = read_manifest(out)
    if manifest is None:
        raise ManifestError(f"{out} has no {MANIFEST_NAME}; pass the output folder of i2e dataset")
    if not manifest.complete:
        raise ManifestError(f"the conversion in {out} is not complete; rerun the same command to resume it")
    problems = [f"{path}: not in the manifest" for path in _unknown_files(out, manifest)]
    for done, record in enumerate(manifest.shards, 1):
        problems += _problems_of(out, record, manifest)
        shard_done(done, len(manifest.shards))
    return Verification(len(manifest.shards), sum(record.rows for record in manifest.shards), tuple(problems))


def _unknown_files(out: Path, manifest: Manifest) -> list[str]:
    known = {path for record in manifest.shards for path in record.paths} | {MANIFEST_NAME}
    files = (path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file())
    # Readers ignore hidden files, and systems create some.
    hidden = re.compile(r"(^|/)\.")
    return [str(path) for path in files if path.as_posix() not in known and not hidden.search(path.as_posix())]


def _problems_of(out: Path, record: ShardRecord, manifest: Manifest) -> list[str]:
    try:
        size, digest = _digest(out, record)
    except OSError as error:
        return [f"{record.name}: {error.filename}: {error.strerror}"]
    if (size, digest) != (record.bytes, record.sha256):
        changed = f"{record.name}: its bytes differ from those that were written ({size:,} of {record.bytes:,} bytes)"
        return ["; ".join([changed, *_unreadable_npz(out, record)])]
    try:
        found = _count(out, record, manifest)
    except (RecordError, OSError) as error:
        return [f"{record.name}: {error}"]
    expected = (record.rows, record.pixels, [list(step) for step in record.events])
    return [] if found == expected else [f"{record.name}: contains {found}, but the manifest says {expected}"]


def _digest(out: Path, record: ShardRecord) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for path in record.paths:
        with (out / path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    return size, digest.hexdigest()


def _unreadable_npz(out: Path, record: ShardRecord) -> Iterator[str]:
    """Name the damaged npz files of a shard. Parquet files are not opened: Arrow can crash on damaged ones."""
    for path in record.paths:
        if path.endswith(".npz"):
            try:
                load_npz(out / path)
            except (RecordError, OSError) as error:
                yield f"{path}: {error}"


def _count(out: Path, record: ShardRecord, manifest: Manifest) -> tuple[int, int, list[list[int]]]:
    """Return the rows and pixels of a shard, and its events by timestep and polarity."""
    timesteps = manifest.settings["timesteps"]
    rows, pixels, events = 0, 0, np.zeros((timesteps, 2), dtype=np.int64)
    decode = RowDecoder(packed=True, dtype=torch.uint8)
    for row in _rows(out, record, manifest.settings["format"], timesteps):
        packed, _ = decode(row, timesteps)
        rows += 1
        pixels += packed.shape[-2] * packed.shape[-1]
        events += count_events(packed[None], timesteps)
    return rows, pixels, events.tolist()


def _rows(out: Path, record: ShardRecord, format: str, timesteps: int) -> Iterator[EventRow]:
    paths = [out / path for path in record.paths]
    if format == "npz":
        yield from (EventRow(path, 0, timesteps, str(path)) for path in paths)
        return
    records = ParquetRecords(paths) if format == "parquet" else TarRecords(paths, None)
    for _, row in records.read(range(len(records))):
        yield row
