"""Rules for what a conversion is asked for, wherever it is asked: ratio, timesteps, type of the events."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch

from i2e_triton.whole_numbers import check_integer

EVENT_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool)
#: One byte per pixel and polarity holds this many timesteps.
PACKED_TIMESTEPS = 8
#: The paper's microsaccade has this many.
PAPER_TIMESTEPS = 8


def check_ratio(ratio: Any) -> float:
    """Return a ratio, a real number of any type, as a float.

    Raises:
        TypeError: if it is not a number.
        ValueError: if it is negative, not finite, or beyond any float.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, Real):
        raise TypeError(
            f"ratio must be a number, got {type(ratio).__name__} {ratio!r}; only convert takes one per image, "
            "a tensor [B]"
        )
    try:
        number = float(ratio)
    except OverflowError:
        number = math.inf  # a whole number of more than 300 digits, which no message should show
    if not 0 <= number < math.inf:
        raise ValueError(f"ratio must be finite and not negative, got {number}; the paper uses 0.05 to 0.20")
    return number


def check_timesteps(timesteps: Any, beyond: str = "for a longer microsaccade pass shifts") -> int:
    """Return a number of timesteps, an integer of any type, as an int.

    Args:
        timesteps: 1 to 8.
        beyond: what the message advises if there are others.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is not 1 to 8.
    """
    number = check_integer("timesteps", timesteps)
    if not 1 <= number <= PAPER_TIMESTEPS:
        raise ValueError(f"timesteps must be 1 to {PAPER_TIMESTEPS}, got {number}; {beyond}")
    return number


def check_format(dtype: Any, packed: Any, timesteps: int) -> torch.dtype:
    """Return the type of the tensor that holds events, dense ones of ``dtype`` or packed ones.

    Raises:
        TypeError: if ``dtype`` is not a type of events, or ``packed`` neither True nor False.
        ValueError: if packed events cannot hold so many timesteps.
    """
    if not isinstance(packed, bool):
        raise TypeError(f"packed must be True or False, got {packed!r}")
    if packed and timesteps > PACKED_TIMESTEPS:
        raise ValueError(f"packed events hold {PACKED_TIMESTEPS} timesteps at most, got {timesteps}; use packed=False")
    if dtype not in EVENT_DTYPES:
        raise TypeError(f"dtype must be {names(EVENT_DTYPES)}, got {dtype!r}")
    return torch.uint8 if packed else dtype


def names(dtypes: tuple[torch.dtype, ...]) -> str:
    """List types for a message."""
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
