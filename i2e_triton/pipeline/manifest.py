"""The manifest of a converted data set, and the records of its finished shards.

``manifest.json`` describes the data set. During a conversion each finished shard has a record of its own in
:data:`WORK_FOLDER`, from which a later run resumes. When all shards are finished, the manifest contains all records and
the folder is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeVar

from i2e_triton import __version__
from i2e_triton.checks import PACKED_TIMESTEPS
from i2e_triton.io.atomic import write_whole
from i2e_triton.pipeline.plan import FORMATS
from i2e_triton.sources import RESIZE_RULES

MANIFEST_NAME = "manifest.json"
#: Folder of the shard records and of the lock. It exists only until the data set is complete.
WORK_FOLDER = ".i2e"

#: What the files of a shard begin and end with, by suffix.
_ENDS = {".parquet": (b"PAR1", b"PAR1"), ".tar": (b"", bytes(1024)), ".npz": (b"PK\3\4", b"\0\0")}

_T = TypeVar("_T")
_MANIFEST_FIELDS = {"settings", "source", "classes", "rows", "version", "complete", "shards", "event_rate"}
_LARGEST_COUNT = 2**63 - 1
#: What parsing arbitrary JSON and accessing its fields can raise.
_INVALID = (ValueError, TypeError, KeyError, RecursionError)


class ManifestError(Exception):
    """The manifest of a folder does not allow the operation. The message says why and what to do."""


@dataclass(frozen=True)
class SkippedRow:
    """A row whose image could not be converted."""

    row: int
    key: str
    reason: str


@dataclass(frozen=True)
class ShardRecord:
    """Description of a finished shard."""

    name: str
    split: str
    rows: int
    paths: tuple[str, ...]  #: relative to the output folder
    bytes: int  #: size of all files together
    sha256: str  #: digest of the bytes of all files in order
    events: tuple[tuple[int, int], ...]  #: ON and OFF events of each timestep
    pixels: int  #: of all images together
    skipped: tuple[SkippedRow, ...]
    labels_sha256: str | None = None  #: digest of the labels in order; None in manifests of earlier versions

    @staticmethod
    def from_json(record: Any) -> ShardRecord:
        """Return the record that ``record`` describes. The manifest may be downloaded, so every field is checked.

        Raises:
            ValueError: if a path leads out of the folder.
            TypeError: if a field has another type.
            KeyError: if a field is missing.
        """
        return ShardRecord(
            name=_take(record, "name", str),
            split=_take(record, "split", str),
            rows=_take_count(record, "rows"),
            paths=tuple(_check_path(path) for path in _take_strings(record, "paths")),
            bytes=_take_count(record, "bytes"),
            sha256=_take(record, "sha256", str),
            events=tuple(_check_event_counts(step) for step in _take(record, "events", list)),
            pixels=_take_count(record, "pixels"),
            skipped=tuple(
                SkippedRow(_take_count(row, "row"), _take(row, "key", str), _take(row, "reason", str))
                for row in _take(record, "skipped", list)
            ),
            labels_sha256=None if record.get("labels_sha256") is None else _take(record, "labels_sha256", str),
        )


@dataclass(frozen=True)
class Manifest:
    """Description of a data set that is complete or being converted. The fields have the names of the JSON file."""

    settings: dict[str, Any]  #: ``ConversionConfig.as_json()``
    source: dict[str, Any]  #: kind, size in bytes, and fingerprint of each split
    classes: tuple[str, ...] | None
    rows: dict[str, int]  #: number of rows of each split of the source
    version: str = __version__
    complete: bool = False
    shards: tuple[ShardRecord, ...] = field(default=())

    def event_rate(self) -> list[list[float]]:
        """Return the event rates of all shards together: ``[timestep][polarity]``."""
        pixels = sum(record.pixels for record in self.shards)
        steps = zip(*(record.events for record in self.shards))
        return [[sum(step[polarity] for step in counts) / max(pixels, 1) for polarity in (0, 1)] for counts in steps]

    def write(self, out: Path) -> None:
        """Write ``manifest.json`` into the folder ``out``."""
        _write_json(out / MANIFEST_NAME, {**asdict(self), "event_rate": self.event_rate()})


def read_manifest(out: Path) -> Manifest | None:
    """Return the manifest of the folder ``out``, or None if the folder has none.

    Raises:
        ManifestError: if the manifest is damaged.
        OSError: if it cannot be read.
    """
    path = out / MANIFEST_NAME
    if not path.exists():
        return None
    try:
        fields = _read_json(path)
        if unknown := sorted(set(fields) - _MANIFEST_FIELDS):
            raise ValueError(f"unknown field {unknown[0]!r}")
        return _parse_manifest(fields)
    except _INVALID as error:
        raise ManifestError(
            f"{path} is damaged ({type(error).__name__}: {error}); convert again to a new folder"
        ) from error


def check_same(found: Manifest, wanted: Manifest) -> None:
    """Check that a conversion can resume: same configuration, source and version.

    Raises:
        ManifestError: if they differ. The message names all differences.
    """
    pairs = [(name, found.settings.get(name), value) for name, value in wanted.settings.items()]
    pairs += [(f"the source's {name}", found.source.get(name), value) for name, value in wanted.source.items()]
    pairs.append(("the version of i2e-triton", found.version, wanted.version))
    differences = [f"{name} was {was!r} and is {now!r}" for name, was, now in pairs if was != now]
    if differences:
        raise ManifestError(
            f"the folder contains a different conversion: {'; '.join(differences)}. Convert to a new folder, or remove "
            "this one"
        )


def record_shard(out: Path, record: ShardRecord) -> None:
    """Record that all files of a shard are written.

    Raises:
        OSError: if the record cannot be written.
    """
    _write_json(out / WORK_FOLDER / f"{record.name}.json", asdict(record))


def finished_shards(out: Path) -> dict[str, ShardRecord]:
    """Return the records of finished shards by name. A shard is finished if its files have the recorded size."""
    records = {}
    for path in (out / WORK_FOLDER).glob("*.json"):
        try:
            record = ShardRecord.from_json(_read_json(path))
        except _INVALID:
            continue  # the shard is converted again
        if is_finished(out, record):
            records[record.name] = record
    return records


def is_finished(out: Path, record: ShardRecord) -> bool:
    """Return whether the files of a shard exist, have the recorded size, and begin and end as files of their format.

    This is fast. :func:`i2e_triton.pipeline.verify.verify_dataset` reads the files.
    """
    try:
        paths = [out / path for path in record.paths]
        return sum(path.stat().st_size for path in paths) == record.bytes and all(map(_has_both_ends, paths))
    except FileNotFoundError:
        return False


def _has_both_ends(path: Path) -> bool:
    start, end = _ENDS.get(path.suffix, (b"", b""))
    with path.open("rb") as file:
        found = file.read(len(start))
        file.seek(max(0, path.stat().st_size - len(end)))
        return found == start and file.read() == end


def _parse_manifest(fields: Any) -> Manifest:
    settings = _take(fields, "settings", dict)
    timesteps, format = _take_count(settings, "timesteps"), _take(settings, "format", str)
    resize = _take(settings, "resize", str)
    if not 1 <= timesteps <= PACKED_TIMESTEPS or format not in FORMATS or resize not in RESIZE_RULES:
        raise ValueError(f"unknown settings: timesteps {timesteps}, format {format!r}, resize {resize!r}")
    source = _take(fields, "source", dict)
    _take_count(source, "bytes")
    rows = _take(fields, "rows", dict)
    shards = tuple(ShardRecord.from_json(record) for record in _take(fields, "shards", list))
    for record in shards:
        if len(record.events) != timesteps or record.split not in rows:
            raise ValueError(f"{record.name} has {len(record.events)} timesteps and the split {record.split!r}")
    complete = _take(fields, "complete", bool)
    for split in rows:
        expected = _take_count(rows, split)
        found = sum(record.rows + len(record.skipped) for record in shards if record.split == split)
        if complete and found != expected:
            raise ValueError(f"the split {split!r} has {expected} rows, its shards have {found}")
    return Manifest(
        settings=settings,
        source=source,
        classes=None if fields["classes"] is None else _take_strings(fields, "classes"),
        rows=rows,
        version=_take(fields, "version", str),
        complete=complete,
        shards=shards,
    )


def _check_path(path: str) -> str:
    relative = PurePath(path)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts or b"\0" in os.fsencode(path):
        raise ValueError(f"the path {path!r} is not a file in the folder")
    return path


def _check_event_counts(step: Any) -> tuple[int, int]:
    counts = dict(zip(("ON events", "OFF events"), step, strict=True))
    return _take_count(counts, "ON events"), _take_count(counts, "OFF events")


def _take(fields: Any, name: str, kind: type[_T]) -> _T:
    """Return the field ``name`` of a JSON object, if it has exactly the type ``kind``."""
    if not isinstance(fields, dict):
        raise TypeError(f"expected an object with {name!r}, got {type(fields).__name__}")
    value = fields[name]
    if type(value) is not kind:  # isinstance accepts a bool as an int
        raise TypeError(f"{name} must be {kind.__name__}, got {type(value).__name__}")
    return value


def _take_count(fields: Any, name: str) -> int:
    """Return the field ``name`` of a JSON object, if it is an integer in [0, 2**63 - 1]."""
    value = _take(fields, name, int)
    if not 0 <= value <= _LARGEST_COUNT:
        raise ValueError(f"{name} must be in [0, {_LARGEST_COUNT}], got {value}")
    return value


def _take_strings(fields: Any, name: str) -> tuple[str, ...]:
    """Return the field ``name`` of a JSON object, if it is a list of strings."""
    values = _take(fields, name, list)
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name} must be a list of strings")
    return tuple(values)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with a last field ``digest``: SHA-256 of the file in which the digest is empty."""
    text = json.dumps({**content, "digest": ""}, indent=1).encode()
    with write_whole(path) as file:
        file.write(_with_digest(text, hashlib.sha256(text).hexdigest()))


def _read_json(path: Path) -> Any:
    """Return the content of a file of :func:`_write_json`. Version 0.1 wrote manifests without a digest.

    Raises:
        ValueError: if the content is not JSON or does not match its digest.
    """
    text = path.read_bytes()
    fields = json.loads(text)
    digest = fields.pop("digest", None) if isinstance(fields, dict) else None
    if digest is not None:
        content = text.replace(str(digest).encode(), b"")
        if _with_digest(content, digest) != text or hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("the content does not match its digest")
    return fields


def _with_digest(text: bytes, digest: str) -> bytes:
    """Insert the digest between the quotes at the end of a JSON object."""
    end = len(b'"\n}')
    return text[:-end] + digest.encode() + text[-end:]
