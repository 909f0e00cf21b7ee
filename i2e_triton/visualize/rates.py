"""Plot the event rate of each timestep. Needs Matplotlib: ``pip install 'i2e-triton[data]'``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        from matplotlib.ticker import PercentFormatter

    rates = as_batch(events, packed).double().mean((-2, -1))  # [T, B, 2]
    axes = pyplot.subplots(figsize=(6, 3), layout="constrained")[1] if axes is None else axes
    for polarity, (name, offset, color) in enumerate((("ON", -0.2, ON), ("OFF", 0.2, OFF))):
        of_images = rates[..., polarity]
        mean = of_images.mean(1)
        ends = (mean - of_images.amin(1)).numpy(), (of_images.amax(1) - mean).numpy()
        positions = [t + offset for t in range(len(mean))]
        whiskers: dict[str, Any] = {} if rates.shape[1] == 1 else {"yerr": ends, "ecolor": "#404040"}
        axes.bar(positions, mean.numpy(), 0.4, label=name, color=[value / 255 for value in color], **whiskers)
    axes.set(xlabel="timestep", ylabel="event rate", xticks=range(len(rates)), ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2)
    return axes
