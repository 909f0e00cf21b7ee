from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton.visualize.drawing import BACKGROUND, OFF, ON, draw_events, draw_image
from tests.samples import noise


def pixels(drawn: object) -> Tensor:
    return torch.from_numpy(np.array(drawn))


def test_events_are_drawn_in_their_colors() -> None:
    events = torch.tensor([[[True, False, False], [False, False, True]], [[False, True, False], [False, False, False]]])
    expected = [[ON, OFF, BACKGROUND], [BACKGROUND, BACKGROUND, ON]]
    assert pixels(draw_events(events)).tolist() == torch.tensor(expected).tolist()


def test_uint8_images_are_drawn_unchanged(generator: torch.Generator) -> None:
    color, grey = noise((3, 4, 5), torch.uint8, generator), noise((1, 4, 5), torch.uint8, generator)
    assert torch.equal(pixels(draw_image(color)), color.permute(1, 2, 0))
    assert torch.equal(pixels(draw_image(grey)), grey[0])


def test_float_images_are_scaled_to_0_255() -> None:
    image = torch.tensor([[[-3.0, -2.0, 2.0], [math.nan, math.inf, -math.inf]]])
    assert pixels(draw_image(image)).tolist() == [[0, 51, 255], [0, 255, 0]]


@pytest.mark.parametrize(("value", "grey"), [(0.0, 0), (7.5, 0), (math.nan, 0), (math.inf, 0)])
def test_constant_float_images_are_black(value: float, grey: int) -> None:
    assert pixels(draw_image(torch.full((1, 2, 2), value))).tolist() == [[grey] * 2] * 2


def test_float_images_of_extreme_range_are_scaled() -> None:
    assert pixels(draw_image(torch.tensor([[[-3e38, 0.0, 3e38]]]))).tolist() == [[0, 128, 255]]


@given(factor=st.integers(2, 9), polarity=st.sampled_from([0, 1]))
def test_thin_line_keeps_its_color_when_reduced(factor: int, polarity: int) -> None:
    events = torch.zeros(2, 3 * factor, 4 * factor, dtype=torch.bool)
    events[polarity, factor + 1] = True
    reduced = pixels(draw_events(events, factor))
    assert reduced.shape == (3, 4, 3)
    color = torch.tensor(ON if polarity == 0 else OFF)
    assert int((reduced[1].int() - color).abs().max()) <= 2 * factor  # the mean of a block is rounded to 1/255
    assert bool((reduced[[0, 2]] == 255).all())


def test_reduced_blocks_have_the_expected_colors() -> None:
    events = torch.zeros(2, 4, 20, dtype=torch.bool)
    events[0, :, 4:8] = True  # all ON
    events[1, :, 8:12] = True  # all OFF
    events[0, :2, 12:16] = True  # half and half
    events[1, 2:, 12:16] = True
    events[0, 1, 17] = True  # one event: a quarter of a thin line
    row = pixels(draw_events(events, 4))[0].tolist()
    assert row[:3] == [list(BACKGROUND), list(ON), list(OFF)]
    mixed = [(a + b) / 2 for a, b in zip(ON, OFF)]
    pale = [0.75 * a + 0.25 * b for a, b in zip(BACKGROUND, ON)]
    assert row[3] == pytest.approx(mixed, abs=2)
    assert row[4] == pytest.approx(pale, abs=2)


def test_incomplete_blocks_at_the_edges_are_kept() -> None:
    events = torch.zeros(2, 5, 7, dtype=torch.bool)
    events[0, 4], events[0, :, 6] = True, True
    reduced = pixels(draw_events(events, 3))
    assert reduced.shape == (2, 3, 3)
    assert reduced[1, 2].tolist() == list(ON)
