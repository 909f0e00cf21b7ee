"""Batch normalisation over the batches of all GPUs, for sequences of timesteps."""

from __future__ import annotations

from spikingjelly.activation_based import layer
from torch import Tensor, nn


class SyncBatchNorm2d(nn.SyncBatchNorm):
    """PyTorch's, of ``[T, B, C, H, W]``; SpikingJelly has none."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each channel over timesteps, images and pixels."""
        return super().forward(input.flatten(0, 1)).unflatten(0, input.shape[:2])


def synchronise(network: nn.Module) -> None:
    """Put :class:`SyncBatchNorm2d` in the place of SpikingJelly's layers, under their names and with their state."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, layer.BatchNorm2d):
                setattr(module, name, _synchronised(child))


def _synchronised(normalisation: layer.BatchNorm2d) -> SyncBatchNorm2d:
    made = SyncBatchNorm2d(normalisation.num_features, normalisation.eps, normalisation.momentum)
    made.to(normalisation.running_mean).load_state_dict(normalisation.state_dict())
    return made.train(normalisation.training)
