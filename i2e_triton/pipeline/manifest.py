"""The manifest of a converted data set, and the records of its finished shards.

``manifest.json`` describes the data set. During a conversion each finished shard has a record of its own in
:data:`WORK_FOLDER`, from which a later run resumes. When all shards are finished, the manifest contains all records and
the folder is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path, PurePath
from typing import Any, get_args, get_origin, get_type_hints

from i2e_triton import __version__
from i2e_triton.checks import PACKED_TIMESTEPS
from i2e_triton.io.atomic import write_whole
from i2e_triton.pipeline.plan import FORMATS
from i2e_triton.sources import RESIZE_RULES

MANIFEST_NAME = "manifest.json"
#: Folder of the shard records and of the lock. It exists only until the data set is complete.
WORK_FOLDER = ".i2e"

_MANIFEST_FIELDS = {"settings", "source", "classes", "rows", "version", "complete", "shards", "event_rate"}
_LARGEST_COUNT = 2**63 - 1
#: What parsing arbitrary JSON and accessing its fields can raise.
_INVALID = (ValueError, TypeError, LookupError, AttributeError, RecursionError)


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


@dataclass(frozen=True)
class Manifest:
    """Description of a data set that is complete or being converted. The fields have the names of the JSON file."""

    settings: dict[str, Any]  #: ``ConversionConfig.as_json()``
    source: dict[str, Any]  #: kind, size in bytes, and fingerprint of each split
    classes: tuple[str, ...] | None
    rows: dict[str, int]  #: number of rows of each split of the source
    version: str = __version__
    complete: bool = False
    shards: tuple[ShardRecord, ...] = ()

    def event_rate(self) -> list[list[float]]:
        """Return the event rates of all shards together: ``[timestep][polarity]``."""
        pixels = sum(record.pixels for record in self.shards)
        steps = zip(*(record.events for record in self.shards))
        return [[sum(step[polarity] for step in counts) / max(pixels, 1) for polarity in (0, 1)] for counts in steps]

    def write(self, out: Path) -> None:
        """Write ``manifest.json`` into the folder ``out``."""
        write_json(out / MANIFEST_NAME, {**asdict(self), "event_rate": self.event_rate()})


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
        return _parse_manifest(_read_json(path))
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
    write_json(out / WORK_FOLDER / f"{record.name}.json", asdict(record))


def finished_shards(out: Path) -> dict[str, ShardRecord]:
    """Return the records of finished shards by name. A shard is finished if its files have the recorded size."""
    records = {}
    for path in (out / WORK_FOLDER).glob("*.json"):
        try:
            record: ShardRecord = _parse(ShardRecord, _read_json(path))
            for name in record.paths:
                _check_path(name)
        except _INVALID:
            continue  # the shard is converted again
        if is_finished(out, record):
            records[record.name] = record
    return records


def is_finished(out: Path, record: ShardRecord) -> bool:
    """Return whether the files of a shard exist and have the recorded size.

    This is fast. :func:`i2e_triton.pipeline.verify.verify_dataset` reads the files.
    """
    try:
        return sum((out / path).stat().st_size for path in record.paths) == record.bytes
    except FileNotFoundError:
        return False


def _parse_manifest(fields: dict[str, Any]) -> Manifest:
    if unknown := sorted(set(fields) - _MANIFEST_FIELDS):
        raise ValueError(f"unknown field {unknown[0]!r}")
    manifest: Manifest = _parse(Manifest, fields)
    timesteps, format, resize = (manifest.settings[name] for name in ("timesteps", "format", "resize"))
    if (
        _parse(int, timesteps) not in range(1, PACKED_TIMESTEPS + 1)
        or format not in FORMATS
        or resize not in RESIZE_RULES
    ):
        raise ValueError(f"unknown settings: timesteps {timesteps}, format {format!r}, resize {resize!r}")
    _parse(int, manifest.source["bytes"])
    for record in manifest.shards:
        if len(record.events) != timesteps or record.split not in manifest.rows:
            raise ValueError(f"{record.name} has {len(record.events)} timesteps and the split {record.split!r}")
        for path in record.paths:
            _check_path(path)
    for split, expected in manifest.rows.items() if manifest.complete else ():
        found = sum(record.rows + len(record.skipped) for record in manifest.shards if record.split == split)
        if found != expected:
            raise ValueError(f"the split {split!r} has {expected} rows, its shards have {found}")
    return manifest


def _parse(kind: Any, value: Any) -> Any:
    """Return a JSON value as ``kind``: a dataclass, a tuple, a dict, a basic type, or one of these or None.

    The manifest may be downloaded, so every value is checked.

    Raises:
        TypeError: if the value has another type.
        KeyError: if a field of a dataclass is missing.
        ValueError: if an integer is not in [0, 2**63 - 1], or a tuple has another length.
    """
    if kind is Any:
        return value
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(**{name: _parse(each, value[name]) for name, each in get_type_hints(kind).items()})
    container, kinds = get_origin(kind), get_args(kind)
    if type(None) in kinds:
        return None if value is None else _parse(kinds[0], value)
    if type(value) is not {tuple: list, None: kind}.get(container, container):  # isinstance accepts a bool as an int
        raise TypeError(f"expected {kind}, got {type(value).__name__}")
    if container is tuple:
        kinds = kinds[:1] * len(value) if kinds[1] is ... else kinds
        return tuple(_parse(each, element) for each, element in zip(kinds, value, strict=True))
    if container is dict:
        return {name: _parse(kinds[1], element) for name, element in value.items()}
    if kind is int and not 0 <= value <= _LARGEST_COUNT:
        raise ValueError(f"a count must be in [0, {_LARGEST_COUNT}], got {value}")
    return value


def _check_path(path: str) -> None:
    relative = PurePath(path)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts or b"\0" in os.fsencode(path):
        raise ValueError(f"the path {path!r} is not a file in the folder")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON object with a last field ``digest``: SHA-256 of the file in which the digest is empty."""
    text = json.dumps({**content, "digest": ""}, indent=1).encode()
    with write_whole(path) as file:
        file.write(_with_digest(text, hashlib.sha256(text).hexdigest()))


def _read_json(path: Path) -> dict[str, Any]:
    """Return the content of a file of :func:`write_json`.

    Raises:
        ValueError: if the content is not JSON or does not match its digest.
    """
    text = path.read_bytes()
    fields: dict[str, Any] = json.loads(text)
    digest = fields.pop("digest")
    content = text.replace(str(digest).encode(), b"")
    if _with_digest(content, digest) != text or hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("the content does not match its digest")
    return fields


def _with_digest(text: bytes, digest: str) -> bytes:
    """Insert the digest between the quotes at the end of a JSON object."""
    end = len(b'"\n}')
    return text[:-end] + digest.encode() + text[-end:]
