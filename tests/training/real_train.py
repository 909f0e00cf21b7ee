"""Steps of training with the published network, in several processes or in one."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch
from torch import nn

from i2e_triton.training import loop, train
from i2e_triton.training.distributed import Place
from i2e_triton.training.options import Options
from i2e_triton.training.recipes import Recipe
from i2e_triton.training.resume import Start
from tests.training.networks import enliven

STEPS = 3
_BUILD = train.build_network


def build_settled(recipe: Recipe) -> nn.Module:
    """The network of a recipe, whose batch normalisation goes by its statistics while training as well."""
    network = build_exact(recipe)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(_settle)
    return network


def _settle(module: nn.Module, _: object) -> None:
    module.eval()


def build_exact(recipe: Recipe) -> nn.Module:
    """The network of a recipe in float64: what rounding changes in float32 tips neurons over their threshold."""
    return enliven(_BUILD(recipe), torch.Generator().manual_seed(0)).double()


def take_steps(options: Options, file: Path, place: Place) -> None:
    """Take some steps of a run; the first process leaves the weights, as float32."""
    train.build_network = build_exact if options.sync_bn or place.device.type == "cuda" else build_settled
    train._set_modes(options, place)
    run = train.prepare(options, place, Start())
    run.forward.train()
    for inputs, labels in islice(run.loaders.train, STEPS):
        loop.train_step(run, inputs, labels, epoch=0)
    if place.is_first:
        torch.save({name: value.float() for name, value in run.network.state_dict().items()}, file)
