"""The numbers that a setting may be, for values and for the texts of a command line."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Finite numbers from ``least`` to ``most``, or all that are less than ``below``.

    Args:
        kind: int, or float, which takes whole numbers too.
        least: the smallest one.
        most: the largest one.
        below: what they are less than.
    """

    kind: type[int] | type[float]
    least: float
    most: float = math.inf
    below: float = math.inf

    def __str__(self) -> str:
        start = f"a {'whole ' if self.kind is int else ''}number"
        if self.below < math.inf:
            return f"{start} of at least {self.least} and less than {self.below}"
        return f"{start} from {self.least} to {self.most}" if self.most < math.inf else f"{start}, {self.least} or more"

    def check(self, name: str, value: float) -> None:
        """Check a value.

        Raises:
            TypeError: if it is no number of this kind.
            ValueError: if it is out of range.
        """
        if isinstance(value, bool) or not isinstance(value, (int, self.kind)):
            raise TypeError(f"{name} must be {self}, got {value!r}")
        if not (self.least <= value <= self.most and value < self.below):
            raise ValueError(f"{name} must be {self}, got {value}")

    def parse(self, text: str) -> float:
        """Read a number, as a ``type`` of ``argparse``."""
        try:
            value = self.kind(text)
            self.check("", value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"must be {self}, got {text}") from error
        return value
