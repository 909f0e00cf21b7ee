"""``i2e train`` and ``i2e evaluate``.

What the commands do is imported when they run: that takes seconds, and needs ``pip install 'i2e-triton[train]'``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console

from i2e_triton.cli.options import as_option_error, option_error
from i2e_triton.cli.terminal import exit_on_errors
from i2e_triton.training.recipes import DATA, DATASETS, RECIPES, RUN, Recipe, RunOptions, find_recipe, kind_of

_DATASET = typer.Option(
    help=f"{', '.join(DATASETS)}.", show_default="own: everything is detected", rich_help_panel=DATA, metavar="NAME"
)
_RECIPE = typer.Option(help="Recipe of the data set.", show_default="baseline2 or default", rich_help_panel=DATA)


def add_commands(app: typer.Typer) -> None:
    """Add the commands to ``i2e``. This is an entry point of the group ``i2e_triton.commands``."""
    own = [
        Parameter("dataset", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Optional[str], _DATASET]),  # noqa: UP045
        Parameter("recipe", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Optional[str], _RECIPE]),  # noqa: UP045
    ]
    some = ("data", "workers", "device", "ratio", "timesteps", "batch_size")
    for name, command, parameters in (
        ("train", train, [*own, *_options(RunOptions), *_options(Recipe), _flag("show", "Print the recipe and exit.")]),
        (
            "evaluate",
            evaluate,
            [_CHECKPOINT, *own, _OUT, *(each for each in _options(RunOptions) + _options(Recipe) if each.name in some)],
        ),
    ):
        _set_signature(command, parameters)
        app.command(name)(command)


def _set_signature(command: Any, parameters: list[Parameter]) -> None:
    """Let Typer read these parameters in place of ``**values``."""
    command.__signature__ = Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}


def _options(described: type) -> list[Parameter]:
    """Return an option for each value of a dataclass that has a description."""
    return [_described(each, described is Recipe) for each in fields(described) if each.metadata]  # type: ignore[arg-type]


def _described(each: Any, of_recipe: bool) -> Parameter:
    flag, kind = each.name.replace("_", "-"), kind_of(each)
    names = [f"--{flag}/--no-{flag}"] if kind is bool and (of_recipe or each.default is None) else [f"--{flag}"]
    names += {"out": ["-o"], "order": ["--shuffle"]}.get(each.name, [])
    default = None if of_recipe or each.name == "out" or each.default is MISSING else each.default
    option = typer.Option(
        *names,
        help=each.metadata["help"],
        rich_help_panel=each.metadata["group"],
        show_default="recipe's" if of_recipe else default is not None and default is not False,
    )
    annotation = Annotated[Optional[kind] if default is None else kind, option]  # type: ignore[valid-type]  # noqa: UP045
    return Parameter(each.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flag(name: str, help: str) -> Parameter:
    option = typer.Option(f"--{name}", help=help, rich_help_panel=RUN)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option])


_CHECKPOINT = Parameter(
    "checkpoint",
    Parameter.KEYWORD_ONLY,
    annotation=Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="best.pt of a run, an official file, or its name on the hub.")
    ],
)
_OUT = Parameter(
    "out",
    Parameter.KEYWORD_ONLY,
    default=Path("evaluation"),
    annotation=Annotated[Path, typer.Option("--out", "-o", help="Folder for confusion.png and evaluation.json.")],
)


def train(**values: Any) -> None:
    """Train a spiking network on images that are converted to events while it trains, or on events.

    With `--data` alone, the data are your own: their classes, size and channels are detected. `--dataset` and
    `--recipe` choose an experiment of the paper. Other options change values of the recipe; `--show` prints all.

    The folder of the run contains best.pt (the weights with the best validation accuracy), last.pt (to resume, or the
    last weights), logs (CSV and TensorBoard), curves.png and log.txt.
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
    try:
        with exit_on_errors(Console(stderr=True)):
            yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package == "i2e_triton":
            raise
        sys.exit(f"i2e {command} needs the package {package}: pip install 'i2e-triton[train]'")
