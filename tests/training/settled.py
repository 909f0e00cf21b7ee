"""A run with frozen batch statistics, in as many processes as torchrun or Lightning starts.

In float64: rounding differs between summation orders, and in float32 it could decide whether a neuron fires.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from i2e_triton import I2E
from i2e_triton.training import module, run
from i2e_triton.training.models import BASIC, MSResNet
from i2e_triton.training.recipes import Recipe, RunOptions, find_recipe
from tests.training.networks import enliven

RECIPE = find_recipe("fake").changed(size=16, batch_size=4, epochs=1, lr=0.01)


def freeze(normalization: nn.Module, _: object) -> None:
    normalization.eval()


def build_settled(recipe: Recipe) -> nn.Module:
    network = MSResNet(BASIC, (1, 1, 1, 1), recipe.classes, I2E(recipe.ratio), batch_first=False)
    enliven(network, torch.Generator().manual_seed(0))
    for each in network.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.register_forward_pre_hook(freeze)
    return network.double()


def options(out: Path, devices: int) -> RunOptions:
    return RunOptions(RECIPE, out=out, device="cpu", devices=devices, workers=0, max_steps=3, log_every=1)


if __name__ == "__main__":
    module.build_network = build_settled
    torch.set_num_threads(1)
    run.run(options(Path(sys.argv[1]), int(sys.argv[2])))
