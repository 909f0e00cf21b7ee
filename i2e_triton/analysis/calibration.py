"""Measure the mean event rate at each ratio (paper, figure 4), and find the ratio that gives a target rate."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from i2e_triton.analysis.spread import Spread
from i2e_triton.functional import convert
from i2e_triton.sources import PreparedImages, Source, prepare_batch

#: Ratios of the curve, from 0 to 1. The steps are small up to 0.3, because networks are trained in this range.
RATIOS = tuple(hundredths / 100 for hundredths in (*range(31), 35, 40, 50, 60, 80, 100))
#: A calibrated ratio is a multiple of 1 / STEPS.
STEPS = 10_000
_BATCH_ROWS = 64
_LARGEST_SAMPLE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class CurvePoint:
    """One ratio and its event rate."""

    ratio: float
    event_rate: Spread  #: mean and standard deviation over the images of the sample


class ImageSample:
    """A sample of images that is converted at several ratios.

    Only the value channels are stored, because the conversion uses nothing else: one byte per pixel of uint8 images.

    Args:
        shifts: motion vectors ``[T, 4]`` of the conversion, T at most 8.
        device: device that stores and converts the sample.
    """

    def __init__(self, shifts: Tensor, device: torch.device) -> None:
        self.images = 0
        self.unreadable = 0
        self._values: list[Tensor] = []
        self._shifts = shifts.to(device)
        self._device = device

    @property
    def nbytes(self) -> int:
        """Return the size of the sample in memory, in bytes."""
        return sum(values.nbytes for values in self._values)

    def add(self, images: Tensor) -> None:
        """Add images ``[B, C, H, W]``."""
        self._values.append(images.amax(dim=1, keepdim=True).contiguous().to(self._device))
        self.images += len(images)

    def measure(self, ratio: float) -> CurvePoint:
        """Convert the sample at ``ratio`` and return the point of the curve."""
        rates: list[float] = []
        for values in self._values:
            packed = convert(values, ratio, shifts=self._shifts, packed=True).cpu().numpy()
            positions = len(self._shifts) * packed[0].size
            rates += [np.count_nonzero(np.unpackbits(image)) / positions for image in packed]
        return CurvePoint(ratio, Spread.of(rates))


def sample_rows(rows: int, count: int) -> list[int]:
    """Return ``count`` evenly spaced row numbers out of ``rows``, or all if there are fewer."""
    count = min(count, rows)
    return [(2 * index + 1) * rows // (2 * count) for index in range(count)]


def sample_images(
    source: Source, count: int, size: tuple[int, int] | None, rule: str, rows_done: Callable[[int], None]
) -> Iterator[PreparedImages]:
    """Yield the prepared images of an evenly spaced sample of a source, in batches.

    Args:
        source: the images.
        count: number of images, at least 1.
        size: height and width to resize to; None keeps the size of each image.
        rule: one of :data:`i2e_triton.sources.RESIZE_RULES`.
        rows_done: called after each batch with its number of rows.

    Raises:
        SourceError: if the source is damaged.
        OSError: if the source cannot be read.
    """
    rows = sample_rows(len(source), count)
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        images = (row.image for number in batch for row in source.read(number, number + 1))
        yield prepare_batch(images, size, rule)
        rows_done(len(batch))


def read_sample(
    source: Source,
    count: int,
    *,
    size: tuple[int, int] | None,
    rule: str,
    shifts: Tensor,
    device: torch.device,
    rows_done: Callable[[int], None],
) -> ImageSample:
    """Return an evenly spaced sample of a source. Unreadable images are left out and counted.

    Args:
        source: the images.
        count: number of images to read, at least 1.
        size: height and width to resize to; None keeps the size of each image.
        rule: one of :data:`i2e_triton.sources.RESIZE_RULES`.
        shifts: motion vectors ``[T, 4]`` of the conversion, T at most 8.
        device: device that stores and converts the sample.
        rows_done: called after each batch with its number of rows.

    Raises:
        ValueError: if no image is readable, or the sample takes more than 2 GiB.
        SourceError: if the source is damaged.
        OSError: if the source cannot be read.
    """
    sample = ImageSample(shifts, device)
    for prepared in sample_images(source, count, size, rule, rows_done):
        for _, images in prepared.groups:
            sample.add(images)
        sample.unreadable += len(prepared.damaged)
        if sample.nbytes > _LARGEST_SAMPLE_BYTES:
            raise ValueError(
                f"the first {sample.images} images of the sample take more than {_LARGEST_SAMPLE_BYTES / 2**30:g} GiB; "
                "resize them, or use a smaller sample"
            )
    if not sample.images:
        raise ValueError(f"none of the {sample.unreadable} images of the sample is readable")
    return sample


def find_ratio(sample: ImageSample, curve: Sequence[CurvePoint], rate: float) -> CurvePoint:
    """Return the ratio whose mean event rate is closest to ``rate``, by bisection between two points of the curve.

    The returned rate is measured, not interpolated. For images with few grey levels, the rate is a step function of
    the ratio, so the closest rate may differ from ``rate``.

    Args:
        sample: the images.
        curve: the sample at several ratios, from 0 to 1.
        rate: target mean event rate, as a fraction of all event positions.

    Raises:
        ValueError: if no ratio gives ``rate``. The message states the range of possible rates.
    """
    lowest, highest = curve[-1].event_rate.mean, curve[0].event_rate.mean
    if not lowest <= rate <= highest or highest == 0:
        raise ValueError(
            f"no ratio gives these images a mean event rate of {rate:.2%}; choose a rate from {lowest:.2%} (at ratio "
            f"{curve[-1].ratio:g}) to {highest:.2%} (at ratio {curve[0].ratio:g})"
        )
    measured = {point.ratio: point for point in curve}

    def measure(step: int) -> CurvePoint:
        ratio = step / STEPS
        if ratio not in measured:
            measured[ratio] = sample.measure(ratio)
        return measured[ratio]

    above = max(point.ratio for point in curve if point.event_rate.mean >= rate)
    below = min((point.ratio for point in curve if point.event_rate.mean < rate), default=above)
    first, last = round(above * STEPS), round(below * STEPS)
    step = bisect_left(range(STEPS), True, first, last, key=lambda step: measure(step).event_rate.mean < rate)
    around = measure(max(step - 1, first)), measure(step)
    return min(around, key=lambda point: abs(point.event_rate.mean - rate))
