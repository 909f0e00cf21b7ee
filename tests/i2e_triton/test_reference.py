"""The reference equals the paper's algorithm written as loops, and the official code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2

from i2e_triton import ORDERS, canonical_shifts, reference
from tests.cases import IMAGE_DTYPES
from tests.samples import PHOTOGRAPHS, assert_same_events, extremes, noise, photograph, resized_photograph

#: Pair [p, q] of each group, a to h, as the two cells (row, column) of a 3x3 kernel that contain -1 and +1.
OFFICIAL_CELLS = (
    ((1, 1), (1, 2)),
    ((1, 1), (0, 1)),
    ((1, 1), (0, 2)),
    ((1, 1), (0, 0)),
    ((2, 2), (1, 0)),
    ((1, 0), (0, 2)),
    ((0, 2), (2, 1)),
    ((2, 1), (0, 0)),
)


def events_by_loops(images: Tensor, ratios: list[float], shifts: list[list[list[int]]]) -> Tensor:
    """Convert one pixel at a time with NumPy scalars of the arithmetic type."""
    scalar = np.float64 if images.dtype == torch.float64 else np.float32
    batch, channels, height, width = images.shape
    pixels = images.to(torch.float64).numpy()
    events = np.zeros((len(shifts[0]), batch, 2, height, width), dtype=bool)
    for b in range(batch):
        value = np.empty((height, width), dtype=scalar)
        for y in range(height):
            for x in range(width):
                levels = [scalar(pixels[b, c, y, x]) for c in range(channels)]
                if images.dtype == torch.uint8:
                    levels = [level * scalar(1 / 255) for level in levels]
                value[y, x] = max(levels)
        if not np.isfinite(pixels[b]).all():
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            theta = (np.max(value) - np.min(value)) * scalar(ratios[b])
        for t, (dy0, dx0, dy1, dx1) in enumerate(shifts[b]):
            for y in range(height):
                for x in range(width):
                    before = value[min(max(y + dy0, 0), height - 1), min(max(x + dx0, 0), width - 1)]
                    after = value[min(max(y + dy1, 0), height - 1), min(max(x + dx1, 0), width - 1)]
                    with np.errstate(over="ignore"):
                        difference = after - before
                    events[t, b, 0, y, x] = difference >= theta and difference > 0
                    events[t, b, 1, y, x] = -difference >= theta and difference < 0
    return torch.from_numpy(events)


def official(images: Tensor, ratio: float) -> Tensor:
    """Convert scaled images ``[B, C, H, W]`` as the official code does, in its default order: ``[8, B, 2, H, W]``."""
    weight = torch.zeros(8, 1, 3, 3)
    for t, group in enumerate((4, 5, 6, 7, 0, 1, 2, 3)):
        start, end = OFFICIAL_CELLS[group]
        weight[t, 0][start] = -1
        weight[t, 0][end] = 1
    value = images.amax(dim=1, keepdim=True)
    difference = F.conv2d(F.pad(value, (1, 1, 1, 1), mode="replicate"), weight)
    theta = ratio * (value.amax(dim=(2, 3), keepdim=True) - value.amin(dim=(2, 3), keepdim=True))
    return torch.stack([difference >= theta, -difference >= theta], dim=2).transpose(0, 1)


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_equals_loops_over_pixels(dtype: torch.dtype, data: st.DataObject) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32), label="seed"))
    batch, channels, height, width = (data.draw(st.integers(1, maximum)) for maximum in (3, 4, 6, 7))
    shape = (batch, channels, height, width)
    sample = noise if dtype == torch.uint8 else data.draw(st.sampled_from((noise, extremes)))
    images = sample(shape, dtype, generator)
    timesteps = data.draw(st.integers(1, 4))
    shifts = torch.randint(-9, 10, (batch, timesteps, 4), dtype=torch.int8, generator=generator)
    ratios = data.draw(st.lists(st.sampled_from((0.0, 0.12, 0.2, 0.25, 0.5, 1.0)), min_size=batch, max_size=batch))
    expected = events_by_loops(images, ratios, shifts.tolist())
    assert_same_events(reference.convert(images, torch.tensor(ratios, dtype=torch.float64), shifts), expected)

    shared = reference.convert(images, ratios[0], shifts[0])  # by all images
    assert_same_events(shared, events_by_loops(images, ratios[:1] * batch, [shifts[0].tolist()] * batch))


def test_row_of_five_pixels_calculated_by_hand() -> None:
    images = torch.tensor([[[[0.0, 0.25, 0.25, 1.0, 0.5]], [[0.0, 0.0, 0.125, 0.0, 0.0]]]])
    # Differences to the right-hand neighbour are 0.25, 0, 0.75, -0.5 and, at the border, 0; theta is 0.5, then 0.25.
    right = torch.tensor([[0, 0, 0, 1]])
    assert reference.convert(images, 0.5, right).int().tolist() == [[[[[0, 0, 1, 0, 0]], [[0, 0, 0, 1, 0]]]]]
    assert reference.convert(images, 0.25, right).int().tolist() == [[[[[1, 0, 1, 0, 0]], [[0, 0, 0, 1, 0]]]]]
    assert reference.convert(images, 0.75001, right).int().sum() == 0


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("ratio", [0.07, 0.12])
def test_equals_the_official_code_on_photographs(name: str, ratio: float) -> None:
    to_float = v2.ToDtype(torch.float32, scale=True)
    for image in (photograph(name), resized_photograph(name, 128)):
        expected = official(to_float(image)[None], ratio)
        assert 0.005 < expected.double().mean() < 0.3
        assert_same_events(reference.convert(image[None], ratio, canonical_shifts()), expected)
        assert_same_events(reference.convert(to_float(image)[None], ratio, canonical_shifts()), expected)


def test_equals_the_official_code_on_normalised_and_half_precision_images() -> None:
    normalise = v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    image = normalise(v2.functional.to_dtype(resized_photograph("coffee", 224), torch.float32, scale=True))[None]
    assert_same_events(reference.convert(image, 0.12, canonical_shifts()), official(image, 0.12))
    for half in (image.half(), image.bfloat16()):
        assert_same_events(reference.convert(half, 0.12, canonical_shifts()), official(half.float(), 0.12))


@pytest.mark.parametrize("order", ORDERS)
def test_order_permutes_the_timesteps_of_the_official_code(order: str) -> None:
    image = resized_photograph("chelsea", 96)[None]
    # Group g is timestep (g + 4) % 8 of the default order.
    timesteps = [(group + 4) % 8 for group in ORDERS[order]]
    expected = official(v2.functional.to_dtype(image, torch.float32, scale=True), 0.12)[timesteps]
    assert_same_events(reference.convert(image, 0.12, canonical_shifts(order)), expected)


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_flat_image_has_no_events_but_in_the_official_code_all(dtype: torch.dtype, generator: torch.Generator) -> None:
    images = noise((3, 3, 1, 1), dtype, generator).expand(3, 3, 5, 6)
    assert reference.convert(images, 0.12, canonical_shifts()).sum() == 0
    assert official(reference.scale(images).float(), 0.12).all()


@pytest.mark.parametrize("dtype", IMAGE_DTYPES[1:], ids=str)
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_image_with_a_non_finite_pixel_has_no_events(
    dtype: torch.dtype, number: float, generator: torch.Generator
) -> None:
    images = noise((3, 3, 8, 9), dtype, generator)
    expected = reference.convert(images, 0.12, canonical_shifts())
    assert expected[:, 1].any()
    expected[:, 1] = False
    for channel in range(3):
        changed = images.clone()
        changed[1, channel, 4, 5] = number
        assert_same_events(reference.convert(changed, 0.12, canonical_shifts()), expected)


def test_scale_equals_torchvision() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    scaled = reference.scale(levels)
    assert torch.equal(scaled, v2.functional.to_dtype(levels, torch.float32, scale=True))
    assert int((scaled != levels.float() / 255).sum()) == 126  # a division gives other bits


def test_one_ratio_and_one_microsaccade_per_image(generator: torch.Generator) -> None:
    images = noise((4, 2, 7, 6), torch.uint8, generator)
    ratios = torch.tensor([0.0, 0.1, 0.3, 0.9])
    shifts = torch.randint(-2, 3, (4, 3, 4), generator=generator)
    together = reference.convert(images, ratios, shifts)
    for b in range(4):
        alone = reference.convert(images[b : b + 1], float(ratios[b]), shifts[b])
        assert_same_events(together[:, b : b + 1], alone)
