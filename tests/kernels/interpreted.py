"""The kernels, run by Triton's interpreter on the CPU. Import only where TRITON_INTERPRET=1 was set before triton."""

from __future__ import annotations

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
    packed: bool,
    multiprocessors: int,
) -> Tensor:
    """Convert as a device with so many multiprocessors would, and return ``out``."""
    with mock.patch.object(launch, "_device", return_value=(multiprocessors, 32)):
        launch.convert_into(out, images, shifts, ratios, ratio, packed=packed)
    return out


def convert_augmented_into(
    out: Tensor,
    images: Tensor,
    crop: Tensor | None,
    flip: Tensor | None,
    shifts: Tensor,
    ratios: Tensor | None,
    ratio: float,
    nearest: bool,
    packed: bool,
    multiprocessors: int,
) -> Tensor:
    """Convert augmented images as a device with so many multiprocessors would, and return ``out``."""
    with mock.patch.object(launch, "_device", return_value=(multiprocessors, 32)):
        launch.convert_augmented_into(out, images, crop, flip, shifts, ratios, ratio, nearest=nearest, packed=packed)
    return out


def augmented_planes(
    images: Tensor, crop: Tensor | None, flip: Tensor | None, size: tuple[int, int], multiprocessors: int
) -> Tensor:
    """The planes ``[B, H + 2, W + 2]`` that the second phase reads, with their frames."""
    made: list[tuple[Tensor, int]] = []

    def new_plane(images: Tensor) -> tuple[Tensor, int]:
        made.append(original(images))
        made[-1][0].fill_(torch.nan)
        return made[-1]

    original, out = launch.new_plane, torch.empty(8, len(images), 2, *size)
    with mock.patch.object(launch, "new_plane", new_plane):
        convert_augmented_into(out, images, crop, flip, canonical_shifts(), None, 0.1, False, False, multiprocessors)
    plane, pitch = made[0]
    frame = plane.storage_offset() - pitch - 1
    return plane.as_strided((len(images), size[0] + 2, size[1] + 2), (plane.stride(0), pitch, 1), frame).clone()


def unpack_into(out: Tensor, packed: Tensor, index: str) -> Tensor:
    """Spread packed events with offsets of an integer type, and return ``out``."""
    with mock.patch.object(launch, "_index", return_value=getattr(tl, index)):
        launch.unpack_into(out, packed)
    return out


def count_to(number: int) -> int:
    """Count in a loop of a kernel: some versions of the interpreter cannot, with some of NumPy."""
    counter, limit = torch.zeros(1, dtype=torch.int32), torch.tensor([number], dtype=torch.int32)
    _count[(1,)](counter, limit)
    return int(counter)


@triton.jit
def _count(counter, limit):
    for _ in range(0, tl.load(limit)):
        tl.store(counter, tl.load(counter) + 1)
