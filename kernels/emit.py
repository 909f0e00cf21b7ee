"""The second phase: an image's events, from its plane and its threshold."""

import triton
import triton.language as tl

from .emit_swar import emit_words, level_step, write_silent_levels
from .pixels import PAD, arithmetic, clamp, share, tile_at

_SMALLEST = tl.constexpr(2.0**-149)  # the least positive float32
_SMALLEST_DOUBLE = tl.constexpr(2.0**-1074)


@triton.jit
def threshold(lowest, highest, ratios, ratio, b):
    """Theta of image ``b``; the least positive number in place of 0, since a difference of 0 never is an event."""
    if ratios is not None:
        ratio = tl.load(ratios + b).to(lowest.dtype)
    theta = (highest - lowest) * ratio
    if lowest.dtype == tl.float64:
        return tl.where(theta <= 0, _SMALLEST_DOUBLE, theta)
    else:
        return tl.where(theta <= 0, _SMALLEST, theta)


@triton.jit
def _reach(shifts, timesteps):
    """Longest way of a microsaccade from its pixel, along either axis; at most one more than the plane's frame."""
    reach = 0
    for start in range(0, 4 * timesteps, 32):
        component = start + tl.arange(0, 32)
        shift = tl.load(shifts + component, mask=component < 4 * timesteps, other=0).to(tl.int64)
        # Of any integer type: the least int64 has no magnitude.
        limited = tl.minimum(tl.maximum(shift, -PAD - 1), PAD + 1)
        reach = tl.maximum(reach, tl.max(tl.abs(limited.to(tl.int32)), axis=0))
    return reach


@triton.jit
def _shift(pointer, size, NEAR: tl.constexpr):
    """Load one component of a motion vector; one longer than the image reaches its border and no further."""
    shift = tl.load(pointer)
    if NEAR:
        return shift.to(tl.int32)
    else:
        return tl.minimum(tl.maximum(shift, -size), size).to(tl.int32)


@triton.jit
def _neighbour(plane, y, x, dy, dx, inside, height, width, pitch, INDEX: tl.constexpr, NEAR: tl.constexpr):
    """Values at ``(y + dy, x + dx)``, clamped to the image; what is NEAR is there already."""
    if NEAR:
        pixel = tl.load(plane + (dy * pitch + dx) + (y.to(INDEX) * pitch + x), mask=inside, other=0)
    else:
        row, column = clamp(y + dy, height).to(INDEX), clamp(x + dx, width)
        pixel = tl.load(plane + (row * pitch + column), mask=inside, other=0)
    return arithmetic(pixel)


@triton.jit
def emit(
    out,  # the events of one image
    plane,  # pixel (0, 0) of its plane
    silent,  # room for a second plane, or None
    shifts,  # its microsaccade
    theta,
    part,
    programs,
    timesteps,
    height,
    width,
    pitch,
    stride_t,
    stride_p,
    stride_y,
    stride_x,
    PACKED: tl.constexpr,
    WORDS: tl.constexpr,  # whether events and grey levels can be handled four at a time
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Write one program's share of the events of an image."""
    block: tl.constexpr = BLOCK_Y * BLOCK_X
    if _reach(shifts, timesteps) > PAD:
        _emit_pixels(
            out, plane, shifts, theta, part, programs, timesteps, height, width, pitch,
            stride_t, stride_p, stride_y, stride_x, PACKED, INDEX, BLOCK_Y, BLOCK_X, NEAR=False,
        )  # fmt: skip
    elif WORDS:
        step, tied = level_step(theta)
        word: tl.constexpr = tl.pointer_type(tl.uint32)
        out_words, plane_words, silent_words = out.to(word), plane.to(word), silent.to(word)
        if tied:
            write_silent_levels(plane, silent, step, theta, part, programs, height, width, pitch, INDEX, block)
            tl.debug_barrier()
            emit_words(
                out_words, plane_words, silent_words, shifts, step, part, programs, timesteps, height, width // 4,
                pitch // 4, stride_t // 4, stride_p // 4, stride_y // 4, PACKED, INDEX, block, TIED=True,
            )  # fmt: skip
        else:
            emit_words(
                out_words, plane_words, plane_words, shifts, step, part, programs, timesteps, height, width // 4,
                pitch // 4, stride_t // 4, stride_p // 4, stride_y // 4, PACKED, INDEX, block, TIED=False,
            )  # fmt: skip
    else:
        _emit_pixels(
            out, plane, shifts, theta, part, programs, timesteps, height, width, pitch,
            stride_t, stride_p, stride_y, stride_x, PACKED, INDEX, BLOCK_Y, BLOCK_X, NEAR=True,
        )  # fmt: skip


@triton.jit
def _emit_pixels(
    out,
    plane,
    shifts,
    theta,
    part,
    programs,
    timesteps,
    height,
    width,
    pitch,
    stride_t,
    stride_p,
    stride_y,
    stride_x,
    PACKED: tl.constexpr,
    INDEX: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    NEAR: tl.constexpr,
):
    """Write one program's share of the events of an image of any type, a pixel at a time."""
    one = tl.full((BLOCK_Y, BLOCK_X), 1, dtype=tl.float32).to(out.dtype.element_ty)
    zero = tl.full((BLOCK_Y, BLOCK_X), 0, dtype=tl.float32).to(out.dtype.element_ty)
    first, last = share(part, programs, height, width, BLOCK_Y, BLOCK_X)
    for tile in range(first, last):
        y, x, inside = tile_at(tile, height, width, BLOCK_Y, BLOCK_X)
        target = out + (y.to(INDEX) * stride_y + x.to(INDEX) * stride_x)
        on_bits = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
        off_bits = tl.zeros((BLOCK_Y, BLOCK_X), dtype=tl.int32)
        for t in range(0, timesteps):
            dy0, dx0 = _shift(shifts + 4 * t, height, NEAR), _shift(shifts + 4 * t + 1, width, NEAR)
            dy1, dx1 = _shift(shifts + 4 * t + 2, height, NEAR), _shift(shifts + 4 * t + 3, width, NEAR)
            before = _neighbour(plane, y, x, dy0, dx0, inside, height, width, pitch, INDEX, NEAR)
            after = _neighbour(plane, y, x, dy1, dx1, inside, height, width, pitch, INDEX, NEAR)
            difference = after - before
            on = difference >= theta
            off = difference <= -theta
            if PACKED:
                on_bits |= on.to(tl.int32) << t
                off_bits |= off.to(tl.int32) << t
            else:
                tl.store(target, tl.where(on, one, zero), mask=inside)
                tl.store(target + stride_p, tl.where(off, one, zero), mask=inside)
                target += stride_t
        if PACKED:
            tl.store(target, on_bits.to(tl.uint8), mask=inside)
            tl.store(target + stride_p, off_bits.to(tl.uint8), mask=inside)
