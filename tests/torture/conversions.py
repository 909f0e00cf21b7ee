"""Random conversions, alone and in threads, whose events are compared with the specification bit for bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis
import torch
from hypothesis import strategies as st

from i2e_triton import convert
from tests.augmented_cases import AugmentedCase, augmented_cases
from tests.cases import EVENT_DTYPES, Case, cases, poisoned
from tests.samples import assert_same_events
from tests.torture.repeat import try_cases

Conversion = tuple[Case | AugmentedCase, torch.dtype, bool, str | None]

_THREADS = 8
#: All settings of Hypothesis for one case of a section: 25 conversions, or 25 times 8 in threads.
_SETTINGS = hypothesis.settings(
    max_examples=25,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


def try_conversions(seed: int, seconds: float, folder: Path) -> tuple[int, list[str]]:
    """Convert random images of every dtype, layout and content, with random options, one after the other."""

    @_SETTINGS
    @hypothesis.given(conversions())
    def check(conversion: Conversion) -> None:
        check_conversion(conversion)

    return try_cases(seed, seconds, lambda seed: hypothesis.seed(seed)(check)())


def try_threads(seed: int, seconds: float, folder: Path) -> tuple[int, list[str]]:
    """Convert random images in 8 threads at once."""

    @_SETTINGS
    @hypothesis.given(st.lists(conversions(), min_size=_THREADS, max_size=_THREADS))
    def check(several: list[Conversion]) -> None:
        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(check_conversion, several))

    return try_cases(seed, seconds, lambda seed: hypothesis.seed(seed)(check)())


def conversions() -> st.SearchStrategy[Conversion]:
    """Return the strategy of conversions: arguments, dtype of the events, packed or dense, layout of ``out``."""
    layouts = st.sampled_from([None, "contiguous", "strided"])
    return st.tuples(cases() | augmented_cases(), st.sampled_from(EVENT_DTYPES), st.booleans(), layouts)


def check_conversion(conversion: Conversion) -> None:
    """Convert and compare every bit with the specification; ``out`` is filled with wrong values before."""
    case, dtype, packed, layout = conversion
    packed = packed and case.shifts.shape[-2] <= 8
    expected = case.expected(torch.uint8 if packed else dtype, packed=packed)
    augmentation = case.augmentation if isinstance(case, AugmentedCase) else {}
    out = None if layout is None else poisoned(expected, layout)
    events = convert(case.images, case.ratio, shifts=case.shifts, dtype=dtype, packed=packed, out=out, **augmentation)
    assert_same_events(events, expected)
