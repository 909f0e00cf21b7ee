"""Allocation of results: like ``torch.empty``, on huge pages where that pays."""

from __future__ import annotations

import mmap
from unittest import mock

import pytest
import torch

from i2e_triton import canonical_shifts, convert, memory, operator, reference
from tests.samples import assert_same_events, poison_for, resized_photograph

HUGE_PAGE = 2 * 1024 * 1024
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(8, 1, 2, 5, 7), (8, 0, 2, 5, 7), (8, 16, 2, 224, 224), (3 * HUGE_PAGE + 1,)])
def test_is_a_fresh_contiguous_tensor_that_can_be_written(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    result, other = memory.empty(shape, dtype), memory.empty(shape, dtype)
    assert result.shape == shape
    assert result.dtype == dtype
    assert result.device.type == "cpu"
    assert result.is_contiguous()
    result.fill_(1)
    other.fill_(0)
    assert bool((result == 1).all())
    assert not bool(other.any())


def test_is_on_the_cpu_whatever_the_default_device_is() -> None:
    with torch.device("meta"):
        assert memory.empty((2, 3), torch.float32).device.type == "cpu"


@pytest.mark.parametrize("size", [1, 4096, 2 * HUGE_PAGE, 2 * HUGE_PAGE + 1, 3 * HUGE_PAGE + 4097, 50_000_000])
def test_advises_whole_pages_of_a_large_result_and_no_others(size: int) -> None:
    with mock.patch.object(memory, "_libc") as libc:
        result = memory.empty((size,), torch.uint8)
    calls = libc.return_value.madvise.call_args_list
    if size < 2 * HUGE_PAGE:
        assert calls == []
        return
    (start, length, advice) = (argument.value for argument in calls[0].args)
    assert len(calls) == 1
    assert advice == mmap.MADV_HUGEPAGE
    assert start % mmap.PAGESIZE == 0
    assert length % mmap.PAGESIZE == 0
    # Inside the result, and all of it but a part of a page at either end.
    assert 0 <= start - result.data_ptr() < mmap.PAGESIZE
    assert 0 <= result.data_ptr() + size - (start + length) < mmap.PAGESIZE


def test_gives_the_same_result_where_the_system_declines() -> None:
    with mock.patch.object(memory, "_libc") as libc:
        libc.return_value.madvise.return_value = -1
        declined = memory.empty((2 * HUGE_PAGE,), torch.uint8)
    assert declined.shape == (2 * HUGE_PAGE,)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_element_of_a_fresh_result_is_written(dtype: torch.dtype) -> None:
    images = torch.stack([resized_photograph(name, 96) for name in ("chelsea", "coffee", "rocket")])
    expected = reference.convert(images, 0.12, canonical_shifts()).to(dtype)

    def poisoned(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        assert shape == expected.shape
        return poison_for(expected.to(dtype))

    with mock.patch.object(operator.memory, "empty", poisoned):
        assert_same_events(convert(images, dtype=dtype), expected)
