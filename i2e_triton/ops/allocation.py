"""Allocation of results on the CPU."""

from __future__ import annotations

import ctypes
import mmap
from functools import cache

import torch
from torch import Tensor

_LARGE_BYTES = 4 * 1024 * 1024  # twice a huge page, so that the result contains at least one aligned huge page


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return an uninitialised tensor on the CPU, like ``torch.empty``; ask Linux for huge pages if it is large.

    Linux clears new memory page by page, so fewer pages are faster. Converting 32 uint8 images of 224x224 to float32
    events took 30 ms of CPU time with huge pages and 91 ms without, on one core of an AMD EPYC.
    """
    result = torch.empty(shape, dtype=dtype, device="cpu")
    if result.nbytes >= _LARGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        start = -(-result.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (result.data_ptr() + result.nbytes - start) // mmap.PAGESIZE * mmap.PAGESIZE
        # Errors are ignored: without huge pages, the result is only slower.
        _libc().madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(mmap.MADV_HUGEPAGE))
    return result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
