"""Entropies of the source images of an event data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from i2e_triton.analysis.calibration import sample_images
from i2e_triton.analysis.entropy import image_entropies
from i2e_triton.analysis.spread import Spread
from i2e_triton.sources import Source


@dataclass(frozen=True)
class ImageStatistics:
    """Entropies of a sample of images after resizing, in bits per pixel."""

    images: int  #: number of images
    value_entropy: Spread  #: of the value channel, H(V)
    grey_entropy: Spread  #: of the grey levels, H(grey)


def measure_images(
    source: Source, sample: int, size: tuple[int, int] | None, rule: str, rows_done: Callable[[int], None]
) -> ImageStatistics:
    """Return the entropies of an evenly spaced sample of a source. Unreadable images are left out.

    Args:
        source: the images.
        sample: number of images to read, at least 1.
        size: height and width to resize to; None keeps the size of each image.
        rule: one of :data:`i2e_triton.sources.RESIZE_RULES`.
        rows_done: called after each batch with its number of images, readable or not.

    Raises:
        ValueError: if no image of the sample is readable.
        SourceError: if the source is damaged.
        OSError: if the source cannot be read.
    """
    entropies = []
    for prepared in sample_images(source, sample, size, rule, rows_done):
        entropies += [image_entropies(image) for _, images in prepared.groups for image in images]
    if not entropies:
        raise ValueError("no image of the sample is readable")
    value, grey = map(Spread.of, zip(*entropies))
    return ImageStatistics(len(entropies), value, grey)
