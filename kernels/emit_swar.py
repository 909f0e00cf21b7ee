"""The second phase for grey levels, by SWAR (SIMD within a register): four pixels per 32-bit word.

A pair of grey levels (p, q) fires if the distance q - p is at least ``step`` levels. A word of four levels is split
into two words of two 16-bit numbers each (see ``swar.py``). There ``q - p - step + 0x8000`` neither borrows from nor
carries into the other number, and its highest bit is 1 if q - p >= step.

Theta can be so close to a whole number of levels that float32 rounding decides: some pairs at that distance fire and
others do not. Such a distance is *tied*. Then ``step`` is that distance. A second plane, the tie-break plane, holds the
*raised* level p + 1 in place of p if the pair (p, p + step) does not fire.
"""

import triton
import triton.language as tl

from .pixels import HALO, arithmetic, share
from .swar import LOW_BITS, load_levels, load_neighbours, load_position, result_bits, result_numbers


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
    for block in range(start, stop, 4 * BLOCK):
        position = block + tl.arange(0, 4 * BLOCK)
        level = tl.load(plane_ptr + position, mask=position < stop, other=0).to(tl.int32)
        fires, exists = _fires(level, step, theta)
        raised = (level + (exists & ~fires).to(tl.int32)).to(tl.uint8)
        tl.store(tie_break_ptr + position, raised, mask=position < stop)


@triton.jit
def _word_range(program, programs_per_image, words, BLOCK: tl.constexpr):
    """Return the first word of a program's part of an image, and the one after its last word, in whole blocks."""
    first, last = share(program, programs_per_image, tl.cdiv(words, BLOCK))
    return first * BLOCK, tl.minimum(last * BLOCK, words)


@triton.jit
def emit_swar(
    events, planes, shifts, step, b, program, programs_per_image,
    PAIRS: tl.constexpr, TIMESTEPS: tl.constexpr, PACKED: tl.constexpr, OFFSET_DTYPE: tl.constexpr,
    EVICTION: tl.constexpr, BLOCK: tl.constexpr, TIED: tl.constexpr,
):  # fmt: skip
    """Write one program's part of the events of image ``b``, four pixels at a time."""
    word_type: tl.constexpr = tl.pointer_type(tl.uint32)
    event_dtype: tl.constexpr = events.ptr.dtype.element_ty
    # Four events are this many words. It is a power of two; below, strides count words.
    event_words: tl.constexpr = event_dtype.primitive_bitwidth // 8
    event_word = tl.arange(0, event_words)[None, :]
    words_per_row, plane_stride_y = planes.width // 4, planes.stride_y // 4
    plane_ptr = (planes.ptr + b * planes.stride_b).to(word_type)
    tie_break_ptr = (planes.tie_break_ptr + b * planes.stride_b).to(word_type)
    events_ptr = (events.ptr + b * events.stride_b).to(word_type)
    stride_t, stride_polarity = events.stride_t // 4 * event_words, events.stride_polarity // 4 * event_words
    stride_y = events.stride_y // 4 * event_words
    positions = ()
    if PAIRS is None:
        positions = _load_positions(shifts, b, plane_stride_y, TIMESTEPS)
    bias = (0x8000 - step).to(tl.uint32) * LOW_BITS
    first, last = _word_range(program, programs_per_image, planes.height * words_per_row, BLOCK)
    for block in range(first, last, BLOCK):
        word = block + tl.arange(0, BLOCK)
        inside = word < last
        # Neighbouring threads should take neighbouring words: shifted words are aligned to 4 bytes only, so a thread
        # cannot load several with one instruction. The compiler gives each thread consecutive words if it knows that
        # `word` is consecutive; this `where` hides it. Unsigned division takes 7 instructions less than signed.
        word = tl.where(inside, word, 0).to(tl.uint32)
        y = word // words_per_row.to(tl.uint32)
        x, y = (word - y * words_per_row).to(OFFSET_DTYPE), y.to(OFFSET_DTYPE)
        level_ptr, raised_ptr = plane_ptr + (y * plane_stride_y + x), tie_break_ptr + (y * plane_stride_y + x)
        target_ptr = (events_ptr + (y * stride_y + x * event_words))[:, None] + event_word
        neighbours, raised_neighbours = (), ()
        if PAIRS is not None:
            neighbours = load_neighbours(level_ptr, plane_stride_y)
            if TIED:
                raised_neighbours = load_neighbours(raised_ptr, plane_stride_y)
        on_bits = tl.zeros((BLOCK,), dtype=tl.uint32)
        off_bits = tl.zeros((BLOCK,), dtype=tl.uint32)
        for t in tl.static_range(TIMESTEPS):
            start, end = _start_and_end(level_ptr, neighbours, positions, PAIRS, t)
            raised_start, raised_end = start, end
            if TIED:
                raised_start, raised_end = _start_and_end(raised_ptr, raised_neighbours, positions, PAIRS, t)
            on_even, on_odd = end[0] - raised_start[0] + bias, end[1] - raised_start[1] + bias
            off_even, off_odd = start[0] - raised_end[0] + bias, start[1] - raised_end[1] + bias
            if PACKED:
                on_bits |= result_bits(on_even, on_odd, t)
                off_bits |= result_bits(off_even, off_odd, t)
            else:
                _store(target_ptr, result_numbers(on_even, on_odd, event_dtype), inside, EVICTION)
                _store(target_ptr + stride_polarity, result_numbers(off_even, off_odd, event_dtype), inside, EVICTION)
                target_ptr += stride_t
        if PACKED:
            _store(target_ptr, on_bits[:, None], inside, EVICTION)
            _store(target_ptr + stride_polarity, off_bits[:, None], inside, EVICTION)


@triton.jit
def _store(target_ptr, words, inside, EVICTION: tl.constexpr):
    tl.store(target_ptr, words, mask=inside[:, None], eviction_policy=EVICTION)


@triton.jit
def _load_positions(shifts, b, stride_y, timesteps):
    """Load the motion vectors of image ``b``; return the positions of the start and the end of each."""
    shifts_ptr = shifts.ptr + b * shifts.stride_b
    positions = ()
    for t in tl.static_range(timesteps):
        start, end = load_position(shifts_ptr + 4 * t, stride_y), load_position(shifts_ptr + 4 * t + 2, stride_y)
        positions += ((start, end),)
    return positions


@triton.jit
def _start_and_end(word_ptr, neighbours, positions, PAIRS: tl.constexpr, t: tl.constexpr):
    """Return the levels at the start and at the end of the motion vector of timestep ``t``."""
    if PAIRS is None:
        return load_levels(word_ptr, positions[t][0]), load_levels(word_ptr, positions[t][1])
    else:
        return neighbours[PAIRS[t][0]], neighbours[PAIRS[t][1]]
