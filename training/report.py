"""``i2e evaluate``: the tables, ``confusion.png`` and ``evaluation.json`` of a trained network."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from i2e_triton.analysis.plots import draw_confusion, save
from i2e_triton.cli.options import check_device
from i2e_triton.cli.terminal import new_table, percent, print_line
from i2e_triton.io.atomic import write_whole
from i2e_triton.training.activity import AC_PJ, MAC_PJ, Activity, LayerEnergy, estimate_energy, record_activity
from i2e_triton.training.data import DataModule
from i2e_triton.training.module import SpikingClassifier
from i2e_triton.training.official import CheckpointError, Weights, find_weights, load_weights, read_weights
from i2e_triton.training.recipes import Recipe, find_recipe
from i2e_triton.training.run import quiet


def report(
    checkpoint: str,
    data: Path | None,
    dataset: str | None,
    recipe: str | None,
    changes: dict[str, Any],
    *,
    workers: int = 0,
    device: str = "auto",
    out: Path = Path("evaluation"),
) -> None:
    """Evaluate a checkpoint on the test split in float32, print the result, and write it to a folder.

    The arguments are the options of ``i2e evaluate``; ``changes`` are values of the recipe, None for no change.

    Raises:
        ValueError: if checkpoint, data and recipe do not fit; the message says what to change.
        OSError: if a file cannot be read or written.
    """
    quiet()
    where = check_device(device)
    weights = read_weights(find_weights(checkpoint))
    chosen = _recipe_of(weights, dataset, recipe, data).changed(**changes)
    given = {name: value for name, value in changes.items() if value is not None} | {"classes": weights.num_classes}
    opened = DataModule(chosen, data, workers=workers, given=given)
    module = SpikingClassifier(opened.recipe)
    load_weights(module.network, weights)
    trainer = pl.Trainer(
        accelerator="gpu" if where.type == "cuda" else "cpu",
        devices=[where.index or 0] if where.type == "cuda" else 1,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
    )
    with record_activity(module.network) as activity:
        (logged,) = trainer.test(module, opened, verbose=False)
    result = {name.removeprefix("test/"): value for name, value in logged.items()}
    if not math.isfinite(result["loss"]):
        raise CheckpointError(f"{weights.path}: the network returns numbers that are not finite; its training diverged")
    energy = estimate_energy(activity)
    console = Console()
    _print(console, weights, opened, result, activity, energy)
    save(draw_confusion(module.confusion.numpy(), opened.splits.classes), out / "confusion.png")
    content = {
        "images": int(module.confusion.sum()),
        **result,
        "classes": opened.splits.classes,
        "confusion": module.confusion.tolist(),
        "input_rate": activity.input_rate,
        "firing_rates": {name: count.rate for name, count in activity.neurons.items()},
        "energy_mJ": sum(layer.millijoules for layer in energy),
        "ann_energy_mJ": sum(layer.ann_millijoules for layer in energy),
        "layers": [layer._asdict() for layer in energy],
    }
    with write_whole(out / "evaluation.json") as file:
        file.write(json.dumps(content, indent=1).encode())
    print_line(console, f"written: {out / 'confusion.png'}, {out / 'evaluation.json'}")


def _recipe_of(weights: Weights, dataset: str | None, name: str | None, path: Path | None) -> Recipe:
    """Return the recipe of the arguments or the checkpoint, for the network of the checkpoint."""
    if dataset is not None:
        chosen = find_recipe(dataset, name)
    elif weights.recipe is not None:
        try:
            chosen = Recipe(**weights.recipe)
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"{weights.path} was written by another version of i2e-triton ({error}); pass --dataset"
            ) from error
    elif path is not None:
        chosen = find_recipe("own", name)
    else:
        raise CheckpointError(f"{weights.path} does not say on what it was trained; pass --dataset or --data")
    # accumulate and drop_to are for training, and may not fit the values that are changed.
    changes = {"model": weights.name, "classes": weights.num_classes, "input": weights.input}
    return chosen.changed(**changes, accumulate=1, drop_to=0)


def _print(
    console: Console,
    weights: Weights,
    data: DataModule,
    result: dict[str, float],
    activity: Activity,
    energy: list[LayerEnergy],
) -> None:
    recipe = data.recipe
    epoch = "" if weights.epoch is None else f", epoch {weights.epoch}"
    seen = "the stored events" if data.splits.timesteps else f"{recipe.input}, ratio {recipe.ratio:g}"
    print_line(console, f"{weights.path}: {weights.name}, {weights.num_classes} classes{epoch}")
    print_line(console, f"{recipe.dataset}: {len(data.splits.test):,} images of the test split, as {seen}")
    print_line(console, "top-1 {top1:.2%}, top-5 {top5:.2%}, loss {loss:.4f}".format(**result))
    print_line(console, f"event rate of the input: {activity.input_rate:.2%}")
    rates = new_table("neurons", "firing rate")
    for name, count in activity.neurons.items():
        rates.add_row(name, percent(count.rate))
    console.print(rates)
    table = new_table("layer", "input", "AC (M)", "MAC (M)", "mJ", "mJ without spikes")
    for layer in energy:
        numbers = (f"{layer.acs / 1e6:.2f}", f"{layer.macs / 1e6:.2f}", f"{layer.millijoules:.4f}")
        rate = percent(activity.weighted[layer.name].inputs.rate)
        table.add_row(layer.name, rate, *numbers, f"{layer.ann_millijoules:.4f}")
    console.print(table)
    print_line(
        console,
        f"energy per image ({AC_PJ} pJ per AC, {MAC_PJ} pJ per MAC, 45 nm): {sum(e.millijoules for e in energy):.4f} "
        f"mJ; the same network without spikes: {sum(e.ann_millijoules for e in energy):.4f} mJ",
    )
