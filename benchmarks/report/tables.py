"""Numbers, and tables of rows, in Markdown."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.harness.rows import Row, rate_share, seconds_per_image, speed_up

NOT_MEASURED = "not measured"
_SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
_BYTES = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, "Not measured." without a body. Numbers are right-aligned."""
    if not body:
        return f"{NOT_MEASURED.capitalize()}."
    grid = Table(box=MARKDOWN)
    numbers = [cell[:1].isdigit() for cell in body[0]]
    for name, number in zip(head, numbers):
        grid.add_column(name, justify="right" if number else "left", no_wrap=True)
    for cells in body:
        grid.add_row(*cells)
    file = io.StringIO()
    Console(file=file, width=10_000, markup=False, highlight=False, emoji=False).print(grid)
    lines = [line.strip() for line in file.getvalue().strip().splitlines()]
    rules = [rule[:-1] + ":" if number else rule for rule, number in zip(lines[1][1:-1].split("|"), numbers)]
    lines[1] = f"|{'|'.join(rules)}|"
    return "\n".join(lines)


def pivot(
    corner: str,
    rows: Sequence[Row],
    line: Callable[[Row], str],
    column: Callable[[Row], Any],
    cell: Callable[[Row], str],
) -> str:
    """Return a table of rows: one line per value of ``line``, one column per value of ``column``, in their order.

    A cell without a row reads "not measured".
    """
    cells = {(line(row), column(row)): cell(row) for row in rows}
    lines, columns = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    body = [[name, *(cells.get((name, value), NOT_MEASURED) for value in columns)] for name in lines]
    return table([corner, *map(str, columns)], body)


def significant(number: float) -> str:
    """Return a number with at least three significant digits, without an exponent."""
    decimals = 2 - math.floor(math.log10(abs(number))) if number else 2
    return f"{number:,.{max(0, decimals)}f}"


def duration(seconds: float) -> str:
    """Return a time in a suitable unit."""
    return _with_unit(seconds, _SECONDS)


def size(count: float) -> str:
    """Return a number of bytes in a suitable unit."""
    return _with_unit(count, _BYTES)


def _with_unit(value: float, units: dict[str, float]) -> str:
    unit = next((name for name, factor in units.items() if value >= factor), list(units)[-1])
    return f"{significant(value / units[unit])} {unit}"


def image_time(row: Row | None) -> str:
    """Return the median time per image of a row and, if there are several rounds, its interquartile range."""
    if row is None:
        return NOT_MEASURED
    spread = f" ± {duration(row['iqr_s'] / row['images'])}" if row["rounds"] > 1 else ""
    return duration(seconds_per_image(row)) + spread


def times(slow: Row | None, fast: Row | None) -> str:
    """Return how many times as fast one row is as another, per image."""
    return NOT_MEASURED if slow is None or fast is None else f"{significant(speed_up(slow, fast))}×"


def part(row: Row | None, whole: Row | None) -> str:
    """Return the time per image of a row as a percentage of that of another row."""
    return NOT_MEASURED if row is None or whole is None else f"{speed_up(row, whole):.1%}"


def share(row: Row | None, limit: Row | None) -> str:
    """Return the bytes per second of a row as a percentage of those of another row."""
    return NOT_MEASURED if row is None or limit is None else f"{rate_share(row, limit):.0%}"
