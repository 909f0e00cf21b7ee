"""Tables of what was converted, readable on 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import rich.box
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from i2e_triton.cli.conversion import WARM_CALLS, Report
from i2e_triton.cli.printable import printable
from i2e_triton.cli.settings import Settings, name_vectors


def print_reports(console: Console, reports: Sequence[Report], settings: Settings, out: Path) -> None:
    """Print one picture timestep by timestep, several with a line each."""
    if len(reports) == 1:
        _print_one(console, reports[0], settings)
    elif reports:
        _print_many(console, reports, settings, out)


def _print_one(console: Console, report: Report, settings: Settings) -> None:
    height, width = report.size
    _print_line(console, f"{printable(report.picture)}: {height} x {width} pixels, ratio {settings.ratio:g}")
    table = _table("t", "motion vector", "ON", "OFF", "event rate")
    for t, (name, rates) in enumerate(zip(name_vectors(settings.shifts), report.rates)):
        table.add_row(str(t), Text(name), *_percent(rates))
    table.add_section()
    table.add_row("", "mean", *_percent(_mean(report.rates)), style="bold")
    console.print(table)
    calls = f"median of {WARM_CALLS} calls (the first: {report.first_ms:.2f} ms)"
    _print_line(console, f"conversion: {report.warm_ms:.2f} ms, {calls}")
    _print_line(console, f"            {_where(settings.device)}; reading, resizing, writing not included")
    _print_line(console, "written:")
    for path in report.files:
        _print_line(console, f"  {printable(path)}")


def _print_many(console: Console, reports: Sequence[Report], settings: Settings, out: Path) -> None:
    timesteps = len(settings.shifts)
    _print_line(console, f"ratio {settings.ratio:g}, {timesteps} timesteps, converted {_where(settings.device)}")
    table = _table("name", "pixels", "ON", "OFF", "event rate", "ms")
    for report in reports:
        height, width = report.size
        name = report.files[0].relative_to(out).with_suffix("")
        rates = _percent(_mean(report.rates))
        table.add_row(Text(printable(name)), f"{height} x {width}", *rates, f"{report.warm_ms:.2f}")
    table.add_section()
    mean = _percent(_mean([_mean(report.rates) for report in reports]))
    milliseconds = sum(report.warm_ms for report in reports) / len(reports)
    table.add_row(f"mean of {len(reports)}", "", *mean, f"{milliseconds:.2f}", style="bold")
    console.print(table)
    _print_line(console, f"ms: the conversion alone, median of {WARM_CALLS} calls after a first one")
    suffixes = ", ".join(f".{name}" for name in settings.formats)
    _print_line(console, f"written under {printable(out)}, each with {suffixes}")


def _table(*headings: str) -> Table:
    """Start a table: text left, numbers right."""
    table = Table(box=rich.box.SIMPLE, pad_edge=False)
    for heading in headings:
        text = heading in ("motion vector", "name")
        table.add_column(heading, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    return table


def _print_line(console: Console, line: str) -> None:
    """Print as it is: a line that is copied must not be broken."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _mean(rates: Sequence[tuple[float, float]]) -> tuple[float, float]:
    on, off = zip(*rates)
    return sum(on) / len(on), sum(off) / len(off)


def _percent(rates: tuple[float, float]) -> tuple[str, str, str]:
    """ON, OFF, and the event rate of the paper: the share of all positions of both."""
    on, off = rates
    return f"{on:.2%}", f"{off:.2%}", f"{(on + off) / 2:.2%}"


def _where(device: torch.device) -> str:
    if device.type == "cuda":
        return f"on {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"on the CPU with {threads} thread{'s' * (threads > 1)}"
