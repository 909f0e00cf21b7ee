"""Omnidirectional Discrete Gradient (ODG), the conversion of ES-ImageNet.

Source: Lin et al., ES-ImageNet: A Million Event-Stream Classification Dataset for Spiking Neural Networks, Frontiers in
Neuroscience 15, 2021, section "Omnidirectional Discrete Gradient".

The image is scaled to at most 254 pixels a side. It moves along a fixed path of 9 positions, up to 2 pixels to the
right and down, over a canvas of zeros that is 2 pixels higher and wider. If the value of a canvas pixel rises by more
than 0.18 of the full scale from one position to the next, the pixel has an ON event; if it falls by more than that, an
OFF event. The image does not cover the border of the canvas at all positions, so events there are cleared. Events are
stored as coordinates.
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
MAX_OFFSET = 2  # largest coordinate of the path, in pixels


def convert(image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the events of one image, on its device.

    Args:
        image: uint8 ``[C, H, W]``.

    Returns:
        For each of the 8 steps, the coordinates of its ON and OFF events on the canvas: int64 ``[N, 2]``, rows of
        (y, x), in reading order.
    """
    value = scaled(image).amax(dim=0).to(torch.float32) / 255
    # The canvas at each position of the path is a view of the padded image, so no image is copied.
    padded = F.pad(value, (MAX_OFFSET,) * 4)
    height, width = value.shape[0] + MAX_OFFSET, value.shape[1] + MAX_OFFSET
    canvases = [padded[MAX_OFFSET - y :, MAX_OFFSET - x :][:height, :width] for y, x in zip(PATH_Y, PATH_X)]
    events = []
    for previous, current in pairwise(canvases):
        difference = current - previous
        on, off = difference > THRESHOLD, difference < -THRESHOLD
        events.append((_coordinates(on), _coordinates(off)))
    return events


def scaled(image: Tensor) -> Tensor:
    """Return an image ``[C, H, W]``, scaled down (bilinear) if it has more than 254 pixels a side."""
    height, width = image.shape[-2:]
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    resized = F.interpolate(image[None].to(torch.float32), size, mode="bilinear", align_corners=False)
    return resized[0].round().to(torch.uint8)


def _coordinates(fires: Tensor) -> Tensor:
    """Clear the border of a canvas of events and return the coordinates of the remaining events."""
    fires[:MAX_OFFSET] = False
    fires[-MAX_OFFSET:] = False
    fires[:, :MAX_OFFSET] = False
    fires[:, -MAX_OFFSET:] = False
    return fires.nonzero()
