"""What a command that takes a while has in common with others: its progress, and the errors that end it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from i2e_triton.pipeline.manifest import ManifestError


def progress_bars(console: Console) -> Progress:
    """Return the progress of several tasks, counted in rows; shown on a terminal only, and gone at the end."""
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def stopped_by_errors(console: Console) -> Iterator[None]:
    """End the command with status 1 and a line where data or files are not what they should be."""
    try:
        yield
    except (ManifestError, ValueError, OSError) as error:
        console.print(f"stopped: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
