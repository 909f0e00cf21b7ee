"""Batches on their way from a source to events: read, decoded and resized in workers, converted in one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import PIL.Image
import torch
from torch import Tensor
from torch.utils.data import Dataset

from i2e_triton.formats.record import LONGEST_SIDE
from i2e_triton.functional import convert
from i2e_triton.pipeline.manifest import Skipped
from i2e_triton.pipeline.plan import Piece, Settings
from i2e_triton.shifts import canonical_shifts, row_shifts
from i2e_triton.sources import Source, prepare_batch

Groups = list[tuple[list[int], Tensor]]  #: row numbers and their images ``[B, C, H, W]`` or packed events


@dataclass(frozen=True)
class ImageBatch:
    """Images of a piece, ready for conversion, in groups of equal shape and dtype."""

    piece: Piece
    groups: Groups
    about: dict[int, tuple[str, int]]  #: key and label by row number
    skipped: list[Skipped]

    def pin_memory(self) -> ImageBatch:
        """Return the batch in memory that a GPU copies from without waiting (called by the DataLoader)."""
        groups = [(rows, images.pin_memory()) for rows, images in self.groups]
        return ImageBatch(self.piece, groups, self.about, self.skipped)


@dataclass(frozen=True)
class EventBatch:
    """Packed events of a piece, on the CPU."""

    piece: Piece
    groups: Groups
    about: dict[int, tuple[str, int]]
    skipped: list[Skipped]


class ImageBatches(Dataset[ImageBatch]):
    """Pieces by map-style access, so that a DataLoader's workers prepare them."""

    def __init__(self, sources: Mapping[str, Source], settings: Settings) -> None:
        self._sources = sources
        self._settings = settings

    def __getitem__(self, piece: Piece) -> ImageBatch:
        """Read and prepare the rows of a piece; those that cannot be read, or recorded, are listed as skipped."""
        about: dict[int, tuple[str, int]] = {}

        def images() -> Iterator[bytes | PIL.Image.Image]:
            rows = self._sources[piece.shard.split].read(piece.start, piece.stop)
            for number, row in enumerate(rows, piece.start):
                about[number] = (row.key, row.label)
                yield row.image

        prepared = prepare_batch(images(), self._settings.size, self._settings.resize)
        groups, reasons = [], {piece.start + place: str(error) for place, error in prepared.damaged.items()}
        for places, stack in prepared.groups:
            numbers = [piece.start + place for place in places]
            height, width = stack.shape[-2:]
            if self._settings.format == "npz" or max(height, width) <= LONGEST_SIDE:
                groups.append((numbers, stack))
            else:
                too_long = f"too long: {height} x {width} pixels, a record holds at most {LONGEST_SIDE} a side"
                reasons.update(dict.fromkeys(numbers, too_long))
        skipped = [Skipped(number, about[number][0], reason) for number, reason in sorted(reasons.items())]
        return ImageBatch(piece, groups, about, skipped)


class EventBatches(Dataset[EventBatch]):
    """The same with the conversion, on the CPU, in the worker."""

    def __init__(self, sources: Mapping[str, Source], settings: Settings) -> None:
        self._images = ImageBatches(sources, settings)
        self._settings = settings

    def __getitem__(self, piece: Piece) -> EventBatch:
        """Read, prepare and convert the rows of a piece."""
        return convert_batch(self._images[piece], self._settings, torch.device("cpu"))


def convert_batch(batch: ImageBatch, settings: Settings, device: torch.device) -> EventBatch:
    """Convert a batch on a device, each group in one call; the events come back packed, on the CPU."""
    groups = []
    for rows, images in batch.groups:
        if settings.random_shifts:
            shifts = row_shifts(settings.seed, rows, order=settings.order, timesteps=settings.timesteps)
        else:
            shifts = canonical_shifts(settings.order, settings.timesteps)
        images = images.to(device, non_blocking=True)
        packed = convert(images, settings.ratio, shifts=shifts.to(device), packed=True)
        groups.append((rows, packed.cpu()))
    return EventBatch(batch.piece, groups, batch.about, batch.skipped)
