"""Antialiased resizing of tensors on the CPU, bit for bit equal to ``torchvision.transforms.v2``.

torchvision itself is not used, because importing it takes as long as importing PyTorch.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def resize(images: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Resize images ``[..., C, H, W]``, uint8 or float32, to a height and width in pixels.

    Args:
        images: images ``[..., C, H, W]`` whose channels are last in memory.
        size: height and width in pixels.
        mode: ``"bicubic"`` or ``"bilinear"``.

    Returns:
        Images of the same dtype, with the channels last in memory.
    """
    if images.shape[-2:] == size:
        return images
    batch = images.reshape(-1, *images.shape[-3:])
    if len(batch) == 1 and batch.is_contiguous(memory_format=torch.channels_last):
        # For a single image, PyTorch keeps the channels last only with this stride (pytorch issue 68430).
        batch = batch.as_strided(batch.shape, (batch.numel(), *batch.stride()[1:]))
    as_float = batch.dtype == torch.uint8 and not _resizes_uint8(mode)
    if as_float:
        batch = batch.to(torch.float32)
    batch = interpolate(batch, size, mode=mode, align_corners=False, antialias=True)
    if as_float:
        batch = batch.round_().to(torch.uint8)
    return batch.reshape(*images.shape[:-2], *size)


def _resizes_uint8(mode: str) -> bool:
    """Return whether torchvision resizes uint8 directly. If not, it converts to float32, which changes the last bit."""
    with_simd = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return mode == "bicubic" or with_simd or platform.machine() in ("aarch64", "arm64")
