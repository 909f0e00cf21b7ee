"""Run the kernels in Triton's interpreter on the CPU. This needs TRITON_INTERPRET=1 before triton is imported."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
import triton
import triton.language as tl
from torch import Tensor

from i2e_triton import canonical_shifts
from i2e_triton.kernels import launch


def convert_into(
    out: Tensor,
    images: Tensor,
    shifts: Tensor,
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
    allocated: list[tuple[Tensor, int]] = []

    def new_plane(*arguments: Any) -> tuple[Tensor, int]:
        allocated.append(original(*arguments))
        allocated[-1][0].fill_(torch.nan)
        return allocated[-1]

    original, out = launch.new_plane, torch.empty(8, len(images), 2, *size)
    with mock.patch.object(launch, "new_plane", new_plane):
        convert_into(out, images, canonical_shifts(), None, 0.1, multiprocessors, packed=False, crop=crop, flip=flip)
    plane, stride_y = allocated[0]
    halo = plane.storage_offset() - stride_y - 1
    return plane.as_strided((len(images), size[0] + 2, size[1] + 2), (plane.stride(0), stride_y, 1), halo).clone()


def unpack_into(out: Tensor, packed: Tensor, offset_dtype: str) -> Tensor:
    """Unpack events with offsets of the integer dtype named ``offset_dtype``, and return ``out``."""
    with mock.patch.object(launch, "_offset_dtype", return_value=getattr(tl, offset_dtype)):
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
