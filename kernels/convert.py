"""The fused conversion: value channel, range, threshold and shifted differences of an image in one pass.

An image's threshold needs its whole range before the first event can be written. A program therefore works in two
phases. It *measures*: reads its image once, keeps the value channel as a plane in memory and the range in registers.
Then it *emits*: reads every neighbour from the plane, which is still in the cache, and writes the events once.

Where the batch fills the device, one program does both phases of one image: one launch (``convert_kernel``). Where it
does not, an image is shared out over several programs, and its range crosses a second launch (``measure_kernel``,
``emit_kernel``). The phases are the same code in both.

All arithmetic is float32 (float64 for float64 images) and must not be contracted: ``a * s - b * s`` as one fused
multiply-add rounds differently. Every launch passes
``enable_fp_fusion=False``.
"""

import triton
import triton.language as tl

from .emit import emit, threshold
from .measure import measure

#: An image's range is joined from at most this many programs.
MAX_PROGRAMS = tl.constexpr(1024)


@triton.jit
def convert_kernel(
    images,
    plane,
    silent,
    shifts,
    ratios,
    ratio,
    out,
    timesteps,
    channels,
    height,
    width,
    image_b,
    image_c,
    image_y,
    image_x,
    plane_b,
    pitch,
    shifts_b,
    out_t,
    out_b,
    out_p,
    out_y,
    out_x,
    CHANNELS: tl.constexpr,
    PACKED: tl.constexpr,
    WORDS: tl.constexpr,
    INDEX: tl.constexpr,
    MEASURE_Y: tl.constexpr,
    MEASURE_X: tl.constexpr,
    EMIT_Y: tl.constexpr,
    EMIT_X: tl.constexpr,
):
    """Convert one image per program."""
    b = tl.program_id(0).to(tl.int64)
    plane += b * plane_b
    if WORDS:
        silent += b * plane_b
    lowest, highest = measure(
        images + b * image_b, plane, 0, 1, channels, height, width, image_c, image_y, image_x, pitch,
        CHANNELS, INDEX, MEASURE_Y, MEASURE_X,
    )  # fmt: skip
    tl.debug_barrier()  # the plane that the other threads wrote is read below
    theta = threshold(lowest, highest, ratios, ratio, b)
    emit(
        out + b * out_b, plane, silent, shifts + b * shifts_b, theta, 0, 1, timesteps, height, width, pitch,
        out_t, out_p, out_y, out_x, PACKED, WORDS, INDEX, EMIT_Y, EMIT_X,
    )  # fmt: skip


@triton.jit
def measure_kernel(
    images,
    plane,
    ranges,
    programs,
    channels,
    height,
    width,
    image_b,
    image_c,
    image_y,
    image_x,
    plane_b,
    pitch,
    CHANNELS: tl.constexpr,
    INDEX: tl.constexpr,
    MEASURE_Y: tl.constexpr,
    MEASURE_X: tl.constexpr,
):
    """Measure one share of one image per program; ``ranges`` ``[B, programs, 2]`` receives its extremes."""
    b = (tl.program_id(0) // programs).to(tl.int64)
    part = tl.program_id(0) % programs
    lowest, highest = measure(
        images + b * image_b, plane + b * plane_b, part, programs, channels, height, width, image_c, image_y, image_x,
        pitch, CHANNELS, INDEX, MEASURE_Y, MEASURE_X,
    )  # fmt: skip
    tl.store(ranges + (b * programs + part) * 2, lowest)
    tl.store(ranges + (b * programs + part) * 2 + 1, highest)


@triton.jit
def emit_kernel(
    plane,
    silent,
    ranges,
    shifts,
    ratios,
    ratio,
    out,
    programs,
    timesteps,
    height,
    width,
    plane_b,
    pitch,
    shifts_b,
    out_t,
    out_b,
    out_p,
    out_y,
    out_x,
    PACKED: tl.constexpr,
    WORDS: tl.constexpr,
    INDEX: tl.constexpr,
    EMIT_Y: tl.constexpr,
    EMIT_X: tl.constexpr,
):
    """Write the events of one share of one image per program, from the ranges of all shares."""
    b = (tl.program_id(0) // programs).to(tl.int64)
    part = tl.program_id(0) % programs
    parts = tl.arange(0, MAX_PROGRAMS)
    # Programs beyond the last repeat the first: neutral for a minimum and a maximum.
    pointers = ranges + (b * programs + tl.where(parts < programs, parts, 0)) * 2
    low, high = tl.load(pointers), tl.load(pointers + 1)
    finite = tl.min((low == low).to(tl.int32), axis=0)
    lowest = tl.where(finite != 0, tl.min(low, axis=0), float("nan"))
    theta = threshold(lowest, tl.max(high, axis=0), ratios, ratio, b)
    if WORDS:
        silent += b * plane_b
    emit(
        out + b * out_b, plane + b * plane_b, silent, shifts + b * shifts_b, theta, part, programs, timesteps,
        height, width, pitch, out_t, out_p, out_y, out_x, PACKED, WORDS, INDEX, EMIT_Y, EMIT_X,
    )  # fmt: skip
