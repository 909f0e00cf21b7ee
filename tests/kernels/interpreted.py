"""Run the kernels in Triton's interpreter on the CPU. This needs TRITON_INTERPRET=1 before triton is imported."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
import triton
import triton.language as tl
from torch import Tensor

from i2e_triton import canonical_shifts
from i2e_triton.kernels import launch, launch_backward


def convert_into(
    out: Tensor,
    images: Tensor,
    shifts: Tensor | launch.Vectors,
    ratios: Tensor | None,
    ratio: float,
    multiprocessors: int,
    **options: Any,
) -> Tensor:
    """Convert as on a device with that many multiprocessors, and return ``out``."""
    with mock.patch.object(launch, "_device", return_value=(multiprocessors, 32)):
        launch.convert_into(out, images, shifts, ratios, ratio, **options)
    return out


def augmented_planes(
    images: Tensor, crop: Tensor | None, flip: Tensor | None, size: tuple[int, int], multiprocessors: int
) -> Tensor:
    """Return the planes ``[B, H + 2, W + 2]`` that the first phase writes, halos included."""
    allocated: list[Tensor] = []

    def poisoned(size: int, **options: Any) -> Tensor:
        allocated.append(torch.full((size,), 255, **options))
        return allocated[-1]

    out = torch.empty(8, len(images), 2, *size)
    with mock.patch.object(torch, "empty", poisoned):
        convert_into(out, images, canonical_shifts(), None, 0.1, multiprocessors, packed=False, crop=crop, flip=flip)
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    origin, stride_y, elements = launch.plane_layout(*size)
    shape, strides = (len(images), size[0] + 2, size[1] + 2), (elements, stride_y, 1)
    return allocated[0].view(dtype).as_strided(shape, strides, origin - stride_y - 1).clone()


def gradients(
    arguments: tuple[Any, ...], need_images: bool, multiprocessors: int, offset_dtype: str, **options: Any
) -> tuple[Tensor | None, Tensor]:
    """Return the gradients for the images (None if they are not needed) and for the ratios."""
    images = arguments[1]
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    results = (
        torch.full_like(images, torch.nan) if need_images else None,
        torch.full((len(images),), torch.nan).to(dtype),
    )
    with (
        mock.patch.object(launch, "_device", return_value=(multiprocessors, 32)),
        mock.patch.object(launch, "offset_dtype", return_value=getattr(tl, offset_dtype)),
    ):
        launch_backward.gradients_into(*results, *arguments, **options)
    return results


def unpack_into(out: Tensor, packed: Tensor, offset_dtype: str) -> Tensor:
    """Unpack events with offsets of the integer dtype named ``offset_dtype``, and return ``out``."""
    with mock.patch.object(launch, "offset_dtype", return_value=getattr(tl, offset_dtype)):
        launch.unpack_into(out, packed)
    return out


def count_to(number: int) -> int:
    """Count to a number in a kernel. Some versions of the interpreter fail at this with some versions of NumPy."""
    counter, limit = torch.zeros(1, dtype=torch.int32), torch.tensor([number], dtype=torch.int32)
    _count[(1,)](counter, limit)
    return int(counter)


@triton.jit
def _count(counter, limit):
    for _ in range(0, tl.load(limit)):
        tl.store(counter, tl.load(counter) + 1)
