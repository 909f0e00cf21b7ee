"""I2E as its authors formulate it: padding, a convolution and elementwise operations, in float32.

Source: Ma et al., I2E: Real-Time Image-to-Event Conversion for High-Performance Spiking Neural Networks, AAAI 2026,
arXiv 2511.08065, section "Method". Written anew: one operation of PyTorch for each step of the algorithm, on the device
of the images. Where an image is flat, theta is 0 and every pixel fires in both polarities.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from i2e_triton.shifts import canonical_shifts, convolution_weight


def motion_weight(device: torch.device | str | None = None) -> Tensor:
    """The canonical microsaccade as a convolution: float32 ``[8, 1, 3, 3]``."""
    return convolution_weight(canonical_shifts()).to(device)


def convert(images: Tensor, weight: Tensor, ratio: float = 0.12) -> Tensor:
    """Convert a batch.

    Args:
        images: ``[B, C, H, W]``, float32, or uint8, which is scaled to [0, 1] first.
        weight: see :func:`motion_weight`; on the images' device.
        ratio: sensitivity of the threshold.

    Returns:
        float32 ``[8, B, 2, H, W]``; polarity 0 is ON, polarity 1 is OFF.
    """
    if images.dtype == torch.uint8:
        images = images.to(torch.float32) * (1 / 255)
    value = images.amax(dim=1, keepdim=True)
    theta = (value.amax(dim=(2, 3), keepdim=True) - value.amin(dim=(2, 3), keepdim=True)) * ratio
    difference = F.conv2d(F.pad(value, (1, 1, 1, 1), mode="replicate"), weight)
    events = torch.stack([difference >= theta, -difference >= theta], dim=2)
    return events.transpose(0, 1).to(torch.float32)
