"""A run on one device: its time budget, its measurements and the rows that it writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness.machine import device_name, environment
from benchmarks.harness.rows import DeviceRows, Row, read_rows, write_rows
from benchmarks.harness.timing import cuda_time, measured_fields, peak_memory, rounds_and_iterations, warm_up

#: Suite of the rows that say how a section ended.
SUITE = "gpu run"
_ROUNDS = 7
# Calls that the launch queue of a GPU can hold: more would wait for the GPU, and their host time would be too long.
_QUEUED_CALLS = 50


class OutOfTimeError(Exception):
    """The time budget of the run is used up."""


class SkippedError(Exception):
    """A section cannot run on this machine; the message is the reason."""


class Run:
    """A run on one device.

    Args:
        device: ``"cuda"``, or ``"cpu"`` for a dry run, which measures each case once.
        results: folder of the result files.
        seconds: time budget.
    """

    def __init__(self, device: str, results: Path, seconds: float):
        self.device = device
        self.dry = device == "cpu"
        self._results = results
        self._deadline = time.monotonic() + seconds
        self._rows: list[Row] = []

    def left(self) -> float:
        """Return the seconds of the budget that are left; negative if it is exceeded."""
        return self._deadline - time.monotonic()

    def remaining(self) -> float:
        """Return the seconds that are left.

        Raises:
            OutOfTimeError: if the budget is used up.
        """
        if self.left() <= 0:
            raise OutOfTimeError
        return self.left()

    def measure(
        self,
        suite: str,
        case: dict[str, Any],
        call: Callable[[], object],
        *,
        device: str,
        images: int,
        per_call: int = 1,
        memory_call: Callable[[], object] | None = None,
        **more: Any,
    ) -> None:
        """Measure a call and add its row. The arguments are those of the fixture ``measure`` of the benchmark suites.

        Raises:
            OutOfTimeError: if the time budget is used up; the call is not measured.
        """
        self.remaining()
        seconds = self._seconds(call, wait=case.get("clock") != "host")
        memory = peak_memory(memory_call, "cuda") if memory_call and not self.dry else None
        measured = measured_fields(seconds, images=images, per_call=per_call, peak_memory=memory, **more)
        self.add(suite, case, measured)
        values = ", ".join(str(value) for value in case.values())
        say(f"  {suite}: {values}: {measured['median_s'] * 1e6:.2f} µs")

    def add(self, suite: str, case: dict[str, Any], measured: dict[str, Any]) -> None:
        """Add a row."""
        self._rows.append({"suite": suite, "case": case, **measured, **environment(self.device)})

    def write(self) -> None:
        """Write the rows that were added since the last call."""
        write_rows(self._rows, self._results)
        self._rows = []

    def written(self) -> DeviceRows:
        """Write the rows that were added, and return all rows of this device."""
        self.write()
        return DeviceRows(device_name(self.device), read_rows(self._results))

    def _seconds(self, call: Callable[[], object], *, wait: bool) -> list[float]:
        """Return the seconds of a call in each round. With ``wait``, a round ends when the GPU has finished."""
        if self.dry:
            start = time.perf_counter()
            call()
            return [time.perf_counter() - start]
        _, calls = rounds_and_iterations(warm_up(call, "cuda"), "cuda")
        calls = calls if wait else min(calls, _QUEUED_CALLS)
        seconds = []
        for _ in range(_ROUNDS):
            start = cuda_time()
            for _ in range(calls):
                call()
            end = cuda_time() if wait else time.perf_counter()
            seconds.append((end - start) / calls)
        return seconds


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    print(text, flush=True)  # noqa: T201
