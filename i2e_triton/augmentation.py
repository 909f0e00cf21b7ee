"""Random augmentations, drawn for a whole batch where its images are: arguments of :func:`i2e_triton.convert`.

    augment = RandomCropResizeFlip(128, crop=32, padding=4)
    for images, labels in batches:
        events = convert(images, 0.07, **augment(images, generator))

The numbers come from SplitMix64, as those of :func:`i2e_triton.row_shifts`, so that the same seed draws the same on
every device: nothing but whole numbers, exactly rounded float64 and a table made of the CPU's logarithms takes part.
Nothing waits for a GPU, but for the first draw there, which copies the table.

Timesteps are left out by their motion vectors, at no cost: ``shifts=RandomTimestepDrop(0.1)(shifts, generator)``.
Regions of events cannot be cut in the call: a hole for each image would be one more mask in each way of writing events.
It is an operation of its own, short on packed events: ``events & kept[:, None]``, with uint8 ``[B, H, W]`` of 255 or 0.
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

from i2e_triton.checks import check_integer
from i2e_triton.shifts import check_seed, row_numbers, signed, splitmix64

_INT64_MAX = 2**63 - 1
# Aspect ratios to draw from: neighbours differ by less than a ten-thousandth, a twentieth of a pixel in 1000.
_ASPECTS = 2**14
#: Where in an image's stream the numbers of its timesteps are: behind those of its box and flip.
_TIMESTEP_PLACES = 64
#: As often does torchvision draw a box before it takes the centre.
_TRIES = 10


class Augmentation(TypedDict):
    """Arguments of a conversion: boxes ``[B, 4]`` int32, height and width of the events, and flips ``[B]`` bool."""

    crop: Tensor
    size: tuple[int, int]
    flip: Tensor


class RandomAugmentation(ABC):
    """What draws a box and a flip for each image.

    Args:
        size: height and width of the events, or one number for both.
        flip: probability of a mirrored image.

    Raises:
        TypeError: if a size is not of whole numbers.
        ValueError: if a size or a probability is out of range.
    """

    def __init__(self, size: int | Sequence[int], flip: float = 0.5):
        self.size = _sides("size", size)
        self.flip = _probability("flip", flip)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Augmentation:
        """Draw for images ``[B, C, H, W]``, or for one ``[C, H, W]``.

        Args:
            images: only their shape and device count.
            generator: draws a seed for the batch. One on the CPU, as PyTorch's default, which None is, draws the same
                for images on every device; one on the images' GPU draws there. No other is of use.

        Raises:
            ValueError: if the images have no such shape or are smaller than the box, or the generator is on another
                GPU.
        """
        return self._draw(images, _streams_of_batch("images", images, 3, generator))

    def for_rows(self, images: Tensor, rows: int | Iterable[int] | Tensor, seed: int, epoch: int = 0) -> Augmentation:
        """Draw for rows of a data set: what a row gets depends on the seed, the epoch and its number alone.

        Args:
            images: the rows' images, ``[B, C, H, W]``, or ``[C, H, W]`` for one row; only shape and device count.
            rows: row numbers: several, or an integer tensor ``[B]``; or one.
            seed: 0 to 2^64 - 1.
            epoch: number of the epoch, from 0.

        Raises:
            TypeError: if the seed or a row number is not an integer.
            ValueError: if the seed or the epoch is out of range, or there are more or fewer rows than images.
        """
        return self._draw(images, _streams_of_rows(images, images.shape[:-3], rows, seed, epoch))

    def _draw(self, images: Tensor, streams: Tensor) -> Augmentation:
        """Draw from the streams of images, int64 ``[B]``."""
        if images.dim() not in (3, 4):
            raise ValueError(f"images must be [C, H, W] or [B, C, H, W], got shape {list(images.shape)}")
        height, width = images.shape[-2:]
        flips = _fraction(_number(streams, 0)) < self.flip
        boxes = torch.stack(self._boxes(streams, height, width), dim=1).to(torch.int32)
        single = images.dim() == 3
        return {"crop": boxes[0] if single else boxes, "size": self.size, "flip": flips[0] if single else flips}

    @abstractmethod
    def _boxes(self, streams: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draw top, left, height and width, int64 ``[B]``, from the second place of the streams on."""


class RandomCropResizeFlip(RandomAugmentation):
    """A box of fixed size anywhere in an image with a padding, resized and mirrored.

    torchvision's ``RandomCrop(crop, padding, padding_mode="edge")``, ``Resize(size)``, ``RandomHorizontalFlip(flip)``.

    Args:
        size: height and width of the events, or one number for both.
        crop: height and width of the box, or one number for both.
        padding: how far it may reach beyond an image, in pixels.
        flip: probability of a mirrored image.

    Raises:
        TypeError: if a size is not of whole numbers.
        ValueError: if a size, the padding or the probability is out of range.
    """

    def __init__(self, size: int | Sequence[int], crop: int | Sequence[int] = 32, padding: int = 4, flip: float = 0.5):
        super().__init__(size, flip)
        self.crop = _sides("crop", crop)
        self.padding = check_integer("padding", padding, 0)

    def _boxes(self, streams: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        spare = [side + 2 * self.padding - box for side, box in zip((height, width), self.crop)]
        if min(spare) < 0:
            raise ValueError(
                f"crop {self.crop} is larger than images of {(height, width)} with a padding of {self.padding}; "
                "take a smaller crop or a larger padding"
            )
        top, left = (_below(_number(streams, at), count + 1) - self.padding for at, count in zip((1, 2), spare))
        box_height, box_width = (torch.full_like(streams, side) for side in self.crop)
        return top, left, box_height, box_width


class RandomResizedCropFlip(RandomAugmentation):
    """A box of random area and aspect ratio within an image, resized and mirrored.

    torchvision's ``RandomResizedCrop(size, scale, ratio)`` and ``RandomHorizontalFlip(flip)``: the first of ten boxes
    that fits, and else the centre.

    Args:
        size: height and width of the events, or one number for both.
        scale: least and largest area of the box, as parts of the image's.
        ratio: least and largest width over height of the box, drawn uniformly by their logarithms.
        flip: probability of a mirrored image.

    Raises:
        TypeError: if a size is not of whole numbers.
        ValueError: if a size, an area, a ratio or the probability is out of range.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
    ):
        super().__init__(size, flip)
        self.scale = _span("scale", scale)
        self.ratio = _span("ratio", ratio)
        self._on_device: dict[torch.device, Tensor] = {}

    def _boxes(self, streams: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tries = torch.arange(_TRIES, device=streams.device)
        least, largest = self.scale
        area = (_fraction(splitmix64(streams[:, None], tries + 3)) * (largest - least) + least) * (height * width)
        aspect = self._aspects_on(streams.device)[_below(splitmix64(streams[:, None], tries + 3 + _TRIES), _ASPECTS)]
        widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
        first, some = fits.int().argmax(1, keepdim=True), fits.any(1)
        centre_height, centre_width = self._centre(height, width)
        box_height = torch.where(some, heights.gather(1, first)[:, 0], centre_height)
        box_width = torch.where(some, widths.gather(1, first)[:, 0], centre_width)
        top = torch.where(some, _below(_number(streams, 1), height - box_height + 1), (height - centre_height) // 2)
        left = torch.where(some, _below(_number(streams, 2), width - box_width + 1), (width - centre_width) // 2)
        return top, left, box_height, box_width

    def _centre(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the largest box of a possible ratio, where none fits."""
        least, largest = self.ratio
        if width / height < least:
            return round(width / least), width
        if width / height > largest:
            return height, round(height * largest)
        return height, width

    @cached_property
    def _aspects(self) -> Tensor:
        """Aspect ratios at equal steps of their logarithm: the CPU's, since each device has exponentials of its own."""
        least, largest = map(math.log, self.ratio)
        steps = ((i + 0.5) / _ASPECTS for i in range(_ASPECTS))
        return torch.tensor([math.exp(least + step * (largest - least)) for step in steps], dtype=torch.float64)

    def _aspects_on(self, device: torch.device) -> Tensor:
        """Keep them on each device; the first call there copies them."""
        if device not in self._on_device:
            self._on_device[device] = self._aspects.to(device)
        return self._on_device[device]


class RandomTimestepDrop:
    """Leaves out timesteps, each of each image by itself, as if the camera had lost them.

    A motion vector of zeros compares an image with itself: its timestep has no events, in the same time. The others
    stay where they are, and the threshold is that of the image as before.

    Args:
        drop: probability of each timestep.

    Raises:
        ValueError: if the probability is out of range.
    """

    def __init__(self, drop: float):
        self.drop = _probability("drop", drop)

    def __call__(self, shifts: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw for the motion vectors of a batch, ``[B, T, 4]``, or of one image, ``[T, 4]``.

        Args:
            shifts: motion vectors; where all images have the same, ``shifts.expand(B, T, 4)``.
            generator: as for :class:`RandomAugmentation`.

        Returns:
            The vectors, those of timesteps that are left out replaced by zeros; shape, type and device are the same.

        Raises:
            ValueError: if the vectors have no such shape, or the generator is on another GPU.
        """
        return self._zeroed(shifts, _streams_of_batch("shifts", shifts, 2, generator))

    def for_rows(self, shifts: Tensor, rows: int | Iterable[int] | Tensor, seed: int, epoch: int = 0) -> Tensor:
        """Draw for rows of a data set, as :meth:`RandomAugmentation.for_rows` does, and independently of it.

        Args:
            shifts: the rows' motion vectors, ``[B, T, 4]``, or ``[T, 4]`` for one row.
            rows: row numbers: several, or an integer tensor ``[B]``; or one.
            seed: 0 to 2^64 - 1.
            epoch: number of the epoch, from 0.

        Raises:
            TypeError: if the seed or a row number is not an integer.
            ValueError: if the seed or the epoch is out of range, or there are more or fewer rows than vectors.
        """
        return self._zeroed(shifts, _streams_of_rows(shifts, shifts.shape[:-2], rows, seed, epoch))

    def _zeroed(self, shifts: Tensor, streams: Tensor) -> Tensor:
        if shifts.dim() not in (2, 3) or shifts.shape[-1] != 4:
            raise ValueError(f"shifts must be [T, 4] or [B, T, 4], got shape {list(shifts.shape)}")
        places = torch.arange(shifts.shape[-2], device=shifts.device) + _TIMESTEP_PLACES
        kept = _fraction(splitmix64(streams[:, None], places)) >= self.drop
        return shifts * (kept[0] if shifts.dim() == 2 else kept)[..., None]


def _streams_of_batch(name: str, batch: Tensor, each: int, generator: torch.Generator | None) -> Tensor:
    """Give each of a batch, which has so many dimensions, or a single one, a stream of a seed that is drawn."""
    if not isinstance(batch, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(batch).__name__}")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {generator!r}")
    device = torch.device("cpu") if generator is None else generator.device
    if device.type != "cpu" and device != batch.device:
        raise ValueError(f"generator must be on the CPU or on the {name}' device {batch.device}, got {device}")
    seed = torch.randint(-(2**63), _INT64_MAX, (), generator=generator, device=device)
    return splitmix64(seed, torch.arange(batch.shape[:-each].numel(), device=batch.device))


def _streams_of_rows(
    batch: Tensor, shape: torch.Size, rows: int | Iterable[int] | Tensor, seed: int, epoch: int
) -> Tensor:
    """Give each row of a batch of some shape, ``[B]`` or ``[]``, its stream of a seed and an epoch."""
    if epoch < 0:
        raise ValueError(f"epoch must not be negative, got {epoch}")
    numbers = row_numbers(rows, batch.device)
    if numbers.shape != shape:
        raise ValueError(f"rows must be numbers {list(shape)}, got shape {list(numbers.shape)}")
    # Scalars of the CPU: a GPU takes them without a copy.
    stream = splitmix64(torch.tensor(signed(check_seed(seed)), device="cpu"), torch.tensor(epoch, device="cpu"))
    return splitmix64(stream, numbers.reshape(-1))


def _number(streams: Tensor, place: int) -> Tensor:
    """The number at a place of each stream."""
    return splitmix64(streams, torch.full_like(streams, place))


def _below(numbers: Tensor, count: int | Tensor) -> Tensor:
    """Uniform whole numbers from 0 to ``count - 1``; the remainder of 63 bits is uniform but for one part in 10^12."""
    return (numbers & _INT64_MAX) % count


def _fraction(numbers: Tensor) -> Tensor:
    """Uniform float64 from 0 up to 1, of 53 bits."""
    return ((numbers >> 11) & (2**53 - 1)).to(torch.float64) * 2.0**-53


def _probability(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a probability from 0 to 1, got {value!r}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a probability from 0 to 1, got {value}")
    return float(value)


def _span(name: str, values: Sequence[float]) -> tuple[float, float]:
    """The least and the largest of what is drawn."""
    try:
        least, largest = map(float, values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be two numbers, the smaller one first; got {values!r}") from error
    if not 0 < least <= largest < math.inf:
        raise ValueError(f"{name} must be two numbers above 0, the smaller one first; got {values}")
    return least, largest


def _sides(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width, from both or from one number."""
    try:
        height, width = (index(side) for side in (size if isinstance(size, Sequence) else (size, size)))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a whole number, or two: height and width; got {size!r}") from error
    if min(height, width) < 1:
        raise ValueError(f"{name} must be 1 pixel a side at least, got {(height, width)}")
    return height, width
