"""Helpers of both phases: pixel arithmetic, and the division of an image into tiles."""

import triton
import triton.language as tl

#: Width of the border of repeated pixels around a plane. The paper's motion vectors are at most 1 pixel long in each
#: direction, so they need no clamping.
HALO = tl.constexpr(1)
_UINT8_SCALE = tl.constexpr(1 / 255)


@triton.jit
def comparable(pixel):
    """Widen a stored pixel without scaling it: to int32 for uint8, otherwise to the arithmetic type."""
    if pixel.dtype == tl.uint8:
        return pixel.to(tl.int32)
    elif pixel.dtype == tl.float64:
        return pixel
    else:
        return pixel.to(tl.float32)


@triton.jit
def arithmetic(pixel):
    """Widen a pixel to the arithmetic type (float64 for float64, otherwise float32); scale a grey level to [0, 1]."""
    if pixel.dtype == tl.uint8 or pixel.dtype == tl.int32:
        return rounded(pixel.to(tl.float32) * _UINT8_SCALE)
    elif pixel.dtype == tl.float64:
        return pixel
    else:
        return pixel.to(tl.float32)


@triton.jit
def rounded(product):
    """Return a product that no compiler can fuse with a following addition."""
    if product.dtype == tl.float32:
        # For sm_100, the ptxas of Triton 3.6 fuses pairs of products and differences in spite of --fmad=false. It
        # cannot fuse across this operation. program_id(1) is always 0, because the grid has one dimension.
        bits = product.to(tl.int32, bitcast=True) | tl.program_id(1)
        return bits.to(tl.float32, bitcast=True)
    else:
        return product


@triton.jit
def clamp(index, size):
    """Move an index outside of the image to the nearest pixel of the border."""
    return tl.minimum(tl.maximum(index, 0), size - 1)


@triton.jit
def tile_at(tile, height, width, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr):
    """Return rows ``[BLOCK_Y, 1]`` and columns ``[1, BLOCK_X]`` of a tile, and the mask of pixels inside the image."""
    tiles_x = tl.cdiv(width, BLOCK_X)
    y = ((tile // tiles_x) * BLOCK_Y + tl.arange(0, BLOCK_Y))[:, None]
    x = ((tile % tiles_x) * BLOCK_X + tl.arange(0, BLOCK_X))[None, :]
    return y, x, (y < height) & (x < width)


@triton.jit
def tile_range(program, programs_per_image, height, width, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr):
    """Return the first tile of a program's part of an image, and the one after its last tile."""
    return share(program, programs_per_image, tl.cdiv(height, BLOCK_Y) * tl.cdiv(width, BLOCK_X))


@triton.jit
def share(program, programs, count):
    """Divide ``count`` items equally; return the first item of a program, and the one after its last."""
    least, rest = count // programs, count % programs
    first = program * least + tl.minimum(program, rest)
    return first, (program + 1) * least + tl.minimum(program + 1, rest)
