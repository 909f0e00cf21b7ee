"""Omnidirectional Discrete Gradient, compared with a loop over pixels and with examples computed by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from benchmarks.baselines import odg
from tests.samples import noise, resized_photograph

Step = tuple[list[tuple[int, int]], list[tuple[int, int]]]


def slow_odg(image: Tensor) -> list[Step]:
    """Return the events, computed pixel by pixel in integers. The threshold is 0.18 * 255 = 45.9 grey levels."""
    path = [(1, 0), (0, 2), (2, 1), (1, 0), (0, 1), (2, 2), (1, 0), (1, 1), (2, 1)]  # (x, y)
    _, height, width = image.shape
    values = image.amax(0).tolist()

    def canvas(x: int, y: int, position: tuple[int, int]) -> int:
        row, column = y - position[1], x - position[0]
        return values[row][column] if 0 <= row < height and 0 <= column < width else 0

    steps = []
    for previous, current in pairwise(path):
        on, off = [], []
        # The canvas is 2 pixels higher and wider than the image. 2 pixels along each of its sides have no events.
        for y in range(2, height):
            for x in range(2, width):
                difference = canvas(x, y, current) - canvas(x, y, previous)
                if 100 * difference > 18 * 255:
                    on.append((y, x))
                elif -100 * difference > 18 * 255:
                    off.append((y, x))
        steps.append((on, off))
    return steps


def as_lists(events: list[tuple[Tensor, Tensor]]) -> list[Step]:
    return [([(y, x) for y, x in on.tolist()], [(y, x) for y, x in off.tolist()]) for on, off in events]


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 2, 3), (3, 3, 3), (1, 4, 9), (3, 17, 12), (2, 40, 31)])
def test_events_equal_a_loop_over_pixels(shape: tuple[int, ...], generator: torch.Generator) -> None:
    image = noise(shape, torch.uint8, generator)
    events = as_lists(odg.convert(image))
    assert events == slow_odg(image)
    assert len(events) == 8
    if min(shape[1:]) > 10:
        assert all(on and off for on, off in events)


def test_events_of_a_photograph_equal_a_loop_over_pixels() -> None:
    image = resized_photograph("coffee", 64)
    events = as_lists(odg.convert(image))
    assert events == slow_odg(image)
    assert any(on for on, _ in events)


def test_events_of_one_bright_pixel_equal_a_calculation_by_hand() -> None:
    image = torch.zeros(3, 6, 7, dtype=torch.uint8)
    image[1, 2, 3] = 200
    events = as_lists(odg.convert(image))
    path = [(0, 1), (2, 0), (1, 2), (0, 1), (1, 0), (2, 2), (0, 1), (1, 1), (1, 2)]  # (y, x)
    positions = [(2 + y, 3 + x) for y, x in path]  # of the bright pixel on the canvas
    assert events == [([current], [previous]) for previous, current in pairwise(positions)]


@pytest.mark.parametrize(("level", "fires"), [(45, False), (46, True)])
def test_threshold_is_strict_and_absolute(level: int, fires: bool) -> None:
    image = torch.zeros(1, 8, 8, dtype=torch.uint8)
    image[0, 3, 3] = level  # the threshold is 45.9 grey levels, also for a dark image
    assert all(bool(on) is fires and bool(off) is fires for on, off in as_lists(odg.convert(image)))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((254, 254), (254, 254)), ((254, 100), (254, 100)), ((508, 254), (254, 127)), ((300, 900), (85, 254))],
)
def test_large_images_are_scaled_down(
    shape: tuple[int, int], expected: tuple[int, int], generator: torch.Generator
) -> None:
    image = noise((3, *shape), torch.uint8, generator)
    scaled = odg.scaled(image)
    assert scaled.dtype == torch.uint8
    for events, of_scaled in zip(odg.convert(image), odg.convert(scaled)):
        assert all(map(torch.equal, events, of_scaled))
    assert scaled.shape == (3, *expected)
    if shape == expected:
        assert torch.equal(scaled, image)


def test_scaling_by_two_averages_four_pixels(generator: torch.Generator) -> None:
    image = noise((1, 508, 508), torch.uint8, generator)
    mean = image.float().view(1, 254, 2, 254, 2).mean(dim=(2, 4))
    assert float((odg.scaled(image) - mean).abs().max()) <= 0.5
