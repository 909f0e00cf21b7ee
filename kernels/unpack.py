"""Unpack events: read every byte once, and write its bits to the timesteps."""

import triton
import triton.language as tl

from .pixels import tile_at


@triton.jit
def unpack_kernel(
    packed,
    out_ptr,  # contiguous [T, B, 2, H, W]
    timesteps,
    rows,  # total of all images and polarities
    height,
    width,
    stride_out_t,
    OFFSET_DTYPE: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Unpack one tile per program, for all timesteps."""
    row, x, inside = tile_at(tl.program_id(0).to(OFFSET_DTYPE), rows, width, BLOCK_Y, BLOCK_X)
    plane, y = row // height, row % height
    offset = (
        (plane // 2) * packed.stride_b
        + (plane % 2) * packed.stride_polarity
        + y * packed.stride_y
        + x * packed.stride_x
    )
    bits = tl.load(packed.ptr + offset, mask=inside, other=0)
    one = tl.full((BLOCK_Y, BLOCK_X), 1, dtype=tl.float32).to(out_ptr.dtype.element_ty)
    zero = tl.full((BLOCK_Y, BLOCK_X), 0, dtype=tl.float32).to(out_ptr.dtype.element_ty)
    target_ptr = out_ptr + (row * width + x)
    for t in range(0, timesteps):
        tl.store(target_ptr, tl.where((bits >> t) & 1 != 0, one, zero), mask=inside)
        target_ptr += stride_out_t
