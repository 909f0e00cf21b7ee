"""How often to repeat a call, what it does to memory, and the figures that a row keeps."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from i2e_triton.ops import allocation

# A round must be long against what starting and stopping the clock takes: a launch and a wait on a GPU.
_SHORTEST_ROUND = {"cpu": 0.5e-3, "cuda": 10e-3}
_BUDGET = 1.0  # seconds for all rounds of a case: a disturbance of a tenth of them must not show
_FEWEST_ROUNDS, _MOST_ROUNDS = 5, 50
_WARM_UP = 0.05  # seconds, so that clocks are up and caches are in use


def warm_up(call: Callable[[], object], kind: str) -> float:
    """Repeat a call until it has warmed up, and return the seconds that one then takes."""
    call()
    _finish(kind)
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < _WARM_UP:
        call()
        count += 1
    _finish(kind)
    return (time.perf_counter() - start) / count


def rounds_and_iterations(seconds: float, kind: str) -> tuple[int, int]:
    """Choose the rounds, and the calls in each, for a call that takes so many seconds on a kind of device."""
    iterations = max(1, math.ceil(_SHORTEST_ROUND[kind] / seconds))
    rounds = round(_BUDGET / (seconds * iterations))
    return min(max(rounds, _FEWEST_ROUNDS), _MOST_ROUNDS), iterations


def peak_memory(call: Callable[[], object], kind: str) -> int:
    """Most bytes that PyTorch holds on a device at once during a call, beyond those that it held before."""
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before
    allocation.empty_cache()  # memory that is used again is not allocated, but held
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        call()
    held = most = 0
    for change in _memory_changes(trace):
        held += change
        most = max(most, held)
    return most


def _memory_changes(trace: profile) -> list[int]:
    """Bytes allocated (or, below 0, freed), in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    changes = [event for event in events if event["name"] == "[memory]"]
    return [change["args"]["Bytes"] for change in sorted(changes, key=lambda event: event["ts"])]


def _finish(kind: str) -> None:
    if kind == "cuda":
        torch.cuda.synchronize()


def figures(stats: Any, per_call: int) -> dict[str, Any]:
    """Figures of pytest-benchmark's statistics, in seconds, for calls that do the work ``per_call`` times."""
    return {
        "median_s": stats.median / per_call,
        "iqr_s": stats.iqr / per_call,
        "min_s": stats.min / per_call,
        "rounds": stats.rounds,
    }
