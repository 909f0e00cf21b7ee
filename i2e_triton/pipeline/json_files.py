"""JSON files of a conversion: written whole, and read back without trust."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from i2e_triton.io.atomic import write_whole

#: What reading JSON of any content raises, and taking its fields.
UNFIT = (ValueError, TypeError, KeyError, RecursionError)
_MOST = 2**63 - 1
_T = TypeVar("_T")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object to a file that takes its name when it is complete.

    Raises:
        OSError: if it cannot be written.
    """
    with write_whole(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def take(fields: Any, name: str, kind: type[_T]) -> _T:
    """Take a field of an object.

    Raises:
        TypeError: if this is none, or the field of another kind.
        KeyError: if the field is missing.
    """
    if not isinstance(fields, dict):
        raise TypeError(f"expected an object with {name!r}, got {type(fields).__name__}")
    value = fields[name]
    if type(value) is not kind:  # a bool is an int to isinstance
        raise TypeError(f"{name} must be {kind.__name__}, got {type(value).__name__}")
    return value


def take_count(fields: Any, name: str) -> int:
    """Take a number of things, 0 to 2**63 - 1.

    Raises:
        ValueError: if it is out of this range; also what :func:`take` raises.
    """
    value = take(fields, name, int)
    if not 0 <= value <= _MOST:
        raise ValueError(f"{name} must be 0 to {_MOST}, got {value}")
    return value


def take_texts(fields: Any, name: str) -> tuple[str, ...]:
    """Take a list of texts.

    Raises:
        TypeError: if it holds anything else; also what :func:`take` raises.
    """
    values = take(fields, name, list)
    if not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name} must be a list of texts")
    return tuple(values)
