"""How active a spiking network is: events into every weighted layer, spikes out of every neuron layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn


@dataclass
class Count:
    """Activity at one place of a network, summed up over batches; the sums stay on the device until they are read.

    Attributes:
        timesteps: T of what was seen.
        positions: inputs or neurons, times images, times timesteps.
    """

    timesteps: int = 0
    positions: int = 0
    _active: Tensor | int = 0
    _total: Tensor | float = 0.0
    _graded: Tensor | bool = False

    def add(self, x: Tensor) -> None:
        """Count a floating-point sequence ``[T, B, ...]``."""
        self.timesteps = x.shape[0]
        self.positions += x.numel()
        self._active = self._active + x.count_nonzero()
        self._total = self._total + x.sum(dtype=torch.float64)
        self._graded = self._graded | ((x < 0) | (x != x.round())).any()

    @property
    def rate(self) -> float:
        """Share of positions that are not 0: the event rate, or the firing rate per neuron and timestep."""
        return int(self._active) / self.positions

    @property
    def mean(self) -> float:
        """Events per position: the rate, or more where a position counts several of them."""
        return float(self._total) / self.positions

    @property
    def counts_events(self) -> bool:
        """Whether all that was seen are whole numbers: events, spikes, or how many there were."""
        return not bool(self._graded)


@dataclass
class WeightedLayer:
    """A convolution or linear layer: what enters it, and its multiplications.

    Attributes:
        inputs: activity of what enters.
        channels: how many enter.
        macs: multiply-accumulates of one image and one timestep, padding included, as if all inputs were dense.
    """

    inputs: Count = field(default_factory=Count)
    channels: int = 0
    macs: int = 0


@dataclass
class Activity:
    """Activity of a network by the names of its modules, in the order of the forward pass."""

    neurons: dict[str, Count] = field(default_factory=dict)
    weighted: dict[str, WeightedLayer] = field(default_factory=dict)

    @property
    def input_rate(self) -> float:
        """Share of positions of what the first layer takes that are not 0: the event rate."""
        return next(iter(self.weighted.values())).inputs.rate


@contextmanager
def record_activity(model: nn.Module) -> Iterator[Activity]:
    """Record activity in all forward passes of a network within the ``with`` block.

    Layers that take sequences ``[T, B, ...]`` are expected: SpikingJelly's, in step mode ``"m"``.
    """
    activity = Activity()
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, neuron.BaseNode):
            handles.append(module.register_forward_hook(_count_spikes(activity, name)))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            handles.append(module.register_forward_hook(_count_inputs(activity, name)))
    try:
        yield activity
    finally:
        for handle in handles:
            handle.remove()


def _count_spikes(activity: Activity, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        activity.neurons.setdefault(name, Count()).add(output.detach())

    return hook


def _count_inputs(activity: Activity, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layer = activity.weighted.setdefault(name, WeightedLayer())
        layer.inputs.add(inputs[0].detach())
        weight = module.get_parameter("weight")
        layer.channels = weight.shape[1]
        layer.macs = output[0, 0].numel() * weight[0].numel()

    return hook
