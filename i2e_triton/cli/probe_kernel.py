"""A kernel to see whether Triton compiles. Imported by the probe alone: it needs Triton."""

import triton
import triton.language as tl


@triton.jit
def double(values):
    """Double 128 values."""
    index = tl.arange(0, 128)
    tl.store(values + index, 2 * tl.load(values + index))
