"""Read, decode and resize the images of a row range, and convert them in one call per image size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.formats.record import LONGEST_SIDE
from i2e_triton.functional import convert
from i2e_triton.pipeline.manifest import SkippedRow
from i2e_triton.pipeline.plan import ConversionConfig, RowRange
from i2e_triton.shifts import canonical_shifts, row_shifts
from i2e_triton.sources import Source, prepare_batch

Groups = list[tuple[list[int], Tensor]]  #: row numbers, and their images ``[B, C, H, W]`` or packed events


@dataclass(frozen=True)
class ImageBatch:
    """The images of a row range, in groups of equal shape and dtype."""

    row_range: RowRange
    groups: Groups
    keys_and_labels: dict[int, tuple[str, int]]  #: by row number
    skipped: list[SkippedRow]

    def pin_memory(self) -> ImageBatch:
        """Return the batch in pinned memory. The DataLoader calls this."""
        groups = [(numbers, images.pin_memory()) for numbers, images in self.groups]
        return ImageBatch(self.row_range, groups, self.keys_and_labels, self.skipped)


@dataclass(frozen=True)
class EventBatch:
    """The packed events of a row range, on the CPU."""

    row_range: RowRange
    groups: Groups
    keys_and_labels: dict[int, tuple[str, int]]  #: by row number
    skipped: list[SkippedRow]


class ImageBatches(Dataset[ImageBatch]):
    """A map-style dataset from row ranges to image batches, for the workers of a DataLoader."""

    def __init__(self, sources: Mapping[str, Source], config: ConversionConfig) -> None:
        self._sources = sources
        self._config = config

    def __getitem__(self, row_range: RowRange) -> ImageBatch:
        """Read and prepare a row range. Images that are unreadable or too large for a record are skipped."""
        keys_and_labels: dict[int, tuple[str, int]] = {}

        def images() -> Iterator[bytes | PIL.Image.Image]:
            rows = self._sources[row_range.shard.split].read(row_range.start, row_range.stop)
            for number, row in enumerate(rows, row_range.start):
                keys_and_labels[number] = (row.key, row.label)
                yield row.image

        prepared = prepare_batch(images(), self._config.size, self._config.resize)
        groups, reasons = [], {row_range.start + index: str(error) for index, error in prepared.damaged.items()}
        for indices, stack in prepared.groups:
            numbers = [row_range.start + index for index in indices]
            height, width = stack.shape[-2:]
            if self._config.format == "npz" or max(height, width) <= LONGEST_SIDE:
                groups.append((numbers, stack))
            else:
                reason = f"too large: {height} x {width} pixels, the sides of a record are at most {LONGEST_SIDE}"
                reasons.update(dict.fromkeys(numbers, reason))
        skipped = [SkippedRow(number, keys_and_labels[number][0], reason) for number, reason in sorted(reasons.items())]
        return ImageBatch(row_range, groups, keys_and_labels, skipped)


class EventBatches(Dataset[EventBatch]):
    """A map-style dataset from row ranges to event batches, converted on the CPU."""

    def __init__(self, sources: Mapping[str, Source], config: ConversionConfig) -> None:
        self._images = ImageBatches(sources, config)
        self._config = config

    def __getitem__(self, row_range: RowRange) -> EventBatch:
        """Read, prepare and convert a row range."""
        return convert_batch(self._images[row_range], self._config, torch.device("cpu"))


def convert_batch(batch: ImageBatch, config: ConversionConfig, device: torch.device) -> EventBatch:
    """Convert a batch on ``device``, each group in one call, and return the packed events on the CPU."""
    groups = []
    for numbers, images in batch.groups:
        if config.random_shifts:
            shifts = row_shifts(config.seed, numbers, order=config.order, timesteps=config.timesteps)
        else:
            shifts = canonical_shifts(config.order, config.timesteps)
        images = images.to(device, non_blocking=True)
        packed = convert(images, config.ratio, shifts=shifts.to(device), packed=True)
        groups.append((numbers, packed.cpu()))
    return EventBatch(batch.row_range, groups, batch.keys_and_labels, batch.skipped)
