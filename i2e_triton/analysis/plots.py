"""Plots of event rates, training curves and confusion matrices: ``pip install 'i2e-triton[data]'``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from i2e_triton.analysis import Spread
from i2e_triton.analysis.calibration import CurvePoint
from i2e_triton.io.atomic import write_whole
from i2e_triton.visualize.drawing import BACKGROUND, OFF, ON
from i2e_triton.visualize.rates import draw_rate_bars

#: Matplotlib settings of all plots in this module.
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
}
_DARK = "#404040"
_LIGHT = "#a0a0a0"
_MAX_BARS = 50  #: more classes than this are drawn as a curve
_NAMED_CLASSES = 4  #: number of classes that are named at each end of the curve
_MAX_CONFUSION_NAMES, _MAX_CONFUSION_NUMBERS = 120, 20  #: classes of a confusion matrix with names, with numbers
_DPI = 150


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure and its axes in the style of this module. Width and height are in inches."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file.

    Raises:
        OSError: if the file cannot be written.
    """
    with write_whole(path) as file:
        figure.savefig(file, format="png", dpi=_DPI)


def draw_timesteps(rates: Sequence[tuple[Spread, Spread]]) -> Figure:
    """Draw the ON and OFF event rates of each timestep as bars, with the standard deviation over images."""
    figure, axes = new_figure(0.7 * len(rates) + 1.6, 3.6)
    means = np.array([[spread.mean for spread in pair] for pair in rates])
    stds = np.nan_to_num([[spread.std for spread in pair] for pair in rates])
    draw_rate_bars(axes, means, np.stack([stds, stds], axis=-1))
    axes.set_title("mean and standard deviation over images", loc="left")
    axes.grid(axis="x", visible=False)
    return figure


def draw_classes(rates: Sequence[tuple[str, Spread]]) -> Figure:
    """Draw the event rates of classes, sorted: as bars for up to 50 classes, as a curve for more."""
    ordered = sorted(rates, key=lambda item: item[1].mean)
    means = np.array([100 * spread.mean for _, spread in ordered])
    stds = np.nan_to_num([100 * spread.std for _, spread in ordered])
    names = [_shortened(name) for name, _ in ordered]
    draw = _draw_class_bars if len(ordered) <= _MAX_BARS else _draw_class_curve
    return draw(names, means, stds)


def draw_map(rates: npt.NDArray[np.float64]) -> Figure:
    """Draw mean event rates ``[2, H, W]`` as one image for ON and one for OFF, with the same colour scale."""
    highest = max(100 * float(np.max(rates)), 1e-9)
    with matplotlib.rc_context({**_STYLE, "axes.grid": False}):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        for axes, rate, name, color in zip(figure.subplots(1, 2), rates, ("ON", "OFF"), (ON, OFF)):
            colors = LinearSegmentedColormap.from_list(name, [_hex(BACKGROUND), _hex(color), "black"])
            image = axes.imshow(100 * rate, cmap=colors, vmin=0, vmax=highest, interpolation="nearest")
            axes.set_title(name, loc="left")
            axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
            figure.colorbar(image, ax=axes, label="event rate, %", shrink=0.85)
    return figure


def draw_curve(curve: Sequence[CurvePoint], found: CurvePoint) -> Figure:
    """Draw the mean event rate against the ratio, its standard deviation over images, and the calibrated ratio."""
    ratios = [point.ratio for point in curve]
    means = np.array([100 * point.event_rate.mean for point in curve])
    stds = np.nan_to_num([100 * point.event_rate.std for point in curve])
    figure, axes = new_figure(6.0, 3.8)
    axes.plot(ratios, means, color=_DARK, marker=".", label="mean")
    axes.fill_between(ratios, np.maximum(means - stds, 0), means + stds, color=_DARK, alpha=0.15, linewidth=0)
    rate = 100 * found.event_rate.mean
    axes.plot([found.ratio, found.ratio, 0], [0, rate, rate], color=_hex(ON), linestyle="--", linewidth=1)
    axes.plot([found.ratio], [rate], color=_hex(ON), marker="o")
    axes.annotate(
        f"ratio {found.ratio:g}: {rate:.3g} %",
        (found.ratio, rate),
        xytext=(10, 10),
        textcoords="offset points",
        color=_hex(ON),
    )
    # Larger ratios are not shown, because the rate only approaches 0 there.
    axes.set(xlabel="ratio", ylabel="event rate, %", xlim=(0, max(0.3, 1.25 * found.ratio)), ylim=(0, None))
    axes.set_title("mean and standard deviation over images", loc="left")
    return figure


def draw_training(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss and top-1 accuracy of training and validation over the epochs.

    Args:
        history: ``train_loss``, ``train_top1``, ``val_loss`` and ``val_top1`` of each epoch; accuracies from 0 to 1.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        for axes, name, title, scale in zip(
            figure.subplots(1, 2), ("loss", "top1"), ("loss", "top-1 accuracy, %"), (1, 100)
        ):
            for split, label, color in (("train", "training", _DARK), ("val", "validation", _hex(ON))):
                axes.plot([scale * row[f"{split}_{name}"] for row in history], color=color, marker=".", label=label)
            axes.set_title(title, loc="left")
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            axes.legend(frameon=False)
    return figure


def draw_confusion(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """Draw a confusion matrix ``[classes, classes]`` of counts; rows are the true classes.

    The colour is the share of the row, on a square-root scale that shows rare confusions.
    """
    count = len(classes)
    side = min(max(4.5, 0.6 * count), 14.0)
    figure, axes = new_figure(side + 1.2, side)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Greys", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(f"{int(confusion.trace()):,} of {int(confusion.sum()):,} correct", loc="left")
    axes.grid(visible=False)
    if count <= _MAX_CONFUSION_NAMES:
        size, names = max(4.0, min(10.0, 500 / count)), [_shortened(name) for name in classes]
        axes.set_xticks(range(count), names, rotation=90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    if count <= _MAX_CONFUSION_NUMBERS:
        for row, column in np.argwhere(confusion).tolist():
            color = "white" if shares[row, column] > 0.25 else "black"  # on a dark or light cell
            text = f"{int(confusion[row, column]):,}"
            axes.text(column, row, text, color=color, ha="center", va="center", fontsize=8)
    return figure


def _draw_class_bars(names: list[str], means: npt.NDArray[np.float64], stds: npt.NDArray[np.float64]) -> Figure:
    figure, axes = new_figure(6.4, 0.9 + 0.24 * len(names))
    axes.barh(range(len(names)), means, xerr=stds, color=_LIGHT, ecolor=_DARK, capsize=2)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="event rate, % (mean and standard deviation over images)", xlim=(0, None))
    axes.margins(y=0.01)
    axes.grid(axis="y", visible=False)
    return figure


def _draw_class_curve(names: list[str], means: npt.NDArray[np.float64], stds: npt.NDArray[np.float64]) -> Figure:
    figure, axes = new_figure(7.2, 4.4)
    ranks = np.arange(len(names))
    axes.plot(ranks, means, color=_DARK)
    axes.fill_between(ranks, np.maximum(means - stds, 0), means + stds, color=_DARK, alpha=0.15, linewidth=0)
    axes.set(xlabel="classes, sorted by event rate", ylabel="event rate, %", xlim=(0, len(names) - 1), ylim=(0, None))
    axes.set_title("mean and standard deviation over images", loc="left")
    lowest, highest = "\n".join(names[:_NAMED_CLASSES]), "\n".join(names[: -_NAMED_CLASSES - 1 : -1])
    axes.text(0.02, 0.96, f"highest:\n{highest}", transform=axes.transAxes, va="top")
    axes.text(0.98, 0.04, f"lowest:\n{lowest}", transform=axes.transAxes, ha="right")
    return figure


def _hex(color: tuple[int, int, int]) -> str:
    return "#" + bytes(color).hex()


def _shortened(name: str, length: int = 32) -> str:
    # Matplotlib reads text between dollar signs as a formula.
    return (name if len(name) <= length else name[: length - 1] + "…").replace("$", r"\$")
