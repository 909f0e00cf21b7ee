"""A confusion matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from i2e_triton.io.atomic import write_whole

#: Up to so many classes, cells show their numbers, and rows and columns the names of their classes.
NUMBERED = 20
NAMED = 120


def plot_confusion(confusion: Tensor, path: Path, classes: Sequence[str] | None = None) -> None:
    """Draw a confusion matrix as a PNG; see :func:`draw_confusion`.

    Raises:
        ValueError: if the matrix is not square, or the names are of another number.
        OSError: if the file cannot be written.
    """
    figure = draw_confusion(confusion, classes)
    with write_whole(path) as file:
        figure.savefig(file, format="png", dpi=120)


def draw_confusion(confusion: Tensor, classes: Sequence[str] | None = None) -> Figure:
    """Draw a confusion matrix.

    A row's colours are shares of its class, so that classes of any size compare; the scale is that of square roots, on
    which rare confusions show.

    Args:
        confusion: counts ``[classes, classes]`` on the CPU, rows are the true classes.
        classes: their names; numbers where None.

    Raises:
        ValueError: if the matrix is not square, or the names are of another number.
    """
    count = confusion.shape[0]
    names = [str(index) for index in range(count)] if classes is None else list(classes)
    if confusion.shape != (count, count) or len(names) != count:
        raise ValueError(
            f"a confusion matrix is [classes, classes], got {list(confusion.shape)} for {len(names)} names"
        )
    side = min(max(4.5, 0.6 * count), 14.0)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.add_subplot()
    shares = confusion.double() / confusion.sum(1, keepdim=True).clamp(min=1)
    image = axes.imshow(shares.numpy(), cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the true class", fraction=0.046)
    axes.set(xlabel="predicted class", ylabel="true class")
    right, images = int(confusion.diagonal().sum()), int(confusion.sum())
    axes.set_title(f"{right:,} of {images:,} right")
    if count <= NAMED:
        size = max(4.0, min(10.0, 500 / count))
        axes.set_xticks(range(count), names, rotation=90, fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    if count <= NUMBERED:
        _write_numbers(axes, confusion, shares)
    return figure


def _write_numbers(axes: Axes, confusion: Tensor, shares: Tensor) -> None:
    for row, column in confusion.nonzero().tolist():
        colour = "white" if float(shares[row, column]) > 0.25 else "black"  # on dark blue, or light
        number = int(confusion[row, column])
        axes.text(column, row, f"{number:,}", color=colour, ha="center", va="center", fontsize=8)
