"""The paper's estimate of energy: operations times what one costs in a 45 nm process.

0.9 pJ for an accumulate (AC), 4.6 pJ for a multiply-accumulate (MAC), both of 32-bit floating-point numbers: Horowitz,
Computing's energy problem (and what we can do about it), ISSCC 2014. A layer that takes events or spikes only adds up
the weights that they reach. Not counted: normalisation (it folds into the convolutions), the neurons, shortcuts,
pooling, the conversion, memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from .activity import Activity

AC_PJ = 0.9
MAC_PJ = 4.6
_PJ_PER_MJ = 1e9
_IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class LayerEnergy:
    """Operations of a layer for one image, all timesteps.

    Attributes:
        name: of the layer.
        acs: accumulates: events per input x MACs x timesteps, where inputs are events or spikes.
        macs: multiply-accumulates, where inputs are numbers, as those of a network that sees images.
        ann_macs: those of the layer in a network of the same shape that sees the image once, without spikes.
    """

    name: str
    acs: float
    macs: int
    ann_macs: int

    @property
    def millijoules(self) -> float:
        """Energy of an image."""
        return (AC_PJ * self.acs + MAC_PJ * self.macs) / _PJ_PER_MJ

    @property
    def ann_millijoules(self) -> float:
        """Energy of an image in the network without spikes."""
        return MAC_PJ * self.ann_macs / _PJ_PER_MJ


@dataclass(frozen=True)
class Energy:
    """The estimate for one image.

    Attributes:
        layers: in the order of the forward pass.
    """

    layers: tuple[LayerEnergy, ...]

    @property
    def millijoules(self) -> float:
        """Energy of an image."""
        return sum(layer.millijoules for layer in self.layers)

    @property
    def ann_millijoules(self) -> float:
        """Energy of an image in the network without spikes."""
        return sum(layer.ann_millijoules for layer in self.layers)


def estimate_energy(activity: Activity) -> Energy:
    """Estimate the energy of an average image of those that were seen while the activity was recorded.

    The network without spikes that it compares with has the same layers, and a first layer for three channels.
    """
    layers: list[LayerEnergy] = []
    for name, layer in activity.weighted.items():
        dense = layer.macs * layer.inputs.timesteps
        ann_macs = layer.macs if layers else layer.macs * _IMAGE_CHANNELS // layer.channels
        if layer.inputs.counts_events:
            layers.append(LayerEnergy(name, acs=layer.inputs.mean * dense, macs=0, ann_macs=ann_macs))
        else:
            layers.append(LayerEnergy(name, acs=0.0, macs=dense, ann_macs=ann_macs))
    return Energy(tuple(layers))
