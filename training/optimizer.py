"""Optimiser and schedule, as timm makes them of the published flags (``create_optimizer``, ``CosineLRScheduler``)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from i2e_triton.training.recipes import Recipe


def build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return stochastic gradient descent, with Nesterov's momentum or plain, or Adam, its weight decay apart or not."""
    groups = decaying(network, recipe.weight_decay)
    if recipe.optimizer in ("adam", "adamw"):
        return (torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW)(groups, lr=recipe.lr)
    nesterov = recipe.optimizer == "sgd" and recipe.momentum > 0
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)


def decaying(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Put parameters into groups: biases and batch normalisation, all of one dimension, do not decay."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
    ]


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Return the learning rate of an epoch: a cosine from ``lr`` to ``lr_min``, or steps, after a linear warm-up."""
    if epoch < recipe.warmup_epochs:
        return recipe.warmup_lr + epoch * (recipe.lr - recipe.warmup_lr) / recipe.warmup_epochs
    if recipe.scheduler == "stepLR":
        return recipe.lr * recipe.decay_rate ** (epoch // recipe.decay_epochs)
    return recipe.lr_min + 0.5 * (recipe.lr - recipe.lr_min) * (1 + math.cos(math.pi * epoch / recipe.epochs))
