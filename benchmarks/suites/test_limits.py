"""What the hardware allows: copies of as many bytes as a conversion must move, and a memset of its events.

The conversions that are held against them are those of the throughput suite.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from benchmarks.harness.conversions import captured
from benchmarks.harness.devices import on
from benchmarks.harness.workload import FORMATS, INPUTS, Call, batches_beyond_cache, event_bytes, image_bytes, in_turn

_SIZE = 224
_BATCH = {"cpu": 64, "cuda": 128}
_LARGE = 2**30  # bytes, for a copy at the device's full rate


def cases() -> Iterator[Any]:
    """Parameter sets (device, batch, input, format)."""
    for device, batch in _BATCH.items():
        yield from (on(device, batch, input, format) for input in INPUTS for format in FORMATS)


@pytest.mark.parametrize(("device", "batch", "input", "format"), list(cases()))
def test_copy(measure: Callable[..., None], device: str, batch: int, input: str, format: str) -> None:
    """A copy that reads and writes together as many bytes as a conversion."""
    size = image_bytes(batch, _SIZE, input) + event_bytes(batch, _SIZE, format)
    case = {"method": "copy", "input": input, "format": format, "batch": batch, "size": _SIZE}
    measure_limit(measure, case, device, batch, size, copy_calls(device, size))


@pytest.mark.parametrize("device", [on("cuda")])
def test_large_copy(measure: Callable[..., None], device: str) -> None:
    """A copy large enough that its start does not count."""
    case = {"method": "copy", "bytes": 2 * _LARGE}
    measure_limit(measure, case, device, 0, 2 * _LARGE, copy_calls(device, 2 * _LARGE))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("device", "batch"), [on(*item) for item in _BATCH.items()])
def test_memset(measure: Callable[..., None], device: str, batch: int, format: str) -> None:
    """Zeros in the place of a batch's events."""
    size = event_bytes(batch, _SIZE, format)
    case = {"method": "memset", "format": format, "batch": batch, "size": _SIZE}
    measure_limit(measure, case, device, batch, size, memset_calls(device, size))


def measure_limit(
    measure: Callable[..., None], case: dict[str, Any], device: str, images: int, size: int, calls: list[Call]
) -> None:
    """Measure calls in turn; on a GPU as a CUDA graph, so that the host does not set the pace."""
    call, per_call = (captured(calls), len(calls)) if device == "cuda" else (in_turn(calls), 1)
    measure("limits", case, call, device=device, images=images, per_call=per_call, bytes_moved=size)


def memset_calls(device: str, size: int) -> list[Call]:
    """Calls that set so many bytes to zero, each in a place of its own."""
    places = [torch.ones(size, dtype=torch.uint8, device=device) for _ in range(batches_beyond_cache(device, size))]
    if device == "cuda":
        return [place.zero_ for place in places]
    return [lambda place=place: ctypes.memset(place.data_ptr(), 0, size) for place in places]  # type: ignore[misc]


def copy_calls(device: str, size: int) -> list[Call]:
    """Calls that read half of so many bytes and write them, each elsewhere."""
    count = batches_beyond_cache(device, size)
    pairs = [torch.ones(2, size // 2, dtype=torch.uint8, device=device).unbind() for _ in range(count)]
    return [lambda to=to, source=source: to.copy_(source) for to, source in pairs]  # type: ignore[misc]
