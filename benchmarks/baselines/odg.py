"""Omnidirectional Discrete Gradient, the conversion of ES-ImageNet.

Source: Lin et al., ES-ImageNet: A Million Event-Stream Classification Dataset for Spiking Neural Networks, Frontiers in
Neuroscience 15, 2021, section "Omnidirectional Discrete Gradient". The image, scaled to at most 254 pixels a side,
moves along a fixed path of 9 positions, up to 2 pixels to the right and down, over a canvas of zeros that is 2 pixels
larger. A pixel of the canvas whose value rises by more than 0.18 of the value scale from one position to the next is an
ON event; a pixel whose value falls by more is an OFF event. Events along the border of the canvas, which the image does
not cover at all positions, are cleared. Events are stored as coordinates.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST_SIDE = 254
PATH_X = (1, 0, 2, 1, 0, 2, 1, 1, 2)
PATH_Y = (0, 2, 1, 0, 1, 2, 0, 1, 1)
THRESHOLD = 0.18
REACH = 2  # largest coordinate of the path


def convert(image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the events of one image, on its device.

    Args:
        image: uint8 ``[C, H, W]``.

    Returns:
        For each of the 8 steps, the coordinates of its ON and OFF events on the canvas: int64 ``[N, 2]``, rows of
        (y, x), in reading order.
    """
    value = scaled(image).amax(dim=0).to(torch.float32) / 255
    # The canvas at each position of the path is a view of the padded image.
    field = F.pad(value, (REACH,) * 4)
    height, width = value.shape[0] + REACH, value.shape[1] + REACH
    canvases = [field[REACH - y :, REACH - x :][:height, :width] for y, x in zip(PATH_Y, PATH_X)]
    events = []
    for before, after in pairwise(canvases):
        difference = after - before
        on, off = difference > THRESHOLD, difference < -THRESHOLD
        events.append((_coordinates(on), _coordinates(off)))
    return events


def scaled(image: Tensor) -> Tensor:
    """Return an image ``[C, H, W]`` scaled down (bilinear) to at most 254 pixels a side; small images are unchanged."""
    height, width = image.shape[-2:]
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    resized = F.interpolate(image[None].to(torch.float32), size, mode="bilinear", align_corners=False)
    return resized[0].round().to(torch.uint8)


def _coordinates(fires: Tensor) -> Tensor:
    """Clear the border of a canvas and return the coordinates of the other events."""
    fires[:REACH] = False
    fires[-REACH:] = False
    fires[:, :REACH] = False
    fires[:, -REACH:] = False
    return fires.nonzero()
