"""``i2e train`` and ``i2e evaluate``.

What the commands do is imported when they run: that takes seconds, and needs ``pip install 'i2e-triton[train]'``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from i2e_triton.cli.options import DEVICE_HELP, as_option_error, check_device, completing, option_error
from i2e_triton.cli.terminal import exit_on_errors
from i2e_triton.cli.typer_classes import TRAINING
from i2e_triton.install_hints import needs_extra
from i2e_triton.shifts import ORDERS
from i2e_triton.training.recipes import DATA, DATASETS, RECIPES, RUN, Recipe, RunOptions, find_recipe, kind_of

_METAVARS = {int: "N", float: "X", str: "NAME", Path: "PATH", bool: ""}


def add_commands(app: typer.Typer) -> None:
    """Add the commands to ``i2e``. This is an entry point of the group ``i2e_triton.commands``."""
    names = f"{', '.join(DATASETS)}; without it, own."
    data = [
        _parameter("dataset", str, _choice(names, DATASETS)),
        _parameter("recipe", str, _choice("Default: baseline2, or default.", {name for _, name in RECIPES})),
    ]
    options = [_option(each, kind is Recipe) for kind in (RunOptions, Recipe) for each in fields(kind) if each.metadata]
    show = typer.Option(False, "--show", help="Print the recipe and exit.", rich_help_panel=RUN)
    _add(app, "train", train, [*data, *options, _parameter("show", bool, show)])
    checkpoint = typer.Argument(
        ..., metavar="CHECKPOINT", help="best.pt of a run, an official file, or its name on the hub."
    )
    out = typer.Option(
        Path("evaluation"), "--out", "-o", metavar="OUT", help="Folder for confusion.png and evaluation.json."
    )
    own = [_parameter("checkpoint", str, checkpoint), _parameter("out", Path, out)]
    some = ("data", "workers", "device", "ratio", "timesteps", "batch_size")
    _add(app, "evaluate", evaluate, [*own, *data, *(each for each in options if each.name in some)])


def _add(app: typer.Typer, name: str, command: Any, parameters: list[Parameter]) -> None:
    """Add a command, with these parameters in place of its ``**values``."""
    command.__signature__ = Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    app.command(name, rich_help_panel=TRAINING)(command)


def _choice(help: str, choices: Iterable[str]) -> Any:
    complete = completing(*sorted(choices))
    return typer.Option(None, metavar="NAME", help=help, autocompletion=complete, rich_help_panel=DATA)


def _option(each: Any, of_recipe: bool) -> Parameter:
    """Return the option for a described value of a dataclass."""
    flag, kind = each.name.replace("_", "-"), kind_of(each)
    group, text, choices = each.metadata["group"], each.metadata["help"], each.metadata["choices"]
    names = [f"--{flag}"]
    if kind is bool and (each.default is None or any(getattr(recipe, each.name, False) for recipe in RECIPES.values())):
        names = [f"--{flag}/--no-{flag}"]
    names += {"out": ["-o"], "order": ["--shuffle"]}.get(each.name, [])
    default = None if of_recipe or each.name == "out" else each.default
    shown = "recipe's" if of_recipe else default is not None and default is not False
    if each.name == "device":
        text, choices = f"Device: {DEVICE_HELP}", ("auto", "cpu", "cuda")
    if each.name == "order":
        choices = tuple(ORDERS)
    option = typer.Option(
        default,
        *names,
        metavar=_METAVARS[kind],
        help=text,
        autocompletion=completing(*choices) if choices else None,
        rich_help_panel=group,
        show_default=shown,
    )
    return _parameter(each.name, kind, option)


def _parameter(name: str, kind: Any, option: Any) -> Parameter:
    annotation = kind | None if option.default is None else kind
    return Parameter(name, Parameter.KEYWORD_ONLY, default=option, annotation=annotation)


def train(**values: Any) -> None:
    """Train a spiking network on images that are converted to events while it trains, or on events.

    With `--data` alone, the data are your own: their classes, size and channels are detected. `--dataset` and
    `--recipe` choose an experiment of the paper. Other options change values of the recipe; `--show` prints all.

    The folder of the run contains best.pt (the weights with the best validation accuracy), last.pt (to resume), logs
    (CSV and TensorBoard), curves.png and log.txt.
    """
    dataset, recipe, show = values.pop("dataset"), values.pop("recipe"), values.pop("show")
    if values["data"] is None and dataset is None:
        sys.stderr.write(_what_to_give())
        raise typer.Exit(2)
    given = {each.name: values.pop(each.name) for each in fields(Recipe) if each.name in values}
    given = {name: _as_order(value) if name == "order" else value for name, value in given.items() if value is not None}
    with as_option_error():
        chosen = find_recipe(dataset or "own", recipe).changed(**given)
        values["out"] = values["out"] or Path("runs") / f"{chosen.dataset}-{chosen.name}"
        options = RunOptions(chosen, given, **values)
    if show:
        Console().print(str(chosen), markup=False, highlight=False, soft_wrap=True)
        return
    if chosen.name.startswith("transfer") and not (options.init or options.resume):
        raise option_error("--init", f"{chosen.name} starts from the weights of another run; pass their file")
    options = replace(options, device=str(check_device(options.device)))
    with _training("train"):
        from i2e_triton.training.run import run

        run(options)


def evaluate(**values: Any) -> None:
    """Evaluate a network: accuracy, confusion matrix, event and firing rates, and the paper's estimate of energy.

    The architecture, the classes and the order of the timesteps are read from the checkpoint; the data set, too, if
    `i2e train` wrote it. The test split is used.
    """
    changes = {name: values.pop(name) for name in ("ratio", "timesteps", "batch_size")}
    with _training("evaluate"):
        from i2e_triton.training.report import report

        report(changes=changes, **values)


def _what_to_give() -> str:
    names: dict[str, list[str]] = {}
    for dataset, name in RECIPES:
        names.setdefault(dataset, []).append(name)
    known = "\n".join(f"  {dataset:14} {', '.join(recipes)}" for dataset, recipes in names.items())
    return (
        "i2e train needs to know what to train on:\n"
        "  i2e train --data FOLDER                             your own images or events\n"
        "  i2e train --dataset cifar10 --data PATH --download  an experiment of the paper\n"
        "  i2e train --dataset digits                          a demo without files, in two minutes\n"
        f"Data sets and their recipes:\n{known}\n"
        "i2e train --help lists all options.\n"
    )


def _as_order(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


@contextmanager
def _training(command: str) -> Iterator[None]:
    """Print errors as one line, and say how to install missing packages."""
    with exit_on_errors(Console(stderr=True)), needs_extra(f"i2e {command}", "train"):
        yield
