"""Bring events of any accepted form into one form, and arrange the images of a batch as a grid."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from i2e_triton.functional import unpack

# Between the images of a grid, as a fraction of their longer side, and at least in pixels.
_GAP = 1 / 20
_MIN_GAP = 2


def as_batch(events: Tensor, packed: bool | None = None) -> Tensor:
    """Return events as bool ``[T, B, 2, H, W]`` on the CPU.

    Args:
        events: dense ``[T, 2, H, W]`` or ``[T, B, 2, H, W]`` of any dtype, where nonzero values are events; or packed
            ``[2, H, W]`` or ``[B, 2, H, W]``, uint8. Any device.
        packed: whether uint8 events with 4 dimensions are packed. Default: None, they are if a value is above 1.

    Raises:
        ValueError: if the shape or the dtype is not one of these, or there are no pixels.
    """
    if not isinstance(events, Tensor):
        raise ValueError(f"events must be a tensor, got {type(events).__name__}")
    can_be_packed = events.dtype == torch.uint8 and events.dim() in (3, 4)
    if packed is None:
        packed = can_be_packed and (events.dim() == 3 or bool((events > 1).any()))
    valid = can_be_packed if packed else events.dim() in (4, 5)
    if not valid or events.shape[-3] != 2 or events.numel() == 0:
        raise ValueError(
            "events must be dense [T, 2, H, W] or [T, B, 2, H, W], or packed uint8 [2, H, W] or [B, 2, H, W], and not "
            f"empty; got {events.dtype} {list(events.shape)}"
        )
    if packed:
        events = unpack(events, dtype=torch.bool)
    events = events.cpu() != 0
    return events if events.dim() == 5 else events[:, None]


def as_grid(images: Tensor, fill: int = 0) -> Tensor:
    """Arrange images ``[B, ..., H, W]`` as a grid ``[..., H', W']`` that is about square.

    ``fill`` is the value of the gaps between the images.
    """
    batch, height, width = len(images), *images.shape[-2:]
    if batch == 1:
        return images[0]  # the padding below takes gigabytes for an image of 1 x 100,000 pixels
    columns = min(batch, max(1, math.ceil(math.sqrt(batch * height / width))))
    rows = math.ceil(batch / columns)
    gap = max(_MIN_GAP, round(_GAP * max(height, width)))
    padded = F.pad(images, (0, gap, 0, gap), value=fill)
    missing = padded.new_full((rows * columns - batch, *padded.shape[1:]), fill)
    cells = torch.cat([padded, missing]).unflatten(0, (rows, columns))
    lines = torch.cat(cells.unbind(1), dim=-1)  # [rows, ..., H, W']
    return torch.cat(lines.unbind(0), dim=-2)[..., :-gap, :-gap]
