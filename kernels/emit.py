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
def load_ratio(ratios, b, dtype: tl.constexpr):
    """Return the ratio of image ``b``."""
    ratio = ratios.ratio
    if ratios.ptr is not None:
        ratio = tl.load(ratios.ptr + b)
    return tl.cast(ratio, dtype)


@triton.jit
def threshold(lowest, highest, ratios, b):
    """Return theta of image ``b``. The smallest positive number replaces 0, so that equal pixels have no event."""
    theta = (highest - lowest) * load_ratio(ratios, b, lowest.dtype)
    if lowest.dtype == tl.float64:
        return tl.where(theta <= 0, _SMALLEST_FLOAT64, theta)
    else:
        return tl.where(theta <= 0, _SMALLEST_FLOAT32, theta)


@triton.jit
def emit(
    events, planes, shifts, theta, b, program, programs_per_image,
    PAIRS: tl.constexpr, TIMESTEPS: tl.constexpr, PACKED: tl.constexpr, SWAR: tl.constexpr,
    OFFSET_DTYPE: tl.constexpr, EVICTION: tl.constexpr, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr,
):  # fmt: skip
    """Write one program's part of the events of image ``b``."""
    block: tl.constexpr = BLOCK_Y * BLOCK_X
    if PAIRS is None and _reach(shifts, b) > HALO:
        _emit_pixels(
            events, planes, shifts, theta, b, program, programs_per_image,
            None, TIMESTEPS, PACKED, OFFSET_DTYPE, EVICTION, BLOCK_Y, BLOCK_X, IN_HALO=False,
        )  # fmt: skip
    elif SWAR:
        step, tied = level_step(theta)
        if tied:
            write_tie_break_plane(planes, step, theta, b, program, programs_per_image, OFFSET_DTYPE, block)
            tl.debug_barrier()  # other threads wrote part of the tie-break plane that is read below
            emit_swar(
                events, planes, shifts, step, b, program, programs_per_image,
                PAIRS, TIMESTEPS, PACKED, OFFSET_DTYPE, EVICTION, block, TIED=True,
            )  # fmt: skip
        else:
            emit_swar(
                events, planes, shifts, step, b, program, programs_per_image,
                PAIRS, TIMESTEPS, PACKED, OFFSET_DTYPE, EVICTION, block, TIED=False,
            )  # fmt: skip
    else:
        _emit_pixels(
            events, planes, shifts, theta, b, program, programs_per_image,
            PAIRS, TIMESTEPS, PACKED, OFFSET_DTYPE, EVICTION, BLOCK_Y, BLOCK_X, IN_HALO=True,
        )  # fmt: skip


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
def _emit_pixels(
    events, planes, shifts, theta, b, program, programs_per_image,
    PAIRS: tl.constexpr, TIMESTEPS: tl.constexpr, PACKED: tl.constexpr, OFFSET_DTYPE: tl.constexpr,
    EVICTION: tl.constexpr, BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr,
    IN_HALO: tl.constexpr,  # whether no motion vector reaches beyond the halo
):  # fmt: skip
    """Write one program's part of the events of image ``b``, of any dtype, one pixel at a time."""
    height, width = planes.height, planes.width
    plane_ptr = planes.ptr + b * planes.stride_b
    events_ptr = events.ptr + b * events.stride_b
    first, last = tile_range(program, programs_per_image, height, width, BLOCK_Y, BLOCK_X)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, height, width, BLOCK_Y, BLOCK_X)
        target_ptr = events_ptr + (y.to(OFFSET_DTYPE) * events.stride_y + x.to(OFFSET_DTYPE) * events.stride_x)
        on_bits = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
        off_bits = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
        if PAIRS is None:
            shift_ptr = shifts.ptr + b * shifts.stride_b
            for t in range(0, shifts.timesteps):
                start = _shifted(planes, plane_ptr, y, x, inside, shift_ptr, OFFSET_DTYPE, IN_HALO)
                end = _shifted(planes, plane_ptr, y, x, inside, shift_ptr + 2, OFFSET_DTYPE, IN_HALO)
                on, off = end - start >= theta, end - start <= -theta
                if PACKED:
                    on_bits |= on.to(tl.int32) << t
                    off_bits |= off.to(tl.int32) << t
                else:
                    _store(events, target_ptr, on, off, inside, EVICTION)
                    target_ptr += events.stride_t
                shift_ptr += 4
        else:
            neighbours = _load_neighbours(
                plane_ptr + (y.to(OFFSET_DTYPE) * planes.stride_y + x), planes.stride_y, inside
            )
            for t in tl.static_range(TIMESTEPS):
                start, end = neighbours[PAIRS[t][0]], neighbours[PAIRS[t][1]]
                on, off = end - start >= theta, start - end >= theta
                if PACKED:
                    on_bits |= on.to(tl.int32) << t
                    off_bits |= off.to(tl.int32) << t
                else:
                    _store(events, target_ptr, on, off, inside, EVICTION)
                    target_ptr += events.stride_t
        if PACKED:
            _store(events, target_ptr, on_bits, off_bits, inside, EVICTION)


@triton.jit
def _store(events, target_ptr, on, off, inside, EVICTION: tl.constexpr):
    """Store ON and OFF events of one timestep, or packed events of all timesteps."""
    dtype: tl.constexpr = events.ptr.dtype.element_ty
    if on.dtype == tl.int1:
        one = tl.full(on.shape, 1, dtype=tl.float32).to(dtype)
        zero = tl.full(on.shape, 0, dtype=tl.float32).to(dtype)
        on, off = tl.where(on, one, zero), tl.where(off, one, zero)
    tl.store(target_ptr, on.to(dtype), mask=inside, eviction_policy=EVICTION)
    tl.store(target_ptr + events.stride_polarity, off.to(dtype), mask=inside, eviction_policy=EVICTION)


@triton.jit
def _load_neighbours(pixel_ptr, stride_y, inside):
    """Load the neighbours of pixels, -1 to 1 pixels away in each direction; return nine values in reading order."""
    neighbours = ()
    for dy in tl.static_range(-1, 2):
        for dx in tl.static_range(-1, 2):
            neighbour = tl.load(pixel_ptr + (dy * stride_y + dx), mask=inside)
            neighbours += (arithmetic(neighbour),)
    return neighbours


@triton.jit
def _shifted(planes, plane_ptr, y, x, inside, shift_ptr, OFFSET_DTYPE: tl.constexpr, IN_HALO: tl.constexpr):
    """Load the values at a motion vector's start or end; without IN_HALO, coordinates are clamped to the image."""
    dy, dx = tl.load(shift_ptr), tl.load(shift_ptr + 1)
    if IN_HALO:
        offset = dy.to(tl.int32) * planes.stride_y + dx.to(tl.int32) + (y.to(OFFSET_DTYPE) * planes.stride_y + x)
    else:
        row, column = y + limited(dy, planes.height), x + limited(dx, planes.width)
        offset = clamp(row, planes.height).to(OFFSET_DTYPE) * planes.stride_y + clamp(column, planes.width)
    return arithmetic(tl.load(plane_ptr + offset, mask=inside, other=0))


@triton.jit
def limited(shift, size):
    """Clamp a component of a motion vector to the size of the image: a longer one reaches the same border."""
    return tl.minimum(tl.maximum(shift, -size), size).to(tl.int32)
