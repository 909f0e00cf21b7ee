"""How long one image takes from the call to its events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.harness.conversions import captured
from benchmarks.harness.devices import on
from benchmarks.harness.workload import FORMATS, RATIO, event_bytes, expected_events, fresh_images, image_bytes
from i2e_triton import convert

_SIZE = 224
_PAIRS = (("uint8", "bool"), ("uint8", "packed"), ("uint8", "float32"), ("float32", "float32"))
# On a GPU: until the call returns, while the GPU works on; until the GPU has finished, without and with a CUDA graph;
# and the GPU's own time, one call or replay after another.
_FACES = ("host", "finished", "graph, finished", "device", "graph, device")


def cases() -> list[Any]:
    """Parameter sets (device, face, input, format)."""
    on_cpu = [on("cpu", "finished", *pair) for pair in _PAIRS]
    return on_cpu + [on("cuda", face, *pair, host_clock="device" not in face) for face in _FACES for pair in _PAIRS]


@pytest.mark.parametrize(("device", "face", "input", "format"), cases())
def test_one_image(measure: Callable[..., None], device: str, face: str, input: str, format: str) -> None:
    """One image, at different ends of what happens."""
    image = fresh_images(1, _SIZE, input, device, "photographs")
    convert_image = partial(convert, image[0], RATIO, **FORMATS[format])
    expected = expected_events(image, format)
    assert torch.equal(convert_image().cpu(), expected.squeeze(-4))
    call: Callable[[], object] = captured([convert_image]) if "graph" in face else convert_image
    measure(
        "latency",
        {"face": face, "input": input, "format": format, "size": _SIZE},
        finished(call) if device == "cuda" and "finished" in face else call,
        device=device,
        images=1,
        bytes_moved=image_bytes(1, _SIZE, input) + event_bytes(1, _SIZE, format),
        alone=None if "graph" in face else convert_image,
    )


def finished(call: Callable[[], object]) -> Callable[[], None]:
    """A call that waits for the GPU."""

    def wait() -> None:
        call()
        torch.cuda.synchronize()

    return wait
