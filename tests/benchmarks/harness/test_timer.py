"""The GPU's clock, with events of a device that is not there."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.timer import CudaTimer


class Device:
    """A device whose clock is set by hand, in milliseconds."""

    def __init__(self) -> None:
        self.now = 5.0
        self.log: list[str] = []

    def event(self) -> FakeEvent:
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, device: Device):
        self._device = device
        self.time = np.nan

    def record(self) -> None:
        self._device.log.append("record")
        self.time = self._device.now

    def synchronize(self) -> None:
        self._device.log.append("synchronize")

    def elapsed_time(self, end_event: FakeEvent) -> float:
        assert self._device.log[-1] == "synchronize", "the event must have happened"
        return float(np.float32(end_event.time - self.time))


def test_it_reads_the_seconds_since_its_first_reading() -> None:
    device = Device()
    timer = CudaTimer(device.event)
    assert timer() == 0
    device.now += 250
    assert timer() == pytest.approx(0.25)
    device.now += 1.5
    assert timer() == pytest.approx(0.2515)
    assert device.log == ["record", "synchronize"] * 3


def test_it_is_as_fine_after_hours_as_at_first() -> None:
    device = Device()
    timer = CudaTimer(device.event)
    timer()
    for _ in range(1000):
        device.now += 10_000  # together longer than float32 holds to the microsecond
        start = timer()
        device.now += 0.0123
        assert timer() - start == pytest.approx(12.3e-6, rel=1e-4)
