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

from i2e_triton.pipeline.dataset import convert_dataset
from i2e_triton.pipeline.finished import WORK
from i2e_triton.pipeline.local_engine import Machine, convert_shards
from i2e_triton.pipeline.manifest import MANIFEST, Manifest, ManifestError, ShardRecord
from i2e_triton.pipeline.plan import Settings
from tests.i2e_triton.pipeline.made_up import DAMAGED, MemorySource, files_in, png, some_images
from tests.samples import noise

SETTINGS = Settings(0.1, rows_per_shard=4)
HERE = Machine(workers=0, batch_rows=3, device=torch.device("cpu"))


class Watcher:
    """Counts what it is told; may do something after so many shards."""

    def __init__(self, after: int = -1, act: object = None) -> None:
        self.start: tuple[int, ...] = ()
        self.rows = 0
        self.shards: list[str] = []
        self._after, self._act = after, act

    def begun(self, rows: int, finished_rows: int, finished: int, shards: int) -> None:
        self.start = (rows, finished_rows, finished, shards)

    def rows_done(self, rows: int) -> None:
        self.rows += rows

    def shard_done(self, record: ShardRecord) -> None:
        self.shards.append(record.name)
        if len(self.shards) == self._after:
            self._act()  # type: ignore[operator]


def run(
    source: MemorySource,
    out: Path,
    settings: Settings = SETTINGS,
    machine: Machine = HERE,
    watcher: Watcher | None = None,
) -> Manifest:
    engine = partial(convert_shards, machine=machine)
    return convert_dataset({"train": source}, "memory", out, settings, engine, watcher or Watcher())


@pytest.fixture
def source(generator: torch.Generator) -> MemorySource:
    images = [png(image) for image in some_images(18, generator)]
    images[6] = DAMAGED
    return MemorySource(images)


def test_a_conversion_is_its_shards_and_its_manifest(tmp_path: Path, source: MemorySource) -> None:
    watcher = Watcher()
    manifest = run(source, tmp_path / "out", watcher=watcher)
    names = [f"train-0000{i}-of-00005" for i in range(5)]
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [MANIFEST, *[f"{n}.parquet" for n in names]]
    assert manifest.complete
    assert [record.name for record in manifest.shards] == names
    assert [record.rows for record in manifest.shards] == [4, 3, 4, 4, 2]
    assert manifest.source["bytes"] == source.nbytes()
    assert (watcher.start, watcher.rows, sorted(watcher.shards)) == ((18, 0, 0, 5), 18, names)


@pytest.mark.parametrize("format", ["parquet", "tar", "npz"])
def test_nothing_but_settings_and_source_changes_a_byte(tmp_path: Path, source: MemorySource, format: str) -> None:
    settings = replace(SETTINGS, format=format, random_shifts=True, seed=3)
    run(source, tmp_path / "a", settings)
    run(source, tmp_path / "b", settings, Machine(2, 5, torch.device("cpu"), lanes=3))
    assert files_in(tmp_path / "a") == files_in(tmp_path / "b")


def test_an_interrupt_finishes_the_shard_in_hand_and_the_next_run_goes_on(tmp_path: Path, source: MemorySource) -> None:
    run(source, tmp_path / "whole")
    out = tmp_path / "out"
    stopped = run(source, out, watcher=Watcher(2, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert not stopped.complete
    assert 2 <= len(stopped.shards) < 5
    before = {path: os.stat(out / path).st_mtime_ns for record in stopped.shards for path in record.paths}
    watcher = Watcher()
    assert run(source, out, watcher=watcher).complete
    assert watcher.start == (18, 4 * len(stopped.shards), len(stopped.shards), 5)
    assert {path: os.stat(out / path).st_mtime_ns for path in before} == before
    assert files_in(out) == files_in(tmp_path / "whole")


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt, though a shell that runs the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_a_second_interrupt_interrupts(tmp_path: Path, source: MemorySource) -> None:
    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # two that wait at once would be one

    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path, watcher=Watcher(1, twice))
    assert not list(tmp_path.rglob("*.part"))


def test_interrupts_are_as_they_were_afterwards(tmp_path: Path, source: MemorySource) -> None:
    before = signal.getsignal(signal.SIGINT)
    run(source, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_complete_folder_is_left_as_it_is(tmp_path: Path, source: MemorySource) -> None:
    first = run(source, tmp_path)
    before = files_in(tmp_path)
    watcher = Watcher()
    assert run(source, tmp_path, watcher=watcher) == first
    assert (watcher.rows, watcher.shards, watcher.start) == (0, [], (18, 18, 5, 5))
    assert files_in(tmp_path) == before


def test_a_complete_folder_whose_files_are_gone_is_not_called_complete(tmp_path: Path, source: MemorySource) -> None:
    run(source, tmp_path)
    (tmp_path / "train-00002-of-00005.parquet").unlink()
    with pytest.raises(ManifestError, match="train-00002-of-00005 is recorded as finished, but"):
        run(source, tmp_path)


def test_a_complete_folder_whose_shard_has_no_files_is_not_called_complete(
    tmp_path: Path, source: MemorySource
) -> None:
    manifest = run(source, tmp_path)
    replace(manifest, shards=(replace(manifest.shards[0], paths=()), *manifest.shards[1:])).write(tmp_path)
    with pytest.raises(ManifestError, match="train-00000-of-00005 is recorded as finished, but"):
        run(source, tmp_path)


@pytest.mark.parametrize("complete", [True, False])
def test_other_settings_or_another_source_are_refused(tmp_path: Path, source: MemorySource, complete: bool) -> None:
    watcher = Watcher() if complete else Watcher(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    run(source, tmp_path, watcher=watcher)
    before = files_in(tmp_path)
    with pytest.raises(ManifestError, match=r"ratio was 0\.1 and is 0\.2"):
        run(source, tmp_path, replace(SETTINGS, ratio=0.2))
    with pytest.raises(ManifestError, match="the source's"):
        run(MemorySource(source.images[:-1]), tmp_path)
    assert {path: content for path, content in files_in(tmp_path).items() if not path.startswith(WORK)} == {
        path: content for path, content in before.items() if not path.startswith(WORK)
    }


def test_a_folder_of_something_else_is_refused(tmp_path: Path, source: MemorySource) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ManifestError, match=r"holds 'thesis\.tex'; choose an empty folder"):
        run(source, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != WORK] == ["thesis.tex"]


def test_two_processes_do_not_write_to_one_folder(tmp_path: Path, source: MemorySource) -> None:
    (tmp_path / WORK).mkdir()
    with FileLock(tmp_path / WORK / "lock"), pytest.raises(ManifestError, match="another process is writing"):
        run(source, tmp_path)


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path, source: MemorySource) -> None:
    (tmp_path / WORK).mkdir()
    (tmp_path / MANIFEST).write_bytes(b"")
    (tmp_path / MANIFEST).unlink()
    run(source, tmp_path, watcher=Watcher(1, lambda: os.kill(os.getpid(), signal.SIGINT)))
    (tmp_path / ".i2e-0123456789abcdef.part").write_bytes(b"half")
    run(source, tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_it_runs_outside_the_main_thread(tmp_path: Path, source: MemorySource) -> None:
    results: list[Manifest] = []
    thread = threading.Thread(target=lambda: results.append(run(source, tmp_path)))
    thread.start()
    thread.join()
    assert results[0].complete


def test_a_row_that_no_record_holds_is_skipped_and_listed(tmp_path: Path, generator: torch.Generator) -> None:
    too_wide = noise((3, 1, 65536), torch.uint8, generator)
    manifest = run(MemorySource([png(image) for image in (*some_images(5, generator), too_wide)]), tmp_path)
    assert manifest.complete
    assert [record.rows for record in manifest.shards] == [4, 1]
    assert [(skipped.row, skipped.key) for record in manifest.shards for skipped in record.skipped] == [(5, "5")]


def test_an_empty_source_gives_an_empty_shard(tmp_path: Path) -> None:
    manifest = run(MemorySource([]), tmp_path)
    assert manifest.complete
    assert [record.rows for record in manifest.shards] == [0]
    assert (tmp_path / "train-00000-of-00001.parquet").exists()


def test_splits_of_different_classes_are_refused(tmp_path: Path, source: MemorySource) -> None:
    sources = {"train": source, "validation": MemorySource(source.images, ("other",))}
    with pytest.raises(ValueError, match="different classes; convert them one by one with --split"):
        convert_dataset(sources, "memory", tmp_path, SETTINGS, partial(convert_shards, machine=HERE), Watcher())
