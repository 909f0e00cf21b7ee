"""The training loop, to be read from top to bottom: a run is epochs, an epoch is steps, a step is one batch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MetricCollection
from torchvision.transforms import v2

from i2e_triton import unpack
from i2e_triton.training import checkpoint, metrics
from i2e_triton.training.data import Loaders
from i2e_triton.training.distributed import Place
from i2e_triton.training.encoders import scaled
from i2e_triton.training.log import RunLog
from i2e_triton.training.optimizer import learning_rate
from i2e_triton.training.recipes import Recipe


class LabelError(ValueError):
    """A label is none of the classes; the message says what to change."""


class DivergedError(ArithmeticError):
    """The loss is no longer a number; the message says where and what to try."""


@dataclass
class Run:
    """All that a run is made of; :func:`i2e_triton.training.train.prepare` puts it together."""

    recipe: Recipe
    place: Place
    folder: Path
    network: nn.Module
    forward: nn.Module  #: the network, wrapped for several processes or compiled
    averaged: AveragedModel | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    precision: torch.dtype | None  #: of automatic mixed precision
    mixing: v2.Transform | None
    loaders: Loaders
    counts: MetricCollection  #: of the epoch in training
    topk: int
    log: RunLog | None  #: of the first process
    print_every: int
    checkpoint_every: int  #: steps; 0: at the end of an epoch only
    most_steps: int | None  #: of an epoch, to try a run
    epoch: int = 0  #: where the run starts or goes on
    step: int = 0
    best: float = 0.0  #: top-1 of validation, percent

    def say(self, text: str) -> None:
        """Print, once."""
        if self.log is not None:
            self.log.say(text)


def train(run: Run) -> None:
    """Train from ``run.epoch`` and ``run.step`` to the last epoch; leave checkpoints, tables and curves."""
    first_step = run.step
    for epoch in range(run.epoch, run.recipe.epochs):
        lr = learning_rate(run.recipe, epoch)
        for group in run.optimizer.param_groups:
            group["lr"] = lr
        speed = train_epoch(run, epoch, first_step, lr)
        trained = metrics.read(run.counts)
        run.counts.reset()
        first_step = 0
        validated = validate(run)
        finish_epoch(run, epoch, {"lr": lr, "images_per_second": speed}, trained, validated)
    if run.log is not None:
        run.log.draw()


def train_epoch(run: Run, epoch: int, first_step: int, lr: float) -> float:
    """Train on every batch from ``first_step`` on; return the images a second."""
    run.forward.train()
    run.loaders.batches.epoch = epoch
    run.loaders.batches.first_step = first_step
    steps = _limited(run.loaders.batches.steps, run.most_steps)
    if run.log is not None:
        run.log.begin(f"epoch {epoch}", steps, first_step)
    losses: list[Tensor] = []
    images, start = 0, time.perf_counter()
    for step, (inputs, labels) in enumerate(_first(run.loaders.train, steps - first_step), first_step):
        losses.append(train_step(run, inputs, labels, epoch))
        images += len(labels) * run.place.processes
        if run.log is not None:
            run.log.advance()
        saving = run.checkpoint_every > 0 and (step + 1) % run.checkpoint_every == 0
        if saving or (step + 1) % run.print_every == 0 or step + 1 == steps:
            loss = record(run, epoch, step + 1, losses, lr)
            losses.clear()
            run.say(f"epoch {epoch} step {step + 1}/{steps} loss {loss:.4f} lr {lr:.6f}")
        if saving:
            save(run, epoch, step + 1)
    return images / (time.perf_counter() - start)


def train_step(run: Run, inputs: Tensor, labels: Tensor, epoch: int) -> Tensor:
    """Take one step of the optimiser; return the mean loss of the batch, on the device, without waiting for it."""
    _check_labels(labels, run.recipe.classes)
    inputs = inputs.to(run.place.device, non_blocking=True)
    labels = labels.to(run.place.device, non_blocking=True)
    if inputs.dim() == 5:
        inputs = inputs.transpose(0, 1)  # events [B, T, 2, H, W], timesteps first
    total = torch.zeros((), device=run.place.device)
    parts = _parts(inputs, labels, run.recipe.accumulate)
    for number, (part, part_labels) in enumerate(parts, 1):
        part, targets = mix(run, part, part_labels, epoch)
        part = drop_timesteps(run, part)
        share = len(part_labels) / len(labels)
        with _gradients(run.forward, shared=number == len(parts)):
            with torch.autocast(run.place.device.type, run.precision, enabled=run.precision is not None):
                logits = run.forward(part)
                loss = F.cross_entropy(logits, targets, label_smoothing=run.recipe.label_smoothing)
            run.scaler.scale(loss * share).backward()
        loss = loss.detach()
        total += loss * share
        run.counts.update(preds=logits.detach(), target=part_labels, value=loss.expand(len(part_labels)))
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)
    if run.averaged is not None:
        run.averaged.update_parameters(run.network)
    return total


def mix(run: Run, images: Tensor, labels: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
    """Mix the images of a batch in the first two thirds of the epochs, as the published ``--mixup``."""
    if run.mixing is None or epoch > run.recipe.epochs * 2 / 3:
        return images, labels
    mixed, targets = run.mixing(scaled(images), labels)
    return mixed, targets


def drop_timesteps(run: Run, inputs: Tensor) -> Tensor:
    """Convert a batch and keep some timesteps by chance, in their order, as the published ``--t_train``."""
    if run.recipe.drop_to == 0:
        return inputs
    events = inputs
    if inputs.dim() == 4:
        packed = inputs.shape[1] == 2
        events = unpack(inputs, run.recipe.timesteps or 8) if packed else run.network.get_submodule("i2e")(inputs)
    kept = torch.randperm(events.shape[0])[: run.recipe.drop_to].sort().values
    return events[kept.to(events.device)]


@torch.no_grad()
def validate(run: Run) -> dict[str, float]:
    """Return loss, top-1 and top-k of all validation samples, each counted once; in float32, as published."""
    network = run.network if run.averaged is None else run.averaged.module
    network.eval()
    if run.place.processes > 1:
        for buffer in network.buffers():
            distributed.broadcast(buffer, 0)  # each process has statistics of its own share
    counts = metrics.build_metrics(run.recipe.classes, run.topk, run.place.device)
    steps = _limited(len(run.loaders.validation), run.most_steps)
    if run.log is not None:
        run.log.begin("validation", steps)
    for inputs, labels in _first(run.loaders.validation, steps):
        inputs = inputs.to(run.place.device, non_blocking=True)
        labels = labels.to(run.place.device, non_blocking=True)
        if inputs.dim() == 5:
            inputs = inputs.transpose(0, 1)
        logits = network(inputs)
        losses = F.cross_entropy(logits, labels, reduction="none")
        counts.update(preds=logits, target=labels, value=losses)
        if run.log is not None:
            run.log.advance()
    return metrics.read(counts)


def record(run: Run, epoch: int, steps: int, losses: list[Tensor], lr: float) -> float:
    """Read the losses of the last steps, the mean over all processes, into the table; return the last one.

    Raises:
        DivergedError: if a loss is not a finite number.
    """
    stacked = torch.stack(losses)
    if run.place.processes > 1:
        distributed.all_reduce(stacked)
        stacked /= run.place.processes
    values: list[float] = stacked.tolist()
    for step, value in enumerate(values, steps - len(values)):
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss of epoch {epoch}, step {step} is {value}; lower --lr, or take --precision float32"
            )
    if run.log is not None:
        run.log.add_steps(epoch, steps - len(values), values, lr)
    return values[-1]


def finish_epoch(
    run: Run, epoch: int, facts: dict[str, float], trained: dict[str, float], validated: dict[str, float]
) -> None:
    """Record an epoch and keep its weights: as the last ones, and as the best ones if they are."""
    top1 = 100 * validated["top1"]
    is_best = top1 > run.best or not (run.folder / checkpoint.BEST).exists()
    run.best = max(run.best, top1)
    if run.log is not None:
        values = {f"train_{name}": trained[name] for name in ("loss", "top1")}
        values |= {f"val_{name}": validated[name] for name in ("loss", "top1", "topk")}
        run.log.add_epoch(epoch, {**facts, **values})
    run.say(
        f"epoch {epoch}: validation top-1 {top1:.2f} %, top-{run.topk} {100 * validated['topk']:.2f} %, "
        f"loss {validated['loss']:.4f}; training top-1 {100 * trained['top1']:.2f} %; best {run.best:.2f} %; "
        f"{facts['images_per_second']:.0f} images/s"
    )
    if is_best and run.place.is_first:
        network = run.network if run.averaged is None else run.averaged.module
        checkpoint.save_best(run.folder, {**_described(run, epoch), "state_dict": network.state_dict()})
    save(run, epoch + 1, 0)


def save(run: Run, next_epoch: int, next_step: int) -> None:
    """Keep all that continuing at a step of an epoch needs; every process must call this."""
    counted = metrics.summed_state(run.counts)
    if not run.place.is_first:
        return
    state = {
        **_described(run, next_epoch - 1),
        "next_epoch": next_epoch,
        "next_step": next_step,
        "state_dict": run.network.state_dict(),
        "averaged": None if run.averaged is None else run.averaged.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "random": checkpoint.random_state(run.place.device),
        "metrics": counted,
    }
    checkpoint.save_last(run.folder, state)


def restore(run: Run, state: dict[str, Any]) -> None:
    """Continue where :func:`save` was called."""
    run.network.load_state_dict(state["state_dict"])
    if run.averaged is not None:
        run.averaged.load_state_dict(state["averaged"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.scaler.load_state_dict(state["scaler"])
    checkpoint.restore_random_state(state["random"], run.place.device)
    if run.place.is_first:
        metrics.restore_state(run.counts, state["metrics"])
    run.epoch, run.step, run.best = state["next_epoch"], state["next_step"], state["best_acc1"]


def _described(run: Run, epoch: int) -> dict[str, Any]:
    """What published checkpoints have besides weights: the last epoch that is done, and the best accuracy."""
    return {"epoch": epoch, "best_acc1": run.best, "recipe": run.recipe.as_dict()}


def _parts(inputs: Tensor, labels: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """Cut a batch into parts; events have it in their second dimension."""
    dim = 1 if inputs.dim() == 5 else 0
    parts = zip(inputs.tensor_split(count, dim), labels.tensor_split(count))
    return [(part, part_labels) for part, part_labels in parts if len(part_labels)]


def _gradients(forward: nn.Module, shared: bool) -> AbstractContextManager[None]:
    """Let processes sum up their gradients, or leave that to a later part of the batch."""
    return forward.no_sync() if isinstance(forward, DistributedDataParallel) and not shared else nullcontext()


def _check_labels(labels: Tensor, classes: int) -> None:
    """On the CPU, where it costs nothing; on a GPU a wrong label ends the process without a word."""
    if labels.numel() and not (int(labels.min()) >= 0 and int(labels.max()) < classes):
        raise LabelError(
            f"labels are {int(labels.min())} to {int(labels.max())}, the network has {classes} classes: 0 to "
            f"{classes - 1}; set --class_number to the number of classes of the data"
        )


def _first(loader: Any, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    for _, batch in zip(range(steps), loader):
        yield batch


def _limited(steps: int, most: int | None) -> int:
    return steps if most is None else min(steps, most)
