"""Draw events and images as Pillow images. Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``."""

from __future__ import annotations

import numpy as np
import PIL.Image
import torch
from torch import Tensor

#: Colors of the events: a red and a blue that color-blind people can distinguish.
ON = (0xD7, 0x19, 0x1C)
OFF = (0x21, 0x66, 0xAC)
BOTH = (0x7B, 0x32, 0x94)  #: ON and OFF, as in the official code's events of flat images
BACKGROUND = (0xFF, 0xFF, 0xFF)
#: Colors of a pixel without events, with ON, with OFF and with both.
PALETTE = (BACKGROUND, ON, OFF, BOTH)


def draw_events(events: Tensor, reduce: int = 1) -> PIL.Image.Image:
    """Draw the events of one timestep in RGB: ON red, OFF blue, both between them, on white.

    A line of events that is one pixel wide stays one pixel wide in full color when it is reduced. An average over the
    blocks would reduce its contrast to 1 / reduce.

    Args:
        events: bool ``[2, H, W]`` on the CPU.
        reduce: height and width in pixels of the block of events that becomes one pixel.
    """
    masks = [PIL.Image.fromarray(polarity.to(torch.uint8).mul_(255).numpy()) for polarity in events]
    on, off = (np.asarray(mask.reduce(reduce), dtype=np.float32)[..., None] / 255 for mask in masks)
    color_change = on * np.subtract(BACKGROUND, ON) + off * np.subtract(BACKGROUND, OFF)
    strength = 1 / np.maximum(on + off, 1 / reduce)
    return PIL.Image.fromarray((BACKGROUND - strength * color_change).round().astype(np.uint8))


def draw_image(image: Tensor) -> PIL.Image.Image:
    """Draw an image ``[1, H, W]`` in grey or ``[3, H, W]`` in color.

    Floating-point values are scaled from their finite range to 0..255; NaN becomes black.
    """
    if image.is_floating_point():
        image = _scale_to_bytes(image)
    return PIL.Image.fromarray(image.permute(1, 2, 0).squeeze(2).contiguous().numpy())


def _scale_to_bytes(values: Tensor) -> Tensor:
    finite = values[values.isfinite()]
    if finite.numel() == 0:
        return torch.zeros_like(values, dtype=torch.uint8)
    low, high = float(finite.min()), float(finite.max())
    scaled = (values.double().nan_to_num(low, high, low) - low) * (255 / (high - low or 1.0))
    return scaled.round().to(torch.uint8)
