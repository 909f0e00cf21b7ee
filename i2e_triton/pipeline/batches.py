"""Read, decode and resize images in batches, and convert each batch in one call per image size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import PIL.Image
from torch import Tensor

from i2e_triton.formats.record import LONGEST_SIDE
from i2e_triton.functional import convert
from i2e_triton.pipeline.manifest import SkippedRow
from i2e_triton.pipeline.plan import ConversionConfig
from i2e_triton.shifts import canonical_shifts, row_shifts
from i2e_triton.sources import ImageRow, prepare_batch

#: Pixels of a batch after resizing. Memory is limited by pixels, because the images of a data set may have any size.
#: Larger batches are not faster.
BATCH_PIXELS = 2**22

Groups = list[tuple[list[int], Tensor]]  #: row numbers, and their images ``[B, C, H, W]`` or packed events


@dataclass(frozen=True)
class ImageBatch:
    """Images of consecutive rows, in groups of equal shape and dtype."""

    rows: dict[int, tuple[str, int]]  #: key and label of every row, also of skipped ones, by row number
    groups: Groups
    skipped: list[SkippedRow]


def read_batch(rows: Iterator[tuple[int, ImageRow]], config: ConversionConfig, pixels: int | None = None) -> ImageBatch:
    """Read and prepare the next rows. Images that are unreadable or too large for a record are skipped.

    Args:
        rows: numbered rows of a source. The next call takes the rows that follow.
        config: determines the size of the images.
        pixels: the batch ends with the image that brings it to this number of pixels. Default: :data:`BATCH_PIXELS`.

    Returns:
        A batch of one or more rows, or without rows at the end of ``rows``.
    """
    read: dict[int, tuple[str, int]] = {}
    prepared = prepare_batch(_images(rows, read), config.size, config.resize, pixels or BATCH_PIXELS)
    numbers = list(read)
    groups, reasons = [], {numbers[position]: str(error) for position, error in prepared.damaged.items()}
    for positions, images in prepared.groups:
        members = [numbers[position] for position in positions]
        height, width = images.shape[-2:]
        if config.format == "npz" or max(height, width) <= LONGEST_SIDE:
            groups.append((members, images))
        else:
            reason = f"too large: {height} x {width} pixels, the sides of a record are at most {LONGEST_SIDE}"
            reasons.update(dict.fromkeys(members, reason))
    return ImageBatch(read, groups, [SkippedRow(row, read[row][0], reason) for row, reason in sorted(reasons.items())])


def convert_batch(batch: ImageBatch, config: ConversionConfig) -> Groups:
    """Return the packed events of a batch."""
    events = []
    for numbers, images in batch.groups:
        if config.random_shifts:
            shifts = row_shifts(config.seed, numbers, order=config.order, timesteps=config.timesteps)
        else:
            shifts = canonical_shifts(config.order, config.timesteps)
        events.append((numbers, convert(images, config.ratio, shifts=shifts, packed=True)))
    return events


def _images(
    rows: Iterator[tuple[int, ImageRow]], read: dict[int, tuple[str, int]]
) -> Iterator[bytes | PIL.Image.Image]:
    for number, row in rows:
        read[number] = (row.key, row.label)
        yield row.image
