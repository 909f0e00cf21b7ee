"""Random crops, flips and timestep drops of batches, drawn on the images' device. ``convert`` applies them.

    augment = RandomCropResizeFlip(128, crop=32, padding=4)
    for images, labels in batches:
        events = convert(images, 0.07, **augment(images, generator))

The same seed gives the same result on every device. The random numbers come from SplitMix64, as in
:func:`i2e_triton.row_shifts`, and the computation uses only integers, correctly rounded float64 operations and a table
of aspect ratios from the CPU. The host does not wait for the GPU, except when the table is first copied to it.

To drop timesteps at no extra cost, pass ``shifts=RandomTimestepDrop(0.1)(shifts, generator)`` to ``convert``.
To erase regions of events, mask packed events: ``events & mask[:, None]``, where ``mask`` is uint8 ``[B, H, W]``, 255
where events are kept and 0 elsewhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from numbers import Real
from operator import index
from typing import TypedDict

import torch
from torch import Tensor

from i2e_triton.checks import check_integer, check_seed
from i2e_triton.shifts import row_numbers, signed, splitmix64

_INT64_MAX = 2**63 - 1
# Number of aspect ratios to draw from. In the default range, neighbouring values change the side of a box by less than
# 0.05 pixels in 1000.
_ASPECTS = 2**14
# Position of the first timestep's number in the random stream of an image; the box and the flip use positions below.
_TIMESTEP_POSITION = 64
# Number of boxes that torchvision draws before it falls back to the central box.
_TRIES = 10


class Augmentation(TypedDict):
    """Arguments of :func:`i2e_triton.convert`: ``crop`` int32 ``[B, 4]``, ``size`` and ``flip`` bool ``[B]``."""

    crop: Tensor
    size: tuple[int, int]
    flip: Tensor


class RandomAugmentation(ABC):
    """Base class of the augmentations that draw a box and a flip for each image.

    Args:
        size: height and width of the events, or one number for both.
        flip: probability that an image is flipped.

    Raises:
        TypeError: if a size is not an integer or a probability is not a number.
        ValueError: if a size or a probability is out of range.
    """

    def __init__(self, size: int | Sequence[int], flip: float = 0.5):
        self.size = _sides("size", size)
        self.flip = _probability("flip", flip)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Augmentation:
        """Draw a box and a flip for each of the images ``[B, C, H, W]``, or for one image ``[C, H, W]``.

        Args:
            images: the images; only their shape and device are used.
            generator: generator from which one seed for the batch is drawn. A CPU generator gives the same result for
                images on any device; a generator on the images' GPU is also accepted. Default: PyTorch's global CPU
                generator.

        Raises:
            TypeError: if ``images`` is not a tensor or ``generator`` is not a generator.
            ValueError: if the images have another shape or are smaller than the box, or the generator is on another
                GPU.
        """
        return self._draw(images, _streams_of_batch("images", images, 3, generator))

    def for_rows(self, images: Tensor, rows: int | Iterable[int] | Tensor, seed: int, epoch: int = 0) -> Augmentation:
        """Draw a box and a flip for each row of a data set. They depend only on seed, epoch and row number.

        Args:
            images: the rows' images, ``[B, C, H, W]``, or ``[C, H, W]`` for one row; only shape and device are used.
            rows: row numbers in the data set: several ints, an integer tensor ``[B]``, or one int.
            seed: 0 to 2^64 - 1.
            epoch: number of the epoch, from 0.

        Raises:
            TypeError: if the seed or a row number is not an integer.
            ValueError: if the seed or the epoch is out of range, or the numbers of rows and images differ.
        """
        return self._draw(images, _streams_of_rows(images, images.shape[:-3], rows, seed, epoch))

    def _draw(self, images: Tensor, streams: Tensor) -> Augmentation:
        """Draw from one random stream per image; ``streams`` has their seeds, int64 ``[B]``."""
        if images.dim() not in (3, 4):
            raise ValueError(f"images must be [C, H, W] or [B, C, H, W], got shape {list(images.shape)}")
        height, width = images.shape[-2:]
        flips = _fraction(_number(streams, 0)) < self.flip
        boxes = torch.stack(self._boxes(streams, height, width), dim=1).to(torch.int32)
        single = images.dim() == 3
        return {"crop": boxes[0] if single else boxes, "size": self.size, "flip": flips[0] if single else flips}

    @abstractmethod
    def _boxes(self, streams: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return top, left, height and width, int64 ``[B]``. Position 0 of each stream is reserved for the flip."""


class RandomCropResizeFlip(RandomAugmentation):
    """Crop a box of fixed size from the padded image, resize it and flip it at random.

    Has the distribution of torchvision's ``RandomCrop(crop, padding, padding_mode="edge")``, ``Resize(size)`` and
    ``RandomHorizontalFlip(flip)``.

    Args:
        size: height and width of the events, or one number for both.
        crop: height and width of the box, or one number for both.
        padding: number of pixels that the box may extend beyond the image.
        flip: probability that an image is flipped.

    Raises:
        TypeError: if a size is not an integer or the probability is not a number.
        ValueError: if a size, the padding or the probability is out of range.
    """

    def __init__(self, size: int | Sequence[int], crop: int | Sequence[int] = 32, padding: int = 4, flip: float = 0.5):
        super().__init__(size, flip)
        self.crop = _sides("crop", crop)
        self.padding = check_integer("padding", padding, 0)

    def _boxes(self, streams: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        free = [side + 2 * self.padding - box for side, box in zip((height, width), self.crop)]  # pixels beside the box
        if min(free) < 0:
            raise ValueError(
                f"crop {self.crop} is larger than images of {(height, width)} with a padding of {self.padding}; "
                "use a smaller crop or a larger padding"
            )
        top, left = (_below(_number(streams, i), pixels + 1) - self.padding for i, pixels in enumerate(free, start=1))
        box_height, box_width = (torch.full_like(streams, side) for side in self.crop)
        return top, left, box_height, box_width


class RandomResizedCropFlip(RandomAugmentation):
    """Crop a box of random area and aspect ratio, resize it and flip it at random.

    Has the distribution of torchvision's ``RandomResizedCrop(size, scale, ratio)`` and ``RandomHorizontalFlip(flip)``:
    ten boxes are drawn, and the first that fits into the image is used. If none fits, the central box is used.

    Args:
        size: height and width of the events, or one number for both.
        scale: smallest and largest area of the box, relative to the image.
        ratio: smallest and largest aspect ratio (width / height) of the box; its logarithm is drawn uniformly.
        flip: probability that an image is flipped.

    Raises:
        TypeError: if a size is not an integer, or another argument is not a number.
        ValueError: if a size, an area, an aspect ratio or the probability is out of range.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
    ):
        super().__init__(size, flip)
        self.scale = _interval("scale", scale)
        self.ratio = _interval("ratio", ratio)
        self._aspects_by_device: dict[torch.device, Tensor] = {}

    def _boxes(self, streams: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Positions in each stream: 1 top, 2 left, 3 to 12 areas, 13 to 22 aspect ratios.
        tries = torch.arange(_TRIES, device=streams.device)
        smallest, largest = self.scale
        area = (_fraction(splitmix64(streams[:, None], tries + 3)) * (largest - smallest) + smallest) * (height * width)
        aspect = self._aspects_on(streams.device)[_below(splitmix64(streams[:, None], tries + 3 + _TRIES), _ASPECTS)]
        widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
        first_fit, any_fits = fits.int().argmax(1, keepdim=True), fits.any(1)
        centre_height, centre_width = self._centre(height, width)
        box_height = torch.where(any_fits, heights.gather(1, first_fit)[:, 0], centre_height)
        box_width = torch.where(any_fits, widths.gather(1, first_fit)[:, 0], centre_width)
        top = torch.where(any_fits, _below(_number(streams, 1), height - box_height + 1), (height - centre_height) // 2)
        left = torch.where(any_fits, _below(_number(streams, 2), width - box_width + 1), (width - centre_width) // 2)
        return top, left, box_height, box_width

    def _centre(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the central box, which is used if no drawn box fits into the image."""
        smallest, largest = self.ratio
        if width / height < smallest:
            return round(width / smallest), width
        if width / height > largest:
            return height, round(height * largest)
        return height, width

    @cached_property
    def _aspects(self) -> Tensor:
        """Aspect ratios in equal steps of the logarithm. Computed on the CPU, because exp() differs between devices."""
        smallest, largest = map(math.log, self.ratio)
        steps = ((i + 0.5) / _ASPECTS for i in range(_ASPECTS))
        return torch.tensor([math.exp(smallest + step * (largest - smallest)) for step in steps], dtype=torch.float64)

    def _aspects_on(self, device: torch.device) -> Tensor:
        """Return the aspect ratios on a device; the first call for a device copies them."""
        if device not in self._aspects_by_device:
            self._aspects_by_device[device] = self._aspects.to(device)
        return self._aspects_by_device[device]


class RandomTimestepDrop:
    """Drop timesteps at random, independently for each timestep of each image.

    The motion vector of a dropped timestep is set to zeros, so that the timestep has no events. The threshold, the
    other timesteps and the run time do not change.

    Args:
        drop: probability that a timestep is dropped.

    Raises:
        TypeError: if the probability is not a number.
        ValueError: if the probability is out of range.
    """

    def __init__(self, drop: float):
        self.drop = _probability("drop", drop)

    def __call__(self, shifts: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Drop timesteps of the motion vectors of a batch, ``[B, T, 4]``, or of one image, ``[T, 4]``.

        Args:
            shifts: motion vectors. If all images have the same vectors, pass ``shifts.expand(B, T, 4)``.
            generator: see :meth:`RandomAugmentation.__call__`.

        Returns:
            The motion vectors with zeros for dropped timesteps; same shape, dtype and device.

        Raises:
            TypeError: if ``shifts`` is not a tensor or ``generator`` is not a generator.
            ValueError: if the vectors have another shape, or the generator is on another GPU.
        """
        return self._drop_timesteps(shifts, _streams_of_batch("shifts", shifts, 2, generator))

    def for_rows(self, shifts: Tensor, rows: int | Iterable[int] | Tensor, seed: int, epoch: int = 0) -> Tensor:
        """Drop timesteps for rows of a data set, independently of :meth:`RandomAugmentation.for_rows`.

        Args:
            shifts: the rows' motion vectors, ``[B, T, 4]``, or ``[T, 4]`` for one row.
            rows: row numbers in the data set: several ints, an integer tensor ``[B]``, or one int.
            seed: 0 to 2^64 - 1.
            epoch: number of the epoch, from 0.

        Raises:
            TypeError: if the seed or a row number is not an integer.
            ValueError: if the seed or the epoch is out of range, or the numbers of rows and of entries differ.
        """
        return self._drop_timesteps(shifts, _streams_of_rows(shifts, shifts.shape[:-2], rows, seed, epoch))

    def _drop_timesteps(self, shifts: Tensor, streams: Tensor) -> Tensor:
        if shifts.dim() not in (2, 3) or shifts.shape[-1] != 4:
            raise ValueError(f"shifts must be [T, 4] or [B, T, 4], got shape {list(shifts.shape)}")
        positions = torch.arange(shifts.shape[-2], device=shifts.device) + _TIMESTEP_POSITION
        keep = _fraction(splitmix64(streams[:, None], positions)) >= self.drop
        return shifts * (keep[0] if shifts.dim() == 2 else keep)[..., None]


def _streams_of_batch(name: str, batch: Tensor, entry_dims: int, generator: torch.Generator | None) -> Tensor:
    """Return the seed of one random stream per entry, int64 ``[B]``. An entry has ``entry_dims`` dimensions."""
    if not isinstance(batch, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(batch).__name__}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {generator!r}")
    device = torch.device("cpu") if generator is None else generator.device
    if device.type != "cpu" and device != batch.device:
        raise ValueError(f"generator must be on the CPU or on the {name}' device {batch.device}, got {device}")
    seed = torch.randint(-(2**63), _INT64_MAX, (), generator=generator, device=device)
    return splitmix64(seed, torch.arange(batch.shape[:-entry_dims].numel(), device=batch.device))


def _streams_of_rows(
    batch: Tensor, shape: torch.Size, rows: int | Iterable[int] | Tensor, seed: int, epoch: int
) -> Tensor:
    """Return the seed of one random stream per row, int64 ``[B]``. ``rows`` must have the shape ``[B]`` or ``[]``."""
    epoch = check_integer("epoch", epoch, 0)
    numbers = row_numbers(rows, batch.device)
    if numbers.shape != shape:
        raise ValueError(f"rows must be one number per image: shape {list(shape)}, got {list(numbers.shape)}")
    # Scalars on the CPU: GPU operations accept them without a copy.
    stream = splitmix64(torch.tensor(signed(check_seed(seed)), device="cpu"), torch.tensor(epoch, device="cpu"))
    return splitmix64(stream, numbers.reshape(-1))


def _number(streams: Tensor, position: int) -> Tensor:
    """Return the random number at a position of each stream."""
    return splitmix64(streams, torch.full_like(streams, position))


def _below(numbers: Tensor, count: int | Tensor) -> Tensor:
    """Return integers from 0 to ``count - 1``. The remainder of 63 bits is uniform up to one part in 10^12."""
    return (numbers & _INT64_MAX) % count


def _fraction(numbers: Tensor) -> Tensor:
    """Return uniform float64 in [0, 1) with 53 random bits."""
    return ((numbers >> 11) & (2**53 - 1)).to(torch.float64) * 2.0**-53


def _probability(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a probability from 0 to 1, got {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a probability from 0 to 1, got {value}")
    return float(value)


def _interval(name: str, values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest value of an interval."""
    try:
        smallest, largest = map(float, values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be two numbers, the smaller one first; got {values!r}") from error
    if not 0 < smallest <= largest < math.inf:
        raise ValueError(f"{name} must be two numbers above 0, the smaller one first; got {values}")
    return smallest, largest


def _sides(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width, given as one number or two."""
    try:
        height, width = (index(side) for side in (size if isinstance(size, Sequence) else (size, size)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an integer, or two: height and width; got {size!r}") from error
    if min(height, width) < 1:
        raise ValueError(f"{name} must be at least 1 pixel a side, got {(height, width)}")
    return height, width
