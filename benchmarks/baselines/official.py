"""The official formulation of I2E: padding, a convolution and elementwise operations, in float32.

Source: Ma et al., I2E: Real-Time Image-to-Event Conversion for High-Performance Spiking Neural Networks, AAAI 2026,
arXiv 2511.08065, section "Method". This is a rewrite with one PyTorch operation per step of the algorithm. For a flat
image, the threshold theta is 0 and every pixel fires in both polarities.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from i2e_triton import Surrogate
from i2e_triton.reference import Step
from i2e_triton.shifts import canonical_shifts, convolution_weight


def motion_weight(device: torch.device | str | None = None) -> Tensor:
    """Return the convolution weight of the canonical motion vectors: float32 ``[8, 1, 3, 3]``."""
    return convolution_weight(canonical_shifts()).to(device)


def convert(images: Tensor, weight: Tensor, ratio: float = 0.12, surrogate: Surrogate | None = None) -> Tensor:
    """Return the events of a batch, on the device of the images.

    Args:
        images: float32 or uint8 ``[B, C, H, W]``. uint8 images are first scaled to [0, 1].
        weight: the result of :func:`motion_weight` on the same device.
        ratio: threshold theta as a fraction of the value range of each image.
        surrogate: derivative of the step function, for events that have a gradient.

    Returns:
        float32 ``[8, B, 2, H, W]``; polarity 0 is ON, polarity 1 is OFF.
    """
    if images.dtype == torch.uint8:
        images = images.to(torch.float32) * (1 / 255)
    value = images.amax(dim=1, keepdim=True)
    theta = (value.amax(dim=(2, 3), keepdim=True) - value.amin(dim=(2, 3), keepdim=True)) * ratio
    difference = F.conv2d(F.pad(value, (1, 1, 1, 1), mode="replicate"), weight)
    events = [difference >= theta, -difference >= theta]
    if surrogate is not None:
        changes = [difference - theta, -difference - theta]
        events = [Step.apply(change, fired, surrogate) for change, fired in zip(changes, events)]
    return torch.stack(events, dim=2).transpose(0, 1).to(torch.float32)
