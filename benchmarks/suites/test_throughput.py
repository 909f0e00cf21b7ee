"""Throughput by batch size, image size and format. The events are written to existing memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import MAIN_PAIRS, PAIRS, Conversions

_SIZE = 224
_BATCHES = {"cpu": (1, 4, 16, 64), "cuda": (1, 4, 16, 64, 128, 256, 512, 1024)}
_SIZES = (32, 64, 128, 512, 1024, 2048)
# For the image sizes in _SIZES: pixels per batch. A batch has at least one image.
_PIXELS = {"cpu": 1024 * 1024, "cuda": 128 * 224 * 224}


def cases() -> Iterator[Any]:
    """Yield the parameters (device, mode, input, format, batch, size)."""
    for device, mode in (("cpu", "eager"), ("cuda", "graph")):
        for pair, batch in product(PAIRS, _BATCHES[device]):
            yield device_param(device, mode, *pair, batch, _SIZE)
        for pair, size in product(MAIN_PAIRS, _SIZES):
            yield device_param(device, mode, *pair, max(1, _PIXELS[device] // (size * size)), size)
    for pair, batch in product(
        MAIN_PAIRS, _BATCHES["cuda"]
    ):  # without a graph, the host time limits the rate of small batches
        yield device_param("cuda", "eager", *pair, batch, _SIZE)


@pytest.mark.parametrize(("device", "mode", "input", "format", "batch", "size"), list(cases()))
def test_throughput(
    measure: Callable[..., None], device: str, mode: str, input: str, format: str, batch: int, size: int
) -> None:
    """Measure conversions of several batches in turn, called from Python or replayed as a CUDA graph."""
    conversions = Conversions(device, input, format, batch, size)
    conversions.check()
    call, conversions_per_call = conversions.call_for(mode)
    measure(
        "throughput",
        {"input": input, "format": format, "batch": batch, "size": size, "mode": mode},
        call,
        device=device,
        images=batch,
        per_call=conversions_per_call,
        bytes_moved=conversions.bytes_moved,
        memory_call=conversions.calls[0],
    )
