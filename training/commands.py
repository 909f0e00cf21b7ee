"""The commands that training adds to ``i2e``: what they take.

What they do is imported when they run: that takes seconds, and needs ``pip install 'i2e-triton[train]'``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

import torch
import typer

from i2e_triton.cli.options import check_device, option_error

PRECISIONS = ("float32", "bfloat16", "float16")


def add_commands(app: typer.Typer) -> None:
    """Add ``i2e train`` and ``i2e evaluate``; the entry point of the group ``i2e_triton.commands``."""
    # All that follows ``train`` is for its own parser, which knows the published flags.
    unread = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command("train", context_settings=unread, add_help_option=False)(train)
    app.command("evaluate")(evaluate)


def train(context: typer.Context) -> None:
    """Train a spiking network on events that are converted from images while it trains.

    i2e train --help lists the options, those of the published script among them.
    """
    from .options import parse_options

    options = parse_options(context.args, "i2e train")
    with _train_extra("train"):
        from .train import train
    train(options)


def evaluate(
    checkpoint: Annotated[
        Path,
        typer.Option(
            "--checkpoint", "-c", metavar="FILE", help="Weights: a published file, or best.pt or last.pt of a run."
        ),
    ],
    data: Annotated[
        Optional[Path],  # noqa: UP045  # typer reads this at run time
        typer.Option("--data", "-dp", metavar="PATH", help="Where the data set lies, as for i2e train."),
    ] = None,
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Data set, as for i2e train. Files of i2e train know theirs."),
    ] = None,
    recipe: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="NAME", help="Recipe of --dataset whose image size and conversion to use."),
    ] = None,
    ratio: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="R", help="Sensitivity of the conversion, in the place of the recipe's."),
    ] = None,
    timesteps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="T", help="The first ones of the order, in the place of the recipe's."),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-bz", metavar="B", help="Images at a time.")] = 128,
    workers: Annotated[int, typer.Option("--workers", "-w", metavar="N", help="Processes that load data.")] = 4,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where to run: cpu, cuda, cuda:N, or auto: a GPU where there is one.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="TYPE", help=f"Of the network: {', '.join(PRECISIONS)}. The conversion is exact.")
    ] = "float32",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help="Folder for confusion.png and evaluation.json.")
    ] = Path("evaluation"),
) -> None:
    """Evaluate a network: accuracy, confusion matrix, event and firing rates, and the paper's estimate of energy.

    The architecture, its classes and the order of timesteps are read from the weights. The validation split is used.

    Exit status 1 where the file or the data do not fit, with what to change; 2 for wrong arguments.
    """
    if precision not in PRECISIONS:
        raise option_error("--precision", f"must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if batch_size < 1:
        raise option_error("--batch-size", f"must be at least 1, got {batch_size}")
    if workers < 0:
        raise option_error("--workers", f"must not be negative, got {workers}")
    if recipe is not None and dataset is None:
        raise option_error(
            "--recipe", f"{recipe!r} needs --dataset; without them, a file of i2e train says what it was"
        )
    where = check_device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    with _train_extra("evaluate"):
        from .report import Settings, report
    settings = Settings(
        checkpoint=checkpoint,
        data=data,
        dataset=dataset,
        recipe=recipe,
        ratio=ratio,
        timesteps=timesteps,
        batch_size=batch_size,
        workers=workers,
        device=where,
        precision=precision,
        out=out,
    )
    try:
        report(settings)
    except (MemoryError, OSError, ValueError) as error:
        sys.exit(f"i2e evaluate: {error}")


@contextmanager
def _train_extra(command: str) -> Iterator[None]:
    """Say how to install what an import needs."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        sys.exit(f"i2e {command} needs the package {package}: pip install 'i2e-triton[train]'")
