"""The second phase: compute an image's events from its plane and its threshold.

``convert.py`` describes the compile-time constants.
"""

import triton
import triton.language as tl

from .emit_swar import emit_swar, level_step, write_tie_break_plane
from .pixels import HALO, arithmetic, clamp, tile_at, tile_range

_SMALLEST_FLOAT32 = tl.constexpr(2.0**-149)
_SMALLEST_FLOAT64 = tl.constexpr(2.0**-1074)


@triton.jit
def threshold(lowest, highest, ratios, b):
    """Return theta of image ``b``. The smallest positive number replaces 0, so that equal pixels have no event."""
    ratio = ratios.ratio
    if ratios.ptr is not None:
        ratio = tl.load(ratios.ptr + b).to(lowest.dtype)
    theta = (highest - lowest) * ratio
    if lowest.dtype == tl.float64:
        return tl.where(theta <= 0, _SMALLEST_FLOAT64, theta)
    else:
        return tl.where(theta <= 0, _SMALLEST_FLOAT32, theta)


@triton.jit
def emit(
    events,
    planes,
    shifts,
    theta,
    b,
    program,
    programs_per_image,
    PACKED: tl.constexpr,
    SWAR: tl.constexpr,
    OFFSET_DTYPE: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Write one program's part of the events of image ``b``."""
    block: tl.constexpr = BLOCK_Y * BLOCK_X
    if _reach(shifts, b) > HALO:
        _emit_pixels(
            events,
            planes,
            shifts,
            theta,
            b,
            program,
            programs_per_image,
            PACKED,
            OFFSET_DTYPE,
            BLOCK_Y,
            BLOCK_X,
            IN_HALO=False,
        )
    elif SWAR:
        step, tied = level_step(theta)
        if tied:
            write_tie_break_plane(planes, step, theta, b, program, programs_per_image, OFFSET_DTYPE, block)
            tl.debug_barrier()  # other threads wrote part of the tie-break plane that is read below
            emit_swar(
                events, planes, shifts, step, b, program, programs_per_image, PACKED, OFFSET_DTYPE, block, TIED=True
            )
        else:
            emit_swar(
                events, planes, shifts, step, b, program, programs_per_image, PACKED, OFFSET_DTYPE, block, TIED=False
            )
    else:
        _emit_pixels(
            events,
            planes,
            shifts,
            theta,
            b,
            program,
            programs_per_image,
            PACKED,
            OFFSET_DTYPE,
            BLOCK_Y,
            BLOCK_X,
            IN_HALO=True,
        )


@triton.jit
def _reach(shifts, b):
    """Return the largest magnitude in the motion vectors of an image, clamped to ``HALO + 1``."""
    shifts_ptr = shifts.ptr + b * shifts.stride_b
    reach = 0
    for start in range(0, 4 * shifts.timesteps, 32):
        position = start + tl.arange(0, 32)
        shift = tl.load(shifts_ptr + position, mask=position < 4 * shifts.timesteps, other=0).to(tl.int64)
        # Clamp before abs, which overflows for the smallest int64.
        limited = tl.minimum(tl.maximum(shift, -HALO - 1), HALO + 1)
        reach = tl.maximum(reach, tl.max(tl.abs(limited.to(tl.int32)), axis=0))
    return reach


@triton.jit
def _shift(shift_ptr, size, IN_HALO: tl.constexpr):
    """Load a component of a motion vector, clamped to the size of the image: a longer one reaches the same border."""
    shift = tl.load(shift_ptr)
    if IN_HALO:
        return shift.to(tl.int32)
    else:
        return tl.minimum(tl.maximum(shift, -size), size).to(tl.int32)


@triton.jit
def _neighbour(planes, plane_ptr, y, x, dy, dx, inside, OFFSET_DTYPE: tl.constexpr, IN_HALO: tl.constexpr):
    """Return the values at ``(y + dy, x + dx)``; without IN_HALO, coordinates are clamped to the image."""
    if IN_HALO:
        pixel = tl.load(
            plane_ptr + (dy * planes.stride_y + dx) + (y.to(OFFSET_DTYPE) * planes.stride_y + x), mask=inside, other=0
        )
    else:
        row, column = clamp(y + dy, planes.height).to(OFFSET_DTYPE), clamp(x + dx, planes.width)
        pixel = tl.load(plane_ptr + (row * planes.stride_y + column), mask=inside, other=0)
    return arithmetic(pixel)


@triton.jit
def _emit_pixels(
    events,
    planes,
    shifts,
    theta,
    b,
    program,
    programs_per_image,
    PACKED: tl.constexpr,
    OFFSET_DTYPE: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    IN_HALO: tl.constexpr,  # whether no motion vector reaches beyond the halo
):
    """Write one program's part of the events of image ``b``, of any dtype, one pixel at a time."""
    height, width = planes.height, planes.width
    plane_ptr = planes.ptr + b * planes.stride_b
    shifts_ptr = shifts.ptr + b * shifts.stride_b
    events_ptr = events.ptr + b * events.stride_b
    one = tl.full((BLOCK_Y, BLOCK_X), 1, dtype=tl.float32).to(events.ptr.dtype.element_ty)
    zero = tl.full((BLOCK_Y, BLOCK_X), 0, dtype=tl.float32).to(events.ptr.dtype.element_ty)
    first, last = tile_range(program, programs_per_image, height, width, BLOCK_Y, BLOCK_X)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, height, width, BLOCK_Y, BLOCK_X)
        target_ptr = events_ptr + (y.to(OFFSET_DTYPE) * events.stride_y + x.to(OFFSET_DTYPE) * events.stride_x)
        on_bits = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
        off_bits = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
        for t in range(0, shifts.timesteps):
            shift_ptr = shifts_ptr + 4 * t
            dy0, dx0 = _shift(shift_ptr, height, IN_HALO), _shift(shift_ptr + 1, width, IN_HALO)
            dy1, dx1 = _shift(shift_ptr + 2, height, IN_HALO), _shift(shift_ptr + 3, width, IN_HALO)
            start = _neighbour(planes, plane_ptr, y, x, dy0, dx0, inside, OFFSET_DTYPE, IN_HALO)
            end = _neighbour(planes, plane_ptr, y, x, dy1, dx1, inside, OFFSET_DTYPE, IN_HALO)
            difference = end - start
            on = difference >= theta
            off = difference <= -theta
            if PACKED:
                on_bits |= on.to(tl.int32) << t
                off_bits |= off.to(tl.int32) << t
            else:
                tl.store(target_ptr, tl.where(on, one, zero), mask=inside)
                tl.store(target_ptr + events.stride_polarity, tl.where(off, one, zero), mask=inside)
                target_ptr += events.stride_t
        if PACKED:
            tl.store(target_ptr, on_bits.to(tl.uint8), mask=inside)
            tl.store(target_ptr + events.stride_polarity, off_bits.to(tl.uint8), mask=inside)
