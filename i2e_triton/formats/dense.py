"""Check dense events and convert them to NumPy before they are written."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from i2e_triton.checks import EVENT_DTYPES, names


def dense_array(events: Tensor) -> np.ndarray:
    """Return dense events as a contiguous bool array ``[T, 2, H, W]``.

    Args:
        events: dense ``[T, 2, H, W]`` of any event type, on any device.

    Raises:
        TypeError: if ``events`` is not a tensor of an event type.
        ValueError: if the shape is wrong, or a value is neither 0 nor 1.
    """
    if not isinstance(events, Tensor):
        raise TypeError(f"events must be a tensor, got {type(events).__name__}")
    if events.dtype not in EVENT_DTYPES:
        raise TypeError(f"events must be {names(EVENT_DTYPES)}, got {events.dtype}")
    if events.dim() != 4 or events.shape[1] != 2 or 0 in events.shape:
        raise ValueError(f"events must be [T, 2, H, W] of one image and not empty, got shape {list(events.shape)}")
    events = events.detach().cpu()
    fired = events.ne(0)
    if not torch.equal(fired.to(events.dtype), events):
        raise ValueError("events must be 0 or 1; event counts and packed events are not dense events")
    array: np.ndarray = fired.contiguous().numpy()
    return array
