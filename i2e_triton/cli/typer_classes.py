"""Typer classes with a shorter help: flags have no type, and commands are listed in a chosen order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

#: Order of the commands in ``i2e --help``. Others follow in the order in which they are added.
_COMMANDS = ("info", "convert", "web", "video", "dataset", "import", "calibrate", "stats", "push")
DATA_SETS = "Commands for data sets"
TRAINING = "Commands for training"


def _without_flag_types(parameters: list[Any]) -> list[Any]:
    """Remove the type from flags: Typer prints ``<bool>`` beside them."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_flag_types(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands, listed in the order of :data:`_COMMANDS`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of the group."""
        return _without_flag_types(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of the help."""
        return sorted(self.commands, key=lambda name: _COMMANDS.index(name) if name in _COMMANDS else len(_COMMANDS))


class DefaultGroup(Group):
    """A group that runs its first command if the arguments do not start with the name of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the name of the first command before arguments without one."""
        if args and args[0] not in self.commands:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)


class Application(typer.Typer):
    """A Typer application whose commands are of the classes above."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Return a decorator that adds a command."""
        return super().command(name, **{"cls": _Command, **options})
