"""The fused kernels: value channel, range, threshold and shifted differences of an image in one pass.

The threshold of an image depends on its range, so no event can be written before the whole image has been read. A
program therefore works in two phases. It *measures*: it reads its image once, writes the value channel to a plane in
device memory and keeps the range in registers. Then it *emits*: it reads every neighbour from the plane, which is still
in the cache, and writes each event once.

If the batch fills the device, one program does both phases of one image, in one launch (``convert_kernel``). Otherwise
several programs share an image, in two launches: ``measure_kernel`` writes the ranges of the programs to memory, and
``emit_kernel`` reads them. Both code paths call the same functions for the phases.

Arithmetic is float32 (float64 for float64 images). Every launch passes ``enable_fp_fusion=False``: a fused product and
sum would be rounded differently from the reference.
"""

import triton
import triton.language as tl

from .emit import emit, threshold
from .measure import measure

#: Largest number of programs per image: ``emit_kernel`` combines their ranges in one block.
MAX_PROGRAMS = tl.constexpr(1024)


@triton.jit
def convert_kernel(
    images,
    augmentation,
    planes,
    shifts,
    ratios,
    events,
    CHANNELS: tl.constexpr,
    INTERPOLATION: tl.constexpr,
    PACKED: tl.constexpr,
    SWAR: tl.constexpr,
    INDEX: tl.constexpr,
    MEASURE_Y: tl.constexpr,
    MEASURE_X: tl.constexpr,
    EMIT_Y: tl.constexpr,
    EMIT_X: tl.constexpr,
):
    """Convert one image per program. ``arguments.py`` describes the arguments; ``augmentation`` can be None."""
    b = tl.program_id(0).to(tl.int64)
    lowest, highest = measure(
        images, augmentation, planes, b, 0, 1, CHANNELS, INTERPOLATION, INDEX, MEASURE_Y, MEASURE_X
    )
    tl.debug_barrier()  # other threads wrote part of the plane that is read below
    theta = threshold(lowest, highest, ratios, b)
    emit(events, planes, shifts, theta, b, 0, 1, PACKED, SWAR, INDEX, EMIT_Y, EMIT_X)


@triton.jit
def measure_kernel(
    images,
    augmentation,
    planes,
    ranges_ptr,
    programs,
    CHANNELS: tl.constexpr,
    INTERPOLATION: tl.constexpr,
    INDEX: tl.constexpr,
    MEASURE_Y: tl.constexpr,
    MEASURE_X: tl.constexpr,
):
    """Measure a part of one image per program, and write its range to ``ranges_ptr``, ``[B, programs, 2]``."""
    b = (tl.program_id(0) // programs).to(tl.int64)
    program = tl.program_id(0) % programs
    lowest, highest = measure(
        images, augmentation, planes, b, program, programs, CHANNELS, INTERPOLATION, INDEX, MEASURE_Y, MEASURE_X
    )
    range_ptr = ranges_ptr + (b * programs + program) * 2
    tl.store(range_ptr, lowest)
    tl.store(range_ptr + 1, highest)


@triton.jit
def emit_kernel(
    planes,
    shifts,
    ratios,
    events,
    ranges_ptr,
    programs,
    PACKED: tl.constexpr,
    SWAR: tl.constexpr,
    INDEX: tl.constexpr,
    EMIT_Y: tl.constexpr,
    EMIT_X: tl.constexpr,
):
    """Combine the ranges of all programs of an image, and write the events of a part of one image per program."""
    b = (tl.program_id(0) // programs).to(tl.int64)
    program = tl.program_id(0) % programs
    position = tl.arange(0, MAX_PROGRAMS)
    # Positions after the last program read the first range again, which does not change the minimum and the maximum.
    range_ptr = ranges_ptr + (b * programs + tl.where(position < programs, position, 0)) * 2
    low, high = tl.load(range_ptr), tl.load(range_ptr + 1)
    finite = tl.min((low == low).to(tl.int32), axis=0)
    lowest = tl.where(finite != 0, tl.min(low, axis=0), float("nan"))
    theta = threshold(lowest, tl.max(high, axis=0), ratios, b)
    emit(events, planes, shifts, theta, b, program, programs, PACKED, SWAR, INDEX, EMIT_Y, EMIT_X)
