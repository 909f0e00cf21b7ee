"""A clock that runs on the GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch


class Event(Protocol):
    """What the clock needs of a CUDA event."""

    def record(self) -> None:
        """Ask the device to note when it gets here."""

    def synchronize(self) -> None:
        """Wait until the device has."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds from this note to a later one, in float32."""


class CudaTimer:
    """Seconds that pass on the current CUDA device, in the place of ``time.perf_counter``.

    Each reading waits for the work that was launched before it. Readings are added up from one to the next: CUDA gives
    the time between two events as a float32 of milliseconds, which over hours would be too coarse for a kernel.
    """

    def __init__(self, new_event: Callable[[], Event] | None = None):
        self._new_event = new_event or _timing_event
        self._last: Event | None = None
        self._seconds = 0.0

    def __call__(self) -> float:
        """Read the clock."""
        event = self._new_event()
        event.record()
        event.synchronize()
        if self._last is not None:
            self._seconds += self._last.elapsed_time(event) / 1e3
        self._last = event
        return self._seconds


def _timing_event() -> Event:
    return torch.cuda.Event(enable_timing=True)


#: The clock of the suites' CUDA cases.
cuda_timer = CudaTimer()
