"""A network that trains in milliseconds, in the place of the published ones, and runs of the command with it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from i2e_triton import I2E, unpack
from i2e_triton.training import train
from i2e_triton.training.recipes import Recipe


class TinyNetwork(nn.Module):
    """A convolution, a layer of neurons and a classifier; ``normalised`` adds batch normalisation."""

    def __init__(self, recipe: Recipe, normalised: bool = True):
        super().__init__()
        self.i2e = I2E(recipe.ratio, recipe.order, timesteps=recipe.timesteps or 8, random=recipe.random)
        self.conv = layer.Conv2d(2, 16, 5, stride=2, padding=2, bias=not normalised)
        self.bn = layer.BatchNorm2d(16) if normalised else nn.Identity()
        self.neurons = neuron.LIFNode(decay_input=False, surrogate_function=surrogate.ATan(), detach_reset=True)
        self.pool = layer.AdaptiveAvgPool2d((2, 2))
        self.fc = layer.Linear(64, recipe.classes)
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        if x.dim() == 4:
            x = unpack(x, self.i2e.timesteps) if x.shape[1] == 2 else self.i2e(x)
        x = self.pool(self.neurons(self.bn(self.conv(x))))
        return self.fc(x.flatten(2)).mean(0)


class CutError(Exception):
    """What ends a run in the midst of a step."""


def run(*arguments: object) -> None:
    """Run the command on this machine's CPU, without workers unless told."""
    train.main(["--device", "cpu", "-w", "0", *map(str, arguments)])


def rows(path: Path) -> list[dict[str, str]]:
    """Read a table of a run."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def failure(error: Any) -> str:
    """Return the message that a command ended with."""
    return str(error.value.code)
