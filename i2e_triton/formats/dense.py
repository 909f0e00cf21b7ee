"""Dense events of any type as NumPy sees them, checked before anything is written."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from i2e_triton.checks import EVENT_DTYPES, names


def dense_array(events: Tensor) -> np.ndarray:
    """Return dense events ``[T, 2, H, W]`` of any event type and device as a contiguous bool array.

    Raises:
        TypeError: if they are no tensor, or of another type.
        ValueError: if the shape is another, or a value neither 0 nor 1.
    """
    if not isinstance(events, Tensor):
        raise TypeError(f"events must be a tensor, got {type(events).__name__}")
    if events.dtype not in EVENT_DTYPES:
        raise TypeError(f"events must be {names(EVENT_DTYPES)}, got {events.dtype}")
    if events.dim() != 4 or events.shape[1] != 2 or 0 in events.shape:
        raise ValueError(f"events must be [T, 2, H, W], one image, with none of them 0; got shape {list(events.shape)}")
    events = events.detach().cpu()
    fired = events.ne(0)
    if not torch.equal(fired.to(events.dtype), events):
        raise ValueError("events must be 0 or 1; counts and packed events are not dense events")
    array: np.ndarray = fired.contiguous().numpy()
    return array
