"""Commands whose modules are imported when they are called: they need extras, and seconds to load."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

STYLE: dict[str, Any] = {
    "add_completion": False,
    "no_args_is_help": True,
    "rich_markup_mode": "markdown",  # joins the lines of a docstring's paragraphs
    "pretty_exceptions_enable": False,  # a plain traceback is what a bug report needs
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
#: Module with an ``app``, and what the list of commands says of it.
COMMANDS = {
    "dataset": ("i2e_triton.cli.dataset", "Convert a data set of images to events; `i2e dataset verify` checks it."),
    "stats": ("i2e_triton.cli.stats", "Measure a data set of events: rates, entropies, bytes."),
    "calibrate": ("i2e_triton.cli.calibrate", "Find the ratio that gives a wanted mean event rate."),
}


class LazyGroup(TyperGroup):
    """A group that knows :data:`COMMANDS` by name, and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the commands that are loaded, then the others."""
        return [*super().list_commands(ctx), *COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or what the list needs to know of it."""
        if cmd_name in COMMANDS:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is called."""
        if args and args[0] in COMMANDS:
            return args[0], _load(args[0]), args[1:]
        return super().resolve_command(ctx, args)


class DefaultGroup(TyperGroup):
    """A group that takes its first command where the arguments name none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the first command in front of arguments that begin with none."""
        if args and args[0] not in self.commands:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


def _load(name: str) -> Any:
    try:
        app: typer.Typer = import_module(COMMANDS[name][0]).app
    except ModuleNotFoundError as error:
        sys.exit(f"i2e {name} needs the package {error.name}: pip install 'i2e-triton[data]'")
    return typer.main.get_command(app)
