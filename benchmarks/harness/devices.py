"""The devices that suites run on, as pytest parameters."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.harness.timer import cuda_timer

_NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def on(device: str, *values: Any, host_clock: bool = False) -> Any:
    """A parameter set ``(device, *values)``; CUDA is timed by the GPU's own clock and skipped where there is none.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        values: the other parameters.
        host_clock: time CUDA by the host's clock instead.
    """
    marks = [] if device == "cpu" else [_NO_CUDA]
    if device == "cuda" and not host_clock:
        marks.append(pytest.mark.benchmark(timer=cuda_timer))
    return pytest.param(device, *values, marks=marks)
