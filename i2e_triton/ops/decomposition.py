"""The operator ``convert`` in standard PyTorch operators, for ``torch.onnx.export(dynamo=True)``.

The ONNX exporter takes decompositions from the table to which ``register_decomposition`` adds this function.
``torch.compile`` and ``torch.export`` do not, so they keep the operator.

The events equal those of the operator bit for bit: pixels are gathered and subtracted, in the order of operations of
the reference. A convolution would add up nine products, whose order and rounding ONNX leaves open.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from i2e_triton.shifts import canonical_shifts

_CANONICAL: list[list[int]] = canonical_shifts(device="cpu").tolist()


def convert(
    images: Tensor,
    shifts: Tensor | None,
    ratios: Tensor | None,
    ratio: float,
    timesteps: int,
    dtype: torch.dtype,
    packed: bool,
    crop: Tensor | None = None,
    flip: Tensor | None = None,
    size: Any = None,
    nearest: bool = False,
) -> Tensor:
    """Return the events of images. The arguments are those of ``torch.ops.i2e_triton.convert``.

    Raises:
        NotImplementedError: if the images are augmented.
    """
    if crop is not None or flip is not None or (size is not None and tuple(size) != tuple(images.shape[-2:])):
        raise NotImplementedError(
            "crop, size and flip cannot be decomposed into standard operators; augment the images before convert"
        )
    value = _arithmetic(images).amax(dim=1)
    theta = (value.amax(dim=(1, 2)) - value.amin(dim=(1, 2))) * (ratio if ratios is None else ratios.to(value.dtype))
    if shifts is None:
        # Not torch.tensor: torch.export cannot decompose an operator into constant tensors.
        numbers = [torch.full((), n, device=images.device) for vector in _CANONICAL[:timesteps] for n in vector]
        shifts = torch.stack(numbers).view(timesteps, 4)
    difference = _pixels(value, shifts[..., 2:]) - _pixels(value, shifts[..., :2])  # [B, T, H, W]
    theta = theta[:, None, None, None]
    on = (difference >= theta) & (difference > 0)
    off = (-difference >= theta) & (difference < 0)
    events = torch.stack([on, off], dim=2).transpose(0, 1)
    if images.is_floating_point():
        events = events & images.isfinite().flatten(1).all(dim=1)[None, :, None, None, None]
    if not packed:
        return events.to(dtype)
    bits = [events[t].to(torch.int32) * (1 << t) for t in range(timesteps)]
    return sum(bits[1:], bits[0]).to(torch.uint8)


def _arithmetic(images: Tensor) -> Tensor:
    """Return images in the arithmetic type: float64 for float64 images, and float32 for all others."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32) * (1 / 255)
    return images if images.dtype == torch.float64 else images.to(torch.float32)


def _pixels(value: Tensor, offsets: Tensor) -> Tensor:
    """Return the pixels ``[B, T, H, W]`` at offsets ``[T, 2]`` or ``[B, T, 2]`` of (dy, dx) from each pixel.

    Coordinates are clamped to the image ``[B, H, W]``.
    """
    batch, height, width = value.shape
    dy, dx = offsets.long().unbind(-1)
    rows = (torch.arange(height, device=value.device)[:, None] + dy[..., None, None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=value.device) + dx[..., None, None]).clamp(0, width - 1)
    positions = (rows * width + columns).flatten(-3)  # [T * H * W] or [B, T * H * W]
    flat = value.flatten(1)
    pixels = flat.index_select(1, positions) if positions.dim() == 1 else flat.gather(1, positions)
    return pixels.view(batch, offsets.shape[-2], height, width)
