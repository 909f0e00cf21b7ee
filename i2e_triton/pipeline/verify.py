"""Verify the files and records of a converted data set against its manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from i2e_triton.datasets.decoding import RowDecoder
from i2e_triton.datasets.folder import NpzRecords
from i2e_triton.datasets.location import open_records
from i2e_triton.datasets.parquet import ParquetRecords
from i2e_triton.datasets.records import EventRow, Records
from i2e_triton.datasets.tar import TarRecords
from i2e_triton.formats import RecordError, load_npz
from i2e_triton.pipeline.manifest import MANIFEST_NAME, Manifest, ManifestError, ShardRecord, read_manifest
from i2e_triton.pipeline.shards import count_events, digest_labels

_CHUNK = 1 << 20
#: The data set card that ``i2e push`` writes.
CARD_NAME = "README.md"


@dataclass(frozen=True)
class Verification:
    """Result of a verification."""

    shards: int
    rows: int
    problems: tuple[str, ...]  #: one line for each; empty if the data set is intact


def verify_dataset(out: Path, shard_done: Callable[[int, int], None]) -> Verification:
    """Verify a complete data set against its manifest.

    The names, sizes and digests of all files, and the rows, pixels and events of all shards are compared. If they are
    correct, each split is opened as :class:`i2e_triton.datasets.EventDataset` opens it, and its classes, rows and
    labels are compared.

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
    problems: list[str] = []
    for done, record in enumerate(manifest.shards, 1):
        problems += _problems_of(out, record, manifest)
        shard_done(done, len(manifest.shards))
    if not problems:
        problems = [problem for split in manifest.rows for problem in _reader_problems(out, split, manifest)]
    unknown = [f"{path}: not in the manifest" for path in _unknown_files(out, manifest)]
    rows = sum(record.rows for record in manifest.shards)
    return Verification(len(manifest.shards), rows, (*unknown, *problems))


def damaged_shards(out: Path, manifest: Manifest) -> list[ShardRecord]:
    """Return the shards whose files are missing, or whose bytes or contents differ from the manifest."""
    return [record for record in manifest.shards if _problems_of(out, record, manifest)]


def _unknown_files(out: Path, manifest: Manifest) -> list[str]:
    known = {path for record in manifest.shards for path in record.paths} | {MANIFEST_NAME, CARD_NAME}
    files = (path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file())
    # Readers ignore hidden files, and systems create some.
    hidden = re.compile(r"(^|/)\.")
    return [str(path) for path in files if path.as_posix() not in known and not hidden.search(path.as_posix())]


def _problems_of(out: Path, record: ShardRecord, manifest: Manifest) -> list[str]:
    """Return how the files of a shard differ from its record."""
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
        ((packed, _),) = decode([row], timesteps)
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


def _reader_problems(out: Path, split: str, manifest: Manifest) -> Iterator[str]:
    """Open a split as users do, and compare its classes, rows and labels with the manifest."""
    shards = [record for record in manifest.shards if record.split == split]
    rows = sum(record.rows for record in shards)
    if not rows:
        return  # a split of npz files without rows has no folder
    try:
        records = open_records(out, split)
        labels = _labels_in_order(out, records, shards)
    except (ValueError, OSError) as error:
        yield f"{split}: {error}"
        return
    if records.classes != manifest.classes:
        yield f"{split}: EventDataset finds other class names than the manifest contains"
    if not len(records) == len(labels) == rows:
        yield f"{split}: EventDataset finds {len(records)} rows, but the manifest says {rows}"
        return
    remaining = iter(labels)
    for record in shards:
        found = digest_labels(list(islice(remaining, record.rows)))
        if record.labels_sha256 not in (None, found):
            yield f"{record.name}: EventDataset finds other labels than those that were written"


def _labels_in_order(out: Path, records: Records, shards: list[ShardRecord]) -> list[int]:
    """Return the labels in the order in which the rows were written, without files that are not in the manifest."""
    if not isinstance(records, NpzRecords):
        return records.labels().tolist()
    labels = {str(row.content): row.label for _, row in records.read(range(len(records)))}
    paths = (str(out / path) for record in shards for path in record.paths)
    return [labels[path] for path in paths if path in labels]
