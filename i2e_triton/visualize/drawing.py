"""Events and images as pictures. Needs Pillow and NumPy: ``pip install 'i2e-triton[cli]'``."""

from __future__ import annotations

import numpy as np
import PIL.Image
import torch
from torch import Tensor

#: A red and a blue that colour-blind people tell apart.
ON = (0xD7, 0x19, 0x1C)
OFF = (0x21, 0x66, 0xAC)
GROUND = (0xFF, 0xFF, 0xFF)


def draw_timestep(events: Tensor) -> PIL.Image.Image:
    """Draw the events of one timestep, a pixel each: ON red, OFF blue, on white.

    Args:
        events: bool ``[2, H, W]`` on the CPU.

    Returns:
        A palette picture: 0 is the ground, 1 an ON event, 2 an OFF event.
    """
    on, off = events.to(torch.uint8)
    picture = PIL.Image.fromarray((on + 2 * off).numpy())
    picture.putpalette([*GROUND, *ON, *OFF])
    return picture


def draw_reduced(events: Tensor, factor: int) -> PIL.Image.Image:
    """Draw the events of one timestep smaller, as :func:`draw_timestep` does, in RGB.

    A line of events one pixel thin stays one pixel thin in full colour: an average would fade it to 1 / factor.

    Args:
        events: bool ``[2, H, W]`` on the CPU.
        factor: how many pixels become one, in height and in width.
    """
    on, off = (_coverage(polarity, factor) for polarity in events)
    strength = 1 / np.maximum(on + off, 1 / factor)
    ground = np.array(GROUND)
    ink = on[..., None] * (ground - ON) + off[..., None] * (ground - OFF)
    return PIL.Image.fromarray((ground - strength[..., None] * ink).round().astype(np.uint8))


def _coverage(polarity: Tensor, factor: int) -> np.ndarray:
    """Share of each ``factor`` x ``factor`` block that holds an event."""
    mask = PIL.Image.fromarray(polarity.to(torch.uint8).mul_(255).numpy())
    return np.asarray(mask.reduce(factor), dtype=np.float32) / 255


def draw_image(image: Tensor) -> PIL.Image.Image:
    """Draw an image ``[1, H, W]`` in grey or ``[3, H, W]`` in colour; floating-point values over their finite range."""
    if image.is_floating_point():
        image = _grey_levels(image)
    if image.shape[0] == 1:
        return PIL.Image.fromarray(image[0].numpy())
    return PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())


def _grey_levels(values: Tensor) -> Tensor:
    """Spread the finite values over 0 to 255; NaN is black."""
    finite = values[values.isfinite()]
    if finite.numel() == 0:
        return torch.zeros_like(values, dtype=torch.uint8)
    low, high = float(finite.min()), float(finite.max())
    spread = (values.double().nan_to_num(low, high, low) - low) * (255 / (high - low or 1.0))
    return spread.round().to(torch.uint8)
