"""fast-cifar10: meant to reach 89.23 % on CIFAR-10 as events in 10 minutes on one H100.

89.23 % is what the paper reaches on I2E-CIFAR10 in 256 epochs on two RTX 4090. ``FAST_CIFAR10.md``, beside this file,
is the log: what was estimated, tried and measured, and what to try next. The numbers are the recipe ``fast``.

    python -m i2e_triton.training.fast_cifar10 --data CIFAR10 --seeds 0 1 2 3 4

CIFAR10 is a folder of Parquet files with a train and a test split, or torchvision's root.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from i2e_triton.cli.terminal import print_line
from i2e_triton.io.atomic import write_whole
from i2e_triton.training.recipes import Recipe, RunOptions, find_recipe
from i2e_triton.training.run import run

#: Learns scikit-learn's 8 x 8 digits on a CPU, to show that everything is connected.
SMOKE = {"size": 16, "timesteps": 2, "epochs": 2, "batch_size": 32, "lr": 0.15, "ema": 0.9, "scheduler": "oneCycle"}


def run_seed(recipe: Recipe, data: Path | None, out: Path, compile: str | None = None) -> dict[str, Any]:
    """Train and test one network; return its accuracy in percent, and the seconds of all of it."""
    begin = time.perf_counter()
    every = recipe.epochs  # one validation, which is the test
    options = RunOptions(
        recipe, out=out, data=data, in_memory=True, overwrite=True, compile=compile, validate_every=every
    )
    record = run(options)
    seconds = time.perf_counter() - begin
    return {"seed": recipe.seed, "accuracy": 100 * record.best[0], "seconds": seconds, **record.history[-1]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe with several seeds, and write the record after each."""
    parser = argparse.ArgumentParser("python -m i2e_triton.training.fast_cifar10")
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="CIFAR-10; without it, the digits with a small recipe"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=Path("runs/fast-cifar10"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED")
    parser.add_argument("--epochs", type=int, metavar="N", help="another number of epochs")
    parser.add_argument("--compile", metavar="BACKEND", help="torch.compile")
    given = parser.parse_args(arguments)
    recipe = find_recipe("digits").changed(**SMOKE, holdout=0.0)
    if given.data is not None:
        recipe = find_recipe("cifar10", "fast")
    recipe = recipe.changed(epochs=given.epochs)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    runs: list[dict[str, Any]] = []
    for seed in given.seeds:
        runs.append(run_seed(recipe.changed(seed=seed), given.data, given.out / f"seed{seed}", given.compile))
        content = {"recipe": recipe.as_dict(), "device": device, "torch": torch.__version__, "runs": runs}
        with write_whole(given.out / "record.json") as file:
            file.write(json.dumps({**content, "compiled": given.compile}, indent=2).encode())
    accuracies = [each["accuracy"] for each in runs]
    spread = statistics.stdev(accuracies) if len(runs) > 1 else 0.0
    mean = statistics.mean(accuracies)
    print_line(Console(), f"{mean:.2f} % (spread {spread:.2f}) over {len(runs)} seeds: {given.out / 'record.json'}")


if __name__ == "__main__":
    main()
