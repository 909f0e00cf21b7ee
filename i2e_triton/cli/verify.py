"""``i2e dataset verify``: whether a converted data set is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from i2e_triton.cli.report import printable
from i2e_triton.conversion.manifest import ManifestError, ShardRecord, read_manifest
from i2e_triton.conversion.verify import verify_dataset


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `i2e dataset` wrote.")],
) -> None:
    """Check a converted data set against its manifest: every file, checksum, record and count of events.

    What is wrong is listed, and the exit status is 1.
    """
    errors = Console(stderr=True)
    try:
        manifest = read_manifest(out)
        with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
            task = progress.add_task("verifying", total=len(manifest.shards) if manifest is not None else None)

            def advance(_: ShardRecord) -> None:
                progress.advance(task)

            verified = verify_dataset(out, advance)
    except ManifestError as error:
        errors.print(f"stopped: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    for problem in verified.problems:
        errors.print(problem, markup=False, highlight=False, soft_wrap=True)
    found = f"{len(verified.problems)} problems" if verified.problems else "all as written"
    Console().print(
        f"{printable(out)}: {verified.shards} shards, {verified.rows:,} rows: {found}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if verified.problems:
        raise typer.Exit(1)
