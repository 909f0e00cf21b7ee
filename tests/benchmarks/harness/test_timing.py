"""Clocks, repetitions, peak memory and fields of a measurement."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest
import torch

from benchmarks.harness import timing
from benchmarks.harness.timing import (
    cpu_seconds,
    cuda_time,
    device_param,
    measured_fields,
    peak_memory,
    rounds_and_iterations,
    warm_up,
)


def test_cuda_cases_are_skipped_without_a_gpu_and_wait_for_it() -> None:
    case = device_param("cpu", "graph", 3)
    assert (case.values, case.marks) == (("cpu", "graph", 3), [])
    skip, clock = device_param("cuda", 3).marks
    assert (skip.name, skip.args) == ("skipif", (not torch.cuda.is_available(),))
    assert clock.kwargs == {"timer": cuda_time}
    assert [mark.name for mark in device_param("cuda", 3, use_cuda_timer=False).marks] == ["skipif"]


def test_cuda_time_waits_for_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1.0

    def synchronize() -> None:
        nonlocal now
        now = 2.0

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    assert cuda_time() == 2.0


def test_cpu_time_includes_child_processes_and_excludes_waiting() -> None:
    start = cpu_seconds()
    subprocess.run([sys.executable, "-S", "-c", "while __import__('time').process_time() < 0.3: pass"], check=True)
    assert cpu_seconds() - start >= 0.3
    start = cpu_seconds()
    time.sleep(0.2)
    assert cpu_seconds() - start < 0.2


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("seconds", [1e-7, 3e-6, 1e-4, 7e-3, 0.2, 3.0])
def test_rounds_and_iterations_fit_the_budget(kind: str, seconds: float) -> None:
    rounds, iterations = rounds_and_iterations(seconds, kind)
    assert 5 <= rounds <= 50
    assert seconds * iterations >= timing._MIN_ROUND[kind]
    assert iterations == 1 or seconds * (iterations - 1) < timing._MIN_ROUND[kind]
    assert rounds * iterations * seconds <= max(1.1 * timing._BUDGET, 5 * seconds)


def test_warm_up_returns_the_time_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 100.0, 0

    def call() -> None:
        nonlocal now, calls
        now += 0.004 if calls else 3.0  # the first call may compile
        calls += 1

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    assert warm_up(call, "cpu") == pytest.approx(0.004)
    assert calls == 1 + 13  # until 50 ms have passed


def test_peak_memory_is_the_largest_sum_of_new_allocations() -> None:
    existing = torch.ones(3_000_000)

    def call() -> torch.Tensor:
        first = torch.ones(1_000_000)
        second = torch.ones(2_000_000)
        del first
        third = torch.ones(500_000)
        existing.add_(1)
        return second[:1] + third[:1]

    assert peak_memory(call, "cpu") == pytest.approx(12_000_000, rel=0.01)


def test_measured_fields_are_of_one_repetition_of_the_work() -> None:
    rounds = [8.0, 10.0, 12.0, 20.0]
    fields = measured_fields(rounds, images=3, per_call=4, bytes_moved=7)
    quarter, _, three_quarters = statistics.quantiles(rounds, n=4)
    expected = {"median_s": 2.75, "iqr_s": (three_quarters - quarter) / 4, "min_s": 2.0, "rounds": 4}
    threads = torch.get_num_threads()
    assert fields == {**expected, "images": 3, "bytes_moved": 7, "peak_memory": None, "threads": threads}
    assert measured_fields([1.0], images=1, per_call=1)["iqr_s"] == 0
