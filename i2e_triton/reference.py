"""The specification: I2E in plain PyTorch (Ma et al., AAAI 2026), as published but for two lines marked below.

Slow, and written to be read. Every other path of this package equals it bit for bit.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from i2e_triton.shifts import convolution_weight


def convert(images: Tensor, ratio: float | Tensor, shifts: Tensor) -> Tensor:
    """Convert images ``[B, C, H, W]`` to events.

    Args:
        images: uint8, float16, bfloat16, float32 or float64, on the CPU. uint8 is scaled to [0, 1].
        ratio: sensitivity of the threshold; one number, or a tensor ``[B]``.
        shifts: motion vectors ``[T, 4]``, or one microsaccade per image ``[B, T, 4]``.

    Returns:
        bool tensor ``[T, B, 2, H, W]``; polarity 0 is ON, polarity 1 is OFF.
    """
    if shifts.dim() == 3:
        ratios = torch.as_tensor(ratio, dtype=torch.float64).expand(len(images))
        return torch.cat([convert(i[None], r[None], s) for i, r, s in zip(images, ratios, shifts)], dim=1)

    value = scale(images).amax(dim=1, keepdim=True)
    theta = (value.amax(dim=(2, 3), keepdim=True) - value.amin(dim=(2, 3), keepdim=True)) * column(ratio, value)

    weight = convolution_weight(shifts).to(value.dtype)
    reach = weight.shape[-1] // 2
    difference = F.conv2d(F.pad(value, (reach,) * 4, mode="replicate"), weight)

    on = (difference >= theta) & (difference > 0)  # the second condition is the paper's: nothing in a flat image
    off = (-difference >= theta) & (difference < 0)
    finite = images.isfinite().all(dim=3).all(dim=2).all(dim=1)  # NaN or infinity anywhere: no events at all
    return (torch.stack([on, off], dim=2) & finite[:, None, None, None, None]).transpose(0, 1)


def scale(images: Tensor) -> Tensor:
    """Widen images to the arithmetic type, uint8 to [0, 1] as ``v2.ToDtype(torch.float32, scale=True)`` does."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32) * (1 / 255)
    return images if images.dtype == torch.float64 else images.to(torch.float32)


def column(ratio: float | Tensor, value: Tensor) -> float | Tensor:
    """Shape one ratio per image so that it multiplies ``[B, 1, 1, 1]``."""
    return ratio.to(value.dtype)[:, None, None, None] if isinstance(ratio, Tensor) else ratio
