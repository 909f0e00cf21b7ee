from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

ray = pytest.importorskip("ray")

from i2e_triton.conversion.dataset import convert_dataset  # noqa: E402
from i2e_triton.conversion.plan import Settings  # noqa: E402
from i2e_triton.conversion.ray_engine import convert_shards_with_ray  # noqa: E402
from i2e_triton.sources import Row  # noqa: E402
from tests.i2e_triton.conversion.made_up import DAMAGED, MemorySource, files_in, png, some_images  # noqa: E402
from tests.i2e_triton.conversion.test_dataset import HERE, Watcher, run  # noqa: E402

SETTINGS = Settings(0.1, rows_per_shard=4, random_shifts=True, seed=9)


@pytest.fixture(scope="module", autouse=True)
def _two_workers() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def test_ray_makes_the_same_files_and_goes_on_where_it_stopped(tmp_path: Path, generator: torch.Generator) -> None:
    images = [png(image) for image in some_images(18, generator)]
    images[6] = DAMAGED
    source = MemorySource(images)
    run(source, tmp_path / "here", SETTINGS)
    engine = partial(convert_shards_with_ray, machine=HERE)

    def convert(watcher: Watcher) -> bool:
        return convert_dataset({"train": source}, "memory", tmp_path / "ray", SETTINGS, engine, watcher).complete

    stopped, watcher = Watcher(2, lambda: os.kill(os.getpid(), signal.SIGINT)), Watcher()
    assert not convert(stopped)
    assert convert(watcher)
    assert watcher.start[2] >= 2
    assert watcher.start[1] + watcher.rows == 18
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "here")


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
