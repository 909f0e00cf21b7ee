from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from i2e_triton.pipeline.dataset import convert_dataset
from i2e_triton.pipeline.local_engine import EngineOptions, convert_shards
from i2e_triton.pipeline.plan import ConversionConfig
from i2e_triton.sources import Row, SourceError
from tests.i2e_triton.pipeline.builders import MemorySource, RecordingObserver, png, some_images


class Unreadable(MemorySource):
    """A source whose rows cannot be read from the ninth on."""

    def __init__(self, images: list[bytes], error: Exception) -> None:
        super().__init__(images)
        self._error = error

    def read(self, start: int, stop: int) -> Iterator[Row]:
        if start >= 8:
            raise self._error
        yield from super().read(start, stop)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (FileNotFoundError(2, "No such file or directory", "cat/9.png"), OSError),
        (SourceError("a.tar ends before its member '9.png' does"), ValueError),
    ],
)
def test_unreadable_source_raises_its_message(
    tmp_path: Path, generator: torch.Generator, workers: int, error: Exception, kind: type[Exception]
) -> None:
    source = Unreadable([png(image) for image in some_images(12, generator)], error)
    engine = partial(convert_shards, options=EngineOptions(workers, 2, torch.device("cpu")))
    with pytest.raises(kind) as raised:
        convert_dataset(
            {"train": source}, "memory", tmp_path, ConversionConfig(0.1, rows_per_shard=4), engine, RecordingObserver()
        )
    assert str(raised.value) == str(error)
    assert not list(tmp_path.rglob("*.part"))
