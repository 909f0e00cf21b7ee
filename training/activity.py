"""Activity of a network: event and firing rates, operations, and the paper's estimate of energy.

The energy is the number of operations times their energy in a 45 nm process, for 32-bit floating-point numbers: 0.9 pJ
for an accumulate (AC), 4.6 pJ for a multiply-accumulate (MAC) (Horowitz, Computing's energy problem, ISSCC 2014). A
layer whose inputs are events or spikes only accumulates the weights that they reach. Not counted: batch normalization
(it folds into the convolutions), neurons, shortcuts, pooling, the conversion, memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

AC_PJ, MAC_PJ = 0.9, 4.6
_MJ_PER_PJ = 1e-9


@dataclass
class Count:
    """Activity at one place of a network, summed over batches on the device."""

    timesteps: int = 0
    positions: int = 0  #: inputs or neurons, times images, times timesteps
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
        """Fraction of positions that are not 0: the event rate, or the firing rate per neuron and timestep."""
        return int(self._active) / self.positions

    @property
    def mean(self) -> float:
        """Events per position: the rate, or more if inputs are counts of events."""
        return float(self._total) / self.positions

    @property
    def counts_events(self) -> bool:
        """Whether all values were whole numbers: events, spikes or their counts."""
        return not bool(self._graded)


@dataclass
class WeightedLayer:
    """A convolution or linear layer."""

    inputs: Count = field(default_factory=Count)
    channels: int = 0  #: input channels
    macs: int = 0  #: multiply-accumulates of one image and one timestep for dense inputs, padding included


@dataclass
class Activity:
    """Activity of a network by the names of its modules, in the order of the forward pass."""

    neurons: dict[str, Count] = field(default_factory=dict)
    weighted: dict[str, WeightedLayer] = field(default_factory=dict)

    @property
    def input_rate(self) -> float:
        """Event rate of the input of the first layer."""
        return next(iter(self.weighted.values())).inputs.rate

    def hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        """Return a forward hook that counts the spikes or the inputs of a module."""

        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, neuron.BaseNode):
                self.neurons.setdefault(name, Count()).add(output.detach())
                return
            layer = self.weighted.setdefault(name, WeightedLayer())
            layer.inputs.add(inputs[0].detach())
            weight = module.get_parameter("weight")
            layer.channels, layer.macs = weight.shape[1], output[0, 0].numel() * weight[0].numel()

        return count


@contextmanager
def record_activity(model: nn.Module) -> Iterator[Activity]:
    """Record the activity of all forward passes of a network in the ``with`` block.

    Layers must take sequences ``[T, B, ...]``, as SpikingJelly's do in step mode ``"m"``.
    """
    activity = Activity()
    counted = (neuron.BaseNode, nn.Conv2d, nn.Linear)
    modules = [(name, module) for name, module in model.named_modules() if isinstance(module, counted)]
    handles = [module.register_forward_hook(activity.hook(name)) for name, module in modules]
    try:
        yield activity
    finally:
        for handle in handles:
            handle.remove()


class LayerEnergy(NamedTuple):
    """Operations and energy of a layer for one image and all timesteps."""

    name: str
    acs: float  #: accumulates: events per input x MACs x timesteps, if the inputs are events or spikes
    macs: int  #: multiply-accumulates, if the inputs are other numbers
    ann_macs: int  #: multiply-accumulates in a network without spikes that sees the image once
    millijoules: float
    ann_millijoules: float  #: in the network without spikes


def estimate_energy(activity: Activity) -> list[LayerEnergy]:
    """Estimate the energy of an average image, by layer in the order of the forward pass.

    The network without spikes has the same layers, except that its first layer has three input channels.
    """
    layers: list[LayerEnergy] = []
    for name, layer in activity.weighted.items():
        dense = layer.macs * layer.inputs.timesteps
        ann_macs = layer.macs if layers else layer.macs * 3 // layer.channels
        acs, macs = (layer.inputs.mean * dense, 0) if layer.inputs.counts_events else (0.0, dense)
        energies = ((AC_PJ * acs + MAC_PJ * macs) * _MJ_PER_PJ, MAC_PJ * ann_macs * _MJ_PER_PJ)
        layers.append(LayerEnergy(name, acs, macs, ann_macs, *energies))
    return layers
