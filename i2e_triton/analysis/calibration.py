"""The ratio that gives a wanted mean event rate, and the curve of rate against ratio (paper, figure 4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from i2e_triton.analysis.moments import Moments, Spread
from i2e_triton.analysis.sampling import sample_images
from i2e_triton.functional import convert
from i2e_triton.sources import Source

#: Of the curve: close where networks train, and up to 1, beyond which nothing fires.
RATIOS = tuple(hundredths / 100 for hundredths in (*range(31), 35, 40, 50, 60, 80, 100))
#: Ratios are found in steps of 1 / STEPS.
STEPS = 10_000
_MOST_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Point:
    """The event rate at a ratio."""

    ratio: float
    event_rate: Spread  #: over the images of the sample


@dataclass(frozen=True)
class Calibration:
    """The ratio that was wanted."""

    found: Point
    around: tuple[Point, Point]  #: the neighbouring ratios, 1 / STEPS apart, between which the wanted rate lies


class Sample:
    """The value channels of a sample of images: all that the conversion reads of them, a byte a pixel.

    Args:
        shifts: motion vectors ``[T, 4]`` of the conversion, at most 8.
        device: where the sample is kept and converted.
    """

    def __init__(self, shifts: Tensor, device: torch.device) -> None:
        self.images = 0
        self.damaged = 0
        self._values: list[Tensor] = []
        self._shifts = shifts.to(device)
        self._device = device

    @property
    def nbytes(self) -> int:
        """Bytes that the sample takes in memory."""
        return sum(values.nbytes for values in self._values)

    def add(self, images: Tensor) -> None:
        """Add images ``[B, C, H, W]``."""
        self._values.append(images.amax(dim=1, keepdim=True).contiguous().to(self._device))
        self.images += len(images)

    def measure(self, ratio: float) -> Point:
        """Convert the sample at a ratio."""
        moments = Moments()
        for values in self._values:
            packed = convert(values, ratio, shifts=self._shifts, packed=True).cpu().numpy()
            events = np.array([np.count_nonzero(np.unpackbits(image)) for image in packed])
            moments.add(events / (len(self._shifts) * packed[0].size))
        return Point(ratio, moments.spread())


def read_sample(
    source: Source,
    count: int,
    *,
    size: tuple[int, int] | None,
    rule: str,
    shifts: Tensor,
    device: torch.device,
    rows_done: Callable[[int], None],
) -> Sample:
    """Read an evenly spaced sample of a source, once; images that are damaged are left out and counted.

    Args:
        source: the images.
        count: how many of them, at least 1.
        size: that they are resized to, height and width; None keeps each image's own.
        rule: how they are resized, one of :data:`i2e_triton.sources.RESIZE_RULES`.
        shifts: motion vectors ``[T, 4]`` of the conversion, at most 8.
        device: where the sample is converted.
        rows_done: told of the rows of each batch.

    Raises:
        ValueError: if no image can be read, or they take more than 2 GiB.
        OSError: if the source cannot be read.
    """
    sample = Sample(shifts, device)
    for prepared in sample_images(source, count, size, rule, rows_done):
        for _, images in prepared.groups:
            sample.add(images)
        sample.damaged += len(prepared.damaged)
        if sample.nbytes > _MOST_BYTES:
            raise ValueError(
                f"the first {sample.images} images of the sample take more than {_MOST_BYTES / 2**30:g} GiB; "
                "resize them, or take a smaller sample"
            )
    if not sample.images:
        raise ValueError(f"none of the {sample.damaged} images of the sample can be read")
    return sample


def measure_curve(sample: Sample, ratios: Iterable[float] = RATIOS) -> list[Point]:
    """Measure the mean event rate at each of some ratios, in increasing order; it falls, or stays."""
    return [sample.measure(ratio) for ratio in ratios]


def find_ratio(sample: Sample, curve: Sequence[Point], rate: float) -> Calibration:
    """Find the ratio whose mean event rate is nearest to the wanted one, between two points of the curve.

    The rate never rises with the ratio, so that halving the interval finds it; what is returned was measured, not
    interpolated. Rates of images of few grey levels fall in steps: the measured rate may then be off the wanted one.

    Args:
        sample: the images.
        curve: of them, from ratio 0 to 1.
        rate: the wanted mean event rate, a share of all event positions.

    Raises:
        ValueError: if no ratio gives such a rate; names those that can be reached.
    """
    lowest, highest = curve[-1].event_rate.mean, curve[0].event_rate.mean
    if not lowest <= rate <= highest or highest == 0:
        raise ValueError(
            f"no ratio gives these images a mean event rate of {rate:.2%}; they reach from {lowest:.2%} at ratio "
            f"{curve[-1].ratio:g} to {highest:.2%} at ratio {curve[0].ratio:g}"
        )
    measured = {point.ratio: point for point in curve}

    def measure(step: int) -> Point:
        ratio = step / STEPS
        if ratio not in measured:
            measured[ratio] = sample.measure(ratio)
        return measured[ratio]

    above = max(point.ratio for point in curve if point.event_rate.mean >= rate)
    below = min((point.ratio for point in curve if point.event_rate.mean < rate), default=above)
    first, last = round(above * STEPS), round(below * STEPS)
    step = bisect_left(range(STEPS), True, first, last, key=lambda step: measure(step).event_rate.mean < rate)
    around = (measure(max(step - 1, first)), measure(step))
    nearest = min(around, key=lambda point: abs(point.event_rate.mean - rate))
    return Calibration(nearest, around)


def curve_columns(curve: Sequence[Point]) -> dict[str, npt.NDArray[np.float64]]:
    """Return ratios, mean event rates and their standard deviations over images."""
    return {
        "ratio": np.array([point.ratio for point in curve]),
        "event_rate": np.array([point.event_rate.mean for point in curve]),
        "std_over_images": np.array([point.event_rate.std for point in curve]),
    }
