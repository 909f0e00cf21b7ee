"""The second phase for grey levels and one-byte events, by SWAR (SIMD within a register): four pixels per 32-bit word.

A pair of grey levels (p, q) fires if the distance q - p is at least ``step`` levels. A word of four levels is split
into two words of two 16-bit numbers each. There ``q - p - step + 0x8000`` neither borrows from nor carries into the
other number, and its highest bit is 1 if q - p >= step.

Theta can be so close to a whole number of levels that float32 rounding decides: some pairs at that distance fire and
others do not. Such a distance is *tied*. Then ``step`` is that distance. A second plane, the tie-break plane, holds the
*raised* level p + 1 in place of p if the pair (p, p + step) does not fire.
"""

import triton
import triton.language as tl

from .pixels import HALO, arithmetic

_EVEN_BYTES = tl.constexpr(0x00FF00FF)
_LOW_BITS = tl.constexpr(0x00010001)
_HIGH_BITS = tl.constexpr(0x01000100)


@triton.jit
def level_step(theta):
    """Return the smallest distance of grey levels that fires (257 if none does), and whether it is tied."""
    nearest = tl.minimum(tl.maximum(tl.floor(theta * 255 + 0.5), 1.0), 256.0).to(tl.int32)
    fires, exists = _fires(tl.arange(0, 256), nearest, theta)
    all_fire = tl.min((fires | ~exists).to(tl.int32), axis=0) != 0
    any_fires = tl.max((fires & exists).to(tl.int32), axis=0) != 0
    step = tl.where(any_fires, nearest, nearest + 1)
    return tl.where(theta == theta, step, 257), any_fires & (not all_fire)


@triton.jit
def _fires(level, step, theta):
    """Return whether the pair ``(level, level + step)`` fires, and whether both are grey levels."""
    return arithmetic(level + step) - arithmetic(level) >= theta, level + step < 256


@triton.jit
def write_tie_break_plane(
    planes, step, theta, b, program, programs_per_image, OFFSET_DTYPE: tl.constexpr, BLOCK: tl.constexpr
):
    """Write the part of the tie-break plane that one program reads, halo included."""
    words_per_row = planes.width // 4
    plane_ptr = planes.ptr + b * planes.stride_b
    tie_break_ptr = planes.tie_break_ptr + b * planes.stride_b
    first, last = _word_range(program, programs_per_image, planes.height * words_per_row, BLOCK)
    start = (first // words_per_row - HALO).to(OFFSET_DTYPE) * planes.stride_y - HALO
    stop = (tl.cdiv(last, words_per_row) + HALO).to(OFFSET_DTYPE) * planes.stride_y
    for block in range(start, stop, BLOCK):
        position = block + tl.arange(0, BLOCK)
        level = tl.load(plane_ptr + position, mask=position < stop, other=0).to(tl.int32)
        fires, exists = _fires(level, step, theta)
        raised = (level + (exists & ~fires).to(tl.int32)).to(tl.uint8)
        tl.store(tie_break_ptr + position, raised, mask=position < stop)


@triton.jit
def _word_range(program, programs_per_image, words, BLOCK: tl.constexpr):
    """Return the first word of a program's part of an image, and the one after its last word, in whole blocks."""
    words_per_program = tl.cdiv(tl.cdiv(words, BLOCK), programs_per_image) * BLOCK
    return tl.minimum(program * words_per_program, words), tl.minimum((program + 1) * words_per_program, words)


@triton.jit
def _levels(word_ptr, shift_ptr, stride_y):
    """Load the four levels at ``(dy, dx)`` from a word; return them as two words: levels 0 and 2, levels 1 and 3."""
    dy, dx = tl.load(shift_ptr).to(tl.int32), tl.load(shift_ptr + 1).to(tl.int32)
    neighbour_ptr = word_ptr + (dy * stride_y + (dx >> 2))
    bits = (dx & 3) * 8
    lo = tl.load(neighbour_ptr)
    hi = tl.load(neighbour_ptr + 1, mask=bits != 0)
    word = (((hi.to(tl.uint64) << 32) | lo.to(tl.uint64)) >> bits.to(tl.uint64)).to(tl.uint32)
    return word & _EVEN_BYTES, (word >> 8) & _EVEN_BYTES


@triton.jit
def emit_swar(
    events, planes, shifts, step, b, program, programs_per_image,
    PACKED: tl.constexpr, OFFSET_DTYPE: tl.constexpr, BLOCK: tl.constexpr, TIED: tl.constexpr,
):  # fmt: skip
    """Write one program's part of the events of image ``b``, four pixels at a time."""
    # Below, strides and positions count words of four pixels.
    word_type: tl.constexpr = tl.pointer_type(tl.uint32)
    words_per_row, plane_stride_y = planes.width // 4, planes.stride_y // 4
    stride_t, stride_polarity = events.stride_t // 4, events.stride_polarity // 4
    stride_y = events.stride_y // 4
    events_ptr = (events.ptr + b * events.stride_b).to(word_type)
    plane_ptr = (planes.ptr + b * planes.stride_b).to(word_type)
    tie_break_ptr = (planes.tie_break_ptr + b * planes.stride_b).to(word_type)
    shifts_ptr = shifts.ptr + b * shifts.stride_b
    bias = (0x8000 - step).to(tl.uint32) * _LOW_BITS
    first, last = _word_range(program, programs_per_image, planes.height * words_per_row, BLOCK)
    for block in range(first, last, BLOCK):
        word = block + tl.arange(0, BLOCK)
        inside = word < last
        # Neighbouring threads should take neighbouring words: shifted words are aligned to 4 bytes only, so a thread
        # cannot load several with one instruction. The compiler gives each thread consecutive words if it knows that
        # `word` is consecutive; this `where` hides it.
        word = tl.where(inside, word, 0)
        y, x = (word // words_per_row).to(OFFSET_DTYPE), word % words_per_row
        level_ptr, raised_ptr = plane_ptr + (y * plane_stride_y + x), tie_break_ptr + (y * plane_stride_y + x)
        target_ptr = events_ptr + (y * stride_y + x)
        on = tl.zeros((BLOCK,), dtype=tl.uint32)
        off = tl.zeros((BLOCK,), dtype=tl.uint32)
        for t in range(0, shifts.timesteps):
            start_ptr, end_ptr = shifts_ptr + 4 * t, shifts_ptr + 4 * t + 2
            start_even, start_odd = _levels(level_ptr, start_ptr, plane_stride_y)
            end_even, end_odd = _levels(level_ptr, end_ptr, plane_stride_y)
            if TIED:
                raised_start_even, raised_start_odd = _levels(raised_ptr, start_ptr, plane_stride_y)
                raised_end_even, raised_end_odd = _levels(raised_ptr, end_ptr, plane_stride_y)
            else:
                raised_start_even, raised_start_odd = start_even, start_odd
                raised_end_even, raised_end_odd = end_even, end_odd
            on_even, on_odd = end_even - raised_start_even + bias, end_odd - raised_start_odd + bias
            off_even, off_odd = start_even - raised_end_even + bias, start_odd - raised_end_odd + bias
            if PACKED:
                on |= _high_bits(on_even, on_odd, t)
                off |= _high_bits(off_even, off_odd, t)
            else:
                tl.store(target_ptr, _high_bits(on_even, on_odd, 0), mask=inside)
                tl.store(target_ptr + stride_polarity, _high_bits(off_even, off_odd, 0), mask=inside)
                target_ptr += stride_t
        if PACKED:
            tl.store(target_ptr, on, mask=inside)
            tl.store(target_ptr + stride_polarity, off, mask=inside)


@triton.jit
def _high_bits(even, odd, t):
    """Move the highest bit of each of four 16-bit numbers to bit ``t`` of its byte."""
    return ((even >> (15 - t)) & (_LOW_BITS << t)) | ((odd >> (7 - t)) & (_HIGH_BITS << t))
