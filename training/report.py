"""Everything about a trained network on one page: accuracy, activity and energy on the validation split."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import rich.box
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from i2e_triton.io.atomic import write_whole

from .activity import Activity, record_activity
from .confusion import plot_confusion
from .converted import as_converted
from .data import DataError, build_loaders, open_splits
from .distributed import Place
from .energy import AC_PJ, MAC_PJ, Energy, estimate_energy
from .evaluation import Evaluation, evaluate
from .memory import ran_out
from .published import CheckpointError, Weights, load_weights, read_weights
from .recipes import Recipe, recipe
from .train import build_network


@dataclass(frozen=True)
class Settings:
    """What to evaluate, and how; None is what the checkpoint or the recipe says."""

    checkpoint: Path
    data: Path | None
    dataset: str | None
    recipe: str | None
    ratio: float | None
    timesteps: int | None
    batch_size: int
    workers: int
    device: torch.device
    precision: str
    out: Path


def report(settings: Settings) -> None:
    """Evaluate a checkpoint, print what comes of it, and write ``confusion.png`` and ``evaluation.json``.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        OSError: if the results cannot be written.
        MemoryError: if memory runs out.
        ValueError: if the checkpoint, the data or the recipe are unfit; the message says what to change.
    """
    console = Console()
    weights = read_weights(settings.checkpoint)
    chosen = as_converted(choose_recipe(settings, weights), settings.data)
    opened = open_splits(chosen, settings.data)
    if opened.events and settings.ratio is not None:
        raise DataError(f"--ratio can be followed for images only, and {settings.data} holds events; leave it out")
    model = build_network(chosen)
    load_weights(model, weights)
    loader = build_loaders(opened, chosen, Place(settings.device), settings.workers).validation
    batches = track(loader, "evaluating", console=console, transient=True)
    evaluation, activity = _watch(model, batches, chosen.classes, settings)
    if not math.isfinite(evaluation.loss):
        raise CheckpointError(
            f"{weights.path}: its network gives numbers that are not finite; its training diverged, take another file"
        )
    energy = estimate_energy(activity)
    seen = f"events as they lie in {settings.data}" if opened.events else _seen(chosen)
    _print_head(console, weights, chosen.dataset, seen, evaluation)
    _print_activity(console, activity)
    _print_energy(console, activity, energy)
    write_results(settings.out, evaluation, opened.names, activity, energy)
    _line(console, f"written: {settings.out / 'confusion.png'}, {settings.out / 'evaluation.json'}")


def choose_recipe(settings: Settings, weights: Weights) -> Recipe:
    """Find the recipe in the settings or in the checkpoint, and make it that of the weights.

    Raises:
        CheckpointError: if neither says what the data set is.
        ValueError: if there is no such recipe.
    """
    if settings.dataset is not None:
        chosen = recipe(settings.recipe, settings.dataset)
    elif weights.recipe is None:
        raise CheckpointError(f"{weights.path}: does not say what it was trained on; name it with --dataset")
    else:
        try:
            chosen = Recipe(**weights.recipe)
        except TypeError as error:
            raise CheckpointError(f"{weights.path}: of another version ({error}); pass --dataset") from error
    return chosen.changed(
        model=weights.name,
        classes=weights.num_classes,
        input=weights.input,
        ratio=settings.ratio,
        timesteps=settings.timesteps,
        batch_size=settings.batch_size,
        # Of training alone; they may not fit the values above.
        accumulate=1,
        drop_to=0,
    )


def write_results(
    out: Path, evaluation: Evaluation, classes: Sequence[str] | None, activity: Activity, energy: Energy
) -> None:
    """Write ``confusion.png``, and all numbers as ``evaluation.json``."""
    plot_confusion(evaluation.confusion, out / "confusion.png", classes)
    content = {
        "images": evaluation.images,
        "top1": evaluation.top1,
        "top5": evaluation.topk,
        "loss": evaluation.loss,
        "classes": classes,
        "confusion": evaluation.confusion.tolist(),
        "input_rate": activity.input_rate,
        "firing_rates": {name: count.rate for name, count in activity.neurons.items()},
        "energy_mJ": energy.millijoules,
        "ann_energy_mJ": energy.ann_millijoules,
        "layers": [asdict(layer) for layer in energy.layers],
    }
    with write_whole(out / "evaluation.json") as file:
        file.write(json.dumps(content, indent=1).encode())


def _watch(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], num_classes: int, settings: Settings
) -> tuple[Evaluation, Activity]:
    """Evaluate a network, and record its activity while it is evaluated."""
    autocast = None if settings.precision == "float32" else getattr(torch, settings.precision)
    try:
        with record_activity(model.to(settings.device)) as activity:
            return evaluate(model, batches, num_classes, device=settings.device, autocast=autocast), activity
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise MemoryError(f"out of memory on {settings.device}; lower --batch-size {settings.batch_size}") from error


def _seen(chosen: Recipe) -> str:
    """What images become before the network sees them."""
    if chosen.input != "events":
        return chosen.input
    if chosen.threshold is not None:
        return f"events at the fixed threshold {chosen.threshold:g}"
    return f"events at ratio {chosen.ratio:g}"


def _print_head(console: Console, weights: Weights, dataset: str, seen: str, evaluation: Evaluation) -> None:
    done = "" if weights.epoch is None else f", after epoch {weights.epoch}"
    decay = (weights.recipe or {}).get("ema")
    average = f", the average of its weights (--ema {decay})" if decay else ""
    _line(console, f"{weights.path}: {weights.name}, {weights.num_classes} classes{done}{average}")
    _line(console, f"{dataset}: {evaluation.images:,} images of validation, seen as {seen}")
    _line(console, f"top-1 {evaluation.top1:.2%}, top-5 {evaluation.topk:.2%}, loss {evaluation.loss:.4f}")


def _print_activity(console: Console, activity: Activity) -> None:
    table = _table("neurons", "firing rate")
    for name, count in activity.neurons.items():
        table.add_row(name, f"{count.rate:.2%}")
    _line(console, f"event rate of the input: {activity.input_rate:.2%}")
    console.print(table)


def _print_energy(console: Console, activity: Activity, energy: Energy) -> None:
    table = _table("layer", "input", "AC (M)", "MAC (M)", "mJ", "mJ without spikes")
    for layer in energy.layers:
        rate = f"{activity.weighted[layer.name].inputs.rate:.2%}"
        numbers = (f"{layer.acs / 1e6:.2f}", f"{layer.macs / 1e6:.2f}", f"{layer.millijoules:.4f}")
        table.add_row(layer.name, rate, *numbers, f"{layer.ann_millijoules:.4f}")
    console.print(table)
    _line(
        console,
        f"energy of an image, {AC_PJ} pJ for an AC and {MAC_PJ} pJ for a MAC (45 nm): {energy.millijoules:.4f} mJ; "
        f"the same network without spikes: {energy.ann_millijoules:.4f} mJ",
    )


def _table(*headings: str) -> Table:
    """Start a table: names left, numbers right."""
    table = Table(box=rich.box.SIMPLE, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
