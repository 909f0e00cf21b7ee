"""The training command.

    i2e train --recipe baseline2 --dataset cifar10 --data PATH
    python training/train.py -bz 128 -dp PATH --dataset cifar10 ...   # the published flags
    torchrun --nproc-per-node 8 -m i2e_triton.training.train ...

A run leaves ``last.pt``, ``previous.pt``, ``best.pt``, ``steps.csv``, ``epochs.csv``, ``curves.png``, ``log/log.txt``
and TensorBoard's files in its folder; the loop itself is :mod:`i2e_triton.training.loop`.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn, cast

import numpy as np
import torch
from torch import nn
from torch.multiprocessing import ProcessExitedException
from torch.nn.parallel import DistributedDataParallel

from i2e_triton.formats import RecordError
from i2e_triton.io.pictures import PictureError
from i2e_triton.sources import SourceError
from i2e_triton.training import checkpoint, loop, memory, metrics
from i2e_triton.training.augmentation import mixing_transform
from i2e_triton.training.averaging import average
from i2e_triton.training.converted import as_converted
from i2e_triton.training.data import DataError, build_loaders, open_splits
from i2e_triton.training.distributed import Place, launch
from i2e_triton.training.evaluation import LabelError
from i2e_triton.training.log import RunLog
from i2e_triton.training.models import build_model
from i2e_triton.training.optimizer import build_optimizer
from i2e_triton.training.options import Options, parse_options
from i2e_triton.training.published import CheckpointError, load_weights
from i2e_triton.training.recipes import Recipe
from i2e_triton.training.resume import Start, find_start
from i2e_triton.training.run import Run
from i2e_triton.training.sync_bn import synchronise


class SettingsError(ValueError):
    """Options do not fit each other or what is there; the message says what to change."""


#: What a person can put right; anything else is a defect, and shows where.
_EXPECTED = (
    SettingsError,
    DataError,
    CheckpointError,
    SourceError,
    RecordError,
    PictureError,
    OSError,
    LabelError,
    loop.DivergedError,
)


def main(arguments: Sequence[str] | None = None, program: str = "train.py") -> None:
    """Run a command line."""
    train(parse_options(sys.argv[1:] if arguments is None else arguments, program))


def train(options: Options) -> None:
    """Train in as many processes as the options say."""
    try:
        launch(partial(work, options), options.launch)
    except ProcessExitedException as error:
        sys.exit(error.exit_code)  # a process that was started here, and has said why


def work(options: Options, place: Place) -> None:
    """Train in one process; what a person can put right ends it with status 1, and one line from one process."""
    try:
        run(options, place)
    except _EXPECTED as error:
        _end(str(error), place)
    except (MemoryError, RuntimeError) as error:
        if not memory.ran_out(error):
            raise
        batch, parts = options.recipe.batch_size, 2 * options.recipe.accumulate
        more = f"compute the batch of {batch} in more parts, with --accumulate {parts}, or " if parts <= batch else ""
        _end(f"out of memory on {place.device}; {more}lower --batch_size", place)


def _end(problem: str, place: Place) -> NoReturn:
    if place.store is None:
        sys.exit(f"error: {problem}")
    place.tell_once(f"error: {problem}")
    sys.exit(1)


def run(options: Options, place: Place) -> None:
    """Prepare a run and train, or only validate."""
    _set_modes(options, place)
    options = replace(options, recipe=as_converted(options.recipe, None if options.fake else options.data))
    start = place.decide(partial(_begin, options))
    prepared = prepare(options, place, start)
    if options.evaluate:
        found = loop.validate(prepared)
        if place.is_first:
            sys.stdout.write(f"loss {found.loss:.6f}\ntop1 {found.top1:.6f}\ntopk {found.topk:.6f}\n")
        return
    if not place.is_first:
        loop.train(prepared)
        return
    _claim_folder(options, start)
    with RunLog(options.folder, options.log_folder, prepared.epoch, prepared.step) as log:
        prepared.log = log
        precision = options.precision or torch.float32
        log.say(f"{options.recipe}\n{place.processes} x {place.device}, {precision}\n{start.note}")
        loop.train(prepared)
        log.say(f"done: {options.folder}, best top-1 {prepared.best:.2f} %")


def _begin(options: Options) -> Start:
    """Find where the run starts, and that its folder is free for it."""
    start = find_start(options)
    if not options.evaluate:
        _check_folder(options, start)
    return start


def prepare(options: Options, place: Place, start: Start) -> Run:
    """Put a run together.

    Raises:
        SettingsError: if options do not fit each other.
        DataError: if the data are not there, or not those of the recipe.
        CheckpointError: if the weights to start from do not fit.
    """
    recipe = options.recipe
    opened = open_splits(recipe, options.data, fake=options.fake, download=options.download)
    if opened.events and options.for_images:
        flags = ", ".join(options.for_images)
        raise SettingsError(f"{options.data} holds events, and {flags} can be followed for images only; leave that out")
    try:
        loaders = build_loaders(opened, recipe, place, -(-options.workers // place.processes))
    except ValueError as error:
        raise SettingsError(str(error)) from error
    network = build_network(recipe)
    if start.weights is not None:
        # Other classes and another conversion are for a new run; to validate or to go on, all must be the file's.
        load_weights(network, start.weights, fine_tune=options.init is not None and not options.evaluate)
    if options.sync_bn:
        if place.device.type != "cuda":
            raise SettingsError("--sync-bn needs GPUs, as PyTorch has no such layer for the CPU; leave it out")
        synchronise(network)
    network.to(place.device)
    if options.channels_last:
        network.to(memory_format=torch.channels_last)
    prepared = Run(
        recipe=recipe,
        place=place,
        folder=options.folder,
        network=network,
        forward=_wrap(network, options, place),
        averaged=average(network, recipe.ema) if recipe.ema else None,
        optimizer=build_optimizer(network, recipe),
        scaler=torch.amp.GradScaler(place.device.type, enabled=options.precision == torch.float16),
        precision=options.precision,
        mixing=mixing_transform(recipe) if recipe.mixup else None,
        loaders=loaders,
        counts=metrics.build_metrics(recipe.classes, options.topk, place.device),
        topk=options.topk,
        log=None,
        print_every=options.print_every,
        checkpoint_every=options.checkpoint_every,
        most_steps=options.most_steps,
        epoch=options.start_epoch,
    )
    if start.state is not None:
        try:
            prepared.restore(start.state)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{start.folder}: what the last checkpoint holds does not fit ({error}); go on with the same version "
                f"and --precision, or start a new run from its weights with --init"
            ) from error
    return prepared


def build_network(recipe: Recipe) -> nn.Module:
    """Build the network of a recipe."""
    return build_model(
        recipe.model,
        recipe.classes,
        ratio=recipe.ratio,
        order=recipe.order,
        timesteps=recipe.timesteps,
        random=recipe.random,
        threshold=recipe.threshold,
        input=recipe.input,
        zero_init=recipe.zero_init,
    )


def _set_modes(options: Options, place: Place) -> None:
    """Seed all generators, alike in all processes: each batch gets one draw of motion vectors, as in one process."""
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = not options.deterministic
    if place.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    random.seed(options.recipe.seed)
    np.random.seed(options.recipe.seed)
    torch.manual_seed(options.recipe.seed)


def _check_folder(options: Options, start: Start) -> None:
    """Refuse to write over another run, unless told to."""
    if options.new_folder and options.folder.exists():
        raise SettingsError(f"{options.folder} is there already; choose another --name, or leave out --exist_ok")
    if not options.overwrite and not start.continues(options.folder) and any(map(Path.exists, _files(options))):
        raise SettingsError(
            f"{options.folder} holds a run; go on with it with --resume, choose another --name, or --overwrite it"
        )


def _claim_folder(options: Options, start: Start) -> None:
    """Make the run's folder, without the files of a run that is written over. All else has been checked by then."""
    if not start.continues(options.folder):
        for file in _files(options):
            file.unlink(missing_ok=True)
    options.folder.mkdir(parents=True, exist_ok=True)


def _files(options: Options) -> list[Path]:
    return [options.folder / name for name in (checkpoint.LAST, checkpoint.PREVIOUS, checkpoint.BEST)]


def _wrap(network: nn.Module, options: Options, place: Place) -> nn.Module:
    forward = network
    if options.compile is not None:
        forward = cast(nn.Module, torch.compile(network, backend=options.compile))
    if place.processes > 1:
        forward = DistributedDataParallel(forward, [place.device.index] if place.device.type == "cuda" else None)
    return forward


if __name__ == "__main__":
    main()
