"""Random conversions, alone and in threads, whose events are compared with the specification bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import torch
from hypothesis import strategies as st

from i2e_triton import convert
from tests.augmented_cases import AugmentedCase, augmented_cases
from tests.cases import EVENT_DTYPES, Case, cases, poisoned
from tests.samples import assert_same_events

_EXAMPLES = 25
_THREADS = 8


def try_conversions(seed: int, seconds: float, folder: Path) -> tuple[int, list[str]]:
    """Convert random images of every dtype, layout and content, with random options, one after the other."""
    return _until(seed, seconds, check_conversion, conversion=conversions())


def try_threads(seed: int, seconds: float, folder: Path) -> tuple[int, list[str]]:
    """Convert random images in 8 threads at once."""
    with ThreadPoolExecutor(_THREADS) as threads:

        def check_all(several: list[tuple[Any, ...]]) -> None:
            list(threads.map(check_conversion, several))

        tried, failed = _until(seed, seconds, check_all, several=st.lists(conversions(), min_size=_THREADS, max_size=9))
    return tried * _THREADS, failed


def conversions() -> st.SearchStrategy[tuple[Any, ...]]:
    """Return the strategy of conversions: arguments, dtype of the events, packed or dense, layout of ``out``."""
    layouts = st.sampled_from([None, "contiguous", "strided"])
    return st.tuples(cases() | augmented_cases(), st.sampled_from(EVENT_DTYPES), st.booleans(), layouts)


def check_conversion(conversion: tuple[Case | AugmentedCase, torch.dtype, bool, str | None]) -> None:
    """Convert and compare every bit with the specification; ``out`` is filled with wrong values before."""
    case, dtype, packed, layout = conversion
    packed = packed and case.shifts.shape[-2] <= 8
    expected = case.expected(torch.uint8 if packed else dtype, packed=packed)
    augmentation = case.augmentation if isinstance(case, AugmentedCase) else {}
    out = None if layout is None else poisoned(expected, layout)
    events = convert(case.images, case.ratio, shifts=case.shifts, dtype=dtype, packed=packed, out=out, **augmentation)
    assert_same_events(events, expected)


def _until(
    seed: int, seconds: float, check: Callable[..., None], **strategies: st.SearchStrategy[Any]
) -> tuple[int, list[str]]:
    """Check examples of the strategies until the time is over. Every 25 examples have a seed of their own."""
    settings = hypothesis.settings(
        max_examples=_EXAMPLES,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    tried, failed, end = 0, [], time.monotonic() + seconds

    def counted(**example: Any) -> None:
        nonlocal tried
        tried += 1
        check(**example)

    while time.monotonic() < end:
        try:
            hypothesis.seed(seed)(settings(hypothesis.given(**strategies)(counted)))()
        except Exception as error:
            failed.append(f"seed {seed}: {type(error).__name__}: {error}")
        seed += 1
    return tried, failed
