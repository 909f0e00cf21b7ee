from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

ray = pytest.importorskip("ray")

from i2e_triton.pipeline.dataset import convert_dataset  # noqa: E402
from i2e_triton.pipeline.manifest import Manifest  # noqa: E402
from i2e_triton.pipeline.plan import ConversionConfig  # noqa: E402
from i2e_triton.pipeline.ray_engine import convert_shards_with_ray  # noqa: E402
from i2e_triton.sources import ImageRow, SourceError  # noqa: E402
from tests.i2e_triton.pipeline.builders import (  # noqa: E402  # noqa: E402
    DAMAGED,
    MemorySource,
    RecordingObserver,
    files_in,
    png,
    run,
    some_images,
)

pytestmark = pytest.mark.slow  # starting a Ray cluster and its actors takes most of the time

CONFIG = ConversionConfig(0.1, rows_per_shard=4, random_shifts=True, seed=9)
ONE_SHARD = replace(CONFIG, rows_per_shard=100)  # one actor: each actor takes seconds to import PyTorch
TWO_SHARDS = replace(CONFIG, rows_per_shard=6)


@pytest.fixture(scope="module", autouse=True)
def _ray_with_two_cpus() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


class Held(MemorySource):
    """A source that marks started rows by files, and returns rows from the 17th on when the file ``go`` exists."""

    def __init__(self, images: list[bytes], folder: Path) -> None:
        super().__init__(images)
        self.folder = folder

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        (self.folder / f"started-{start}").touch()
        while start >= 16 and not (self.folder / "go").exists():
            time.sleep(0.01)
        yield from super().read(start, stop)


def test_ray_writes_the_same_files_and_resumes(
    tmp_path: Path, generator: torch.Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    images = [png(image) for image in some_images(80, generator)]
    images[6] = DAMAGED
    source = Held(images, tmp_path)

    def convert(observer: RecordingObserver) -> Manifest:
        return convert_dataset({"train": source}, "memory", tmp_path / "ray", CONFIG, convert_shards_with_ray, observer)

    def stop_and_go() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        (tmp_path / "go").touch()

    stopped, observer = RecordingObserver(1, stop_and_go), RecordingObserver()
    finished = convert(stopped)
    started = {f"train-{int(path.name.split('-')[1]) // 4:05d}-of-00020" for path in tmp_path.glob("started-*")}
    assert not finished.complete
    assert {record.name for record in finished.shards} == started  # no shard is abandoned
    assert convert(observer).complete
    assert observer.start[2] == len(started)
    assert observer.start[1] + observer.rows == 80
    run(source, tmp_path / "local", CONFIG)
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "local")
    output = capfd.readouterr()
    assert "INFO" not in output.out + output.err


class CutOff(MemorySource):
    """A source whose rows cannot be read from the fifth on."""

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        yield from super().read(start, min(stop, 4))
        if stop > 4:
            raise SourceError("a.tar ends before its member '9.png' does")


def test_unreadable_source_raises_its_message(tmp_path: Path, generator: torch.Generator) -> None:
    source = CutOff([png(image) for image in some_images(12, generator)])
    with pytest.raises(ValueError, match=r"^a\.tar ends before its member '9\.png' does$"):
        convert_dataset({"train": source}, "memory", tmp_path, ONE_SHARD, convert_shards_with_ray, RecordingObserver())


class Unpicklable(MemorySource):
    """A source that cannot be unpickled."""

    def __setstate__(self, state: object) -> None:
        raise ModuleNotFoundError("No module named 'elsewhere'")


def test_failure_of_ray_gives_one_line(tmp_path: Path, generator: torch.Generator) -> None:
    source = Unpicklable([png(image) for image in some_images(4, generator)])
    with pytest.raises(
        OSError, match=r"^Ray: .*No module named 'elsewhere'.* rerun the same command to resume$"
    ) as raised:
        convert_dataset({"train": source}, "memory", tmp_path, CONFIG, convert_shards_with_ray, RecordingObserver())
    assert "\n" not in str(raised.value)


class FatalOnce(MemorySource):
    """A source that kills the first process that reads the ninth row or a later one."""

    def __init__(self, images: list[bytes], mark: Path) -> None:
        super().__init__(images)
        self._mark = mark

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        if stop > 8 and not self._mark.exists():
            self._mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield from super().read(start, stop)


def test_shards_of_a_killed_actor_are_converted_by_another(tmp_path: Path, generator: torch.Generator) -> None:
    images = [png(image) for image in some_images(12, generator)]
    source = FatalOnce(images, tmp_path / "mark")
    manifest = convert_dataset(
        {"train": source}, "memory", tmp_path / "ray", TWO_SHARDS, convert_shards_with_ray, RecordingObserver()
    )
    assert (tmp_path / "mark").exists()
    assert manifest.complete
    run(MemorySource(images), tmp_path / "local", TWO_SHARDS)
    assert files_in(tmp_path / "ray") == files_in(tmp_path / "local")
