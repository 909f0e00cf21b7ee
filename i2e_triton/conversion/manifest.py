"""What a conversion writes down of itself: to go on where it stopped, and to be checked by.

``manifest.json`` says what is being made; while it is made, ``.i2e/<shard>.json`` records each finished shard, written
after the shard itself has its name. The last run gathers the records in ``manifest.json`` and removes the folder.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from i2e_triton.arguments import PACKED_TIMESTEPS
from i2e_triton.atomic import write_whole
from i2e_triton.conversion.containers import Written
from i2e_triton.conversion.plan import FORMATS, Shard
from i2e_triton.sources import RESIZE_RULES
from i2e_triton.version import __version__

MANIFEST = "manifest.json"
WORK = ".i2e"

#: What reading JSON of any content raises.
_UNFIT = (ValueError, TypeError, KeyError, RecursionError)
_T = TypeVar("_T")


class ManifestError(Exception):
    """A folder's manifest does not allow what is asked; the message says why and what to do."""


@dataclass(frozen=True)
class Skipped:
    """A row whose image could not be read."""

    row: int
    key: str
    reason: str


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a finished shard."""

    name: str
    split: str
    rows: int
    paths: tuple[str, ...]
    bytes: int
    sha256: str  #: of the bytes of all paths in order
    events: tuple[tuple[int, int], ...]  #: ON and OFF events of each timestep
    pixels: int  #: of all images together
    skipped: tuple[Skipped, ...]

    @staticmethod
    def of(
        shard: Shard, written: Written, rows: int, events: list[tuple[int, int]], pixels: int, skipped: list[Skipped]
    ) -> ShardRecord:
        """Record a shard that has been written."""
        return ShardRecord(
            shard.name,
            shard.split,
            rows,
            written.paths,
            written.bytes,
            written.sha256,
            tuple(events),
            pixels,
            tuple(skipped),
        )

    @staticmethod
    def from_json(record: Any) -> ShardRecord:
        """Read a record back, trusting nothing of it.

        Raises:
            ValueError: if a path leads out of the folder; also TypeError, KeyError where it is no record.
        """
        paths = _texts(record, "paths")
        for path in paths:
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise ValueError(f"the path {path!r} leads out of the folder")
        return ShardRecord(
            name=_field(record, "name", str),
            split=_field(record, "split", str),
            rows=_count(record, "rows"),
            paths=paths,
            bytes=_count(record, "bytes"),
            sha256=_field(record, "sha256", str),
            events=tuple(_on_and_off(step) for step in _field(record, "events", list)),
            pixels=_count(record, "pixels"),
            skipped=tuple(
                Skipped(_count(row, "row"), _field(row, "key", str), _field(row, "reason", str))
                for row in _field(record, "skipped", list)
            ),
        )


@dataclass(frozen=True)
class Manifest:
    """What a folder of events holds, or will hold when it is complete."""

    settings: dict[str, Any]
    source: dict[str, Any]  #: kind, fingerprint of each split, bytes
    classes: tuple[str, ...] | None
    rows: dict[str, int]  #: of each split of the source
    version: str = __version__
    complete: bool = False
    shards: tuple[ShardRecord, ...] = field(default=())

    def event_rate(self) -> list[list[float]]:
        """Return the event rate per timestep and polarity over all shards."""
        pixels = sum(record.pixels for record in self.shards)
        steps = zip(*(record.events for record in self.shards))
        return [[sum(step[polarity] for step in counts) / max(pixels, 1) for polarity in (0, 1)] for counts in steps]

    def write(self, out: Path) -> None:
        """Write ``manifest.json``, whole."""
        fields = asdict(self)
        fields["event_rate"] = self.event_rate()
        _write_json(out / MANIFEST, fields)


def read_manifest(out: Path) -> Manifest | None:
    """Read a folder's manifest; None where there is none.

    Raises:
        ManifestError: if it is damaged.
    """
    path = out / MANIFEST
    if not path.exists():
        return None
    try:
        return _manifest_of(json.loads(path.read_bytes()))
    except _UNFIT as error:
        raise ManifestError(f"{path} is damaged ({type(error).__name__}: {error}); convert to a new folder") from error


def _manifest_of(fields: Any) -> Manifest:
    settings = _field(fields, "settings", dict)
    timesteps, format = _count(settings, "timesteps"), _field(settings, "format", str)
    resize = _field(settings, "resize", str)
    if not 1 <= timesteps <= PACKED_TIMESTEPS or format not in FORMATS or resize not in RESIZE_RULES:
        raise ValueError(f"settings of {timesteps} timesteps, the format {format!r} and the resizing {resize!r}")
    source = _field(fields, "source", dict)
    _count(source, "bytes")
    rows = _field(fields, "rows", dict)
    shards = tuple(ShardRecord.from_json(record) for record in _field(fields, "shards", list))
    for record in shards:
        if len(record.events) != timesteps or record.split not in rows:
            raise ValueError(f"{record.name} is of {len(record.events)} timesteps in the split {record.split!r}")
    return Manifest(
        settings=settings,
        source=source,
        classes=None if fields["classes"] is None else _texts(fields, "classes"),
        rows={split: _count(rows, split) for split in rows},
        version=_field(fields, "version", str),
        complete=_field(fields, "complete", bool),
        shards=shards,
    )


def check_same(found: Manifest, wanted: Manifest) -> None:
    """Refuse to go on with other settings, another source or another version than a folder was begun with.

    Raises:
        ManifestError: naming what differs.
    """
    pairs = [(name, found.settings.get(name), value) for name, value in wanted.settings.items()]
    pairs += [(f"the source's {name}", found.source.get(name), value) for name, value in wanted.source.items()]
    pairs.append(("the version of i2e-triton", found.version, wanted.version))
    differences = [f"{name} was {was!r} and is {now!r}" for name, was, now in pairs if was != now]
    if differences:
        raise ManifestError(
            f"the folder was begun differently: {'; '.join(differences)}. Convert to a new folder, or remove this one"
        )


def record_shard(out: Path, record: ShardRecord) -> None:
    """Write down that a shard is finished, after it is."""
    _write_json(out / WORK / f"{record.name}.json", asdict(record))


def finished_shards(out: Path) -> dict[str, ShardRecord]:
    """Find the shards that are finished: recorded, and their files there with the recorded bytes."""
    records = {}
    for path in (out / WORK).glob("*.json"):
        try:
            record = ShardRecord.from_json(json.loads(path.read_bytes()))
        except _UNFIT:
            continue  # a record that cannot be read is none: its shard is made again
        if bytes_on_disk(out, record) == record.bytes:
            records[record.name] = record
    return records


def finish(out: Path, manifest: Manifest) -> None:
    """Write the manifest of a complete conversion and remove the traces of the work."""
    manifest.write(out)
    shutil.rmtree(out / WORK)


def bytes_on_disk(out: Path, record: ShardRecord) -> int | None:
    """Return how many bytes a shard's files have; None where one is not there."""
    try:
        return sum((out / path).stat().st_size for path in record.paths)
    except FileNotFoundError:
        return None


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with write_whole(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def _field(fields: Any, name: str, kind: type[_T]) -> _T:
    """Take a field of a JSON object.

    Raises:
        TypeError: if this is none, or the field of another kind; KeyError where it is missing.
    """
    if not isinstance(fields, dict):
        raise TypeError(f"expected an object with {name!r}, got {type(fields).__name__}")
    value = fields[name]
    if type(value) is not kind:  # a bool is an int to isinstance
        raise TypeError(f"{name} must be {kind.__name__}, got {type(value).__name__}")
    return value


def _count(fields: Any, name: str) -> int:
    value = _field(fields, name, int)
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return value


def _texts(fields: Any, name: str) -> tuple[str, ...]:
    values = _field(fields, name, list)
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name} must be a list of texts")
    return tuple(values)


def _on_and_off(step: Any) -> tuple[int, int]:
    counts = dict(zip(("ON events", "OFF events"), step, strict=True))
    return _count(counts, "ON events"), _count(counts, "OFF events")
