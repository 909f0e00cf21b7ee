"""Images a second against batch size, image size and format, into memory that is there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from benchmarks.harness.conversions import Conversions
from benchmarks.harness.devices import on
from benchmarks.harness.workload import FORMATS, INPUTS

_SIZE = 224
_BATCHES = {"cpu": (1, 4, 16, 64), "cuda": (1, 4, 16, 64, 128, 256, 512, 1024)}
_SIZES = (32, 64, 128, 512, 1024, 2048)
# Pixels of a batch where the image size varies: as many images as they make, at least one.
_PIXELS = {"cpu": 1024 * 1024, "cuda": 128 * 224 * 224}
_PAIRS = tuple((input, format) for input in INPUTS for format in FORMATS)
_SOME_PAIRS = (("uint8", "bool"), ("uint8", "packed"), ("uint8", "float32"), ("float32", "float32"))


def cases() -> Iterator[Any]:
    """Parameter sets (device, mode, input, format, batch, size)."""
    for device, mode in (("cpu", "eager"), ("cuda", "graph")):
        for pair in _PAIRS:
            yield from (on(device, mode, *pair, batch, _SIZE) for batch in _BATCHES[device])
        for pair in _SOME_PAIRS:
            yield from (on(device, mode, *pair, max(1, _PIXELS[device] // (size * size)), size) for size in _SIZES)
    for pair in _SOME_PAIRS:  # here the host sets the pace of small batches
        yield from (on("cuda", "eager", *pair, batch, _SIZE) for batch in _BATCHES["cuda"])


@pytest.mark.parametrize(("device", "mode", "input", "format", "batch", "size"), list(cases()))
def test_throughput(
    measure: Callable[..., None], device: str, mode: str, input: str, format: str, batch: int, size: int
) -> None:
    """Conversions in turn; on a GPU also without what the host takes to launch them."""
    conversions = Conversions(device, input, format, batch, size)
    conversions.check()
    call, per_call = conversions.timed(mode)
    measure(
        "throughput",
        {"input": input, "format": format, "batch": batch, "size": size, "mode": mode},
        call,
        device=device,
        images=batch,
        per_call=per_call,
        bytes_moved=conversions.bytes_moved,
        alone=conversions.calls[0],
    )
