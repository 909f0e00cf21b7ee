"""Host time: CPU time of one call from the public function to the driver's launch function, measured without a GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks import host_time
from benchmarks.harness import stub_driver


@pytest.fixture(scope="module")
def microseconds() -> dict[str, float]:
    """Return the median host times by case, measured in a process with a stub of the driver library."""
    pytest.importorskip("triton.backends.nvidia")
    try:
        return host_time.measure()
    except stub_driver.NoCompilerError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("call", host_time.CASES)
def test_host_time(measure: Callable[..., None], microseconds: dict[str, float], call: str) -> None:
    """Record the host time of a call."""
    seconds = microseconds[call] * 1e-6
    times = {"median_s": seconds, "min_s": seconds, "cpu_s": seconds}
    measure("host", {"call": call}, lambda: None, device="cpu", images=1, once=True, **times)
