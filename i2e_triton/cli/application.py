"""The application ``i2e``: its commands put together."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from i2e_triton import __version__
from i2e_triton.cli import convert, info
from i2e_triton.cli.commands import add_commands
from i2e_triton.cli.lazy import STYLE, LazyGroup

app = typer.Typer(name="i2e", cls=LazyGroup, **STYLE)
app.command("convert")(convert.convert)
app.command("info")(info.info)
add_commands(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"i2e-triton {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn images into events, as an event camera would see them through a microsaccade."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that cannot be printed shall not end a long run
