"""A network that trains in milliseconds, and runs with it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from i2e_triton import I2E, unpack
from i2e_triton.training.callbacks import RunRecord
from i2e_triton.training.recipes import Recipe, RunOptions, find_recipe
from i2e_triton.training.run import run

FAKE = find_recipe("fake").changed(size=16, batch_size=16, epochs=2)


class TinyNetwork(nn.Module):
    """A convolution, a layer of neurons and a classifier; ``normalized`` adds batch normalization."""

    def __init__(self, recipe: Recipe, normalized: bool = True):
        super().__init__()
        self.i2e = I2E(recipe.ratio, recipe.order, timesteps=recipe.timesteps or 8, random=recipe.random)
        self.conv = layer.Conv2d(2, 16, 5, stride=2, padding=2, bias=not normalized)
        self.bn = layer.BatchNorm2d(16) if normalized else nn.Identity()
        self.neurons = neuron.LIFNode(decay_input=False, surrogate_function=surrogate.ATan(), detach_reset=True)
        self.pool = layer.AdaptiveAvgPool2d((2, 2))
        self.fc = layer.Linear(64, recipe.classes)
        functional.set_step_mode(self, "m")

    def sequence(self, x: Tensor) -> Tensor:
        if x.dim() == 4:
            x = unpack(x, self.i2e.timesteps) if x.shape[1] == 2 else self.i2e(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        x = self.pool(self.neurons(self.bn(self.conv(self.sequence(x)))))
        return self.fc(x.flatten(2)).mean(0)


def train(out: Path, recipe: Recipe = FAKE, **options: Any) -> RunRecord:
    """Run on the CPU, without workers unless told, and log every step."""
    values: dict[str, Any] = {"device": "cpu", "workers": 0, "log_every": 1, "max_steps": 4, **options}
    return run(RunOptions(recipe, out=out, **values))


def losses(out: Path) -> dict[int, str]:
    """Return the loss of every step, from all logs of a run; later logs win."""
    found: dict[int, str] = {}
    for path in sorted(out.glob("logs/*/metrics.csv")):
        with path.open(newline="") as file:
            found |= {int(row["step"]): row["step/loss"] for row in csv.DictReader(file) if row["step/loss"]}
    return found
