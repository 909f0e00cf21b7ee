"""Terminal output of the commands: lines, tables, progress bars and errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich.box
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

#: Exit statuses of a shell command after SIGINT (Ctrl-C) and SIGTERM.
INTERRUPTED, _TERMINATED = 130, 143


def printable(text: str | Path) -> str:
    """Return the text with unprintable characters, such as control characters, replaced by U+FFFD."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))


def plain(text: str | Path, **options: Any) -> Text:
    """Return text of any origin for the terminal: printable, and without rich's markup and emoji codes.

    All text from files, such as file and class names, must pass through this function, :func:`printable` or
    :func:`print_line`. ``options`` are those of :class:`rich.text.Text`.
    """
    return Text(printable(text), **options)


def print_line(console: Console, text: str) -> None:
    """Print one line without wrapping, so that paths can be copied from it."""
    console.print(plain(text), soft_wrap=True)


def new_table(*headings: str, text_columns: int = 1) -> Table:
    """Return an empty table. The first ``text_columns`` columns contain text, the others numbers."""
    table = Table(box=rich.box.SIMPLE, pad_edge=False)
    for column, heading in enumerate(headings):
        text = column < text_columns
        table.add_column(heading, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    return table


def percent(fraction: float) -> str:
    """Return a fraction as a percentage with two decimals."""
    return f"{fraction:.2%}"


class _SpeedColumn(ProgressColumn):
    """Rows per second, averaged over the last 30 seconds."""

    def render(self, task: Task) -> Text:
        """Return the speed, or nothing before the first rows are done."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def new_progress(console: Console, *, auto_refresh: bool = True) -> Progress:
    """Return progress bars that count rows. They are shown only on a terminal, and removed at the end.

    Args:
        console: the console that shows the bars.
        auto_refresh: draw the bars in a thread. With False, the caller calls ``refresh``.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _SpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        auto_refresh=auto_refresh,
        disable=not console.is_terminal,
    )


@contextmanager
def exit_on_errors(console: Console, *, interrupted: str = "interrupted") -> Iterator[None]:
    """Print an error of a file, of data or of memory as one line, and exit with status 1.

    After Ctrl-C, print ``interrupted``, and exit with the status that a shell gives a process that a signal ends.
    """
    from i2e_triton.pipeline.manifest import ManifestError

    try:
        yield
    except KeyboardInterrupt as error:
        from i2e_triton.pipeline.dataset import Terminated

        print_line(console, interrupted)
        raise typer.Exit(_TERMINATED if isinstance(error, Terminated) else INTERRUPTED) from error
    except (ManifestError, MemoryError, ValueError, OSError) as error:
        print_line(console, f"stopped: {' '.join(str(error).splitlines()) or 'out of memory'}")
        raise typer.Exit(1) from error
