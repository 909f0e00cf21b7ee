"""How often a case is repeated, what its memory comes to, and what a row keeps."""

from __future__ import annotations

import statistics
from types import SimpleNamespace

import pytest
import torch

from benchmarks.harness import measurement
from benchmarks.harness.measurement import figures, peak_memory, rounds_and_iterations, warm_up


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("seconds", [1e-7, 3e-6, 1e-4, 7e-3, 0.2, 3.0])
def test_rounds_and_iterations(kind: str, seconds: float) -> None:
    rounds, iterations = rounds_and_iterations(seconds, kind)
    assert 5 <= rounds <= 50
    assert seconds * iterations >= measurement._SHORTEST_ROUND[kind]
    assert iterations == 1 or seconds * (iterations - 1) < measurement._SHORTEST_ROUND[kind]
    assert rounds * iterations * seconds <= max(1.1 * measurement._BUDGET, 5 * seconds)


def test_warm_up_repeats_and_tells_the_time_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = 100.0, 0

    def call() -> None:
        nonlocal now, calls
        now += 0.004 if calls else 3.0  # the first one compiles, say
        calls += 1

    monkeypatch.setattr(measurement.time, "perf_counter", lambda: now)
    assert warm_up(call, "cpu") == pytest.approx(0.004)
    assert calls == 1 + 13  # until 50 ms have passed


def test_peak_memory_is_the_most_held_at_once() -> None:
    def call() -> torch.Tensor:
        first = torch.ones(1_000_000)
        second = torch.ones(2_000_000)
        del first
        third = torch.ones(500_000)
        return second[:1] + third[:1]

    assert peak_memory(call, "cpu") == pytest.approx(12_000_000, rel=0.01)


def test_peak_memory_leaves_out_what_was_there_before() -> None:
    there = torch.ones(3_000_000)
    assert peak_memory(lambda: torch.add(there, 1, out=there), "cpu") < 10_000


def test_figures_are_of_one_of_the_calls() -> None:
    rounds = [8.0, 10.0, 12.0, 20.0]
    stats = SimpleNamespace(median=statistics.median(rounds), iqr=6.0, min=min(rounds), rounds=len(rounds))
    assert figures(stats, 4) == {"median_s": 2.75, "iqr_s": 1.5, "min_s": 2.0, "rounds": 4}
