"""SWAR (SIMD within a register): arithmetic with four grey levels at a time, for ``emit_swar.py``.

A word is four adjacent grey levels in 32 bits. It is split into two words of two 16-bit numbers each: levels 0 and 2
(*even*), levels 1 and 3 (*odd*). The results of four comparisons are the highest bits of these 16-bit numbers.

On NVIDIA GPUs one instruction, ``prmt``, picks any four of the eight bytes of two words, or repeats their highest bits.
Compilers do not find it, so it is inline PTX; AMD GPUs and Triton's interpreter use shifts and masks instead.
"""

import triton
import triton.language as tl
from triton import knobs
from triton.language.target_info import is_cuda

_EVEN_BYTES = tl.constexpr(0x00FF00FF)
#: 1 in each of two 16-bit numbers.
LOW_BITS = tl.constexpr(0x00010001)
_HIGH_BITS = tl.constexpr(0x01000100)
_BYTES = tl.constexpr(0x01010101)


@triton.constexpr_function
def _has_prmt():
    return not knobs.runtime.interpret and is_cuda()


@triton.jit
def _prmt(a, b, SELECTOR: tl.constexpr):
    """Return four bytes of two words. Each digit of the selector, from the last one, chooses a byte of the result.

    Digits 0 to 3 are the bytes of ``a``, 4 to 7 those of ``b``; 8 to f repeat the highest bit of bytes 0 to 7.
    """
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, 0x" + SELECTOR + ";", "=r,r,r", [a, b], dtype=tl.uint32, is_pure=True, pack=1
    )


@triton.jit
def _split(word):
    """Return the even and the odd levels of a word."""
    odd = _prmt(word, 0, "4341") if _has_prmt() else (word >> 8) & _EVEN_BYTES
    return word & _EVEN_BYTES, odd


@triton.jit
def load_levels(word_ptr, position):
    """Load the levels at a position relative to a word; see :func:`load_position`."""
    offset, bits = position
    lo, hi = tl.load(word_ptr + offset), tl.load(word_ptr + offset + 1)
    # A shift of 64 bits is one instruction.
    return _split((((hi.to(tl.uint64) << 32) | lo.to(tl.uint64)) >> bits.to(tl.uint64)).to(tl.uint32))


@triton.jit
def load_position(shift_ptr, stride_y):
    """Load ``(dy, dx)`` in pixels; return whole words, and the remaining bits."""
    dy, dx = tl.load(shift_ptr).to(tl.int32), tl.load(shift_ptr + 1).to(tl.int32)
    return dy * stride_y + (dx >> 2), (dx & 3) * 8


@triton.jit
def load_neighbours(word_ptr, stride_y):
    """Load the levels at each neighbour, -1 to 1 pixels away in each direction; return nine splits in reading order."""
    neighbours = ()
    for dy in tl.static_range(-1, 2):
        row_ptr = word_ptr + dy * stride_y
        before, word, after = tl.load(row_ptr - 1), tl.load(row_ptr), tl.load(row_ptr + 1)
        left, right = (before >> 24) | (word << 8), (word >> 8) | (after << 24)
        neighbours += (_split(left), _split(word), _split(right))
    return neighbours


@triton.jit
def result_bits(even, odd, t: tl.constexpr):
    """Return four results in bit ``t`` of each byte of a word."""
    if _has_prmt():
        return _prmt(even, odd, "fbd9") & (_BYTES << t)
    else:
        return ((even >> (15 - t)) & (LOW_BITS << t)) | ((odd >> (7 - t)) & (_HIGH_BITS << t))


@triton.jit
def result_numbers(even, odd, dtype: tl.constexpr):
    """Return four results as numbers 0 and 1 of an event dtype, in words ``[BLOCK, bytes of the dtype]``."""
    if dtype == tl.uint8:
        return result_bits(even, odd, 0)[:, None]
    elif dtype == tl.float32:
        return _float32_numbers(even, odd)
    else:
        return _float16_numbers(even, odd, 0x3F80 if dtype == tl.bfloat16 else 0x3C00)


@triton.jit
def _float16_numbers(even, odd, ONE: tl.constexpr):
    if _has_prmt():
        ones: tl.constexpr = ONE * LOW_BITS
        return tl.join(_prmt(even, odd, "dd99") & ones, _prmt(even, odd, "ffbb") & ones)
    else:
        lo = ((even >> 15) & 1) | ((odd << 1) & 0x10000)
        hi = (even >> 31) | ((odd >> 15) & 0x10000)
        return tl.join(lo * ONE, hi * ONE)


@triton.jit
def _float32_numbers(even, odd):
    one: tl.constexpr = 0x3F800000
    if _has_prmt():
        first, second = _prmt(even, odd, "9999") & one, _prmt(even, odd, "dddd") & one
        third, fourth = _prmt(even, odd, "bbbb") & one, _prmt(even, odd, "ffff") & one
    else:
        first, second = ((even >> 15) & 1) * one, ((odd >> 15) & 1) * one
        third, fourth = (even >> 31) * one, (odd >> 31) * one
    # join() appends a dimension: [BLOCK, 2, 2], in which the last index is the faster one.
    return tl.join(tl.join(first, third), tl.join(second, fourth)).reshape(even.shape[0], 4)
