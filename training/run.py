"""All that a run is made of, how it is kept, and how it is taken up again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MetricCollection
from torchvision.transforms import v2

from i2e_triton.training import checkpoint, metrics
from i2e_triton.training.data import Loaders
from i2e_triton.training.distributed import Place
from i2e_triton.training.log import RunLog
from i2e_triton.training.recipes import Recipe


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

    @property
    def validated(self) -> nn.Module:
        """The network that accuracies of validation are of: the average, where there is one."""
        return self.network if self.averaged is None else self.averaged.module

    def say(self, text: str) -> None:
        """Print, once."""
        if self.log is not None:
            self.log.say(text)

    def save_best(self, epoch: int) -> None:
        """Keep the network after an epoch as the best one, in the first process."""
        if self.place.is_first:
            checkpoint.save_best(self.folder, self._described(epoch))

    def save(self, next_epoch: int, next_step: int) -> None:
        """Keep all that continuing at a step of an epoch needs; every process must call this."""
        counted = metrics.summed_state(self.counts)
        if not self.place.is_first:
            return
        averaging = None
        if self.averaged is not None:
            averaging = {"network": self.network.state_dict(), "steps": int(self.averaged.n_averaged)}
        state = {
            **self._described(next_epoch - 1),
            "next_epoch": next_epoch,
            "next_step": next_step,
            "averaging": averaging,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": checkpoint.random_state(self.place.device),
            "metrics": counted,
        }
        checkpoint.save_last(self.folder, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`save` was called."""
        self.validated.load_state_dict(state["state_dict"])
        if self.averaged is not None:
            self.network.load_state_dict(state["averaging"]["network"])
            self.averaged.n_averaged.fill_(state["averaging"]["steps"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        checkpoint.restore_random_state(state["random"], self.place.device)
        if self.place.is_first:
            metrics.restore_state(self.counts, state["metrics"])
        self.epoch, self.step, self.best = state["next_epoch"], state["next_step"], state["best_acc1"]

    def _described(self, epoch: int) -> dict[str, Any]:
        """What published checkpoints have: weights, the last epoch that is done, the best accuracy; and the recipe."""
        weights = self.validated.state_dict()
        return {"epoch": epoch, "best_acc1": self.best, "recipe": self.recipe.as_dict(), "state_dict": weights}
