"""The first phase of an augmented conversion on the CPU: crop, resize, flip and value channel, some images at a time.

A resize interpolates over columns and then over rows, each time between whole rows of memory: for the first pass,
images are turned so that their columns are rows. Rows of results that lie alike between those of their boxes are made
together. The second phase is that of every image on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from i2e_triton.ops import allocation, cpu
from i2e_triton.ops.augment_places import Phases, Places, Rows, places

# Per thread: pixels of value channels that wait for the second phase, and values of channels that are interpolated at
# once. Fewer pay more for calls, more of them leave the cache.
_CHUNK_PIXELS = 1024 * 1024
_PART_VALUES = 1536 * 1024


@torch.no_grad()
def convert_into(
    out: Tensor,
    images: Tensor,
    crop: Tensor | None,
    flip: Tensor | None,
    shifts: Tensor,
    ratio: Tensor,
    *,
    nearest: bool,
    packed: bool,
) -> None:
    """Write the events of augmented images into ``out``.

    Args:
        out: dense ``[T, B, 2, H, W]``, or packed ``[B, 2, H, W]`` uint8; H and W are those of the augmented images.
        images: ``[B, C, H, W]``.
        crop: boxes ``[B, 4]`` of (top, left, height, width), or None for all of each image.
        flip: bool ``[B]``, or None.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``.
        ratio: ``[B]``, float64 for float64 images and else float32.
        nearest: whether to take the nearest pixels, and not to interpolate.
        packed: whether ``out`` is packed.
    """
    batch = images.shape[0]
    if batch == 0:
        return
    allocation.keep_freed()
    height, width = out.shape[-2:]
    per_image = shifts.dim() == 3
    rows, columns = places(images, crop, flip, (height, width), ratio.dtype, nearest)
    several = max(1, _CHUNK_PIXELS * torch.get_num_threads() // (height * width))
    for first in range(0, batch, several):
        part = slice(first, first + several)
        cpu.convert_into(
            out[part] if packed else out[:, part],
            _value(images[part], rows.of(part), columns.of(part), out.shape[-2:], nearest),
            shifts[part] if per_image else shifts,
            ratio[part],
            packed=packed,
        )


def _value(images: Tensor, rows: Rows, columns: Places, size: torch.Size, nearest: bool) -> Tensor:
    """Value channels ``[N, 1, H, W]`` of augmented images; NaN where one has a number that is not finite."""
    several = max(1, _PART_VALUES * torch.get_num_threads() // (images.shape[1] * size.numel()))
    value = torch.empty(len(images), *size, dtype=images.dtype if nearest else columns.way.dtype)
    for first in range(0, len(images), several):
        part = slice(first, first + several)
        unfit = torch.zeros(len(value[part]), dtype=torch.bool)
        for lines, channels in _augmented(images[part], rows.of(part), columns.of(part), nearest):
            largest = value[part, lines]
            _channel_max_into(largest, channels)
            if images.is_floating_point():
                unfit |= ~(channels.amin(dim=(0, 2, 3)).isfinite() & largest.amax(dim=(1, 2)).isfinite())
        if bool(unfit.any()):  # the number need not be a pixel's largest
            value[part][unfit] = math.nan
    return value[:, None]


def _augmented(images: Tensor, rows: Rows, columns: Places, nearest: bool) -> Iterator[tuple[slice, Tensor]]:
    """Some rows of augmented images after others, and all their channels ``[C, N, rows, W]``."""
    if isinstance(rows, Phases):
        yield from _in_phases(images, rows, columns)
    else:
        yield slice(None), (_nearest if nearest else _bilinear)(images, rows, columns)


def _nearest(images: Tensor, rows: Places, columns: Places) -> Tensor:
    """Augmented images in their own type."""
    image = torch.arange(len(images))[:, None, None]
    return images.transpose(0, 1)[:, image, rows.before[:, :, None], columns.before[:, None, :]]


def _in_phases(images: Tensor, rows: Phases, columns: Places) -> Iterator[tuple[slice, Tensor]]:
    """Augmented images in the arithmetic type."""
    # channels, images, rows, columns
    across = _across(_rows(images, rows.framed), columns).permute(3, 0, 2, 1).contiguous()
    steps = across[:, :, 1:] - across[:, :, :-1]
    lines = across.shape[2] - 2
    for phase, (above, way) in enumerate(zip(rows.above, rows.ways)):
        first = 0 if above else 1
        start, step = across.narrow(2, first, lines), steps.narrow(2, first, lines)
        # One operation after another: a fused multiply-add would round differently.
        yield slice(phase, None, len(rows.ways)), torch.mul(step, way).add_(start)


def _bilinear(images: Tensor, rows: Places, columns: Places) -> Tensor:
    """Augmented images in the arithmetic type."""
    height = rows.before.shape[1]
    if 2 * height < images.shape[2]:  # most rows are not asked for
        asked = torch.stack([rows.before, rows.after], dim=2).flatten(1)
        images = _rows(images, asked)
        order = torch.arange(0, 2 * height, 2).expand(len(images), -1)
        rows = Places(order, order + 1, rows.way)
    across = _across(images, columns).permute(0, 2, 3, 1).contiguous()  # images, rows, channels, columns
    return _between(across, rows).permute(2, 0, 1, 3)


def _rows(images: Tensor, asked: Tensor) -> Tensor:
    """Take rows ``[N, R]`` of images ``[N, C, H, W]``."""
    first = torch.arange(images.shape[:2].numel()).view(*images.shape[:2], 1) * images.shape[2]
    taken = images.flatten(0, 2).index_select(0, (first + asked[:, None]).flatten())
    return taken.unflatten(0, (*images.shape[:2], -1))


def _across(images: Tensor, columns: Places) -> Tensor:
    """Interpolate between the columns of images: ``[N, W, rows, C]``."""
    turned = _scaled(images, columns.way.dtype).permute(0, 3, 2, 1).contiguous()
    return _between(turned, columns)


def _between(lines: Tensor, places: Places) -> Tensor:
    """Interpolate between the lines of each image ``[N, L, ...]``, contiguous: ``[N, size, ...]``."""
    # A line is followed by the next one, or at a border by itself, from which it does not differ.
    steps = torch.zeros_like(lines)
    torch.sub(lines[:, 1:], lines[:, :-1], out=steps[:, :-1])
    first_line = torch.arange(len(lines))[:, None] * lines.shape[1]
    stepping = torch.where(places.after > places.before, places.before, lines.shape[1] - 1)
    start = lines.flatten(0, 1).index_select(0, (first_line + places.before).flatten())
    step = steps.flatten(0, 1).index_select(0, (first_line + stepping).flatten())
    # One operation after another: a fused multiply-add would round differently.
    return step.mul_(places.way.reshape(-1, 1, 1)).add_(start).unflatten(0, places.way.shape)


def _scaled(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Widen images to the arithmetic type, uint8 to [0, 1]."""
    return images.to(dtype).mul_(1 / 255) if images.dtype == torch.uint8 else images.to(dtype)


def _channel_max_into(value: Tensor, channels: Tensor) -> None:
    """Write the largest of channels ``[C, ...]``."""
    if len(channels) == 1:
        value.copy_(channels[0])
        return
    largest = channels[0]
    for channel in channels[1:-1]:
        largest = torch.maximum(largest, channel)
    torch.maximum(largest, channels[-1], out=value)
