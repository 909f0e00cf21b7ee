"""Arguments that count something."""

from __future__ import annotations

from operator import index
from typing import Any


def check_whole_number(name: str, value: Any, least: int) -> int:
    """Return an integer of any type as an int.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least: the smallest that will do.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is less than that.
    """
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an int, got {type(value).__name__} {value!r}")
    number = index(value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
