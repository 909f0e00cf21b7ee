"""Tests of the plot of event rates."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot

from i2e_triton import convert, pack
from i2e_triton.visualize import plot_rates
from tests.samples import noise

matplotlib.use("Agg")


@pytest.mark.parametrize("packed", [False, True])
def test_bars_are_the_mean_event_rates_of_a_batch(packed: bool, generator: torch.Generator) -> None:
    events = convert(noise((3, 3, 20, 20), torch.uint8, generator), 0.5, dtype=torch.bool)
    axes = plot_rates(pack(events) if packed else events)
    rates = events.double().mean((1, 3, 4))
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers if len(bars) == 8]
    torch.testing.assert_close(torch.tensor(heights, dtype=torch.float64), rates.T)
    ranges = [[path.vertices for path in lines.get_paths()] for lines in axes.collections]  # x and y of both ends
    expected = torch.stack([events.double().mean((3, 4)).amin(1), events.double().mean((3, 4)).amax(1)], dim=-1)
    torch.testing.assert_close(torch.tensor(np.array(ranges))[..., 1], expected.transpose(0, 1))
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["ON", "OFF"]
    pyplot.close("all")


def test_given_axes_are_used(generator: torch.Generator) -> None:
    axes = pyplot.figure().add_subplot()
    assert plot_rates(convert(noise((3, 9, 9), torch.uint8, generator)), axes) is axes
    assert len(axes.patches) == 16
    pyplot.close("all")
