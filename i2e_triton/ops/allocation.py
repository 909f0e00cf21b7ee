"""Allocation of large results on the CPU, where clearing fresh memory can take as long as the events that fill it."""

from __future__ import annotations

import ctypes
import math
import mmap
import weakref
from collections import deque
from functools import lru_cache

import torch
from torch import Tensor

_HUGE_PAGE_BYTES = 2 * 1024 * 1024
# The most up to which glibc's threshold follows what is freed (mallopt(3)), less what a block has besides its bytes.
_MOST_KEPT = 32 * 1024 * 1024 - 4096
# Larger results are not kept: they are rare, and their memory would be missed.
_LARGEST_CACHED = 1024 * 1024 * 1024

_cached: deque[Tensor] = deque(maxlen=1)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Allocate like ``torch.empty`` on the CPU, on huge pages where the result is large.

    The memory of the last freed result of 32 MiB to 1 GiB is used again for the next one, as PyTorch does on a GPU: the
    C library would give it back to the system, which clears every page of the next. :func:`empty_cache` frees it. Such
    a result cannot be resized in place, like a tensor that was made from an array.
    """
    size = math.prod(shape) * dtype.itemsize
    if not _MOST_KEPT < size <= _LARGEST_CACHED:
        result = torch.empty(shape, dtype=dtype, device="cpu")
        _advise_huge_pages(result)
        return result
    block = _take(size)
    # The tensor holds the lease, and the lease's end is noticed.
    lease = (ctypes.c_uint8 * size).from_address(block.data_ptr())
    weakref.finalize(lease, _cached.append, block).atexit = False
    return torch.frombuffer(lease, dtype=dtype).resize_(shape)  # view() would make it one to autograd


def empty_cache() -> None:
    """Give the memory that waits for the next large result back to the system."""
    _cached.clear()


@lru_cache(maxsize=1)
def keep_freed() -> None:
    """Have the C library keep the memory of freed tensors of up to 32 MiB for the next ones, from the first call on.

    It gives blocks above a threshold back to the system at once, which clears every page of the next one: half of the
    time of a conversion in parts. The threshold grows with the blocks that are freed, and this one is never touched.
    """
    torch.empty(_MOST_KEPT, dtype=torch.uint8, device="cpu")


def _take(size: int) -> Tensor:
    """Take the block that waits, if it fits and is not twice as large; else make one, after that is gone."""
    try:
        block = _cached.pop()
    except IndexError:  # none waits, or another thread was faster
        block = None
    if block is None or not size <= len(block) < 2 * size:
        del block
        block = torch.empty(size, dtype=torch.uint8, device="cpu")
        _advise_huge_pages(block)
    return block


def _advise_huge_pages(result: Tensor) -> None:
    size = result.numel() * result.element_size()
    if size >= 2 * _HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        start = -(-result.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (result.data_ptr() + size - start) // mmap.PAGESIZE * mmap.PAGESIZE
        # Advice only: a system that declines it gives small pages and the same result.
        _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(mmap.MADV_HUGEPAGE))


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
