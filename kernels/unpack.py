"""Packed events over their timesteps: every byte is read once, and every timestep written from it."""

import triton
import triton.language as tl

from .pixels import tile_at


@triton.jit
def unpack_kernel(
    packed,
    out,
    timesteps,
    rows,
    height,
    width,
    packed_b,
    packed_p,
    packed_y,
    packed_x,
    out_t,
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Write one tile of all timesteps per program. ``rows`` counts those of all images; ``out`` is contiguous."""
    row, x, inside = tile_at(tl.program_id(0).to(INDEX), rows, width, BLOCK_Y, BLOCK_X)
    plane, y = row // height, row % height
    place = (plane // 2) * packed_b + (plane % 2) * packed_p + y * packed_y + x * packed_x
    bits = tl.load(packed + place, mask=inside, other=0)
    one = tl.full((BLOCK_Y, BLOCK_X), 1, dtype=tl.float32).to(out.dtype.element_ty)
    zero = tl.full((BLOCK_Y, BLOCK_X), 0, dtype=tl.float32).to(out.dtype.element_ty)
    target = out + (row * width + x)
    for t in range(0, timesteps):
        tl.store(target, tl.where((bits >> t) & 1 != 0, one, zero), mask=inside)
        target += out_t
