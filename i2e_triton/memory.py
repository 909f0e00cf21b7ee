"""Allocation of large results on the CPU."""

from __future__ import annotations

import ctypes
import mmap
from functools import lru_cache

import torch
from torch import Tensor

_HUGE_PAGE_BYTES = 2 * 1024 * 1024
# The most up to which glibc's threshold follows what is freed (mallopt(3)), less what a block has besides its bytes.
_MOST_KEPT = 32 * 1024 * 1024 - 4096


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Allocate like ``torch.empty`` on the CPU, on huge pages where the result is large.

    The first touch of a fresh page of 4 KiB costs more than the events that fill it.
    """
    result = torch.empty(shape, dtype=dtype, device="cpu")
    size = result.numel() * result.element_size()
    if size >= 2 * _HUGE_PAGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        start = -(-result.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (result.data_ptr() + size - start) // mmap.PAGESIZE * mmap.PAGESIZE
        # Advice only: a system that declines it gives small pages and the same result.
        _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(mmap.MADV_HUGEPAGE))
    return result


@lru_cache(maxsize=1)
def keep_freed() -> None:
    """Have the C library keep the memory of freed tensors of up to 32 MiB for the next ones, from the first call on.

    It gives blocks above a threshold back to the system at once, which clears every page of the next one: half of the
    time of a conversion in parts. The threshold grows with the blocks that are freed, and this one is never touched.
    """
    torch.empty(_MOST_KEPT, dtype=torch.uint8, device="cpu")


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
