"""The official formulation equals the reference implementation if theta is positive. If theta is 0, all pixels fire."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.baselines import official
from i2e_triton import Surrogate, canonical_shifts, reference
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph


def expected(images: Tensor, ratio: float) -> Tensor:
    return reference.convert(images, ratio, canonical_shifts()).to(torch.float32)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (3, 2, 5, 7), (4, 3, 32, 41)])
def test_events_equal_the_reference(dtype: torch.dtype, shape: tuple[int, ...], generator: torch.Generator) -> None:
    images = noise(shape, dtype, generator)
    images[..., 0, 0] = 0
    images[..., 0, 1] = 1  # so that no image is flat
    for ratio in (0.07, 0.12, float(torch.rand(1, generator=generator)) + 0.01):
        events = official.convert(images, official.motion_weight(), ratio)
        assert_same_events(events, expected(images, ratio))


def test_ties_between_grey_levels_equal_the_reference(generator: torch.Generator) -> None:
    """Many differences equal theta, so that events depend on the last bit of the scaled grey levels."""
    images = noise((1, 1, 200, 200), torch.uint8, generator)
    images[..., 0, :2] = torch.tensor([0, 255], dtype=torch.uint8)
    for level in range(1, 52):
        ratio = 5 * level / 255
        events = official.convert(images, official.motion_weight(), ratio)
        assert_same_events(events, expected(images, ratio))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_events_of_photographs_equal_the_reference(name: str) -> None:
    images = photograph(name)[None]
    events = official.convert(images, official.motion_weight())
    assert 0.01 < float(events.mean()) < 0.2
    assert_same_events(events, expected(images, 0.12))


def test_gradients_equal_those_of_the_reference(generator: torch.Generator) -> None:
    images = noise((2, 3, 6, 7), torch.float32, generator).requires_grad_()
    surrogate, gradient = Surrogate("atan", 20), torch.rand(8, 2, 2, 6, 7, generator=generator)
    actual, expected = (
        torch.autograd.grad(events, images, gradient)[0]
        for events in (
            official.convert(images, official.motion_weight(), surrogate=surrogate),
            reference.convert(images, 0.12, canonical_shifts(), surrogate=surrogate),
        )
    )
    torch.testing.assert_close(actual, expected)


def test_flat_image_fires_everywhere() -> None:
    events = official.convert(torch.full((2, 3, 6, 5), 77, dtype=torch.uint8), official.motion_weight())
    assert events.shape == (8, 2, 2, 6, 5)
    assert bool((events == 1).all())
