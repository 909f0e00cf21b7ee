"""The LightningModule: steps of training and validation, optimizer and schedule of a recipe.

data = DataModule(find_recipe("own"), "photographs")
module = SpikingClassifier(data.recipe)
pl.Trainer(max_epochs=data.recipe.epochs).fit(module, data)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchvision.transforms import v2

from i2e_triton.training.models import build_model, scaled
from i2e_triton.training.recipes import Recipe

Batch = tuple[Tensor, Tensor]


class SpikingClassifier(pl.LightningModule):
    """Trains a network as a recipe says.

    Training computes in the precision of the ``Trainer``, validation in float32 as in the official code.

    Args:
        recipe: the numbers of the run.
        network: a network to train instead of the recipe's. It takes images, packed events, or dense events
            ``[T, B, 2, H, W]``: what the loader returns.
    """

    def __init__(self, recipe: Recipe, network: nn.Module | None = None):
        super().__init__()
        self.recipe = recipe
        self.network = build_network(recipe) if network is None else network
        mixes = [v2.CutMix(num_classes=recipe.classes), v2.MixUp(num_classes=recipe.classes)]
        #: images of the test by true (row) and predicted (column) class, of this process
        self.confusion = torch.zeros(recipe.classes, recipe.classes, dtype=torch.int64)
        self._mix = v2.RandomChoice(mixes) if recipe.mixup else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``[B, classes]`` of images or events."""
        logits: Tensor = self.network(inputs)
        return logits

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Check the labels while they are on the CPU: on a GPU, a wrong label would end the process."""
        labels, classes = batch[1], self.recipe.classes
        if labels.device.type == "cpu" and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(
                f"labels are {int(labels.min())} to {int(labels.max())}, but the network has the classes 0 to "
                f"{classes - 1}; set --classes to the number of classes of the data"
            )
        return batch

    def training_step(self, batch: Batch, batch_idx: int = 0) -> Tensor:
        """Return the loss of a batch."""
        inputs, labels = batch
        targets = labels
        if self._mix is not None and self.current_epoch <= self.recipe.epochs * 2 / 3:
            inputs, targets = self._mix(scaled(inputs), labels)
        logits = self(self.drop_timesteps(inputs))
        loss = F.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing)
        self._log("train", logits.detach(), labels, loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int = 0, split: str = "val") -> None:
        """Log loss, without label smoothing, and accuracies of a batch."""
        inputs, labels = batch
        with torch.autocast(self.device.type, enabled=False):
            logits = self(inputs).float()
            self._log(split, logits, labels, F.cross_entropy(logits, labels))
        if split == "test":
            cells = (labels * self.recipe.classes + logits.argmax(1)).cpu()
            self.confusion.view(-1).index_add_(0, cells, torch.ones_like(cells))

    def test_step(self, batch: Batch, batch_idx: int = 0) -> None:
        """Log loss, without label smoothing, and accuracies of a batch, and count it in ``confusion``."""
        self.validation_step(batch, batch_idx, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer of the recipe, as timm's ``create_optimizer`` returns it for the official flags."""
        recipe = self.recipe
        groups = decay_groups(self.network, recipe.weight_decay)
        if recipe.optimizer in ("adam", "adamw"):
            return (torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW)(groups, lr=recipe.lr)
        nesterov = recipe.optimizer == "sgd" and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)

    def on_train_epoch_start(self) -> None:
        """Set the learning rate of the epoch."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = learning_rate(self.recipe, self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of the step, if the schedule has one for each step."""
        if self.recipe.scheduler == "oneCycle":
            for group in self.trainer.optimizers[0].param_groups:
                place = self.current_epoch + batch_idx / self.trainer.num_training_batches
                group["lr"] = learning_rate(self.recipe, place)

    def on_validation_epoch_start(self) -> None:
        """Use the batch statistics of the first process in all of them."""
        for buffer in self.network.buffers() if self._is_shared() else ():
            torch.distributed.broadcast(buffer, 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the recipe to a checkpoint."""
        checkpoint["recipe"] = self.recipe.as_dict()

    def drop_timesteps(self, inputs: Tensor) -> Tensor:
        """Convert a batch and keep some random timesteps in their order, as the official ``--t_train``."""
        if self.recipe.drop_to == 0:
            return inputs
        events = self.network.sequence(inputs)  # type: ignore[operator]
        kept = torch.randperm(events.shape[0])[: self.recipe.drop_to].sort().values
        return events[kept.to(events.device)]

    def _log(self, split: str, logits: Tensor, labels: Tensor, loss: Tensor) -> None:
        """Log the means of an epoch, and in training the loss of each step."""
        if self._trainer is None:  # a step outside of a Trainer
            return
        hits = (logits.topk(min(5, logits.shape[1])).indices == labels[:, None]).double()
        means = {"loss": loss.double(), "top1": hits[:, 0].mean(), "top5": hits.sum(1).mean()}
        shared: dict[str, Any] = {"batch_size": len(labels), "sync_dist": self._is_shared(), "on_epoch": True}
        self.log_dict({f"{split}/{name}": value for name, value in means.items()}, on_step=False, **shared)
        if split == "train":
            self.log("step/loss", loss, on_step=True, **{**shared, "on_epoch": False})

    def _is_shared(self) -> bool:
        return self._trainer is not None and self.trainer.world_size > 1


def build_network(recipe: Recipe) -> nn.Module:
    """Build the network of a recipe. It takes dense events ``[T, B, 2, H, W]``."""
    names = ("ratio", "order", "timesteps", "random", "threshold", "input", "zero_init")
    settings = {name: getattr(recipe, name) for name in names}
    return build_model(recipe.model, recipe.classes, batch_first=False, **settings)


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups without and with weight decay: biases and batch normalization have none."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
    ]


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Return the learning rate of an epoch, as timm's ``CosineLRScheduler`` and ``StepLRScheduler`` do.

    ``oneCycle`` rises from 1/25 of the learning rate for a tenth of the training and falls to 1/25,000, as cosines.
    """
    if recipe.scheduler == "oneCycle":
        done = epoch / recipe.epochs
        start, end, place = (1 / 25, 1.0, done / 0.1) if done < 0.1 else (1.0, 1 / 25_000, (done - 0.1) / 0.9)
        return recipe.lr * (end + (start - end) * 0.5 * (1 + math.cos(math.pi * place)))
    if epoch < recipe.warmup_epochs:
        return recipe.warmup_lr + epoch * (recipe.lr - recipe.warmup_lr) / recipe.warmup_epochs
    if recipe.scheduler == "stepLR":  # timm counts its epochs from the end of the warm-up
        return recipe.lr * recipe.decay_rate ** ((epoch - recipe.warmup_epochs) // recipe.decay_epochs)
    return recipe.lr_min + 0.5 * (recipe.lr - recipe.lr_min) * (1 + math.cos(math.pi * epoch / recipe.epochs))


def average_weights(decay: float) -> WeightAveraging:
    """Return a callback that validates an exponential moving average of weights and batch statistics."""
    move = get_ema_multi_avg_fn(decay)

    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            move(list(averaged), list(current), count)
        else:  # integers are copied: PyTorch's update would truncate their average
            for old, new in zip(averaged, current):
                old.copy_(new)

    return WeightAveraging(use_buffers=True, multi_avg_fn=update)
