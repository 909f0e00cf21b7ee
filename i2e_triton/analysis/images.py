"""The images that events come from: what information they hold before the conversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from i2e_triton.analysis.entropy import image_entropies
from i2e_triton.analysis.moments import Moments, Spread
from i2e_triton.analysis.sampling import sample_images
from i2e_triton.sources import Source


@dataclass(frozen=True)
class ImageStatistics:
    """Entropies of a sample of images, each as it would be converted; bits a pixel, over images."""

    images: int
    value_entropy: Spread  #: of the value channel, H(V)
    grey_entropy: Spread  #: of the grey levels, H(grey)


def measure_images(
    source: Source, sample: int, size: tuple[int, int] | None, rule: str, rows_done: Callable[[int], None]
) -> ImageStatistics:
    """Measure the entropies of an evenly spaced sample of a source; damaged images are left out.

    Args:
        source: the images.
        sample: how many of them, at least 1.
        size: that they are resized to, height and width; None keeps each image's own.
        rule: how they are resized, one of :data:`i2e_triton.sources.RESIZE_RULES`.
        rows_done: told of the rows of each batch.

    Raises:
        ValueError: if no image of the sample can be read.
        SourceError: if the source is damaged.
        OSError: if it cannot be read.
    """
    moments = Moments((2,))
    for prepared in sample_images(source, sample, size, rule, rows_done):
        for _, images in prepared.groups:
            moments.add(np.array([image_entropies(image) for image in images]))
    if not moments.count:
        raise ValueError("no image of the sample can be read")
    return ImageStatistics(moments.count, moments.spread(0), moments.spread(1))
