"""Convert a whole data set, and resume a conversion that was interrupted."""

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

from i2e_triton.pipeline.manifest import (
    MANIFEST_NAME,
    WORK_FOLDER,
    Manifest,
    ManifestError,
    ShardRecord,
    bytes_on_disk,
    check_same,
    finished_shards,
    read_manifest,
)
from i2e_triton.pipeline.plan import ConversionConfig, Shard, plan_shards
from i2e_triton.pipeline.shards import complete_shard
from i2e_triton.sources import Source


class ProgressObserver(Protocol):
    """Receives the progress of a conversion."""

    def started(self, rows: int, finished_rows: int, finished: int, shards: int) -> None:
        """Called once, with the total rows and shards, and how many of each an earlier run finished."""

    def rows_done(self, rows: int) -> None:
        """Called after each converted batch, with its number of rows."""

    def shard_done(self, record: ShardRecord) -> None:
        """Called after each finished shard."""


class Engine(Protocol):
    """Converts shards, on this machine or on a cluster."""

    def __call__(
        self,
        shards: list[Shard],
        sources: Mapping[str, Source],
        config: ConversionConfig,
        complete: Callable[..., ShardRecord],
        *,
        stopping: threading.Event,
        rows_done: Callable[[int], None],
        shard_done: Callable[[ShardRecord], None],
    ) -> None:
        """Convert shards. When ``stopping`` is set, finish the open shards and start no others."""


def convert_dataset(
    sources: Mapping[str, Source],
    kind: str,
    out: Path,
    config: ConversionConfig,
    engine: Engine,
    observer: ProgressObserver,
) -> Manifest:
    """Convert every split of a data set into a folder. Resume if an earlier run was interrupted.

    The first Ctrl-C finishes the open shards and returns. The second one interrupts them.

    Args:
        sources: the source of each split.
        kind: kind of the sources, stored in the manifest.
        out: output folder, created if it does not exist.
        config: determines the bytes of the result.
        engine: :func:`i2e_triton.pipeline.local_engine.convert_shards` or
            :func:`i2e_triton.pipeline.ray_engine.convert_shards_with_ray`, with its options.
        observer: receives the progress.

    Returns:
        The manifest. Its ``complete`` is False if the conversion was interrupted.

    Raises:
        ManifestError: if ``out`` contains a different conversion or other files, or another process writes to it.
        ValueError: if the splits have different classes.
        OSError: if reading or writing fails. Finished shards are kept, and a later run resumes.
    """
    out = out.absolute()  # workers may have another working directory
    wanted = _new_manifest(sources, kind, config)
    with _lock(out):
        found = _existing_manifest(out, wanted)
        if found is not None and found.complete:
            _check_files(out, found.shards)
            observer.started(sum(wanted.rows.values()), sum(wanted.rows.values()), len(found.shards), len(found.shards))
            shutil.rmtree(out / WORK_FOLDER)
            return found
        _remove_partial_files(out)
        wanted.write(out)
        return _convert_missing_shards(sources, out, wanted, config, engine, observer)


def _convert_missing_shards(
    sources: Mapping[str, Source],
    out: Path,
    manifest: Manifest,
    config: ConversionConfig,
    engine: Engine,
    observer: ProgressObserver,
) -> Manifest:
    shards = plan_shards(manifest.rows, config.rows_per_shard)
    records = finished_shards(out)
    missing = [shard for shard in shards if shard.name not in records]
    rows = sum(manifest.rows.values())
    observer.started(rows, rows - sum(s.stop - s.start for s in missing), len(shards) - len(missing), len(shards))

    def shard_done(record: ShardRecord) -> None:
        records[record.name] = record
        observer.shard_done(record)

    with _stop_at_ctrl_c() as stopping:
        engine(
            missing,
            sources,
            config,
            partial(complete_shard, out, config=config, classes=manifest.classes),
            stopping=stopping,
            rows_done=observer.rows_done,
            shard_done=shard_done,
        )
    ordered = tuple(records[shard.name] for shard in shards if shard.name in records)
    manifest = replace(manifest, shards=ordered, complete=len(ordered) == len(shards))
    if manifest.complete:
        _check_files(out, manifest.shards)
        _remove_partial_files(out)  # of a Ray actor that was killed
        manifest.write(out)
        shutil.rmtree(out / WORK_FOLDER)
    return manifest


def _new_manifest(sources: Mapping[str, Source], kind: str, config: ConversionConfig) -> Manifest:
    classes = {source.classes for source in sources.values()}
    if len(classes) > 1:
        raise ValueError("the splits of the source have different classes; convert them one by one with --split")
    return Manifest(
        settings=config.as_json(),
        source={
            "kind": kind,
            "bytes": sum(source.nbytes() for source in sources.values()),
            "fingerprints": {split: source.fingerprint() for split, source in sources.items()},
        },
        classes=classes.pop(),
        rows={split: len(source) for split, source in sources.items()},
    )


def _existing_manifest(out: Path, wanted: Manifest) -> Manifest | None:
    found = read_manifest(out)
    if found is not None:
        check_same(found, wanted)
    elif others := [path.name for path in out.iterdir() if path.name != WORK_FOLDER]:
        raise ManifestError(
            f"{out} has no {MANIFEST_NAME} but contains {others[0]!r}; choose an empty folder, so that files of two "
            "data sets are not mixed"
        )
    return found


def _check_files(out: Path, records: tuple[ShardRecord, ...]) -> None:
    for record in records:
        if bytes_on_disk(out, record) != record.bytes:
            raise ManifestError(
                f"{record.name} is recorded as finished, but its files in {out} are missing or have another size. All "
                "nodes must share the folder; if files were removed, convert to a new folder"
            )


def _remove_partial_files(out: Path) -> None:
    """Remove the incomplete files of a killed run. Nobody else writes them while the folder is locked."""
    for part in out.rglob(".i2e-*.part"):
        part.unlink()


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[None]:
    (out / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / WORK_FOLDER / "lock", timeout=0):
            yield
    except Timeout as error:
        raise ManifestError(f"another process is writing to {out}; wait for it, or choose another folder") from error


@contextlib.contextmanager
def _stop_at_ctrl_c() -> Iterator[threading.Event]:
    """Return an event that the first Ctrl-C sets. The second Ctrl-C raises KeyboardInterrupt as usual."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping  # only the main thread may install signal handlers
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, before)
