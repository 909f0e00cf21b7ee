"""A whole data set converted: begun, continued where it stopped, completed."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

from filelock import FileLock, Timeout

from i2e_triton.pipeline.finished import WORK, bytes_on_disk, finished_shards
from i2e_triton.pipeline.manifest import MANIFEST, Manifest, ManifestError, ShardRecord, check_same, read_manifest
from i2e_triton.pipeline.plan import Settings, Shard, plan_shards
from i2e_triton.pipeline.shards import complete_shard
from i2e_triton.pipeline.writers import check_class_folders
from i2e_triton.sources import Source


class Observer(Protocol):
    """Whoever wants to know how a conversion gets on."""

    def begun(self, rows: int, finished_rows: int, finished: int, shards: int) -> None:
        """Called once, with the rows and shards of the data set and how many an earlier run has finished."""

    def rows_done(self, rows: int) -> None:
        """Called for each batch that has been converted."""

    def shard_done(self, record: ShardRecord) -> None:
        """Called for each shard that is complete."""


class Engine(Protocol):
    """What converts shards, here or elsewhere."""

    def __call__(
        self,
        shards: list[Shard],
        sources: Mapping[str, Source],
        settings: Settings,
        complete: Callable[..., ShardRecord],
        *,
        stopping: threading.Event,
        rows_done: Callable[[int], None],
        shard_done: Callable[[ShardRecord], None],
    ) -> None:
        """Convert shards; when ``stopping`` is set, finish those in hand and begin no other."""


def convert_dataset(
    sources: Mapping[str, Source], kind: str, out: Path, settings: Settings, engine: Engine, observer: Observer
) -> Manifest:
    """Convert every split of a data set into a folder; go on where an earlier run stopped.

    Ctrl-C finishes the shards in hand and returns; a second one interrupts them.

    Args:
        sources: the rows of each split.
        kind: of the sources, for the manifest.
        out: folder of the result, made if it is missing.
        settings: all that decides the bytes of the result.
        engine: what converts, see :mod:`i2e_triton.pipeline.local_engine` and :mod:`i2e_triton.pipeline.ray_engine`.
        observer: told of the progress.

    Returns:
        The manifest; not ``complete`` where the conversion was interrupted.

    Raises:
        ManifestError: if the folder was begun with other settings or another source, belongs to something else, or is
            being written by another process.
        ValueError: if the splits have different classes, or a key or class cannot name a file of the format.
        OSError: if reading or writing fails; finished shards stay, and a later run goes on from them.
    """
    out = out.absolute()  # whoever writes it may be elsewhere
    wanted = _manifest(sources, kind, settings)
    if settings.format == "npz":
        check_class_folders(wanted.classes)
    with _alone(out):
        found = _found(out, wanted)
        if found is not None and found.complete:
            _check_files(out, found.shards)
            observer.begun(sum(wanted.rows.values()), sum(wanted.rows.values()), len(found.shards), len(found.shards))
            shutil.rmtree(out / WORK)
            return found
        _remove_parts(out)
        wanted.write(out)
        return _convert_rest(sources, out, wanted, settings, engine, observer)


def _convert_rest(
    sources: Mapping[str, Source], out: Path, manifest: Manifest, settings: Settings, engine: Engine, observer: Observer
) -> Manifest:
    shards = plan_shards(manifest.rows, settings.rows_per_shard)
    records = finished_shards(out)
    missing = [shard for shard in shards if shard.name not in records]
    rows = sum(manifest.rows.values())
    observer.begun(rows, rows - sum(s.stop - s.start for s in missing), len(shards) - len(missing), len(shards))

    def shard_done(record: ShardRecord) -> None:
        records[record.name] = record
        observer.shard_done(record)

    with _interrupts() as stopping:
        engine(
            missing,
            sources,
            settings,
            partial(complete_shard, out, settings=settings, classes=manifest.classes),
            stopping=stopping,
            rows_done=observer.rows_done,
            shard_done=shard_done,
        )
    ordered = tuple(records[shard.name] for shard in shards if shard.name in records)
    manifest = replace(manifest, shards=ordered, complete=len(ordered) == len(shards))
    if manifest.complete:
        _check_files(out, manifest.shards)
        _remove_parts(out)  # of an actor that was lost
        manifest.write(out)
        shutil.rmtree(out / WORK)
    return manifest


def _manifest(sources: Mapping[str, Source], kind: str, settings: Settings) -> Manifest:
    classes = {source.classes for source in sources.values()}
    if len(classes) > 1:
        raise ValueError("the splits of the source have different classes; convert them one by one with --split")
    return Manifest(
        settings=settings.as_json(),
        source={
            "kind": kind,
            "bytes": sum(source.nbytes() for source in sources.values()),
            "fingerprints": {split: source.fingerprint() for split, source in sources.items()},
        },
        classes=classes.pop(),
        rows={split: len(source) for split, source in sources.items()},
    )


def _found(out: Path, wanted: Manifest) -> Manifest | None:
    found = read_manifest(out)
    if found is not None:
        check_same(found, wanted)
    elif others := [path.name for path in out.iterdir() if path.name != WORK]:
        raise ManifestError(
            f"{out} has no {MANIFEST} but holds {others[0]!r}; choose an empty folder, so that nothing is mixed up"
        )
    return found


def _check_files(out: Path, records: tuple[ShardRecord, ...]) -> None:
    for record in records:
        if bytes_on_disk(out, record) != record.bytes:
            raise ManifestError(
                f"{record.name} is recorded as finished, but {out} does not hold it as it was written: nodes must "
                "share the folder; if files were taken away, convert to a new folder"
            )


def _remove_parts(out: Path) -> None:
    """Remove what a killed run had begun to write; nobody else writes here while the folder is locked."""
    for part in out.rglob(".i2e-*.part"):
        part.unlink()


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    (out / WORK).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / WORK / "lock", timeout=0):
            yield
    except Timeout as error:
        raise ManifestError(f"another process is writing to {out}; wait for it, or choose another folder") from error


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event; the second one interrupts as ever."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping  # only the main thread is told of signals
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
