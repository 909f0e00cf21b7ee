"""A source in memory, and conversions of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import torch
from torch import Tensor

from i2e_triton import reference
from i2e_triton.pipeline.batches import EventBatch, EventBatches
from i2e_triton.pipeline.plan import Settings, Shard
from i2e_triton.shifts import canonical_shifts
from i2e_triton.sources import Row
from tests.samples import noise, resized_photograph

DAMAGED = b"\x89PNG\r\n\x1a\n and nothing else"


def png(image: Tensor) -> bytes:
    """Encode an image uint8 ``[3, H, W]``, without loss."""
    file = io.BytesIO()
    PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG")
    return file.getvalue()


class MemorySource:
    """Encoded images with labels, as a :class:`i2e_triton.sources.Source`."""

    def __init__(self, images: list[bytes], classes: tuple[str, ...] | None = ("cat", "dog", "owl")) -> None:
        self.images = images
        self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def label(self, row: int) -> int:
        return -1 if self.classes is None else row % len(self.classes)

    def read(self, start: int, stop: int) -> Iterator[Row]:
        for row in range(start, stop):
            yield Row(str(row), self.images[row], self.label(row))

    def fingerprint(self) -> str:
        return f"{len(self.images)} images of {self.nbytes()} bytes"

    def nbytes(self) -> int:
        return sum(map(len, self.images))


def some_images(count: int, generator: torch.Generator, size: tuple[int, int] = (13, 11)) -> list[Tensor]:
    """Noise, and a photograph every fourth: uint8 ``[3, H, W]``."""
    height, width = size
    photograph = resized_photograph("chelsea", max(size))[:, :height, :width]
    fresh = [noise((3, height, width), torch.uint8, generator) for _ in range(count)]
    return [photograph if row % 4 == 3 else image for row, image in enumerate(fresh)]


def expected_events(image: Tensor, settings: Settings) -> Tensor:
    """The specification's events of an image with the canonical vectors: bool ``[T, 2, H, W]``."""
    shifts = canonical_shifts(settings.order, settings.timesteps)
    return reference.convert(image[None], settings.ratio, shifts)[:, 0].bool()


def batches_of(shard: Shard, source: MemorySource, settings: Settings, rows: int = 3) -> list[EventBatch]:
    """Convert a shard in this process."""
    batches = EventBatches({shard.split: source}, settings)
    return [batches[piece] for piece in shard.pieces(rows)]


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
