"""The loop over random cases of a section."""

from __future__ import annotations

import time
from collections.abc import Callable


def try_cases(seed: int, seconds: float, check: Callable[[int], None]) -> tuple[int, list[str]]:
    """Check cases until the time is over; case i has the seed ``seed`` + i.

    Returns:
        The number of cases, and a line for each that failed.
    """
    tried, failed, end = 0, [], time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            check(seed + tried)
        except Exception as error:
            failed.append(f"seed {seed + tried}: {type(error).__name__}: {error}")
        tried += 1
    return tried, failed
