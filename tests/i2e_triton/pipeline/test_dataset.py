from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from i2e_triton.pipeline.dataset import Terminated, convert_dataset
from i2e_triton.pipeline.local_engine import convert_shards
from i2e_triton.pipeline.manifest import MANIFEST_NAME, WORK_FOLDER, Manifest, ManifestError
from tests.i2e_triton.pipeline.builders import (
    CONFIG,
    DAMAGED,
    IN_PROCESS,
    MemorySource,
    RecordingObserver,
    files_in,
    png,
    run,
    some_images,
)


@pytest.fixture
def source(generator: torch.Generator) -> MemorySource:
    images = [png(image) for image in some_images(18, generator)]
    images[6] = DAMAGED
    return MemorySource(images)


def test_output_is_shards_and_manifest(tmp_path: Path, source: MemorySource) -> None:
    observer = RecordingObserver()
    manifest = run(source, tmp_path / "out", observer=observer)
    names = [f"train-0000{i}-of-00005" for i in range(5)]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        MANIFEST_NAME,
        *[f"{n}.parquet" for n in names],
    ]
    assert manifest.complete
    assert [record.name for record in manifest.shards] == names
    assert [record.rows for record in manifest.shards] == [4, 3, 4, 4, 2]
    assert manifest.source["bytes"] == source.nbytes()
    assert (observer.start, observer.rows, sorted(observer.shards)) == ((18, 0, 0, 5), 18, names)


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, source: MemorySource, format: str) -> None:
    config = replace(CONFIG, format=format, random_shifts=True, seed=3)
    run(source, tmp_path / "a", config)
    observer = RecordingObserver()
    run(source, tmp_path / "b", config, partial(convert_shards, workers=3), observer)
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")
    assert observer.rows == 18


def test_interrupt_finishes_open_shard_and_next_run_resumes(tmp_path: Path, source: MemorySource) -> None:
    run(source, tmp_path / "whole")
    out = tmp_path / "out"
    stopped = run(source, out, observer=RecordingObserver(2, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert not stopped.complete
    assert 2 <= len(stopped.shards) < 5
    before = {path: os.stat(out / path).st_mtime_ns for record in stopped.shards for path in record.paths}
    observer = RecordingObserver()
    assert run(source, out, observer=observer).complete
    assert observer.start == (18, 4 * len(stopped.shards), len(stopped.shards), 5)
    assert {path: os.stat(out / path).st_mtime_ns for path in before} == before
    assert files_in(out) == files_in(tmp_path / "whole")


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt, even if a shell runs the tests in the background and ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_second_interrupt_raises_keyboard_interrupt(tmp_path: Path, source: MemorySource) -> None:
    def interrupt_twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # two pending signals would be delivered as one

    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path, observer=RecordingObserver(1, interrupt_twice))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_handlers_are_restored(tmp_path: Path, source: MemorySource, number: int) -> None:
    before = signal.getsignal(number)
    run(source, tmp_path)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_ends_the_conversion_at_once(tmp_path: Path, source: MemorySource, workers: int) -> None:
    observer = RecordingObserver(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Terminated):
        run(source, tmp_path, engine=partial(convert_shards, workers=workers), observer=observer)
    assert not list(tmp_path.rglob("*.part"))
    assert run(source, tmp_path).complete


def test_complete_folder_is_not_changed(tmp_path: Path, source: MemorySource) -> None:
    first = run(source, tmp_path)
    before = files_in(tmp_path)
    observer = RecordingObserver()
    assert run(source, tmp_path, observer=observer) == first
    assert (observer.rows, observer.shards, observer.start) == (0, [], (18, 18, 5, 5))
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("damage", ["missing", "cut off", "no files in the manifest"])
def test_only_the_damaged_shard_of_a_complete_folder_is_converted_again(
    tmp_path: Path, source: MemorySource, damage: str
) -> None:
    manifest = run(source, tmp_path)
    before = files_in(tmp_path)
    path = tmp_path / "train-00002-of-00005.parquet"
    if damage == "missing":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        shards = [replace(record, paths=()) if record.name == path.stem else record for record in manifest.shards]
        replace(manifest, shards=tuple(shards)).write(tmp_path)
    observer = RecordingObserver()
    assert run(source, tmp_path, observer=observer) == manifest
    assert observer.shards == ["train-00002-of-00005"]
    assert files_in(tmp_path) == before


def test_shards_to_redo_are_converted_again(tmp_path: Path, source: MemorySource) -> None:
    run(source, tmp_path)
    before = files_in(tmp_path)
    path = tmp_path / "train-00002-of-00005.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[40] ^= 1
    path.write_bytes(damaged)
    observer = RecordingObserver()
    run(source, tmp_path, observer=observer, redo=[path.stem])
    assert observer.shards == [path.stem]
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("complete", [True, False])
def test_different_config_or_source_is_refused(tmp_path: Path, source: MemorySource, complete: bool) -> None:
    observer = RecordingObserver() if complete else RecordingObserver(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    run(source, tmp_path, observer=observer)
    before = files_outside_work_folder(tmp_path)
    with pytest.raises(ManifestError, match=r"ratio was 0\.1 and is 0\.2"):
        run(source, tmp_path, replace(CONFIG, ratio=0.2))
    with pytest.raises(ManifestError, match="the source's"):
        run(MemorySource(source.images[:-1]), tmp_path)
    assert files_outside_work_folder(tmp_path) == before


def files_outside_work_folder(folder: Path) -> dict[str, bytes]:
    return {path: content for path, content in files_in(folder).items() if not path.startswith(WORK_FOLDER)}


def test_folder_with_other_files_is_refused(tmp_path: Path, source: MemorySource) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ManifestError, match=r"contains 'thesis\.tex'; choose an empty folder"):
        run(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != WORK_FOLDER] == ["thesis.tex"]


def test_second_process_is_refused(tmp_path: Path, source: MemorySource) -> None:
    (tmp_path / WORK_FOLDER).mkdir()
    with FileLock(tmp_path / WORK_FOLDER / "lock"), pytest.raises(ManifestError, match="another process is writing"):
        run(source, tmp_path)


def test_run_that_ends_while_another_one_removes_its_records_is_complete(
    tmp_path: Path, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def remove_before(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".json":
            unlink(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", remove_before)
    assert run(source, tmp_path).complete


@pytest.mark.parametrize("killed_early", [True, False])  # while it writes the first manifest
def test_partial_files_of_a_killed_run_are_removed(tmp_path: Path, source: MemorySource, killed_early: bool) -> None:
    if not killed_early:
        run(source, tmp_path, observer=RecordingObserver(1, lambda: os.kill(os.getpid(), signal.SIGINT)))
    (tmp_path / ".i2e-0123456789abcdef.part").write_bytes(b"half")
    assert run(source, tmp_path).complete
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("workers", [0, 2])
def test_conversion_runs_outside_the_main_thread(tmp_path: Path, source: MemorySource, workers: int) -> None:
    results: list[Manifest] = []
    engine = partial(convert_shards, workers=workers)
    thread = threading.Thread(target=lambda: results.append(run(source, tmp_path, engine=engine)))
    thread.start()
    thread.join()
    assert results[0].complete


def test_empty_source_gives_one_empty_shard(tmp_path: Path) -> None:
    manifest = run(MemorySource([]), tmp_path)
    assert manifest.complete
    assert [record.rows for record in manifest.shards] == [0]
    assert (tmp_path / "train-00000-of-00001.parquet").exists()


def test_splits_with_different_classes_are_refused(tmp_path: Path, source: MemorySource) -> None:
    sources = {"train": source, "validation": MemorySource(source.images, ("other",))}
    with pytest.raises(ValueError, match="different classes; convert them one by one with --split"):
        convert_dataset(sources, "memory", tmp_path, CONFIG, IN_PROCESS, RecordingObserver())
