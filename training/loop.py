"""The training loop, to be read from top to bottom: a run is epochs, an epoch is steps, a step is one batch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from i2e_triton import unpack
from i2e_triton.training import checkpoint, metrics
from i2e_triton.training.encoders import scaled
from i2e_triton.training.evaluation import Evaluation, check_labels, evaluate
from i2e_triton.training.optimizer import learning_rate
from i2e_triton.training.run import Run


class DivergedError(ArithmeticError):
    """The loss is no longer a number; the message says where and what to try."""


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
    losses: list[Tensor] = []
    images, start = 0, time.perf_counter()
    batches = _shown(run, f"epoch {epoch}", run.loaders.train, steps, first_step)
    for step, (inputs, labels) in enumerate(batches, first_step):
        losses.append(train_step(run, inputs, labels, epoch))
        images += len(labels) * run.place.processes
        saving = run.checkpoint_every > 0 and (step + 1) % run.checkpoint_every == 0
        if saving or (step + 1) % run.print_every == 0 or step + 1 == steps:
            loss = record(run, epoch, step + 1, losses, lr)
            losses.clear()
            run.say(f"epoch {epoch} step {step + 1}/{steps} loss {loss:.4f} lr {lr:.6f}")
        if saving:
            run.save(epoch, step + 1)
    return images / (time.perf_counter() - start)


def train_step(run: Run, inputs: Tensor, labels: Tensor, epoch: int) -> Tensor:
    """Take one step of the optimiser; return the mean loss of the batch, on the device, without waiting for it."""
    check_labels(labels, run.recipe.classes)
    inputs = inputs.to(run.place.device, non_blocking=True)
    labels = labels.to(run.place.device, non_blocking=True)
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


def validate(run: Run) -> Evaluation:
    """Evaluate on all validation samples, each counted once; in float32, as published."""
    if run.place.processes > 1:
        for buffer in run.validated.buffers():
            distributed.broadcast(buffer, 0)  # each process has statistics of its own share
    steps = _limited(len(run.loaders.validation), run.most_steps)
    batches = _shown(run, "validation", run.loaders.validation, steps)
    return evaluate(run.validated, batches, run.recipe.classes, topk=run.topk, device=run.place.device)


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
    run: Run, epoch: int, facts: dict[str, float], trained: dict[str, float], validated: Evaluation
) -> None:
    """Record an epoch and keep its weights: as the last ones, and as the best ones if they are."""
    top1 = 100 * validated.top1
    is_best = top1 > run.best or not (run.folder / checkpoint.BEST).exists()
    run.best = max(run.best, top1)
    if run.log is not None:
        values = {f"train_{name}": trained[name] for name in ("loss", "top1")}
        values |= {f"val_{name}": getattr(validated, name) for name in ("loss", "top1", "topk")}
        run.log.add_epoch(epoch, {**facts, **values})
    run.say(
        f"epoch {epoch}: validation top-1 {top1:.2f} %, top-{run.topk} {100 * validated.topk:.2f} %, "
        f"loss {validated.loss:.4f}; training top-1 {100 * trained['top1']:.2f} %; best {run.best:.2f} %; "
        f"{facts['images_per_second']:.0f} images/s"
    )
    if is_best:
        run.save_best(epoch)
    run.save(epoch + 1, 0)


def _parts(inputs: Tensor, labels: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """Cut a batch into parts; events have it in their second dimension."""
    dim = 1 if inputs.dim() == 5 else 0
    parts = zip(inputs.tensor_split(count, dim), labels.tensor_split(count))
    return [(part, part_labels) for part, part_labels in parts if len(part_labels)]


def _gradients(forward: nn.Module, shared: bool) -> AbstractContextManager[None]:
    """Let processes sum up their gradients, or leave that to a later part of the batch."""
    return forward.no_sync() if isinstance(forward, DistributedDataParallel) and not shared else nullcontext()


def _shown(
    run: Run, phase: str, batches: Iterable[tuple[Tensor, Tensor]], steps: int, done: int = 0
) -> Iterable[tuple[Tensor, Tensor]]:
    """Those batches of a phase that are not done yet, shown in the progress bar while they are worked on."""
    left = islice(batches, max(0, steps - done))
    return left if run.log is None else run.log.track(phase, left, steps, done)


def _limited(steps: int, most: int | None) -> int:
    return steps if most is None else min(steps, most)
