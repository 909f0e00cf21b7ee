"""Convert a whole data set, and resume a conversion that was interrupted."""

from __future__ import annotations

import contextlib
import errno
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Protocol

from filelock import FileLock, Timeout

from i2e_triton.io.atomic import PARTIAL_FILES
from i2e_triton.pipeline.local_engine import ConvertShard
from i2e_triton.pipeline.manifest import (
    MANIFEST_NAME,
    WORK_FOLDER,
    Manifest,
    ManifestError,
    ShardRecord,
    check_same,
    finished_shards,
    is_finished,
    read_manifest,
    record_shard,
)
from i2e_triton.pipeline.plan import ConversionConfig, Shard, plan_shards
from i2e_triton.pipeline.shards import convert_shard
from i2e_triton.sources import Rows, Source


class ProgressObserver(Protocol):
    """Receives the progress of a conversion."""

    def started(self, rows: int, finished_rows: int, finished_shards: int, shards: int) -> None:
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
        convert: ConvertShard,
        *,
        stopping: threading.Event,
        rows_done: Callable[[int], None],
        shard_done: Callable[[ShardRecord], None],
    ) -> None:
        """Convert shards with ``convert``. When ``stopping`` is set, finish the open shards and start no others."""


class Terminated(KeyboardInterrupt):
    """The process received SIGTERM."""


def _convert_shard(
    sources: Mapping[str, Source],
    config: ConversionConfig,
    out: Path,
    shard: Shard,
    rows_done: Callable[[int], None],
) -> ShardRecord:
    return convert_shard(sources[shard.split], shard, config, out, rows_done=rows_done)


def convert_dataset(
    sources: Mapping[str, Source],
    kind: str,
    out: Path,
    config: ConversionConfig,
    engine: Engine,
    observer: ProgressObserver,
    redo: Collection[str] = (),
) -> Manifest:
    """Convert every split of a data set of images into a folder: see :func:`write_dataset`."""
    out = out.absolute()  # workers may have another working directory
    convert = partial(_convert_shard, sources, config, out)
    return write_dataset(sources, kind, out, config, convert, engine, observer, redo)


def write_dataset(
    sources: Mapping[str, Rows],
    kind: str,
    out: Path,
    config: ConversionConfig,
    convert: ConvertShard,
    engine: Engine,
    observer: ProgressObserver,
    redo: Collection[str] = (),
) -> Manifest:
    """Write every split of a data set into a folder, shard by shard. Resume if an earlier run was interrupted.

    The first Ctrl-C finishes the open shards and returns. The second one, or SIGTERM, abandons them and removes their
    incomplete files.

    Args:
        sources: the source of each split.
        kind: kind of the sources, stored in the manifest.
        out: output folder, created if it does not exist.
        config: options of the conversion. The same sources and options give the same bytes.
        convert: writes and records a shard, in ``out``.
        engine: :func:`i2e_triton.pipeline.local_engine.convert_shards` or
            :func:`i2e_triton.pipeline.ray_engine.convert_shards_with_ray`, with its options.
        observer: receives the progress.
        redo: names of finished shards to convert again.

    Returns:
        The manifest. Its ``complete`` is False if the conversion was interrupted.

    Raises:
        ManifestError: if ``out`` contains a different conversion or other files, or another process writes to it.
        ValueError: if the splits have different classes.
        OSError: if reading or writing fails. Finished shards are kept, and a later run resumes.
        MemoryError: if memory is short. A later run resumes as well.
        KeyboardInterrupt: after the second Ctrl-C. :class:`Terminated` after SIGTERM.
    """
    wanted = _new_manifest(sources, kind, config)
    with _lock(out), stop_at_signals() as stopping:
        found = _existing_manifest(out, wanted)
        if found is not None and found.complete:
            kept = [record for record in found.shards if record.name not in redo and is_finished(out, record)]
            if len(kept) == len(found.shards):
                observer.started(sum(wanted.rows.values()), sum(wanted.rows.values()), len(kept), len(kept))
                _remove_work_folder(out)
                return found
            for record in kept:
                record_shard(out, record)
        try:
            _remove_partial_files(out)
            wanted.write(out)
            shards = plan_shards(wanted.rows, config.rows_per_shard)
            return _convert_missing_shards(out, wanted, shards, convert, engine, observer, stopping)
        except BaseException:
            _remove_partial_files(out)  # of a worker that was killed
            raise


def _convert_missing_shards(
    out: Path,
    manifest: Manifest,
    shards: list[Shard],
    convert: ConvertShard,
    engine: Engine,
    observer: ProgressObserver,
    stopping: threading.Event,
) -> Manifest:
    records = finished_shards(out)
    missing = [shard for shard in shards if shard.name not in records]
    rows = sum(manifest.rows.values())
    observer.started(rows, rows - sum(s.stop - s.start for s in missing), len(shards) - len(missing), len(shards))

    def shard_done(record: ShardRecord) -> None:
        records[record.name] = record
        observer.shard_done(record)

    engine(missing, convert, stopping=stopping, rows_done=observer.rows_done, shard_done=shard_done)
    ordered = tuple(records[shard.name] for shard in shards if shard.name in records)
    manifest = replace(manifest, shards=ordered, complete=len(ordered) == len(shards))
    if manifest.complete:
        _check_files(out, manifest.shards)
        _remove_partial_files(out)  # of a Ray worker that was killed
        manifest.write(out)
        _remove_work_folder(out)
    return manifest


def _new_manifest(sources: Mapping[str, Rows], kind: str, config: ConversionConfig) -> Manifest:
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
    elif others := [path.name for path in out.iterdir() if path.name != WORK_FOLDER and not path.match(PARTIAL_FILES)]:
        raise ManifestError(
            f"{out} has no {MANIFEST_NAME} but contains {others[0]!r}; choose an empty folder, so that files of two "
            "data sets are not mixed"
        )
    return found


def _check_files(out: Path, records: tuple[ShardRecord, ...]) -> None:
    for record in records:
        if not is_finished(out, record):
            raise ManifestError(
                f"{record.name} is recorded as finished, but its files in {out} are missing or have another size. All "
                "nodes must share the folder"
            )


def _remove_partial_files(out: Path) -> None:
    """Remove the incomplete files of a killed run. Nobody else writes them while the folder is locked."""
    for path in out.rglob(PARTIAL_FILES):
        path.unlink(missing_ok=True)


def _remove_work_folder(out: Path) -> None:
    """Remove the records of the shards and the lock."""
    # A second run can start once the lock file is gone. It finds a complete manifest, and also removes the folder.
    folder = out / WORK_FOLDER
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
            raise


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[None]:
    (out / WORK_FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / WORK_FOLDER / "lock", timeout=0):
            yield
    except Timeout as error:
        raise ManifestError(f"another process is writing to {out}; wait for it, or choose another folder") from error


@contextlib.contextmanager
def stop_at_signals() -> Iterator[threading.Event]:
    """Return an event that the first Ctrl-C sets.

    The second Ctrl-C raises KeyboardInterrupt. SIGTERM raises :class:`Terminated`.
    Only the main thread can install signal handlers. In other threads, signals have their usual effect.
    """
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    handlers = {signal.SIGINT: stop, signal.SIGTERM: terminate}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
