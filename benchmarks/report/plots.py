"""Plots of a report: SVG files that depend on nothing but the rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from benchmarks.report.markdown import significant
from benchmarks.report.rows import Results, Row, rate_share, seconds_an_image, speed_up
from i2e_triton.io.atomic import write_whole

_STYLE: Any = {
    "svg.hashsalt": "i2e-triton",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "lines.marker": "o",
    "lines.markersize": 4,
}
#: A colour for each format of events, told apart by colour-blind readers too.
COLOURS = {"float32": "#0072b2", "bfloat16": "#56b4e9", "uint8": "#009e73", "bool": "#e69f00", "packed": "#d55e00"}
_STAGE_COLOURS = ("#0072b2", "#56b4e9", "#999999", "#009e73", "#d55e00")


@contextmanager
def drawn(path: Path, width: float = 6.4, height: float = 3.6) -> Iterator[Axes]:
    """Axes of a figure that is written to a file."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.add_subplot()
        with write_whole(path) as file:
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


def throughput(results: Results, device: str, mode: str, size: int, path: Path) -> None:
    """Images a second against batch size."""
    with drawn(path) as axes:
        for input, style in (("uint8", "-"), ("float32", "--")):
            for format, colour in COLOURS.items():
                rows = results.select(device, "throughput", mode=mode, size=size, input=input, format=format)
                _line(axes, rows, "batch", lambda row: 1 / seconds_an_image(row), f"{input} → {format}", colour, style)
        axes.set(xlabel=f"images of {size}×{size} in a batch", ylabel="images a second", yscale="log")
        axes.set_xscale("log", base=2)
        _plain_numbers(axes.xaxis)
        _plain_numbers(axes.yaxis)
        axes.set_title(device, loc="left")
        _legend(axes)


def cost_per_pixel(results: Results, device: str, mode: str, path: Path) -> None:
    """Time a pixel against image size."""
    with drawn(path) as axes:
        for input, style in (("uint8", "-"), ("float32", "--")):
            for format, colour in COLOURS.items():
                rows = size_sweep(results, device, mode, input, format)
                _line(axes, rows, "size", nanoseconds_a_pixel, f"{input} → {format}", colour, style)
        axes.set(xlabel="height and width of an image", ylabel="ns a pixel", ylim=(0, None))
        axes.set_xscale("log", base=2)
        _plain_numbers(axes.xaxis)
        axes.set_title(device, loc="left")
        _legend(axes)


def size_sweep(results: Results, device: str, mode: str, input: str, format: str) -> list[Row]:
    """Rows of a conversion of images of several sizes, in batches of about as many pixels as that of the smallest."""
    rows = results.select(device, "throughput", mode=mode, input=input, format=format)
    sizes = sorted({row["case"]["size"] for row in rows})
    if len(sizes) < 2:
        return []
    pixels = max(_pixels(row) for row in rows if row["case"]["size"] == sizes[0])
    return [
        min((row for row in rows if row["case"]["size"] == size), key=lambda row: abs(math.log(_pixels(row) / pixels)))
        for size in sizes
    ]


def _pixels(row: Row) -> int:
    return row["case"]["batch"] * row["case"]["size"] ** 2


def nanoseconds_a_pixel(row: Row) -> float:
    """Time of a row for each pixel."""
    return 1e9 * seconds_an_image(row) / row["case"]["size"] ** 2


def shares(rows: list[tuple[str, Row, Row]], device: str, limit: str, path: Path) -> None:
    """Shares of a limit's rate: a bar for each conversion, named, with its row and the limit's."""
    with drawn(path, height=0.6 + 0.28 * len(rows)) as axes:
        values = [100 * rate_share(row, other) for _, row, other in rows]
        colours = [COLOURS[row["case"]["format"]] for _, row, _ in rows]
        bars = axes.barh([name for name, _, _ in rows], values, color=colours)
        axes.bar_label(bars, fmt="%.0f %%", padding=3)
        axes.set(xlabel=f"share of the rate of {limit}, %", xlim=(0, max(100, *values) * 1.08))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_title(device, loc="left")


def speed_ups(races: dict[str, tuple[Row, list[Row]]], device: str, path: Path) -> None:
    """Speed-ups over other methods: for each, by name, its row and this package's rows in some formats."""
    with drawn(path, width=7.6, height=0.9 + 0.42 * len(races)) as axes:
        seen: set[str] = set()
        times = [1.0]
        for place, (slow, rows) in enumerate(races.values()):
            for turn, fast in enumerate(rows):
                format = fast["case"]["format"]
                times.append(speed_up(slow, fast))
                label = "_" if format in seen else f"this package, → {format}"  # a legend leaves out what begins so
                seen.add(format)
                bar = axes.barh(place + 0.4 * turn - 0.2, times[-1], 0.36, color=COLOURS[format], label=label)
                axes.bar_label(bar, [f"{significant(times[-1])}×"], padding=3)
        axes.set_yticks(range(len(races)), races)
        axes.set(xscale="log", xlabel="times as fast, an image", xlim=(0.8 * min(times), 3 * max(times)))
        axes.xaxis.set_major_formatter(_plain)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_title(device, loc="left")
        _legend(axes)


def stages(parts: dict[str, dict[str, Row]], device: str, path: Path) -> None:
    """Time an image of the stages one after another: a bar for each kind of file, with a row for each stage."""
    with drawn(path, height=0.9 + 0.4 * len(parts)) as axes:
        names = list(dict.fromkeys(stage for rows in parts.values() for stage in rows))
        start = dict.fromkeys(parts, 0.0)
        for stage, colour in zip(names, _STAGE_COLOURS):
            lengths = [1e3 * seconds_an_image(rows[stage]) if stage in rows else 0.0 for rows in parts.values()]
            axes.barh(list(parts), lengths, left=list(start.values()), color=colour, label=stage)
            start = {name: start[name] + length for name, length in zip(parts, lengths)}
        axes.set(xlabel="ms an image")
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_title(device, loc="left")
        _legend(axes)


def _line(axes: Axes, rows: list[Row], x: str, y: Callable[[Row], float], label: str, colour: str, style: str) -> None:
    if rows:
        ordered = sorted(rows, key=lambda row: row["case"][x])
        places, values = [row["case"][x] for row in ordered], [y(row) for row in ordered]
        axes.plot(places, values, linestyle=style, color=colour, label=label)


def _plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with whole numbers instead of powers, between them too."""
    axis.set_major_formatter(_plain)
    axis.set_minor_formatter(lambda value, position: _plain(value, position) if f"{value:.0e}"[0] in "25" else "")


def _plain(value: float, position: float) -> str:
    return f"{value:,.0f}"


def _legend(axes: Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
