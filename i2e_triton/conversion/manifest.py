"""What a conversion writes down of itself: to go on where it stopped, and to be checked by.

``manifest.json`` says what is being made; while it is made, ``.i2e/<shard>.json`` records each finished shard, written
after the shard itself has its name. The last run gathers the records in ``manifest.json`` and removes the folder.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from i2e_triton.atomic import write_whole
from i2e_triton.conversion.containers import Written
from i2e_triton.conversion.plan import Shard
from i2e_triton.version import __version__

MANIFEST = "manifest.json"
WORK = ".i2e"


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
    def from_json(record: dict[str, Any]) -> ShardRecord:
        """Read a record back.

        Raises:
            ValueError: if a path leads out of the folder; also TypeError, KeyError where it is no record.
        """
        for path in record["paths"]:
            if Path(path).is_absolute() or ".." in Path(path).parts:
                raise ValueError(f"the path {path!r} leads out of the folder")
        return ShardRecord(
            **{
                **record,
                "paths": tuple(record["paths"]),
                "events": tuple((on, off) for on, off in record["events"]),
                "skipped": tuple(Skipped(**skipped) for skipped in record["skipped"]),
            }
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
        fields = json.loads(path.read_bytes())
        return Manifest(
            settings=fields["settings"],
            source=fields["source"],
            classes=None if fields["classes"] is None else tuple(fields["classes"]),
            rows=fields["rows"],
            version=fields["version"],
            complete=fields["complete"],
            shards=tuple(ShardRecord.from_json(record) for record in fields["shards"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ManifestError(f"{path} is damaged ({type(error).__name__}: {error}); convert to a new folder") from error


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
        except (ValueError, TypeError, KeyError, AttributeError):
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
