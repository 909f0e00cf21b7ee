"""Allocation of results: like ``torch.empty``, on huge pages where that pays."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
import torch

from i2e_triton import canonical_shifts, convert, reference
from i2e_triton.ops import allocation, operator
from tests.samples import assert_same_events, poison_for, resized_photograph

HUGE_PAGE = 2 * 1024 * 1024
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.bool)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(8, 1, 2, 5, 7), (8, 0, 2, 5, 7), (8, 16, 2, 224, 224), (3 * HUGE_PAGE + 1,)])
def test_is_a_fresh_contiguous_tensor_that_can_be_written(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    result, other = allocation.empty(shape, dtype), allocation.empty(shape, dtype)
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
        assert allocation.empty((2, 3), torch.float32).device.type == "cpu"


@pytest.fixture
def no_cache() -> Iterator[None]:
    """Start, and end, with no memory that waits."""
    allocation.empty_cache()
    yield
    allocation.empty_cache()


LARGE = 33 * 1024 * 1024


def test_memory_of_a_freed_large_result_is_used_again(no_cache: None) -> None:
    first = allocation.empty((LARGE,), torch.uint8)
    place = first.data_ptr()
    del first
    again = allocation.empty((LARGE // 4,), torch.float32)
    assert again.data_ptr() == place
    another = allocation.empty((LARGE // 4,), torch.float32)
    assert another.data_ptr() != place
    again.fill_(1)
    another.fill_(2)
    assert bool((again == 1).all())


@pytest.mark.parametrize(
    "hold", [lambda result: result[7:9], lambda result: result.numpy()[3:], lambda result: [result]]
)
def test_memory_in_use_is_left_alone(hold: Callable[[torch.Tensor], object], no_cache: None) -> None:
    first = allocation.empty((8, LARGE // 8), torch.uint8)
    place, held = first.data_ptr(), hold(first)
    del first
    assert allocation.empty((8, LARGE // 8), torch.uint8).data_ptr() != place
    allocation.empty_cache()
    del held
    assert allocation.empty((8, LARGE // 8), torch.uint8).data_ptr() == place


def test_one_block_waits_at_most_and_none_that_is_much_too_large_is_used(no_cache: None) -> None:
    results = [allocation.empty((4 * LARGE,), torch.uint8) for _ in range(3)]
    places = [result.data_ptr() for result in results]
    results.clear()
    assert len(allocation._cached) == 1
    smaller = allocation.empty((3 * LARGE,), torch.uint8)
    assert smaller.data_ptr() in places
    assert smaller.untyped_storage().nbytes() == 3 * LARGE
    del smaller
    assert len(allocation._cached) == 1
    much_smaller = allocation.empty((LARGE,), torch.uint8)
    assert len(allocation._cached) == 0
    del much_smaller
    allocation.empty_cache()
    assert len(allocation._cached) == 0


def test_very_large_results_are_given_back(no_cache: None) -> None:
    with mock.patch.object(allocation, "_LARGEST_CACHED", LARGE - 1):
        assert allocation.empty((LARGE,), torch.uint8).shape == (LARGE,)
    assert len(allocation._cached) == 0


def test_threads_never_share_memory() -> None:
    def work(number: int) -> bool:
        for _ in range(20):
            result = allocation.empty((LARGE,), torch.uint8)
            some = result[:: 1024 * 1024]
            some.fill_(number)
            time.sleep(1e-4)
            if not bool((some == number).all()):
                return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(8)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_events_in_memory_that_is_used_again_are_those_of_the_images(dtype: torch.dtype, no_cache: None) -> None:
    images = torch.randint(0, 256, (9, 3, 520, 470), dtype=torch.uint8)
    expected = reference.convert(images, 0.12, canonical_shifts()).to(dtype)
    before = convert(images.flip(0), dtype=dtype)
    assert before.nbytes > LARGE
    before.copy_(poison_for(expected))
    place = before.data_ptr()
    del before
    events = convert(images, dtype=dtype)
    assert events.data_ptr() == place
    assert_same_events(events, expected)


def test_a_large_result_is_no_view_to_autograd(no_cache: None) -> None:
    with torch.no_grad():
        events = convert(torch.rand(1, 3, 1500, 1500))
    assert events.nbytes > LARGE
    assert not events._is_view()
    events.mul_(torch.ones((), requires_grad=True))
    assert events.requires_grad
    assert not allocation.empty((LARGE,), torch.bool).detach_().requires_grad


def test_a_large_result_travels(tmp_path: Path, no_cache: None) -> None:
    events = convert(torch.rand(1, 3, 1500, 1500))
    expected = events.clone()
    torch.save(events, tmp_path / "events.pt")
    assert torch.equal(torch.load(tmp_path / "events.pt", weights_only=True), expected)
    assert torch.equal(events.share_memory_(), expected)
    assert len(allocation._cached) == 1  # it has moved away


@pytest.mark.parametrize("size", [1, 4096, 2 * HUGE_PAGE, 2 * HUGE_PAGE + 1, 3 * HUGE_PAGE + 4097, 50_000_000])
def test_advises_whole_pages_of_a_large_result_and_no_others(size: int, no_cache: None) -> None:
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
    # Inside the result, and all of it but a part of a page at either end.
    assert 0 <= start - result.data_ptr() < mmap.PAGESIZE
    assert 0 <= result.data_ptr() + size - (start + length) < mmap.PAGESIZE


def test_gives_the_same_result_where_the_system_declines() -> None:
    with mock.patch.object(allocation, "_libc") as libc:
        libc.return_value.madvise.return_value = -1
        declined = allocation.empty((2 * HUGE_PAGE,), torch.uint8)
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
