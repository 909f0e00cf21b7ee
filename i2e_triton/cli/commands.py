"""Commands that other packages add to ``i2e``: training does, which nothing here knows."""

from __future__ import annotations

from importlib.metadata import entry_points

import typer

#: Entry points of functions that take the application and add their commands to it. They are loaded whenever ``i2e``
#: starts, so they import what a command needs when it runs.
GROUP = "i2e_triton.commands"


def add_commands(app: typer.Typer) -> None:
    """Add the commands of installed packages to the application, in the order of their names."""
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        entry.load()(app)
