"""What both phases of a kernel share: pixels as numbers, and an image as tiles."""

import triton
import triton.language as tl

#: The plane repeats the border this far out, so that neighbours within it need no clamping. The paper's reach 1 pixel.
PAD = tl.constexpr(1)
_UINT8_SCALE = tl.constexpr(1 / 255)


@triton.jit
def comparable(pixel):
    """Widen a stored pixel to a type that orders like it: int32 for uint8, else the arithmetic type."""
    if pixel.dtype == tl.uint8:
        return pixel.to(tl.int32)
    elif pixel.dtype == tl.float64:
        return pixel
    else:
        return pixel.to(tl.float32)


@triton.jit
def arithmetic(pixel):
    """Widen a pixel to the arithmetic type; a grey level is scaled to [0, 1]."""
    if pixel.dtype == tl.uint8 or pixel.dtype == tl.int32:
        return rounded(pixel.to(tl.float32) * _UINT8_SCALE)
    elif pixel.dtype == tl.float64:
        return pixel
    else:
        return pixel.to(tl.float32)


@triton.jit
def rounded(product):
    """A product that is added to something, which no compiler may do in one rounding with it."""
    if product.dtype == tl.float32:
        # For sm_100, the ptxas of Triton 3.6 contracts pairs of products and differences whatever it is told. It does
        # not see through this: the grid has one dimension, so that the program's number in the second is 0.
        bits = product.to(tl.int32, bitcast=True) | tl.program_id(1)
        return bits.to(tl.float32, bitcast=True)
    else:
        return product


@triton.jit
def clamp(index, size):
    """Move an index that is outside of the image to its border."""
    return tl.minimum(tl.maximum(index, 0), size - 1)


@triton.jit
def tile_at(tile, height, width, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr):
    """Rows ``[BLOCK_Y, 1]`` and columns ``[1, BLOCK_X]`` of a tile, and which of its pixels are in the image."""
    tiles_x = tl.cdiv(width, BLOCK_X)
    y = ((tile // tiles_x) * BLOCK_Y + tl.arange(0, BLOCK_Y))[:, None]
    x = ((tile % tiles_x) * BLOCK_X + tl.arange(0, BLOCK_X))[None, :]
    return y, x, (y < height) & (x < width)


@triton.jit
def share(part, programs, height, width, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr):
    """First and last tile of one of the programs that work on an image."""
    tiles = tl.cdiv(height, BLOCK_Y) * tl.cdiv(width, BLOCK_X)
    share = tl.cdiv(tiles, programs)
    return tl.minimum(part * share, tiles), tl.minimum((part + 1) * share, tiles)
