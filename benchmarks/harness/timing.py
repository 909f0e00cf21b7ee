"""Clocks, repetitions and peak memory of a measurement."""

from __future__ import annotations

import json
import math
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

# Minimum seconds of a round, so that the time to read the clock (on CUDA: to wait for the GPU) is negligible.
_MIN_ROUND = {"cpu": 0.5e-3, "cuda": 10e-3}
_BUDGET = 1.0  # seconds for all rounds of a case
_MIN_ROUNDS, _MAX_ROUNDS = 5, 50
_WARM_UP = 0.05  # seconds


def cuda_time() -> float:
    """Wait until the GPU has finished all launched work, then return the time. This is the clock of CUDA cases."""
    torch.cuda.synchronize()
    return time.perf_counter()


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its finished child processes."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in usage)


def device_param(device: str, *values: Any, use_cuda_timer: bool = True) -> Any:
    """Return the pytest parameters ``(device, *values)``, skipped if they need a CUDA device that is missing.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        values: the other parameters.
        use_cuda_timer: whether to measure time on CUDA with :func:`cuda_time`, which waits for the GPU to finish.
    """
    marks = []
    if device == "cuda":
        marks.append(pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
        if use_cuda_timer:
            marks.append(pytest.mark.benchmark(timer=cuda_time))
    return pytest.param(device, *values, marks=marks)


def warm_up(call: Callable[[], object], device_type: str) -> float:
    """Repeat a call until caches and clock rates have settled, and return the seconds of one call."""
    call()
    _synchronize(device_type)
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < _WARM_UP:
        call()
        count += 1
    _synchronize(device_type)
    return (time.perf_counter() - start) / count


def rounds_and_iterations(seconds: float, device_type: str) -> tuple[int, int]:
    """Return the number of rounds, and of calls per round, for a call that takes ``seconds``.

    ``device_type`` is ``"cpu"`` or ``"cuda"``.
    """
    iterations = max(1, math.ceil(_MIN_ROUND[device_type] / seconds))
    rounds = round(_BUDGET / (seconds * iterations))
    return min(max(rounds, _MIN_ROUNDS), _MAX_ROUNDS), iterations


def peak_memory(call: Callable[[], object], device_type: str) -> int:
    """Return the peak memory that PyTorch allocates during a call, in bytes. Earlier allocations do not count."""
    if device_type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    allocated = peak = 0
    for event in sorted((e for e in events if e["name"] == "[memory]"), key=lambda event: event["ts"]):
        allocated += event["args"]["Bytes"]
        peak = max(peak, allocated)
    return peak


def measured_fields(seconds: Sequence[float], *, images: int, per_call: int, **more: Any) -> dict[str, Any]:
    """Return the measured fields of a row.

    Args:
        seconds: seconds of one call, in each round.
        images: number of images that the work converts.
        per_call: how often one call does the work, for example the conversions of a CUDA graph.
        more: other fields. ``bytes_moved`` is the size of the images plus the size of the events.
    """
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [0.0, 0.0, 0.0]
    return {
        "images": images,
        "median_s": statistics.median(seconds) / per_call,
        "iqr_s": (quartiles[2] - quartiles[0]) / per_call,
        "min_s": min(seconds) / per_call,
        "rounds": len(seconds),
        "bytes_moved": None,
        "peak_memory": None,
        "threads": torch.get_num_threads(),
        **more,
    }


def _synchronize(device_type: str) -> None:
    if device_type == "cuda":
        torch.cuda.synchronize()
