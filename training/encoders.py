"""What turns a batch of images into the sequence that a network sees: the paper's conversion and its ablations."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from i2e_triton import I2E, canonical_shifts, convert, random_shifts
from i2e_triton.images import Images, as_image_tensor

#: What a network sees: events, or one of the images of :class:`RepeatedImage`.
Input = Literal["events", "rgb", "value"]
IMAGE_CHANNELS = (1, 3)


class FixedThreshold(I2E):
    """The conversion with one threshold for all images, in the place of theta = ratio x range (paper, ablation).

    A threshold of 0.12 is what the dynamic one gives at ratio 0.12 for an image from black to white. Ties with the
    threshold may fall on either side: it reaches the operator as a ratio for each image, rounded to float32.

    Args:
        threshold: least change of the value channel that fires, where values go from 0 to 1.
        **settings: those of :class:`i2e_triton.I2E`, but for ``ratio``.
    """

    def __init__(self, threshold: float, **settings: Any):
        super().__init__(threshold, **settings)

    def forward(self, images: Images) -> Tensor:
        """Convert images ``[B, C, H, W]`` to dense events ``[T, B, 2, H, W]``."""
        images = as_image_tensor(images)
        if self.training and self.random:
            batch = images.shape[0] if self.per_sample else None
            shifts = random_shifts(batch, order=self.shuffle, timesteps=self.timesteps, device=images.device)
        else:
            shifts = canonical_shifts(self.shuffle, self.timesteps, device=images.device)
        value = value_channel(images)
        ratios = (
            self.ratio / (value.amax((1, 2, 3)) - value.amin((1, 2, 3)))
        ).nan_to_num()  # a flat image has no range
        events = convert(images, ratios.clamp(max=1), shifts=shifts, dtype=self.dtype)
        return events * (ratios <= 1)[:, None, None, None]  # no difference reaches a threshold above the range


class RepeatedImage(nn.Module):
    """The image itself at every timestep, as networks see it that are not given events (paper, ablation).

    Args:
        channels: 3 for the colours, 1 for the value channel.
        timesteps: how often; 4 in the paper.

    Shape:
        images ``[B, C, H, W]`` to float32 ``[T, B, channels, H, W]``; uint8 is scaled to [0, 1].
    """

    def __init__(self, channels: int, timesteps: int = 4):
        super().__init__()
        if channels not in IMAGE_CHANNELS:
            raise ValueError(f"channels must be 1 or 3, got {channels}")
        if timesteps < 1:
            raise ValueError(f"timesteps must be at least 1, got {timesteps}")
        self.channels = channels
        self.timesteps = timesteps

    def forward(self, images: Tensor) -> Tensor:
        """Repeat a batch; see the class for shapes."""
        image = value_channel(images) if self.channels == 1 else scaled(images).expand(-1, 3, -1, -1)
        return image.expand(self.timesteps, *image.shape)

    def extra_repr(self) -> str:
        """Show the settings in ``repr``."""
        return f"channels={self.channels}, timesteps={self.timesteps}"


def scaled(images: Tensor) -> Tensor:
    """Images as float32; uint8 goes to [0, 1] as ``torchvision.transforms.v2.ToDtype(scale=True)`` takes it there."""
    return images.to(torch.float32) * (1 / 255) if images.dtype == torch.uint8 else images.to(torch.float32)


def value_channel(images: Tensor) -> Tensor:
    """The V of HSV: float32 ``[B, 1, H, W]`` of images ``[B, C, H, W]``."""
    return scaled(images.amax(1, keepdim=True))
