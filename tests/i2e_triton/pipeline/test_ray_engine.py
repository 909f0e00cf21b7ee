from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

ray = pytest.importorskip("ray")

from i2e_triton.pipeline import ray_engine  # noqa: E402
from i2e_triton.pipeline.dataset import convert_dataset  # noqa: E402
from i2e_triton.pipeline.manifest import Manifest  # noqa: E402
from i2e_triton.pipeline.plan import Settings  # noqa: E402
from i2e_triton.pipeline.ray_engine import convert_shards_with_ray  # noqa: E402
from i2e_triton.sources import Row, SourceError  # noqa: E402
from tests.i2e_triton.pipeline.made_up import DAMAGED, MemorySource, files_in, png, some_images  # noqa: E402
from tests.i2e_triton.pipeline.test_dataset import HERE, Watcher, run  # noqa: E402

SETTINGS = Settings(0.1, rows_per_shard=4, random_shifts=True, seed=9)


@pytest.fixture(scope="module", autouse=True)
def _two_workers() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


class Held(MemorySource):
    """A source that notes which rows are begun, and gives those from the sixteenth on when it may."""

    def __init__(self, images: list[bytes], folder: Path) -> None:
        super().__init__(images)
        self.folder = folder

    def read(self, start: int, stop: int) -> Iterator[Row]:
        (self.folder / f"begun-{start}").touch()
        while start >= 16 and not (self.folder / "go").exists():
            time.sleep(0.01)
        yield from super().read(start, stop)


def test_ray_makes_the_same_files_and_goes_on_where_it_stopped(
    tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    images = [png(image) for image in some_images(80, generator)]
    images[6] = DAMAGED
    source = Held(images, tmp_path)
    engine = partial(convert_shards_with_ray, machine=replace(HERE, batch_rows=4))

    def convert(watcher: Watcher) -> Manifest:
        return convert_dataset({"train": source}, "memory", tmp_path / "ray", SETTINGS, engine, watcher)

    def set_and_go(shared: object) -> None:
        ray_engine_set(shared)
        (tmp_path / "go").touch()

    ray_engine_set = ray_engine._set
    monkeypatch.setattr(ray_engine, "_set", set_and_go)
    stopped, watcher = Watcher(1, lambda: os.kill(os.getpid(), signal.SIGINT)), Watcher()
    finished = convert(stopped)
    begun = {f"train-{int(path.name.split('-')[1]) // 4:05d}-of-00020" for path in tmp_path.glob("begun-*")}
    assert not finished.complete
    assert {record.name for record in finished.shards} == begun  # none is abandoned
    assert convert(watcher).complete
    assert watcher.start[2] == len(begun)
    assert watcher.start[1] + watcher.rows == 80
    run(source, tmp_path / "here", SETTINGS)
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "here")
    told = capfd.readouterr()
    assert "INFO" not in told.out + told.err


class CutOff(MemorySource):
    """A source whose rows from the fourth on cannot be read."""

    def read(self, start: int, stop: int) -> Iterator[Row]:
        if start >= 4:
            raise SourceError("a.tar ends before its member '9.png' does")
        yield from super().read(start, stop)


def test_what_cannot_be_read_ends_it_with_one_sentence(tmp_path: Path, generator: torch.Generator) -> None:
    source = CutOff([png(image) for image in some_images(12, generator)])
    engine = partial(convert_shards_with_ray, machine=HERE)
    with pytest.raises(ValueError, match=r"^a\.tar ends before its member '9\.png' does$"):
        convert_dataset({"train": source}, "memory", tmp_path, SETTINGS, engine, Watcher())


class Unpicklable(MemorySource):
    """A source that no other process can open."""

    def __setstate__(self, state: object) -> None:
        raise ModuleNotFoundError("No module named 'elsewhere'")


def test_what_ray_cannot_do_ends_it_with_one_sentence(tmp_path: Path, generator: torch.Generator) -> None:
    source = Unpicklable([png(image) for image in some_images(4, generator)])
    engine = partial(convert_shards_with_ray, machine=HERE)
    with pytest.raises(OSError, match=r"^Ray: .*No module named 'elsewhere'.* the same command goes on$") as raised:
        convert_dataset({"train": source}, "memory", tmp_path, SETTINGS, engine, Watcher())
    assert "\n" not in str(raised.value)


class FatalOnce(MemorySource):
    """A source that kills the process that reads a row, the first time."""

    def __init__(self, images: list[bytes], mark: Path) -> None:
        super().__init__(images)
        self._mark = mark

    def read(self, start: int, stop: int) -> Iterator[Row]:
        if start >= 8 and not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(start, stop)


def test_the_shards_of_a_lost_actor_are_converted_by_another(tmp_path: Path, generator: torch.Generator) -> None:
    images = [png(image) for image in some_images(18, generator)]
    source = FatalOnce(images, tmp_path / "mark")
    engine = partial(convert_shards_with_ray, machine=HERE)
    manifest = convert_dataset({"train": source}, "memory", tmp_path / "ray", SETTINGS, engine, Watcher())
    assert (tmp_path / "mark").exists()
    assert manifest.complete
    run(MemorySource(images), tmp_path / "here", SETTINGS)
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "here")
