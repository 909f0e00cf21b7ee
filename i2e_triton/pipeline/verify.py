"""Verify the files of a converted data set against its manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from i2e_triton.formats import RecordError, load_npz
from i2e_triton.pipeline.manifest import MANIFEST_NAME, Manifest, ManifestError, ShardRecord, read_manifest

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
    """Verify a complete data set against its manifest: the names of all files, and the size and digest of each shard.

    The digest is that of the bytes that the conversion wrote.

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
        problems += _problems_of(out, record)
        shard_done(done, len(manifest.shards))
    unknown = [f"{path}: not in the manifest" for path in _unknown_files(out, manifest)]
    rows = sum(record.rows for record in manifest.shards)
    return Verification(len(manifest.shards), rows, (*unknown, *problems))


def damaged_shards(out: Path, manifest: Manifest) -> list[ShardRecord]:
    """Return the shards whose files are missing, or whose bytes differ from those that were written."""
    return [record for record in manifest.shards if _problems_of(out, record)]


def _unknown_files(out: Path, manifest: Manifest) -> list[str]:
    known = {path for record in manifest.shards for path in record.paths} | {MANIFEST_NAME, CARD_NAME}
    files = (path.relative_to(out) for path in sorted(out.rglob("*")) if path.is_file())
    # Readers ignore hidden files, and systems create some.
    hidden = re.compile(r"(^|/)\.")
    return [str(path) for path in files if path.as_posix() not in known and not hidden.search(path.as_posix())]


def _problems_of(out: Path, record: ShardRecord) -> list[str]:
    """Return how the files of a shard differ from its record."""
    try:
        size, digest = _digest(out, record)
    except OSError as error:
        return [f"{record.name}: {error.filename}: {error.strerror}"]
    if (size, digest) != (record.bytes, record.sha256):
        changed = f"{record.name}: its bytes differ from those that were written ({size:,} of {record.bytes:,} bytes)"
        return ["; ".join([changed, *_unreadable_npz(out, record)])]
    return []


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
