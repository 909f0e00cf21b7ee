"""Costs of the CPU path: it runs no convolution, and needs little memory besides its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness.timing import peak_memory
from i2e_triton import canonical_shifts, convert, event_rate, reference, unpack

IMAGE_DTYPES = (torch.uint8, torch.float16, torch.float32, torch.float64)
OUTPUTS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": torch.float32},
    "float16": {"dtype": torch.float16},
    "bool": {"dtype": torch.bool},
    "packed": {"packed": True},
}


def operators(call: Callable[[], Tensor]) -> set[str]:
    """Return the names of the PyTorch operators that a call runs."""
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        call()
    return {event.name for event in trace.events()}


def extra_bytes(call: Callable[[], Tensor]) -> int:
    """Return the peak of the bytes that PyTorch allocates during a call, without the result of the call."""
    results: list[Tensor] = []
    peak = peak_memory(lambda: results.append(call()), "cpu")
    output = results[0].numel() * results[0].element_size()
    assert peak >= output
    return peak - output


def random_images(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(dtype)


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("output", OUTPUTS)
def test_no_convolution(dtype: torch.dtype, output: str, generator: torch.Generator) -> None:
    images = random_images((2, 3, 40, 40), dtype, generator)
    ran = operators(lambda: convert(images, **OUTPUTS[output]))
    assert "i2e_triton::convert" in ran
    assert not [name for name in ran if "conv" in name.removeprefix("i2e_triton::convert")]
    assert "aten::conv2d" in operators(lambda: reference.convert(images, 0.12, canonical_shifts()))


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
@pytest.mark.parametrize("output", OUTPUTS)
def test_large_image_needs_less_memory_than_two_images_besides_the_output(
    dtype: torch.dtype, output: str, generator: torch.Generator
) -> None:
    images = random_images((1, 3, 2048, 2048), dtype, generator)
    image_bytes = images.numel() * images.element_size()
    assert extra_bytes(lambda: convert(images, **OUTPUTS[output])) < 2 * image_bytes


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_longer_batch_needs_no_more_memory_besides_the_output(
    dtype: torch.dtype, one_thread: None, generator: torch.Generator
) -> None:
    images = random_images((128, 3, 128, 128), dtype, generator)
    half = extra_bytes(lambda: convert(images[:64], dtype=torch.bool))
    whole = extra_bytes(lambda: convert(images, dtype=torch.bool))
    assert half > 0
    assert whole < 1.1 * half


@pytest.mark.parametrize("dtype", IMAGE_DTYPES, ids=str)
def test_long_motion_vectors_need_memory_of_a_few_images(
    dtype: torch.dtype, one_thread: None, generator: torch.Generator
) -> None:
    images = random_images((1, 3, 1024, 1024), dtype, generator)
    value_bytes = 1024 * 1024 * (1 if dtype == torch.uint8 else 8 if dtype == torch.float64 else 4)
    shifts = torch.randint(-1000, 1001, (8, 4), generator=generator)
    assert extra_bytes(lambda: convert(images, shifts=shifts, dtype=torch.bool)) < 12 * value_bytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8, torch.bool], ids=str)
@pytest.mark.parametrize("dim", [None, (1, 3, 4), 0])
def test_event_rate_needs_a_fixed_amount_of_memory(dtype: torch.dtype, dim: int | tuple[int, ...] | None) -> None:
    events = torch.zeros(8, 16, 2, 128, 128, dtype=dtype)
    # At most four 8-byte numbers per rate, and 3 MiB for a chunk of the events.
    rates = 4 * 8 * event_rate(events, dim).numel()
    assert extra_bytes(lambda: event_rate(events, dim)) <= rates + 3 * 2**20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool], ids=str)
def test_unpacking_needs_memory_of_two_timesteps_besides_the_result(dtype: torch.dtype) -> None:
    packed = torch.zeros(16, 2, 128, 128, dtype=torch.uint8)
    # The bits of two timesteps, and for float16 a float32 copy of one.
    timesteps = packed.numel() * (2 + 4 * (dtype == torch.float16))
    assert extra_bytes(lambda: unpack(packed, 8, dtype)) <= timesteps + 2**16
