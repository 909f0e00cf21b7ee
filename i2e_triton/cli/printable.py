"""Names of files and classes as a terminal and a plot can show them."""

from __future__ import annotations


def printable(name: str) -> str:
    """Replace what would disturb a terminal, or has no place in an encoding."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
