"""Names of files and classes as a terminal and a plot can show them."""

from __future__ import annotations

from pathlib import Path


def printable(name: str | Path) -> str:
    """Replace what would disturb a terminal, or has no place in an encoding."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(name))
