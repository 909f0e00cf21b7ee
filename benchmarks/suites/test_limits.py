"""Hardware limits: a copy of as many bytes as a conversion moves, and a memset of as many bytes as its events have.

The report compares them with the conversions of the throughput suite.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import (
    FORMATS,
    INPUTS,
    Call,
    batches_beyond_cache,
    cuda_graph,
    cycle_calls,
    event_bytes,
    image_bytes,
)

_SIZE = 224
_DEVICES = [device_param("cpu", 64), device_param("cuda", 128)]
_LARGE = 2**30  # bytes


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("input", INPUTS)
@pytest.mark.parametrize(("device", "batch"), _DEVICES)
def test_copy(measure: Callable[..., None], device: str, batch: int, input: str, format: str) -> None:
    """Measure a copy that reads and writes as many bytes in total as a conversion."""
    size = image_bytes(batch, _SIZE, input) + event_bytes(batch, _SIZE, format)
    case = {"method": "copy", "input": input, "format": format, "batch": batch, "size": _SIZE}
    measure_limit(measure, case, device, batch, size)


@pytest.mark.parametrize("method", ["copy", "memset", "read"])
@pytest.mark.parametrize("device", [device_param("cuda")])
def test_large(measure: Callable[..., None], device: str, method: str) -> None:
    """Measure a copy, memset or read that is large enough to reach the full bandwidth of the device."""
    size = 2 * _LARGE if method == "copy" else _LARGE
    measure_limit(measure, {"method": method, "bytes": size}, device, 0, size)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("device", "batch"), _DEVICES)
def test_memset(measure: Callable[..., None], device: str, batch: int, format: str) -> None:
    """Measure a memset of as many bytes as the events of a batch."""
    size = event_bytes(batch, _SIZE, format)
    case = {"method": "memset", "format": format, "batch": batch, "size": _SIZE}
    measure_limit(measure, case, device, batch, size)


def measure_limit(measure: Callable[..., None], case: dict[str, Any], device: str, images: int, size: int) -> None:
    """Measure copies, memsets or reads of ``size`` bytes in turn. On a GPU, a CUDA graph excludes the host's time."""
    count = batches_beyond_cache(device, size)
    # This variable keeps the buffers alive, because ctypes.memset only has their addresses.
    buffers = [torch.ones(2, size // 2, dtype=torch.uint8, device=device) for _ in range(count)]
    calls: list[Call]
    if case["method"] == "copy":
        calls = [partial(buffer[0].copy_, buffer[1]) for buffer in buffers]
    elif case["method"] == "read":
        calls = [partial(torch.amax, buffer.view(torch.int32)) for buffer in buffers]
    elif device == "cuda":
        calls = [buffer.zero_ for buffer in buffers]
    else:
        calls = [partial(ctypes.memset, buffer.data_ptr(), 0, size) for buffer in buffers]
    call, per_call = (cuda_graph(calls), len(calls)) if device == "cuda" else (cycle_calls(calls), 1)
    measure("limits", case, call, device=device, images=images, per_call=per_call, bytes_moved=size)
