"""The application ``i2e`` with all its commands."""

from __future__ import annotations

import io
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from i2e_triton import __version__
from i2e_triton.cli import calibrate, convert, dataset, info, stats

app = typer.Typer(
    name="i2e",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # joins the lines of a paragraph of a docstring
    pretty_exceptions_enable=False,  # bug reports need a plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("convert")(convert.convert)
app.add_typer(dataset.app, name="dataset")
app.command("stats")(stats.stats)
app.command("calibrate")(calibrate.calibrate)
app.command("info")(info.info)

#: Entry points of functions that add commands to the application. :mod:`i2e_triton.training` adds its commands this
#: way, because nothing in the package imports training.
ENTRY_POINTS = "i2e_triton.commands"


def add_commands(app: typer.Typer) -> None:
    """Add the commands of the installed packages, sorted by the name of their entry point."""
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        entry.load()(app)


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
    """Convert images to events, as an event camera would see them during a microsaccade."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file name that the encoding lacks must not end a long run
