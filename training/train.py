"""The official command line: every flag of the official training scripts, with its official meaning.

    python training/train.py -bz 128 -dp PATH --dataset cifar10 -n CIFAR10 -cn 10 -e 256 ...
    torchrun --nproc-per-node 8 training/train.py --dataset imagenet -dp PATH ...

New commands are better written with ``i2e train``, whose options have the names of the recipe's values.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import typer
from rich.console import Console

from i2e_triton.cli.terminal import exit_on_errors
from i2e_triton.training.recipes import Recipe, RunOptions, find_recipe
from i2e_triton.training.run import run

#: Official flags -> (our name, type, official meaning where the name does not say it). A type of None is a flag without
#: a value. Names of :class:`Recipe` change the recipe; see :func:`options_of` for the others.
FLAGS: dict[str, tuple[str, Any, str]] = {
    "-bz --batch_size": ("batch_size", int, "over all GPUs of a machine"),
    "-dp --dataset_path": ("data", Path, ""),
    "--dataset": ("dataset", str, "cifar10, cifar100, imagenet or dvscifar10"),
    "-sp --save_path": ("save_path", Path, "folder of all runs"),
    "-lp --log_path": ("log_path", str, "folder of log.txt, in the folder of the run"),
    "-eo --exist_ok": ("new_folder", None, "the folder must NOT exist (sic)"),
    "-n --name": ("name", str, "folder of the run, in --save_path"),
    "-tk --topk": ("topk", int, "ignored: top-1 and top-5 are reported"),
    "-s --seed": ("seed", int, ""),
    "-cn --class_number": ("classes", int, ""),
    "--deterministic": ("deterministic", None, ""),
    "--dummy": ("fake", None, "random images instead of data"),
    "--resume": ("init", str, "weights to start from"),
    "--world_size": ("machines", int, "number of machines; -1: from WORLD_SIZE"),
    "--rank": ("rank", int, "number of this machine; -1: from RANK"),
    "--dist_url": ("url", str, "of machine 0: tcp://ADDRESS:PORT, or env://"),
    "--dist_backend": ("backend", str, ""),
    "--gpu": ("gpu", int, "the only GPU to use"),
    "--multiprocessing_distributed": ("spawn", None, "one process per GPU"),
    "-e --epochs": ("epochs", int, ""),
    "-se --start_epoch": ("start_epoch", int, "continue from weights/epoch{N-1}.pth.tar"),
    "--lr": ("lr", float, ""),
    "-m --momentum": ("momentum", float, ""),
    "-wd --weight_decay": ("weight_decay", float, ""),
    "--opt": ("optimizer", str, "timm's name: sgd (Nesterov), momentum, adam or adamw"),
    "--amp": ("no_amp", None, "NO mixed precision (sic)"),
    "--mixup": ("mixup", None, ""),
    "--t_train": ("drop_to", int, "train on this number of random timesteps"),
    "--model": ("model", str, ""),
    "--ratio": ("ratio", float, ""),
    "--shuffle": ("order", int, "0 to 5"),
    "--scheduler": ("scheduler", str, ""),
    "--lr_min": ("lr_min", float, ""),
    "--warmup_t": ("warmup_epochs", int, ""),
    "--warmup_lr_init": ("warmup_lr", float, ""),
    "--label_smooth": ("label_smoothing", float, ""),
    "--decay_t": ("decay_epochs", int, ""),
    "--decay_rate": ("decay_rate", float, ""),
    "-w --workers": ("workers", int, ""),
    "-p --print_freq": ("log_every", int, ""),
    "--evaluate": ("evaluate", None, "only evaluate"),
    # Not official: to try a run.
    "--max-steps": ("max_steps", int, "steps of each epoch"),
    "--size": ("size", int, "height and width of the events"),
    "--device": ("device", str, "cpu or cuda"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with official flags."""
    parser = argparse.ArgumentParser("train.py", description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    for flags, (name, kind, meaning) in FLAGS.items():
        settings: dict[str, Any] = {"action": "store_true", "default": None} if kind is None else {"type": kind}
        parser.add_argument(*flags.split(), dest=name, help=meaning or f"as {name} of the recipe", **settings)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    try:
        options = options_of(given)
    except (TypeError, ValueError, KeyError) as error:
        parser.error(str(error))
    try:
        with exit_on_errors(Console(stderr=True)):
            run(options)
    except typer.Exit as error:
        sys.exit(error.exit_code)


def options_of(given: dict[str, Any]) -> RunOptions:
    """Return the options of a run for official flags, by our names.

    Raises:
        TypeError: if a value of the recipe has another type.
        ValueError: if values do not fit.
    """
    dataset = given.pop("dataset", "imagenet")
    values = {name: given.pop(name) for name in [*given] if name in Recipe.__dataclass_fields__ and name != "name"}
    # The official script of DVS-CIFAR10 fine-tunes; those of the other data sets train from scratch.
    recipe = find_recipe(dataset, "transfer2" if dataset.lower() == "dvscifar10" else None).changed(**values)
    save_path, name = given.pop("save_path", Path("run")), given.pop("name", f"{recipe.dataset}-{recipe.name}")
    log_path = str(given.pop("log_path", "/log")).strip("/")
    gpus = torch.cuda.device_count() if given.get("device") != "cpu" else 0
    machines, rank = _machines(given)
    if machines > 1:
        os.environ["NODE_RANK"] = str(rank)
    if (gpu := given.pop("gpu", None)) is not None and gpus:
        given["device"] = f"cuda:{gpu}"
    # Without --multiprocessing_distributed, the official script uses DataParallel; one GPU computes the same.
    devices = max(1, gpus) if given.pop("spawn", False) else 1
    # The official script computes in float16 unless --amp is given, and always in float32 without a GPU.
    precision = "float32" if given.pop("no_amp", False) or not gpus else "float16"
    if recipe.name == "transfer2" and "init" not in given and Path("best.pth.tar").exists():
        given["init"] = "best.pth.tar"
    if given.get("start_epoch"):
        given["init"] = str(save_path / name / "weights" / f"epoch{given['start_epoch'] - 1}.pth.tar")
    given.pop("topk", None)
    return RunOptions(
        recipe=recipe,
        given=values,
        out=save_path / name,
        overwrite=True,  # as the official script: it writes into an existing folder
        log_file=Path(log_path) / "log.txt",
        devices=devices,
        machines=machines,
        precision=precision,
        **given,
    )


def _machines(given: dict[str, Any]) -> tuple[int, int]:
    """Return the number of machines and the number of this one, and set Lightning's address of machine 0."""
    numbers = []
    for name, variable, default in (("machines", "WORLD_SIZE", 1), ("rank", "RANK", 0)):
        number = given.pop(name, default)
        if number == -1:
            if variable not in os.environ:
                raise ValueError(f"-1 stands for the environment variable {variable}, which is not set")
            number = int(os.environ.pop(variable))  # else Lightning would read it as the number of processes
        numbers.append(number)
    machines, rank = numbers
    if machines < 1 or not 0 <= rank < machines:
        raise ValueError(f"--rank must be 0 to {machines - 1} for --world_size {machines}, got {rank}")
    url = urlparse(given.pop("url", "env://"))
    if url.hostname and machines > 1:
        os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = url.hostname, str(url.port)
    return machines, rank


if __name__ == "__main__":
    main()
