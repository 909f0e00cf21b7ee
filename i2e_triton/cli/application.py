"""The application ``i2e`` with all its commands."""

from __future__ import annotations

import io
import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from i2e_triton import __version__
from i2e_triton.cli import calibrate, convert, dataset, dataset_verify, info, push, recording, stats, video, web
from i2e_triton.cli.typer_classes import DATA_SETS, Application, Group

app = Application(
    name="i2e",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",  # joins the lines of a docstring paragraph
    pretty_exceptions_enable=False,  # bug reports need a plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("info")(info.info)
app.command("convert")(convert.convert)
app.command("web")(web.web)
app.command("video")(video.video)
dataset.app.command("verify")(dataset_verify.verify)
app.add_typer(dataset.app, name="dataset", rich_help_panel=DATA_SETS)
app.command("import", rich_help_panel=DATA_SETS)(recording.import_recordings)
app.command("calibrate", rich_help_panel=DATA_SETS)(calibrate.calibrate)
app.command("stats", rich_help_panel=DATA_SETS)(stats.stats)
app.command("push", rich_help_panel=DATA_SETS)(push.push)

#: Group of the entry points. Each is a function that adds commands to the application. :mod:`i2e_triton.training`
#: registers its commands this way, because the rest of the package must not import it.
ENTRY_POINTS = "i2e_triton.commands"


def add_commands(app: typer.Typer) -> None:
    """Add the commands that installed packages register as entry points, sorted by the name of the entry point."""
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        entry.load()(app)


add_commands(app)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"i2e-triton {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Convert images to events, as an event camera would record them during a microsaccade."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file name that cannot be encoded must not abort a long run
