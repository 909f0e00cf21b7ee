"""Sources in memory, conversions of them, and the events that the reference implementation gives."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import PIL.Image
import torch
from torch import Tensor

from i2e_triton import reference
from i2e_triton.pipeline.batches import BATCH_PIXELS, Groups, convert_batch, read_batch
from i2e_triton.pipeline.dataset import Engine, convert_dataset
from i2e_triton.pipeline.local_engine import convert_shards
from i2e_triton.pipeline.manifest import Manifest, ShardRecord
from i2e_triton.pipeline.plan import ConversionConfig
from i2e_triton.shifts import canonical_shifts
from i2e_triton.sources import ImageRow
from tests.samples import noise, resized_photograph

DAMAGED = b"\x89PNG\r\n\x1a\n and nothing else"
CONFIG = ConversionConfig(0.1, rows_per_shard=4)
IN_PROCESS = partial(convert_shards, workers=0)


def png(image: Tensor) -> bytes:
    """Encode an image, uint8 ``[3, H, W]``, as PNG."""
    file = io.BytesIO()
    PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG")
    return file.getvalue()


class MemorySource:
    """A :class:`i2e_triton.sources.Source` of encoded images in memory."""

    def __init__(self, images: list[bytes], classes: tuple[str, ...] | None = ("cat", "dog", "owl")) -> None:
        self.images = images
        self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def label(self, row: int) -> int:
        return -1 if self.classes is None else row % len(self.classes)

    def read(self, start: int, stop: int) -> Iterator[ImageRow]:
        for row in range(start, stop):
            yield ImageRow(str(row), self.images[row], self.label(row))

    def fingerprint(self) -> str:
        return f"{len(self.images)} images of {self.nbytes()} bytes"

    def nbytes(self) -> int:
        return sum(map(len, self.images))


def some_images(count: int, generator: torch.Generator, size: tuple[int, int] = (13, 11)) -> list[Tensor]:
    """Return images of noise, and every fourth a photograph: uint8 ``[3, H, W]``."""
    height, width = size
    photograph = resized_photograph("chelsea", max(size))[:, :height, :width]
    fresh = [noise((3, height, width), torch.uint8, generator) for _ in range(count)]
    return [photograph if row % 4 == 3 else image for row, image in enumerate(fresh)]


def expected_events(image: Tensor, config: ConversionConfig) -> Tensor:
    """Return the reference events of an image with canonical motion vectors: bool ``[T, 2, H, W]``."""
    shifts = canonical_shifts(config.order, config.timesteps)
    return reference.convert(image[None], config.ratio, shifts)[:, 0].bool()


def events_of(source: MemorySource, config: ConversionConfig, pixels: int = BATCH_PIXELS) -> Groups:
    """Convert all rows of a source in batches, and return the groups of all batches."""
    rows = enumerate(source.read(0, len(source)))
    groups: Groups = []
    while (batch := read_batch(rows, config, pixels)).rows:
        groups += convert_batch(batch, config)
    return groups


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


class RecordingObserver:
    """Records the progress and calls ``act`` after the given number of shards."""

    def __init__(self, after: int = -1, act: Callable[[], None] = lambda: None) -> None:
        self.start: tuple[int, ...] = ()
        self.rows = 0
        self.shards: list[str] = []
        self._after, self._act = after, act

    def started(self, rows: int, finished_rows: int, finished_shards: int, shards: int) -> None:
        self.start = (rows, finished_rows, finished_shards, shards)

    def rows_done(self, rows: int) -> None:
        self.rows += rows

    def shard_done(self, record: ShardRecord) -> None:
        self.shards.append(record.name)
        if len(self.shards) == self._after:
            self._act()


def run(
    source: MemorySource,
    out: Path,
    config: ConversionConfig = CONFIG,
    engine: Engine = IN_PROCESS,
    observer: RecordingObserver | None = None,
    redo: Collection[str] = (),
) -> Manifest:
    """Convert the split ``train``."""
    return convert_dataset({"train": source}, "memory", out, config, engine, observer or RecordingObserver(), redo)
