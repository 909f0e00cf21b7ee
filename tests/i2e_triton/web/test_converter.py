"""The page's conversion equals ``i2e_triton.convert`` bit for bit."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Page
from torch import Tensor

from i2e_triton import ORDERS, canonical_shifts, convert, event_rate, random_shifts
from tests.i2e_triton.web.conftest import loaded
from tests.samples import PHOTOGRAPHS, assert_same_events, noise, photograph, resized_photograph


@pytest.fixture(scope="module")
def page(tab: Page) -> Iterator[Page]:
    """Load the page once for all tests of this file, which only call its functions."""
    with loaded(tab) as page:
        yield page


CONVERT = """([data, height, width, shifts, ratio]) => {
    const rgba = Uint8ClampedArray.from(atob(data), (letter) => letter.charCodeAt(0));
    const { on, off } = newConverter().convert(rgba, height, width, shifts, ratio);
    return [on, off].map((bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));
}"""


def as_rgba(image: Tensor) -> str:
    """Return ``[3, H, W]`` uint8 as RGBA bytes in base64."""
    opaque = torch.full_like(image[:1], 255)
    return base64.b64encode(torch.cat([image, opaque]).permute(1, 2, 0).contiguous().numpy().tobytes()).decode()


def packed_in_page(page: Page, image: Tensor, shifts: Tensor, ratio: float) -> Tensor:
    _, height, width = image.shape
    packed = page.evaluate(CONVERT, [as_rgba(image), height, width, shifts.tolist(), ratio])
    planes = [np.frombuffer(base64.b64decode(plane), np.uint8).reshape(height, width) for plane in packed]
    return torch.from_numpy(np.stack(planes))


def check(page: Page, image: Tensor, shifts: Tensor, ratio: float) -> None:
    expected = convert(image, ratio, shifts=shifts, packed=True)
    assert_same_events(packed_in_page(page, image, shifts, ratio), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (2, 3), (31, 18), (64, 48)], ids=str)
def test_random_images(page: Page, size: tuple[int, int], generator: torch.Generator) -> None:
    numbers = random.Random(generator.initial_seed())
    for ratio in (0.0, 1.0, 0.12, 0.07, numbers.random(), numbers.random() / 10):
        image = noise((3, *size), torch.uint8, generator)
        check(page, image, random_shifts(generator=generator, timesteps=numbers.randint(1, 8)), ratio)
        few_levels = image // 64 * 50 + 3
        check(page, few_levels, random_shifts(generator=generator), ratio)


@pytest.mark.parametrize("order", ORDERS)
def test_orders(page: Page, order: str, generator: torch.Generator) -> None:
    image = noise((3, 20, 30), torch.uint8, generator)
    for timesteps in range(1, 9):
        check(page, image, canonical_shifts(order, timesteps), 0.3)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs(page: Page, name: str) -> None:
    for size, ratio in ((224, 0.12), (128, 0.07), (32, 0.1)):
        check(page, resized_photograph(name, size), canonical_shifts(), ratio)


def test_photograph_in_full_size(page: Page, generator: torch.Generator) -> None:
    check(page, photograph("coffee"), random_shifts(generator=generator), 0.12)


def test_flat_image_has_no_events(page: Page) -> None:
    image = torch.full((3, 5, 4), 77, dtype=torch.uint8)
    assert not packed_in_page(page, image, canonical_shifts(), 0.0).any()


def test_ties_of_all_pairs_of_levels(page: Page, generator: torch.Generator) -> None:
    """With ratio ``k / range`` the threshold is k levels up to rounding, so rounding decides which pairs are events."""
    level = torch.arange(256, dtype=torch.uint8)
    pairs = torch.stack(torch.meshgrid(level, level, indexing="ij"), dim=2).reshape(256, 512)
    right = torch.tensor([[0, 0, 0, 1]])
    numbers = random.Random(generator.initial_seed())
    tied = 0
    for _ in range(12):
        low, high = sorted(numbers.sample(range(256), 2))
        k = numbers.randint(1, high - low)
        image = pairs.clamp(low, high).expand(3, 256, 512)
        events = convert(image, k / (high - low), shifts=right, packed=True)
        distance = (image[0, :, 1::2].int() - image[0, :, ::2].int()).abs()
        tied += len(events.any(0)[:, ::2][distance == k].unique()) == 2
        check(page, image, right, k / (high - low))
    assert tied > 0, "no ratio is a tie, so the test is too weak"


def test_curve_equals_the_event_rate_at_each_ratio(page: Page, generator: torch.Generator) -> None:
    image = noise((3, 24, 17), torch.uint8, generator) // 4 + 60
    shifts = random_shifts(generator=generator, timesteps=5)
    ratios, curve = page.evaluate(
        """([data, height, width, shifts]) => {
            const rgba = Uint8ClampedArray.from(atob(data), (letter) => letter.charCodeAt(0));
            const converter = newConverter();
            const { value } = converter.convert(rgba, height, width, shifts, 0.1);
            return [CURVE_RATIOS, converter.rateCurve(value, shifts, CURVE_RATIOS)];
        }""",
        [as_rgba(image), 24, 17, shifts.tolist()],
    )
    expected = [float(event_rate(convert(image, ratio, shifts=shifts))) for ratio in ratios]
    assert curve == expected
    assert (ratios[0], ratios[24], ratios[-1]) == (0, 0.12, 1)


def test_motion_vectors_equal_those_of_the_package(page: Page) -> None:
    code = """(order) => [1, 2, 3, 4, 5, 6, 7, 8].map(
        (timesteps) => vectorsOf(order, timesteps, CANONICAL).map(({ shift }) => shift))"""
    for order in ORDERS:
        for timesteps, vectors in enumerate(page.evaluate(code, order), start=1):
            assert vectors == canonical_shifts(order, timesteps).tolist()


def test_random_vectors_are_those_of_each_group(page: Page, generator: torch.Generator) -> None:
    code = """() => Array.from({ length: 300 }, () =>
        vectorsOf("gamma-alpha-beta", 8, drawPairs()).map(({ shift }) => shift))"""
    drawn: list[Any] = page.evaluate(code)
    expected = random_shifts(1000, generator).tolist()
    for t in range(8):
        assert {tuple(row[t]) for row in drawn} == {tuple(row[t]) for row in expected}
