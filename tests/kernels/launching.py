"""Call the launchers: in the process of Triton's interpreter, for compiled code on the CPU, or on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
import triton
import triton.language as tl
from torch import Tensor

from i2e_triton import canonical_shifts
from i2e_triton.kernels import launch, launch_backward

#: The functions of the launchers, and how many of their first arguments receive results.
FUNCTIONS: dict[str, tuple[Callable[..., None], int]] = {
    "convert": (launch.convert_into, 1),
    "unpack": (launch.unpack_into, 1),
    "gradients": (launch_backward.gradients_into, 2),
}


def call(
    name: str, given: tuple[Any, ...], options: dict[str, Any], multiprocessors: int, offset_dtype: str | None
) -> tuple[Any, ...]:
    """Call one of :data:`FUNCTIONS` as on a device with that many multiprocessors, and return the results.

    With ``offset_dtype``, the kernels compute offsets in this dtype instead of the one that the launcher chooses.
    """
    function, results = FUNCTIONS[name]
    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(launch, "_device", return_value=(multiprocessors, 32)))
        if offset_dtype is not None:
            launch.forget_plans()
            patches.callback(launch.forget_plans)
            dtype = getattr(tl, offset_dtype)
            patches.enter_context(mock.patch.object(launch, "offset_dtype", return_value=dtype))
        function(*given, **options)
    return given[:results]


def augmented_planes(
    images: Tensor, crop: Tensor | None, flip: Tensor | None, size: tuple[int, int], multiprocessors: int
) -> Tensor:
    """Return the planes ``[B, H + 2, W + 2]`` that the first phase writes in the interpreter, halos included."""
    allocated: list[Tensor] = []

    def poisoned(size: int, **options: Any) -> Tensor:
        allocated.append(torch.full((size,), 255, **options))
        return allocated[-1]

    out = torch.empty(8, len(images), 2, *size)
    options = {"packed": False, "crop": crop, "flip": flip}
    with mock.patch.object(torch, "empty", poisoned):
        call("convert", (out, images, canonical_shifts(), None, 0.1), options, multiprocessors, None)
    dtype = torch.float64 if images.dtype == torch.float64 else torch.float32
    origin, stride_y, elements = launch.plane_layout(*size)
    shape, strides = (len(images), size[0] + 2, size[1] + 2), (elements, stride_y, 1)
    return allocated[0].view(dtype).as_strided(shape, strides, origin - stride_y - 1).clone()


def count_to(number: int) -> int:
    """Count to a number in a kernel. Some versions of the interpreter fail at this with some versions of NumPy."""
    counter, limit = torch.zeros(1, dtype=torch.int32), torch.tensor([number], dtype=torch.int32)
    _count[(1,)](counter, limit)
    return int(counter)


@triton.jit
def _count(counter, limit):
    for _ in range(0, tl.load(limit)):
        tl.store(counter, tl.load(counter) + 1)
