"""Allocation of results: like ``torch.empty``, with huge pages for large results."""

from __future__ import annotations

import mmap
from unittest import mock

import pytest
import torch

from i2e_triton import canonical_shifts, convert, reference
from i2e_triton.ops import allocation, operator
from tests.cases import EVENT_DTYPES
from tests.samples import assert_same_events, poison_for, resized_photograph

HUGE_PAGE = 2 * 1024 * 1024


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(8, 1, 2, 5, 7), (8, 0, 2, 5, 7), (8, 16, 2, 224, 224), (3 * HUGE_PAGE + 1,)])
def test_results_are_contiguous_writable_and_do_not_overlap(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    result, other = allocation.empty(shape, dtype), allocation.empty(shape, dtype)
    assert result.shape == shape
    assert result.dtype == dtype
    assert result.device.type == "cpu"
    assert result.is_contiguous()
    result.fill_(1)
    other.fill_(0)
    assert bool((result == 1).all())
    assert not bool(other.any())


def test_results_are_on_the_cpu_with_another_default_device() -> None:
    with torch.device("meta"):
        assert allocation.empty((2, 3), torch.float32).device.type == "cpu"


@pytest.mark.parametrize("size", [1, 4096, 2 * HUGE_PAGE, 2 * HUGE_PAGE + 1, 3 * HUGE_PAGE + 4097, 50_000_000])
def test_huge_pages_are_requested_for_the_whole_pages_of_large_results_only(size: int) -> None:
    with mock.patch.object(allocation, "_libc") as libc:
        result = allocation.empty((size,), torch.uint8)
    calls = libc.return_value.madvise.call_args_list
    if size < 2 * HUGE_PAGE:
        assert calls == []
        return
    (start, length, advice) = (argument.value for argument in calls[0].args)
    assert len(calls) == 1
    assert advice == mmap.MADV_HUGEPAGE
    assert start % mmap.PAGESIZE == 0
    assert length % mmap.PAGESIZE == 0
    # The pages are within the result, and cover all of it except for part of a page at each end.
    assert 0 <= start - result.data_ptr() < mmap.PAGESIZE
    assert 0 <= result.data_ptr() + size - (start + length) < mmap.PAGESIZE


def test_errors_of_madvise_are_ignored() -> None:
    with mock.patch.object(allocation, "_libc") as libc:
        libc.return_value.madvise.return_value = -1
        result = allocation.empty((2 * HUGE_PAGE,), torch.uint8)
    assert result.shape == (2 * HUGE_PAGE,)


@pytest.mark.parametrize("dtype", EVENT_DTYPES, ids=str)
def test_convert_writes_every_element_of_its_result(dtype: torch.dtype) -> None:
    images = torch.stack([resized_photograph(name, 96) for name in ("chelsea", "coffee", "rocket")])
    expected = reference.convert(images, 0.12, canonical_shifts()).to(dtype)

    def poisoned(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        assert shape == expected.shape
        return poison_for(expected.to(dtype))

    with mock.patch.object(operator.allocation, "empty", poisoned):
        assert_same_events(convert(images, dtype=dtype), expected)
