"""Time of one image from the call to its events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from benchmarks.harness.timing import device_param
from benchmarks.harness.workload import (
    FORMATS,
    MAIN_PAIRS,
    RATIO,
    cuda_graph,
    event_bytes,
    expected_events,
    image_bytes,
    random_images,
)
from i2e_triton import convert

_SIZES = {"cpu": (224, 128), "cuda": (224,)}  # a DataLoader worker converts one image at a time, on the CPU
#: Clocks on a GPU. "host": until the call returns. "finished": until the GPU has finished. "device": GPU time per call
#: in a sequence of calls. "graph": the call replays a CUDA graph.
CLOCKS = ("host", "finished", "graph, finished", "device", "graph, device")
_CASES = [
    *(device_param("cpu", "finished", size) for size in _SIZES["cpu"]),
    *(device_param("cuda", c, size, use_cuda_timer="device" in c) for c in CLOCKS for size in _SIZES["cuda"]),
]


@pytest.mark.parametrize(("input", "format"), MAIN_PAIRS)
@pytest.mark.parametrize(("device", "clock", "size"), _CASES)
def test_one_image(measure: Callable[..., None], device: str, clock: str, size: int, input: str, format: str) -> None:
    """Measure the conversion of one image with one of the clocks."""
    batch = random_images(1, size, input, device, "photographs")
    convert_image = partial(convert, batch[0], RATIO, **FORMATS[format])
    # The events of a single image have no batch dimension, which is dimension -4 of the expected events.
    assert torch.equal(convert_image().cpu(), expected_events(batch, format).squeeze(-4))
    call: Callable[[], object] = cuda_graph([convert_image]) if "graph" in clock else convert_image

    def finished() -> None:
        call()
        torch.cuda.synchronize()

    measure(
        "latency",
        {"clock": clock, "input": input, "format": format, "size": size},
        finished if device == "cuda" and "finished" in clock else call,
        device=device,
        images=1,
        bytes_moved=image_bytes(1, size, input) + event_bytes(1, size, format),
        memory_call=None if "graph" in clock else convert_image,
    )
