"""Plots of the report. The same measurements give byte-identical PNG files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.harness.machine import slug
from i2e_triton.io.atomic import write_whole

#: For each pair (input, format), the points of a line: x -> y.
Lines = dict[tuple[str, str], dict[int, float]]

_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.color": "#dddddd",
    "lines.marker": "o",
    "lines.markersize": 4,
}
#: Okabe-Ito colours, which people with colour blindness can tell apart.
_COLOURS = {"float32": "#0072b2", "bfloat16": "#56b4e9", "uint8": "#009e73", "bool": "#e69f00", "packed": "#d55e00"}
_LEGEND: Any = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False}
_INTEGER = FuncFormatter(lambda value, _: f"{value:,.0f}")


class Plots:
    """The plots of one device.

    ``lines`` and ``bars`` write a PNG file and return the Markdown that shows it, or an empty string if there is
    nothing to plot.

    Args:
        folder: folder for the PNG files. The report links to it as ``plots/``.
        device: name of the device, which is the title of each plot.
    """

    def __init__(self, folder: Path, device: str):
        self._folder = folder
        self._device = device

    def lines(self, name: str, alt: str, lines: Lines, **labels: str) -> str:
        """Plot one line per pair (input, format). ``labels`` are arguments of ``Axes.set``."""
        if not lines:
            return ""
        with self._figure(name, 3.6) as axes:
            for (input, format), points in lines.items():
                style: Any = {"color": _COLOURS[format], "linestyle": "-" if input == "uint8" else "--"}
                axes.plot(list(points), list(points.values()), label=f"{input} → {format}", **style)
            ticks = sorted({x for points in lines.values() for x in points})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, list(map(str, ticks)))
            axes.yaxis.set_major_formatter(_INTEGER)
            axes.set(ylim=(0, None), **labels)
            axes.legend(**_LEGEND)
        return self._markdown(name, alt)

    def bars(self, name: str, alt: str, groups: dict[str, dict[str, float]], xlabel: str, *, log: bool = False) -> str:
        """Plot groups of horizontal bars.

        Args:
            name: part of the file name.
            alt: alternative text of the image.
            groups: label of a group -> name of a bar -> its length. If the only bar name is "", there is no legend.
            xlabel: label of the x axis.
            log: use a logarithmic x axis.
        """
        names = list(dict.fromkeys(bar for bars in groups.values() for bar in bars))
        all_lengths = [length for bars in groups.values() for length in bars.values()]
        if not all_lengths:
            return ""
        thickness = 0.8 / len(names)
        with self._figure(name, 0.9 + 0.25 * len(names) * len(groups)) as axes:
            for index, (bar, colour) in enumerate(zip(names, _COLOURS.values())):
                lengths = [bars.get(bar, 0.0) for bars in groups.values()]
                positions = [group + (index - (len(names) - 1) / 2) * thickness for group in range(len(groups))]
                drawn = axes.barh(positions, lengths, thickness, color=colour, label=bar)
                axes.bar_label(drawn, [f"{length:.3g}" if length else "" for length in lengths], padding=3)
            axes.set_yticks(range(len(groups)), list(groups))
            axes.set_xlabel(xlabel)
            if log:
                axes.set(xscale="log", xlim=(min(1.0, *all_lengths), None))
            axes.xaxis.set_major_formatter(_INTEGER)
            axes.invert_yaxis()
            axes.grid(axis="y", visible=False)
            if names != [""]:
                axes.legend(**_LEGEND)
        return self._markdown(name, alt)

    @contextmanager
    def _figure(self, name: str, height: float) -> Iterator[Axes]:
        with matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=(7, height), layout="constrained")
            axes = figure.add_subplot(title=self._device)
            yield axes
            with write_whole(self._path(name)) as file:
                figure.savefig(file, format="png", dpi=120, metadata={"Software": None})

    def _path(self, name: str) -> Path:
        return self._folder / f"{slug(self._device)}-{name}.png"

    def _markdown(self, name: str, alt: str) -> str:
        return f"\n\n![{alt}](plots/{self._path(name).name})"
