"""Images for tests, and helpers that compare events and detect elements that a conversion did not write."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import PIL.Image
import skimage
import torch
from torch import Tensor

from i2e_triton import canonical_shifts, reference
from i2e_triton.shifts import DEFAULT_ORDER, Order, candidate_shifts

#: Names of photographs in scikit-image.
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")

_EXTREMES = {
    torch.float16: (0.0, 6e-8, -6e-8, 65504.0, -65504.0),
    # The smallest normal numbers: Triton's interpreter converts subnormal bfloat16 numbers wrongly.
    torch.bfloat16: (0.0, 1.18e-38, -1.18e-38, 3e38, -3e38),
    torch.float32: (0.0, 1e-45, -1e-45, 3e38, -3e38),
    torch.float64: (0.0, 5e-324, -5e-324, 1e308, -1e308),
}


def photograph_path(name: str) -> Path:
    """Return the path of a photograph in scikit-image."""
    (path,) = Path(skimage.__file__).with_name("data").glob(f"{name}.*")
    return path


@cache
def photograph(name: str) -> Tensor:
    """Return one of :data:`PHOTOGRAPHS`, uint8 ``[3, H, W]``."""
    with PIL.Image.open(photograph_path(name)) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def noise(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Return random images: uint8 levels, or multiples of 1/128 in [-0.5, 1.5).

    The multiples make many pixel differences equal to each other, so that exact ties occur.
    """
    if dtype == torch.uint8:
        return torch.randint(0, 256, shape, dtype=dtype, generator=generator)
    return (torch.randint(-64, 192, shape, generator=generator).double() / 128).to(dtype)


def extremes(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Return images of 0 and the smallest and largest finite numbers of a floating-point dtype."""
    values = torch.tensor(_EXTREMES[dtype], dtype=dtype)
    return values[torch.randint(len(values), shape, generator=generator)]


def poison_for(expected: Tensor) -> Tensor:
    """Return a contiguous tensor that differs from ``expected`` in every element, to detect elements not written."""
    poison = torch.full_like(expected, torch.nan) if expected.is_floating_point() else expected.bitwise_not()
    return poison.contiguous()


def assert_same_events(actual: Tensor, expected: Tensor) -> None:
    """Check that dtype, shape and all elements are equal. The error says how many elements differ, and where."""
    assert actual.dtype == expected.dtype, f"{actual.dtype} instead of {expected.dtype}"
    assert actual.shape == expected.shape, f"{list(actual.shape)} instead of {list(expected.shape)}"
    different = actual.cpu() != expected.cpu()
    if bool(different.any()):
        first = tuple(different.nonzero()[0].tolist())
        raise AssertionError(
            f"{int(different.sum())} of {different.numel()} elements differ, first {list(first)}: "
            f"{actual[first].item()} instead of {expected[first].item()}"
        )


def resized_photograph(name: str, size: int) -> Tensor:
    """Return one of :data:`PHOTOGRAPHS` resized bicubically, uint8 ``[3, size, size]``."""
    with PIL.Image.open(photograph_path(name)) as image:
        small = image.convert("RGB").resize((size, size), PIL.Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()


def canonical_events(images: Tensor, ratio: float = 0.12, order: Order = DEFAULT_ORDER) -> Tensor:
    """Return the float32 events of images ``[B, C, H, W]`` for canonical shifts, by the reference implementation."""
    return reference.convert(images, ratio, canonical_shifts(order)).float()


def events_of_each_candidate(images: Tensor, order: Order = DEFAULT_ORDER) -> list[list[Tensor]]:
    """Return the events of every motion vector that random selection can draw, by the reference implementation.

    ``result[t][i]`` is float32 ``[B, 2, H, W]``: the events of the ``i``-th vector that timestep ``t`` can draw.
    """
    vectors = [sorted(set(map(tuple, group))) for group in candidate_shifts(order).transpose(0, 1).tolist()]
    return [list(reference.convert(images, 0.12, torch.tensor(group)).float()) for group in vectors]
