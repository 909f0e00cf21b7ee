"""The second phase for grey levels and one-byte events: four pixels to a word, two to an addition.

Whether grey levels p and q fire depends on their distance: they do from ``step`` levels apart. A word of four levels is
split in two with 16 bits for each level, where ``q - p - step + 0x8000`` neither borrows from its neighbour nor carries
into it, and its highest bit says whether q - p >= step.

A threshold may fall on a whole level so closely that float32 fires some pairs at that distance and not others. Such a
distance is *tied*. Then ``step`` is that distance, and from a second plane comes p + 1 in place of p where a pair with
lower level p stays silent.
"""

import triton
import triton.language as tl

from .pixels import PAD, arithmetic

_LANES = tl.constexpr(0x00FF00FF)
_LOW_BITS = tl.constexpr(0x00010001)
_HIGH_BITS = tl.constexpr(0x01000100)


@triton.jit
def level_step(theta):
    """Find the smallest distance of grey levels that fires, 1 to 257, and whether it is tied."""
    nearest = tl.minimum(tl.maximum(tl.floor(theta * 255 + 0.5), 1.0), 256.0).to(tl.int32)
    fires, exists = _fires(tl.arange(0, 256), nearest, theta)
    every = tl.min((fires | ~exists).to(tl.int32), axis=0) != 0
    some = tl.max((fires & exists).to(tl.int32), axis=0) != 0
    step = tl.where(some, nearest, nearest + 1)
    return tl.where(theta == theta, step, 257), some & (not every)


@triton.jit
def _fires(level, step, theta):
    """Whether a level fires together with the one that is ``step`` higher, and whether there is one."""
    return arithmetic(level + step) - arithmetic(level) >= theta, level + step < 256


@triton.jit
def write_silent_levels(
    plane, silent, step, theta, part, programs, height, width, pitch,
    INDEX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the second plane of a tied step, frame and all, for the words that a program emits."""
    words = width // 4
    first, last = _share(part, programs, height * words, BLOCK)
    start = (first // words - PAD).to(INDEX) * pitch - PAD
    stop = (tl.cdiv(last, words) + PAD).to(INDEX) * pitch
    for block in range(start, stop, BLOCK):
        place = block + tl.arange(0, BLOCK)
        level = tl.load(plane + place, mask=place < stop, other=0).to(tl.int32)
        fires, exists = _fires(level, step, theta)
        tl.store(silent + place, (level + (exists & ~fires).to(tl.int32)).to(tl.uint8), mask=place < stop)


@triton.jit
def _share(part, programs, words, BLOCK: tl.constexpr):
    """First and last word of one of the programs that work on an image; whole blocks."""
    share = tl.cdiv(tl.cdiv(words, BLOCK), programs) * BLOCK
    return tl.minimum(part * share, words), tl.minimum((part + 1) * share, words)


@triton.jit
def _levels(plane, shifts, pitch):
    """Four levels moved by ``(dy, dx)``, in two words: the first and the third, the second and the fourth."""
    dy, dx = tl.load(shifts).to(tl.int32), tl.load(shifts + 1).to(tl.int32)
    pointers = plane + (dy * pitch + (dx >> 2))
    shift = (dx & 3) * 8
    low = tl.load(pointers)
    high = tl.load(pointers + 1, mask=shift != 0)
    word = (((high.to(tl.uint64) << 32) | low.to(tl.uint64)) >> shift.to(tl.uint64)).to(tl.uint32)
    return word & _LANES, (word >> 8) & _LANES


@triton.jit
def emit_words(
    out, plane, silent, shifts, step, part, programs, timesteps, height, words, pitch,
    stride_t, stride_p, stride_y,
    PACKED: tl.constexpr, INDEX: tl.constexpr, BLOCK: tl.constexpr, TIED: tl.constexpr,
):  # fmt: skip
    """Write one program's share of the events of an image. Pitch and strides count words, as ``words`` a row does."""
    bias = (0x8000 - step).to(tl.uint32) * _LOW_BITS
    first, last = _share(part, programs, height * words, BLOCK)
    for block in range(first, last, BLOCK):
        word = block + tl.arange(0, BLOCK)
        inside = word < last
        # Moved words are aligned to no more than themselves. This choice hides from the compiler that words come in
        # runs, so that neighbouring threads take neighbouring words, instead of a run each.
        word = tl.where(inside, word, 0)
        y, x = (word // words).to(INDEX), word % words
        place = y * pitch + x
        levels, silent_levels = plane + place, silent + place
        target = out + (y * stride_y + x)
        on = tl.zeros((BLOCK,), dtype=tl.uint32)
        off = tl.zeros((BLOCK,), dtype=tl.uint32)
        for t in range(0, timesteps):
            start, end = shifts + 4 * t, shifts + 4 * t + 2
            before_even, before_odd = _levels(levels, start, pitch)
            after_even, after_odd = _levels(levels, end, pitch)
            if TIED:
                quiet_before_even, quiet_before_odd = _levels(silent_levels, start, pitch)
                quiet_after_even, quiet_after_odd = _levels(silent_levels, end, pitch)
            else:
                quiet_before_even, quiet_before_odd = before_even, before_odd
                quiet_after_even, quiet_after_odd = after_even, after_odd
            on_even, on_odd = after_even - quiet_before_even + bias, after_odd - quiet_before_odd + bias
            off_even, off_odd = before_even - quiet_after_even + bias, before_odd - quiet_after_odd + bias
            if PACKED:
                on |= _bits(on_even, on_odd, t)
                off |= _bits(off_even, off_odd, t)
            else:
                tl.store(target, _bits(on_even, on_odd, 0), mask=inside)
                tl.store(target + stride_p, _bits(off_even, off_odd, 0), mask=inside)
                target += stride_t
        if PACKED:
            tl.store(target, on, mask=inside)
            tl.store(target + stride_p, off, mask=inside)


@triton.jit
def _bits(even, odd, t):
    """Bring the highest bit of each of four 16-bit numbers to bit ``t`` of its byte."""
    return ((even >> (15 - t)) & (_LOW_BITS << t)) | ((odd >> (7 - t)) & (_HIGH_BITS << t))
