"""Parameters of suites for each kind of device."""

from __future__ import annotations

import torch

from benchmarks.harness.devices import on
from benchmarks.harness.timer import cuda_timer


def test_the_cpu_is_always_there_and_timed_by_the_host() -> None:
    case = on("cpu", "graph", 3)
    assert case.values == ("cpu", "graph", 3)
    assert not case.marks


def test_cuda_is_timed_by_its_own_clock_and_skipped_where_there_is_none() -> None:
    skip, clock = on("cuda", 3).marks
    assert skip.name == "skipif"
    assert skip.args == (not torch.cuda.is_available(),)
    assert skip.kwargs == {"reason": "no CUDA device"}
    assert clock.kwargs == {"timer": cuda_timer}


def test_cuda_by_the_clock_of_the_host() -> None:
    assert [mark.name for mark in on("cuda", 3, host_clock=True).marks] == ["skipif"]
