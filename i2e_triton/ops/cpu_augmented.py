"""Augmented conversions on the CPU: crop, resize and flip a few images at a time, and convert the results.

Bilinear interpolation is first along x, then along y. :mod:`i2e_triton.ops.cpu` computes the events of the value
channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from i2e_triton.ops import cpu, cpu_arithmetic

# Values (of all channels) per thread and chunk. Smaller chunks need more calls; larger ones do not fit in the cache.
_CHUNK_VALUES = 512 * 1024


class Sources(NamedTuple):
    """The two raw rows (or columns) that each row (or column) of augmented images comes from, each ``[B, size]``."""

    lo: Tensor
    hi: Tensor
    weight: Tensor  # of ``hi``

    def select(self, images: slice) -> Sources:
        """Return the sources of some images."""
        return Sources(*(field[images] for field in self))


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
        out: dense ``[T, B, 2, H, W]``, or packed ``[B, 2, H, W]`` uint8; H and W are the size of the augmented images.
        images: ``[B, C, H, W]``.
        crop: boxes ``[B, 4]`` of (top, left, height, width), or None for whole images.
        flip: bool ``[B]``, or None.
        shifts: motion vectors ``[T, 4]`` or ``[B, T, 4]``.
        ratio: ``[B]``, float64 for float64 images, otherwise float32.
        nearest: take the nearest pixels instead of interpolating.
        packed: whether ``out`` is packed.
    """
    batch, channels = images.shape[:2]
    if batch == 0:
        return
    height, width = out.shape[-2:]
    rows, columns = sources(images, crop, flip, (height, width), ratio.dtype, nearest)
    per_chunk = max(1, _CHUNK_VALUES * torch.get_num_threads() // (channels * height * width))
    for first in range(0, batch, per_chunk):
        chunk = slice(first, first + per_chunk)
        cpu.convert_into(
            out[chunk] if packed else out[:, chunk],
            _value(images[chunk], rows.select(chunk), columns.select(chunk), nearest),
            shifts[chunk] if shifts.dim() == 3 else shifts,
            ratio[chunk],
            packed=packed,
        )


def sources(
    images: Tensor, crop: Tensor | None, flip: Tensor | None, size: tuple[int, int], dtype: torch.dtype, nearest: bool
) -> tuple[Sources, Sources]:
    """Return the source rows and the source columns of augmented images; positions are rounded to ``dtype``."""
    batch, _, height, width = images.shape
    boxes = torch.tensor([[0, 0, height, width]]).expand(batch, 4) if crop is None else crop.long()
    top, left, box_height, box_width = boxes[..., None].unbind(1)
    y, x = torch.arange(size[0])[None], torch.arange(size[1])[None]
    if flip is not None:
        x = torch.where(flip[:, None], size[1] - 1 - x, x)
    rows = _sources_along_axis(y, top, box_height, height, dtype, nearest)
    return rows, _sources_along_axis(x, left, box_width, width, dtype, nearest)


def _sources_along_axis(
    index: Tensor, start: Tensor, length: Tensor, raw_size: int, dtype: torch.dtype, nearest: bool
) -> Sources:
    # As in the reference, scale and position are rounded to ``dtype`` once each.
    scale = (length * torch.tensor(1 / index.shape[-1], dtype=torch.float64)).to(dtype).double()
    centre = 0.0 if nearest else 0.5
    position = ((index.double() + centre) * scale - centre).to(dtype).clamp_(min=0)
    lo = torch.minimum(position.long(), length - 1)
    hi = torch.minimum(lo + 1, length - 1)
    return Sources((start + lo).clamp_(0, raw_size - 1), (start + hi).clamp_(0, raw_size - 1), position - lo)


def _value(images: Tensor, rows: Sources, columns: Sources, nearest: bool) -> Tensor:
    """Return the value channels ``[N, 1, H, W]`` of augmented images, all NaN for an image with a non-finite pixel."""
    pixels = augmented(images, rows, columns, nearest)
    value = cpu_arithmetic.channel_max(pixels)
    if images.is_floating_point():
        # The minimum is over all channels, because a larger channel hides a -inf from the value channel.
        finite = pixels.amin(dim=(1, 2, 3)).isfinite() & value.amax(dim=(1, 2)).isfinite()
        if not bool(finite.all()):
            value = value.masked_fill(~finite[:, None, None], math.nan)
    return value[:, None]


def augmented(images: Tensor, rows: Sources, columns: Sources, nearest: bool) -> Tensor:
    """Return augmented images ``[N, C, H, W]``, in the dtype of the raw images for nearest interpolation."""
    return (_nearest if nearest else _bilinear)(images, rows, columns)


def raw_gradient(gradient: Tensor, rows: Sources, columns: Sources, size: Sequence[int], nearest: bool) -> Tensor:
    """Return the gradient for raw images ``[N, C, *size]`` from the gradient for the augmented images."""
    for dim, axis in ((2, rows), (3, columns)):
        lo, hi, weight = (field[:, None, :, None] if dim == 2 else field[:, None, None] for field in axis)
        shape = list(gradient.shape)
        shape[dim] = size[dim - 2]
        result = gradient.new_zeros(shape)
        if nearest:
            result.scatter_add_(dim, lo.expand_as(gradient), gradient)
        else:
            result.scatter_add_(dim, lo.expand_as(gradient), gradient * (1 - weight))
            result.scatter_add_(dim, hi.expand_as(gradient), gradient * weight)
        gradient = result
    return gradient


def _nearest(images: Tensor, rows: Sources, columns: Sources) -> Tensor:
    """Return augmented images ``[N, C, H, W]`` in the dtype of the raw images."""
    image_index = torch.arange(len(images))[:, None, None]
    return images.transpose(0, 1)[:, image_index, rows.lo[:, :, None], columns.lo[:, None, :]].transpose(0, 1)


def _bilinear(images: Tensor, rows: Sources, columns: Sources) -> Tensor:
    """Return augmented images ``[N, C, H, W]`` in the arithmetic dtype: interpolate along x, then along y."""
    height = rows.lo.shape[1]
    if 2 * height < images.shape[2]:  # fewer rows are used than the images have: interpolate only these along x
        images = _take_rows(images, torch.stack([rows.lo, rows.hi], dim=2).flatten(1))
        # Rows 2i and 2i + 1 are now the two raw rows of row i of the augmented image.
        lo = torch.arange(0, 2 * height, 2).expand(len(images), -1)
        rows = Sources(lo, lo + 1, rows.weight)
    images = images.to(columns.weight.dtype).mul_(1 / 255) if images.dtype == torch.uint8 else images.to(columns.weight)
    resized = _interpolate(
        _take_columns(images, columns.lo), _take_columns(images, columns.hi), columns.weight[:, None, None]
    )
    return _interpolate(_take_rows(resized, rows.lo), _take_rows(resized, rows.hi), rows.weight[:, None, :, None])


def _take_columns(images: Tensor, columns: Tensor) -> Tensor:
    """Return images ``[N, C, H, W]`` that consist of the columns with the indices ``columns`` ``[N, W]``."""
    return images.gather(3, columns[:, None, None].expand(*images.shape[:3], -1))


def _take_rows(images: Tensor, rows: Tensor) -> Tensor:
    """Return images ``[N, C, R, W]`` that consist of the rows with the indices ``rows`` ``[N, R]``.

    ``index_select`` copies whole rows, which is faster than ``gather``.
    """
    first = torch.arange(images.shape[:2].numel()).view(*images.shape[:2], 1) * images.shape[2]
    taken = images.flatten(0, 2).index_select(0, (first + rows[:, None]).flatten())
    return taken.unflatten(0, (*images.shape[:2], -1))


def _interpolate(lo: Tensor, hi: Tensor, weight: Tensor) -> Tensor:
    """Return ``lo + (hi - lo) * weight`` in the memory of ``hi``, rounded after each operation."""
    return hi.sub_(lo).mul_(weight).add_(lo)
