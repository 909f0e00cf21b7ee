"""What the fast CPU path may cost: no convolution, and no memory to speak of beside its output."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from i2e_triton import canonical_shifts, convert, event_rate, reference, unpack
from i2e_triton.ops import allocation

IMAGE_DTYPES = (torch.uint8, torch.float16, torch.float32, torch.float64)
OUTPUTS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": torch.float32},
    "float16": {"dtype": torch.float16},
    "bool": {"dtype": torch.bool},
    "packed": {"packed": True},
}


def operators(call: Callable[[], Tensor]) -> set[str]:
    """Names of the PyTorch operators that a call runs."""
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        call()
    return {event.name for event in trace.events()}


def extra_bytes(call: Callable[[], Tensor], tmp_path: Path) -> int:
    """Most memory that PyTorch holds at once during a call, less the call's result."""
    allocation.empty_cache()  # memory that is used again would not be seen
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        result = call()
    file = tmp_path / "trace.json"
    trace.export_chrome_trace(str(file))
    changes = [event for event in json.loads(file.read_text())["traceEvents"] if event["name"] == "[memory]"]
    held = most = 0
    for change in sorted(changes, key=lambda event: event["ts"]):
        held += change["args"]["Bytes"]
        most = max(most, held)
    output = result.numel() * result.element_size()
    assert most >= output
    return most - output


def fresh_images(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("output", OUTPUTS)
def test_no_convolution(dtype: torch.dtype, output: str, generator: torch.Generator) -> None:
    images = fresh_images((2, 3, 40, 40), dtype, generator)
    ran = operators(lambda: convert(images, **OUTPUTS[output]))
    assert "i2e_triton::convert" in ran
    assert not [name for name in ran if "conv" in name.removeprefix("i2e_triton::convert")]
    assert "aten::conv2d" in operators(lambda: reference.convert(images, 0.12, canonical_shifts()))


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("output", OUTPUTS)
def test_a_large_image_takes_the_output_and_two_images_more(
    dtype: torch.dtype, output: str, generator: torch.Generator, tmp_path: Path
) -> None:
    images = fresh_images((1, 3, 2048, 2048), dtype, generator)
    image_bytes = images.numel() * images.element_size()
    assert extra_bytes(lambda: convert(images, **OUTPUTS[output]), tmp_path) < 2 * image_bytes


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_a_longer_batch_takes_no_more_beside_its_output(
    dtype: torch.dtype, one_thread: None, generator: torch.Generator, tmp_path: Path
) -> None:
    images = fresh_images((128, 3, 128, 128), dtype, generator)
    half = extra_bytes(lambda: convert(images[:64], dtype=torch.bool), tmp_path)
    whole = extra_bytes(lambda: convert(images, dtype=torch.bool), tmp_path)
    assert half > 0
    assert whole < 1.1 * half


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_long_vectors_take_no_more_than_a_few_images(
    dtype: torch.dtype, one_thread: None, generator: torch.Generator, tmp_path: Path
) -> None:
    images = fresh_images((1, 3, 1024, 1024), dtype, generator)
    value_bytes = 1024 * 1024 * (1 if dtype == torch.uint8 else 8 if dtype == torch.float64 else 4)
    shifts = torch.randint(-1000, 1001, (8, 4), generator=generator)
    assert extra_bytes(lambda: convert(images, shifts=shifts, dtype=torch.bool), tmp_path) < 12 * value_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8, torch.bool], ids=str)
@pytest.mark.parametrize("dim", [None, (1, 3, 4), 0])
def test_event_rate_takes_a_fixed_amount_of_memory(
    dtype: torch.dtype, dim: int | tuple[int, ...] | None, tmp_path: Path
) -> None:
    events = torch.zeros(8, 16, 2, 128, 128, dtype=dtype)
    # Counts of 8 bytes before there are rates, whole and in parts.
    counts = 4 * 8 * event_rate(events, dim).numel()
    assert extra_bytes(lambda: event_rate(events, dim), tmp_path) <= counts + 3 * 2**20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool], ids=str)
def test_unpacking_takes_a_timestep_beside_its_result(dtype: torch.dtype, tmp_path: Path) -> None:
    packed = torch.zeros(16, 2, 128, 128, dtype=torch.uint8)
    # Its bits, while those of the timestep before are still there; as float32 on the way to a half.
    timestep = packed.numel() * (2 + 4 * (dtype == torch.float16))
    assert extra_bytes(lambda: unpack(packed, 8, dtype), tmp_path) <= timestep + 2**16
