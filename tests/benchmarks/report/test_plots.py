"""Tests of the plots of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from benchmarks.report.plots import Plots


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """Return the list of figures that have been saved."""
    saved: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def savefig(figure: matplotlib.figure.Figure, *arguments: Any, **options: Any) -> None:
        saved.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    return saved


def texts(figure: matplotlib.figure.Figure) -> list[str]:
    """Return all texts of a figure: title, labels, ticks, legend and values."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def test_lines_show_the_points_of_each_pair(tmp_path: Path, figures: list[matplotlib.figure.Figure]) -> None:
    lines = {("uint8", "bool"): {1: 10.0, 4: 20.0}, ("float32", "packed"): {1: 5.0, 16: 15.0}}
    markdown = Plots(tmp_path, "GPU 1").lines("speed", "Speed", lines, xlabel="batch", ylabel="images per second")
    assert markdown == "\n\n![Speed](plots/gpu-1-speed.png)"
    assert (tmp_path / "gpu-1-speed.png").read_bytes()[1:4] == b"PNG"
    (axes,) = figures[0].axes
    assert [list(np.asarray(line.get_xdata())) for line in axes.lines] == [[1, 4], [1, 16]]
    assert [list(np.asarray(line.get_ydata())) for line in axes.lines] == [[10, 20], [5, 15]]
    assert {"GPU 1", "uint8 → bool", "float32 → packed", "batch", "images per second", "16"} <= set(texts(figures[0]))


def test_bars_are_labelled_with_their_values(tmp_path: Path, figures: list[matplotlib.figure.Figure]) -> None:
    groups = {"ODG": {"→ float32": 7.7, "→ bool": 14.04}, "emulator": {"→ bool": 100.0}}
    Plots(tmp_path, "CPU").bars("speed-up", "Speed-up", groups, "times as fast", log=True)
    (axes,) = figures[0].axes
    assert [bar.get_width() for bar in axes.findobj(Rectangle) if bar in axes.patches] == [7.7, 0.0, 14.04, 100.0]
    assert {"CPU", "ODG", "emulator", "7.7", "14", "100", "→ float32", "→ bool"} <= set(texts(figures[0]))


def test_nothing_is_plotted_without_rows(tmp_path: Path) -> None:
    plots = Plots(tmp_path, "CPU")
    assert plots.lines("a", "A", {}) == plots.bars("b", "B", {}, "x") == plots.bars("b", "B", {"c": {}}, "x") == ""
    assert list(tmp_path.iterdir()) == []
