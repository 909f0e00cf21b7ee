"""Random crops, flips and timestep drops of batches, drawn on the images' device. ``convert`` applies them::

    augment = RandomCropResizeFlip(128, crop=32, padding=4)
    for images, labels in batches:
        events = convert(images, 0.07, **augment(images))

Each draw is one operator, and the host does not wait for the GPU. :mod:`i2e_triton.draws` says what the result depends
on. With ``seed``, a module has its own seed and call number, which its ``state_dict`` contains.

To drop timesteps at no extra cost, pass ``shifts=RandomTimestepDrop(0.1)(shifts)`` to ``convert``.
To erase regions of events, mask packed events: ``events & mask[:, None]``, where ``mask`` is uint8 ``[B, H, W]``, 255
where events are kept and 0 elsewhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from numbers import Real
from operator import index
from typing import TypedDict

import torch
from torch import Tensor

from i2e_triton.checks import check_integer
from i2e_triton.draws import SeededModule, Source, source_of_rows
from i2e_triton.ops.draw import FIRST_UNUSED_BLOCK
from i2e_triton.shifts import row_numbers


class Augmentation(TypedDict):
    """Arguments of :func:`i2e_triton.convert`: boxes, int32 ``[B, 4]``; height and width; and flips, bool ``[B]``."""

    crop: Tensor
    size: tuple[int, int]
    flip: Tensor


class RandomAugmentation(SeededModule, ABC):
    """Base class of the augmentations that draw a box and a flip for each image.

    Args:
        size: height and width of the events, or one number for both.
        flip: probability that an image is flipped.
        seed: 0 to 2^64 - 1. None: draw from PyTorch's default generator; see :mod:`i2e_triton.draws`.

    Raises:
        TypeError: if a size or the seed is not an integer, or a probability is not a number.
        ValueError: if a size, the seed or a probability is out of range.
    """

    def __init__(self, size: int | Sequence[int], flip: float = 0.5, seed: int | None = None):
        super().__init__(seed)
        self.size = _sides("size", size)
        self.flip = _probability("flip", flip)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Augmentation:
        """Draw a box and a flip for each of the images ``[B, C, H, W]``, or for one image ``[C, H, W]``.

        Args:
            images: the images; only their shape and device are used.
            generator: generator that gives the seed of this call, on the CPU or on the images' device.
                Default: see :mod:`i2e_triton.draws`.

        Raises:
            TypeError: if ``images`` is not a tensor or ``generator`` is not a generator.
            ValueError: if the images have another shape or are smaller than the box, or the generator is on another
                GPU.
        """
        _check_tensor("images", images)
        return self._augmentation(images, self.source(images.device, generator))

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
        return self._augmentation(images, _checked_source(images, images.shape[:-3], rows, seed, epoch))

    def _augmentation(self, images: Tensor, source: Source) -> Augmentation:
        if images.dim() not in (3, 4):
            raise ValueError(f"images must be [C, H, W] or [B, C, H, W], got shape {list(images.shape)}")
        single = images.dim() == 3
        crop, flip = self._draw(source, 1 if single else images.shape[0], *images.shape[-2:])
        return {"crop": crop[0] if single else crop, "size": self.size, "flip": flip[0] if single else flip}

    @abstractmethod
    def _draw(self, source: Source, batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return boxes, int32 ``[B, 4]``, and flips, bool ``[B]``."""


class RandomCropResizeFlip(RandomAugmentation):
    """Draw a box of fixed size in the padded image, and a random flip. ``convert`` crops, resizes and flips.

    Has the distribution of torchvision's ``RandomCrop(crop, padding, padding_mode="edge")``, ``Resize(size)`` and
    ``RandomHorizontalFlip(flip)``.

    Args:
        size: height and width of the events, or one number for both.
        crop: height and width of the box, or one number for both.
        padding: number of pixels that the box may extend beyond the image.
        flip: probability that an image is flipped.
        seed: see :class:`RandomAugmentation`.

    Raises:
        TypeError: if a size, the padding or the seed is not an integer, or the probability is not a number.
        ValueError: if a size, the padding, the seed or the probability is out of range.

    Example:
        >>> images = torch.rand(16, 3, 32, 32)
        >>> augment = i2e_triton.augmentation.RandomCropResizeFlip(128, crop=32, padding=4)
        >>> i2e_triton.convert(images, ratio=0.07, **augment(images)).shape
        torch.Size([8, 16, 2, 128, 128])
    """

    def __init__(
        self,
        size: int | Sequence[int],
        crop: int | Sequence[int] = 32,
        padding: int = 4,
        flip: float = 0.5,
        seed: int | None = None,
    ):
        super().__init__(size, flip, seed)
        self.crop = _sides("crop", crop)
        self.padding = check_integer("padding", padding, 0)

    def _draw(self, source: Source, batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        if self.crop[0] > height + 2 * self.padding or self.crop[1] > width + 2 * self.padding:
            raise ValueError(
                f"crop {self.crop} is larger than images of {(height, width)} with a padding of {self.padding}; "
                "use a smaller crop or a larger padding"
            )
        return torch.ops.i2e_triton.draw_crop.default(
            *source, batch, (height, width), self.flip, self.crop, self.padding
        )


class RandomResizedCropFlip(RandomAugmentation):
    """Draw a box of random area and aspect ratio, and a random flip. ``convert`` crops, resizes and flips.

    Has the distribution of torchvision's ``RandomResizedCrop(size, scale, ratio)`` and ``RandomHorizontalFlip(flip)``:
    ten boxes are drawn, and the first that fits into the image is used. If none fits, the largest centred box with an
    aspect ratio in ``ratio`` is used, as in torchvision. Area and logarithm of the aspect ratio have 32 random bits.

    Args:
        size: height and width of the events, or one number for both.
        scale: smallest and largest area of the box, relative to the image.
        ratio: smallest and largest aspect ratio (width / height) of the box; its logarithm is drawn uniformly.
        flip: probability that an image is flipped.
        seed: see :class:`RandomAugmentation`.

    Raises:
        TypeError: if a size or the seed is not an integer, or another argument is not a number.
        ValueError: if a size, an area, an aspect ratio, the seed or the probability is out of range.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        seed: int | None = None,
    ):
        super().__init__(size, flip, seed)
        self.scale = _interval("scale", scale)
        self.ratio = _interval("ratio", ratio)

    def _draw(self, source: Source, batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        size = (height, width)
        return torch.ops.i2e_triton.draw_resized_crop.default(*source, batch, size, self.flip, self.scale, self.ratio)


class RandomTimestepDrop(SeededModule):
    """Drop timesteps at random, independently for each timestep of each image.

    The motion vector of a dropped timestep is set to zeros, so that the timestep has no events. The threshold, the
    other timesteps and the run time do not change.

    Args:
        drop: probability that a timestep is dropped.
        seed: 0 to 2^64 - 1. None: draw from PyTorch's default generator; see :mod:`i2e_triton.draws`.

    Raises:
        TypeError: if the probability is not a number or the seed is not an integer.
        ValueError: if the probability or the seed is out of range.
    """

    def __init__(self, drop: float, seed: int | None = None):
        super().__init__(seed)
        self.drop = _probability("drop", drop)

    def forward(self, shifts: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Drop timesteps of the motion vectors of a batch, ``[B, T, 4]``, or of one image, ``[T, 4]``.

        Args:
            shifts: motion vectors. If all images have the same vectors, pass ``shifts.expand(B, T, 4)``.
            generator: see :meth:`RandomAugmentation.forward`.

        Returns:
            The motion vectors with zeros for dropped timesteps; same shape, dtype and device.

        Raises:
            TypeError: if ``shifts`` is not a tensor or ``generator`` is not a generator.
            ValueError: if the vectors have another shape, or the generator is on another GPU.
        """
        _check_tensor("shifts", shifts)
        return self._drop_timesteps(shifts, self.source(shifts.device, generator))

    def for_rows(self, shifts: Tensor, rows: int | Iterable[int] | Tensor, seed: int, epoch: int = 0) -> Tensor:
        """Drop timesteps for rows of a data set. Which ones depends only on seed, epoch and row number.

        With the same seed, the draws are independent of those of :meth:`RandomAugmentation.for_rows`.

        Args:
            shifts: the rows' motion vectors, ``[B, T, 4]``, or ``[T, 4]`` for one row.
            rows: row numbers in the data set: several ints, an integer tensor ``[B]``, or one int.
            seed: 0 to 2^64 - 1.
            epoch: number of the epoch, from 0.

        Raises:
            TypeError: if the seed or a row number is not an integer.
            ValueError: if the seed or the epoch is out of range, or the numbers of rows and of entries differ.
        """
        return self._drop_timesteps(shifts, _checked_source(shifts, shifts.shape[:-2], rows, seed, epoch))

    def _drop_timesteps(self, shifts: Tensor, source: Source) -> Tensor:
        if shifts.dim() not in (2, 3) or shifts.shape[-1] != 4:
            raise ValueError(f"shifts must be [T, 4] or [B, T, 4], got shape {list(shifts.shape)}")
        timesteps = shifts.shape[-2]
        batch = 1 if shifts.dim() == 2 else shifts.shape[0]
        words = torch.ops.i2e_triton.draw_words.default(*source, batch, FIRST_UNUSED_BLOCK, -(-timesteps // 4))
        keep = words[:, :timesteps] >= round(self.drop * 2**32)
        return shifts * (keep[0] if shifts.dim() == 2 else keep)[..., None]


def _check_tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")


def _checked_source(
    batch: Tensor, shape: torch.Size, rows: int | Iterable[int] | Tensor, seed: int, epoch: int
) -> Source:
    """Check the row numbers, of shape ``[B]`` or ``[]``, and return the random source for them."""
    numbers = row_numbers(rows, batch.device)
    if numbers.shape != shape:
        raise ValueError(f"rows must be one number per image: shape {list(shape)}, got {list(numbers.shape)}")
    return source_of_rows(seed, check_integer("epoch", epoch, 0), numbers.reshape(-1))


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
