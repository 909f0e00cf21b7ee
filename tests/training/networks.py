"""Networks whose neurons fire, and images for them, for tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.samples import noise, resized_photograph


def enliven(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """Give batch normalisation random statistics and gains, so that every layer fires and shows in the logits."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, 0.0, 1.0),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.2, 1.0),
            ):
                assert isinstance(values, Tensor)
                values.data.uniform_(low, high, generator=generator)
    return network.eval()


def sample_images(generator: torch.Generator) -> Tensor:
    """Two images, uint8 ``[2, 3, 32, 32]``: noise and a photograph."""
    return torch.cat([noise((1, 3, 32, 32), torch.uint8, generator), resized_photograph("astronaut", 32)[None]])
