"""Arguments that count something, integers of any type."""

from __future__ import annotations

from operator import index
from typing import Any


def is_integer(value: Any) -> bool:
    """Whether a value, which may be a size of a traced program, is an integer; a bool is not."""
    # What is an int comes first: PyTorch 2.11 does not trace hasattr of a traced size.
    return not isinstance(value, bool) and (isinstance(value, int) or hasattr(value, "__index__"))


def check_integer(name: str, value: Any) -> int:
    """Return an integer of any type as an int.

    Args:
        name: of the argument, for the message.
        value: what was given.

    Raises:
        TypeError: if it is not an integer.
    """
    if not is_integer(value):
        raise TypeError(f"{name} must be an int, got {type(value).__name__} {value!r}")
    return index(value)


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
    number = check_integer(name, value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
