"""What a conversion writes down of itself: to go on where it stopped, and to be checked by.

``manifest.json`` says what is being made. While it is made, each finished shard is recorded apart, see
:mod:`i2e_triton.pipeline.finished`; the last run gathers the records in it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Any

from i2e_triton import __version__
from i2e_triton.checks import PACKED_TIMESTEPS
from i2e_triton.formats import check_bits
from i2e_triton.pipeline.json_files import UNFIT, take, take_count, take_texts, write_json
from i2e_triton.pipeline.plan import FORMATS
from i2e_triton.sources import RESIZE_RULES

MANIFEST = "manifest.json"


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
    def from_json(record: Any) -> ShardRecord:
        """Read a record back, trusting nothing of it.

        Raises:
            ValueError: if a path leads out of the folder; also TypeError, KeyError where it is no record.
        """
        return ShardRecord(
            name=take(record, "name", str),
            split=take(record, "split", str),
            rows=take_count(record, "rows"),
            paths=tuple(_inner_path(path) for path in take_texts(record, "paths")),
            bytes=take_count(record, "bytes"),
            sha256=take(record, "sha256", str),
            events=tuple(_on_and_off(step) for step in take(record, "events", list)),
            pixels=take_count(record, "pixels"),
            skipped=tuple(
                Skipped(take_count(row, "row"), take(row, "key", str), take(row, "reason", str))
                for row in take(record, "skipped", list)
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
        write_json(out / MANIFEST, fields)


def read_manifest(out: Path) -> Manifest | None:
    """Read a folder's manifest; None where there is none.

    Raises:
        ManifestError: if it is damaged.
        OSError: if it cannot be read.
    """
    path = out / MANIFEST
    if not path.exists():
        return None
    try:
        return _manifest_of(json.loads(path.read_bytes()))
    except UNFIT as error:
        raise ManifestError(f"{path} is damaged ({type(error).__name__}: {error}); convert to a new folder") from error


def _manifest_of(fields: Any) -> Manifest:
    settings = take(fields, "settings", dict)
    timesteps, format = take_count(settings, "timesteps"), take(settings, "format", str)
    resize = take(settings, "resize", str)
    if not 1 <= timesteps <= PACKED_TIMESTEPS or format not in FORMATS or resize not in RESIZE_RULES:
        raise ValueError(f"settings of {timesteps} timesteps, the format {format!r} and the resizing {resize!r}")
    settings["bits"] = check_bits(take(settings, "bits", str))  # "published" in the manifests of older versions
    source = take(fields, "source", dict)
    take_count(source, "bytes")
    rows = take(fields, "rows", dict)
    shards = tuple(ShardRecord.from_json(record) for record in take(fields, "shards", list))
    for record in shards:
        if len(record.events) != timesteps or record.split not in rows:
            raise ValueError(f"{record.name} is of {len(record.events)} timesteps in the split {record.split!r}")
    complete = take(fields, "complete", bool)
    for split in rows:
        wanted = take_count(rows, split)
        found = sum(record.rows + len(record.skipped) for record in shards if record.split == split)
        if complete and found != wanted:
            raise ValueError(f"the split {split!r} has {wanted} rows, its shards have {found}")
    return Manifest(
        settings=settings,
        source=source,
        classes=None if fields["classes"] is None else take_texts(fields, "classes"),
        rows=rows,
        version=take(fields, "version", str),
        complete=complete,
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


def _inner_path(path: str) -> str:
    relative = PurePath(path)
    if not relative.parts or relative.is_absolute() or ".." in relative.parts or b"\0" in os.fsencode(path):
        raise ValueError(f"the path {path!r} names no file in the folder")
    return path


def _on_and_off(step: Any) -> tuple[int, int]:
    counts = dict(zip(("ON events", "OFF events"), step, strict=True))
    return take_count(counts, "ON events"), take_count(counts, "OFF events")
