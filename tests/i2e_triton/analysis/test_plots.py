"""Plots of event rates: the values that they show, and that they are written as PNG files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from i2e_triton.analysis import Spread, plots
from i2e_triton.analysis.calibration import CurvePoint
from i2e_triton.visualize.drawing import OFF, ON


def only_axes(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def assert_renders(figure: Figure, path: Path) -> None:
    """Check that the PNG is not blank and that its top and bottom rows are white, so no text is cut off there."""
    plots.save(figure, path)
    with PIL.Image.open(path) as image:
        assert image.format == "PNG"
        grey = np.asarray(image.convert("L"))
    assert grey.min() < 128
    assert grey[0].min() == grey[-1].min() == 255


def bars_of(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def color_of(bar: Rectangle) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in to_rgb(bar.get_facecolor()))


def test_timesteps_are_drawn_as_on_and_off_bars(tmp_path: Path) -> None:
    rates = [(Spread(0.08, 0.02), Spread(0.07, 0.03)), (Spread(0.01, 0.01), Spread(0.02, math.nan))]
    figure = plots.draw_timesteps(rates)
    bars = bars_of(only_axes(figure))
    assert [bar.get_height() for bar in bars] == pytest.approx([0.08, 0.01, 0.07, 0.02])
    assert [color_of(bar) for bar in bars] == [ON, ON, OFF, OFF]
    assert_renders(figure, tmp_path / "timesteps.png")


def test_few_classes_are_drawn_as_named_bars(tmp_path: Path) -> None:
    figure = plots.draw_classes([("cat", Spread(0.05, 0.01)), ("$dog$", Spread(0.03, 0.02)), ("cat", Spread(0.04, 0))])
    axes = only_axes(figure)
    assert [bar.get_width() for bar in bars_of(axes)] == pytest.approx([3, 4, 5])
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"\$dog\$", "cat", "cat"]
    assert_renders(figure, tmp_path / "classes.png")


def test_many_classes_are_drawn_as_curve_with_named_ends(tmp_path: Path) -> None:
    means = np.random.default_rng().permutation(np.linspace(0.02, 0.10, 1000))
    figure = plots.draw_classes([(f"class {index}", Spread(float(mean), 0.01)) for index, mean in enumerate(means)])
    axes = only_axes(figure)
    assert axes.lines[0].get_ydata() == pytest.approx(100 * np.sort(means))
    order = np.argsort(means)
    named = [text.get_text().split("\n")[1:] for text in axes.texts]
    assert named == [[f"class {index}" for index in ends] for ends in (order[:-5:-1], order[:4])]
    assert_renders(figure, tmp_path / "classes.png")
    with PIL.Image.open(tmp_path / "classes.png") as image:
        assert max(image.size) < 2000


def test_map_shows_both_polarities(tmp_path: Path) -> None:
    rates = np.random.default_rng().random((2, 5, 7)) / 10
    figure = plots.draw_map(rates)
    images = [image for axes in figure.axes for image in axes.images]
    for image, rate in zip(images, rates, strict=True):
        np.testing.assert_allclose(np.asarray(image.get_array()), 100 * rate)
        assert image.get_clim() == (0, pytest.approx(100 * np.max(rates)))
    assert_renders(figure, tmp_path / "map.png")


def test_map_without_events_renders(tmp_path: Path) -> None:
    assert_renders(plots.draw_map(np.zeros((2, 5, 7))), tmp_path / "map.png")


def test_curve_shows_the_calibrated_ratio(tmp_path: Path) -> None:
    curve = [CurvePoint(ratio, Spread(0.4 * (1 - ratio) ** 3, math.nan)) for ratio in (0, 0.1, 0.5, 1)]
    found = CurvePoint(0.4, Spread(0.0864, 0.01))
    figure = plots.draw_curve(curve, found)
    axes = only_axes(figure)
    assert axes.lines[0].get_xdata() == pytest.approx([0, 0.1, 0.5, 1])
    assert axes.lines[0].get_ydata() == pytest.approx([40, 40 * 0.9**3, 5, 0])
    assert (axes.lines[-1].get_xdata(), axes.lines[-1].get_ydata()) == ([0.4], pytest.approx([8.64]))
    assert axes.texts[0].get_text() == "ratio 0.4: 8.64 %"
    assert axes.get_xlim() == (0, 0.5)
    assert_renders(figure, tmp_path / "curve.png")


def test_training_curves_show_both_splits_over_whole_epochs() -> None:
    history = [{"train_loss": 2.0 - n, "train_top1": 0.1 * n, "val_loss": 1.5, "val_top1": 0.2 * n} for n in range(2)]
    figure = plots.draw_training(history)
    loss, accuracy = figure.axes
    assert [line.get_ydata().tolist() for line in loss.lines] == [[2.0, 1.0], [1.5, 1.5]]  # type: ignore[union-attr]
    assert np.allclose(np.array([line.get_ydata() for line in accuracy.lines]), [[0, 10], [0, 20]])
    assert [line.get_label() for line in accuracy.lines] == ["training", "validation"]
    assert not loss.spines["top"].get_visible()  # the style of the other plots
    assert all(float(tick).is_integer() for tick in loss.get_xticks())


def test_confusion_matrix_names_classes_and_shows_counts(tmp_path: Path) -> None:
    figure = plots.draw_confusion(np.array([[3, 1], [0, 0]]), ["cat $", "dog"])
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "3 of 4 correct"
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"cat \$", "dog"]
    assert [text.get_text() for text in axes.texts] == ["3", "1"]
    plots.save(figure, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").stat().st_size > 1000
    assert not plots.draw_confusion(np.eye(21, dtype=np.int64), [str(n) for n in range(21)]).axes[0].texts
