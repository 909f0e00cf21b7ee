"""Format benchmark rows in Markdown: tables, durations, sizes and percentages."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.harness.rows import Row, bandwidth_ratio, seconds_per_image, speed_up

NOT_MEASURED = "not measured"
_SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
_BYTES = {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1.0}


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, or "Not measured." if ``body`` is empty.

    Columns whose first cell starts with a digit are right-aligned.
    """
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
    separators = [cell[:-1] + ":" if number else cell for cell, number in zip(lines[1][1:-1].split("|"), numbers)]
    lines[1] = f"|{'|'.join(separators)}|"
    return "\n".join(lines)


def pivot(
    corner: str,
    rows: Sequence[Row],
    line_of: Callable[[Row], str],
    column_of: Callable[[Row], Any],
    text_of: Callable[[Row], str],
) -> str:
    """Return a pivot table of benchmark rows.

    There is one line per distinct ``line_of(row)`` and one column per distinct ``column_of(row)``, in order of first
    appearance. The cell of a row contains ``text_of(row)``; a cell without a row contains "not measured".

    Args:
        corner: the first cell of the head.
        rows: benchmark rows.
        line_of: returns the name of the line of a row.
        column_of: returns the head of the column of a row.
        text_of: returns the text of the cell of a row.
    """
    cells = {(line_of(row), column_of(row)): text_of(row) for row in rows}
    lines, columns = (list(dict.fromkeys(key[axis] for key in cells)) for axis in (0, 1))
    body = [[line, *(cells.get((line, column), NOT_MEASURED) for column in columns)] for line in lines]
    return table([corner, *map(str, columns)], body)


def significant(number: float) -> str:
    """Return a number with at least three significant digits, without an exponent."""
    decimals = 2 - math.floor(math.log10(abs(number))) if number else 2
    return f"{number:,.{max(0, decimals)}f}"


def duration(seconds: float) -> str:
    """Return a time with a suitable unit: s, ms or µs."""
    return _with_unit(seconds, _SECONDS)


def size(count: float | None) -> str:
    """Return a number of bytes with a suitable unit (GB, MB, kB or B), or "not measured" for None."""
    return NOT_MEASURED if count is None else _with_unit(count, _BYTES)


def _with_unit(value: float, units: dict[str, float]) -> str:
    unit = next((name for name, factor in units.items() if value >= factor), list(units)[-1])
    return f"{significant(value / units[unit])} {unit}"


def image_time(row: Row | None) -> str:
    """Return the median time per image of a row and, if there are several rounds, its interquartile range."""
    if row is None:
        return NOT_MEASURED
    interquartile_range = f" ± {duration(row['iqr_s'] / row['images'])}" if row["rounds"] > 1 else ""
    return duration(seconds_per_image(row)) + interquartile_range


def speed_up_text(slow: Row | None, fast: Row | None) -> str:
    """Return the time per image of ``slow`` divided by that of ``fast``, as in "2.50×"."""
    return NOT_MEASURED if slow is None or fast is None else f"{significant(speed_up(slow, fast))}×"


def percent_of_time(row: Row | None, whole: Row | None) -> str:
    """Return the time per image of ``row`` in percent of that of ``whole``."""
    return NOT_MEASURED if row is None or whole is None else f"{speed_up(row, whole):.1%}"


def percent_of_bandwidth(row: Row | None, limit: Row | None) -> str:
    """Return the bytes per second of ``row`` in percent of those of ``limit``."""
    return NOT_MEASURED if row is None or limit is None else f"{bandwidth_ratio(row, limit):.0%}"
