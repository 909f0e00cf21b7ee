"""``i2e dataset verify``: whether a converted data set is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from i2e_triton.cli.printable import printable
from i2e_triton.cli.running import progress_bars, stopped_by_errors
from i2e_triton.pipeline.verify import verify_dataset


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `i2e dataset` wrote.")],
) -> None:
    """Check a converted data set against its manifest: every file, checksum, record and count of events.

    What is wrong is listed, and the exit status is 1.
    """
    errors = Console(stderr=True)
    with stopped_by_errors(errors), progress_bars(errors) as progress:
        task = progress.add_task("verifying", total=None)
        verified = verify_dataset(out, lambda done, shards: progress.update(task, completed=done, total=shards))
    for problem in verified.problems:
        errors.print(printable(problem), markup=False, highlight=False, soft_wrap=True)
    found = f"{len(verified.problems)} problems" if verified.problems else "all as written"
    Console().print(
        f"{printable(out)}: {verified.shards} shards, {verified.rows:,} rows: {found}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if verified.problems:
        raise typer.Exit(1)
