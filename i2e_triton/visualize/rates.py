"""Plot the event rate of each timestep. Needs Matplotlib: ``pip install 'i2e-triton[data]'``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from i2e_triton.install_hints import needs_extra
from i2e_triton.visualize.drawing import OFF, ON
from i2e_triton.visualize.grid import as_batch

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_rates(events: Tensor, axes: Axes | None = None, *, packed: bool | None = None) -> Axes:
    """Plot the ON and OFF event rates of each timestep as bars: the share of pixels that have an event.

    For a batch, a bar is the mean over the images, and a line shows the range from the lowest to the highest image.

    Args:
        events: dense ``[T, 2, H, W]`` or ``[T, B, 2, H, W]``, or packed ``[2, H, W]`` or ``[B, 2, H, W]``; any device.
        axes: Matplotlib axes to draw on. Default: None, new ones of a new figure.
        packed: whether uint8 events with 4 dimensions are packed. Default: None, they are if a value is above 1.

    Returns:
        The axes. ``axes.figure.savefig("rates.png")`` saves the figure.

    Raises:
        ModuleNotFoundError: if Matplotlib is not installed.
        ValueError: if the shape is not one of these.
    """
    with needs_extra("plot_rates", "data"):
        from matplotlib import pyplot

    rates = as_batch(events, packed).double().mean((-2, -1))  # [T, B, 2]
    axes = pyplot.subplots(figsize=(6, 3), layout="constrained")[1] if axes is None else axes
    axes.spines[["top", "right"]].set_visible(False)
    mean = rates.mean(1)
    errors = torch.stack([mean - rates.amin(1), rates.amax(1) - mean], dim=-1)  # [T, 2, 2]
    draw_rate_bars(axes, mean.numpy(), errors.numpy() if rates.shape[1] > 1 else None)
    return axes


def draw_rate_bars(axes: Axes, means: npt.NDArray[np.float64], errors: npt.NDArray[np.float64] | None) -> None:
    """Draw the ON and OFF event rates ``[T, 2]`` as bars. ``errors`` ``[T, 2, 2]`` reach below and above them."""
    from matplotlib.ticker import PercentFormatter

    steps = np.arange(len(means))
    for polarity, (name, offset, color) in enumerate((("ON", -0.2, ON), ("OFF", 0.2, OFF))):
        whiskers: dict[str, Any] = {} if errors is None else {"yerr": errors[:, polarity].T, "ecolor": "#404040"}
        hex_color = "#" + bytes(color).hex()
        axes.bar(steps + offset, means[:, polarity], 0.38, label=name, color=hex_color, capsize=2, **whiskers)
    axes.set(xlabel="timestep", ylabel="event rate", xticks=steps, ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)  # above the bars
