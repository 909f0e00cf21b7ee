from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from i2e_triton.pipeline.local_engine import convert_shards
from i2e_triton.pipeline.manifest import read_manifest
from i2e_triton.sources import ImageRow, SourceError
from tests.i2e_triton.pipeline.builders import MemorySource, png, run, some_images


class Unreadable(MemorySource):
    """A source that raises an error when rows from the ninth on are read."""

    def __init__(self, images: list[bytes], error: Callable[[], Exception]) -> None:
        super().__init__(images)
        self._error = error

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        if start >= 8:
            raise self._error()
        yield from super().read(start, stop)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error",
    [
        partial(FileNotFoundError, 2, "No such file or directory", "cat/9.png"),
        partial(SourceError, "a.tar ends before its member '9.png' does"),
    ],
)
def test_unreadable_source_raises_its_message(
    tmp_path: Path, generator: torch.Generator, workers: int, error: Callable[[], Exception]
) -> None:
    source = Unreadable([png(image) for image in some_images(12, generator)], error)
    engine = partial(convert_shards, workers=workers)
    with pytest.raises(type(error())) as raised:
        run(source, tmp_path, engine=engine)
    assert str(raised.value) == str(error())
    assert not list(tmp_path.rglob("*.part"))


class WithoutMemory(MemorySource):
    """A source that has no memory for its ninth row."""

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        for row in super().read(start, stop):
            yield row
            if row.key == "8":
                raise self.error

    error: BaseException = MemoryError()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")]
)
def test_lack_of_memory_ends_the_conversion_and_names_the_image(
    tmp_path: Path, generator: torch.Generator, workers: int, error: BaseException
) -> None:
    source = WithoutMemory([png(image) for image in some_images(12, generator)])
    source.error = error
    with pytest.raises(MemoryError, match=r"^out of memory while converting 8; use fewer --workers"):
        run(source, tmp_path, engine=partial(convert_shards, workers=workers))
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert not manifest.complete
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    assert not list(tmp_path.rglob("*.part"))
