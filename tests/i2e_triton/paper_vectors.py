"""Motion vectors copied from the paper's table, and a check that random draws of them are uniform."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Pairs of pixels of each group. The digits number the 3x3 neighbourhood 1 to 9 in reading order; 5 is its center.
PAIRS = {
    "a": (56, 12, 23, 45, 78, 89),
    "b": (52, 41, 63, 74, 85, 96),
    "c": (53, 42, 75, 86),
    "d": (51, 62, 84, 95),
    "e": (94, 61),
    "f": (43, 76),
    "g": (38, 27),
    "h": (81, 92),
}
#: Length of the vectors of each group, in pixels.
LENGTHS = {"a": 1.0, "b": 1.0, "c": math.sqrt(2), "d": math.sqrt(2)} | dict.fromkeys("efgh", math.sqrt(5))
#: Name, Greek name and groups of the six orders, at the index of their official number.
ORDERS = (
    ("alpha-beta-gamma", "αβγ", "abcdefgh"),
    ("alpha-gamma-beta", "αγβ", "abefghcd"),
    ("beta-alpha-gamma", "βαγ", "cdabefgh"),
    ("beta-gamma-alpha", "βγα", "cdefghab"),
    ("gamma-alpha-beta", "γαβ", "efghabcd"),
    ("gamma-beta-alpha", "γβα", "efghcdab"),
)
POSITIONS = {  # (dy, dx) of each digit
    1: (-1, -1), 2: (-1, 0), 3: (-1, 1),
    4: (0, -1), 5: (0, 0), 6: (0, 1),
    7: (1, -1), 8: (1, 0), 9: (1, 1),
}  # fmt: skip


def vector(pair: int) -> list[int]:
    start, end = divmod(pair, 10)
    return [*POSITIONS[start], *POSITIONS[end]]


def canonical(groups: str) -> Tensor:
    return torch.tensor([vector(PAIRS[group][0]) for group in groups], dtype=torch.int32)


def groups_as_numbers(groups: str) -> tuple[int, ...]:
    return tuple("abcdefgh".index(group) for group in groups)


def assert_uniform(rows: list[list[int]], group: str) -> None:
    """Check that the vectors of a group are equally frequent: chi-square at a significance of 1e-6."""
    counts = [rows.count(vector(pair)) for pair in PAIRS[group]]
    assert sum(counts) == len(rows)
    expected = len(rows) / len(counts)
    chi_square = sum((count - expected) ** 2 / expected for count in counts)
    assert chi_square < {2: 23.93, 4: 30.67, 6: 35.89}[len(counts)]
