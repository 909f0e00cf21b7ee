"""Convert small images in every way and compare with the CPU: ``python -m benchmarks.gpu.small_cases DEVICE``.

This is short enough for compute-sanitizer, which makes kernels many times slower.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor

from i2e_triton import convert, random_shifts, unpack
from i2e_triton.augmentation import RandomCropResizeFlip

_SHAPES = ((1, 3, 33, 31), (2, 1, 16, 64), (140, 3, 12, 20), (1, 5, 70, 129))
_DTYPES = (torch.uint8, torch.float32, torch.float16, torch.float64)
_FORMATS: tuple[dict[str, Any], ...] = ({"dtype": torch.float32}, {"dtype": torch.bool}, {"packed": True})


def main(device: str) -> None:
    """Convert all cases on a device.

    Raises:
        AssertionError: if an event differs.
    """
    for images, options in cases():
        expected = convert(images, 0.12, **options)
        on_device: dict[str, Any] = {
            name: value.to(device) if isinstance(value, Tensor) else value for name, value in options.items()
        }
        actual = convert(images.to(device), 0.12, **on_device)
        assert torch.equal(actual.cpu(), expected), (images.shape, images.dtype, options)
        if options.get("packed"):
            assert torch.equal(unpack(actual).cpu(), unpack(expected))


def cases() -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Yield images and options of ``convert``, on the CPU."""
    augment = RandomCropResizeFlip(24, crop=12, padding=2)
    for shape, dtype, format in product(_SHAPES, _DTYPES, _FORMATS):
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        images = images if dtype == torch.uint8 else (images / 255).to(dtype)
        yield images, format
        yield images, {**format, "shifts": random_shifts(len(images))}
        yield images, {**format, **augment(images)}


if __name__ == "__main__":
    main(sys.argv[1])
