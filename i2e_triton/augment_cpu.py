"""The first phase of an augmented conversion on the CPU: crop, resize, flip and value channel, some images at a time.

A resize is two passes of :func:`_between`, over columns and then over rows. Each takes whole rows of memory: for the
first one, images are turned so that their columns are rows. The second phase is that of every image on the CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from i2e_triton import cpu, memory

# Per thread: pixels of value channels that wait for the second phase, and values of channels that are interpolated at
# once. Fewer pay more for calls, more of them leave the cache.
_CHUNK_PIXELS = 1024 * 1024
_PART_VALUES = 768 * 1024


@dataclass(frozen=True)
class _Places:
    """Where the rows, or the columns, of results lie in their images: ``[B, size]`` each."""

    before: Tensor
    after: Tensor
    way: Tensor

    def of(self, part: slice) -> _Places:
        """Those of some images."""
        return _Places(self.before[part], self.after[part], self.way[part])


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
    memory.keep_freed()
    batch = images.shape[0]
    height, width = out.shape[-2:]
    per_image = shifts.dim() == 3
    rows, columns = _places(images, crop, flip, (height, width), ratio.dtype, nearest)
    several = max(1, _CHUNK_PIXELS * torch.get_num_threads() // (height * width))
    for first in range(0, batch, several):
        part = slice(first, first + several)
        cpu.convert_into(
            out[part] if packed else out[:, part],
            _value(images[part], rows.of(part), columns.of(part), nearest),
            shifts[part] if per_image else shifts,
            ratio[part],
            packed=packed,
        )


def _places(
    images: Tensor, crop: Tensor | None, flip: Tensor | None, size: tuple[int, int], dtype: torch.dtype, nearest: bool
) -> tuple[_Places, _Places]:
    """Where rows and columns of the results lie in the images, by the arithmetic of the specification."""
    batch, _, height, width = images.shape
    boxes = torch.tensor([[0, 0, height, width]]).expand(batch, 4) if crop is None else crop.long()
    top, left, box_height, box_width = boxes[..., None].unbind(1)
    y, x = torch.arange(size[0])[None], torch.arange(size[1])[None]
    if flip is not None:
        x = torch.where(flip[:, None], size[1] - 1 - x, x)
    return (
        _places_of(y, top, box_height, height, dtype, nearest),
        _places_of(x, left, box_width, width, dtype, nearest),
    )


def _places_of(index: Tensor, start: Tensor, length: Tensor, limit: int, dtype: torch.dtype, nearest: bool) -> _Places:
    size = index.shape[1]
    centre = 0.0 if nearest else 0.5
    scale = (length * torch.tensor(1 / size, dtype=torch.float64)).to(dtype).double()
    place = ((index + torch.tensor(centre, dtype=torch.float64)) * scale - centre).to(dtype).clamp_(min=0)
    before = torch.minimum(place.long(), length - 1)
    after = torch.minimum(before + 1, length - 1)
    return _Places((start + before).clamp_(0, limit - 1), (start + after).clamp_(0, limit - 1), place - before)


def _value(images: Tensor, rows: _Places, columns: _Places, nearest: bool) -> Tensor:
    """Value channels ``[N, 1, H, W]`` of augmented images; NaN where one has a number that is not finite."""
    height, width = rows.before.shape[1], columns.before.shape[1]
    augment = _nearest if nearest else _bilinear
    several = max(1, _PART_VALUES * torch.get_num_threads() // (images.shape[1] * height * width))
    value = torch.empty(len(images), 1, height, width, dtype=images.dtype if nearest else rows.way.dtype)
    for first in range(0, len(images), several):
        part = slice(first, first + several)
        augmented = augment(images[part], rows.of(part), columns.of(part))
        value[part, 0] = cpu.channel_max(augmented)
        if images.is_floating_point():
            _mark_unfit(value[part], augmented)
    return value


def _nearest(images: Tensor, rows: _Places, columns: _Places) -> Tensor:
    """Augmented images ``[N, C, H, W]``, in their own type."""
    image = torch.arange(len(images))[:, None, None]
    return images.transpose(0, 1)[:, image, rows.before[:, :, None], columns.before[:, None, :]].transpose(0, 1)


def _bilinear(images: Tensor, rows: _Places, columns: _Places) -> Tensor:
    """Augmented images ``[N, C, H, W]``, in the arithmetic type."""
    height = rows.before.shape[1]
    if 2 * height < images.shape[2]:  # most rows are not asked for
        asked = torch.stack([rows.before, rows.after], dim=2).flatten(1)
        images = images.gather(2, asked[:, None, :, None].expand(-1, images.shape[1], -1, images.shape[3]))
        order = torch.arange(0, 2 * height, 2).expand(len(images), -1)
        rows = _Places(order, order + 1, rows.way)
    turned = _scaled(images, rows.way.dtype).permute(0, 3, 2, 1).contiguous()  # columns, rows, channels
    across = _between(turned, columns).permute(0, 2, 3, 1).contiguous()  # rows, channels, columns
    return _between(across, rows).transpose(1, 2)


def _between(lines: Tensor, places: _Places) -> Tensor:
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


def _mark_unfit(value: Tensor, images: Tensor) -> None:
    """Write NaN over the value channel of images with a number that is not finite: it need not be a pixel's largest."""
    unfit = ~(images.amin(dim=(1, 2, 3)).isfinite() & value.amax(dim=(1, 2, 3)).isfinite())
    if bool(unfit.any()):
        value[unfit] = math.nan
