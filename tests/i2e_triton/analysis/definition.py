"""Entropy computed directly from its definition, for comparison."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable


def entropy_of(symbols: Iterable[object]) -> float:
    """Return the entropy of a sequence of symbols in bits per symbol."""
    counts = Counter(symbols)
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())
