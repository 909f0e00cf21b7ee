"""How an image is divided among programs, and a program's part into tiles."""

from __future__ import annotations

from .convert import MAX_PROGRAMS

# First phase: a thread loads this many bytes of each channel at once, but no more pixels than fit in its registers.
_LOAD_BYTES = 16
_MEASURE_PIXELS = 8
# First phase of augmented images: the same for each of a pixel's four neighbours. 4 pixels of float32 spill on sm_90.
_AUGMENT_BYTES = 8
_AUGMENT_PIXELS = 4
# Minimum width of a tile, so that neighbouring threads take neighbouring pixels of tall images, too.
_MIN_TILE_WIDTH = 32
# Maximum width, unless an image has few rows: three widths leave few threads idle.
_MAX_TILE_WIDTH = 128
# Second phase: pixels that a thread writes at once to each timestep and polarity; with SWAR, words of four pixels.
_EMIT_PIXELS = 4
_EMIT_WORDS = 1
# If several programs share an image, each thread has at least this number of pixels in both phases.
_SHARED_PIXELS = 4


def programs_and_warps(
    batch: int, height: int, width: int, multiprocessors: int, warp_size: int = 32
) -> tuple[int, int]:
    """Return the number of programs per image, and the number of warps per program.

    There is one program per image if this nearly fills the device, or if the images are small.
    """
    pixels = height * width
    if pixels <= 32 * 32 or 4 * batch >= 3 * multiprocessors:
        return 1, 16 if pixels > 64 * 64 else 4
    warps = 4
    most = min(pixels // (warps * warp_size * _SHARED_PIXELS), MAX_PROGRAMS.value)
    return min(most, ceil_div(8 * multiprocessors, batch)), warps


def tiles(
    height: int,
    width: int,
    programs_per_image: int,
    threads: int,
    element_size: int,
    augmented: bool,
    swar: bool,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rows and columns of a tile of the first phase, and of the second phase.

    Args:
        height: height of the (augmented) images.
        width: width of the (augmented) images.
        programs_per_image: see :func:`programs_and_warps`.
        threads: threads per program.
        element_size: bytes of a pixel of the images.
        augmented: whether the images are augmented.
        swar: whether the second phase counts words of four pixels (see ``emit_swar.py``).
    """
    # If several programs share an image, no tile is larger than the share of a program: every program has work.
    limit = threads * _SHARED_PIXELS if programs_per_image > 1 else height * width
    measure_pixels = min(threads * _measure_pixels(element_size, augmented), _power_of_2(limit))
    measure_tile = tile_shape(height, width, measure_pixels)
    # With SWAR, only the number of words matters, except for long motion vectors. Otherwise, the tiles of both phases
    # have the same width, so that fewer different kernels are compiled.
    emit_width = _MIN_TILE_WIDTH if swar else measure_tile[1]
    emit_pixels = min(threads * (_EMIT_WORDS if swar else _EMIT_PIXELS), _power_of_2(limit // 4 if swar else limit))
    emit_tile = max(1, emit_pixels // emit_width), emit_width
    return measure_tile, emit_tile


def tile_shape(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Return the rows and columns of a tile, both powers of two: the shape with the fewest tiles, then the widest.

    There are few widths, because each compiles other kernels.
    """
    pixels = min(pixels, _power_of_2(height * width))
    narrowest = min(_MIN_TILE_WIDTH, _power_of_2(width))
    widest = max(_MAX_TILE_WIDTH, pixels // _power_of_2(height))
    widths = [1 << log for log in range(pixels.bit_length()) if narrowest <= 1 << log <= widest]
    shapes = [(pixels // columns, columns) for columns in widths]
    return min(shapes, key=lambda shape: (ceil_div(height, shape[0]) * ceil_div(width, shape[1]), -shape[1]))


def _measure_pixels(element_size: int, augmented: bool) -> int:
    """Return the number of pixels that a thread of the first phase processes at once."""
    if augmented:
        return min(_AUGMENT_PIXELS, _AUGMENT_BYTES // element_size)
    return min(_MEASURE_PIXELS, _LOAD_BYTES // element_size)


def _power_of_2(number: int) -> int:
    """Return the smallest power of two that is not smaller."""
    return 1 << (number - 1).bit_length()


def ceil_div(number: int, divisor: int) -> int:
    """Return the quotient, rounded up."""
    return -(-number // divisor)
